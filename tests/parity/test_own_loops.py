"""Loops of the user's own, of an objective that no library has, against gradients found by JAX."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import draws, fixed, jax, keras

jnp = jax.numpy

pytestmark = helpers.quiet

STACKS: dict[str, Any] = {
    "tanh": lambda of: [of.layers.Dense(12, "tanh"), of.layers.Dense(4)],
    "normalized": lambda of: [
        batch_normalization(of, center=False),  # of a beta the next one leaves no gradient
        of.layers.Dense(12, use_bias=False),
        batch_normalization(of),
        of.layers.Activation("elu"),
        of.layers.Dense(4),
    ],
    "deep": lambda of: [*[of.layers.Dense(10, "silu") for _ in range(4)], of.layers.Dense(4)],
}
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda of: of.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=1.0),
    "adam": lambda of: of.optimizers.Adam(0.01, clipnorm=0.5),
    "adamw": lambda of: of.optimizers.AdamW(0.01, weight_decay=0.05),
}


def batch_normalization(of: ModuleType, **arguments: Any) -> Any:
    options = {"debias": False} if of is evengrad else {}
    return of.layers.BatchNormalization(momentum=0.9, **options, **arguments)


def objective(xp: Any, y: Any, actions: Any, advantages: Any) -> Any:
    """Policy gradient with an entropy bonus, and a penalty of the fourth power."""
    shifted = y - jax.lax.stop_gradient(y.max(axis=1, keepdims=True))
    log_p = shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))
    chosen = (log_p * actions).sum(axis=1)
    entropy = -(xp.exp(log_p) * log_p).sum(axis=1)
    return (-(advantages * chosen) - 0.1 * entropy + 0.01 * (y**4).sum(axis=1)).mean()


def slope(y: Any, actions: Any, advantages: Any) -> Any:
    """Derivative of the objective by y, by hand."""
    e = np.exp(y.astype(np.float64) - y.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    log_p = np.log(p)
    entropy = -(p * log_p).sum(axis=1, keepdims=True)
    made = -advantages[:, None] * (actions - p) + 0.1 * p * (log_p + entropy) + 0.04 * y**3
    return made / len(y)


def pair(stack: str, optimizer: str, n_in: int, seed: int) -> list[Any]:
    made = []
    for of in (evengrad, keras):
        model = of.Sequential([of.Input((n_in,)), *STACKS[stack](of)])
        made.append((model, OPTIMIZERS[optimizer](of)))
    ours, theirs = made[0][0], made[1][0]
    values = [
        np.abs(v) + np.float32(0.5) if variable.name in ("gamma", "moving_variance") else v
        for v, variable in zip(
            draws(seed, *(v.shape for v in ours.variables), spread=0.4), ours.variables, strict=True
        )
    ]
    for model in (ours, theirs):
        model.set_weights(values)
    ours.compile(made[0][1])
    made[1][1].build(theirs.trainable_variables)
    return made


def by_jax(model: Any) -> Any:
    @jax.jit
    def run(variables: Any, others: Any, x: Any, actions: Any, advantages: Any) -> Any:
        def value(variables: Any, x: Any) -> Any:
            y, state = model.stateless_call(variables, others, x, training=True)
            return objective(jnp, y, actions, advantages), state

        return jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(variables, x)

    return run


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stack", STACKS)
def test_fifty_steps(stack: str, optimizer: str) -> None:
    (ours, _), (theirs, updates) = pair(stack, optimizer, 5, 1)
    run = by_jax(theirs)
    rng = np.random.default_rng(0)
    for step in range(50):
        (x,) = draws(step, (24, 5))
        actions = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 24)]
        advantages = rng.standard_normal(24).astype(np.float32)
        y = ours.forward(x)
        ours.backward(slope(y, actions, advantages), need_dx=bool(step % 2))
        assert ours.optimizer.step()
        variables = [v.value for v in theirs.trainable_variables]
        others = [v.value for v in theirs.non_trainable_variables]
        (_, state), (gradients, _) = run(variables, others, x, actions, advantages)
        for variable, new in zip(theirs.non_trainable_variables, state, strict=True):
            variable.assign(new)
        updates.apply(gradients, theirs.trainable_variables)
    for v, right in zip(ours.variables, theirs.get_weights(), strict=True):
        errors.compare_variable("own loop: variables after 50 steps", v.numpy(), right)


@pytest.mark.parametrize("stack", STACKS)
@fixed
@given(n_in=st.integers(1, 20), rows=st.integers(2, 40), seed=st.integers(0, 1000))
def test_gradients(stack: str, n_in: int, rows: int, seed: int) -> None:
    (ours, _), (theirs, _) = pair(stack, "adam", n_in, seed)
    (x,) = draws(seed + 1, (rows, n_in))
    rng = np.random.default_rng(seed)
    actions = np.eye(4, dtype=np.float32)[rng.integers(0, 4, rows)]
    advantages = rng.standard_normal(rows).astype(np.float32)
    y = ours.forward(x)
    dx = ours.backward(slope(y, actions, advantages))
    variables = [v.value for v in theirs.trainable_variables]
    others = [v.value for v in theirs.non_trainable_variables]
    _, (gradients, right) = by_jax(theirs)(variables, others, x, actions, advantages)
    # Beside a normalization of a few rows gradients are differences of larger numbers.
    top = max([0.01, *(float(np.abs(g).max()) for g in gradients)])
    errors.compare("own loop: dx", dx, right, top=top)
    for made, expected in zip(ours.gradients.values(), gradients, strict=True):
        errors.compare("own loop: gradients", made, expected, top=top)


def test_soft_update_as_keras_users_write_it() -> None:
    (ours, _), (theirs, _) = pair("normalized", "adam", 5, 0)
    target = evengrad.Sequential([evengrad.Input((5,)), *STACKS["normalized"](evengrad)])
    start = target.get_weights()
    for _ in range(3):
        evengrad.utils.soft_update(target, ours, 0.005)
        start = [
            np.float32(0.995) * t + np.float32(0.005) * s
            for t, s in zip(start, theirs.get_weights(), strict=True)
        ]
    for made, right in zip(target.get_weights(), start, strict=True):
        errors.compare("soft_update", made, right)
