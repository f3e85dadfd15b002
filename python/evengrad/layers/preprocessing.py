"""Layers that bring raw data into range; nothing of them is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from evengrad import _validation
from evengrad._program import Program
from evengrad.layers._axes import checked_axis, last_axes
from evengrad.layers.base import Layer, Shape
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32, F64


class _Affine(Layer):
    """y = x a + b, with a and b for each of the last elements of a sample."""

    _kind: str

    def _columns(self) -> tuple[int, F64, F64]:
        """Number of elements that have their own numbers, and the two the kernel wants."""
        raise NotImplementedError(f"{type(self).__name__}._columns")

    def _apply(self, program: Program, x: F32, *, gradient: bool) -> F32:
        columns, center, spread = self._columns()
        source = program.in_rows_of(columns, x)
        to = program.over(source)
        program.affine(self._kind, source, center, spread, to, gradient)
        return program.in_rows_of(x.shape[1], to)

    def forward(self, program: Program, x: F32) -> F32:
        """Record y."""
        return self._apply(program, x, gradient=False)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record dx = dy a."""
        return self._apply(program, dy, gradient=True) if need_dx else None


class Rescaling(_Affine):
    """y = x scale + offset.

    Parameters
    ----------
    scale : float or sequence of float
        One number, or one for each element of the last axis. 1/255 for images of bytes.
    offset : float or sequence of float
        Likewise. Default 0.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.Rescaling(1 / 255)([[0, 255]])
    array([[0., 1.]], dtype=float32)
    """

    _kind = "scale"

    def __init__(
        self,
        scale: float | Sequence[float],
        offset: float | Sequence[float] = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale = _number_or_list(str(self), "scale", scale)
        self.offset = _number_or_list(str(self), "offset", offset)

    def make_variables(self, input_shape: Shape) -> None:
        """None; compare the numbers with the last axis."""
        for name in ("scale", "offset"):
            _check_spread(str(self), name, getattr(self, name), input_shape[-1:])

    def _columns(self) -> tuple[int, F64, F64]:
        assert self.input_shape is not None
        shape = self.input_shape[-1:]
        who = str(self)
        offset = _spread(who, "offset", self.offset, shape)
        return shape[0], offset, _spread(who, "scale", self.scale, shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return super().get_config() | {"scale": self.scale, "offset": self.offset}


class Normalization(_Affine):
    """y = (x - mean) / max(sqrt(variance), 1e-7), with those of given data.

    Parameters
    ----------
    axis : int, sequence of int or None
        -1, or several up to the last: whose elements have a mean and a variance each. None: one for
        all. With the batch as axis 0.
    mean, variance : float or array_like, optional
        Both or neither. Without them `adapt` finds them; until then they are 0 and 1.
    invert : bool
        y = x max(sqrt(variance), 1e-7) + mean instead.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Raises
    ------
    ValueError
        For other axes, or numbers that do not fit them, when it is built.

    Notes
    -----
    Variables, unless mean and variance are given: mean, variance, and count, which is 0 and there
    because Keras has it. None is trained.

    Examples
    --------
    >>> from evengrad import layers
    >>> layer = layers.Normalization()
    >>> layer.adapt([[1.0, 10.0], [3.0, 30.0]])
    >>> layer([[1.0, 40.0]])
    array([[-1.,  2.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        invert: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        who = str(self)
        self.axis = None if axis is None else checked_axis(who, axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                f"{who}: expected mean and variance, or neither, got {mean!r} and {variance!r}"
            )
        self.input_mean = None if mean is None else _number_or_list(who, "mean", mean)
        self.input_variance = None
        if variance is not None:
            self.input_variance = _number_or_list(who, "variance", variance)
            if np.min(self.input_variance) < 0.0:
                raise ValueError(f"{who}: expected variance of at least 0, got {variance!r}")
        self.invert = _validation.check_flag(who, "invert", invert)
        self.mean: Variable | None = None
        self.variance: Variable | None = None

    @property
    def _kind(self) -> str:  # type: ignore[override]
        return "denormalize" if self.invert else "normalize"

    def _shape(self, sample: Shape) -> Shape:
        """Of mean and variance."""
        return () if self.axis is None else last_axes(str(self), self.axis, sample)

    def make_variables(self, input_shape: Shape) -> None:
        """Mean, variance and count, unless they were given."""
        shape = self._shape(input_shape)
        if self.input_mean is not None and self.input_variance is not None:
            _check_spread(str(self), "mean", self.input_mean, shape)
            _check_spread(str(self), "variance", self.input_variance, shape)
            return
        for name, start in (("mean", "zeros"), ("variance", "ones"), ("count", "zeros")):
            of = () if name == "count" else shape
            variable = self.add_weight(of, start, name, trainable=False, double=True)
            if name != "count":
                setattr(self, name, variable)

    def adapt(self, data: ArrayLike) -> None:
        """Take mean and variance from data (n, ...), as float32 and computed in float64."""
        from evengrad._calibration import moments

        who = str(self)
        if self.input_mean is not None:
            raise ValueError(f"{who}: its mean and variance were given; there is nothing to adapt")
        x = _validation.features(who, "data", data)
        self.build_once(x.shape[1:])
        assert self.mean is not None
        assert self.variance is not None
        rows = x.reshape(-1, max(1, math.prod(self.mean.shape)))
        mean, variance = moments(rows)
        self.mean.assign(mean.reshape(self.mean.shape))
        self.variance.assign(variance.reshape(self.variance.shape))

    def _columns(self) -> tuple[int, F64, F64]:
        assert self.input_shape is not None
        shape = self._shape(self.input_shape)
        if self.mean is None or self.variance is None:
            assert self.input_mean is not None
            assert self.input_variance is not None
            center = _spread(str(self), "mean", self.input_mean, shape)
            spread = _spread(str(self), "variance", self.input_variance, shape)
        else:
            center, spread = self.mean.storage, self.variance.storage
        return center.size, center, spread

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer; what `adapt` found is in the weights."""
        return super().get_config() | {
            "axis": self.axis,
            "mean": self.input_mean,
            "variance": self.input_variance,
            "invert": self.invert,
        }


def _number_or_list(who: str, name: str, value: Any) -> Any:
    """Return value as a float or as (nested) lists of floats."""
    array = _validation.as_array(who, name, value)
    if not np.isfinite(array.astype(np.float64)).all():
        raise ValueError(f"{who}: expected finite numbers for {name}, got {value!r}")
    return array.astype(np.float64).tolist()


def _check_spread(who: str, name: str, value: Any, shape: Shape) -> None:
    """Compare numbers with a shape, without taking memory for it."""
    try:
        fits = np.broadcast_shapes(np.shape(value), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{who}: expected {name} to be a number or an array for axes {shape}, got an array of "
            f"shape {np.shape(value)}"
        )


def _spread(who: str, name: str, value: Any, shape: Shape) -> F64:
    """Return the numbers as a vector, one for each element of the shape."""
    _check_spread(who, name, value, shape)
    return np.array(np.broadcast_to(np.asarray(value, np.float64), shape)).reshape(-1)
