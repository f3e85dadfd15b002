"""JAX: one compiled call a step, or one compiled call an epoch."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray
from workloads import BN_EPSILON, BN_MOMENTUM, F32, LEAKY_SLOPE, Weights, Workload

from peers.base import Peer, Predictor

ACTIVATIONS = {
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "selu": jax.nn.selu,
    "tanh": jnp.tanh,
    "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=LEAKY_SLOPE),
}


def forward(workload: Workload, params: Any, moving: Any, x: Any, *, training: bool) -> Any:
    """Return logits and the moving statistics after this batch."""
    y, moved = x, []
    for layer, p, m in zip(workload.layers, params, moving, strict=True):
        if layer.kind == "dense":
            y = y @ p[0] + p[1] if layer.bias else y @ p[0]
        elif layer.kind == "bn":
            mean, variance = m
            if training:
                mean = y.mean(axis=0)
                variance = jnp.square(y - mean).mean(axis=0)
                rate = 1.0 - BN_MOMENTUM
                m = (m[0] + rate * (mean - m[0]), m[1] + rate * (variance - m[1]))  # noqa: PLW2901
            y = (y - mean) * (lax.rsqrt(variance + BN_EPSILON) * p[0]) + p[1]
        else:
            y = ACTIVATIONS[layer.kind](y)
        moved.append(m)
    return y, moved


def clip(workload: Workload, grads: Any) -> Any:
    """Scale the gradients one by one or together."""
    how = workload.optimizer
    if how.clipnorm is not None:
        limit = how.clipnorm
        return jax.tree.map(
            lambda g: g * (limit / jnp.maximum(jnp.sqrt(jnp.sum(g * g)), limit)), grads
        )
    if how.global_clipnorm is not None:
        limit = how.global_clipnorm
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
        scale = limit / jnp.maximum(norm, limit)
        return jax.tree.map(lambda g: g * scale, grads)
    return grads


def update(workload: Workload, params: Any, slots: Any, grads: Any, t: Any) -> Any:
    """Return parameters and slots after the t-th update."""
    how = workload.optimizer
    if how.kind == "adam":
        first = jax.tree.map(lambda m, g: m + 0.1 * (g - m), slots[0], grads)
        second = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), slots[1], grads)
        rate = how.rate * jnp.sqrt(1.0 - 0.999**t) / (1.0 - 0.9**t)
        step = lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7)  # noqa: E731
        return jax.tree.map(step, params, first, second), (first, second)
    if how.momentum:
        momenta = jax.tree.map(lambda m, g: how.momentum * m - how.rate * g, slots[0], grads)
        return jax.tree.map(jnp.add, params, momenta), (momenta,)
    return jax.tree.map(lambda p, g: p - how.rate * g, params, grads), ()


def train_step(workload: Workload, state: Any, totals: Any, x: Any, y: Any) -> Any:
    """Return state and totals after one batch."""
    params, slots, moving, t = state

    def objective(params: Any) -> Any:
        output, moved = forward(workload, params, moving, x, training=True)
        if workload.loss == "mse":
            return jnp.square(output - y).mean(), (moved, 0)
        chosen = jnp.take_along_axis(output, y[:, None], axis=1)[:, 0]
        loss = (jax.nn.logsumexp(output, axis=1) - chosen).mean()
        return loss, (moved, (output.argmax(axis=1) == y).sum())

    (loss, (moved, correct)), grads = jax.value_and_grad(objective, has_aux=True)(params)
    t = t + 1.0
    params, slots = update(workload, params, slots, clip(workload, grads), t)
    return (params, slots, moved, t), (totals[0] + loss * len(x), totals[1] + correct)


def rows_at(array: Any, index: Any) -> Any:
    """Gather without the test for indices out of bounds."""
    return array.at[index].get(mode="promise_in_bounds")


class JaxLoop(Peer):
    """What both loops share."""

    def versions(self) -> dict[str, str]:
        """JAX's."""
        return {"jax": jax.__version__}

    def build(self, workload: Workload, batch: int, x: F32, y: Any, weights: Weights) -> None:
        """Place data and state on the device and define what is compiled."""
        self.workload, self.batch = workload, batch
        self.x, self.y = jnp.asarray(x), jnp.asarray(y)
        params = jax.tree.map(jnp.array, [tuple(arrays[:2]) for arrays in weights])
        moving = jax.tree.map(jnp.array, [tuple(arrays[2:]) for arrays in weights])
        count = {"adam": 2, "sgd": 1 if workload.optimizer.momentum else 0}
        zeros = partial(jax.tree.map, jnp.zeros_like)
        slots = tuple(zeros(params) for _ in range(count[workload.optimizer.kind]))
        self.state = (params, slots, moving, jnp.zeros(()))
        self._define()

    def _define(self) -> None:
        raise NotImplementedError

    def _epoch(self, order: NDArray[np.int32]) -> Any:
        raise NotImplementedError

    def train(self, epochs: int, *, shuffle: bool) -> tuple[float, float | None]:
        """Train, then wait for the device."""
        rows = len(self.x)
        for order in self.orders(epochs, rows, shuffle=shuffle):
            totals = self._epoch(order)
        loss, correct = float(totals[0]) / rows, float(totals[1]) / rows
        jax.block_until_ready(self.state)
        return loss, correct if self.workload.loss == "ce" else None

    def predictors(self) -> dict[str, Predictor]:
        """Compile inference for each number of rows."""
        workload, (params, _, moving, _) = self.workload, self.state

        @jax.jit
        def infer(params: Any, moving: Any, x: Any) -> Any:
            output, _ = forward(workload, params, moving, x, training=False)
            return jax.nn.softmax(output, axis=1) if workload.loss == "ce" else output

        return {"": lambda x: np.asarray(infer(params, moving, x))}


