"""Activations that make a distribution of the numbers along an axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from evengrad import _validation
from evengrad.activations.base import F32, Spec, apply


def softmax(x: ArrayLike, axis: int = -1) -> F32:
    """Return e^x / sum e^x over an axis: numbers above 0 that add up to 1.

    Parameters
    ----------
    x : array_like
        Any shape.
    axis : int, default -1
        The axis to sum over. Layers know the last one only.

    References
    ----------
    Bridle 1990, doi:10.1007/978-3-642-76153-9_28.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.softmax([[1.0, 1.0], [0.0, 1000.0]])
    array([[0.5, 0.5],
           [0. , 1. ]], dtype=float32)
    """
    return _along("softmax", x, axis)


def log_softmax(x: ArrayLike, axis: int = -1) -> F32:
    """Return x - ln sum e^x over an axis, the logarithm of softmax without its underflow.

    No logit is too large, and the logarithm of a probability that rounds to 1 keeps its digits.

    Parameters
    ----------
    x : array_like
        Any shape.
    axis : int, default -1
        The axis to sum over. Layers know the last one only.

    References
    ----------
    Blanchard, Higham, Higham 2019, "Accurate computation of the log-sum-exp and softmax
    functions", arXiv:1909.03469.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.log_softmax([0.0, 1000.0])
    array([-1000.,     0.], dtype=float32)
    """
    return _along("log_softmax", x, axis)


def _along(name: str, x: ArrayLike, axis: int) -> F32:
    array = _validation.as_float32(name, "x", x)
    axes = max(array.ndim, 1)
    where = _validation.check_count(name, "axis", axis, -axes)
    if where >= axes:
        raise ValueError(f"{name}: expected axis below {axes} for shape {array.shape}, got {axis}")
    if array.ndim < 2:
        return apply(Spec(name), array)
    moved = np.moveaxis(array, where, -1)
    return np.ascontiguousarray(np.moveaxis(apply(Spec(name), moved), -1, where))


def softmax_spec(axis: int) -> Spec:
    """Return softmax as a layer records it."""
    return _last_axis("softmax", axis)


def log_softmax_spec(axis: int) -> Spec:
    """Return log-softmax as a layer records it."""
    return _last_axis("log_softmax", axis)


def _last_axis(name: str, axis: int) -> Spec:
    if axis != -1:
        raise ValueError(f"{name}: expected axis -1, the last, in a layer, got {axis!r}")
    return Spec(name)
