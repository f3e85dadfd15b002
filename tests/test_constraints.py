"""Constraints: against float64 formulas, at any scale, after updates, by name, by hand."""

from __future__ import annotations

import json
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import _core, constraints, layers
from harness import (
    F32,
    SIZES,
    TINY,
    UNIT,
    Results,
    check,
    check_threads,
    draws,
    matrix,
    number_of_threads,
    parameter_gradient,
    run,
)

LIMITS = [(0.0, 2.0, 1.0), (1.0, 1.0, 1.0), (0.5, 3.0, 0.25), (4.0, np.inf, 1.0)]
AXES: dict[str, Any] = {"columns": 0, "rows": 1, "whole": (0, 1)}
SHAPES = [*((33, n) for n in SIZES), (1, 1), (1, 40), (200, 3), (9, 1024), (300, 130)]


# The kernel


def case(w: F32, kind: str, limits: tuple[float, float, float], *, threads: int = 1) -> Results:
    made = matrix(w)
    run(1, lambda p: p.constrain(made, kind, *limits), threads=threads)
    axis = (0,) if w.ndim == 1 else AXES[kind]
    right = reference.min_max_norm(w, *limits, axis)
    # The factor is a double: each product is rounded once.
    return {"w": (parameter_gradient(made), right, 1.001 * UNIT * np.abs(right) + TINY)}


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_norms(kind: str, limits: tuple[float, float, float], shape: tuple[int, int]) -> None:
    check(case(draws(1, shape)[0], kind, limits))


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-19, 1e-7, 1e7, 1e19, 1e30, 5e37])
def test_any_scale(kind: str, scale: float) -> None:
    w = (draws(1, (33, 20))[0] * scale).astype(np.float32)
    w[:, 3] = 0.0
    w[5] = 0.0
    for limits in LIMITS:
        check(case(w, kind, limits))
    check(case(w[7], "columns", LIMITS[1]))


def test_the_largest_numbers() -> None:
    for shape in [(1, 1), (300, 7)]:
        largest = np.full(shape, np.finfo(np.float32).max, np.float32)
        for kind in AXES:
            check(case(largest, kind, (0.0, 2.0, 1.0)))


def test_threads() -> None:
    for shape in [(300, 130), (5, 16), (3, 700)]:
        for kind in AXES:
            check_threads(case, draws(1, shape)[0], kind, (0.0, 0.5, 1.0))


def test_non_negative() -> None:
    for shape in [(33, 17), (17,), (1, 1), (9, 1024)]:
        w = draws(1, shape)[0]
        made = matrix(w)
        run(1, lambda p, made=made: p.constrain(made, "non_negative"), threads=2)
        np.testing.assert_array_equal(parameter_gradient(made), np.maximum(w, 0.0))


def test_nan_survives() -> None:
    for kind in ("non_negative", *AXES):
        made = matrix([[np.nan, 1.0], [-1.0, 1.0]])
        run(1, lambda p, made=made, kind=kind: p.constrain(made, kind, 0.0, 2.0))
        assert np.isnan(made[0, 0]), kind


def test_part_of_a_matrix_leaves_the_rest_alone() -> None:
    for kind in ("non_negative", *AXES):
        wide = matrix(np.full((9, 64), -3.0))
        part = wide[:, :16]
        run(1, lambda p, part=part, kind=kind: p.constrain(part, kind, 0.0, 2.0))
        assert (part != -3.0).all()
        assert (wide[:, 16:] == -3.0).all()


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"^kind: expected one of non_negative, columns, rows, wh"):
        _core.Program(1).constrain(matrix([[1.0]]), "nope")


# In training

ALL: list[constraints.Constraint] = [
    constraints.NonNeg(),
    constraints.MaxNorm(0.5),
    constraints.UnitNorm(),
    constraints.MinMaxNorm(0.2, 0.3, 0.5),
]
by_name = pytest.mark.parametrize("constraint", ALL, ids=lambda c: type(c).__name__)


