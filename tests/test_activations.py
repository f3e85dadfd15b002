"""Activations, PReLU, softmax and dropout against float64, and the elementary functions' bounds."""

from __future__ import annotations

import re
from pathlib import Path
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
    TINY,
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

NAMES = list(_core.activations)
F32_MAX = float(np.finfo(np.float32).max)

# Parameters other than the defaults, one set for each that has any.
OTHERS: dict[str, dict[str, float]] = {
    "relu_general": {"max_value": 1.5, "negative_slope": 0.25, "threshold": 0.5},
    "leaky_relu": {"negative_slope": 0.01},
    "elu": {"alpha": 1.7},
    "celu": {"alpha": 1.7},
    "squareplus": {"b": 0.5},
    "hard_shrink": {"threshold": 1.25},
    "soft_shrink": {"threshold": 1.25},
    "threshold": {"threshold": 0.5, "default_value": 3.0},
}
CASES: list[tuple[str, dict[str, float]]] = [(name, {}) for name in NAMES] + list(OTHERS.items())


def in_order(name: str, parameters: dict[str, float]) -> tuple[list[float], dict[str, float]]:
    """As a kernel takes them, and as it sees them, rounded to float32."""
    info = _core.activations[name]
    given = [parameters.get(p, default) for p, default in info.parameters.items()]
    seen = {p: float(np.float32(v)) for p, v in zip(info.parameters, given, strict=True)}
    return (given if parameters else []), seen


def ulp(x: Any) -> Any:
    """Distance of float32 numbers near x."""
    with np.errstate(over="ignore"):
        return np.spacing(np.abs(x).astype(np.float32)).astype(np.float64)


# The elementary functions keep within 4 ulp (below); the activations add a product or two.
ULPS = 8.0


