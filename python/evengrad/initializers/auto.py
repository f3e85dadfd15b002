"""The initializer that looks at the activation."""

from __future__ import annotations

import copy
import math
from typing import Any

from evengrad import activations
from evengrad.initializers.base import F32
from evengrad.initializers.gain import calculate_gain
from evengrad.initializers.random import RandomInitializer, truncated_normal
from evengrad.initializers.variance_scaling import TRUNCATED_STDDEV, compute_fans


class Auto(RandomInitializer):
    """Truncated normal with variance `gain^2 / fan_in`, `gain` that of the activation.

    `gain = 1 / sqrt(E[f(z)^2])` with z from the standard normal distribution: what
    `calculate_gain` returns. For ReLU this is "he_normal", for SELU "lecun_normal", and as exact
    for every other activation. The string is "auto".

    Parameters
    ----------
    activation : str, function or partial of evengrad.activations, or None
        None, the default: a `Dense` takes its own activation if it has one, else that of the layer
        behind it in a `Sequential` (an `Activation`, ReLU, ELU, PReLU, ..., also behind
        BatchNormalization, Dropout and Flatten), else "linear".
    seed : int, at least 0, or None

    Notes
    -----
    Layers may be added one after the other: a kernel is drawn when its layer is built and scaled
    when the layer that decides is added, unless the kernel has been changed in between.

    References
    ----------
    .. [1] He, Zhang, Ren, Sun 2015, arXiv:1502.01852, whose argument for ReLU this is for all

    Examples
    --------
    >>> from evengrad import initializers, layers
    >>> kernel = initializers.Auto("tanh", seed=1)((1000, 300))
    >>> bool(abs(kernel.var() * 1000 - 1.5925**2) < 0.02)
    True
    >>> layer = layers.Dense(300, "elu", kernel_initializer="auto")
    """

    _arguments = ("activation", "seed")

    def __init__(self, activation: activations.Identifier = None, seed: int | None = None) -> None:
        self._spec = None if activation is None else activations.get(activation)
        super().__init__(seed)

    @property
    def activation(self) -> str | dict[str, Any] | None:
        """The activation as it is saved, None where the layer decides."""
        return None if self._spec is None else activations.serialize(self._spec)

    @property
    def gain(self) -> float:
        """Gain of the activation."""
        return calculate_gain(self._spec)

    def suited_to(self, activation: activations.Spec | activations.Activation) -> Auto:
        """Return itself, or where the layer decides one for `activation` on the same draws."""
        if self._spec is not None:
            return self
        twin = copy.copy(self)
        twin._spec = activation
        return twin

    def _values(self, shape: tuple[int, ...]) -> F32:
        fan_in, _ = compute_fans(shape)
        stddev = self.gain / math.sqrt(max(1, fan_in))
        return truncated_normal(self._generator, shape, 0.0, stddev / TRUNCATED_STDDEV)
