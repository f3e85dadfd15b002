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


PROBABILITIES = ("categorical_cross_entropy", "binary_cross_entropy", "kl_divergence", "poisson")


def inputs(kind: str, rows: int, columns: int) -> tuple[F32, F32]:
    """x and a dense target such as the loss is made for."""
    x, t = draws(rows + 7 * columns, (rows, columns), (rows, columns))
    uniform = (np.abs(t) % 1.0).astype(np.float32)
    if kind in FROM_LOGITS:
        return 3.0 * x, uniform
    if kind in PROBABILITIES:
        return (0.01 + 0.98 * (np.abs(x) % 1.0)).astype(np.float32), uniform
    if kind in ("hinge", "squared_hinge"):
        return x, np.where(t > 0.0, 1.0, 0.0 if rows % 2 else -1.0).astype(np.float32)
    if kind == "categorical_hinge":
        return x, uniform
    if kind == "mean_squared_logarithmic_error":
        return np.abs(x) + np.float32(0.1), np.abs(t)
    return x, t


def error_bounds(kind: str, x: Any, t: Any) -> tuple[Any, Any]:
    """Of each row's loss and of each gradient, before weights and the number of rows.

    In units: n / 16 + 16 roundings for a sum of n terms, which goes by lanes and some rows, 4 for a
    logarithm, up to 8 for a sigmoid or an exponential, and the few of the formula itself.
    """
    x, t = x.astype(np.float64), np.asarray(t, dtype=np.float64)
    n = x.shape[1]
    lanes = n / 16 + 16
    if kind in BOUNDS_BY_ROW:
        return BOUNDS_BY_ROW[kind](x, t, lanes)
    value, slope = SIZES_OF_TERMS[kind](x, t)
    over = 1 if kind == "kl_divergence" else n
    return UNIT * (lanes + 12) * value.sum(axis=1) / over, UNIT * 12 * slope / over


def softmax_bounds(x: Any, t: Any, lanes: float) -> tuple[Any, Any]:
    p, depth = reference.softmax_forward(x), x.max(axis=1, keepdims=True) - x
    total = t.sum(axis=1, keepdims=True)
    loss = (2 * lanes + 16 + 4 * np.log(x.shape[1])) * total[:, 0]
    loss += (lanes + 6) * (t * depth).sum(axis=1)
    # p (total - t) - t (1 - p), where 1 - p is made of the others' p.
    of_p = (depth + 2 * lanes + 16) * p
    others = of_p.sum(axis=1, keepdims=True) - of_p
    return UNIT * loss, UNIT * (of_p * total + (others + 4) * t) + TINY


def sigmoid_bounds(x: Any, t: Any, lanes: float) -> tuple[Any, Any]:
    p = reference.ACTIVATIONS["sigmoid"].value(x)
    terms = reference.ACTIVATIONS["softplus"].value(x) + np.abs(x * t)
    gradient = (p * (1 - t) + (1 - p) * t) / x.shape[1]
    return UNIT * (lanes + 12) * terms.mean(axis=1), UNIT * 12 * gradient


def categorical_bounds(x: Any, t: Any, lanes: float) -> tuple[Any, Any]:
    total = x.sum(axis=1, keepdims=True)
    loss = (t * (1 + np.abs(np.log(x / total)))).sum(axis=1)
    gradient = t.sum(axis=1, keepdims=True) / total + t / x
    return UNIT * (2 * lanes + 8) * loss, UNIT * (2 * lanes + 8) * gradient


def binary_bounds(x: Any, t: Any, lanes: float) -> tuple[Any, Any]:
    loss = t * np.abs(np.log(x)) + (1 - t) * (np.abs(np.log(1 - x)) + 1 / (1 - x))
    return UNIT * (lanes + 8) * loss.mean(axis=1), UNIT * 8 / (x * (1 - x)) / x.shape[1]


def cosine_bounds(x: Any, t: Any, lanes: float) -> tuple[Any, Any]:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    terms = np.abs(x * t) / length / np.linalg.norm(t, axis=1, keepdims=True)
    return UNIT * (2 * lanes + 12) * terms.sum(axis=1), UNIT * (3 * lanes + 16) / length


def categorical_hinge_bounds(x: Any, t: Any, lanes: float) -> tuple[Any, Any]:
    loss = 1.0 + np.abs((1 - t) * x).max(axis=1) + (lanes + 4) * np.abs(t * x).sum(axis=1)
    return UNIT * 4 * loss, UNIT * 4 * np.ones_like(x)


BOUNDS_BY_ROW = {
    "softmax_cross_entropy": softmax_bounds,
    "sigmoid_cross_entropy": sigmoid_bounds,
    "categorical_cross_entropy": categorical_bounds,
    "binary_cross_entropy": binary_bounds,
    "cosine_similarity": cosine_bounds,
    "categorical_hinge": categorical_hinge_bounds,
}


