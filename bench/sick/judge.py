"""What rows say: recall, false alarms, cause, cured, harmed, edits, cost, with 95% intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
DRAWS = 2000


def interval(values: Sequence[float], families: Sequence[str]) -> tuple[float, float, float]:
    """Mean and 95% interval of a bootstrap that draws whole families, for its members are alike."""
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    names, index = np.unique(np.asarray(families), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, np.float64))
    counts = np.bincount(index)
    drawn = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def family_of(row: Row) -> str:
    """Name of the twin."""
    return "-".join(str(row["name"]).split("-")[:2])


def share(rows: Sequence[Row], of: Callable[[Row], float]) -> tuple[float, float, float]:
    """Mean over rows, with its interval."""
    return interval([float(of(row)) for row in rows], [family_of(row) for row in rows])


def accused(row: Row) -> bool:
    """Whether the doctor found anything."""
    return bool(row["diagnosis"]["verdicts"])


def named(row: Row, strictly: bool = False) -> bool:
    """Whether the cause, or another name for it, is among the first two verdicts."""
    right = {row["disease"], *(() if strictly else row["also"])}
    return any(v["disease"] in right for v in row["diagnosis"]["verdicts"][:2])


CURED = 0.95  # of the twin's test score
HARMED = 0.95  # of the run's own test score before


def cured(row: Row, method: str) -> bool:
    """Whether the test score is a healthy network's again."""
    return bool(row["methods"][method]["test"] >= CURED * row["twin_result"][1])


def harmed(row: Row, method: str) -> bool:
    """Whether the test score has become worse by what counts as sick."""
    return bool(row["methods"][method]["test"] < HARMED * row["result"][1])


def edits(row: Row, method: str) -> int:
    """How many things a method has changed."""
    return len(row["methods"][method]["edits"])
