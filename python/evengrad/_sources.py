"""Arrays that training reads where they lie: which ones, how they are checked, what they lose."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad.errors import rows_text, warn

LARGEST = float(np.finfo(np.float32).max)
FINITE = -LARGEST, LARGEST

_FEW = 4096  # numbers that one thread multiplies at once
_PIECE = 1 << 18  # numbers converted at a time: temporaries stay in cache
# In-memory arrays of other dtypes than float32, up to so many numbers, are converted once: it costs
# 4 MB at most, and the steps of small networks are 4 to 16% shorter.
_SMALL = 1 << 20
_NOISE = 2.0**-45
_SAMPLE_ROWS, _SAMPLE_NUMBERS, _BLOCKS = 10_000, 1 << 18, 10


class Source(NamedTuple):
    """Rows of numbers, and whether all of them were seen to be legal."""

    array: NDArray[Any]
    checked: bool


def readable(array: NDArray[Any]) -> bool:
    """Whether a program reads the rows of an array of any dtype where they lie."""
    dtype, stride = array.dtype, array.itemsize
    if dtype == np.float32 and array.flags.carray:
        return True
    if not (dtype.kind in "fiub" and dtype.isnative and stride <= 8 and array.flags.aligned):
        return False
    for length, step in zip(array.shape[:0:-1], array.strides[:0:-1], strict=True):
        if length > 1 and step != stride:
            return False
        stride *= length
    return True


def on_disk(array: Any) -> bool:
    """Whether the memory of an array is that of a file."""
    while isinstance(array, np.ndarray | memoryview) and not isinstance(array, np.memmap):
        array = array.obj if isinstance(array, memoryview) else array.base
    return isinstance(array, np.memmap | mmap.mmap)


def borrow(
    who: str,
    name: str,
    array: NDArray[Any],
    legal: tuple[float, float] = FINITE,
    *,
    defer: bool = False,
) -> Source:
    """Return an array for programs to read, converted to float32 only where that is the best.

    What is in memory is checked at once, unless `defer`; what is in a file as it is read.
    """
    if array.base is not None and on_disk(array):
        return Source(array.view(np.ndarray), False)
    borrowed = readable(array) and (defer or array.dtype == np.float32 or array.size > _SMALL)
    numbers = array if borrowed else converted(array)
    if not defer:
        check(who, name, numbers, array, legal)
    return Source(numbers, not defer)


def contiguous(array: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
    """Return the array itself where it is that, else a copy; overflow gives infinity."""
    if array.dtype == dtype and array.flags.carray:
        return array
    with np.errstate(over="ignore"):
        ready = np.ascontiguousarray(array, dtype)
    return ready if ready.flags.aligned else ready.copy()


def converted(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return an array as contiguous float32; what is beyond its range becomes infinite."""
    return contiguous(array, np.float32)


def check(
    who: str,
    name: str,
    numbers: NDArray[Any],
    array: NDArray[Any],
    legal: tuple[float, float] = FINITE,
) -> None:
    """Raise where numbers, made of an array, are not finite as float32, or not legal."""
    if legal == FINITE and (numbers.dtype.kind in "iub" or _quickly_finite(numbers)):
        return
    bad = list(_illegal(numbers, legal))
    if bad:
        raise ValueError(f"{who}: expected {name} {explain(array, np.concatenate(bad), legal)}")


def explain(array: NDArray[Any], rows: NDArray[np.intp], legal: tuple[float, float]) -> str:
    """What is expected, and which rows are not so."""
    source = array[rows[:1]]
    if not np.isfinite(source).all():
        return f"to hold finite numbers; not so in row {rows_text(rows)}"
    with np.errstate(over="ignore"):
        numbers = source.astype(np.float32)
    if not np.isfinite(numbers).all():
        return (
            f"to hold numbers within the range of float32 (3.4e38); not so in row {rows_text(rows)}"
        )
    low, high = legal
    first = numbers[(numbers < low) | (numbers > high)][0]
    return f"from {low:g} to {high:g}, got {first:g} in row {rows_text(rows)}"


