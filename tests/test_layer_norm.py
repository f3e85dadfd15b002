"""Layer normalization: kernels against float64 and finite differences, then the layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _core, layers
from evengrad._arena import tensor
from evengrad._program import Program
from gradcheck import assert_gradients
from harness import (
    F32,
    PER_SAMPLE,
    SHAPES,
    THREAD_ROWS,
    UNIT,
    Results,
    batch,
    blank,
    check,
    check_threads,
    draws,
    matrix,
    output,
    parameter_gradient,
    run,
    taken,
    upstream,
)

EPSILON = 1e-3
CHUNK = 64 + 4  # roundings that a term of a sum over rows goes through, see test_batch_norm.py


def chain(columns: int) -> int:
    """Roundings that a term of a sum over a row goes through: 16 partial sums at least."""
    return columns // 16 + 10


def inputs(rows: int, columns: int, scaled: bool = True) -> tuple[Any, ...]:
    """x of various means and deviations, dy, gamma, beta."""
    x, dy, gamma, beta, shift, scale = draws(
        rows + 7 * columns, *[(rows, columns)] * 2, *[(columns,)] * 2, *[(rows, 1)] * 2
    )
    x = (x * (0.1 + np.abs(scale)) + shift).astype(np.float32)
    return x, dy, (gamma if scaled else None), (beta if scaled else None)


def normalized(x: F32) -> tuple[Any, Any, Any]:
    """|xhat|, 1/std, and a bound on the error of xhat.

    The mean is off by as many units of a deviation as its sum has roundings, 1/std by half the
    relative error of the variance; then come four roundings.
    """
    mean, variance = reference.batch_norm_statistics(x.T)
    inverse = 1.0 / np.sqrt(variance + EPSILON)[:, None]
    xhat = np.abs((x - mean[:, None]) * inverse)
    n = chain(x.shape[1])
    return xhat, inverse, UNIT * (n + (n / 2 + 4) * xhat)


def forward(
    rows: int,
    columns: int,
    *,
    scaled: bool = True,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, _, gamma, beta = inputs(rows, columns, scaled)
    x_ = batch(x, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    mean, inverse = np.full(len(x_), np.nan), np.full(len(x_), np.nan)
    gamma_, beta_ = (None if v is None else matrix(v) for v in (gamma, beta))
    run(
        rows,
        lambda p: p.layer_norm_forward(x_, gamma_, beta_, y, mean, inverse, EPSILON),
        per_sample=per_sample,
        threads=threads,
    )
    assert np.isnan(mean[rows:]).all()
    assert np.isnan(inverse[rows:]).all()
    expected = reference.layer_norm_forward(x, gamma, beta, EPSILON)
    g = 1.0 if gamma is None else np.abs(gamma)
    _, right, off = normalized(x)
    n = chain(columns)
    absolute = np.abs(x).mean(axis=1)
    return {
        "y": (taken(y, rows), expected, g * off + UNIT * (np.abs(expected) + g)),
        "mean": (mean[:rows], x.mean(axis=1, dtype=np.float64), n * UNIT * absolute),
        "inverse": (inverse[:rows], right[:, 0], n * UNIT * right[:, 0]),
    }


def backward(
    rows: int,
    columns: int,
    *,
    scaled: bool = True,
    wanted: tuple[str, ...] = ("dx", "dgamma", "dbeta"),
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, dy, gamma, beta = inputs(rows, columns, scaled)
    dy_ = upstream(dy, per_sample)
    dx = None
    if "dx" in wanted:
        dx = dy_ if in_place else output(rows, columns, per_sample)
    dgamma = blank(x[0]) if "dgamma" in wanted else None
    dbeta = blank(x[0]) if "dbeta" in wanted else None
    gamma_, beta_ = (None if v is None else matrix(v) for v in (gamma, beta))

    def record(p: _core.Program) -> None:
        x_, y = batch(x, per_sample), output(rows, columns, per_sample)
        mean, inverse = np.zeros(len(x_)), np.zeros(len(x_))
        p.layer_norm_forward(x_, gamma_, beta_, y, mean, inverse, EPSILON)
        p.layer_norm_backward(x_, gamma_, mean, inverse, dy_, dgamma, dbeta, dx)

    run(rows, record, per_sample=per_sample, threads=threads)
    right_dx, right_dgamma, right_dbeta = reference.layer_norm_backward(x, gamma, dy, EPSILON)
    xhat, inverse, off = normalized(x)
    ady = np.abs(dy)
    inner = ady * (1.0 if gamma is None else np.abs(gamma))
    n = chain(columns)
    # dx = inverse (g - mean g - xhat mean(g xhat)), each part with its error, and the whole with
    # that of 1/std and five roundings.
    first, second = inner.mean(axis=1, keepdims=True), (inner * xhat).mean(axis=1, keepdims=True)
    bound = n * UNIT * (first + xhat * second) + off * second
    bound = bound + xhat * (inner * off).mean(axis=1, keepdims=True)
    bound = (bound + (n / 2 + 5) * UNIT * (inner + first + xhat * second)) * inverse
    results: Results = {}
    if dx is not None:
        results["dx"] = (taken(dx, rows, gradient=True), right_dx, bound)
    if dgamma is not None:
        bound = (ady * off).sum(axis=0) + CHUNK * UNIT * (ady * xhat).sum(axis=0)
        results["dgamma"] = (parameter_gradient(dgamma), right_dgamma, bound)
    if dbeta is not None:
        bound = CHUNK * UNIT * ady.sum(axis=0)
        results["dbeta"] = (parameter_gradient(dbeta), right_dbeta, bound)
    return results


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_forward(rows: int, columns: int) -> None:
    check(forward(rows, columns))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_backward(rows: int, columns: int) -> None:
    check(backward(rows, columns))


def test_without_gamma_and_beta() -> None:
    check(forward(65, 33, scaled=False))
    check(backward(65, 33, scaled=False))


@pytest.mark.parametrize("wanted", [("dx",), ("dgamma",), ("dbeta",), ("dgamma", "dbeta"), ()])
def test_backward_computes_what_is_wanted(wanted: tuple[str, ...]) -> None:
    check(backward(65, 33, wanted=wanted))


@pytest.mark.parametrize("rows", THREAD_ROWS)
@pytest.mark.parametrize("threads", [1, 2])
def test_in_place(rows: int, threads: int) -> None:
    check(forward(rows, 33, in_place=True, threads=threads))
    check(backward(rows, 33, in_place=True, threads=threads))
    check(backward(rows, 33, in_place=True, threads=threads, wanted=("dx",)))


@pytest.mark.parametrize(("rows", "per_sample"), PER_SAMPLE)
def test_rows_of_a_sample(rows: int, per_sample: int) -> None:
    check(forward(rows, 17, per_sample=per_sample))
    check(backward(rows, 17, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
@pytest.mark.parametrize("columns", [17, 100])
def test_threads(rows: int, columns: int) -> None:
    check_threads(forward, rows, columns)
    check_threads(backward, rows, columns)


@pytest.mark.parametrize(
    ("ratio", "bound"), [(1e0, 2e-6), (1e2, 1e-5), (1e4, 2e-5), (1e6, 1e-4), (-1e6, 1e-4)]
)
@pytest.mark.parametrize("columns", [10, 300, 1000])
def test_exact_far_from_zero(ratio: float, bound: float, columns: int) -> None:
    """Absolute error of y, of which the largest is about 3, for mean/std = ratio: SEMANTICS.md."""
    x = (draws(1, (33, columns))[0].astype(np.float64) + ratio).astype(np.float32)
    y, mean, inverse = output(33, columns), np.zeros(36), np.zeros(36)
    run(33, lambda p: p.layer_norm_forward(batch(x), None, None, y, mean, inverse, 1e-3))
    expected = reference.layer_norm_forward(x, None, None, 1e-3)
    assert np.abs(taken(y, 33) - expected).max() <= bound


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-20, 1e-10, 1e10, 1e19, 1e25, 1e37])
def test_numbers_of_any_size(scale: float) -> None:
    """Squares beyond the range of float32, with an epsilon that does not hide them."""
    x = draws(1, (5, 33))[0] * np.float32(scale)
    epsilon = scale**2 / 10.0
    y, mean, inverse = output(5, 33), np.zeros(8), np.zeros(8)
    run(5, lambda p: p.layer_norm_forward(batch(x), None, None, y, mean, inverse, epsilon))
    expected = reference.layer_norm_forward(x, None, None, epsilon)
    np.testing.assert_allclose(taken(y, 5), expected, atol=4 * chain(33) * UNIT)


def test_an_outlier_takes_nothing_from_the_others() -> None:
    x = np.asarray(draws(1, (1, 64))[0])
    x[0, 0] = 1e6
    y, mean, inverse = output(1, 64), np.zeros(4), np.zeros(4)
    run(1, lambda p: p.layer_norm_forward(batch(x), None, None, y, mean, inverse, EPSILON))
    expected = reference.layer_norm_forward(x, None, None, EPSILON)
    np.testing.assert_allclose(taken(y, 1), expected, rtol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 1.0, 255.0, -1e4, 1e-30])
def test_a_constant_row_gives_beta(constant: float) -> None:
    x, beta = np.full((9, 20), constant, dtype=np.float32), matrix(draws(1, (20,))[0])
    y, mean, inverse = output(9, 20), np.zeros(12), np.zeros(12)
    run(9, lambda p: p.layer_norm_forward(batch(x), None, beta, y, mean, inverse, EPSILON))
    allowed = 1e-7 + chain(20) ** 2 * UNIT**2 * abs(constant) / np.sqrt(EPSILON)
    assert np.abs(taken(y, 9) - beta).max() <= allowed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_input_spoils_its_row_only(bad: float) -> None:
    x, _, gamma, beta = inputs(40, 33)
    x[3, 5] = bad
    y, mean, inverse = output(40, 33), np.zeros(43), np.zeros(43)
    g, b = matrix(gamma), matrix(beta)
    run(40, lambda p: p.layer_norm_forward(batch(x), g, b, y, mean, inverse, EPSILON))
    np.testing.assert_array_equal(np.isnan(y[:40]).all(axis=1), np.arange(40) == 3)
    np.testing.assert_array_equal(np.isnan(y[:40]).any(axis=1), np.arange(40) == 3)


def test_padding_beyond_the_range_of_numbers() -> None:
    """Whatever stands behind the columns of an activation, gradients end with zeros."""
    x, dy, gamma, _ = inputs(9, 5)
    x_, dx, dgamma = batch(x), output(9, 5), blank(gamma)
    whole = np.lib.stride_tricks.as_strided(x_, (len(x_), 16), x_.strides)
    whole[:, 5:] = np.finfo(np.float32).max
    y, mean, inverse = output(9, 5), np.zeros(12), np.zeros(12)

    def record(p: _core.Program) -> None:
        p.layer_norm_forward(x_, matrix(gamma), None, y, mean, inverse, EPSILON)
        p.layer_norm_backward(
            x_, matrix(gamma), mean, inverse, upstream(dy), dgamma, blank(gamma), dx
        )

    run(9, record)
    taken(y, 9)
    taken(dx, 9, gradient=True)
    parameter_gradient(dgamma)


def test_gradients_by_finite_differences() -> None:
    x, dy, gamma, beta = draws(1, (9, 12), (9, 12), (12,), (12,))
    arrays = {"x": batch(x), "gamma": matrix(gamma), "beta": matrix(beta)}
    x_ = arrays["x"]
    y, dx = output(9, 12), output(9, 12)
    dgamma, dbeta = blank(gamma), blank(beta)
    mean, inverse = np.zeros(12), np.zeros(12)

    def record(p: _core.Program) -> None:
        g, b = arrays["gamma"], arrays["beta"]
        p.layer_norm_forward(x_, g, b, y, mean, inverse, EPSILON)
        p.layer_norm_backward(x_, g, mean, inverse, upstream(dy), dgamma, dbeta, dx)

    program = run(9, record)
    gradients = {"x": dx[:9].copy(), "gamma": dgamma.copy(), "beta": dbeta.copy()}
    arrays["x"] = x_[:9]

    def loss() -> float:
        program.run(9)
        return float((y[:9].astype(np.float64) * dy).sum())

    assert_gradients(loss, arrays, gradients, magnitude=float(np.abs(y[:9] * dy).sum()))


@pytest.mark.parametrize("epsilon", [0.0, -1.0, np.nan])
def test_bad_epsilon(epsilon: float) -> None:
    p, z = _core.Program(2), np.zeros(2)
    with pytest.raises(ValueError, match=r"^epsilon: expected a number above 0, got"):
        p.layer_norm_forward(tensor(2, 3), None, None, tensor(2, 3), z, z.copy(), epsilon)
    with pytest.raises(ValueError, match=r'LayerNormalization "n": expected epsilon in \(0, inf\)'):
        layers.LayerNormalization(epsilon=epsilon, name="n")


# The layer


def passes(layer: layers.Layer, x: F32, dy: F32) -> tuple[Any, Any, list[Any]]:
    layer.build(x.shape[1:])
    program = Program(len(x), training=True)
    source = program.tensor(x.shape[-1], math.prod(x.shape[1:-1]))
    source[...] = x.reshape(source.shape)
    y = layer.record(program, source)
    upstream = program.like(y)
    upstream[...] = dy.reshape(y.shape)
    dx = layer.record_backward(program, upstream, need_dx=True)
    assert dx is not None
    program.run(len(x))
    gradients = [program.gradients[v].reshape(v.shape) for v in layer.trainable_variables]
    return y.reshape(x.shape), dx.reshape(x.shape), gradients


@pytest.mark.parametrize(
    ("shape", "axis", "inside"),
    [
        ((7,), -1, (7,)),
        ((7,), 1, (7,)),
        ((4, 3), -1, (3,)),
        ((4, 3), 2, (3,)),
        ((4, 3), [-2, -1], (4, 3)),
        ((4, 3), (2, 1), (4, 3)),
        ((2, 4, 3), [2, 3], (4, 3)),
        ((2, 4, 3), [1, 2, 3], (2, 4, 3)),
    ],
)
def test_axes(shape: tuple[int, ...], axis: Any, inside: tuple[int, ...]) -> None:
    layer = layers.LayerNormalization(axis)
    layer.build(shape)
    assert [v.shape for v in layer.variables] == [inside, inside]
    x, dy, gamma, beta = draws(1, (6, *shape), (6, *shape), inside, inside)
    layer.set_weights([gamma, beta])
    y, dx, (dgamma, dbeta) = passes(layer, x, dy)
    flat = [v.reshape(-1, math.prod(inside)) for v in (x, dy)]
    gamma, beta = gamma.reshape(-1), beta.reshape(-1)
    right = reference.layer_norm_forward(flat[0], gamma, beta, 1e-3).reshape(x.shape)
    np.testing.assert_allclose(y, right, atol=1e-5)
    np.testing.assert_array_equal(layer(x), y)
    rights = reference.layer_norm_backward(flat[0], gamma, flat[1], 1e-3)
    made = dx.reshape(flat[0].shape), dgamma.reshape(-1), dbeta.reshape(-1)
    for a, b in zip(made, rights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 3, -3, -2, 1, [1], [0, 1, 2], [], [2, 2]])
def test_other_axes(axis: Any) -> None:
    layer = layers.LayerNormalization(axis, name="n")
    with pytest.raises(ValueError, match=r'LayerNormalization "n": expected axis -1.*\(4, 3\)'):
        layer.build((4, 3))
    assert layer.variables == []


@pytest.mark.parametrize("axis", [1.5, "last", None, [1.5], True])
def test_axes_are_integers(axis: Any) -> None:
    with pytest.raises(TypeError, match=r"expected .*axis to be an integer, got"):
        layers.LayerNormalization(axis)


def test_root_mean_square_is_refused() -> None:
    with pytest.raises(ValueError, match="expected rms_scaling=False, got True"):
        layers.LayerNormalization(rms_scaling=True)


def test_a_frozen_layer_hands_gradients_down() -> None:
    layer = layers.LayerNormalization(trainable=False)
    x, dy = draws(1, (6, 5), (6, 5))
    _, dx, gradients = passes(layer, x, dy)
    assert gradients == []
    np.testing.assert_allclose(dx, reference.layer_norm_backward(x, None, dy, 1e-3)[0], atol=1e-5)
