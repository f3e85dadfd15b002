"""How large the numbers of a failed step are, from what its program has left."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad._nonfinite.trace import Rows, Traced, largest
from evengrad.layers.dense import Dense

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad.activations import Activation
    from evengrad.layers.base import Layer
    from evengrad.losses import Loss

Array = NDArray[Any]


def name_of(loss: Loss) -> str:
    """Return how errors call a loss of the user's."""
    return f'{type(loss).__name__} "{loss.name}"'


def _rows(program: Traced, batch: F32, samples: Rows | None) -> Array:
    """Rows of some samples, or of all that the step had."""
    per_sample = len(batch) // program.capacity
    if samples is None:
        return batch[: program.rows * per_sample]
    return batch.reshape(program.capacity, per_sample, -1)[samples].reshape(-1, batch.shape[1])


def inputs_of(program: Traced, layer: Layer, samples: Rows | None) -> Array | None:
    """What a layer was given, where it has kept that."""
    kept = program.saved.get(layer)
    if layer.in_python or isinstance(kept, tuple):
        return _rows(program, kept[0], samples) if isinstance(kept, tuple) else None
    return _rows(program, kept, samples) if isinstance(kept, np.ndarray) else None


def activated(program: Traced, layer: Layer, samples: Rows) -> Array | None:
    """What the activation of a layer was given, in float64 where it has to be found again."""
    x, y = program.saved.get((layer, "activation"), (None, None))
    if x is not None and x.ctypes.data != y.ctypes.data:
        return _rows(program, x, samples)
    if isinstance(layer, Dense) and layer.kernel is not None:
        before = _rows(program, program.saved[layer], samples).astype(np.float64)
        bias = 0.0 if layer.bias is None else layer.bias.numpy().astype(np.float64)
        found: Array = before @ layer.kernel.numpy().astype(np.float64) + bias
        return found
    if x is not None and program.sizes:  # it was written over: its size is known
        return np.array([program.sizes[-1].largest])
    return None


def compared(program: Traced, samples: Rows) -> Array | None:
    """The outputs that the loss was given."""
    if program.compared is None:
        return None
    return _rows(program, program.compared.y, samples)


def bad_slope(program: Traced, layer: Layer, activation: Activation) -> tuple[Array, bool] | None:
    """What gives an activation of the user's a slope that is not finite, and whether it is NaN."""
    x, y = (np.array(_rows(program, kept, None)) for kept in program.saved[layer, "activation"])
    slope = np.zeros_like(x)
    with np.errstate(all="ignore"), contextlib.suppress(Exception):  # it has not failed before
        slope = np.asarray(activation.slope(x, y), np.float32)
    bad = ~np.isfinite(slope)
    nan = bool(np.isnan(slope).any())
    return (np.concatenate([x[bad], y[bad]]), nan) if bad.any() else None


def chain(program: Traced, before: Layer | None) -> list[tuple[str, float, Layer | None]]:
    """The largest outputs of the layers, in order, up to one of them."""
    found: list[tuple[str, float, Layer | None]] = []
    for layer, size in program.sizes:
        if layer is before:
            break
        found.append((layer.name, size, layer))
    return found


def heaviest(layer: Layer | None) -> tuple[str, float, float] | None:
    """Path and largest value of a layer's largest variable, and by how much it gains.

    The gain is that of the standard deviation of random inputs: the root of the mean square of the
    weights times the number of inputs.
    """
    if layer is None or not layer.trainable_variables:
        return None
    variable = max(layer.trainable_variables, key=lambda v: largest(v.value))
    value = variable.value.astype(np.float64)
    fan_in = value.shape[0] if value.ndim > 1 else 1
    gain = math.sqrt(fan_in * float(np.mean(value**2)))
    return variable.path, largest(value), gain
