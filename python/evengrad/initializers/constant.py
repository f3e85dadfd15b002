"""Initializers that do not draw."""

from __future__ import annotations

import numpy as np

from evengrad._validation import check_number
from evengrad.initializers.base import F32, F64, LARGEST, Initializer


class Zeros(Initializer):
    """All 0.

    Examples
    --------
    >>> from evengrad.initializers import Zeros
    >>> Zeros()((2,))
    array([0., 0.], dtype=float32)
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return np.zeros(shape, dtype=np.float32)


class Ones(Initializer):
    """All 1.

    Examples
    --------
    >>> from evengrad.initializers import Ones
    >>> Ones()((2,))
    array([1., 1.], dtype=float32)
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return np.ones(shape, dtype=np.float32)


class Constant(Initializer):
    """All the same number.

    Parameters
    ----------
    value : float, default 0.0

    Examples
    --------
    >>> from evengrad.initializers import Constant
    >>> Constant(0.5)((2,))
    array([0.5, 0.5], dtype=float32)
    """

    _arguments = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = check_number(self._owner, "value", value, -LARGEST, LARGEST)

    def _values(self, shape: tuple[int, ...]) -> F32:
        return np.full(shape, self.value, dtype=np.float32)


class Identity(Initializer):
    """`gain` on the main diagonal of a matrix, 0 elsewhere.

    Parameters
    ----------
    gain : float, default 1.0

    Raises
    ------
    ValueError
        When called with a shape that is not of rank 2.

    Examples
    --------
    >>> from evengrad.initializers import Identity
    >>> Identity(2.0)((2, 3))
    array([[2., 0., 0.],
           [0., 2., 0.]], dtype=float32)
    """

    _arguments = ("gain",)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = check_number(self._owner, "gain", gain, -LARGEST, LARGEST)

    def _values(self, shape: tuple[int, ...]) -> F32 | F64:
        if len(shape) != 2:
            raise ValueError(f"{self._owner}: expected a shape of rank 2, got {shape}.")
        return np.float32(self.gain) * np.eye(*shape, dtype=np.float32)
