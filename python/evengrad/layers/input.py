"""The shape of a model's samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evengrad._program import Program
from evengrad.layers.base import Layer

if TYPE_CHECKING:
    from evengrad._core import F32


class InputLayer(Layer):
    """Declares the shape of one sample; `Input` makes one.

    Parameters
    ----------
    shape : sequence of int
        Shape of one sample, without the batch.
    **kwargs
        Of `Layer`: name.

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.InputLayer((4,)).declared_shape
    (4,)
    """

    def __init__(self, shape: Sequence[int] | None = None, **kwargs: Any) -> None:
        if shape is not None:
            kwargs["input_shape"] = shape
        super().__init__(**kwargs)
        if self.declared_shape is None:
            raise ValueError(f"{self}: expected shape, as in Input(shape=(784,))")

    def forward(self, program: Program, x: F32) -> F32:
        """Record nothing."""
        return x

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record nothing."""
        return dy

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {"name": self.name, "shape": self.declared_shape}


def Input(shape: Sequence[int], name: str | None = None) -> InputLayer:  # noqa: N802
    """Declare the shape of one sample, as the first item of a Sequential.

    Parameters
    ----------
    shape : sequence of int
        Shape of one sample, without the batch.
    name : str, optional
        Default: "input_layer", numbered.

    Examples
    --------
    >>> import evengrad
    >>> evengrad.Sequential([evengrad.Input((4,)), evengrad.layers.Dense(2)]).output_shape
    (None, 2)
    """
    return InputLayer(shape, name=name)
