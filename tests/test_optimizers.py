"""Update kernels against float64, with and without clipping in the same pass."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _core
from evengrad._arena import tensor
from harness import (
    F32,
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

SHAPES: list[tuple[int, ...]] = [(33, 17), (17,), (1, 1), (1,), (9, 1024), (130, 100)]
STEPS = 6
RATE = 0.01

# kernel, its options; those of the reference have the same names
CASES: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("adam", {}),
    ("adam", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("adam", {"beta_2": 0.5, "amsgrad": True}),
    ("rmsprop", {}),
    ("rmsprop", {"rho": 0.5, "momentum": 0.7, "epsilon": 1e-3}),
    ("rmsprop", {"centered": True}),
    ("rmsprop", {"momentum": 0.7, "centered": True}),
    ("nadam", {}),
    ("nadam", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("adamax", {}),
    ("adamax", {"beta_1": 0.5, "beta_2": 0.5, "epsilon": 1e-3}),
    ("adagrad", {}),
    ("adagrad", {"initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    ("adadelta", {}),
    ("adadelta", {"rho": 0.5, "epsilon": 1e-3}),
    ("lion", {}),
    ("lion", {"beta_1": 0.5, "beta_2": 0.9}),
]
# Kernels that take a list of slots: how many, and their scalars with defaults.
WITH_SLOTS: dict[str, tuple[int, dict[str, float]]] = {
    "nadam": (2, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}),
    "adamax": (2, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}),
    "adagrad": (1, {"epsilon": 1e-7}),
    "adadelta": (2, {"rho": 0.95, "epsilon": 1e-7}),
    "lion": (1, {"beta_1": 0.9, "beta_2": 0.99}),
}
IDS = [f"{name}-{'-'.join(options) or 'defaults'}" for name, options in CASES]


def record_update(
    p: _core.Program, name: str, options: dict[str, Any], arrays: dict[str, Any], clip: str
) -> None:
    """`arrays`: values, gradients, norms and, made by this function, the slots."""
    values, gradients, norms = arrays["values"], arrays["gradients"], arrays["norms"]
    decay = options.get("weight_decay", 0.0)
    decays = np.full(len(values), decay) if decay else None

    def zeros() -> list[F32]:
        return [matrix(np.zeros(g.shape)) for g in gradients]

    if name == "sgd":
        momentum = options.get("momentum", 0.0)
        arrays["slots"] = [zeros()] if momentum else [None]
        nesterov = options.get("nesterov", False)
        p.sgd(values, gradients, arrays["slots"][0], norms, clip, momentum, nesterov, decays)
    elif name == "adam":
        amsgrad = options.get("amsgrad", False)
        arrays["slots"] = [zeros() for _ in range(3 if amsgrad else 2)]
        betas = options.get("beta_1", 0.9), options.get("beta_2", 0.999)
        epsilon = options.get("epsilon", 1e-7)
        slots = arrays["slots"]
        p.adam(values, gradients, slots, norms, clip, *betas, epsilon, amsgrad, decays)
    elif name in WITH_SLOTS:
        count, scalars = WITH_SLOTS[name]
        arrays["slots"] = [zeros() for _ in range(count)]
        for slot in arrays["slots"][0] if name == "adagrad" else ():
            slot[...] = options.get("initial_accumulator_value", 0.1)
        used = [options.get(scalar, default) for scalar, default in scalars.items()]
        getattr(p, name)(values, gradients, arrays["slots"], norms, clip, *used, decays)
    else:
        momentum = options.get("momentum", 0.0)
        velocities, momenta = zeros(), zeros() if momentum else None
        means = zeros() if options.get("centered") else None
        arrays["slots"] = [velocities, momenta, means]
        rho, epsilon = options.get("rho", 0.9), options.get("epsilon", 1e-7)
        p.rmsprop(
            values, gradients, velocities, momenta, means, norms, clip, rho, momentum, epsilon,
            decays,
        )  # fmt: skip


def case(
    name: str,
    options: dict[str, Any],
    *,
    clip: str = "none",
    limit: float = 1.0,
    threads: int = 1,
) -> Results:
    starts = draws(1, *SHAPES)
    batches = [draws(2 + step, *SHAPES) for step in range(STEPS)]
    arrays: dict[str, Any] = {
        "values": [matrix(v) for v in starts],
        "gradients": [matrix(g) for g in batches[0]],
        "norms": np.zeros(len(SHAPES)),
    }

    def record(p: _core.Program) -> None:
        p.gradient_norms(arrays["gradients"], arrays["norms"])
        record_update(p, name, options, arrays, clip)

    program = run(1, record, threads=threads, learning_rate=RATE, iteration=1, clip=limit)
    with number_of_threads(threads):
        for step in range(1, STEPS):
            for array, gradient in zip(arrays["gradients"], batches[step], strict=True):
                array[...] = gradient
            program.run(1, learning_rate=RATE, iteration=1 + step, clip=limit)
    if clip != "none":
        batches = [reference.CLIPS[clip](gradients, limit) for gradients in batches]  # type: ignore[misc]
    for array, gradient in zip(arrays["gradients"], draws(1 + STEPS, *SHAPES), strict=True):
        np.testing.assert_array_equal(array, gradient)  # clipped on the way, not in memory
    results: Results = {}
    update = getattr(reference, name)
    for i, start in enumerate(starts):
        path = [reference.f64(start)]
        for step in range(STEPS):
            gradients = [b[i] for b in batches[: step + 1]]
            path.append(update(start, gradients, RATE, **options))
        moved = sum(np.abs(b - a) for a, b in itertools.pairwise(path))
        # Each step rounds the variable once and the move up to some 16 times; a variance made
        # as a difference, when centered, has 4 times the relative error.
        roundings = STEPS * (2 if options.get("weight_decay") else 1)
        bound = UNIT * (
            roundings * np.abs(path[-1]) + moved * (STEPS + (64 if name != "sgd" else 16))
        )
        results[f"value {i}"] = (parameter_gradient(arrays["values"][i]), path[-1], bound)
    for slot in filter(None, arrays["slots"]):
        for made in slot:
            parameter_gradient(made)  # padding 0
    return results


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_steps(name: str, options: dict[str, Any]) -> None:
    check(case(name, options))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_weight_decay(name: str, options: dict[str, Any]) -> None:
    check(case(name, options | {"weight_decay": 0.5}))
    check(case(name, options | {"weight_decay": 1e-6}, clip="norm"))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_small_decay_is_not_rounded_to_the_next(name: str, options: dict[str, Any]) -> None:
    """1 - rate * decay, rounded first, would be 1 - 66 or 1 - 67 units here, as AdamW's."""
    start, steps, shrink = np.linspace(0.5, 1.0, 33 * 17).reshape(33, 17), 200, 66.5 * UNIT
    value, gradient = matrix(start), matrix(np.zeros((33, 17)))
    arrays = {"values": [value], "gradients": [gradient], "norms": np.zeros(1)}
    decayed = options | {"weight_decay": shrink / 1e-3}
    program = run(1, lambda p: record_update(p, name, decayed, arrays, "none"), learning_rate=1e-3)
    for _ in range(steps - 1):
        program.run(1, learning_rate=1e-3)
    lost = 1.0 - value / matrix(start)
    np.testing.assert_allclose(np.mean(lost, dtype=np.float64), steps * shrink, rtol=3e-3)


