"""Regularizers, constraints and clipping: by themselves, and in fifty steps of a small model."""

from __future__ import annotations

from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import draws, jax, keras

pytestmark = helpers.quiet

STEPS, BATCH = 50, 16

factors = st.sampled_from([0.0, 1e-3, 0.01, 0.2])
sizes = st.integers(1, 40)
axes = st.sampled_from([0, 1, -1, [0, 1]])
seeds = st.integers(0, 1000)

# Regularizers, by themselves


def penalties(name: str, arguments: dict[str, float], shape: tuple[int, ...], seed: int) -> None:
    (w,) = draws(seed, shape)
    ours = getattr(evengrad.regularizers, name)(**arguments)
    theirs = getattr(keras.regularizers, name)(**arguments)
    value, slope = jax.value_and_grad(lambda w: theirs(w) + 0.0)(w)
    errors.compare(f"{name}: penalty", ours(w), float(value))
    made, result = evengrad._arena.tensor(*shape), np.zeros(1)
    values = evengrad._arena.tensor(*shape)
    values[...] = w
    program = evengrad._program.Program(1, training=True)
    program.regularize([values], [made], np.array([ours.l1]), np.array([ours.l2]), 1, result)
    program.run(1)
    errors.compare(f"{name}: penalty", result[0], float(value))
    errors.compare(f"{name}: slope", made, np.asarray(slope))


@helpers.fixed
@given(l1=factors, shape=st.tuples(sizes, sizes), seed=seeds)
def test_l1(l1: float, shape: tuple[int, ...], seed: int) -> None:
    penalties("L1", {"l1": l1}, shape, seed)


@helpers.fixed
@given(l2=factors, shape=st.tuples(sizes, sizes), seed=seeds)
def test_l2(l2: float, shape: tuple[int, ...], seed: int) -> None:
    penalties("L2", {"l2": l2}, shape, seed)


@helpers.fixed
@given(l1=factors, l2=factors, shape=st.tuples(sizes, sizes), seed=seeds)
def test_l1_l2(l1: float, l2: float, shape: tuple[int, ...], seed: int) -> None:
    penalties("L1L2", {"l1": l1, "l2": l2}, shape, seed)


# Constraints, by themselves


def constrained(name: str, arguments: dict[str, Any], shape: tuple[int, ...], seed: int) -> None:
    (w,) = draws(seed, shape)
    ours = getattr(evengrad.constraints, name)(**arguments)
    theirs = getattr(keras.constraints, name)(**arguments)
    errors.compare(name, ours(w), np.asarray(theirs(w)))


@helpers.fixed
@given(shape=st.tuples(sizes, sizes), seed=seeds)
def test_non_neg(shape: tuple[int, ...], seed: int) -> None:
    constrained("NonNeg", {}, shape, seed)


@helpers.fixed
@given(axis=axes, shape=st.tuples(sizes, sizes), seed=seeds)
def test_unit_norm(axis: Any, shape: tuple[int, ...], seed: int) -> None:
    constrained("UnitNorm", {"axis": axis}, shape, seed)


@helpers.fixed
@given(axis=axes, most=st.floats(0.1, 8.0), shape=st.tuples(sizes, sizes), seed=seeds)
def test_max_norm(axis: Any, most: float, shape: tuple[int, ...], seed: int) -> None:
    constrained("MaxNorm", {"axis": axis, "max_value": most}, shape, seed)


@helpers.fixed
@given(
    axis=axes,
    least=st.floats(0.0, 4.0),
    span=st.floats(0.1, 4.0),
    rate=st.floats(0.0, 1.0),
    shape=st.tuples(sizes, sizes),
    seed=seeds,
)
def test_min_max_norm(
    axis: Any, least: float, span: float, rate: float, shape: tuple[int, ...], seed: int
) -> None:
    arguments = {"axis": axis, "min_value": least, "max_value": least + span, "rate": rate}
    constrained("MinMaxNorm", arguments, shape, seed)


@pytest.mark.parametrize("name", ["MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm"])
def test_vectors(name: str) -> None:
    constrained(name, {}, (17,), 1)


# Names and defaults


@pytest.mark.parametrize("family", ["regularizers", "constraints"])
def test_same_defaults_and_configurations(family: str) -> None:
    names = {"regularizers": ["L1", "L2", "L1L2"], "constraints": ["MaxNorm", "NonNeg"]}[family]
    names += ["UnitNorm", "MinMaxNorm"] if family == "constraints" else []
    ours, theirs = getattr(evengrad, family), getattr(keras, family)
    for name in names:
        for identifier in (name, keras.src.utils.naming.to_snake_case(name)):
            made, expected = ours.get(identifier), theirs.get(identifier)
            assert type(made).__name__ == type(expected).__name__
            config = expected.get_config()
            assert made.get_config() == pytest.approx(config, rel=1e-6), identifier
        assert ours.get({"class_name": name, "config": config}).get_config() == pytest.approx(
            config
        )


# Fifty steps

