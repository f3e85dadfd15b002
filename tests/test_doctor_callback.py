"""callbacks.Doctor: warns once, treats in the middle of a training, and puts back."""

from __future__ import annotations

import copy
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers
from evengrad.callbacks import Doctor
from evengrad.doctor import Edit, Verdict, bedside
from evengrad.doctor.bedside import Snapshot, change
from harness import F32
from numpy.typing import NDArray

RNG = np.random.default_rng(0)
X: F32 = RNG.standard_normal((300, 3)).astype(np.float32)
Y: F32 = (X[:, 0] * X[:, 1] + X[:, 2]).astype(np.float32)


def model(optimizer: Any = None, **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(8, "tanh", **options),
            layers.BatchNormalization(),
            layers.Dense(8, "tanh", **options),
            layers.Dense(1),
        ]
    )
    made.compile(optimizer or keras.optimizers.SGD(0.05), "mse")
    return made


def verdict(disease: str, *edits: Edit, layer: str = "") -> Verdict:
    names = (layer,) if layer else ()
    return Verdict(disease, "Because.", 0.9, layers=names, edits=edits)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Verdict]:
    """What the rules say after each epoch."""
    verdicts: list[Verdict] = []
    monkeypatch.setattr(bedside, "verdicts_of", lambda model: list(verdicts))
    return verdicts


def fitted(doctor: Doctor, made: keras.Sequential, epochs: int = 6) -> Any:
    return made.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=[doctor])


def live(made: keras.Sequential) -> list[NDArray[Any]]:
    return [*made.get_weights(), *(v.numpy() for v in made.optimizer.variables)]


def assert_same(one: list[NDArray[Any]], two: list[NDArray[Any]]) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


# Watching


def test_each_disease_is_told_once(found: list[Verdict]) -> None:
    found += [verdict("saturation", layer="dense_7"), verdict("oscillation")]
    doctor = Doctor()
    with pytest.warns(UserWarning, match="Doctor") as warned:
        fitted(doctor, model())
    assert [str(w.message) for w in warned] == [
        "Doctor, epoch 1: saturation in dense_7. Because.",
        "Doctor, epoch 1: oscillation. Because.",
    ]
    assert doctor.verdicts == found
    with pytest.warns(UserWarning, match="Doctor") as warned:
        fitted(doctor, model(), epochs=1)
    assert len(warned) == 2  # another training


def test_watching_changes_nothing(found: list[Verdict]) -> None:
    watched = model()
    found.append(verdict("saturation", Edit("learning_rate", 1.0)))
    with pytest.warns(UserWarning, match="saturation"):
        fitted(Doctor(), watched)
    alone = model()
    alone.fit(X, Y, batch_size=32, epochs=6, verbose=0)
    assert_same(live(watched), live(alone))


def test_every_so_many_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    made = model()
    monkeypatch.setattr(
        bedside, "verdicts_of", lambda model: asked.append(len(model.history.epoch)) or []
    )
    fitted(Doctor(every=2), made)
    assert len(asked) == 3


def test_health_of_others_is_none_of_its_business() -> None:
    """Where there are no series by step there is nothing to say."""
    made = model()
    assert bedside.verdicts_of(made) == []


# Treating


