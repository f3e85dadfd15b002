"""What may be the matter with a gradient that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_CLOSE = 1e-3  # of the largest


def cause_of_shape(expected: tuple[int, ...], got: object) -> str:
    """One line, if there is something to say."""
    if got is None:
        return _said("it is left out of what is returned")
    if not isinstance(got, tuple):
        return ""
    if len(expected) > 1 and got == expected[::-1]:
        return _said("it is transposed")
    if got[1:] == expected:
        return _said("the sum over the batch, axis 0, is missing")
    if len(got) > len(expected) and got[len(got) - len(expected) :] == expected:
        return _said("the sum over all axes but the last is missing")
    return ""


def cause_of_values(
    right: F64,
    made: F64,
    wrong: NDArray[Any],
    *,
    inputs: NDArray[np.floating] | None,
    rows: int,
    square: tuple[int, ...] | None,
) -> str:
    """One line, if there is something to say.

    `inputs` are the numbers at which the derivatives are, `square` the shape of all where all are
    there, `rows` the number of samples.
    """
    for what, tried in _candidates(right, rows, square):
        if _equal(made, tried):
            return _said(what)
    if not np.isfinite(made).all():
        return _said("an overflow, a division by 0 or a logarithm of 0")
    power = float(right @ right)
    ratio = float(made @ right) / power if power else 0.0
    if ratio and _equal(made, ratio * right):
        return _said(f"it is {ratio:.4g} times the right one")
    if inputs is not None and wrong.any() and not wrong.all():
        for what, here in (("below", inputs < 0.0), ("above", inputs > 0.0)):
            if np.array_equal(wrong, here):
                return _said(f"the slope {what} 0")
    return ""


def _candidates(right: F64, rows: int, square: tuple[int, ...] | None) -> list[tuple[str, F64]]:
    found = [("it is 0 everywhere", 0.0 * right), ("the sign", -right)]
    if rows > 1:
        found += [
            (
                f"it is divided by {rows}, the number of rows: gradients are sums over the batch, "
                "what is averaged is up to the loss",
                right / rows,
            ),
            (f"it is multiplied by {rows}, the number of rows", right * rows),
            (f"it is divided by the square of {rows}, the number of rows", right / rows**2),
        ]
    if square is not None and len(square) == 2 and square[0] == square[1]:
        transposed = right.reshape(square).T.reshape(-1)
        found += [
            ("it is transposed", transposed),
            ("it is transposed, and the sign", -transposed),
        ]
    return found


def _equal(a: F64, b: F64) -> bool:
    largest = float(np.abs(b).max(initial=0.0))
    return bool(np.all(np.abs(a - b) <= _CLOSE * largest))


def _said(what: str) -> str:
    return f"\nLikely cause: {what}."
