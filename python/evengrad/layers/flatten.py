"""Layers that only change how a sample is cut into rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad._program import Program
from evengrad.layers.base import Layer, Shape

if TYPE_CHECKING:
    from evengrad._core import F32


class Flatten(Layer):
    """Each sample as a vector: (n, a, b, ...) -> (n, a b ...), the last axis fastest.

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.Flatten()([[[1.0, 2.0], [3.0, 4.0]]])
    array([[1., 2., 3., 4.]], dtype=float32)
    """

    def compute_output_shape(self, input_shape: Sequence[int]) -> Shape:
        """(a, b, ...) -> (a b ...,)."""
        return (math.prod(input_shape),)

    def forward(self, program: Program, x: F32) -> F32:
        """Record a copy into longer rows; nothing where a sample is one row already."""
        program.saved[self] = x.shape[1]
        return program.in_rows_of(len(x) // program.capacity * x.shape[1], x)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record the copy back."""
        return program.in_rows_of(program.saved[self], dy) if need_dx else None


class Reshape(Layer):
    """Each sample in another shape of as many elements, the last axis fastest.

    Parameters
    ----------
    target_shape : sequence of int
        Shape of one sample, without the batch. One of them may be -1: what is left.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Raises
    ------
    ValueError
        When it is built, if the numbers of elements differ.

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.Reshape((-1, 2))([[1.0, 2.0, 3.0, 4.0]])
    array([[[1., 2.],
            [3., 4.]]], dtype=float32)
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        who = str(self)
        if not isinstance(target_shape, Sequence) or len(target_shape) == 0:
            raise ValueError(
                f"{who}: expected target_shape to be a shape such as (4, 7), got {target_shape!r}"
            )
        sizes = [_validation.check_count(who, "each of target_shape", n, -1) for n in target_shape]
        if 0 in sizes or sizes.count(-1) > 1:
            raise ValueError(
                f"{who}: expected target_shape of positive numbers and one -1 at most, got "
                f"{tuple(sizes)}"
            )
        self.target_shape = tuple(sizes)

    def compute_output_shape(self, input_shape: Sequence[int]) -> Shape:
        """target_shape, with what is left in place of -1."""
        size = math.prod(input_shape)
        known = math.prod(n for n in self.target_shape if n != -1)
        if size % known or (size != known and -1 not in self.target_shape):
            raise ValueError(
                f"{self}: expected target_shape to hold the {size} elements of samples "
                f"{tuple(input_shape)}, got {self.target_shape}"
            )
        return tuple(size // known if n == -1 else n for n in self.target_shape)

    def forward(self, program: Program, x: F32) -> F32:
        """Record a copy into rows of another length; nothing where that is the same."""
        assert self.output_shape is not None
        program.saved[self] = x.shape[1]
        return program.in_rows_of(self.output_shape[-1], x)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record the copy back."""
        return program.in_rows_of(program.saved[self], dy) if need_dx else None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return super().get_config() | {"target_shape": list(self.target_shape)}