def _quickly_finite(numbers: NDArray[Any]) -> bool:
    """The usual case of few numbers: the squares of finite ones rarely overflow."""
    few = numbers.dtype == np.float32 and numbers.size <= _FEW
    return few and math.isfinite(np.vdot(numbers, numbers))


def illegal_rows(
    array: NDArray[Any], rows: NDArray[np.intp], legal: tuple[float, float] = FINITE
) -> NDArray[np.intp]:
    """Those of the rows that hold what is not legal as float32."""
    found = np.concatenate([rows[:0], *_illegal(array[rows], legal)])
    bad: NDArray[np.intp] = np.sort(rows[found.astype(np.intp)])
    return bad


def _illegal(array: NDArray[Any], legal: tuple[float, float]) -> Iterator[NDArray[np.intp]]:
    step = max(1, _PIECE // max(1, math.prod(array.shape[1:])))
    for begin in range(0, len(array), step):
        piece = array[begin : begin + step]
        with np.errstate(over="ignore"):
            numbers = piece.reshape(len(piece), -1).astype(np.float32, copy=False)
        if legal == FINITE:
            fine = np.isfinite(numbers)
        else:
            fine = (numbers >= legal[0]) & (numbers <= legal[1])
        if not fine.all():
            yield begin + np.flatnonzero(~fine.all(axis=1))


# -- what float32 cannot tell apart


def warn_of_lost_values(who: str, array: NDArray[Any], names: Sequence[str] | None = None) -> None:
    """Warn of columns in which values that differ become the same float32.

    A column is named where a sample of rows loses more than 1% of its distinct values if they are
    whole numbers, which are meant exactly, else more than half: the last digits of measurements
    are noise, and those of a double are what computing left there.
    """
    if array.dtype.kind not in "fiu" or array.itemsize < (8 if array.dtype.kind == "f" else 4):
        return
    sample = _sample(array)
    if array.dtype.kind in "iu" and sample.min() >= -(1 << 24) and sample.max() <= 1 << 24:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        inexact = np.flatnonzero((sample.astype(np.float32).astype(sample.dtype) != sample).any(0))
        values = np.sort(np.ascontiguousarray(sample[:, inexact].T))
        rounded = values.astype(np.float32)
        whole = (values == np.floor(values)).all(axis=1)
        above, below = values[:, 1:], values[:, :-1]
        differ = above != below
        differ &= whole[:, None] | (above - below > _NOISE * np.maximum(abs(above), abs(below)))
    lost = (differ & (rounded[:, 1:] == rounded[:, :-1])).sum(axis=1)
    lossy = inexact[lost > differ.sum(axis=1) * np.where(whole, 0.01, 0.5)]
    if not lossy.size:
        return
    columns = [str(i) for i in lossy] if names is None else [f'"{names[i]}"' for i in lossy]
    more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
    plural = "s" if len(columns) > 1 else ""
    warn(
        f"{who}: column{plural} {', '.join(columns[:5])}{more} of x hold{'' if plural else 's'} "
        f"values that differ but are the same number in float32, in which models compute. Subtract "
        "an offset first, such as the column's minimum; split time stamps into parts such as day "
        "and hour; leave out numbers that are mere names."
    )


def _sample(array: NDArray[Any]) -> NDArray[Any]:
    """Rows from all over the array, most of them with their neighbours, as (n, columns)."""
    columns = math.prod(array.shape[1:])
    most = min(_SAMPLE_ROWS, max(_BLOCKS * 25, _SAMPLE_NUMBERS // columns))
    if len(array) <= most:
        return array.reshape(len(array), columns)
    starts = np.linspace(0, len(array) - most // _BLOCKS, _BLOCKS).astype(int)
    blocks = [array[start : start + most // _BLOCKS] for start in starts]
    return np.concatenate(blocks).reshape(-1, columns)