def forward(
    name: str,
    rows: int,
    columns: int,
    *,
    parameters: dict[str, float] | None = None,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    given, seen = in_order(name, parameters or {})
    x = 4.0 * draws(rows + 7 * columns, (rows, columns))[0]
    x_ = batch(x, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    run(
        rows,
        lambda p: p.activation_forward(name, x_, y, given),
        per_sample=per_sample,
        threads=threads,
    )
    expected = reference.activation_forward(name, x, **seen)
    return {"y": (taken(y, rows), expected, ULPS * ulp(expected))}


def backward(
    name: str,
    rows: int,
    columns: int,
    *,
    parameters: dict[str, float] | None = None,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    given, seen = in_order(name, parameters or {})
    x, dy = draws(rows + 7 * columns, (rows, columns), (rows, columns))
    x = 4.0 * x
    for kink in reference.activation_kinks(name, **seen):
        x[x == np.float32(kink)] += 1.0
    x_, y, dy_ = batch(x, per_sample), output(rows, columns, per_sample), upstream(dy, per_sample)
    dx = dy_ if in_place else output(rows, columns, per_sample)
    needed = x_ if _core.activations[name].needs_input else None

    def record(p: _core.Program) -> None:
        p.activation_forward(name, x_, y, given)
        p.activation_backward(name, needed, y, dy_, dx, given)

    run(rows, record, per_sample=per_sample, threads=threads)
    slope = reference.activation_slope(name, x, **seen)
    # A slope made from y, as y + alpha or (1 - y)(1 + y), has the absolute error of y; one like
    # exp has a relative one.
    bound = UNIT * np.abs(dy) * (16.0 * np.abs(slope) + 8.0 * max(1.0, seen.get("alpha", 1.0)))
    return {"dx": (taken(dx, rows, gradient=True), dy * slope, bound)}


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_shapes(rows: int, columns: int) -> None:
    for name in ("elu", "silu"):
        check(forward(name, rows, columns))
        check(backward(name, rows, columns))


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_every_activation(name: str, parameters: dict[str, float]) -> None:
    for in_place in (False, True):
        check(forward(name, 33, 65, parameters=parameters, in_place=in_place))
        check(backward(name, 33, 65, parameters=parameters, in_place=in_place))


@pytest.mark.parametrize(("rows", "per_sample"), PER_SAMPLE)
def test_rows_of_a_sample(rows: int, per_sample: int) -> None:
    check(forward("tanh", rows, 17, per_sample=per_sample))
    check(backward("tanh", rows, 17, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
@pytest.mark.parametrize("name", NAMES)
def test_threads(name: str, rows: int) -> None:
    check_threads(forward, name, rows, 65)
    check_threads(backward, name, rows, 65, in_place=True)


def test_one_list() -> None:
    assert set(reference.ACTIVATIONS) == set(NAMES)
    for name, info in _core.activations.items():
        assert info.name == name
        assert info.formula
        defaults = reference.ACTIVATIONS[name].defaults
        assert list(info.parameters) == list(defaults)
        assert in_order(name, {})[1] == {k: float(np.float32(v)) for k, v in defaults.items()}


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_values_far_out_and_special(name: str, parameters: dict[str, float]) -> None:
    given, seen = in_order(name, parameters)
    ends: list[float] = [
        0.0,
        1e-45,
        1e-38,
        1e-20,
        1e-7,
        1e-4,
        20.0,
        80.0,
        100.0,
        1e4,
        1e20,
        F32_MAX,
        float("inf"),
    ]
    row = np.array([np.nan, *ends, *(-v for v in ends)], dtype=np.float32)
    x = np.tile(row, (3, 1))
    y = output(*x.shape)
    run(3, lambda p: p.activation_forward(name, batch(x), y, given))
    expected = reference.activation_forward(name, x, **seen)
    assert np.isnan(y[:3, 0]).all(), "NaN must stay NaN"
    with np.errstate(over="ignore"):
        as_float = expected.astype(np.float32)
    finite = np.isfinite(as_float)
    np.testing.assert_array_equal(y[:3][~finite], as_float[~finite])
    bound = ULPS * ulp(expected)
    check({"y": (y[:3][finite], expected[finite], bound[finite])})


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_slopes_far_out(name: str, parameters: dict[str, float]) -> None:
    given, seen = in_order(name, parameters)
    ends = [1e-45, 1e-38, 1e-20, 1e-4, 20.0, 80.0, 88.0, 100.0, 1e4, 1e20, F32_MAX]
    x = np.array([[*ends, *(-v for v in ends)]], dtype=np.float32)
    slope = reference.activation_slope(name, x, **seen)
    y, dx, x_ = output(*x.shape), output(*x.shape), batch(x)
    needed = x_ if _core.activations[name].needs_input else None

    def record(p: _core.Program) -> None:
        p.activation_forward(name, x_, y, given)
        p.activation_backward(name, needed, y, upstream(np.ones_like(x)), dx, given)

    run(1, record)
    fits = slope <= F32_MAX
    bound = UNIT * (16.0 * np.abs(slope) + 8.0 * max(1.0, seen.get("alpha", 1.0)))
    check({"dx": (dx[:1][fits], slope[fits], bound[fits])})


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_gradient_by_finite_differences(name: str, parameters: dict[str, float]) -> None:
    given, seen = in_order(name, parameters)
    x = np.linspace(-5.0, 5.0, 66, dtype=np.float32).reshape(3, 22)
    for kink in reference.activation_kinks(name, **seen):
        x = np.where(np.abs(x - kink) < 0.4, x + 0.8, x).astype(np.float32)
    c = draws(1, x.shape)[0]
    x_, y, dx = batch(x), output(*x.shape), output(*x.shape)
    needed = x_ if _core.activations[name].needs_input else None

    def record(p: _core.Program) -> None:
        p.activation_forward(name, x_, y, given)
        p.activation_backward(name, needed, y, upstream(c), dx, given)

    program = run(3, record)
    gradient = dx[:3].copy()

    def loss() -> float:
        program.run(3)
        return float((y[:3].astype(np.float64) * c).sum())

    magnitude = float(np.abs(y[:3] * c).max())  # the terms that do not move do not make noise
    assert_gradients(loss, {"x": x_[:3]}, {"x": gradient}, magnitude=magnitude, kinks=0.1)


# What the header promises above each function, and the activation that shows it.
HEADER = Path(__file__).parents[1] / "csrc" / "fastmath.h"
PROMISE = re.compile(
    r"// (?:[^\n]*\. )?Max error (\d+(?:\.\d+)?) ULP[^\n]*\n(?://[^\n]*\n)*"
    r"static inline float (\w+?)_?\("
)
SHOWN_BY: dict[str, tuple[str, Any]] = {
    "exp": ("exponential", np.exp),
    "expm1": ("elu", np.expm1),
    "tanh": ("tanh", np.tanh),
    "tanh_shrink": ("tanh_shrink", reference.ACTIVATIONS["tanh_shrink"].value),
    "sigmoid": ("sigmoid", reference.ACTIVATIONS["sigmoid"].value),
    "softplus": ("softplus", reference.ACTIVATIONS["softplus"].value),
    "silu": ("silu", reference.ACTIVATIONS["silu"].value),
    "mish": ("mish", reference.ACTIVATIONS["mish"].value),
    "gelu": ("gelu", reference.ACTIVATIONS["gelu"].value),
    "gelu_tanh": ("gelu_tanh", reference.ACTIVATIONS["gelu_tanh"].value),
}


def spread_floats(count: int) -> F32:
    """All of the float32 numbers but NaN, evenly thinned out by their bits."""
    bits = np.linspace(0, 0x7F800000, count, dtype=np.int64).astype(np.uint32)
    positive = bits.view(np.float32)
    return np.concatenate([positive, -positive])


@pytest.mark.parametrize("function", SHOWN_BY)
def test_promised_accuracy(function: str) -> None:
    promises = {name: float(ulps) for ulps, name in PROMISE.findall(HEADER.read_text())}
    assert function in promises
    name, exact = SHOWN_BY[function]
    # Where the functions bend, by value; everywhere, by bits.
    dense = np.linspace(-110.0, 110.0, 400_000, dtype=np.float32)
    x = np.concatenate([spread_floats(400_000), dense])
    if function == "expm1":
        x = x[x <= 0.0]  # elu is the identity above
    x = x[: x.size // 1000 * 1000].reshape(-1, 1000)
    y = output(*x.shape)
    run(len(x), lambda p: p.activation_forward(name, batch(x), y))
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.float64))
        as_float = expected.astype(np.float32)
    made = taken(y, len(x))
    # Beyond the largest float by less than the promise, either side of it is right.
    finite = np.isfinite(as_float) & np.isfinite(made)
    edge = np.abs(expected) / float(F32_MAX)
    assert ((edge > 1.0 - 1e-6) & (edge < 1.0 + 1e-6) | finite | (as_float == made)).all()
    error = np.abs(made[finite] - expected[finite]) / ulp(expected[finite])
    assert error.max() <= promises[function], f"{function}: {error.max():.2f} ULP"


def test_nothing_is_promised_untested() -> None:
    promised = {name for _, name in PROMISE.findall(HEADER.read_text())}
    # ln and ln(1 + u) show in softplus and in the losses only.
    assert promised == set(SHOWN_BY) | {"log", "log1p_unit"}


def test_relu_of_nan_and_zero() -> None:
    x = np.array([[np.nan, -0.0, 0.0, -1.0, 1.0]], dtype=np.float32)
    y = output(1, 5)
    run(1, lambda p: p.activation_forward("relu", batch(x), y))
    np.testing.assert_array_equal(y[:1], [[np.nan, 0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("name", ["silu", "hard_silu", "mish", "gelu", "gelu_tanh", "softsign"])
def test_limits_at_infinity(name: str) -> None:
    # The formulas have infinity times 0, or over infinity.
    x = np.array([[np.inf, -np.inf]], dtype=np.float32)
    y, dx, x_ = output(1, 2), output(1, 2), batch(x)

    def record(p: _core.Program) -> None:
        p.activation_forward(name, x_, y)
        p.activation_backward(name, x_, y, upstream(np.ones_like(x)), dx)

    run(1, record)
    one = name == "softsign"
    np.testing.assert_array_equal(y[:1], [[1.0, -1.0] if one else [np.inf, 0.0]])
    np.testing.assert_array_equal(dx[:1], [[0.0, 0.0] if one else [1.0, 0.0]])


def test_elu_is_exact_near_zero() -> None:
    # exp(x) - 1 would be off by 6e-8 absolute, everything at x = -1e-8.
    x = -np.logspace(-30, -3, 64, dtype=np.float32)[None]
    y = output(1, 64)
    run(1, lambda p: p.activation_forward("elu", batch(x), y))
    np.testing.assert_allclose(y[:1], np.expm1(x.astype(np.float64)), rtol=4 * UNIT)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("relu_general", {"negative_slope": 0.0}),
        ("relu_general", {"negative_slope": 0.0, "threshold": 1.0, "max_value": 6.0}),
        ("leaky_relu", {"negative_slope": 0.0}),
        ("leaky_relu", {"negative_slope": -0.0}),
    ],
)
def test_a_slope_of_zero_is_zero_at_minus_infinity(name: str, parameters: dict[str, float]) -> None:
    # 0 times -inf would be NaN.
    given, _ = in_order(name, parameters)
    x = np.array([[-np.inf, -F32_MAX, np.nan]], dtype=np.float32)
    y, dx, x_ = output(1, 3), output(1, 3), batch(x)
    needed = x_ if _core.activations[name].needs_input else None

    def record(p: _core.Program) -> None:
        p.activation_forward(name, x_, y, given)
        p.activation_backward(name, needed, y, upstream(np.ones_like(x)), dx, given)

    run(1, record)
    np.testing.assert_array_equal(y[:1], [[0.0, 0.0, np.nan]])
    np.testing.assert_array_equal(dx[:1, :2], [[0.0, 0.0]])


@pytest.mark.parametrize("b", [0.0, 1e-45, 1e-30, 1e-7, 1e10, 1e38, F32_MAX])
def test_squareplus_of_any_b(b: float) -> None:
    b = float(np.float32(b))
    ends = [0.0, 1e-45, 1e-30, 1e-20, 1e-3, 1.0, 1e5, 1e18, 1e19, 1e20, 1e38, F32_MAX, np.inf]
    x = np.array([[*ends, *(-v for v in ends)]], dtype=np.float32)
    y, dx, x_ = output(*x.shape), output(*x.shape), batch(x)

    def record(p: _core.Program) -> None:
        p.activation_forward("squareplus", x_, y, [b])
        p.activation_backward("squareplus", None, y, upstream(np.ones_like(x)), dx, [b])

    run(1, record)
    right = reference.activation_forward("squareplus", x, b=b)
    slope = reference.activation_slope("squareplus", x, b=b)
    if b == 0.0:  # relu, whose formulas above divide by 0
        right, slope = np.maximum(x, 0.0), np.where(x > 0.0, 1.0, 0.0)
    right[0, [12, 25]], slope[0, [12, 25]] = [np.inf, 0.0], [1.0, 0.0]
    # 1e-20 squared is a denormal of 16 bits.
    rtol = 1e-5 if 0.0 < b < 1e-38 else 16 * UNIT
    np.testing.assert_allclose(y[:1], right, rtol=rtol, atol=TINY)
    np.testing.assert_allclose(dx[:1], slope, rtol=rtol, atol=TINY)


def test_threshold_below_and_above_its_replacement() -> None:
    x = np.array([[-2.0, 0.5, 0.75, np.nan, np.inf, -np.inf]], dtype=np.float32)
    for value in (-3.0, 0.6, 9.0):
        y, dx, x_ = output(1, 6), output(1, 6), batch(x)

        def record(
            p: _core.Program,
            arrays: tuple[Any, ...] = (x_, y, dx),
            given: tuple[float, ...] = (0.5, value),
        ) -> None:
            x_, y, dx = arrays
            p.activation_forward("threshold", x_, y, given)
            p.activation_backward("threshold", x_, y, upstream(np.ones_like(x)), dx, given)

        run(1, record)
        v = np.float32(value)
        np.testing.assert_array_equal(y[:1], [[v, v, 0.75, np.nan, np.inf, v]])
        np.testing.assert_array_equal(dx[:1], [[0.0, 0.0, 1.0, 0.0, 1.0, 0.0]])


LARGE = [
    "elu", "selu", "celu", "exponential", "softplus", "squareplus", "silu", "hard_silu", "mish",
    "gelu", "sigmoid", "log_sigmoid", "tanh_shrink", "sparse_plus",
]  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_no_gradient_is_nan_for_large_inputs(name: str) -> None:
    x = np.array([[80, -80, 100, -100, 1e4, -1e4, np.inf, -np.inf]], dtype=np.float32)
    y, dx, x_ = output(1, 8), output(1, 8), batch(x)
    needed = x_ if _core.activations[name].needs_input else None

    def record(p: _core.Program) -> None:
        p.activation_forward(name, x_, y)
        p.activation_backward(name, needed, y, upstream(np.ones_like(x)), dx)

    run(1, record)
    assert not np.isnan(dx[:1]).any()


# PReLU


def prelu(
    rows: int, columns: int, *, in_place: bool = False, per_sample: int = 1, threads: int = 1
) -> Results:
    x, dy, alpha = draws(rows + 7 * columns, (rows, columns), (rows, columns), (columns,))
    x_, a, dy_ = batch(x, per_sample), matrix(alpha), upstream(dy, per_sample)
    y, dalpha = output(rows, columns, per_sample), blank(alpha)
    dx = dy_ if in_place else output(rows, columns, per_sample)

    def record(p: _core.Program) -> None:
        p.prelu_forward(x_, a, y)
        p.prelu_backward(x_, a, dy_, dalpha, dx)

    run(rows, record, per_sample=per_sample, threads=threads)
    right_y = reference.prelu_forward(x, alpha)
    right_dx, right_dalpha = reference.prelu_backward(x, alpha, dy)
    # One product each; dalpha is a sum in float32 over chunks of 64 rows, then in float64.
    bound = 68 * UNIT * np.abs(dy * np.minimum(x, 0.0)).sum(axis=0)
    return {
        "y": (taken(y, rows), right_y, UNIT * np.abs(right_y)),
        "dx": (taken(dx, rows, gradient=True), right_dx, UNIT * np.abs(right_dx)),
        "dalpha": (parameter_gradient(dalpha), right_dalpha, bound),
    }


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_prelu(rows: int, columns: int) -> None:
    check(prelu(rows, columns))


def test_prelu_in_place_and_rows_of_a_sample() -> None:
    check(prelu(33, 20, in_place=True))
    for rows, per_sample in PER_SAMPLE:
        check(prelu(rows, 20, per_sample=per_sample))
    x, alpha = draws(1, (33, 20), (20,))
    x_ = batch(x)
    run(33, lambda p: p.prelu_forward(x_, matrix(alpha), x_))
    np.testing.assert_allclose(taken(x_, 33), reference.prelu_forward(x, alpha), rtol=2 * UNIT)


@pytest.mark.parametrize("rows", THREAD_ROWS)
def test_prelu_threads(rows: int) -> None:
    check_threads(prelu, rows, 65)
    check_threads(prelu, rows, 100, in_place=True)


def test_prelu_computes_what_is_wanted() -> None:
    x, dy, alpha = draws(1, (33, 20), (33, 20), (20,))
    right_dx, right_dalpha = reference.prelu_backward(x, alpha, dy)
    a, dalpha, dx = matrix(alpha), blank(alpha), output(33, 20)
    run(33, lambda p: p.prelu_backward(batch(x), a, upstream(dy), dalpha, None))
    np.testing.assert_allclose(dalpha, right_dalpha, rtol=1e-4, atol=1e-4)
    run(33, lambda p: p.prelu_backward(batch(x), a, upstream(dy), None, dx))
    np.testing.assert_allclose(dx[:33], right_dx, rtol=2 * UNIT)
    run(33, lambda p: p.prelu_backward(batch(x), a, upstream(dy), None, None))


def test_prelu_passes_non_finite_numbers() -> None:
    x = np.array([[np.nan, np.inf, -np.inf]], dtype=np.float32)
    y = output(1, 3)
    run(1, lambda p: p.prelu_forward(batch(x), matrix([0.25, 0.25, 0.25]), y))
    np.testing.assert_array_equal(y[:1], [[np.nan, np.inf, -np.inf]])


def test_prelu_of_a_slope_of_zero() -> None:
    x = np.array([[np.nan, np.inf, -np.inf, -1.0]], dtype=np.float32)
    y = output(1, 4)
    run(1, lambda p: p.prelu_forward(batch(x), matrix([0.0] * 4), y))
    np.testing.assert_array_equal(y[:1], [[np.nan, np.inf, 0.0, 0.0]])


def test_prelu_gradients_by_finite_differences() -> None:
    x, c, alpha = draws(2, (9, 5), (9, 5), (5,))
    x = np.where(np.abs(x) < 0.1, x + 0.2, x)
    arrays = {"x": batch(x), "alpha": matrix(alpha)}
    x_, y, dx, dalpha = arrays["x"], output(9, 5), output(9, 5), blank(alpha)

    def record(p: _core.Program) -> None:
        p.prelu_forward(x_, arrays["alpha"], y)
        p.prelu_backward(x_, arrays["alpha"], upstream(c), dalpha, dx)

    program = run(9, record)
    gradients = {"x": dx[:9].copy(), "alpha": dalpha.copy()}
    arrays["x"] = x_[:9]

    def loss() -> float:
        program.run(9)
        return float((y[:9].astype(np.float64) * c).sum())

    assert_gradients(loss, arrays, gradients, magnitude=float(np.abs(y[:9] * c).sum()), kinks=0.1)


# Softmax


def softmax(
    rows: int,
    columns: int,
    *,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, dy = draws(rows + 7 * columns, (rows, columns), (rows, columns))
    x *= 5.0
    x_, dy_ = batch(x, per_sample), upstream(dy, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    dx = dy_ if in_place else output(rows, columns, per_sample)

    def record(p: _core.Program) -> None:
        p.softmax_forward(x_, y)
        p.softmax_backward(y, dy_, dx)

    run(rows, record, per_sample=per_sample, threads=threads)
    made = taken(y, rows)
    right = reference.softmax_forward(x)
    # x - max is off by a unit, which exp turns into a relative error of as many units; exp and
    # the sum of n add theirs.
    depth = x.max(axis=1, keepdims=True) - x
    bound = UNIT * (depth + columns + 12.0) * right + TINY
    # The Jacobian is taken at the y made: dx = y (dy - sum dy y).
    right_dx = reference.softmax_backward(made, dy)
    terms = (np.abs(dy) * made).sum(axis=1, keepdims=True, dtype=np.float64)
    bound_dx = UNIT * made * ((columns + 4.0) * terms + 4.0 * np.abs(dy)) + TINY
    return {
        "y": (made, right, bound),
        "dx": (taken(dx, rows, gradient=True), right_dx, bound_dx),
    }


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_softmax(rows: int, columns: int) -> None:
    check(softmax(rows, columns))


def test_softmax_in_place_and_rows_of_a_sample() -> None:
    check(softmax(33, 20, in_place=True))
    for rows, per_sample in PER_SAMPLE:
        check(softmax(rows, 20, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
def test_softmax_threads(rows: int) -> None:
    check_threads(softmax, rows, 10)
    check_threads(softmax, rows, 65, in_place=True)


def test_softmax_of_large_and_special_rows() -> None:
    x = np.array(
        [
            [1e4, 0.0, -1e4],
            [F32_MAX, F32_MAX, -F32_MAX],
            [0.0, -np.inf, 0.0],
            [-100.0, -200.0, -300],
        ],
        dtype=np.float32,
    )
    y = output(4, 3)
    run(4, lambda p: p.softmax_forward(batch(x), y))
    np.testing.assert_allclose(
        taken(y, 4),
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [1.0, np.exp(-100.0), 0.0]],
        rtol=1e-5,
        atol=1e-44,
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_softmax_spoils_the_row_only(bad: float) -> None:
    x = draws(1, (9, 20))[0]
    x[4, 7] = bad
    y = output(9, 20)
    run(9, lambda p: p.softmax_forward(batch(x), y))
    np.testing.assert_array_equal(np.isnan(y[:9]), (np.arange(9) == 4)[:, None].repeat(20, 1))


def test_softmax_gradient_by_finite_differences() -> None:
    x, c = draws(2, (5, 7), (5, 7))
    x_, y, dx = batch(x), output(5, 7), output(5, 7)

    def record(p: _core.Program) -> None:
        p.softmax_forward(x_, y)
        p.softmax_backward(y, upstream(c), dx)

    program = run(5, record)
    gradient = dx[:5].copy()

    def loss() -> float:
        program.run(5)
        return float((y[:5].astype(np.float64) * c).sum())

    magnitude = float(np.abs(y[:5] * c).sum(axis=1).max())
    assert_gradients(loss, {"x": x_[:5]}, {"x": gradient}, magnitude=magnitude)


# Log-softmax


def log_softmax(
    rows: int,
    columns: int,
    *,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, dy = draws(rows + 7 * columns, (rows, columns), (rows, columns))
    x *= 5.0
    x_, dy_ = batch(x, per_sample), upstream(dy, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    dx = dy_ if in_place else output(rows, columns, per_sample)

    def record(p: _core.Program) -> None:
        p.log_softmax_forward(x_, y)
        p.log_softmax_backward(y, dy_, dx)

    run(rows, record, per_sample=per_sample, threads=threads)
    made = taken(y, rows)
    right = reference.log_softmax_forward(x)
    log_sum = -right.max(axis=1, keepdims=True)
    depth = x.max(axis=1, keepdims=True) - x
    # A rounding of x - max and one of y; ln within a few; the sum of n exponentials, each off by
    # a few units, moves ln by its share of 1 + the sum.
    share = -np.expm1(-log_sum)
    bound = UNIT * (depth + np.abs(right) + 4.0 * log_sum + (columns + 20.0) * share) + TINY
    # The Jacobian is taken at the y made: dx = dy (1 - p) - p (sum dy - dy).
    right_dx = reference.log_softmax_backward(made, dy)
    p = np.exp(made.astype(np.float64))
    terms = np.abs(dy).sum(axis=1, keepdims=True, dtype=np.float64)
    bound_dx = UNIT * (4.0 * np.abs(dy) * (1.0 - p) + (columns + 8.0) * p * terms) + TINY
    return {
        "y": (made, right, bound),
        "dx": (taken(dx, rows, gradient=True), right_dx, bound_dx),
    }


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_log_softmax(rows: int, columns: int) -> None:
    check(log_softmax(rows, columns))


def test_log_softmax_in_place_and_rows_of_a_sample() -> None:
    check(log_softmax(33, 20, in_place=True))
    for rows, per_sample in PER_SAMPLE:
        check(log_softmax(rows, 20, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
def test_log_softmax_threads(rows: int) -> None:
    check_threads(log_softmax, rows, 10)
    check_threads(log_softmax, rows, 65, in_place=True)


def test_log_softmax_of_large_and_special_rows() -> None:
    x = np.array(
        [
            [1e4, 0.0, -1e4],
            [F32_MAX, F32_MAX, -F32_MAX],
            [0.0, -np.inf, 0.0],
            [-1e30, -1e30, -1e30],
            [20.0, 0.0, 0.0],
        ],
        dtype=np.float32,
    )
    y, half = output(5, 3), -np.log(2.0)
    run(5, lambda p: p.log_softmax_forward(batch(x), y))
    np.testing.assert_allclose(
        taken(y, 5),
        [
            [0.0, -1e4, -2e4],
            [half, half, -np.inf],
            [half, -np.inf, half],
            [-np.log(3.0)] * 3,
            # ln of a sum of 1 and 4e-9 would be 0.
            [-np.log1p(2.0 * np.exp(-20.0)), -20.0, -20.0],
        ],
        rtol=1e-6,
    )


def test_log_softmax_gradient_where_one_is_nearly_certain() -> None:
    # The gradient of the negative log-likelihood, p - 1 at the label, keeps its digits.
    x = np.array([[20.0, 0.0, 0.0], [200.0, 0.0, -np.inf]], dtype=np.float32)
    dy = np.array([[-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], dtype=np.float32)
    y, dx = output(2, 3), output(2, 3)

    def record(p: _core.Program) -> None:
        p.log_softmax_forward(batch(x), y)
        p.log_softmax_backward(y, upstream(dy), dx)

    run(2, record)
    small = np.exp(-20.0) / (1.0 + 2.0 * np.exp(-20.0))
    np.testing.assert_allclose(dx[0], [-2.0 * small, small, small], rtol=1e-6)
    np.testing.assert_array_equal(dx[1], [0.0, 0.0, 0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_log_softmax_spoils_the_row_only(bad: float) -> None:
    x = draws(1, (9, 20))[0]
    x[4, 7] = bad
    y = output(9, 20)
    run(9, lambda p: p.log_softmax_forward(batch(x), y))
    np.testing.assert_array_equal(np.isnan(y[:9]), (np.arange(9) == 4)[:, None].repeat(20, 1))


def test_log_softmax_gradient_by_finite_differences() -> None:
    x, c = draws(2, (5, 7), (5, 7))
    x_, y, dx = batch(x), output(5, 7), output(5, 7)

    def record(p: _core.Program) -> None:
        p.log_softmax_forward(x_, y)
        p.log_softmax_backward(y, upstream(c), dx)

    program = run(5, record)
    gradient = dx[:5].copy()

    def loss() -> float:
        program.run(5)
        return float((y[:5].astype(np.float64) * c).sum())

    magnitude = float(np.abs(y[:5] * c).sum(axis=1).max())
    assert_gradients(loss, {"x": x_[:5]}, {"x": gradient}, magnitude=magnitude)


# Dropout


def dropout(
    rows: int,
    columns: int,
    *,
    rate: float = 0.3,
    layer: int = 2,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
    seed: int = 12345678901234567890,
    iteration: int = 7,
) -> Results:
    x = draws(rows + 7 * columns, (rows, columns))[0]
    x_ = batch(x, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    run(
        rows,
        lambda p: p.dropout(x_, y, rate, layer),
        per_sample=per_sample,
        threads=threads,
        seed=seed,
        iteration=iteration,
    )
    kept = reference.dropout_mask((rows, columns), rate, seed, layer, iteration)
    expected = np.where(kept, x / np.float32(1.0 - rate), 0.0)
    return {"y": (taken(y, rows), expected, 2 * UNIT * np.abs(expected))}


@pytest.mark.parametrize(("rows", "columns"), [(5, 1), (5, 16), (33, 17), (65, 33), (2, 100)])
def test_dropout(rows: int, columns: int) -> None:
    check(dropout(rows, columns))
    check(dropout(rows, columns, in_place=True, rate=0.75, layer=0, seed=0, iteration=1))


def test_dropout_rows_of_a_sample() -> None:
    check(dropout(12, 17, per_sample=2))


@pytest.mark.parametrize("rows", THREAD_ROWS)
def test_dropout_threads(rows: int) -> None:
    check_threads(dropout, rows, 33)


def test_dropout_of_rate_zero_is_the_identity() -> None:
    x, y = draws(1, (9, 20))[0], output(9, 20)
    run(9, lambda p: p.dropout(batch(x), y, 0.0, 1))
    np.testing.assert_array_equal(taken(y, 9), x)


def test_dropout_share_and_independence() -> None:
    n = 100 * 1000

    def kept(rate: float = 0.5, layer: int = 0, **scalars: Any) -> Any:
        y = output(100, 1000)
        run(100, lambda p: p.dropout(batch(np.ones((100, 1000))), y, rate, layer), **scalars)
        return y[:100] != 0.0

    # The share of n draws lies within 5 standard deviations of its expectation.
    for rate in (0.1, 0.5, 0.9):
        share = 1.0 - kept(rate, seed=3).mean()
        assert abs(share - rate) <= 5.0 * np.sqrt(rate * (1.0 - rate) / n)
    first = kept(seed=3, iteration=1)
    np.testing.assert_array_equal(first, kept(seed=3, iteration=1))
    # Independent masks of rate 1/2 agree in half of all places.
    others = [
        kept(seed=3, iteration=2),
        kept(seed=4, iteration=1),
        kept(seed=3 + 2**32, iteration=1),
        kept(seed=3, iteration=1, layer=1),
        np.roll(first, 1, axis=0),
        np.roll(first, 1, axis=1),
        np.roll(first, 4, axis=1),
    ]
    for other in others:
        assert abs((first == other).mean() - 0.5) <= 5.0 * np.sqrt(0.25 / n)


# Bad arguments


def test_unknown_activation() -> None:
    p, x = _core.Program(2), tensor(2, 3)
    text = r"^activation: expected a name in evengrad\._core\.activations, got 'rel'"
    with pytest.raises(ValueError, match=text):
        p.activation_forward("rel", x, x)
    with pytest.raises(ValueError, match=text):
        p.activation_backward("rel", x, x, x, x)


def test_bad_parameters() -> None:
    p, x = _core.Program(2), tensor(2, 3)
    with pytest.raises(ValueError, match=r"^parameters: relu takes at most 0, got 1"):
        p.activation_forward("relu", x, x, [1.0])
    with pytest.raises(ValueError, match=r"^elu: expected alpha of at least 0\.0, got -1\.0$"):
        p.activation_forward("elu", x, x, [-1.0])
    with pytest.raises(
        ValueError, match=r"^celu: expected alpha of at least 1\.17.*e-38, got 0\.0$"
    ):
        p.activation_forward("celu", x, x, [0.0])
    with pytest.raises(ValueError, match=r"^elu: expected alpha"):
        p.activation_forward("elu", x, x, [np.nan])


def test_input_where_it_is_needed() -> None:
    p = _core.Program(2)
    with pytest.raises(TypeError, match=r"^x: expected a numpy array, got NoneType"):
        p.activation_backward("silu", None, tensor(2, 3), tensor(2, 3), tensor(2, 3))


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, np.nan])
def test_bad_rate(rate: float) -> None:
    p, x = _core.Program(2), tensor(2, 3)
    with pytest.raises(ValueError, match=r"^rate: expected a number in \[0, 1\), got"):
        p.dropout(x, x, rate, 0)