def logarithms(x: Any, t: Any) -> tuple[Any, Any]:
    """The logarithms' own size, and their difference."""
    a, b = np.log1p(x), np.log1p(t)
    return (1 + a + b) * (1 + np.abs(a - b)), (1 + a + b) / (1 + x)


# What rounding errors of an element's value and slope are relative to.
SIZES_OF_TERMS: dict[str, Any] = {
    "mean_squared_error": lambda x, t: ((x - t) ** 2, 2 * np.abs(x - t)),
    "mean_absolute_error": lambda x, t: (np.abs(x - t), np.ones_like(x)),
    "mean_absolute_percentage_error": lambda x, t: (
        100 * np.abs(x - t) / np.maximum(np.abs(t), 1e-7),
        100 / np.maximum(np.abs(t), 1e-7),
    ),
    "mean_squared_logarithmic_error": logarithms,
    "huber": lambda x, t: (np.minimum(np.abs(x - t), (x - t) ** 2), np.abs(x - t)),
    "log_cosh": lambda x, t: (np.minimum(np.abs(x - t), (x - t) ** 2), np.abs(x - t)),
    "hinge": lambda x, t: (1 + np.abs(x), np.ones_like(x)),
    "squared_hinge": lambda x, t: ((1 + np.abs(x)) ** 2, 2 * (1 + np.abs(x))),
    "poisson": lambda x, t: (x + t * (1 + np.abs(np.log(x))), 1 + t / x),
    "kl_divergence": lambda x, t: (
        t * (1 + np.abs(np.log(np.maximum(t, 1e-7) / x))) + 1e-6,
        t / x + 1e-6,
    ),
}


