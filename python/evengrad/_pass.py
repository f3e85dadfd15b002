"""One recorded way through the layers of a model and back, and where a loop of one's own is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _recording, _stack
from evengrad._arena import padding
from evengrad._program import Program

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad.layers.base import Layer, Shape
    from evengrad.variable import Variable


class Pass:
    """A way through the layers and back, recorded into a program.

    Parts of one program: forward, what it leaves in the layers (moving statistics), and the ways
    back, each recorded when it is first gone.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        shapes: tuple[Shape, Shape],
        memory: dict[Variable, F32],
        program: Program,
    ) -> None:
        self.layers, self.shapes = layers, shapes
        self.program, capacity = program, program.capacity
        program.memory = memory
        program.folded = _recording.foldable(layers) if program.training else None
        self._x = _recording.batch_input(program, shapes[0], layers)
        # What runs in place over the batch runs over its padding, too.
        self._padding, self._per_sample = padding(self._x), len(self._x) // capacity
        self._y = _stack.forward(program, layers, self._x)
        self._dy = program.like(self._y)
        self._commit = 0
        if program.commits:
            self._commit = program.begin_part()
            program.commit()
        self._ways: dict[bool, tuple[int, F32 | None]] = {}

    def _rows(self, batch: F32, rows: int, shape: Shape) -> F32:
        """View of the first samples of a batch."""
        return batch[: rows * (math.prod(shape) // batch.shape[1])].reshape(rows, *shape)

    def forward(self, x: F32, iteration: int, seed: int) -> F32:
        """Return outputs; only finite ones move the statistics of layers."""
        before, after = self.shapes
        self._rows(self._x, len(x), before)[...] = x
        self._padding[: len(x) * self._per_sample] = 0.0
        self.program.run(len(x), iteration=iteration, seed=seed)
        y = np.array(self._rows(self._y, len(x), after), order="C")
        if self._commit and np.isfinite(y).all():
            self.program.run(len(x), part=self._commit)
        return y

    def backward(self, dy: F32, iteration: int, seed: int, *, need_dx: bool) -> F32 | None:
        """Fill the gradients of variables; return those of the inputs."""
        if need_dx not in self._ways:
            self._ways[need_dx] = self._record_backward(need_dx)
        part, dx = self._ways[need_dx]
        before, after = self.shapes
        self._rows(self._dy, len(dy), after)[...] = dy
        self.program.run(len(dy), iteration=iteration, seed=seed, part=part)
        return None if dx is None else np.array(self._rows(dx, len(dy), before), order="C")

    def _record_backward(self, need_dx: bool) -> tuple[int, F32 | None]:
        part = self.program.begin_part()
        if need_dx:
            return part, _stack.backward(self.program, self.layers, self._dy, need_dx=True)
        _recording.backward(self.program, self.layers, self._dy)
        return part, None


class Gone(NamedTuple):
    """The last forward: what backward needs to know of it."""

    way: Pass
    x: F32
    shape: tuple[int, ...]  # of the outputs
    training: bool
    updates: int  # done when it was
    iteration: int
    seed: int


class State:
    """Where a loop is. A copy of a model, or a model from a file, is at the start."""

    def __init__(self) -> None:
        self.gone: Gone | None = None
        self.passes = 0  # in training mode since the last step
        self.memory: dict[Variable, F32] = {}  # for gradients
        self.received: tuple[Variable, ...] = ()  # those that have one
        self.dy: F32 | None = None  # from which they are
        self.need_dx = True  # whether that of the inputs was wanted with them
        self.added = False  # to those of an earlier call
        self.of: Gone | None = None  # the forward that they are of
        self.waits = False  # for a step with them
        self.update: tuple[tuple[object, ...], Program, NDArray[np.float64]] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return State, ()
