"""Losses with their gradients, and metrics, against float64 and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _core
from evengrad._arena import tensor, vector
from gradcheck import assert_gradients
from harness import (
    F32,
    PER_SAMPLE,
    SHAPES,
    SPARE,
    THREAD_ROWS,
    TINY,
    UNIT,
    Results,
    batch,
    check,
    check_threads,
    draws,
    output,
    run,
    taken,
)

KINDS = list(reference.LOSSES)
FROM_LOGITS = ("softmax_cross_entropy", "sigmoid_cross_entropy")


def inputs(kind: str, rows: int, columns: int) -> tuple[F32, F32]:
    """x and a dense target such as the loss is made for."""
    x, t = draws(rows + 7 * columns, (rows, columns), (rows, columns))
    uniform = (np.abs(t) % 1.0).astype(np.float32)
    if kind in FROM_LOGITS:
        return 3.0 * x, uniform
    if kind == "mean_squared_error":
        return x, t
    return (0.01 + 0.98 * (np.abs(x) % 1.0)).astype(np.float32), uniform


def error_bounds(kind: str, x: Any, t: Any) -> tuple[Any, Any]:
    """Of each row's loss and of each gradient, before weights and the number of rows.

    In units: n roundings for a sum of n terms, 4 for a logarithm, up to 8 for a sigmoid or an
    exponential, and the few of the formula itself.
    """
    x, t = x.astype(np.float64), np.asarray(t, dtype=np.float64)
    n = x.shape[1]
    if kind == "softmax_cross_entropy":
        p, depth = reference.softmax_forward(x), x.max(axis=1, keepdims=True) - x
        total = t.sum(axis=1, keepdims=True)
        loss = (2 * n + 16 + 4 * np.log(n)) * total[:, 0] + (n + 6) * (t * depth).sum(axis=1)
        # p total - t, or for a label minus the sum of the others' p.
        of_p = (depth + 2 * n + 16) * p
        others = of_p.sum(axis=1, keepdims=True) - of_p
        return UNIT * loss, UNIT * (of_p * total + (others + 4) * t) + TINY
    if kind == "sigmoid_cross_entropy":
        p = reference.ACTIVATIONS["sigmoid"].value(x)
        terms = reference.ACTIVATIONS["softplus"].value(x) + np.abs(x * t)
        return UNIT * (n + 12) * terms.mean(axis=1), UNIT * 12 * (p * (1 - t) + (1 - p) * t) / n
    if kind == "categorical_cross_entropy":
        total = x.sum(axis=1, keepdims=True)
        loss = (t * (1 + np.abs(np.log(x / total)))).sum(axis=1)
        gradient = t.sum(axis=1, keepdims=True) / total + t / x
        return UNIT * (2 * n + 8) * loss, UNIT * (2 * n + 8) * gradient
    if kind == "binary_cross_entropy":
        loss = t * np.abs(np.log(x)) + (1 - t) * (np.abs(np.log(1 - x)) + 1 / (1 - x))
        return UNIT * (n + 8) * loss.mean(axis=1), UNIT * 8 / (x * (1 - x)) / n
    loss = ((x - t) ** 2).mean(axis=1)
    return UNIT * (n + 5) * loss, UNIT * 6 * np.abs(x - t) * 2 / n


def case(
    kind: str,
    rows: int,
    columns: int,
    *,
    sparse: bool = False,
    weighted: bool = False,
    wanted: bool = True,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, t = inputs(kind, rows, columns)
    samples = rows // per_sample
    labels = weight = None
    if sparse:
        labels = np.full(samples + SPARE, -7, dtype=np.int32)
        labels[:samples] = np.arange(samples) * 7 % columns
        t = reference.one_hot(labels[:samples], columns).astype(np.float32)
    if weighted:
        weight = vector(samples + SPARE)
        weight[:] = np.nan
        weight[:samples] = np.abs(draws(rows, (samples,))[0])
    x_, target = batch(x, per_sample), None if sparse else batch(t, per_sample)
    dx = output(rows, columns, per_sample) if wanted else None
    result = np.full(1, 1.5)
    run(
        rows,
        lambda p: p.loss(kind, x_, labels, target, weight, dx, result),
        per_sample=per_sample,
        threads=threads,
    )
    of_rows = None if weight is None else np.repeat(weight[:samples], per_sample)
    total, gradient, _ = reference.loss(kind, x, t, of_rows)
    loss_bound, dx_bound = error_bounds(kind, x, t)
    weights = np.ones(rows) if of_rows is None else np.abs(of_rows)
    results: Results = {
        "loss": (result - 1.5, [total], (weights * loss_bound).sum() + 1e-14 * abs(total)),
    }
    if dx is not None:
        bound = dx_bound * weights[:, None] / rows + 3 * UNIT * np.abs(gradient)
        results["dx"] = (taken(dx, rows, gradient=True), gradient, bound)
    after = taken(x_, rows)
    if kind == "softmax_cross_entropy":
        p = reference.softmax_forward(x)
        depth = x.max(axis=1, keepdims=True) - x
        results["x"] = (after, p, UNIT * (depth + columns + 12) * p + TINY)
    elif kind == "sigmoid_cross_entropy":
        p = reference.ACTIVATIONS["sigmoid"].value(x.astype(np.float64))
        results["x"] = (after, p, 8 * UNIT * p)
    else:
        results["x"] = (after, x, 0.0)
    return results


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_target(kind: str, rows: int, columns: int) -> None:
    check(case(kind, rows, columns))


@pytest.mark.parametrize(("rows", "columns"), SHAPES[::3])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_weights(kind: str, rows: int, columns: int) -> None:
    check(case(kind, rows, columns, sparse=True))
    check(case(kind, rows, columns, sparse=True, weighted=True))
    check(case(kind, rows, columns, weighted=True))


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradient(kind: str) -> None:
    results = case(kind, 33, 10, wanted=False, weighted=True)
    assert "dx" not in results
    check(results)


@pytest.mark.parametrize(("rows", "per_sample"), PER_SAMPLE)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_sample(kind: str, rows: int, per_sample: int) -> None:
    check(case(kind, rows, 10, per_sample=per_sample, weighted=True))


@pytest.mark.parametrize("rows", THREAD_ROWS)
@pytest.mark.parametrize("kind", KINDS)
def test_threads(kind: str, rows: int) -> None:
    check_threads(case, kind, rows, 10, weighted=True)
    check_threads(case, kind, rows, 65, sparse=True)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("margin", [5.0, 17.0, 30.0, 88.0, 105.0, 1e4, 1e30])
def test_softmax_gradient_at_any_logit(margin: float, sparse: bool) -> None:
    """p - y, also where p is 0 or 1 in float32: wrong by `margin`, and right by as much."""
    x = np.array([[margin, 0.0, 0.0], [0.0, margin, 0.0]], dtype=np.float32)
    labels = np.array([1, 1, -7, -7, -7], dtype=np.int32)
    target = batch(reference.one_hot(labels[:2], 3))
    x_, dx, result = batch(x), output(2, 3), np.zeros(1)
    run(
        2,
        lambda p: p.loss(
            "softmax_cross_entropy",
            x_,
            labels if sparse else None,
            None if sparse else target,
            None,
            dx,
            result,
        ),
    )
    losses, _ = reference.softmax_cross_entropy(x, reference.one_hot([1, 1], 3))
    np.testing.assert_allclose(result[0], losses.sum(), rtol=1e-6)
    small = np.exp(-float(np.float64(margin))) if margin < 700 else 0.0
    p = 1.0 / (1.0 + 2.0 * small)
    wrong = np.array([p, small * p - 1.0, small * p]) / 2.0
    right = np.array([small * p, -2.0 * small * p, small * p]) / 2.0
    np.testing.assert_allclose(dx[0], wrong, rtol=1e-5, atol=2 * TINY)
    # From labels the small gradient of a right answer keeps its digits.
    np.testing.assert_allclose(dx[1], right, rtol=1e-5, atol=2 * TINY if sparse else UNIT)


@pytest.mark.parametrize("margin", [5.0, 17.0, 30.0, 88.0, 105.0, 1e4, 1e30])
def test_sigmoid_gradient_at_any_logit(margin: float) -> None:
    x = np.array([[margin, -margin, margin, -margin]], dtype=np.float32)
    t = np.array([[0.0, 1.0, 1.0, 0.0]], dtype=np.float32)
    x_, dx, result = batch(x), output(1, 4), np.zeros(1)
    run(1, lambda p: p.loss("sigmoid_cross_entropy", x_, None, batch(t), None, dx, result))
    with np.errstate(under="ignore"):
        small = float(np.exp(-np.float64(margin)))
    p = small / (1.0 + small)
    expected = np.array([1.0 - p, p - 1.0, -p, p]) / 4.0
    np.testing.assert_allclose(dx[0], expected, rtol=1e-5, atol=2 * TINY)
    right = 2.0 * (float(np.float32(margin)) + 2.0 * np.log1p(small)) / 4.0
    np.testing.assert_allclose(result[0], right, rtol=1e-6)


@pytest.mark.parametrize("kind", ["categorical_cross_entropy", "binary_cross_entropy"])
def test_probabilities_are_held_inside(kind: str) -> None:
    x = np.array([[0.0, 1.0], [1e-9, 0.5], [1.0, 0.0], [0.3, 0.7]], dtype=np.float32)
    t = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    dx, result = output(4, 2), np.zeros(1)
    run(4, lambda p: p.loss(kind, batch(x), None, batch(t), None, dx, result))
    _, gradient = reference.LOSSES[kind](x, t)
    np.testing.assert_allclose(dx[:4], gradient, rtol=1e-5)
    # The limits are float32 numbers, as in Keras: the upper one is 1 - 1.19e-7.
    p = x / x.sum(axis=1, keepdims=True) if kind.startswith("categorical") else x
    p = np.clip(p, np.float32(1e-7), np.float32(1.0) - np.float32(1e-7)).astype(np.float64)
    terms = t * np.log(p)
    if kind.startswith("binary"):
        terms = (terms + (1.0 - t) * np.log(1.0 - p)) / 2.0
    np.testing.assert_allclose(result[0], -terms.sum(), rtol=1e-6)


@pytest.mark.parametrize("sparse", [True, False])
def test_target_of_zero_ignores_its_logit(sparse: bool) -> None:
    # -t log p of t = 0 is 0 even where p is 0: a masked class may have a logit of -inf.
    x_, dx, result = batch([[1.0, 2.0, -np.inf]]), output(1, 3), np.zeros(1)
    labels = np.array([1, -7, -7, -7], np.int32) if sparse else None
    target = None if sparse else batch([[0.25, 0.75, 0.0]])
    program = run(
        1, lambda p: p.loss("softmax_cross_entropy", x_, labels, target, None, dx, result)
    )
    assert program.failure is None
    shares = [0.0, 1.0] if sparse else [0.25, 0.75]
    losses, gradient = reference.softmax_cross_entropy([[1.0, 2.0]], [shares])
    np.testing.assert_allclose(result[0], losses[0], rtol=1e-6)
    np.testing.assert_allclose(dx[0], [*gradient[0], 0.0], rtol=1e-5)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_non_finite_loss_ends_the_replay(kind: str, wanted: bool) -> None:
    """Only one that is being differentiated does; evaluation may report what it is."""
    x, t = inputs(kind, 9, 5)
    x[4, 2] = np.nan
    dx, result, later = output(9, 5) if wanted else None, np.full(1, 1.5), np.zeros(1)

    def record(p: _core.Program) -> None:
        p.loss(kind, batch(x), None, batch(t), None, dx, result)
        p.metric("squared_error", batch(np.ones((9, 5))), None, batch(t), later)

    program = run(9, record)
    if wanted:
        assert program.failure == ("loss", 0)
        assert result[0] == 1.5
        assert later[0] == 0.0
    else:
        assert program.failure is None
        assert np.isnan(result[0])
        assert later[0] > 0.0


@pytest.mark.parametrize("label", [-1, 5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("kind", KINDS)
def test_label_out_of_range_ends_the_replay(kind: str, label: int) -> None:
    x, _ = inputs(kind, 9, 5)
    labels = np.zeros(9 + SPARE, dtype=np.int32)
    labels[6] = label
    program = run(
        9, lambda p: p.loss(kind, batch(x), labels, None, None, output(9, 5), np.zeros(1))
    )
    assert program.failure == ("label", label)
    labels[6] = 4
    program.run(9)
    assert program.failure is None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_by_finite_differences(kind: str, sparse: bool, weighted: bool) -> None:
    rows, columns = 5, 4
    x, t = inputs(kind, rows, columns)
    if kind not in FROM_LOGITS:
        x = (0.2 + 0.6 * (np.abs(x) % 1.0)).astype(np.float32)
    labels = np.arange(rows + SPARE, dtype=np.int32) % columns if sparse else None
    target = None if sparse else batch(t)
    weight = None
    if weighted:
        weight = vector(rows + SPARE)
        weight[:] = 0.5 + np.arange(rows + SPARE)
    start, x_, dx, result = batch(x), batch(x), output(rows, columns), np.zeros(1)

    def record(p: _core.Program) -> None:
        p.reshape(start, x_)  # the loss replaces logits by probabilities
        p.loss(kind, x_, labels, target, weight, dx, result)

    program = run(rows, record)
    gradient = dx[:rows].copy()

    def loss() -> float:
        result[0] = 0.0
        program.run(rows)
        return float(result[0]) / rows

    assert_gradients(loss, {"x": start[:rows]}, {"x": gradient})


def test_exactly_one_truth() -> None:
    p, x = _core.Program(2), tensor(2, 3)
    both: list[tuple[Any, Any]] = [(None, None), (np.zeros(2, np.int32), tensor(2, 3))]
    for labels, target in both:
        with pytest.raises(ValueError, match=r"^labels, target: expected exactly one of the two"):
            p.loss("mean_squared_error", x, labels, target, None, None, np.zeros(1))
        with pytest.raises(ValueError, match=r"^labels, target: expected exactly one of the two"):
            p.metric("squared_error", x, labels, target, np.zeros(1))


def test_unknown_kind() -> None:
    p, x = _core.Program(2), tensor(2, 3)
    with pytest.raises(ValueError, match=r"^kind: expected one of softmax_cross.*, got 'mse'"):
        p.loss("mse", x, None, tensor(2, 3), None, None, np.zeros(1))
    with pytest.raises(ValueError, match=r"^kind: expected one of sparse_accuracy.*, got 'mse'"):
        p.metric("mse", x, None, tensor(2, 3), np.zeros(1))


# Metrics


def metric(
    kind: str, rows: int, columns: int, *, sparse: bool, per_sample: int = 1, threads: int = 1
) -> Results:
    x, t = draws(rows + 7 * columns, (rows, columns), (rows, columns))
    x = (np.round(4.0 * x) / 4.0).astype(np.float32)  # ties
    samples = rows // per_sample
    labels = target = None
    if sparse:
        labels = np.full(samples + SPARE, -7, dtype=np.int32)
        labels[:samples] = np.arange(samples) * 7 % columns
        t = reference.one_hot(labels[:samples], columns).astype(np.float32)
    else:
        if kind.endswith("accuracy"):
            t = reference.one_hot(np.arange(rows) * 7 % columns, columns).astype(np.float32)
        target = batch(t, per_sample)
    x_, result = batch(x, per_sample), np.full(1, 1.5)
    run(
        rows,
        lambda p: p.metric(kind, x_, labels, target, result),
        per_sample=per_sample,
        threads=threads,
    )
    np.testing.assert_array_equal(taken(x_, rows), x)
    expected = reference.METRICS[kind](reference.f64(x), reference.f64(t)).sum()
    return {"metric": (result - 1.5, [expected], 1e-13 * (abs(expected) + rows))}  # float64


METRICS = [
    ("sparse_accuracy", True),
    ("categorical_accuracy", False),
    *(
        (k, s)
        for k in ("binary_accuracy", "squared_error", "absolute_error")
        for s in (True, False)
    ),
]


@pytest.mark.parametrize(("kind", "sparse"), METRICS)
def test_metrics(kind: str, sparse: bool) -> None:
    for rows, columns in SHAPES:
        check(metric(kind, rows, columns, sparse=sparse))
    if not sparse:
        check(metric(kind, 300, 10, sparse=False, per_sample=100))
    for rows in THREAD_ROWS:
        check_threads(metric, kind, rows, 10, sparse=sparse)


def test_accuracy_of_ties_and_nan_is_that_of_argmax() -> None:
    x = np.array([[1, 2, 2], [3, 3, 1], [np.nan, 5, np.nan], [5, np.nan, 6]], dtype=np.float32)
    first = x.argmax(axis=1).astype(np.int32)
    labels = np.concatenate([first, np.zeros(SPARE, np.int32)])
    result = np.zeros(1)
    run(4, lambda p: p.metric("sparse_accuracy", batch(x), labels, None, result))
    assert result[0] == 4.0


def test_binary_accuracy_at_one_half() -> None:
    x, t, result = [[0.5, 0.50001, 0.4, np.nan]], [[0.0, 1.0, 0.0, 1.0]], np.zeros(1)
    run(1, lambda p: p.metric("binary_accuracy", batch(x), None, batch(t), result))
    assert result[0] == 0.75


def test_accuracies_want_their_truth() -> None:
    p, x, labels = _core.Program(2), tensor(2, 3), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match=r"^labels, target: sparse_accuracy expects labels"):
        p.metric("sparse_accuracy", x, None, tensor(2, 3), np.zeros(1))
    with pytest.raises(ValueError, match=r"^labels, target: categorical_accuracy expects target"):
        p.metric("categorical_accuracy", x, labels, None, np.zeros(1))
