"""Variables: values, views, assignment, exchange with other libraries."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from evengrad import Variable

SHAPES: list[tuple[int, ...]] = [(1,), (3,), (16,), (17,), (2, 3), (5, 16), (1, 1), (4, 2, 3)]


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_copies(shape: tuple[int, ...], double: bool) -> None:
    if double and len(shape) > 1:
        pytest.skip("only vectors are kept in float64")
    initial = numbers(*shape)
    variable = Variable(initial, name="v", double=double)
    assert (variable.shape, variable.ndim, variable.size) == (shape, len(shape), initial.size)
    assert variable.dtype == "float32"
    assert variable.value.shape == shape
    made = variable.numpy()
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, initial)
    made[...] = 0.0
    initial[...] = 0.0
    assert variable.numpy().any()  # neither is the variable's memory


@pytest.mark.parametrize("shape", SHAPES)
def test_writing_into_value(shape: tuple[int, ...]) -> None:
    variable = Variable(np.zeros(shape))
    assert variable.value.flags.writeable
    new = numbers(*shape)
    variable.value[...] = new
    np.testing.assert_array_equal(variable.numpy(), new)
    variable.value[(-1,) * len(shape)] = 7.0
    assert variable.numpy().flat[-1] == 7.0
    view = variable.value
    variable.assign(numbers(*shape, seed=1))
    np.testing.assert_array_equal(view, numbers(*shape, seed=1))  # the memory stays the same


def test_names() -> None:
    plain = Variable([1.0])
    assert (plain.name, plain.path, plain.trainable) == ("variable", "variable", True)
    variable = Variable([1.0], name="kernel", path="dense/kernel", trainable=False)
    assert (variable.name, variable.path, variable.trainable) == ("kernel", "dense/kernel", False)
    for word in ("dense/kernel", "(1,)", "False"):
        assert word in repr(variable)


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2, 3], [4, 5, 6]],
        np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
        np.array([[1, 2, 3], [4, 5, 6]], ">f8"),
        np.asfortranarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        np.arange(12.0).reshape(2, 6)[:, ::2] / 2.0 + [[1.0], [1.0]],
        Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    ],
)
def test_assign_converts(value: Any) -> None:
    variable = Variable(np.zeros((2, 3)))
    variable.assign(value)
    np.testing.assert_array_equal(variable.numpy(), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros(6), ValueError),
        (np.zeros((3, 2)), ValueError),
        (np.zeros((1, 3)), ValueError),  # no broadcasting
        (1.0, ValueError),
        ([], ValueError),
        (np.full((2, 3), np.nan), ValueError),
        (np.full((2, 3), -np.inf), ValueError),
        (np.full((2, 3), 1e39), ValueError),
        (np.zeros((2, 3), complex), TypeError),
        (np.full((2, 3), "1"), TypeError),
        (np.zeros((2, 3), "datetime64[s]"), TypeError),
        (np.full((2, 3), None), TypeError),
        (None, ValueError),
        ([[1.0, 2.0, 3.0], [4.0]], ValueError),
    ],
)
@pytest.mark.parametrize("double", [False, True])
def test_bad_values_change_nothing(bad: Any, error: type[Exception], double: bool) -> None:
    variable = Variable(numbers(2, 3), path="dense/kernel")
    if double:
        if isinstance(bad, np.ndarray) and bad.shape == (2, 3):
            bad = bad[0]
        variable = Variable(numbers(3), path="dense/kernel", double=True)
    before = variable.value.tobytes()
    with pytest.raises(error, match=r"dense/kernel.*expected") as caught:
        variable.assign(bad)
    assert "\n" not in str(caught.value)
    assert variable.value.tobytes() == before


def test_double_keeps_what_float32_would_lose() -> None:
    variable = Variable([1.0], double=True)
    assert variable.value.dtype == np.float64
    variable.value[...] += 1e-12
    assert variable.value[0] - 1.0 == pytest.approx(1e-12, rel=1e-3)
    assert variable.numpy().dtype == np.float32
    np.testing.assert_array_equal(variable.numpy(), [1.0])


def test_array_protocol() -> None:
    variable = Variable(numbers(2, 3))
    assert np.asarray(variable).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(variable), variable.numpy())
    assert np.asarray(variable, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.add(variable, 1.0), variable.numpy() + 1.0)
    np.asarray(variable)[...] = 0.0
    assert variable.numpy().any()
    with pytest.raises(ValueError, match=r"use \.value for the memory itself"):
        variable.__array__(copy=False)
    np.testing.assert_array_equal(np.asarray(Variable([1.0], double=True)), [1.0])


@pytest.mark.parametrize("shape", SHAPES)
def test_dlpack_shares_the_memory(shape: tuple[int, ...]) -> None:
    variable = Variable(numbers(*shape))
    shared = np.from_dlpack(variable)
    np.testing.assert_array_equal(shared, variable.numpy())
    variable.value[...] = 5.0
    np.testing.assert_array_equal(shared, np.full(shape, 5.0))


def test_dlpack_into_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    variable = Variable(numbers(5, 17))
    tensor = torch.from_dlpack(variable)
    tensor.zero_()
    assert not variable.numpy().any()


def test_padding_is_zero_and_stays_so() -> None:
    variable = Variable(numbers(3, 5))
    variable.value[...] = 1.0
    padded = np.lib.stride_tricks.as_strided(variable.value, (3, 16), variable.value.strides)
    assert not padded[:, 5:].any()


def test_memory_starts_on_a_cache_line() -> None:
    for shape in SHAPES:
        assert Variable(np.zeros(shape)).value.ctypes.data % 64 == 0


@pytest.mark.parametrize("double", [False, True])
def test_copies_have_memory_of_their_own(double: bool) -> None:
    variable = Variable(numbers(17), name="v", path="a/v", trainable=False, double=double)
    matrix = Variable(numbers(3, 5))
    for original in (variable, matrix):
        for other in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
            assert (other.name, other.path, other.trainable) == (
                original.name, original.path, original.trainable,
            )  # fmt: skip
            np.testing.assert_array_equal(other.numpy(), original.numpy())
            other.value[...] = 0.0
            assert original.numpy().any()