def test_a_rate_that_is_too_low_is_raised(
    found: list[Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    found.append(verdict("learning_rate_too_low", Edit("learning_rate", 0.05)))
    made, doctor = model(keras.optimizers.SGD(1e-5)), Doctor(cure=True, patience=3)
    with pytest.warns(UserWarning, match="too_low"):
        fitted(doctor, made, 12)
    alone = model(keras.optimizers.SGD(1e-5))
    alone.fit(X, Y, batch_size=32, epochs=12, verbose=0)
    assert doctor.edits == [Edit("learning_rate", 0.05)]
    assert made.optimizer.learning_rate == 0.05
    assert made.evaluate(X, Y, verbose=0) < 0.7 * alone.evaluate(X, Y, verbose=0)
    assert (
        "Doctor: optimizer.learning_rate = 0.05: after 3 epochs a copy" in capsys.readouterr().out
    )


def test_nothing_is_changed_where_nothing_helps(
    found: list[Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to learn, and so no copy is better by more than luck."""
    y = np.random.default_rng(3).standard_normal(300).astype(np.float32)
    found.append(verdict("oscillation", Edit("learning_rate", 1e-9)))
    fit: dict[str, Any] = {"batch_size": 32, "epochs": 3, "verbose": 0}
    treated = model(keras.optimizers.SGD(1e-6))
    treated.layers[-1].set_weights([np.zeros((8, 1)), np.zeros(1)])
    with pytest.warns(UserWarning, match="oscillation"):
        treated.fit(X, y, callbacks=[Doctor(cure=True, patience=1)], **fit)
    assert "Doctor: nothing is changed: no small change" in capsys.readouterr().out
    alone = model(keras.optimizers.SGD(1e-6))
    alone.layers[-1].set_weights([np.zeros((8, 1)), np.zeros(1)])
    alone.fit(X, y, **fit)
    assert_same(live(treated), live(alone))


def test_what_does_not_keep_its_promise_is_put_back(
    found: list[Verdict], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found.append(verdict("learning_rate_too_low", Edit("learning_rate", 0.05)))
    made, doctor = model(keras.optimizers.SGD(1e-5)), Doctor(cure=True, patience=2)
    kept: list[Any] = []
    change_really = bedside.change

    def worse(model: keras.Sequential, edit: Edit, x: Any) -> None:
        if model is made:
            kept.append([array.copy() for array in live(made)])
            made.layers[-1].set_weights([np.full((8, 1), 3.0), np.zeros(1)])
        else:
            change_really(model, edit, x)

    monkeypatch.setattr(bedside, "change", worse)
    with pytest.warns(UserWarning, match="too_low"):
        fitted(doctor, made, 3)  # one, and the two after which it is judged
    assert_same(live(made), kept[0])
    assert doctor.edits == []
    assert "Doctor: put back: loss is" in capsys.readouterr().out


def test_batches_that_an_object_hands_out(
    found: list[Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    found.append(verdict("saturation"))
    made = model()
    batches = ((X[i : i + 50], Y[i : i + 50]) for i in range(0, 300, 50))
    with pytest.warns(UserWarning, match="saturation"):
        made.fit(batches, epochs=2, steps_per_epoch=3, verbose=0, callbacks=[Doctor(cure=True)])
    assert "Doctor: nothing is changed: the rows of training" in capsys.readouterr().out


def test_rows_of_ones_own_judge(found: list[Verdict]) -> None:
    found.append(verdict("learning_rate_too_low", Edit("learning_rate", 0.05)))
    held = np.random.default_rng(1).standard_normal((200, 3)).astype(np.float32)
    truth = held[:, 0] * held[:, 1] + held[:, 2]
    doctor = Doctor(cure=True, validation_data=(held, truth), verbose=0)
    with pytest.warns(UserWarning, match="too_low"):
        fitted(doctor, model(keras.optimizers.SGD(1e-5)), 10)
    assert doctor.edits == [Edit("learning_rate", 0.05)]


# Changes in place


@pytest.mark.parametrize(
    "edit",
    [Edit("learning_rate", 0.5), Edit("clipping", {"clipnorm": 0.1}), Edit("initializer", "auto"),
     Edit("recalibrate")],
    ids=lambda edit: edit.kind,
)  # fmt: skip
def test_a_change_is_taken_back_bit_for_bit(edit: Edit) -> None:
    made = model(keras.optimizers.Adam(0.01))
    made.fit(X, Y, epochs=2, verbose=0)
    twin = copy.deepcopy(made)
    before, snapshot = live(made), Snapshot(made)
    change(made, edit, X)
    different = [(a != b).any() for a, b in zip(live(made), before, strict=True)]
    assert any(different) or made.optimizer.clip != twin.optimizer.clip
    made.train_on_batch(X[:32], Y[:32])
    snapshot.put_back()
    assert_same(live(made), before)
    assert made.optimizer.clip == twin.optimizer.clip
    assert made.train_on_batch(X[:32], Y[:32]) == twin.train_on_batch(X[:32], Y[:32])
    assert_same(live(made), live(twin))


def test_kernels_drawn_anew_have_the_gain_of_their_activation() -> None:
    made = keras.Sequential(
        [keras.Input((400,)), layers.Dense(300), layers.ReLU(), layers.Dense(200, "tanh"),
         layers.Dense(1)]
    )  # fmt: skip
    made.compile(keras.optimizers.Adam(0.01), "mse")
    x = RNG.standard_normal((8, 400))
    made.fit(x, x[:, 0], epochs=1, verbose=0)
    last = made.layers[-1].get_weights()
    change(made, Edit("initializer", "auto"), x)
    assert made.layers[0].kernel.numpy().var() * 400 == pytest.approx(2.0, rel=0.02)
    assert made.layers[2].kernel.numpy().var() * 300 == pytest.approx(1.5925**2, rel=0.02)
    assert not made.layers[0].bias.numpy().any()
    assert_same(made.layers[-1].get_weights(), last)
    assert not any(v.numpy().any() for v in made.optimizer.variables[2:])


@pytest.mark.parametrize(
    "arguments",
    [{"cure": 1.5}, {"every": 0}, {"patience": 0}, {"validation_data": 7}, {"verbose": -1}],
)
def test_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match="Doctor"):
        Doctor(**arguments)
