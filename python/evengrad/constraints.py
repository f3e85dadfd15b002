"""What weights are brought back to after each update.

Give one to a layer, by name or as an object: `Dense(10, kernel_constraint=MaxNorm(3))`. Norms are
taken in float64, right for all float32 numbers. Called by hand, a constraint returns a new array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad._arena import tensor, vector
from evengrad._family import Configured, Family
from evengrad._program import Program

if TYPE_CHECKING:
    from evengrad._core import F32

__all__ = [
    "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get", "max_norm",
    "min_max_norm", "non_neg", "serialize", "unit_norm",
]  # fmt: skip

Axis = int | Sequence[int]


class Constraint(Configured):
    """Base class of the constraints: w itself.

    One of your own derives from it and writes `__call__(self, w)`, in Python, with numpy; or it is
    a function of an array. It runs after each update then; an exception takes the update back.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import constraints, layers
    >>> constraints.Constraint()([-1.0, 2.0])
    array([-1.,  2.], dtype=float32)
    >>> class Between(constraints.Constraint):
    ...     def __call__(self, w):
    ...         return np.clip(w, -0.5, 0.5)
    >>> layer = layers.Dense(3, kernel_constraint=Between())
    """

    def __call__(self, w: ArrayLike) -> NDArray[np.float32]:
        """Return the constrained numbers as a new array.

        Parameters
        ----------
        w : array_like
            A vector or a matrix, finite.
        """
        who = type(self).__name__
        array = _validation.as_float32(who, "w", w)
        if array.ndim not in (1, 2) or array.size == 0 or not np.isfinite(array).all():
            raise ValueError(
                f"{who}: expected w to be a vector or matrix of finite float32 numbers, "
                f"got shape {array.shape}"
            )
        made = tensor(*array.shape) if array.ndim == 2 else vector(*array.shape)
        made[...] = array
        program = Program(1, training=True)
        self.record(program, made)
        if len(program):
            program.run(1)
        return np.array(made, order="C")

    def record(self, program: Program, value: F32) -> None:
        """Record the kernel over a variable."""

    @property
    def in_python(self) -> bool:
        """Whether `__call__` says what it does."""
        return type(self).__call__ is not Constraint.__call__

    def check(self, who: str, shape: tuple[int, ...], stored: int) -> None:
        """Raise where a variable of this shape, kept as an array of so many axes, does not fit."""


class Function(Constraint):
    """A function of the user's own; a file holds its registered name."""

    _arguments = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, w: ArrayLike) -> NDArray[Any]:
        """Return what the function does."""
        return self.function(w)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<constraint {getattr(self.function, '__name__', repr(self.function))}>"


class NonNeg(Constraint):
    """max(w, 0).

    Examples
    --------
    >>> from evengrad import constraints
    >>> constraints.NonNeg()([1.0, -2.0])
    array([1., 0.], dtype=float32)
    """

    def record(self, program: Program, value: F32) -> None:
        """Record the kernel over a variable."""
        program.constrain(value, "non_negative")


class _Norm(Constraint):
    """w desired / (1e-7 + norm), desired = rate clamp(norm, low, high) + (1 - rate) norm."""

    axis: Axis

    def _limits(self) -> tuple[float, float, float]:
        """Low, high, rate."""
        raise NotImplementedError(f"{type(self).__name__}._limits")

    def record(self, program: Program, value: F32) -> None:
        """Record the kernel over a variable."""
        low, high, rate = self._limits()
        program.constrain(value, self._kind(value.ndim), low, high, rate)

    def check(self, who: str, shape: tuple[int, ...], stored: int) -> None:
        """Raise where a variable of this shape, kept as an array of so many axes, does not fit."""
        if stored != len(shape):
            raise ValueError(
                f"{who}: expected {type(self).__name__} for a vector or matrix, got a variable of "
                f"shape {shape}"
            )
        self._kind(len(shape))

    def _kind(self, ndim: int) -> str:
        axes = {a + ndim if a < 0 else a for a in self._axes()}
        if not axes <= set(range(ndim)):
            raise ValueError(
                f"{type(self).__name__}: expected axis below {ndim}, the number of dimensions, "
                f"got {self.axis}"
            )
        if len(axes) == ndim:
            return "whole" if ndim == 2 else "columns"
        return "columns" if axes == {0} else "rows"

    def _axes(self) -> list[int]:
        return [self.axis] if isinstance(self.axis, int) else list(self.axis)

    def _checked(self, axis: Axis) -> Axis:
        who = type(self).__name__
        several = isinstance(axis, Sequence) and not isinstance(axis, str)
        for each in axis if several else [axis]:  # type: ignore[union-attr]
            if isinstance(each, bool) or not isinstance(each, int | np.integer):
                raise TypeError(f"{who}: expected axis to be an integer or several, got {axis!r}")
        if several and not axis:
            raise ValueError(f"{who}: expected at least one axis, got {axis!r}")
        return [int(a) for a in axis] if several else int(axis)  # type: ignore[union-attr,arg-type]

    def _positive(self, name: str, value: float) -> float:
        return _validation.check_number(type(self).__name__, name, value, 0.0)


