"""The same layer or model in evengrad and in Keras on JAX; tests that import it need Keras."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

jax = pytest.importorskip("jax", reason="parity: jax is not installed (pip install .[parity])")
keras = pytest.importorskip(
    "keras", reason="parity: keras is not installed (pip install .[parity])"
)

import evengrad  # noqa: E402
from evengrad._program import Program  # noqa: E402
from hypothesis import Phase, settings  # noqa: E402

assert keras.backend.backend() == "jax"
keras.config.set_floatx("float32")  # whatever the user's keras.json says
keras.config.set_epsilon(1e-7)

F32 = NDArray[np.float32]

# Keras 3.15 with numpy 2 warns of its own Variable.__array__ at each get_weights.
quiet = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

# Few examples: each new shape costs Keras a compilation of 0.2 s; a failure is not made smaller.
fixed = settings(
    derandomize=True, database=None, deadline=None, max_examples=5, phases=[Phase.generate]
)


def draws(seed: int, *shapes: Sequence[int], spread: float = 1.0) -> list[F32]:
    """Normal numbers, one array for each shape."""
    rng = np.random.default_rng(seed)
    return [(spread * rng.standard_normal(tuple(shape))).astype(np.float32) for shape in shapes]


# -- layers


class Pass:
    """What a layer made of x: y, with dy also dx and the gradients, and all variables after."""

    def __init__(self, y: Any, dx: Any, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        self.y = np.asarray(y)
        self.dx = None if dx is None else np.asarray(dx)
        self.gradients = [np.asarray(g) for g in gradients]
        self.variables = [np.asarray(v) for v in variables]


def of_evengrad(layer: evengrad.layers.Layer, x: F32, dy: F32 | None, *, training: bool) -> Pass:
    layer.build(x.shape[1:])
    program = Program(len(x), training=training)
    source = program.tensor(x.shape[-1], math.prod(x.shape[1:-1]))
    source[...] = x.reshape(source.shape)
    y = layer.forward(program, source)
    dx = None
    if dy is not None:
        dy_buffer = program.like(y)
        dy_buffer[...] = dy.reshape(y.shape)
        dx = layer.backward(program, dy_buffer)
    program.commit()
    program.run(len(x))
    assert layer.output_shape is not None
    gradients = [program.gradients[v] for v in layer.trainable_variables] if training else []
    return Pass(
        y.reshape(len(x), *layer.output_shape),
        None if dx is None else dx.reshape(x.shape),
        [g.reshape(v.shape) for g, v in zip(gradients, layer.trainable_variables, strict=False)],
        layer.get_weights(),
    )


def of_keras(layer: Any, x: F32, dy: F32 | None, *, training: bool) -> Pass:
    trainable = [v.value for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    takes_training = "training" in inspect.signature(layer.call).parameters
    mode = {"training": training} if takes_training else {}

    @jax.jit
    def run(trainable: Any, x: Any, dy: Any) -> Any:
        def forward(trainable: Any, x: Any) -> Any:
            return layer.stateless_call(trainable, others, x, **mode)

        y, pull, state = jax.vjp(forward, trainable, x, has_aux=True)
        return y, state, (pull(dy) if dy is not None else (None, None))

    y, state, (gradients, dx) = run(trainable, x, dy)
    after = dict(zip(map(id, layer.trainable_variables), trainable, strict=True))
    after |= dict(zip(map(id, layer.non_trainable_variables), state, strict=True))
    variables = [after[id(v)] for v in layer.weights]
    return Pass(y, dx, gradients if gradients is not None else [], variables)


# -- models


def step_of_evengrad(
    model: evengrad.Sequential, loss: Any, x: F32, y: Any, weight: F32 | None = None
) -> tuple[float, list[F32]]:
    """Loss and gradients of one step; a rate of 0 leaves the weights as they are."""
    model.compile(evengrad.optimizers.SGD(0.0), loss)
    value = model.train_on_batch(x, y, sample_weight=weight)
    gradients = model._step(len(x), train=True).program.gradients
    return value, [gradients[v].reshape(v.shape).copy() for v in model.trainable_variables]


@functools.lru_cache(maxsize=1)  # one compilation for the steps of a model
def _keras_step(model: Any, loss: Any) -> Any:
    @jax.jit
    def run(variables: Any, others: Any, x: Any, y: Any, weight: Any) -> Any:
        def value(variables: Any) -> Any:
            output, state = model.stateless_call(variables, others, x, training=True)
            return loss(y, output, sample_weight=weight), state

        return jax.value_and_grad(value, has_aux=True)(variables)

    return run


def step_of_keras(
    model: Any, loss: Any, x: F32, y: Any, weight: F32 | None = None
) -> tuple[float, list[F32]]:
    """Loss and gradients; the moving statistics go on."""
    variables = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    (value, state), gradients = _keras_step(model, loss)(variables, others, x, y, weight)
    for variable, new in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(new)
    return float(value), [np.asarray(g) for g in gradients]
