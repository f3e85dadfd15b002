"""Dense kernels against float64 and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from evengrad import _core
from gradcheck import assert_gradients
from harness import (
    PER_SAMPLE,
    ROWS,
    SIZES,
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

# (rows, inputs, outputs): each size in each place; layers of the reference network; rows of
# whole pages, which get a wider pitch.
TRIPLES = [
    *((33, n, 17) for n in SIZES),
    *((33, 17, n) for n in SIZES),
    *((r, 33, 49) for r in ROWS),
    *((r, 5, 100) for r in (1, 8, 128, 300)),
    (1, 1, 1),
    (32, 784, 300),
    (32, 300, 100),
    (32, 100, 10),
    (5, 1024, 1024),
]


def forward(
    rows: int, n_in: int, n_out: int, *, bias: bool = True, per_sample: int = 1, threads: int = 1
) -> Results:
    x, w, b = draws(rows + 7 * n_in + n_out, (rows, n_in), (n_in, n_out), (n_out,))
    y = output(rows, n_out, per_sample)
    run(
        rows,
        lambda p: p.dense_forward(batch(x, per_sample), matrix(w), matrix(b) if bias else None, y),
        per_sample=per_sample,
        threads=threads,
    )
    # A sum of n products and the bias, in any order, with or without fused multiply-add: each
    # term passes through at most n + 1 roundings.
    size = np.abs(x).astype(np.float64) @ np.abs(w) + (np.abs(b) if bias else 0.0)
    bound = (n_in + 1) * UNIT * size
    return {"y": (taken(y, rows), reference.dense_forward(x, w, b if bias else None), bound)}


def backward(
    rows: int,
    n_in: int,
    n_out: int,
    *,
    wanted: tuple[str, ...] = ("dx", "dkernel", "dbias"),
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, w, dy = draws(rows + 7 * n_in + n_out, (rows, n_in), (n_in, n_out), (rows, n_out))
    dx = output(rows, n_in, per_sample) if "dx" in wanted else None
    dkernel = blank(w) if "dkernel" in wanted else None
    dbias = blank(w[0]) if "dbias" in wanted else None
    tensors = batch(x, per_sample), matrix(w), upstream(dy, per_sample)
    run(
        rows,
        lambda p: p.dense_backward(*tensors, dkernel, dbias, dx),
        per_sample=per_sample,
        threads=threads,
    )
    expected_dx, expected_dkernel, expected_dbias = reference.dense_backward(x, w, dy)
    ax, aw, ady = (np.abs(v).astype(np.float64) for v in (x, w, dy))
    results: Results = {}
    # As in the forward pass: sums of n_out, rows and rows terms.
    if dx is not None:
        made = taken(dx, rows, gradient=True)
        results["dx"] = (made, expected_dx, n_out * UNIT * (ady @ aw.T))
    if dkernel is not None:
        bound = rows * UNIT * (ax.T @ ady)
        results["dkernel"] = (parameter_gradient(dkernel), expected_dkernel, bound)
    if dbias is not None:
        bound = rows * UNIT * ady.sum(axis=0)
        results["dbias"] = (parameter_gradient(dbias), expected_dbias, bound)
    return results


@pytest.mark.parametrize(("rows", "n_in", "n_out"), TRIPLES)
def test_forward(rows: int, n_in: int, n_out: int) -> None:
    check(forward(rows, n_in, n_out))


@pytest.mark.parametrize(("rows", "n_in", "n_out"), TRIPLES)
def test_backward(rows: int, n_in: int, n_out: int) -> None:
    check(backward(rows, n_in, n_out))


def test_forward_without_bias() -> None:
    check(forward(33, 20, 17, bias=False))


@pytest.mark.parametrize(
    "wanted", [(), ("dx",), ("dkernel",), ("dbias",), ("dx", "dkernel"), ("dkernel", "dbias")]
)
def test_backward_computes_what_is_wanted(wanted: tuple[str, ...]) -> None:
    results = backward(33, 20, 17, wanted=wanted)
    assert set(results) == set(wanted)
    check(results)


@pytest.mark.parametrize(("rows", "per_sample"), PER_SAMPLE)
def test_rows_of_a_sample(rows: int, per_sample: int) -> None:
    check(forward(rows, 20, 17, per_sample=per_sample))
    check(backward(rows, 20, 17, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
@pytest.mark.parametrize(("n_in", "n_out"), [(17, 49), (100, 10), (3, 300), (300, 3), (784, 300)])
def test_threads(rows: int, n_in: int, n_out: int) -> None:
    check_threads(forward, rows, n_in, n_out)
    check_threads(backward, rows, n_in, n_out)


def test_rows_and_columns_do_not_mix() -> None:
    x, w = draws(1, (9, 20), (20, 33))
    x[4, 3] = np.nan
    x[5, 3] = np.inf
    w[:, 7] = np.nan
    y = output(9, 33)
    run(9, lambda p: p.dense_forward(batch(x), matrix(w), None, y))
    spoilt = np.zeros((9, 33), dtype=bool)
    spoilt[4:6] = True
    spoilt[:, 7] = True
    np.testing.assert_array_equal(~np.isfinite(y[:9]), spoilt)
    np.testing.assert_array_equal(np.isnan(y[4]), True)


def test_weights_are_read_at_each_replay() -> None:
    x, w = draws(2, (5, 20), (20, 17))
    kernel, y = matrix(w), output(5, 17)
    program = run(5, lambda p: p.dense_forward(batch(x), kernel, None, y))
    first = y[:5].copy()
    kernel *= 2.0
    program.run(5)
    np.testing.assert_array_equal(y[:5], 2.0 * first)


def test_gradients_by_finite_differences() -> None:
    x, w, b, c = draws(3, (9, 7), (7, 5), (5,), (9, 5))
    arrays = {"x": batch(x), "kernel": matrix(w), "bias": matrix(b)}
    y, dx, dkernel, dbias = output(9, 5), output(9, 7), blank(w), blank(b)

    def record(p: _core.Program) -> None:
        p.dense_forward(arrays["x"], arrays["kernel"], arrays["bias"], y)
        p.dense_backward(arrays["x"], arrays["kernel"], upstream(c), dkernel, dbias, dx)

    program = run(9, record)
    gradients = {"x": dx[:9].copy(), "kernel": dkernel.copy(), "bias": dbias.copy()}
    arrays["x"] = arrays["x"][:9]

    def loss() -> float:
        program.run(9)
        return float((y[:9].astype(np.float64) * c).sum())

    magnitude = float((np.abs(x) @ np.abs(w) * np.abs(c)).sum())
    assert_gradients(loss, arrays, gradients, magnitude=magnitude)


def folded(
    rows: int, n_in: int, n_out: int, *, affine: bool = True, per_sample: int = 1, threads: int = 1
) -> Results:
    """Backward on x = gamma xhat + beta, with the gradients of gamma and beta."""
    xhat, w, dy, gamma, beta = draws(
        rows + 5 * n_in + n_out, (rows, n_in), (n_in, n_out), (rows, n_out), (n_in,), (n_in,)
    )
    gamma[::3] = 0.0  # xhat cannot be had back from x there
    if not affine:
        gamma[...], beta[...] = 1.0, 0.0
    x = gamma * xhat + beta
    dkernel, dbias, dgamma, dbeta = blank(w), blank(w[0]), blank(gamma), blank(beta)
    sources = batch(x, per_sample), matrix(w), upstream(dy, per_sample)
    normalized = batch(xhat, per_sample)
    scales = (matrix(gamma), matrix(beta)) if affine else (None, None)
    run(
        rows,
        lambda p: p.dense_backward_folded(
            *sources, dkernel, dbias, normalized, *scales, dgamma, dbeta
        ),
        per_sample=per_sample,
        threads=threads,
    )
    exact = gamma.astype(np.float64) * xhat + beta
    dx, expected_dkernel, expected_dbias = reference.dense_backward(exact, w, dy)
    ahat, aw, ady, ag, ab = (np.abs(v).astype(np.float64) for v in (xhat, w, dy, gamma, beta))
    # Sums of rows terms, then of n_out of their products; three roundings more for the affine map.
    product, sums = ahat.T @ ady, ady.sum(axis=0)
    terms = rows + n_out + 2
    return {
        "dkernel": (
            parameter_gradient(dkernel),
            expected_dkernel,
            (rows + 3) * UNIT * (ag[:, None] * product + ab[:, None] * sums),
        ),
        "dbias": (parameter_gradient(dbias), expected_dbias, rows * UNIT * sums),
        "dgamma": (
            parameter_gradient(dgamma),
            (dx * xhat).sum(axis=0),
            terms * UNIT * (aw * product).sum(axis=1),
        ),
        "dbeta": (parameter_gradient(dbeta), dx.sum(axis=0), terms * UNIT * (aw @ sums)),
    }


@pytest.mark.parametrize(("rows", "n_in", "n_out"), TRIPLES)
def test_folded(rows: int, n_in: int, n_out: int) -> None:
    check(folded(rows, n_in, n_out))


def test_folded_without_gamma_and_beta() -> None:
    check(folded(33, 31, 17, affine=False))


@pytest.mark.parametrize(("rows", "per_sample"), PER_SAMPLE)
def test_folded_rows_of_samples(rows: int, per_sample: int) -> None:
    check(folded(rows, 33, 17, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
def test_folded_bits_for_any_number_of_threads(rows: int) -> None:
    check_threads(folded, rows, 65, 49)