def case(
    kind: str,
    rows: int,
    columns: int,
    *,
    sparse: bool = False,
    weighted: bool = False,
    wanted: bool = True,
    reduction: str = "mean",
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
    result = np.full(2, 1.5)
    run(
        rows,
        lambda p: p.loss(kind, x_, labels, target, weight, dx, result, reduction=reduction),
        per_sample=per_sample,
        threads=threads,
    )
    of_rows = None if weight is None else np.repeat(weight[:samples], per_sample)
    total, gradient, _ = reference.loss(kind, x, t, of_rows)
    loss_bound, dx_bound = error_bounds(kind, x, t)
    weights = np.ones(rows) if of_rows is None else np.abs(of_rows).astype(np.float64)
    by = {"sum": rows, "mean_with_sample_weight": rows / weights.sum()}.get(reduction, 1.0)
    total, gradient, count = by * total, by * gradient, rows
    if reduction == "none":
        count = weights.sum()
    bound = by * (weights * loss_bound).sum() + 1e-14 * abs(total)
    results: Results = {"loss": (result - 1.5, [total, count], [bound, 1e-13 * (1.5 + count)])}
    if dx is not None:
        bound = by * dx_bound * weights[:, None] / rows + 3 * UNIT * np.abs(gradient)
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


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
@pytest.mark.parametrize("kind", KINDS)
def test_reductions(kind: str, reduction: str) -> None:
    for weighted in (False, True):
        check(case(kind, 70, 10, reduction=reduction, weighted=weighted))
        check(case(kind, 12, 10, reduction="none", weighted=weighted, wanted=False))
        check(case(kind, 12, 10, reduction=reduction, weighted=weighted, per_sample=2))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_zero(kind: str) -> None:
    """The mean over no weight is 0, and so is its gradient."""
    x, t = inputs(kind, 9, 5)
    dx, result = output(9, 5), np.zeros(2)
    weight = np.zeros(9 + SPARE, np.float32)
    run(9, lambda p: p.loss(kind, batch(x), None, batch(t), weight, dx, result,
                            reduction="mean_with_sample_weight"))  # fmt: skip
    np.testing.assert_array_equal(result, [0.0, 9.0])
    np.testing.assert_array_equal(dx[:9], np.zeros((9, 5)))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (70, 10), (5, 40)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_of_each_row(kind: str, weighted: bool, rows: int, columns: int) -> None:
    x, t = inputs(kind, rows, columns)
    each, result = np.full(rows + SPARE, np.nan, np.float32), np.zeros(2)
    weight = np.linspace(0.0, 2.0, rows + SPARE, dtype=np.float32) if weighted else None
    run(rows, lambda p: p.loss(kind, batch(x), None, batch(t), weight, None, result,
                               reduction="none", each=each))  # fmt: skip
    losses = reference.LOSSES[kind](x, t)[0]
    weights = np.ones(rows) if weight is None else weight[:rows].astype(np.float64)
    bound = weights * error_bounds(kind, x, t)[0] + UNIT * np.abs(losses) * weights + TINY
    check({"each": (each[:rows], weights * losses, bound)})
    assert np.isnan(each[rows:]).all()
    np.testing.assert_allclose(
        result, [each[:rows].sum(dtype=np.float64), weights.sum()], rtol=1e-6
    )


@pytest.mark.parametrize("columns", [1, 10, 40])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", [k for k in KINDS if k.endswith("cross_entropy")])
def test_label_smoothing(kind: str, smoothing: float, columns: int) -> None:
    x, t = inputs(kind, 9, columns)
    x_, dx, result = batch(x), output(9, columns), np.zeros(2)
    run(9, lambda p: p.loss(kind, x_, None, batch(t), None, dx, result, [smoothing]))
    parts = 2 if kind in ("sigmoid_cross_entropy", "binary_cross_entropy") else columns
    smooth = t.astype(np.float64) * (1.0 - smoothing) + smoothing / parts
    total, gradient, _ = reference.loss(kind, x, smooth)
    loss_bound, dx_bound = error_bounds(kind, x, smooth)
    slack = 3 * UNIT * np.abs(gradient) + dx_bound.max() / 9
    check({
        "loss": (result[:1], [total], 2 * loss_bound.sum()),
        "dx": (taken(dx, 9, gradient=True), gradient, slack),
    })  # fmt: skip


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
    x_, dx, result = batch(x), output(2, 3), np.zeros(2)
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
    # The small gradient of a right answer keeps its digits.
    np.testing.assert_allclose(dx[1], right, rtol=1e-5, atol=2 * TINY)


@pytest.mark.parametrize("margin", [5.0, 17.0, 30.0, 88.0, 105.0, 1e4, 1e30])
def test_sigmoid_gradient_at_any_logit(margin: float) -> None:
    x = np.array([[margin, -margin, margin, -margin]], dtype=np.float32)
    t = np.array([[0.0, 1.0, 1.0, 0.0]], dtype=np.float32)
    x_, dx, result = batch(x), output(1, 4), np.zeros(2)
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
    dx, result = output(4, 2), np.zeros(2)
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


def test_log_cosh_keeps_its_digits() -> None:
    """Near 0 it is d^2 / 2, far below the ln 2 that the formula of large d ends with."""
    d = np.concatenate([10.0 ** np.arange(-15, 15), [0.999, 1.001]]).astype(np.float32)[:, None]
    each, dx = np.zeros(len(d) + SPARE, np.float32), output(len(d), 1)
    run(len(d), lambda p: p.loss("log_cosh", batch(d), None, batch(np.zeros_like(d)), None, dx,
                                 np.zeros(2), reduction="sum", each=each))  # fmt: skip
    wide = d[:, 0].astype(np.float64)
    right = np.where(wide < 1e-3, wide**2 / 2.0 - wide**4 / 12.0, 0.0)
    right = np.where(wide < 1e-3, right, np.logaddexp(wide, -wide) - np.log(2.0))
    np.testing.assert_allclose(each[: len(d)], right, rtol=8 * UNIT)
    np.testing.assert_allclose(dx[: len(d), 0], np.tanh(wide), rtol=4 * UNIT)


@pytest.mark.parametrize("sparse", [True, False])
def test_target_of_zero_ignores_its_logit(sparse: bool) -> None:
    # -t log p of t = 0 is 0 even where p is 0: a masked class may have a logit of -inf.
    x_, dx, result = batch([[1.0, 2.0, -np.inf]]), output(1, 3), np.zeros(2)
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
    dx, result, later = output(9, 5) if wanted else None, np.full(2, 1.5), np.zeros(2)

    def record(p: _core.Program) -> None:
        p.loss(kind, batch(x), None, batch(t), None, dx, result)
        p.metric(
            "binary_accuracy", batch(np.ones((9, 5))), None, batch(np.ones((9, 5))), None, later
        )

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
        9, lambda p: p.loss(kind, batch(x), labels, None, None, output(9, 5), np.zeros(2))
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
    start, x_, dx, result = batch(x), batch(x), output(rows, columns), np.zeros(2)

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
            p.loss("mean_squared_error", x, labels, target, None, None, np.zeros(2))
        with pytest.raises(ValueError, match=r"^labels, target: expected exactly one of the two"):
            p.metric("binary_accuracy", x, labels, target, None, np.zeros(2))


def test_unknown_kind() -> None:
    p, x = _core.Program(2), tensor(2, 3)
    with pytest.raises(ValueError, match=r"^kind: expected one of softmax_cross.*, got 'mse'"):
        p.loss("mse", x, None, tensor(2, 3), None, None, np.zeros(2))
    with pytest.raises(ValueError, match=r"^kind: expected one of binary_accuracy.*, got 'mse'"):
        p.metric("mse", x, None, tensor(2, 3), None, np.zeros(2))
