"""Clipping that adapts: unit-wise, AutoClip, ZClip; kernels, state, and what an optimizer does."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import _core, layers
from evengrad._program import Program
from evengrad.optimizers import clipping
from harness import (
    F32,
    F64,
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

SHAPES: list[tuple[int, ...]] = [(33, 17), (17,), (1, 1), (1,), (16, 16), (9, 1024), (130, 100)]
SCALES = [1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e19, 1e20, 1e30, 5e37]
CLASSES = [clipping.AdaptiveGradientClipping, clipping.AutoClip, clipping.ZClip]


# Unit-wise


def unit_case(scale: float, lambda_: float, epsilon: float, *, threads: int = 1) -> Results:
    values = draws(1, *SHAPES)
    values[0][:, 3] = 0.0  # weights of 0, and gradients of 0
    gradients = [(g * scale).astype(np.float32) for g in draws(2, *SHAPES)]
    gradients[0][:, 4] = 0.0
    arrays, norms, health = [matrix(g) for g in gradients], np.zeros(len(SHAPES)), np.zeros(3)
    lambdas = np.full(len(SHAPES), lambda_)
    lambdas[4] = np.inf

    def record(p: _core.Program) -> None:
        p.unit_clip([matrix(v) for v in values], arrays, norms, lambdas, epsilon, health)

    program = run(1, record, threads=threads)
    assert program.failure is None
    squares = np.array([reference.norm(g) ** 2 for g in gradients])
    results: Results = {"norms": (norms, squares, 1e-11 * squares)}
    for i, made in enumerate(arrays):
        right = reference.unit_clip(values[i], gradients[i], lambdas[i], epsilon)
        # The factor is a double and each product rounded once.
        bound = 1.001 * UNIT * np.abs(right) + TINY
        results[f"gradient {i}"] = (parameter_gradient(made), right, bound)
    changed = any((results[f"gradient {i}"][0] != g).any() for i, g in enumerate(gradients))
    total = np.sqrt(squares.sum())
    results["health"] = (health, np.array([total, changed, 1.0]), 1e-11 * total)
    return results


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("lambda_", [1e-4, 0.01, 1e3])
@pytest.mark.parametrize("epsilon", [1e-3, 2.0])
def test_unit_clip(scale: float, lambda_: float, epsilon: float) -> None:
    check(unit_case(scale, lambda_, epsilon))


def test_unit_clip_threads() -> None:
    for scale in (1.0, 1e30):
        check_threads(unit_case, scale, 0.01, 1e-3)


def test_unit_clip_of_huge_and_tiny_weights() -> None:
    for size in (1e-30, 1e38):
        w = np.full((20, 3), size, np.float32)
        g = matrix(np.full((20, 3), 1e38, np.float32))
        program = _core.Program(1)
        program.unit_clip([matrix(w)], [g], np.zeros(1), np.array([0.01]), 1e-3)
        program.run(1)
        right = reference.unit_clip(w, np.full((20, 3), 1e38, np.float32), 0.01, 1e-3)
        np.testing.assert_allclose(g, right, rtol=2 * UNIT)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("variable", range(len(SHAPES)))
@pytest.mark.parametrize("threads", [1, 2])
def test_unit_clip_fails_before_it_changes_anything(
    bad: float, variable: int, threads: int
) -> None:
    arrays = [matrix(g) for g in draws(1, *SHAPES)]
    arrays[variable].flat[-1] = bad
    before, norms, health = [a.copy() for a in arrays], np.zeros(len(arrays)), np.zeros(3)
    lambdas = np.full(len(arrays), 1e-5)

    def record(p: _core.Program) -> None:
        p.unit_clip([matrix(v) for v in draws(2, *SHAPES)], arrays, norms, lambdas, 1e-3, health)

    assert run(1, record, threads=threads).failure == ("gradient", variable)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    assert not health.any()


# Thresholds from the history


def replay(rule: clipping.Clipping, gradients: list[list[F32]], health: F64) -> list[list[F32]]:
    """What clipping makes of the gradients of each step."""
    program = Program(1, training=True)
    variables = [keras.Variable(g) for g in gradients[0]]
    arrays: Any = [program.gradient(v) for v in variables]
    norms = rule.record(program, health)
    program.clip(arrays, norms, rule.kind)
    after = []
    for step in gradients:
        for array, g in zip(arrays, step, strict=True):
            array[...] = g
        program.run(1, clip=rule.threshold)
        assert program.failure is None
        after.append([a.copy() for a in arrays])
    return after


def history(steps: int, scale: float) -> list[list[F32]]:
    """Gradients whose norms wander and have spikes."""
    rng = np.random.default_rng(5)
    sizes = scale * np.exp(0.2 * rng.standard_normal(steps)) * np.linspace(1.0, 2.0, steps)
    sizes[30::17] *= 5.0 * rng.random(len(sizes[30::17])) + 1.0
    made = []
    for i, size in enumerate(sizes):
        made.append([(g * size).astype(np.float32) for g in draws(i, (33, 17), (17,), (1,))])
    return made


def global_norms(steps: list[list[F32]]) -> list[float]:
    return [reference.norm([reference.norm(g) for g in step]) for step in steps]


def compare_norms(gradients: list[list[F32]], after: list[list[F32]], wanted: list[float]) -> int:
    """Every gradient times one factor; returns how many steps were clipped."""
    count = 0
    for step, made, norm, right in zip(
        gradients, after, global_norms(gradients), wanted, strict=True
    ):
        factor = min(1.0, right / norm)
        count += factor < 1.0
        for g, m in zip(step, made, strict=True):
            if factor == 1.0:
                np.testing.assert_array_equal(m, g)
            bound = 4 * UNIT * np.abs(g.astype(np.float64)) * factor + 2 * TINY
            assert (np.abs(m - g.astype(np.float64) * factor) <= bound).all()
    return count


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("percentile", "length"), [(10.0, 1000), (0.0, 1), (50.0, 7), (100.0, 20), (87.5, 64)]
)
def test_auto_clip_over_many_steps(scale: float, percentile: float, length: int) -> None:
    gradients, health = history(150, 0.1 * scale), np.zeros(3)
    rule = clipping.AutoClip(percentile, length)
    after = replay(rule, gradients, health)
    norms = global_norms(gradients)
    count = compare_norms(gradients, after, reference.auto_clip(norms, percentile, length))
    np.testing.assert_allclose(health, [sum(norms), count, 150], rtol=1e-11)
    assert count > 100 or percentile > 10.0 or length == 1
    np.testing.assert_allclose(rule.get_state()["history"], norms[-length:], rtol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("alpha", "threshold", "warm_up"), [(0.97, 2.5, 25), (0.5, 1.0, 1), (0.0, 0.1, 10)]
)
def test_z_clip_over_many_steps(scale: float, alpha: float, threshold: float, warm_up: int) -> None:
    gradients, health = history(150, 0.1 * scale), np.zeros(3)
    rule = clipping.ZClip(alpha, threshold, warm_up)
    after = replay(rule, gradients, health)
    norms = global_norms(gradients)
    count = compare_norms(gradients, after, reference.z_clip(norms, alpha, threshold, warm_up))
    np.testing.assert_allclose(health, [sum(norms), count, 150], rtol=1e-11)
    assert count >= 3


def test_z_clip_without_a_deviation() -> None:
    steps = [[np.array([3.0], np.float32)]] * 5 + [[np.array([6.0], np.float32)]]
    after = replay(clipping.ZClip(warm_up=5), steps, np.zeros(3))
    assert [float(a[0][0]) for a in after] == [3.0] * 6


def test_auto_clip_of_equal_norms() -> None:
    steps = [[np.array([3.0], np.float32)]] * 30
    rule = clipping.AutoClip(history=4)
    after = replay(rule, steps, np.zeros(3))
    assert {float(a[0][0]) for a in after} == {3.0}
    assert rule.get_state()["history"].tolist() == [3.0] * 4


# State


def state_of(rule: clipping.Clipping) -> dict[str, Any]:
    return {name: value.tolist() for name, value in rule.get_state().items()}


@pytest.mark.parametrize("cls", [clipping.AutoClip, clipping.ZClip])
@pytest.mark.parametrize("steps", [0, 3, 40])
def test_a_state_goes_on_where_it_was(cls: Any, steps: int) -> None:
    make = (lambda: cls(history=16)) if cls is clipping.AutoClip else cls
    gradients = history(80, 1.0)
    whole, first, second = make(), make(), make()
    expected = replay(whole, gradients, np.zeros(3))[steps:]
    if steps:
        replay(first, gradients[:steps], np.zeros(3))
    second.set_state(first.get_state())
    after = replay(second, gradients[steps:], np.zeros(3))
    for a, b in zip(after, expected, strict=True):
        for one, other in zip(a, b, strict=True):
            assert one.tobytes() == other.tobytes()
    assert state_of(second) == state_of(whole)
    for twin in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert state_of(twin) == state_of(whole)


def test_a_longer_history_keeps_the_newest() -> None:
    rule = clipping.AutoClip(history=3)
    rule.set_state({"history": [5.0, 4.0, 3.0, 2.0]})
    assert state_of(rule) == {"history": [4.0, 3.0, 2.0]}


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (clipping.AutoClip(), {"history": [[1.0]]}),
        (clipping.AutoClip(), {"history": [1.0, np.nan]}),
        (clipping.AutoClip(), {"history": [-1.0]}),
        (clipping.AutoClip(), {}),
        (clipping.ZClip(), {"statistic": [1.0, 2.0]}),
        (clipping.ZClip(), {"statistic": [1.0, -2.0], "seen": [3]}),
        (clipping.ZClip(), {"statistic": [1.0], "seen": [3]}),
        (clipping.ZClip(), {"statistic": [1.0, 2.0], "seen": [-3]}),
        (clipping.ZClip(), {"statistic": [1.0, 2.0], "seen": [1.5]}),
        (clipping.ByNorm(1.0), {"seen": [3]}),
    ],
)
def test_bad_states_change_nothing(rule: clipping.Clipping, state: dict[str, Any]) -> None:
    before = state_of(rule)
    with pytest.raises(ValueError, match=f"^{type(rule).__name__}: expected"):
        rule.set_state(state)
    assert state_of(rule) == before


@pytest.mark.parametrize("bad", [np.nan, 3e38])
def test_a_failed_step_leaves_no_trace(bad: float) -> None:
    """NaN, and a norm that the learning rate takes out of range."""
    for rule in (clipping.AutoClip(90), clipping.ZClip(warm_up=3)):
        array, norms, health = matrix(np.ones(4)), np.zeros(2), np.zeros(3)
        program = Program(1, training=True)
        program.gradient_norms([array], norms, "adaptive")
        rule._record_threshold(program, norms, health)
        program.run(1)
        before, sums = state_of(rule), health.copy()
        array[0] = bad
        program.run(1, learning_rate=1.0)
        assert program.failure == ("gradient", 0)
        assert state_of(rule) == before
        np.testing.assert_array_equal(health, sums)


# In training


def model(rule: Any, *, rate: float = 0.05) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    stack = [keras.Input((6,)), layers.Dense(40, "tanh"), layers.Dense(3, name="logits")]
    made = keras.Sequential(stack)
    made.compile(keras.optimizers.SGD(rate, clipping=rule), "mse")
    return made


def data(rows: int = 320) -> tuple[F32, F32]:
    x, y = draws(3, (rows, 6), (rows, 3))
    return x, 3.0 * y


def bits(made: keras.Sequential) -> bytes:
    return b"".join(w.tobytes() for w in made.get_weights())


def rules() -> list[clipping.Clipping]:
    return [
        clipping.AdaptiveGradientClipping(),
        clipping.AutoClip(history=30),
        clipping.ZClip(warm_up=5, z_threshold=0.5),
    ]


@pytest.mark.parametrize("which", range(3))
def test_many_steps_in_one_replay_are_as_one_by_one(which: int) -> None:
    x, y = data()
    together, each, plain = model(rules()[which]), model(rules()[which]), model(None)
    history = together.fit(x, y, 4, 2, verbose=0, shuffle=False)
    for _ in range(2):
        for i in range(0, len(x), 4):
            each.train_on_batch(x[i : i + 4], y[i : i + 4])
    plain.fit(x, y, 4, 2, verbose=0, shuffle=False)
    assert bits(together) == bits(each) != bits(plain)
    assert 0.0 < history.health["clip_rate"][0] <= 1.0


@pytest.mark.parametrize("which", range(3))
def test_same_bits_for_any_number_of_threads(which: int) -> None:
    x, y = data()
    made = []
    for threads in (1, 2):
        with number_of_threads(threads):
            one = model(rules()[which])
            one.fit(x, y, 160, 4, verbose=0)
            made.append(bits(one))
    assert made[0] == made[1]


def test_excluded_variables() -> None:
    x, y = data(8)
    steps = {}
    for exclude in ([], ["logits/"], ["kernel"]):
        made = model(clipping.AdaptiveGradientClipping(1e-6, exclude=exclude), rate=1.0)
        before = made.get_weights()
        made.train_on_batch(x, y)
        moves = zip(before, made.get_weights(), strict=True)
        steps["".join(exclude)] = [float(np.abs(a - b).max()) > 1e-4 for a, b in moves]
    assert steps == {
        "": [False] * 4,
        "logits/": [False, False, True, True],
        "kernel": [True, False, True, False],
    }


def test_skipped_steps_do_not_enter_the_history() -> None:
    x, y = data(40)
    y[8:12] = 1e30
    made = model(clipping.AutoClip())
    made.compile(made.optimizer, "mse", on_nonfinite="skip")
    health = made.fit(x, y, 4, verbose=0, shuffle=False).health
    assert health["skipped_steps"] == [1]
    assert len(made.optimizer.clipping.get_state()["history"]) == 9


@pytest.mark.parametrize("which", range(3))
def test_accumulated_gradients_are_clipped_once(which: int) -> None:
    """Four batches of 4 are one of 16: for norms, thresholds and what is carried on."""
    x, y = data()
    whole, parts = model(rules()[which]), model(None)
    optimizer = keras.optimizers.SGD(0.05, clipping=rules()[which], gradient_accumulation_steps=4)
    parts.compile(optimizer, "mse")
    one = whole.fit(x, y, 16, 2, verbose=0, shuffle=False).health
    other = parts.fit(x, y, 4, 2, verbose=0, shuffle=False).health
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one["gradient_norm"], other["gradient_norm"], rtol=1e-5)
    assert one["clip_rate"] == other["clip_rate"]
    states = whole.optimizer.clipping.get_state(), optimizer.clipping.get_state()
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], rtol=1e-4)


@pytest.mark.parametrize("which", range(3))
def test_updates_by_hand_are_clipped_too(which: int) -> None:
    rule, trained = rules()[which], model(None)
    optimizer = keras.optimizers.SGD(1.0, clipping=rule)
    values = [v.numpy() for v in trained.trainable_variables]
    moved = values
    for scale in (1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 0.9, 50.0):
        gradients = [(scale * g).astype(np.float32) for g in draws(8, *[v.shape for v in values])]
        before = [v.numpy() for v in trained.trainable_variables]
        optimizer.apply(gradients, trained.trainable_variables)
        moved = [b - v.numpy() for b, v in zip(before, trained.trainable_variables, strict=True)]
    assert reference.norm([reference.norm(m) for m in moved]) < 0.5 * reference.norm(
        [reference.norm(g) for g in gradients]
    )


# Arguments


def test_one_way_of_clipping() -> None:
    with pytest.raises(ValueError, match=r"^SGD: expected one of clipnorm and clipping$"):
        keras.optimizers.SGD(clipnorm=1.0, clipping="z_clip")


@pytest.mark.parametrize(
    ("rule", "shorthand"),
    [
        (clipping.ByValue(0.01), {"clipvalue": 0.01}),
        (clipping.ByNorm(0.01), {"clipnorm": 0.01}),
        (clipping.ByGlobalNorm(0.01), {"global_clipnorm": 0.01}),
    ],
)
def test_shorthands(rule: clipping.Clipping, shorthand: dict[str, Any]) -> None:
    x, y = data()
    one, other = model(rule), model(None)
    other.compile(keras.optimizers.SGD(0.05, **shorthand), "mse")
    for made in (one, other):
        made.fit(x, y, 32, verbose=0, shuffle=False)
    assert bits(one) == bits(other)


def test_a_new_rule_takes_effect_at_once() -> None:
    x, y = data(8)
    made = model(None)
    made.train_on_batch(x, y)
    made.optimizer.clipping = clipping.ByNorm(1e-9)
    before = made.get_weights()
    made.train_on_batch(x, y)
    for a, b in zip(before, made.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize(
    "rule",
    [
        clipping.ByValue(0.5),
        clipping.ByNorm(0.5),
        clipping.ByGlobalNorm(0.5),
        clipping.AdaptiveGradientClipping(0.02, 0.1, ["a"]),
        clipping.AutoClip(20, 5),
        clipping.ZClip(0.9, 3, 7),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_configurations(rule: clipping.Clipping) -> None:
    config = json.loads(json.dumps(clipping.serialize(rule)))
    made = clipping.get(config)
    assert repr(made) == repr(rule)
    optimizer = keras.optimizers.Adam(clipping=rule)
    again = keras.optimizers.Adam.from_config(json.loads(json.dumps(optimizer.get_config())))
    assert repr(again.clipping) == repr(rule)
    assert again.clipping is not rule


@pytest.mark.parametrize("cls", CLASSES)
def test_names(cls: type[clipping.Clipping]) -> None:
    snake = {"AutoClip": "auto_clip", "ZClip": "z_clip"}.get(
        cls.__name__, "adaptive_gradient_clipping"
    )
    for identifier in (cls.__name__, snake, cls, cls()):
        assert type(clipping.get(identifier)) is cls
    assert clipping.get(None) is None


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: clipping.ByValue(0.0), "ByValue: expected threshold in (0, inf), got 0.0"),
        (lambda: clipping.ByNorm(np.nan), "ByNorm: expected threshold in (0, inf), got nan"),
        (lambda: clipping.AutoClip(101), "AutoClip: expected percentile in [0, 100], got 101"),
        (lambda: clipping.AutoClip(history=0), "AutoClip: expected history to be at least 1"),
        (lambda: clipping.ZClip(alpha=1.0), "ZClip: expected alpha in [0, 1), got 1.0"),
        (lambda: clipping.ZClip(z_threshold=0), "ZClip: expected z_threshold in (0, inf), got 0"),
        (lambda: clipping.ZClip(warm_up=0), "ZClip: expected warm_up to be at least 1, got 0"),
        (
            lambda: clipping.AdaptiveGradientClipping(exclude="logits"),
            "AdaptiveGradientClipping: expected exclude to be a list of parts of paths",
        ),
        (
            lambda: clipping.AdaptiveGradientClipping(epsilon=0.0),
            "AdaptiveGradientClipping: expected epsilon in (0, inf), got 0.0",
        ),
        (lambda: clipping.get("nope"), "clipping: expected one of by_value, by_norm"),
        (lambda: clipping.get("by_norm"), "clipping ByNorm: "),
        (lambda: clipping.get(5), "clipping: expected None, a name, a config or a Clipping"),
        (lambda: keras.optimizers.SGD(clipping=5), "clipping: expected None, a name"),
    ],
)
def test_bad_arguments(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)
