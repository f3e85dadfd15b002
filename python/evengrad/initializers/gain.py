"""Gains: by how much a kernel must exceed 1 / sqrt(fan_in) for an activation not to shrink."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evengrad import activations
from evengrad.activations.base import ROW_BY_ROW, Spec, apply
from evengrad.initializers.base import F64

# Midpoints of cells between multiples of 2^-12: kinks and jumps at round numbers lie on the edges
# of cells, where they cost nothing, and every point is a float32. Beyond 12 lies 1e-31 of it all.
_CELL = 2.0**-12
_REACH = 12


def calculate_gain(activation: Any) -> float:
    """Return the gain that keeps the variance of a signal through an activation.

    `gain = 1 / sqrt(E[f(z)^2])` with z from the standard normal distribution: kernels of variance
    `gain^2 / fan_in` behind one another then give inputs of variance 1 to each f, once one of them
    has it.

    Parameters
    ----------
    activation : str, function, partial, dict, layer or None
        What layers take for an activation, a layer that has an activation
        (`layers.LeakyReLU(0.1)`), or a function of your own that takes a float64 array of any
        shape and returns another of that shape, element by element. None is "linear".

    Returns
    -------
    float
        1 for softmax and others that work row by row: logits keep their variance.

    Raises
    ------
    ValueError
        If the name is unknown, or if f is 0 or not finite where z may be.

    Notes
    -----
    For ReLU it is sqrt(2), the gain of He et al. [2]_ (see `evengrad.initializers`), for SELU 1.
    For tanh it is 1.5925, where others take 5/3. The integral is a sum over 98,304 points; its
    relative error is about 1e-7, or 1e-4 where a function of your own jumps.

    What f does to other variances than 1 decides how a deep network behaves. Saturating functions,
    ELU, SELU and softplus lead back to 1, linear and ReLU's relatives keep what they get. SiLU,
    hard SiLU, GELU, Mish, exponential and the shrinking ones lead away from it: beyond some ten
    layers they need a normalization, or `Sequential.lsuv`.

    Examples
    --------
    >>> from evengrad import initializers
    >>> [round(initializers.calculate_gain(f), 4) for f in ("relu", "selu", "tanh")]
    [1.4142, 1.0, 1.5925]
    """
    inner = getattr(activation, "activation", activation)
    function = inner.func if isinstance(inner, functools.partial) else inner
    name = getattr(function, "__name__", repr(function))
    if callable(inner) and activations.FUNCTIONS.get(name) is not function:
        return _gain(inner, name)
    found = activations.get(inner)
    return _gain_of(found) if isinstance(found, Spec) else _gain(found, found.name)


@functools.lru_cache(maxsize=256)
def _gain_of(spec: Spec) -> float:
    return 1.0 if spec.name in ROW_BY_ROW else _gain(functools.partial(apply, spec), spec.name)


def _gain(function: Callable[[Any], Any], name: str) -> float:
    z, weight = _normal_grid()
    values: NDArray[Any] = np.asarray(function(z.copy()))
    if values.shape != z.shape or values.dtype.kind not in "fiub":
        raise ValueError(
            f"calculate_gain: expected {name} to return numbers of shape {z.shape}, as it was "
            f"given, got {values.dtype} of shape {values.shape}"
        )
    power = float(weight @ values.astype(np.float64) ** 2)
    if not 0.0 < power < math.inf:
        raise ValueError(
            f"calculate_gain: expected {name} to have a finite mean square above 0 over normal "
            f"numbers, got {power}"
        )
    return 1.0 / math.sqrt(power)


@functools.cache
def _normal_grid() -> tuple[F64, F64]:
    """Points and what each counts in the mean over the standard normal distribution."""
    edges = round(_REACH / _CELL)
    z = (np.arange(-edges, edges, dtype=np.float64) + 0.5) * _CELL
    return z, np.exp(-0.5 * z * z) * (_CELL / math.sqrt(2.0 * math.pi))
