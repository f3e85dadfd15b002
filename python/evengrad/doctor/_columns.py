"""Columns of inputs and targets: scale, constants, and what one of them alone tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from evengrad.doctor._reference import Task

F64 = NDArray[np.float64]
_BINS = 16


@dataclass(frozen=True)
class Columns:
    """What the columns of some rows are like, one number a column.

    `telling`: share of the variance of the targets, or of the answers above chance, that the column
    alone gives right on rows that were not looked at.
    """

    mean: F64
    spread: F64
    telling: F64

    @property
    def constant(self) -> NDArray[np.intp]:
        """Those that are equal in all rows, up to rounding."""
        return np.flatnonzero(self.spread <= 1e-7 * (np.abs(self.mean) + 1e-30))

    @property
    def varying(self) -> NDArray[np.intp]:
        """The others."""
        return np.setdiff1d(np.arange(len(self.mean)), self.constant)


def columns_of(x: NDArray[np.float32], task: Task | None) -> Columns:
    """Look at inputs, one row a sample."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    telling = np.zeros(len(mean))
    if task is not None and len(rows) >= 40:
        telling = np.array([_telling(rows[:, i], task) for i in range(len(mean))])
    return Columns(mean, spread, telling)


def _telling(column: F64, task: Task) -> float:
    """Guess odd rows by the nearest even one, or by straight lines fitted to these."""
    if column.min() == column.max():
        return 0.0
    if task.labels is not None:
        right = float(np.mean(_nearest(column, task.labels) == task.labels[1::2]))
        return (right - task.chance) / (1.0 - task.chance) if task.chance < 1.0 else 0.0
    assert task.values is not None
    return _explained_by_lines(column, task.values, _binned(column))


def _nearest(column: F64, labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Labels of those even rows whose number is nearest to that of each odd row."""
    order = np.argsort(column[::2], kind="stable")
    known, of = column[::2][order], labels[::2][order]
    right = np.clip(np.searchsorted(known, column[1::2]), 1, len(known) - 1)
    nearer = column[1::2] - known[right - 1] < known[right] - column[1::2]
    return of[right - nearer]


def _binned(column: F64) -> NDArray[np.intp]:
    levels = np.unique(column)
    if len(levels) <= 2 * _BINS:
        return np.searchsorted(levels, column)
    edges = np.unique(np.quantile(column, np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    return np.searchsorted(edges, column, side="right")


def _explained_by_lines(column: F64, values: F64, bins: NDArray[np.intp]) -> float:
    """The largest share of the variance of one target that a straight line in each bin gives."""
    fit, judge = slice(0, None, 2), slice(1, None, 2)
    count = int(bins.max()) + 1
    number = np.maximum(1.0, np.bincount(bins[fit], minlength=count))

    def mean(of: F64) -> F64:
        found: F64 = np.bincount(bins[fit], of[fit], minlength=count) / number
        return found

    center = mean(column)
    best = 0.0
    variance = mean((column - center[bins]) ** 2)
    for truth in values.T:
        level = mean(truth)
        slope = mean((column - center[bins]) * (truth - level[bins]))
        slope = np.where(variance > 1e-12 * column.var(), slope / np.maximum(variance, 1e-300), 0.0)
        guess = level[bins] + slope[bins] * (column - center[bins])
        total = float(((truth[judge] - truth[judge].mean()) ** 2).sum())
        if total > 0.0:
            best = max(best, 1.0 - float(((truth[judge] - guess[judge]) ** 2).sum()) / total)
    return best
