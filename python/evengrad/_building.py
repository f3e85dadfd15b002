"""First values of variables: drawn, or none where a file holds what they are to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from evengrad import initializers
from evengrad.initializers.base import F32

Shape = tuple[int, ...]

_in_file: ContextVar[Counter[Shape] | None] = ContextVar("in_file", default=None)


@contextmanager
def from_file(shapes: Iterable[Shape]) -> Iterator[None]:
    """Let layers built inside make variables of these shapes only, each once, and draw nothing.

    A file that claims more than it holds fails before memory is asked for.
    """
    token = _in_file.set(Counter(shapes))
    try:
        yield
    finally:
        _in_file.reset(token)


def loading() -> bool:
    """Whether values will come from a file."""
    return _in_file.get() is not None


def first_value(
    who: str, name: str, shape: Shape, initializer: str | initializers.Initializer
) -> F32 | None:
    """Return what a variable begins with; None, for zeros, where a file has it."""
    initializer = initializers.of_layer(initializer)
    left = _in_file.get()
    if left is None:
        values = np.asarray(initializer(shape))
        if values.shape != shape:
            raise ValueError(
                f"{who}: expected {name} of shape {shape} from {initializer}, got {values.shape}"
            )
        return values
    if not left[shape]:
        raise ValueError(f"{who}: expected an array of shape {shape} for {name}, there is none")
    left[shape] -= 1
    return None
