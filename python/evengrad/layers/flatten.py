"""Flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
        program.saved[self] = x
        if len(x) == program.capacity:
            return x
        y = program.tensor(len(x) // program.capacity * x.shape[1])
        program.reshape(x, y)
        return y

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record the copy back."""
        x = program.saved[self]
        if len(x) == program.capacity or not need_dx:
            return dy
        dx = program.like(x)
        program.reshape(dy, dx)
        return dx