class MaxNorm(_Norm):
    """w min(norm, max_value) / (1e-7 + norm), the norm being taken along an axis.

    Parameters
    ----------
    max_value : float, at least 0
        Default 2.
    axis : int or sequence of int
        0, the default, takes each column of a Dense kernel: all weights into one unit. 1 takes each
        row, [0, 1] all; 0 of a vector is all of it.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range; at build, if there is no such axis.

    References
    ----------
    .. [1] Srebro, Rennie, Jaakkola 2004, "Maximum-margin matrix factorization"
    .. [2] Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html

    Examples
    --------
    >>> from evengrad import constraints
    >>> constraints.MaxNorm(1.0)([[3.0, 0.5], [4.0, 0.0]]).round(3)
    array([[0.6, 0.5],
           [0.8, 0. ]], dtype=float32)
    """

    _arguments = ("max_value", "axis")

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value = self._positive("max_value", max_value)
        self.axis = self._checked(axis)

    def _limits(self) -> tuple[float, float, float]:
        return 0.0, self.max_value, 1.0


class UnitNorm(_Norm):
    """w / (1e-7 + norm), the norm being taken along an axis.

    Parameters
    ----------
    axis : int or sequence of int
        As for `MaxNorm`, default 0.

    Raises
    ------
    ValueError, TypeError
        If it is no axis; at build, if there is no such axis.

    References
    ----------
    .. [1] Salimans, Kingma 2016, arXiv:1602.07868 (the direction of weight normalization)

    Examples
    --------
    >>> from evengrad import constraints
    >>> constraints.UnitNorm()([3.0, 4.0]).round(3)
    array([0.6, 0.8], dtype=float32)
    """

    _arguments = ("axis",)

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = self._checked(axis)

    def _limits(self) -> tuple[float, float, float]:
        return 1.0, 1.0, 1.0


class MinMaxNorm(_Norm):
    """w desired / (1e-7 + norm), desired = rate clamp(norm, min, max) + (1 - rate) norm.

    Parameters
    ----------
    min_value, max_value : float, at least 0
        Defaults 0 and 1; min_value at most 1e38, max_value at least min_value.
    rate : float in [0, 1]
        Default 1: at once; below, a part of the way at each step.
    axis : int or sequence of int
        As for `MaxNorm`, default 0.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range; at build, if there is no such axis.

    References
    ----------
    .. [1] https://keras.io/api/layers/constraints

    Examples
    --------
    >>> from evengrad import constraints
    >>> constraints.MinMaxNorm(min_value=2.0, max_value=10.0)([0.6, 0.8]).round(3)
    array([1.2, 1.6], dtype=float32)
    """

    _arguments = ("min_value", "max_value", "rate", "axis")

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0
    ) -> None:
        # Beyond, weights may have to be larger than float32 has them.
        self.min_value = _validation.check_number("MinMaxNorm", "min_value", min_value, 0.0, 1e38)
        self.max_value = self._positive("max_value", max_value)
        if self.max_value < self.min_value:
            raise ValueError(
                f"MinMaxNorm: expected max_value of at least min_value, {min_value}, "
                f"got {max_value}"
            )
        self.rate = _validation.check_number("MinMaxNorm", "rate", rate, 0.0, 1.0)
        self.axis = self._checked(axis)

    def _limits(self) -> tuple[float, float, float]:
        return self.min_value, self.max_value, self.rate


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

_FAMILY = Family("constraint", Constraint, MaxNorm, NonNeg, UnitNorm, MinMaxNorm)


def get(identifier: Any) -> Constraint | None:
    """Make a constraint out of what a layer's argument may hold.

    Parameters
    ----------
    identifier : None, str, dict, Constraint, class or function
        A name ("max_norm" or "MaxNorm"), what `serialize` returned, a constraint, a class derived
        from `Constraint`, or a function of an array. None gives None.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is nothing of the above.

    Examples
    --------
    >>> from evengrad import constraints
    >>> constraints.get("max_norm")
    MaxNorm(max_value=2.0, axis=0)
    """
    if callable(identifier) and not isinstance(identifier, Constraint | type):
        return Function(identifier)
    return deserialize(identifier) if isinstance(identifier, Mapping) else _FAMILY.get(identifier)


def serialize(constraint: Constraint | None) -> dict[str, Any] | None:
    """Return the class name and arguments of a constraint, fit for JSON; None for None.

    Parameters
    ----------
    constraint : Constraint or None

    Examples
    --------
    >>> from evengrad import constraints
    >>> constraints.serialize(constraints.UnitNorm())
    {'class_name': 'UnitNorm', 'config': {'axis': 0}}
    """
    return _FAMILY.serialize(constraint)


def deserialize(config: Mapping[str, Any]) -> Constraint:
    """Make a constraint from what `serialize` returned.

    Parameters
    ----------
    config : mapping
        With "class_name" and "config".

    Examples
    --------
    >>> from evengrad import constraints
    >>> constraints.deserialize({"class_name": "NonNeg", "config": {}})
    NonNeg()
    """
    if isinstance(config, Mapping) and config.get("class_name") == Function.__name__:
        return Function.from_config(config["config"])
    return _FAMILY.deserialize(config)
