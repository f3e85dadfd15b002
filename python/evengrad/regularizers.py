"""Penalties on the size of weights, part of the loss that training reports and minimizes.

Give one to a layer, by name or as an object: `Dense(10, kernel_regularizer="l2")`. A step adds its
gradient, l1 sign(w) + 2 l2 w, before norms and clipping; sums are taken in float64. Only variables
that are trained are penalized. Called by hand, a regularizer returns the penalty of an array. One
of your own has a formula of its own, in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad._family import Configured, Family

__all__ = [
    "L1", "L1L2", "L2", "Regularizer", "deserialize", "get", "l1", "l1_l2", "l2", "serialize",
]  # fmt: skip

_LARGEST = 1e38  # twice that is still a float32


class Regularizer(Configured):
    """Base class of the regularizers: l1 sum |w| + l2 sum w^2.

    To derive a class set `l1` and `l2`, which the kernels know, or write another formula in Python,
    with numpy: `__call__` and `gradient`. It runs at each step then.

    Attributes
    ----------
    l1, l2 : float
        The factors, both 0 here.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import regularizers, utils
    >>> class Weak(regularizers.Regularizer):
    ...     l2 = 1e-6
    >>> Weak()([1000.0])
    1.0
    >>> class Orthogonal(regularizers.Regularizer):  # |w' w - 1|^2
    ...     def __call__(self, x):
    ...         return np.square(x.T @ x - np.eye(x.shape[1])).sum()
    ...
    ...     def gradient(self, x):
    ...         return 4.0 * x @ (x.T @ x - np.eye(x.shape[1]))
    >>> utils.check_gradients(Orthogonal()).error < 1e-6
    True
    """

    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, x: ArrayLike) -> float:
        """Return the penalty of an array.

        Parameters
        ----------
        x : array_like
            Numbers of any shape.
        """
        array = _validation.as_array(type(self).__name__, "x", x).astype(np.float64)
        total = self.l1 * np.abs(array).sum() if self.l1 else 0.0
        return float(total + self.l2 * np.square(array).sum() if self.l2 else total)

    def gradient(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient of the penalty, in the shape of the array.

        Parameters
        ----------
        x : ndarray
            Read-only.
        """
        slope: NDArray[Any] = self.l1 * np.sign(x) + 2.0 * self.l2 * x
        return slope

    @property
    def in_python(self) -> bool:
        """Whether `__call__` and `gradient` say what it does."""
        return len(unwritten(self)) < len(_OWN)

    def _factor(self, name: str, value: float | None, default: float) -> float:
        if value is None:
            return default
        return _validation.check_number(type(self).__name__, name, value, 0.0, _LARGEST)


class L1(Regularizer):
    """l1 sum |w|: drives weights to 0, where its slope is 0.

    Parameters
    ----------
    l1 : float in [0, 1e38]
        Default 0.01.

    Raises
    ------
    ValueError, TypeError
        If `l1` is no such number.

    References
    ----------
    .. [1] Tibshirani 1996, doi:10.1111/j.2517-6161.1996.tb02080.x

    Examples
    --------
    >>> from evengrad import regularizers
    >>> regularizers.L1(0.5)([[1.0, -2.0]])
    1.5
    """

    _arguments = ("l1",)

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = self._factor("l1", l1, 0.01)


class L2(Regularizer):
    """l2 sum w^2, without a half: keeps weights small.

    Parameters
    ----------
    l2 : float in [0, 1e38]
        Default 0.01.

    Raises
    ------
    ValueError, TypeError
        If `l2` is no such number.

    References
    ----------
    .. [1] Hoerl, Kennard 1970, doi:10.1080/00401706.1970.10488634

    Examples
    --------
    >>> from evengrad import regularizers
    >>> regularizers.L2(0.5)([[1.0, -2.0]])
    2.5
    """

    _arguments = ("l2",)

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = self._factor("l2", l2, 0.01)


class L1L2(Regularizer):
    """l1 sum |w| + l2 sum w^2.

    Parameters
    ----------
    l1, l2 : float in [0, 1e38]
        Default 0 each, as in Keras. The name "l1_l2" as an argument stands for 0.01 each, as
        Keras' documentation has it.

    Raises
    ------
    ValueError, TypeError
        If one is no such number.

    References
    ----------
    .. [1] Zou, Hastie 2005, doi:10.1111/j.1467-9868.2005.00503.x

    Examples
    --------
    >>> from evengrad import regularizers
    >>> regularizers.L1L2(l1=0.5, l2=0.5)([[1.0, -2.0]])
    4.0
    """

    _arguments = ("l1", "l2")

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = self._factor("l1", l1, 0.0)
        self.l2 = self._factor("l2", l2, 0.0)


l1, l2, l1_l2 = L1, L2, L1L2

_FAMILY = Family("regularizer", Regularizer, L1, L2, L1L2)


def get(identifier: Any) -> Regularizer | None:
    """Make a regularizer out of what a layer's argument may hold.

    Parameters
    ----------
    identifier : None, str, dict, Regularizer or class
        A name ("l1", "l2", "l1_l2"), what `serialize` returned, a regularizer (returned as it is)
        or a class derived from `Regularizer`. None gives None.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is nothing of the above, or one of your own that lacks `__call__` or
        `gradient`. A function is not, for its gradient is needed, too.

    Examples
    --------
    >>> from evengrad import regularizers
    >>> regularizers.get("l2")
    L2(l2=0.01)
    """
    if identifier == "l1_l2":
        return L1L2(0.01, 0.01)
    if identifier == "l1l2":  # Keras knows it under this name, too
        return L1L2()
    name = identifier.get("class_name") if isinstance(identifier, Mapping) else identifier
    if isinstance(name, str) and name.replace("_", "").lower() == "orthogonalregularizer":
        raise ValueError(
            "regularizer: OrthogonalRegularizer is not here; start from orthogonal kernels, "
            'kernel_initializer="orthogonal"'
        )
    return _complete(_FAMILY.get(identifier))


_OWN = "__call__", "gradient"


def unwritten(regularizer: Regularizer) -> list[str]:
    """The methods of a regularizer of one's own that this one does not have."""
    own = type(regularizer)
    return [name for name in _OWN if getattr(own, name) is getattr(Regularizer, name)]


def _complete(regularizer: Regularizer | None) -> Regularizer | None:
    if regularizer is not None and regularizer.in_python and (missing := unwritten(regularizer)):
        raise TypeError(
            f"regularizer: {type(regularizer).__name__} does not define {' and '.join(missing)}; "
            "it needs __call__(self, x), the penalty, and gradient(self, x), in the shape of x"
        )
    return regularizer


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """Return the class name and arguments of a regularizer, fit for JSON; None for None.

    Parameters
    ----------
    regularizer : Regularizer or None

    Examples
    --------
    >>> from evengrad import regularizers
    >>> regularizers.serialize(regularizers.L2(0.5))
    {'class_name': 'L2', 'config': {'l2': 0.5}}
    """
    return _FAMILY.serialize(regularizer)


def deserialize(config: Mapping[str, Any]) -> Regularizer:
    """Make a regularizer from what `serialize` returned.

    Parameters
    ----------
    config : mapping
        With "class_name" and "config".

    Examples
    --------
    >>> from evengrad import regularizers
    >>> regularizers.deserialize({"class_name": "L1", "config": {"l1": 0.5}})
    L1(l1=0.5)
    """
    return _FAMILY.deserialize(config)
