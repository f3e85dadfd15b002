"""Clipping to a threshold that is given."""

from __future__ import annotations

import numpy as np

from evengrad.optimizers.clipping.base import Clipping


class _Threshold(Clipping):
    _arguments = ("threshold",)

    def __init__(self, threshold: float) -> None:
        self._threshold = self._number("threshold", threshold, 0.0, np.inf, open_low=True)

    @property
    def threshold(self) -> float:
        """Where clipping begins."""
        return self._threshold


class ByValue(_Threshold):
    """Holds each element inside [-threshold, threshold]; the argument clipvalue.

    Parameters
    ----------
    threshold : float, above 0

    Raises
    ------
    ValueError, TypeError
        If `threshold` is no such number.

    References
    ----------
    .. [1] Mikolov 2012, "Statistical language models based on neural networks"

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.SGD(clipping=optimizers.clipping.ByValue(0.5)).clip
    ('value', 0.5)
    """

    kind = "value"


class ByNorm(_Threshold):
    """Scales each variable's gradient g to g c / max(norm(g), c); the argument clipnorm.

    Parameters
    ----------
    threshold : float, above 0
        c above.

    Raises
    ------
    ValueError, TypeError
        If `threshold` is no such number.

    References
    ----------
    .. [1] Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.SGD(clipping=optimizers.clipping.ByNorm(0.5)).clip
    ('norm', 0.5)
    """

    kind = "norm"


class ByGlobalNorm(_Threshold):
    """Scales all gradients together by c / max(norm of all, c); the argument global_clipnorm.

    Parameters
    ----------
    threshold : float, above 0
        c above.

    Raises
    ------
    ValueError, TypeError
        If `threshold` is no such number.

    References
    ----------
    .. [1] Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.SGD(clipping=optimizers.clipping.ByGlobalNorm(0.5)).clip
    ('global_norm', 0.5)
    """

    kind = "global_norm"