def test_decay_of_each_variable() -> None:
    values = [matrix(np.ones(shape)) for shape in SHAPES]
    gradients = [matrix(np.zeros(shape)) for shape in SHAPES]
    decays, norms = np.linspace(0.0, 1.0, len(SHAPES)), np.zeros(len(SHAPES))
    run(
        1,
        lambda p: p.sgd(values, gradients, None, norms, "none", 0.0, False, decays),
        learning_rate=0.5,
    )
    for value, decay in zip(values, decays, strict=True):
        np.testing.assert_allclose(parameter_gradient(value), 1.0 - 0.5 * decay, rtol=2 * UNIT)


@pytest.mark.parametrize("clip", list(reference.CLIPS))
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_clipped_on_the_way(name: str, options: dict[str, Any], clip: str) -> None:
    check(case(name, options, clip=clip, limit=0.3))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_threads(name: str, options: dict[str, Any]) -> None:
    check_threads(case, name, options | {"weight_decay": 0.1})
    check_threads(case, name, options, clip="global_norm", limit=0.3)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_huge_clipped_gradients(name: str, options: dict[str, Any]) -> None:
    """A gradient of 1e30, clipped, moves a variable as one of its direction and norm 1 does."""

    def moved(scale: float) -> F32:
        gradient = (draws(1, (9, 17))[0] * scale).astype(np.float32)
        arrays: dict[str, Any] = {
            "values": [matrix(np.zeros((9, 17)))],
            "gradients": [matrix(gradient)],
            "norms": np.zeros(1),
        }

        def record(p: _core.Program) -> None:
            p.gradient_norms(arrays["gradients"], arrays["norms"])
            record_update(p, name, options, arrays, "norm")

        run(1, record, learning_rate=RATE, clip=1.0)
        return parameter_gradient(arrays["values"][0])

    np.testing.assert_allclose(moved(1e30), moved(1.0), rtol=1e-4)
    assert np.abs(moved(1.0)).max() > 0.0


