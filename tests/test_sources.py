"""What gather makes of the numbers users have: every dtype, any distance of rows, what is legal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evengrad import _core, _sources
from evengrad._arena import tensor
from harness import number_of_threads, whole
from numpy.typing import NDArray

DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
LARGEST = float(np.finfo(np.float32).max)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


class Gathered:
    """A program that gathers x and a target of three columns, and scatters x."""

    def __init__(self, capacity: int, columns: int, per_sample: int = 1) -> None:
        self.program = _core.Program(capacity)
        self.x, self.target = tensor(capacity * per_sample, columns), tensor(capacity, 3)
        for made in (self.x, self.target):
            whole(made)[...] = -1.0
        self.program.gather(self.x, None, self.target, None)
        self.program.scatter(self.x)

    def run(self, x: Any, y: Any, steps: int, order: Any = None, **options: Any) -> Any:
        rows = len(x) if order is None else len(order)
        made = np.full((rows, x[0].size), np.nan, np.float32)
        done = self.program.run_batches(x, y, None, order, made, first=0, steps=steps, **options)
        return done, made


def numbers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[Any]:
    """Numbers from all over a dtype's range, its ends among them, within float32's."""
    rng = np.random.Generator(np.random.PCG64(seed))
    size = np.dtype(dtype).itemsize
    values = rng.integers(0, 256, (int(np.prod(shape)), size), np.uint8).view(dtype)[:, 0]
    if dtype == "?":
        values = rng.integers(0, 2, values.size).astype(bool)
    elif values.dtype.kind in "iu":
        info = np.iinfo(dtype)
        values[: 3 if values.size > 2 else 0] = [info.min, info.max, info.max // 2 + 1]
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            fits = np.isfinite(values) & np.isfinite(values.astype(np.float32))
        values = np.where(fits, values, values.dtype.type(0.1))
    return values.reshape(shape)


@each_dtype
@pytest.mark.parametrize("columns", [1, 2, 7, 16, 33, 100])
def test_gather_converts_as_numpy_does(dtype: str, columns: int) -> None:
    x, y = numbers(dtype, (23, columns)), numbers(dtype, (23, 3), 1)
    order = np.random.Generator(np.random.PCG64(1)).permutation(23)
    for threads in (1, 2):
        program = Gathered(9, columns)
        with number_of_threads(threads):
            done, made = program.run(x, y, 3, order, legal=(-LARGEST, LARGEST))
        assert done == 3
        assert program.program.failure is None
        assert made.tobytes() == x.astype(np.float32)[order].tobytes()
        assert program.target[:5].tobytes() == y.astype(np.float32)[order[18:]].tobytes()
        assert not whole(program.x)[:, columns:].any()


def test_every_half_is_converted_exactly() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = halves[np.isfinite(halves)].reshape(-1, 32)
    _, made = Gathered(len(x), 32).run(x, np.zeros((len(x), 3)), 1)
    assert made.tobytes() == x.astype(np.float32).tobytes()


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_whole_numbers_of_64_bits_are_rounded_once(dtype: str) -> None:
    """Around the midpoints between neighbours in float32, and where a double is not exact."""
    values = []
    for exponent in range(20, 64):
        for fraction in (0x800000, 0x800001, 0xABCDEF, 0xFFFFFF):
            midpoint = (2 * fraction + 1) << exponent >> 24
            values += [midpoint + step for step in (-(1 << 11), -1, 0, 1, 1 << 11, 1 << 12)]
    info = np.iinfo(dtype)
    signed = values + [-value for value in values] if dtype == "i8" else values
    kept = [value for value in signed if info.min <= value <= info.max]
    x = np.array(kept[: len(kept) // 19 * 19], dtype).reshape(-1, 19)
    _, made = Gathered(len(x), 19).run(x, np.zeros((len(x), 3)), 1)
    assert made.tobytes() == x.astype(np.float32).tobytes()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 15, 16, 36])
def test_what_is_not_finite_ends_the_replay(dtype: str, bad: float, column: int) -> None:
    x, y = numbers(dtype, (30, 37)), np.zeros((30, 3), np.float32)
    x[17, column] = bad
    for threads in (1, 2):
        program = Gathered(5, 37)
        with number_of_threads(threads):
            done, made = program.run(x, y, 6, legal=(0.0, 1.0))
        assert (done, program.program.failure) == (3, ("input", 17))
        assert made[:15].tobytes() == x[:15].astype(np.float32).tobytes()
        assert np.isnan(made[15:]).all()  # nothing of the step that failed


def test_what_float32_cannot_hold_ends_the_replay() -> None:
    x, y = numbers("f8", (9, 5)), np.zeros((9, 3))
    x[0] = [LARGEST, -LARGEST, LARGEST * (1 + 2.0**-26), 5e-324, -0.0]  # rounded, all of these fit
    assert Gathered(4, 5).run(x, y, 3)[0] == 3
    for beyond in (LARGEST * (1 + 2.0**-24), -1e39, 1e308):
        x[7, 4] = beyond
        program = Gathered(4, 5)
        assert program.run(x, y, 3)[0] == 1
        assert program.program.failure == ("input", 7)


@each_dtype
def test_targets_have_to_be_legal(dtype: str) -> None:
    x, y = np.zeros((8, 5), np.float32), np.zeros((8, 3), dtype)
    y[::2] = 1
    assert Gathered(4, 5).run(x, y, 2, legal=(0.0, 1.0))[0] == 2
    illegal = {"f": [np.nan, 1.001, -0.001], "i": [2, -1], "u": [2]}.get(y.dtype.kind, [])
    for bad in illegal:
        y[6, 2] = bad
        program = Gathered(4, 5)
        assert program.run(x, y, 2, legal=(0.0, 1.0))[0] == 1
        assert program.program.failure == ("target", 6)


def test_float32_that_was_looked_at_is_copied_as_it_is() -> None:
    x = np.full((4, 5), np.nan, np.float32)
    done, made = Gathered(4, 5).run(x, np.zeros((4, 3), np.float32), 1)
    assert done == 1
    assert np.isnan(made).all()


@each_dtype
def test_rows_may_be_anywhere(dtype: str) -> None:
    wide = numbers(dtype, (40, 12))
    for x in (wide[::2, 3:8], wide[::-2, 3:8], np.broadcast_to(wide[3, :5], (20, 5))):
        _, made = Gathered(6, 5).run(x, np.zeros((20, 3)), 4)
        assert made.tobytes() == x.astype(np.float32).tobytes()
    record = np.zeros(20, [("id", dtype), ("x", dtype, (5,))])
    record["x"] = numbers(dtype, (20, 5))
    _, made = Gathered(6, 5).run(record["x"], np.zeros((20, 3)), 4)
    assert made.tobytes() == record["x"].astype(np.float32).tobytes()


def test_samples_of_several_rows() -> None:
    x = numbers("i2", (12, 4, 3, 5))
    program = Gathered(5, 5, per_sample=12)
    _, made = program.run(x, np.zeros((12, 3)), 3)
    assert made.tobytes() == x.astype(np.float32).tobytes()
    np.testing.assert_array_equal(program.x[:24].reshape(2, 4, 3, 5), x[10:])


def test_an_output_may_not_lie_among_rows() -> None:
    memory = np.zeros((40, 5), np.float32)
    program = Gathered(4, 5).program
    with pytest.raises(ValueError, match=r"^output: .*overlap"):
        program.run_batches(
            memory[1::2], np.zeros((20, 3)), None, None, memory[20:], first=0, steps=5
        )


def readable_by_core(x: Any) -> bool:
    try:
        Gathered(4, max(1, x[0].size)).run(x, np.zeros((len(x), 3)), 1)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "x",
    [
        *[np.zeros((20, 5), dtype) for dtype in (*DTYPES, ">f4", ">i8", "g", "c8", "M8[s]", "U3")],
        np.zeros((20, 10))[:, ::2],
        np.zeros((20, 10))[:, :5],
        np.zeros((40, 10))[::2],
        np.zeros((5, 20)).T,
        np.zeros((20, 1, 5)).transpose(0, 2, 1),
        np.zeros((20, 2, 5)).transpose(0, 2, 1),
        np.zeros(401, np.uint8)[1:].view(np.float32).reshape(20, 5),
        np.zeros(20 * 21, np.uint8).reshape(20, 21)[:, :20].view(np.float32),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}{x.strides}",
)
def test_the_package_and_its_core_agree_on_what_is_readable(x: Any) -> None:
    assert _sources.readable(x) == readable_by_core(x)
