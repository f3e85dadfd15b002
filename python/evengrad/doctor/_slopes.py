"""Activations from outside: values, slopes, and where they are flat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evengrad._program import Program
from evengrad.activations.base import ROW_BY_ROW, Spec, apply
from evengrad.initializers import calculate_gain
from evengrad.layers.activation import Activation, PReLU
from evengrad.layers.base import Layer

F32 = NDArray[np.float32]

FLAT_SLOPE = 0.01  # of the steepest: below it a unit counts as saturated


def values(activation: Any, z: F32) -> F32:
    """Return f(z)."""
    if not isinstance(activation, Spec):
        return np.asarray(activation.call(z), np.float32)
    return apply(activation, z)


def slopes(activation: Any, z: F32) -> F32 | None:
    """Return f'(z); None where it goes row by row."""
    if not isinstance(activation, Spec):
        return np.asarray(activation.slope(z, activation.call(z)), np.float32)
    if activation.name in ROW_BY_ROW:
        return None
    if activation.name == "linear":
        return np.ones_like(z)
    rows = z.reshape(-1, z.shape[-1]) if z.ndim else z.reshape(1, 1)
    program = Program(len(rows), training=True)
    source = program.tensor(rows.shape[1])
    source[...] = rows
    activation.record(program, source, activation)
    ones = program.like(source)
    ones[...] = 1.0
    made = activation.record_backward(program, ones, activation)
    program.run(len(rows))
    return np.array(made).reshape(z.shape)


def activation_of(layer: Layer) -> Any:
    """Return what an activation layer applies, as far as one function of all units says it."""
    if isinstance(layer, PReLU):
        slope = 0.0 if layer.alpha is None else float(np.abs(layer.alpha.numpy()).mean())
        return Spec("leaky_relu", (slope,))
    return layer.activation if isinstance(layer, Activation) else None


def name_of(activation: Any) -> str:
    """Return what a report calls it."""
    return activation.name if isinstance(activation, Spec) else type(activation).__name__


def gain_of(activation: Any) -> float:
    """Return the gain that suits it, or 1 where there is none.

    For outputs that are all positive, whose mean square says little, by the slope.
    """
    if isinstance(activation, Spec) and activation.name in ("sigmoid", "softplus", "hard_sigmoid"):
        return 1.0 / _steepness(activation)
    try:
        return calculate_gain(activation)
    except (TypeError, ValueError):
        return 1.0


def _steepness(activation: Spec) -> float:
    """Root mean square of the slope for normal inputs."""
    z = np.linspace(-4.0, 4.0, 801, dtype=np.float32)[:, None]
    slope = slopes(activation, z)
    assert slope is not None
    weight = np.exp(-0.5 * z.astype(np.float64) ** 2)
    return float(np.sqrt((weight * slope.astype(np.float64) ** 2).sum() / weight.sum()))


def flatness(activation: Any, z: F32, y: F32) -> tuple[float, tuple[int, ...]]:
    """Share of flat slopes, and the units that are flat for every row."""
    slope = slopes(activation, z)
    if slope is None or not np.isfinite(slope).all():
        return float("nan"), ()
    rows = np.abs(slope.reshape(-1, slope.shape[-1]))
    steepest = max(float(rows.max()), _steepest(activation))
    flat = rows < FLAT_SLOPE * steepest
    return float(flat.mean()), tuple(np.flatnonzero(flat.all(axis=0)).tolist())


def _steepest(activation: Any) -> float:
    z = np.linspace(-3.0, 3.0, 301, dtype=np.float32)[:, None]
    slope = slopes(activation, z)
    return 1.0 if slope is None else float(np.abs(slope).max())