def model(constraint: Any, optimizer: Any = None) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(40, kernel_constraint=constraint, bias_constraint=constraint),
            layers.BatchNormalization(gamma_constraint=constraint, beta_constraint=constraint),
            layers.PReLU(alpha_initializer="ones", alpha_constraint=constraint),
            layers.Dense(3),
        ]
    )
    made.compile(optimizer or keras.optimizers.Adam(0.05), "mse")
    return made


@by_name
def test_after_each_update(constraint: constraints.Constraint) -> None:
    x, y = draws(3, (32, 6), (32, 3))
    made, free = model(constraint), model(None)
    free.set_weights(made.get_weights())
    free.train_on_batch(x, y)
    made.train_on_batch(x, y)
    last = {v.path.split("/", 1)[1] for v in made.layers[-1].variables}
    for one, other in zip(made.trainable_variables, free.trainable_variables, strict=True):
        path = one.path.split("/", 1)[1]
        expected = other.value if path in last else constraint(other.value)
        np.testing.assert_array_equal(one.value, expected, err_msg=path)


@by_name
def test_same_bits_for_any_number_of_threads_and_chunks(
    constraint: constraints.Constraint,
) -> None:
    x, y = draws(3, (320, 6), (320, 3))
    made = []
    for threads in (1, 2):
        with number_of_threads(threads):
            one = model(constraint)
            one.fit(x, y, 160, 4, verbose=0, shuffle=False)
            made.append(b"".join(w.tobytes() for w in one.get_weights()))
    each = model(constraint)
    for _ in range(4):
        for i in (0, 160):
            each.train_on_batch(x[i : i + 160], y[i : i + 160])
    made.append(b"".join(w.tobytes() for w in each.get_weights()))
    assert made[0] == made[1] == made[2]


def test_frozen_variables_are_left_alone() -> None:
    made = model(constraints.MaxNorm(0.1))
    made.layers[0].trainable = False
    before = made.layers[0].get_weights()
    made.train_on_batch(*draws(3, (32, 6), (32, 3)))
    for a, b in zip(before, made.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_change_takes_effect_at_the_next_step() -> None:
    made = model(None, keras.optimizers.SGD(0.0))
    x, y = draws(3, (32, 6), (32, 3))
    made.train_on_batch(x, y)
    made.layers[0].kernel.constraint = constraints.MaxNorm(0.1)
    made.train_on_batch(x, y)
    norms = np.linalg.norm(made.layers[0].kernel.value, axis=0)
    np.testing.assert_allclose(norms, 0.1, rtol=1e-5)
    made.layers[0].kernel.constraint.max_value = 0.05
    made.train_on_batch(x, y)
    norms = np.linalg.norm(made.layers[0].kernel.value, axis=0)
    np.testing.assert_allclose(norms, 0.05, rtol=1e-5)


def test_alpha_of_several_axes() -> None:
    """Its elements lie in one row: held by sign, but there are no norms along an axis."""
    layer = layers.PReLU(alpha_constraint="non_neg")
    layer.build((2, 5))
    layer = layers.PReLU(alpha_constraint="max_norm", name="p")
    with pytest.raises(
        ValueError, match=r"^Variable 'p/alpha': expected MaxNorm for a vector or m"
    ):
        layer.build((2, 5))


def test_after_averages_overwrite_values() -> None:
    """Of a mean of unit vectors the norm is below 1."""
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_overwrite_frequency=2)
    made = model(constraints.UnitNorm(), optimizer)
    x, y = draws(3, (32, 6), (32, 3))
    for _ in range(4):
        made.train_on_batch(x, y)
    norms = np.linalg.norm(made.layers[0].kernel.value, axis=0)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-6)


def test_updates_by_hand_are_constrained_too() -> None:
    variable = keras.Variable(np.ones((4, 3)), constraint=constraints.NonNeg())
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.apply([np.full((4, 3), 2.0)], [variable])
    assert (variable.value == 0.0).all()
    variable.constraint = None
    optimizer.apply([np.full((4, 3), 2.0)], [variable])
    assert (variable.value == -2.0).all()