class JaxStep(JaxLoop):
    """jit a step, state donated; position and totals stay on the device."""

    def _define(self) -> None:
        workload = self.workload

        @partial(jax.jit, static_argnames="rows", donate_argnums=0)
        def step(carry: Any, x: Any, y: Any, order: Any, rows: int) -> Any:
            state, totals, position = carry
            index = lax.dynamic_slice(order, (position,), (rows,))
            state, totals = train_step(
                workload, state, totals, rows_at(x, index), rows_at(y, index)
            )
            return state, totals, position + rows

        self._step = step

    def _epoch(self, order: NDArray[np.int32]) -> Any:
        full, rest = divmod(len(order), self.batch)
        device = jnp.asarray(order)
        zero = jnp.zeros((), jnp.int32)
        carry = (self.state, (jnp.zeros(()), jnp.zeros((), jnp.int32)), zero)
        for _ in range(full):
            carry = self._step(carry, self.x, self.y, device, self.batch)
        if rest:
            carry = self._step(carry, self.x, self.y, device, rest)
        self.state, totals, _ = carry
        return totals


class JaxScan(JaxLoop):
    """jit an epoch: lax.scan over the full batches, then the partial one."""

    def _define(self) -> None:
        workload, batch = self.workload, self.batch

        @partial(jax.jit, donate_argnums=0)
        def epoch(state: Any, x: Any, y: Any, order: Any) -> Any:
            def body(carry: Any, index: Any) -> Any:
                return train_step(workload, *carry, rows_at(x, index), rows_at(y, index)), None

            full = len(order) // batch
            carry = (state, (jnp.zeros(()), jnp.zeros((), jnp.int32)))
            carry, _ = lax.scan(body, carry, order[: full * batch].reshape(full, batch))
            if full * batch < len(order):
                carry, _ = body(carry, order[full * batch :])
            return carry

        self._compiled = epoch

    def _epoch(self, order: NDArray[np.int32]) -> Any:
        self.state, totals = self._compiled(self.state, self.x, self.y, order)
        return totals
