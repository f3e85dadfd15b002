"""Batch normalization kernels against float64 and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _core
from evengrad._arena import tensor
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
    number_of_threads,
    output,
    parameter_gradient,
    run,
    taken,
    upstream,
)

EPSILON = 1e-3
# Sums over rows are float32 within chunks of 64 rows and float64 from there on: a term passes
# through 64 roundings at most, and a few more on its way.
CHUNK = 64 + 4


def inputs(rows: int, columns: int, scaled: bool = True) -> tuple[Any, ...]:
    """x of various means and deviations, dy, gamma, beta."""
    x, dy, gamma, beta, shift, scale = draws(
        rows + 7 * columns, (rows, columns), (rows, columns), *[(columns,)] * 4
    )
    x = (x * (0.1 + np.abs(scale)) + shift).astype(np.float32)
    return x, dy, (gamma if scaled else None), (beta if scaled else None)


def normalized_error(x: F32) -> Any:
    """Bound on the error of xhat.

    The mean is off by CHUNK units of the mean magnitude of x - center, at most a deviation, and
    1/std by half the relative error of the variance; then come four roundings.
    """
    mean, variance = reference.batch_norm_statistics(x)
    xhat = np.abs((x - mean) / np.sqrt(variance + EPSILON))
    return UNIT * (CHUNK + (CHUNK / 2 + 4) * xhat)


def forward(
    rows: int, columns: int, *, scaled: bool = True, per_sample: int = 1, threads: int = 1
) -> Results:
    x, _, gamma, beta = inputs(rows, columns, scaled)
    y = output(rows, columns, per_sample)
    mean, variance = np.full(columns, np.nan), np.full(columns, np.nan)
    gamma_, beta_ = (None if v is None else matrix(v) for v in (gamma, beta))
    run(
        rows,
        lambda p: p.batch_norm_forward(
            batch(x, per_sample), gamma_, beta_, y, mean, variance, EPSILON
        ),
        per_sample=per_sample,
        threads=threads,
    )
    expected, right_mean, right_variance = reference.batch_norm_forward(x, gamma, beta, EPSILON)
    g = 1.0 if gamma is None else np.abs(gamma)
    bound = g * normalized_error(x) + UNIT * (np.abs(expected) + g)
    return {
        "y": (taken(y, rows), expected, bound),
        "mean": (mean, right_mean, CHUNK * UNIT * (np.sqrt(right_variance) + np.abs(right_mean))),
        "variance": (variance, right_variance, CHUNK * UNIT * right_variance),
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
        y = output(rows, columns, per_sample)
        mean, variance = np.zeros(columns), np.zeros(columns)
        handle = p.batch_norm_forward(
            batch(x, per_sample), gamma_, beta_, y, mean, variance, EPSILON
        )
        p.batch_norm_backward(handle, gamma_, dy_, dgamma, dbeta, dx)

    run(rows, record, per_sample=per_sample, threads=threads)
    right_dx, right_dgamma, right_dbeta = reference.batch_norm_backward(x, gamma, dy, EPSILON)
    mean, variance = reference.batch_norm_statistics(x)
    inverse = 1.0 / np.sqrt(variance + EPSILON)
    xhat, off, ady = np.abs((x - mean) * inverse), normalized_error(x), np.abs(dy)
    # dgamma sums dy xhat: the error of each xhat, and that of the sum.
    bound_dgamma = (ady * off).sum(axis=0) + CHUNK * UNIT * (ady * xhat).sum(axis=0)
    bound_dbeta = CHUNK * UNIT * ady.sum(axis=0)
    # dx = gamma inverse (dy - dbeta / n - xhat dgamma / n), each part with its error, and the
    # whole with that of 1/std and five roundings.
    parts = ady + (np.abs(right_dbeta) + xhat * np.abs(right_dgamma)) / rows
    bound_dx = (bound_dbeta + xhat * bound_dgamma + off * np.abs(right_dgamma)) / rows
    bound_dx = bound_dx + (CHUNK / 2 + 5) * UNIT * parts
    bound_dx = bound_dx * inverse * (1.0 if gamma is None else np.abs(gamma))
    results: Results = {}
    if dx is not None:
        results["dx"] = (taken(dx, rows, gradient=True), right_dx, bound_dx)
    if dgamma is not None:
        results["dgamma"] = (parameter_gradient(dgamma), right_dgamma, bound_dgamma)
    if dbeta is not None:
        results["dbeta"] = (parameter_gradient(dbeta), right_dbeta, bound_dbeta)
    return results


def inference(
    rows: int,
    columns: int,
    *,
    scaled: bool = True,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, _, gamma, beta = inputs(rows, columns, scaled)
    mean = np.asarray(draws(rows, (columns,))[0], dtype=np.float64) / 3.0
    variance = mean**2 + 0.25
    x_ = batch(x, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    gamma_, beta_ = (None if v is None else matrix(v) for v in (gamma, beta))
    run(
        rows,
        lambda p: p.batch_norm_inference(x_, gamma_, beta_, mean, variance, y, EPSILON),
        per_sample=per_sample,
        threads=threads,
    )
    expected = reference.batch_norm_inference(x, gamma, beta, (mean, variance), EPSILON)
    # x - mean in two subtractions, times a rounded scale, plus beta: the first four relative to
    # the product, the last to the sum.
    product = np.abs(expected - (0.0 if beta is None else beta))
    return {"y": (taken(y, rows), expected, UNIT * (4.0 * product + np.abs(expected)) + 1e-12)}


def frozen_backward(
    rows: int,
    columns: int,
    *,
    scaled: bool = True,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    _, dy, gamma, _ = inputs(rows, columns, scaled)
    variance = np.asarray(draws(rows, (columns,))[0], dtype=np.float64) ** 2
    dy_, gamma_ = upstream(dy, per_sample), None if gamma is None else matrix(gamma)
    dx = dy_ if in_place else output(rows, columns, per_sample)
    run(
        rows,
        lambda p: p.batch_norm_frozen_backward(gamma_, variance, dy_, dx, EPSILON),
        per_sample=per_sample,
        threads=threads,
    )
    expected = dy * ((1.0 if gamma is None else gamma) / np.sqrt(variance + EPSILON))
    # A rounded scale and a product.
    return {"dx": (taken(dx, rows, gradient=True), expected, 3 * UNIT * np.abs(expected))}


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_forward(rows: int, columns: int) -> None:
    check(forward(rows, columns))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_backward(rows: int, columns: int) -> None:
    check(backward(rows, columns))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_inference(rows: int, columns: int) -> None:
    check(inference(rows, columns))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_frozen_backward(rows: int, columns: int) -> None:
    check(frozen_backward(rows, columns))


def test_without_gamma_and_beta() -> None:
    check(forward(33, 20, scaled=False))
    check(backward(33, 20, scaled=False))
    check(inference(33, 20, scaled=False))
    check(frozen_backward(33, 20, scaled=False))


@pytest.mark.parametrize("wanted", [(), ("dx",), ("dgamma",), ("dbeta",), ("dx", "dbeta")])
def test_backward_computes_what_is_wanted(wanted: tuple[str, ...]) -> None:
    results = backward(33, 20, wanted=wanted)
    assert set(results) == set(wanted)
    check(results)


@pytest.mark.parametrize("rows", [1, 33, 200])
def test_in_place(rows: int) -> None:
    check(backward(rows, 20, in_place=True))
    check(inference(rows, 20, in_place=True))
    check(frozen_backward(rows, 20, in_place=True))


@pytest.mark.parametrize(("rows", "per_sample"), PER_SAMPLE)
def test_rows_of_a_sample(rows: int, per_sample: int) -> None:
    for case in (forward, backward, inference, frozen_backward):
        check(case(rows, 20, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
@pytest.mark.parametrize("columns", [1, 17, 100, 784])
def test_threads(rows: int, columns: int) -> None:
    for case in (forward, backward, inference, frozen_backward):
        check_threads(case, rows, columns)
    check_threads(backward, rows, columns, in_place=True)


# Largest absolute error of y, from ../SEMANTICS of the library: |mean| / std against error.
@pytest.mark.parametrize(("ratio", "bound"), [(0.0, 1e-5), (1e2, 1e-5), (1e4, 2e-5), (1e6, 1e-4)])
@pytest.mark.parametrize("rows", [2, 32, 33, 200, 1000])
@pytest.mark.parametrize("std", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_exact_far_from_zero(
    ratio: float, bound: float, rows: int, std: float, sign: float
) -> None:
    columns = 33
    z = draws(rows, (rows, columns))[0].astype(np.float64)
    x = (std * (z + sign * ratio * (1.0 + np.arange(columns) / columns))).astype(np.float32)
    y, mean, variance = output(rows, columns), np.zeros(columns), np.zeros(columns)
    run(rows, lambda p: p.batch_norm_forward(batch(x), None, None, y, mean, variance, EPSILON))
    expected = reference.batch_norm_forward(x, None, None, EPSILON)[0]
    assert np.abs(taken(y, rows) - expected).max() <= bound
    statistics = reference.batch_norm_statistics(x)
    moving_mean, moving_variance = statistics
    y = output(rows, columns)
    run(
        rows,
        lambda p: p.batch_norm_inference(
            batch(x), None, None, moving_mean, moving_variance, y, EPSILON
        ),
    )
    expected = reference.batch_norm_inference(x, None, None, statistics, EPSILON)
    assert np.abs(taken(y, rows) - expected).max() <= bound


@pytest.mark.parametrize("constant", [0.0, 1.0, 255.0, -1e4, 1e-30])
def test_constant_column_gives_beta(constant: float) -> None:
    rows, columns = 77, 20
    x = np.full((rows, columns), constant, dtype=np.float32)
    beta = matrix(draws(1, (columns,))[0])
    y, mean, variance = output(rows, columns), np.zeros(columns), np.zeros(columns)
    run(rows, lambda p: p.batch_norm_forward(batch(x), None, beta, y, mean, variance, EPSILON))
    # The first mean of 64 equal numbers is off by 64 units of them, their distance from it exact
    # and summed with 64 units of error again: times 1 / sqrt(epsilon) this is negligible.
    allowed = 1e-7 + 64**2 * UNIT**2 * abs(constant) / np.sqrt(EPSILON)
    assert np.abs(taken(y, rows) - beta).max() <= allowed
    np.testing.assert_allclose(mean, x[0], rtol=64 * UNIT)
    assert (variance >= 0.0).all()
    assert (variance <= (64 * UNIT * constant) ** 2).all()


def test_one_row_gives_beta() -> None:
    x, gamma, beta = draws(5, (1, 33), (33,), (33,))
    y, mean, variance = output(1, 33), np.zeros(33), np.zeros(33)
    g, b = matrix(gamma), matrix(beta)
    run(1, lambda p: p.batch_norm_forward(batch(x), g, b, y, mean, variance, EPSILON))
    np.testing.assert_array_equal(taken(y, 1)[0], beta)
    np.testing.assert_array_equal(mean, x[0])
    np.testing.assert_array_equal(variance, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_input_spoils_its_column_only(bad: float) -> None:
    x, _, gamma, beta = inputs(40, 33)
    x[3, 5] = bad
    y, mean, variance = output(40, 33), np.zeros(33), np.zeros(33)
    g, b = matrix(gamma), matrix(beta)
    run(40, lambda p: p.batch_norm_forward(batch(x), g, b, y, mean, variance, EPSILON))
    np.testing.assert_array_equal(np.isnan(y[:40]).all(axis=0), np.arange(33) == 5)
    np.testing.assert_array_equal(np.isnan(y[:40]).any(axis=0), np.arange(33) == 5)
    y = output(40, 33)
    run(40, lambda p: p.batch_norm_inference(batch(x), g, b, np.zeros(33), np.ones(33), y, 0.1))
    spoilt = np.zeros((40, 33), dtype=bool)
    spoilt[3, 5] = True
    np.testing.assert_array_equal(~np.isfinite(y[:40]), spoilt)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("debias", [False, True])
@pytest.mark.parametrize("columns", [1, 5, 16, 33])
def test_moving_statistics(momentum: float, debias: bool, columns: int) -> None:
    steps = 7
    means = np.asarray(draws(1, (steps, columns))[0], dtype=np.float64)
    variances = means**2
    mean, variance = np.zeros(columns), np.zeros(columns)
    moving_mean, moving_variance = np.zeros(columns), np.ones(columns)
    count = np.zeros(1, dtype=np.int64)
    program = _core.Program(1)
    program.batch_norm_moving(mean, variance, moving_mean, moving_variance, count, momentum, debias)
    for i in range(steps):
        mean[:], variance[:] = means[i], variances[i]
        program.run(1)
    assert count[0] == steps
    expected = reference.batch_norm_moving(np.zeros(columns), list(means), momentum, debias)
    np.testing.assert_allclose(moving_mean, expected, rtol=1e-12, atol=1e-14)
    expected = reference.batch_norm_moving(np.ones(columns), list(variances), momentum, debias)
    np.testing.assert_allclose(moving_variance, expected, rtol=1e-12, atol=1e-14)


def test_moving_statistics_from_a_warm_count() -> None:
    # After very many batches the debiased update is the plain one.
    moving = []
    for debias, seen in ((True, 10**7), (False, 0)):
        moving_mean, moving_variance = np.zeros(3), np.ones(3)
        program = _core.Program(1)
        count = np.full(1, seen, dtype=np.int64)
        mean, variance = np.full(3, 2.0), np.full(3, 5.0)
        program.batch_norm_moving(mean, variance, moving_mean, moving_variance, count, 0.99, debias)
        program.run(1)
        assert count[0] == seen + 1
        moving.append((moving_mean, moving_variance))
    np.testing.assert_allclose(moving[0], moving[1], rtol=1e-14)


def test_moving_statistics_follow_the_forward_pass() -> None:
    x = draws(1, (200, 33))[0]
    y, mean, variance = output(200, 33), np.zeros(33), np.zeros(33)
    moving_mean, moving_variance = np.zeros(33), np.ones(33)
    count = np.zeros(1, dtype=np.int64)

    def record(p: _core.Program) -> None:
        p.batch_norm_forward(batch(x), None, None, y, mean, variance, EPSILON)
        p.batch_norm_moving(mean, variance, moving_mean, moving_variance, count, 0.99, True)

    run(200, record, threads=2)
    # The first batch, debiased, is the moving statistic.
    np.testing.assert_allclose(moving_mean, mean, rtol=1e-15)
    np.testing.assert_allclose(moving_variance, variance, rtol=1e-15)


def test_several_layers_keep_their_own_statistics() -> None:
    x, dy, gamma, beta = inputs(33, 20)
    g, b = matrix(gamma), matrix(beta)
    middle, y = output(33, 20), output(33, 20)
    first_dx, dx = output(33, 20), output(33, 20)
    mean, variance, mean_2, variance_2 = (np.zeros(20) for _ in range(4))

    def record(p: _core.Program) -> None:
        one = p.batch_norm_forward(batch(x), g, b, middle, mean, variance, EPSILON)
        two = p.batch_norm_forward(middle, None, None, y, mean_2, variance_2, EPSILON)
        assert one != two
        p.batch_norm_backward(two, None, upstream(dy), None, None, first_dx)
        p.batch_norm_backward(one, g, first_dx, None, None, dx)

    run(33, record)
    after = reference.batch_norm_forward(x, gamma, beta, EPSILON)[0]
    right = reference.batch_norm_backward(after, None, dy, EPSILON)[0]
    right = reference.batch_norm_backward(x, gamma, right, EPSILON)[0]
    # Twice the chain of roundings of test_backward, relative to the largest.
    np.testing.assert_allclose(dx[:33], right, rtol=0, atol=1e-4 * np.abs(right).max())


def test_gradients_by_finite_differences() -> None:
    x, dy, gamma, beta = inputs(9, 5)
    arrays = {"x": batch(x), "gamma": matrix(gamma), "beta": matrix(beta)}
    x_ = arrays["x"]
    y, dx = output(9, 5), output(9, 5)
    dgamma, dbeta = blank(gamma), blank(beta)

    def record(p: _core.Program) -> None:
        handle = p.batch_norm_forward(
            x_, arrays["gamma"], arrays["beta"], y, np.zeros(5), np.zeros(5), EPSILON
        )
        p.batch_norm_backward(handle, arrays["gamma"], upstream(dy), dgamma, dbeta, dx)

    program = run(9, record)
    gradients = {"x": dx[:9].copy(), "gamma": dgamma.copy(), "beta": dbeta.copy()}
    arrays["x"] = x_[:9]

    def loss() -> float:
        program.run(9)
        return float((y[:9].astype(np.float64) * dy).sum())

    assert_gradients(loss, arrays, gradients, magnitude=float(np.abs(y[:9] * dy).sum()))


def test_threads_of_a_chain() -> None:
    """Kernels that follow each other without a barrier, in both ways of sharing a batch."""

    def chain(rows: int, threads: int) -> bytes:
        x, dy, gamma, beta = inputs(rows, 100)
        g, b = matrix(gamma), matrix(beta)
        y, dx, mean, variance = output(rows, 100), output(rows, 100), np.zeros(100), np.zeros(100)
        dgamma, d = blank(gamma), upstream(dy)

        def record(p: _core.Program) -> None:
            handle = p.batch_norm_forward(batch(x), g, b, y, mean, variance, EPSILON)
            p.activation_forward("tanh", y, y)
            p.activation_backward("tanh", None, y, d, d)
            p.batch_norm_backward(handle, g, d, dgamma, None, dx)

        run(rows, record, threads=threads)
        return dx[:rows].tobytes() + dgamma.tobytes() + y[:rows].tobytes()

    for rows in THREAD_ROWS:
        one = chain(rows, 1)
        for _ in range(5):
            assert chain(rows, 2) == one


@pytest.mark.parametrize(
    ("epsilon", "text"), [(0.0, "epsilon"), (-1.0, "epsilon"), (np.nan, "epsilon")]
)
def test_bad_epsilon(epsilon: float, text: str) -> None:
    p, x, z = _core.Program(2), tensor(2, 3), np.zeros(3)
    with pytest.raises(ValueError, match=f"^{text}: expected a number above 0, got"):
        p.batch_norm_forward(x, None, None, tensor(2, 3), z, z.copy(), epsilon)
    with pytest.raises(ValueError, match=f"^{text}: expected a number above 0, got"):
        p.batch_norm_inference(x, None, None, z, z, tensor(2, 3), epsilon)
    with pytest.raises(ValueError, match=f"^{text}: expected a number above 0, got"):
        p.batch_norm_frozen_backward(None, z, x, tensor(2, 3), epsilon)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, np.nan])
def test_bad_momentum(momentum: float) -> None:
    p, count = _core.Program(2), np.zeros(1, dtype=np.int64)
    a, b, c, d = (np.zeros(3) for _ in range(4))
    with pytest.raises(ValueError, match=r"^momentum: expected a number in \[0, 1\], got"):
        p.batch_norm_moving(a, b, c, d, count, momentum, True)


@pytest.mark.parametrize("handle", [-1, 0, 5])
def test_bad_handle(handle: int) -> None:
    with pytest.raises(
        ValueError, match=r"^handle: expected what batch_norm_forward returned, got"
    ):
        _core.Program(2).batch_norm_backward(handle, None, tensor(2, 3), None, None, None)


def test_number_of_threads_is_put_back() -> None:
    before = _core.get_num_threads()
    with number_of_threads(1):
        assert _core.get_num_threads() == 1
    assert _core.get_num_threads() == before
