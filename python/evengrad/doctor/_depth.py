"""Mean field: how deep a signal gets in a network as its kernels were drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Function = Callable[[F64], F64]

TRAINABLE = 6.0  # lengths that a signal may go for training to succeed
_NODES = 60  # an even number: none at 0, where slopes may jump
_ROUNDS = 300
_REACH = 1e12  # variances beyond this, or below its inverse, have no fixed point


class Field(NamedTuple):
    """Where variance and correlation settle in an endless network, and how fast.

    `variance` of the sums of a layer; `slope`, chi: by what gradients grow at each layer, squared;
    `length`: layers in which a difference between two inputs, or a gradient, changes by e.
    """

    variance: float
    slope: float
    length: float

    @property
    def depth(self) -> float:
        """Layers up to which such a network can be trained."""
        return TRAINABLE * self.length


def field_of(function: Function, slope: Function, weight: float, bias: float = 0.0) -> Field:
    """Return the mean field of a network of equal, wide layers.

    q = w E[f(sqrt(q) z)^2] + b with z normal; chi = w E[f'(sqrt(q) z)^2]; the length is
    1 / |ln chi| where equal inputs stay equal, else that at which their correlation settles.

    Parameters
    ----------
    function, slope : callable
        f and f', element by element.
    weight, bias : float
        fan_in times the variance of kernels, and the variance of biases.

    References
    ----------
    .. [1] Poole et al. 2016, arXiv:1606.05340
    .. [2] Schoenholz, Gilmer, Ganguli, Sohl-Dickstein 2017, arXiv:1611.01232

    Examples
    --------
    >>> import numpy as np
    >>> field = field_of(np.tanh, lambda z: 1.0 / np.cosh(z) ** 2, weight=0.5)
    >>> round(field.length, 2)  # 1 / ln 2: as the linear function, for variances near 0
    1.44
    """
    z, p = _normal()
    q = 1.0
    for _ in range(_ROUNDS):
        before = q
        q = weight * float(p @ function(math.sqrt(q) * z) ** 2) + bias
        if not 1.0 / _REACH < q < _REACH:
            break
        if abs(q - before) < 1e-10 * q:
            break
    q = min(max(q, 1.0 / _REACH), _REACH)
    chi = weight * float(p @ slope(math.sqrt(q) * z) ** 2)
    rate = chi
    if chi > 1.0 + 1e-6 and 1e-6 < q < 1e6:
        rate = _rate_of_correlation(function, slope, weight, bias, q)
    worst = max(abs(math.log(max(rate, 1e-300))), abs(math.log(max(chi, 1e-300))))
    return Field(q, chi, 1.0 / worst if worst > 1e-12 else math.inf)


def _rate_of_correlation(
    function: Function, slope: Function, weight: float, bias: float, q: float
) -> float:
    """By what a distance of the correlation from where it settles shrinks at each layer."""
    z, p = _normal()
    both = p[:, None] * p
    root = math.sqrt(q)
    first = root * z[:, None] + 0.0 * z
    c = 0.5
    second = first
    for _ in range(_ROUNDS):
        before = c
        second = root * (c * z[:, None] + math.sqrt(max(0.0, 1.0 - c * c)) * z)
        c = (weight * float((both * function(first) * function(second)).sum()) + bias) / q
        c = min(max(c, -1.0), 1.0)
        if abs(c - before) < 1e-8:
            break
    return weight * float((both * slope(first) * slope(second)).sum())


def _normal() -> tuple[F64, F64]:
    """Nodes and weights of the mean over the standard normal distribution."""
    z, p = np.polynomial.hermite_e.hermegauss(_NODES)
    return z, p / p.sum()