rule = st.sampled_from([
    {}, {"clipvalue": 0.02}, {"clipnorm": 0.1}, {"global_clipnorm": 0.2},
])  # fmt: skip
regularizer = st.sampled_from([
    None, ("L1", {"l1": 0.01}), ("L2", {"l2": 0.05}), ("L1L2", {"l1": 1e-3, "l2": 0.02}),
])  # fmt: skip
constraint = st.sampled_from([
    None, ("NonNeg", {}), ("MaxNorm", {"max_value": 0.8}), ("UnitNorm", {}),
    ("MinMaxNorm", {"min_value": 0.5, "max_value": 1.0, "rate": 0.5}),
])  # fmt: skip


def part(library: Any, family: str, which: Any) -> Any:
    return None if which is None else getattr(getattr(library, family), which[0])(**which[1])


def model(library: Any, chosen: dict[str, Any], optimizer: Any) -> Any:
    def parts(*names: str) -> dict[str, Any]:
        return {
            f"{n}_{kind}": part(library, f"{kind}s", chosen[f"{n}_{kind}"])
            for n in names
            for kind in ("regularizer", "constraint")
        }

    plain = {"debias": False} if library is evengrad else {}
    made = library.Sequential(
        [
            library.Input((6,)),
            library.layers.Dense(8, **parts("kernel", "bias")),
            library.layers.BatchNormalization(**parts("gamma", "beta"), **plain),
            library.layers.PReLU(**parts("alpha")),
            library.layers.Dense(3, **parts("kernel", "bias")),
        ]
    )
    weights = draws(5, (6, 8), (8,), (8,), (8,), (8,), (8,), (8,), (8, 3), (3,), spread=0.5)
    weights[2] = np.abs(weights[2]) + 0.5
    weights[5] = np.abs(weights[5])
    made.set_weights(weights)
    made.compile(optimizer=optimizer, loss="mse")
    return made


def trained(library: Any, made: Any) -> list[float]:
    losses = []
    for i in range(STEPS):
        x, y = draws(100 + i, (BATCH, 6), (BATCH, 3))
        losses.append(float(made.train_on_batch(x, y)))
        if library is keras:
            made.reset_metrics()
    return losses


@pytest.mark.parametrize(
    "options",
    [{"gradient_accumulation_steps": 3}, {"use_ema": True, "ema_overwrite_frequency": 4}],
    ids=["accumulation", "averages"],
)
def test_fifty_steps_with_accumulation_and_averages(options: dict[str, Any]) -> None:
    parts = ("kernel", "bias", "gamma", "beta", "alpha")
    chosen: dict[str, Any] = {f"{p}_regularizer": ("L2", {"l2": 0.05}) for p in parts}
    limits = {"min_value": 0.5, "max_value": 1.0, "rate": 0.5}
    chosen |= {f"{p}_constraint": ("MinMaxNorm", limits) for p in parts}
    made = []
    for library in (evengrad, keras):
        optimizer = library.optimizers.SGD(0.05, momentum=0.5, clipnorm=0.1, **options)
        one = model(library, chosen, optimizer)
        made.append((trained(library, one), one.get_weights()))
    for a, b in zip(made[0][0], made[1][0], strict=True):
        errors.compare("shaping: losses of 50 steps", a, b)
    for a, b in zip(made[0][1], made[1][1], strict=True):
        errors.compare_variable("shaping: variables", a, b)


@helpers.fixed
@given(
    kernel_regularizer=regularizer,
    bias_regularizer=regularizer,
    gamma_regularizer=regularizer,
    beta_regularizer=regularizer,
    alpha_regularizer=regularizer,
    kernel_constraint=constraint,
    bias_constraint=constraint,
    gamma_constraint=constraint,
    beta_constraint=constraint,
    alpha_constraint=constraint,
    clip=rule,
)
def test_fifty_steps(clip: dict[str, float], **chosen: Any) -> None:
    for name in ("kernel", "bias", "gamma", "beta", "alpha"):
        # At w = 0 the slope of |w| is 1 in JAX, 0 here and in torch: none may be 0.
        if (chosen[f"{name}_regularizer"] or " ")[0].startswith("L1"):
            chosen[f"{name}_constraint"] = None
    x, y = draws(99, (BATCH, 6), (BATCH, 3))
    made = []
    for library in (evengrad, keras):
        optimizer = library.optimizers.SGD(0.05, momentum=0.5, **clip)
        one = model(library, chosen, optimizer)
        losses = trained(library, one)
        evaluated = one.evaluate(x, y, batch_size=5, verbose=0)
        made.append((losses, evaluated, [float(p) for p in one.losses], one.get_weights()))
    ours, theirs = made
    for a, b in zip(ours[0], theirs[0], strict=True):
        errors.compare("shaping: losses of 50 steps", a, b)
    errors.compare("shaping: evaluate", ours[1], theirs[1])
    assert len(ours[2]) == len(theirs[2])
    for a, b in zip(ours[2], theirs[2], strict=True):
        errors.compare("shaping: model.losses", a, b)
    for a, b in zip(ours[3], theirs[3], strict=True):
        errors.compare_variable("shaping: variables", a, b)