EXTREMES = [0.0, 2.0**-149, 1e-44, 1e-38, 1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e19, 1e20, 1e30, 3.4e38]


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_every_finite_gradient_leaves_everything_finite(name: str, options: dict[str, Any]) -> None:
    """Of all sizes and in all orders, unclipped, and as near to the right value as one may ask."""
    wide = np.array([*EXTREMES, *(-x for x in EXTREMES)], dtype=np.float32)
    first, second = np.meshgrid(wide, wide)
    batches = [first, second, first, first, second, second, second, -second, 0.0 * first]
    value, gradient = matrix(np.zeros(first.shape)), matrix(first)
    arrays: dict[str, Any] = {"values": [value], "gradients": [gradient], "norms": np.zeros(1)}
    rate = 1e-3
    program = run(1, lambda p: record_update(p, name, options, arrays, "none"), learning_rate=rate)
    for i, batch in enumerate(batches[1:], 2):
        gradient[...] = batch
        program.run(1, learning_rate=rate, iteration=i)
    for slot in filter(None, arrays["slots"]):
        assert np.isfinite(slot[0]).all()
    assert np.isfinite(value).all()
    if name != "sgd":
        # Beyond 1e19 elements are held there, and so is a sum of a few squares of 1e19. Squares of
        # the smallest are not to be had in float32.
        expected = getattr(reference, name)(np.zeros(first.shape), batches, rate, **options)
        exact, largest = np.ones(first.shape, bool), 1e18 if name == "adagrad" else 1.1e19
        for size in (np.abs(first), np.abs(second)):
            exact &= (size == 0.0) | ((size >= 1e-10) & (size <= largest))
        np.testing.assert_allclose(value[exact], expected[exact], rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_nan_survives(name: str, options: dict[str, Any]) -> None:
    gradient = matrix(np.zeros((9, 17)))
    gradient[3, 5] = np.nan
    arrays: dict[str, Any] = {
        "values": [matrix(np.zeros((9, 17)))], "gradients": [gradient], "norms": np.zeros(1)
    }  # fmt: skip
    run(1, lambda p: record_update(p, name, options, arrays, "none"), learning_rate=RATE)
    assert np.isnan(arrays["values"][0][3, 5])
    assert np.isnan(arrays["values"][0]).sum() == 1


@pytest.mark.parametrize("iteration", [1, 2, 10, 500, 911, 912, 913, 5000, 10**9])
def test_nadam_of_a_late_iteration(iteration: int) -> None:
    """The product of the weights so far comes from the replay's number."""
    value, gradient = matrix(np.zeros((3, 4))), matrix(np.full((3, 4), 0.5))
    m, v = matrix(np.full((3, 4), 0.25)), matrix(np.full((3, 4), 0.125))
    beta = 0.999
    run(
        1,
        lambda p: p.nadam([value], [gradient], [[m], [v]], np.zeros(1), "none", beta, 0.999, 1e-7),
        learning_rate=RATE,
        iteration=iteration,
    )
    few = np.arange(1, min(iteration, 10**5) + 1)  # the product is 0 by then
    product = np.prod(beta * (1.0 - 0.5 * 0.96**few))
    now, after = (beta * (1.0 - 0.5 * 0.96**t) for t in (iteration, iteration + 1))
    m_, v_ = beta * 0.25 + (1.0 - beta) * 0.5, 0.999 * 0.125 + 0.001 * 0.25
    ahead = after * m_ / (1.0 - product * after) + (1.0 - now) * 0.5 / (1.0 - product)
    step = RATE * ahead / (np.sqrt(v_ / (1.0 - 0.999**iteration)) + 1e-7)
    np.testing.assert_allclose(value, -step, rtol=32 * UNIT)


@pytest.mark.parametrize("iteration", [1, 10, 1000, 10**6, 10**9])
def test_adam_of_a_late_iteration(iteration: int) -> None:
    """The correction of the bias comes from the replay's number and ends up as 1."""
    value, gradient = matrix(np.zeros((3, 4))), matrix(np.full((3, 4), 0.5))
    m, v, norms = matrix(np.full((3, 4), 0.25)), matrix(np.full((3, 4), 0.125)), np.zeros(1)
    run(
        1,
        lambda p: p.adam([value], [gradient], [[m], [v]], norms, "none", 0.9, 0.999, 1e-7, False),
        learning_rate=RATE,
        iteration=iteration,
    )
    m_, v_ = 0.9 * 0.25 + 0.1 * 0.5, 0.999 * 0.125 + 0.001 * 0.25
    rate = RATE * np.sqrt(1.0 - 0.999**iteration) / (1.0 - 0.9**iteration)
    np.testing.assert_allclose(value, -rate * m_ / (np.sqrt(v_) + 1e-7), rtol=16 * UNIT)
    np.testing.assert_allclose(m, m_, rtol=4 * UNIT)
    np.testing.assert_allclose(v, v_, rtol=4 * UNIT)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_centered_rmsprop_of_a_constant_gradient_stays_finite(scale: float) -> None:
    # The variance, square - mean^2, goes to 0 then, in float32 also below.
    gradient = matrix((draws(1, (33, 17))[0] * scale).astype(np.float32))
    value, velocity, mean = (matrix(np.zeros((33, 17))) for _ in range(3))
    program = run(
        1,
        lambda p: p.rmsprop(
            [value], [gradient], [velocity], None, [mean], np.zeros(1), "none", 0.9, 0.0, 1e-7
        ),
        learning_rate=1e-3,
    )
    for _ in range(400):
        program.run(1, learning_rate=1e-3)
    assert np.isfinite(value).all()


def test_learning_rate_zero_moves_nothing() -> None:
    start = draws(1, (9, 17))[0]
    value, gradient = matrix(start), matrix(draws(2, (9, 17))[0])
    run(1, lambda p: p.sgd([value], [gradient], None, np.zeros(1), "none", 0.0, False))
    np.testing.assert_array_equal(value, start)


def test_part_of_a_matrix_leaves_the_rest_alone() -> None:
    """The first columns of a wider matrix are a matrix; the others are not its padding."""
    wide, gradient = tensor(9, 64), tensor(9, 64)
    gradient[...] = 1.0
    part = wide[:, :16]
    run(
        1,
        lambda p: p.sgd([part], [gradient[:, :16]], None, np.zeros(1), "none", 0.0, False),
        learning_rate=1.0,
    )
    assert (part == -1.0).all()
    assert (wide[:, 16:] == 0.0).all()


def test_bad_arguments() -> None:
    p, w, g, z, norms = _core.Program(1), tensor(3, 4), tensor(3, 4), tensor(3, 5), np.zeros(1)
    shapes = "expected arrays of the shapes"
    with pytest.raises(ValueError, match=f"^values: {shapes}"):
        p.sgd([tensor(4, 4)], [g], None, norms, "none", 0.0, False)
    with pytest.raises(ValueError, match=f"^values: {shapes}"):
        p.sgd([w, w], [g], None, norms, "none", 0.0, False)
    with pytest.raises(ValueError, match=f"^values: {shapes}"):
        p.sgd([z], [g], None, norms, "none", 0.0, False)
    with pytest.raises(ValueError, match=f"^slots: {shapes}"):
        p.sgd([w], [g], [], norms, "none", 0.9, False)
    with pytest.raises(ValueError, match=r"^slots: expected 3 lists of arrays, got 2"):
        p.adam([w], [g], [[z], [z]], norms, "none", 0.9, 0.999, 1e-7, True)
    with pytest.raises(TypeError, match=r"^velocities: expected a list of arrays, got None"):
        p.rmsprop([w], [g], None, None, None, norms, "none", 0.9, 0.0, 1e-7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^clip: expected one of none, value, norm, global_norm"):
        p.sgd([w], [g], None, norms, "nrm", 0.0, False)


def test_a_variable_shares_no_memory_with_its_gradient() -> None:
    p, norms, both = _core.Program(1), np.zeros(1), tensor(6, 17)
    w, g = both[:3], both[2:5]
    for values, gradients in (([both], [both]), ([w], [g])):
        with pytest.raises(ValueError, match=r"^values: .*overlap"):
            p.sgd(values, gradients, None, norms, "none", 0.0, False)
    with pytest.raises(ValueError, match=r"^slots: .*overlap"):
        p.sgd([tensor(6, 17)], [both], [both], norms, "none", 0.9, False)