# By hand, by name


@by_name
def test_by_hand(constraint: constraints.Constraint) -> None:
    w = draws(1, (33, 17))[0]
    before = w.copy()
    made = constraint(w)
    assert made.dtype == np.float32
    assert made.shape == w.shape
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(w, before)
    if isinstance(constraint, constraints.NonNeg):
        right = np.maximum(w, 0.0)
    else:
        right = reference.min_max_norm(w, *constraint._limits(), 0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(made, right, rtol=2e-7)
    assert constraint([0.5, 0.5]).shape == (2,)


@pytest.mark.parametrize(
    ("axis", "reduced"), [(0, 0), (1, 1), (-1, 1), (-2, 0), ([0, 1], (0, 1)), ((-1,), 1)]
)
def test_axes(axis: Any, reduced: Any) -> None:
    w = draws(1, (5, 7))[0]
    right = reference.min_max_norm(w, 1.0, 1.0, 1.0, reduced)
    np.testing.assert_allclose(constraints.UnitNorm(axis)(w), right, rtol=2e-7)


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("max_norm", "MaxNorm(max_value=2.0, axis=0)"),
        ("MaxNorm", "MaxNorm(max_value=2.0, axis=0)"),
        ("non_neg", "NonNeg()"),
        ("NonNeg", "NonNeg()"),
        ("unit_norm", "UnitNorm(axis=0)"),
        ("min_max_norm", "MinMaxNorm(min_value=0.0, max_value=1.0, rate=1.0, axis=0)"),
        (constraints.max_norm(3, [0, 1]), "MaxNorm(max_value=3.0, axis=[0, 1])"),
        (constraints.UnitNorm, "UnitNorm(axis=0)"),
        ({"class_name": "UnitNorm", "config": {"axis": 1}}, "UnitNorm(axis=1)"),
        (None, "None"),
    ],
)
def test_get(identifier: Any, text: str) -> None:
    made = constraints.get(identifier)
    assert repr(made) == text
    config = json.loads(json.dumps(constraints.serialize(made)))
    assert repr(None if config is None else constraints.deserialize(config)) == text


def built(constraint: constraints.Constraint) -> None:
    layers.Dense(2, bias_constraint=constraint, name="d").build((3,))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: constraints.MaxNorm(-1.0), "MaxNorm: expected max_value in [0, inf), got -1.0"),
        (lambda: constraints.MaxNorm(axis="0"), "MaxNorm: expected axis to be an integer or sever"),
        (lambda: constraints.MaxNorm(axis=True), "MaxNorm: expected axis to be an integer or seve"),
        (lambda: constraints.MaxNorm(axis=[]), "MaxNorm: expected at least one axis, got []"),
        (lambda: constraints.MinMaxNorm(2, 1), "MinMaxNorm: expected max_value of at least min_v"),
        (
            lambda: constraints.MinMaxNorm(1e39, 1e40),
            "MinMaxNorm: expected min_value in [0, 1e+38]",
        ),
        (lambda: constraints.MinMaxNorm(rate=2), "MinMaxNorm: expected rate in [0, 1], got 2"),
        (lambda: constraints.get("nope"), "constraint: expected one of max_norm, non_neg, unit_no"),
        (lambda: constraints.get(5), "constraint: expected None, a name, a config or a Const"),
        (lambda: constraints.serialize(5), "serialize: expected a Constraint, got 5"),
        (lambda: constraints.UnitNorm(1)([1.0]), "UnitNorm: expected axis below 1, the number of"),
        (lambda: constraints.NonNeg()(np.zeros((2, 2, 2))), "NonNeg: expected w to be a vector or"),
        (lambda: constraints.NonNeg()([np.nan]), "NonNeg: expected w to be a vector or matrix of"),
        (lambda: built(constraints.UnitNorm(1)), "UnitNorm: expected axis below 1, the number of"),
    ],
)
def test_bad_arguments(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)
