"""evengrad.utils: one-hot rows, seeds, threads, the configuration."""

from __future__ import annotations

import random
from typing import Any

import evengrad
import numpy as np
import pytest
from evengrad import layers, utils
from evengrad.initializers import HeNormal


def test_to_categorical() -> None:
    made = utils.to_categorical([0, 2, 1])
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(utils.to_categorical([0, 1], 4), np.eye(4)[:2])
    np.testing.assert_array_equal(utils.to_categorical([1], num_classes=2), [[0, 1]])


@pytest.mark.parametrize(
    "labels",
    [
        [1, 0, 2],
        (1, 0, 2),
        np.array([1, 0, 2], np.uint8),
        np.array([1.0, 0.0, 2.0]),
        np.array([[1], [0], [2]]),
    ],
)
def test_to_categorical_of_any_labels(labels: Any) -> None:
    np.testing.assert_array_equal(utils.to_categorical(labels), np.eye(3)[[1, 0, 2]])


def test_to_categorical_of_several_axes_keeps_them() -> None:
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    made = utils.to_categorical(labels)
    assert made.shape == (2, 3, 3)
    np.testing.assert_array_equal(made.argmax(axis=-1), labels)


def test_to_categorical_of_bool_and_of_nothing() -> None:
    np.testing.assert_array_equal(utils.to_categorical([True, False]), [[0, 1], [1, 0]])
    assert utils.to_categorical([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (([0, 3], 3), "from 0 to 2"),
        (([0, -1],), "got -1"),
        (([0.5],), "got 0.5"),
        (([np.nan],), "got nan"),
        (([np.inf],), "got inf"),
        ((["a"],), "x"),
        (([0, 1], 0), "num_classes"),
        (([0, 1], -3), "num_classes"),
        (([0, 1], 2.5), "num_classes"),
        (([0, 1], "2"), "num_classes"),
    ],
)
def test_to_categorical_of_bad_labels(arguments: Any, word: str) -> None:
    with pytest.raises((ValueError, TypeError), match=r"to_categorical: expected") as caught:
        utils.to_categorical(*arguments)
    assert word in str(caught.value)


def draw_everything() -> list[Any]:
    x = np.ones((8, 4))
    model = evengrad.Sequential([layers.Dense(3), layers.Dropout(0.5), layers.Dense(1)])
    model.compile("sgd", "mse")
    loss = model.fit(x, np.arange(8.0), 2, epochs=2, verbose=0).history
    weights = [w.tolist() for w in model.get_weights()]
    return [random.random(), np.random.rand(), HeNormal()((3, 3)).tolist(), loss, weights]


@pytest.mark.parametrize("seed", [0, 7, np.int64(7), 2**32 - 1])
def test_equal_seeds_give_equal_draws(seed: Any) -> None:
    utils.set_random_seed(seed)
    first = draw_everything()
    second = draw_everything()
    assert all(a != b for a, b in zip(first, second, strict=True))
    utils.set_random_seed(int(seed))
    assert draw_everything() == first


def test_different_seeds_give_different_draws() -> None:
    utils.set_random_seed(1)
    first = draw_everything()
    utils.set_random_seed(2)
    assert all(a != b for a, b in zip(first, draw_everything(), strict=True))


@pytest.mark.parametrize("bad", [-1, 1.5, "1", None, [1], True, 2**32])
def test_bad_seeds_seed_nothing(bad: Any) -> None:
    utils.set_random_seed(3)
    right = draw_everything()
    utils.set_random_seed(3)
    with pytest.raises((ValueError, TypeError), match=r"expected seed to be"):
        utils.set_random_seed(bad)
    assert draw_everything() == right


def test_seeding_leaves_generators_of_the_users_own_alone() -> None:
    mine = np.random.default_rng(5)
    utils.set_random_seed(0)
    assert mine.random() == np.random.default_rng(5).random()


def test_set_num_threads() -> None:
    before = evengrad.get_num_threads()
    try:
        evengrad.set_num_threads(1)
        assert evengrad.get_num_threads() == 1
        evengrad.set_num_threads(np.int64(before))
        assert evengrad.get_num_threads() == before
        evengrad.set_num_threads(10_000)
        assert 1 <= evengrad.get_num_threads() <= 10_000
        y = layers.Dense(2, kernel_initializer="ones")(np.ones((5, 3)))
        np.testing.assert_array_equal(y, np.full((5, 2), 3.0))
    finally:
        evengrad.set_num_threads(before)


@pytest.mark.parametrize("bad", [0, -1, 1.0, 2.5, "2", None, [2], True, 10**30])
def test_bad_numbers_of_threads(bad: Any) -> None:
    before = evengrad.get_num_threads()
    with pytest.raises((ValueError, TypeError), match=r"set_num_threads: expected threads to be"):
        evengrad.set_num_threads(bad)
    assert evengrad.get_num_threads() == before


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    evengrad.show_config()
    out, err = capsys.readouterr()
    assert err == ""
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    shown = dict(lines)  # type: ignore[arg-type]
    assert list(shown) == ["version", "isa", "threads", "backend", "compiler"]
    assert shown["version"] == evengrad.__version__
    assert shown["isa"] in ("baseline", "avx2", "avx512")
    assert shown["threads"] == str(evengrad.get_num_threads())
    assert shown["backend"] in ("openmp", "pool", "serial")
    assert shown["compiler"]


def test_clear_session_starts_names_again() -> None:
    utils.clear_session()
    assert layers.Dense(1).name == "dense"
    utils.clear_session()
    assert layers.Dense(1).name == "dense"
    assert evengrad.Sequential().name == "sequential"
