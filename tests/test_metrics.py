"""Kernels of metrics against float64, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _core
from evengrad._arena import tensor, vector
from harness import (
    F32,
    SHAPES,
    SPARE,
    THREAD_ROWS,
    Results,
    batch,
    check,
    check_threads,
    draws,
    run,
    taken,
)


class Truth:
    """Predictions with ties, and what is right: as labels or as a target; weights or none."""

    def __init__(
        self, rows: int, columns: int, *, sparse: bool, weighted: bool, per_sample: int = 1
    ) -> None:
        x, u = draws(rows + 7 * columns, (rows, columns), (rows, 1))
        self.x = (np.round(4.0 * x) / 4.0).astype(np.float32)
        samples, ids = rows // per_sample, np.arange(rows) * 7 % columns
        self.t = reference.one_hot(ids, columns).astype(np.float32)
        self.labels = self.target = self.weight = None
        if sparse:
            self.labels = np.full(samples + SPARE, -7, np.int32)
            self.labels[:samples] = ids
        else:
            self.target = batch(self.t, per_sample)
        self.of_rows = np.ones(rows)
        if weighted:
            self.weight = vector(samples + SPARE)
            self.weight[:] = np.nan
            self.weight[:samples] = np.abs(u[:samples, 0])
            self.of_rows = np.repeat(self.weight[:samples].astype(np.float64), per_sample)
        self.x_ = batch(self.x, per_sample)

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.x_, self.labels, self.target, self.weight


def metric(
    kind: str,
    rows: int,
    columns: int,
    *,
    sparse: bool,
    weighted: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    truth = Truth(rows, columns, sparse=sparse, weighted=weighted, per_sample=per_sample)
    result = np.full(2, 1.5)
    run(
        rows,
        lambda p: p.metric(kind, *truth.arguments, result),
        per_sample=per_sample,
        threads=threads,
    )
    np.testing.assert_array_equal(taken(truth.x_, rows), truth.x)
    values = reference.METRICS[kind](reference.f64(truth.x), reference.f64(truth.t))
    expected = [(truth.of_rows * values).sum(), truth.of_rows.sum()]
    # Counts of columns, divided in float32.
    rounding = 2.0**-20 if kind == "binary_accuracy" else 1e-13
    return {"metric": (result - 1.5, expected, rounding * (1.5 + np.array(expected)))}


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("kind", list(reference.METRICS))
def test_means_over_rows(kind: str, sparse: bool) -> None:
    for rows, columns in SHAPES:
        check(metric(kind, rows, columns, sparse=sparse))
        check(metric(kind, rows, columns, sparse=sparse, weighted=True))
    if not sparse:
        check(metric(kind, 300, 10, sparse=False, per_sample=100, weighted=True))
    for rows in THREAD_ROWS:
        check_threads(metric, kind, rows, 10, sparse=sparse, weighted=True)


@pytest.mark.parametrize("columns", [3, 40])
def test_accuracy_of_ties_and_nan_is_that_of_argmax(columns: int) -> None:
    rows = np.array([[1, 2, 2], [3, 3, 1], [np.nan, 5, np.nan], [5, np.nan, 6]], np.float32)
    x = np.full((8, columns), -9.0, np.float32)
    x[:4, :3], x[4:, -3:] = rows, rows
    first = x.argmax(axis=1).astype(np.int32)
    assert hits(x, labels=first) == 8.0
    assert hits(x, labels=np.where(first == 0, 1, 0)) == 0.0
    assert hits(x, target=x) == 8.0  # which has ties and NaN as well


def hits(x: F32, labels: Any = None, target: F32 | None = None) -> float:
    result, given = np.zeros(2), None
    if labels is not None:
        given = np.concatenate([labels, np.zeros(SPARE)]).astype(np.int32)
    truth = None if target is None else batch(target)
    run(len(x), lambda p: p.metric("categorical_accuracy", batch(x), given, truth, None, result))
    return float(result[0])


def test_binary_accuracy_at_one_half() -> None:
    x, t, result = [[0.5, 0.50001, 0.4, np.nan]], [[0.0, 1.0, 0.0, 1.0]], np.zeros(2)
    run(1, lambda p: p.metric("binary_accuracy", batch(x), None, batch(t), None, result))
    assert result[0] == 0.75


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_of_ties_and_nan(k: int) -> None:
    """Equal ones do not count against a class; NaN is among no top k."""
    x = np.array([[2, 2, 1], [1, 2, 3], [np.nan, 1, 0], [0, np.nan, 1]], np.float32)
    labels = np.array([1, 0, 0, 2, -7, -7, -7], np.int32)
    result = np.zeros(2)
    run(4, lambda p: p.metric("top_k_accuracy", batch(x), labels, None, None, result, [k]))
    assert result[0] == 2.0 + (k >= 3)


@pytest.mark.parametrize("label", [-1, 5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("kind", [*reference.METRICS, "confusion", "f_score_sums", "r2_sums"])
def test_label_out_of_range_ends_the_replay(kind: str, label: int) -> None:
    labels = np.zeros(9 + SPARE, np.int32)
    labels[6] = label

    def record(p: _core.Program) -> None:
        x = batch(np.ones((9, 5)))
        if kind == "confusion":
            p.confusion(x, labels, None, None, [0.5], np.zeros(4))
        elif kind.endswith("_sums"):
            getattr(p, kind)(x, labels, None, None, np.zeros(17))
        else:
            p.metric(kind, x, labels, None, None, np.zeros(2))

    program = run(9, record)
    assert program.failure == ("label", label)


# Counts between thresholds

THRESHOLDS = [[0.5], [-1.0, -0.25, 0.0, 0.6], list(np.linspace(-2.0, 2.0, 50))]


def confusion(
    thresholds: list[float],
    rows: int,
    columns: int,
    *,
    sparse: bool = False,
    weighted: bool = False,
    threads: int = 1,
    **options: Any,
) -> Results:
    truth = Truth(rows, columns, sparse=sparse, weighted=weighted)
    by_column = options.get("by_column", False)
    result = np.full((columns if by_column else 1) * 2 * (len(thresholds) + 1), 1.5)
    run(
        rows,
        lambda p: p.confusion(*truth.arguments, thresholds, result, **options),
        threads=threads,
    )
    x = truth.x.astype(np.float64)
    if k := options.get("top_k"):
        order = np.argsort(-x, axis=1, kind="stable")
        np.put_along_axis(x, order[:, k:], -1e10, axis=1)
    right = reference.confusion(x, truth.t, truth.of_rows, np.float32(thresholds))
    if "class_id" in options:
        right[np.arange(columns) != options["class_id"]] = 0.0
    right = right if by_column else right.sum(axis=0)
    return {"counts": (result - 1.5, right.ravel(), 1e-13 * (rows + right.ravel()))}


@pytest.mark.parametrize("thresholds", THRESHOLDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_confusion(thresholds: list[float], weighted: bool) -> None:
    for rows, columns in [(1, 1), (5, 3), (70, 16), (33, 17), (300, 40), (1, 100)]:
        for sparse in (False, True):
            check(confusion(thresholds, rows, columns, sparse=sparse, weighted=weighted))
        check(confusion(thresholds, rows, columns, weighted=weighted, by_column=True))
        check(confusion(thresholds, rows, columns, weighted=weighted, class_id=columns - 1))
        for k in (1, 2, columns, columns + 5):
            check(confusion(thresholds, rows, columns, weighted=weighted, top_k=k))
    check_threads(confusion, thresholds, 1000, 40, weighted=weighted)


def test_even_thresholds() -> None:
    """i / 8: what is at one is not above it; the first is below 0 and counts all."""
    x = np.array([[0.0, 0.125, 0.13, 1.0, -3.0, 7.0, np.nan]], np.float32)
    thresholds = [-1e-7, *(i / 8 for i in range(1, 8)), 1.0 + 1e-7]
    result = np.zeros(2 * 10)
    run(1, lambda p: p.confusion(batch(x), None, batch(np.ones_like(x)), None, thresholds, result,
                                 even=True))  # fmt: skip
    np.testing.assert_array_equal(result[10:], [0, 4, 1, 0, 0, 0, 0, 0, 2, 0])
    inner = [i / 8 for i in range(9)]
    result[:] = 0.0
    run(1, lambda p: p.confusion(batch(x), None, batch(np.ones_like(x)), None, inner, result,
                                 even=True))  # fmt: skip
    np.testing.assert_array_equal(result[10:], [3, 1, 1, 0, 0, 0, 0, 0, 2, 0])


def test_bad_thresholds() -> None:
    p, x = _core.Program(2), tensor(2, 3)
    for bad, word in (([], "at least one"), ([0.5, 0.1], "ascending")):
        with pytest.raises(ValueError, match=rf"^thresholds: expected {word}"):
            p.confusion(x, None, tensor(2, 3), None, bad, np.zeros(4))
    for options, word in (({"top_k": -1}, "top_k"), ({"class_id": 3}, "class_id: .* below 3")):
        with pytest.raises(ValueError, match=rf"^{word}"):
            p.confusion(x, None, tensor(2, 3), None, [0.5], np.zeros(4), **options)


# Sums by column


def sums(
    kind: str,
    threshold: float,
    rows: int,
    columns: int,
    *,
    sparse: bool = False,
    weighted: bool = False,
    threads: int = 1,
) -> Results:
    truth = Truth(rows, columns, sparse=sparse, weighted=weighted)
    result = np.full(3 * columns + 2, 1.5)

    def record(p: _core.Program) -> None:
        if kind == "r2_sums":
            p.r2_sums(*truth.arguments, result)
        else:
            p.f_score_sums(*truth.arguments, result, threshold)

    run(rows, record, threads=threads)
    x, t, w = reference.f64(truth.x), reference.f64(truth.t), truth.of_rows[:, None]
    yes = x > threshold
    if threshold < 0.0:
        yes = (x == x.max(axis=1, keepdims=True)) & (np.abs(x) > 1e-9)
    terms = (t, t * t, (x - t) ** 2) if kind == "r2_sums" else (t * yes, yes, t)
    right = np.concatenate([*((w * term).sum(axis=0) for term in terms), [w.sum(), rows]])
    return {"sums": (result - 1.5, right, 1e-13 * (rows + right))}


@pytest.mark.parametrize(
    ("kind", "threshold"), [("r2_sums", 0.0), ("f_score_sums", 0.25), ("f_score_sums", -1.0)]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_by_column(kind: str, threshold: float, weighted: bool) -> None:
    for rows, columns in [(1, 1), (5, 3), (70, 16), (33, 17), (300, 40), (1, 100)]:
        for sparse in (False, True):
            check(sums(kind, threshold, rows, columns, sparse=sparse, weighted=weighted))
    check_threads(sums, kind, threshold, 1000, 40, weighted=weighted)


def test_a_metric_in_no_program_of_another_shape() -> None:
    p: Any = _core.Program(2)
    x: F32 = tensor(2, 3)
    with pytest.raises(ValueError, match=r"^result: expected .*\(11,\)"):
        p.r2_sums(x, None, tensor(2, 3), None, np.zeros(3))
