"""How far two results are apart, and the largest distance seen so far under each name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# One operation in float32: a rounding is 6e-8, a sum of 100 terms about ten of them, an elementary
# function up to four. A wrong formula, constant or order of terms is off by 1e-3 and more.
SINGLE = 1e-5


@dataclass
class Row:
    cases: int
    largest: float
    allowed: float


rows: dict[str, Row] = {}


def record(name: str, error: float, allowed: float) -> None:
    row = rows.setdefault(name, Row(0, 0.0, allowed))
    row.cases += 1
    row.largest = max(row.largest, error)
    assert error <= allowed, f"{name}: relative error {error:.3g}, allowed {allowed:.3g}"


def compare(
    name: str,
    made: Any,
    expected: Any,
    *,
    allowed: float = SINGLE,
    floor: float = 1.0,
    top: float = 0.0,
) -> None:
    """Each |made - expected| against the larger of |expected| and floor times the largest.

    The largest is that of |expected| and `top`: where terms cancel, the size of the terms. A floor
    of 1 suits sums, whose rounding errors are those of their terms however small the sum.
    """
    a, b = np.asarray(made, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert a.shape == b.shape, f"{name}: shape {a.shape}, expected {b.shape}"
    largest = float(np.abs(b).max(initial=top))
    scale = np.maximum(np.abs(b), floor * largest)
    distance = np.abs(a - b)
    error = np.divide(distance, scale, out=np.where(distance == 0.0, 0.0, np.inf), where=scale > 0)
    record(name, float(error.max(initial=0.0)), allowed)


def compare_elements(name: str, made: Any, expected: Any, *, top: float = 0.0) -> None:
    """As `compare`, element by element: those below a tenth of the largest count as that.

    Which leaves them sixteen roundings of the largest, for what cancels in 1 - y or alpha + y.
    """
    compare(name, made, expected, floor=0.1, top=top)


def compare_variable(name: str, made: Any, expected: Any) -> None:
    """||a - b|| <= 1e-4 ||b|| + 1e-6 sqrt(n).

    After many steps errors have gone through the network and back each time. The second term is for
    variables near zero: a bias or beta in front of a batch normalization has no gradient but the
    rounding errors of about 1e-7 a step.
    """
    a, b = np.asarray(made, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert a.shape == b.shape, f"{name}: shape {a.shape}, expected {b.shape}"
    scale = float(np.linalg.norm(b)) + 1e-2 * np.sqrt(b.size)
    record(name, float(np.linalg.norm(a - b)) / scale, 1e-4)


def table() -> list[str]:
    """Name, cases, largest relative error, allowed."""
    width = max(len(name) for name in rows)
    lines = [f"{'':{width}}  cases  largest relative error  allowed"]
    lines += [
        f"{name:{width}}  {row.cases:5}  {row.largest:22.2g}  {row.allowed:7.0e}"
        for name, row in sorted(rows.items())
    ]
    return lines
