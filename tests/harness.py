"""Memory and replays for the tests of kernels, with rubbish wherever a kernel must not look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from evengrad import _core
from evengrad._arena import tensor, vector
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

UNIT = 2.0**-24  # half an ulp of 1 in float32: largest relative error of one rounding
TINY = 2.0**-149  # the smallest denormal: largest absolute error of one rounding below 2^-126
SPARE = 3  # samples of capacity beyond the batch

# Around the widths of vectors, register tiles and chunks of rows.
SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 100]
ROWS = [1, 2, 5, 8, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 300]
# Every size of one with some size of the other, and one whose rows would lie whole pages apart.
SHAPES = [
    *((33, n) for n in SIZES),
    *((5, n) for n in (1, 16, 33)),
    *((r, 17) for r in ROWS),
    *((r, 48) for r in (1, 5, 65, 200)),
    (9, 1024),
]
THREAD_ROWS = [5, 33, 200, 300]
# Rows of a sample: a batch of dense layers over the last axis has more than one.
PER_SAMPLE = [(12, 2), (15, 5), (198, 3), (300, 100)]

# name: (what a kernel made, the reference, largest error allowed); bounds broadcast
Results = dict[str, tuple[Any, Any, Any]]


def draws(seed: int, *shapes: tuple[int, ...]) -> list[F32]:
    """Standard normal numbers, one array for each shape."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def whole(view: Any) -> Any:
    """The rows of a tensor, or a vector, with the padding behind."""
    columns = view.shape[-1]
    padded = -(-columns // 16) * 16
    return np.lib.stride_tricks.as_strided(view, (*view.shape[:-1], padded), view.strides)


def matrix(values: ArrayLike) -> F32:
    """A parameter: padding 0."""
    values = np.asarray(values, dtype=np.float32)
    made = tensor(*values.shape) if values.ndim == 2 else vector(*values.shape)
    made[...] = values
    return made


def batch(values: ArrayLike, per_sample: int = 1) -> F32:
    """An activation: finite rubbish as padding, NaN in the rows beyond the batch."""
    values = np.asarray(values, dtype=np.float32)
    rows, columns = values.shape
    made = tensor(rows + SPARE * per_sample, columns)
    whole(made)[...] = -123.0
    made[rows:] = np.nan
    made[:rows] = values
    return made


def upstream(values: ArrayLike, per_sample: int = 1) -> F32:
    """A gradient dy: padding 0, NaN in the rows beyond the batch."""
    made = batch(values, per_sample)
    whole(made)[:, made.shape[1] :] = 0.0
    return made


def output(rows: int, columns: int, per_sample: int = 1) -> F32:
    """What a kernel is to fill: NaN everywhere, padding included."""
    made = tensor(rows + SPARE * per_sample, columns)
    whole(made)[...] = np.nan
    return made


def blank(like: Any) -> F32:
    """A gradient of a parameter, to be filled: NaN everywhere, padding included."""
    made = tensor(*like.shape) if like.ndim == 2 else vector(*like.shape)
    whole(made)[...] = np.nan
    return made


def taken(made: F32, rows: int, *, gradient: bool = False) -> F32:
    """The rows a kernel filled; the others must be as they were, padding as the header says."""
    assert np.isnan(made[rows:]).all(), "rows beyond the batch were touched"
    _check_padding(whole(made)[:rows, made.shape[1] :], gradient)
    return made[:rows].copy()


def parameter_gradient(made: F32) -> F32:
    _check_padding(whole(made)[..., made.shape[-1] :], True)
    return made.copy()


def _check_padding(padding: F32, gradient: bool) -> None:
    if gradient:
        assert (padding == 0.0).all(), "padding of a gradient is not 0"
    else:
        assert np.isfinite(padding).all(), "padding of an activation is not finite"


def run(
    rows: int,
    record: Callable[[_core.Program], object],
    *,
    per_sample: int = 1,
    threads: int = 1,
    **scalars: Any,
) -> _core.Program:
    """Record into a new program and replay it once over `rows` rows."""
    samples = rows // per_sample
    assert samples * per_sample == rows
    program = _core.Program(samples + SPARE)
    with number_of_threads(threads):
        if threads > 1:
            _add_ballast(program, samples)
        record(program)
        program.run(samples, **scalars)
    return program


def _add_ballast(program: _core.Program, samples: int) -> None:
    """Work enough that the replay is not left to one thread."""
    n = int(np.ceil(np.sqrt(1.5e6 / samples)))
    x, y = tensor(program.capacity, n), tensor(program.capacity, n)
    program.dense_forward(x, tensor(n, n), None, y)


@contextmanager
def number_of_threads(threads: int) -> Iterator[None]:
    before = _core.get_num_threads()
    _core.set_num_threads(threads)
    try:
        if _core.get_num_threads() < threads:
            pytest.skip(f"needs {threads} threads")
        yield
    finally:
        _core.set_num_threads(before)


def check(results: Results) -> None:
    """Each result within its bound, element by element."""
    for name, (values, right, bound) in results.items():
        made, expected = np.asarray(values, dtype=np.float64), np.asarray(right)
        assert made.shape == expected.shape, name
        error, allowed = np.abs(made - expected), np.broadcast_to(bound, made.shape)
        wrong = ~(error <= allowed)
        if not wrong.any():
            continue
        worst = np.argmax(np.where(wrong, error / (allowed + TINY), 0.0))
        at = tuple(int(i) for i in np.unravel_index(worst, made.shape))
        raise AssertionError(
            f"{name}{list(at)}: got {made[at]!r}, expected {expected[at]!r} "
            f"+- {allowed[at]:.3g}; {wrong.sum()} of {wrong.size} wrong"
        )


def check_threads(case: Callable[..., Results], *arguments: Any, **options: Any) -> None:
    """The same bits with one thread and with two, several times over."""
    one = case(*arguments, **options, threads=1)
    check(one)
    for _ in range(5):
        two = case(*arguments, **options, threads=2)
        for name, (made, _, _) in one.items():
            assert np.asarray(made).tobytes() == np.asarray(two[name][0]).tobytes(), name
