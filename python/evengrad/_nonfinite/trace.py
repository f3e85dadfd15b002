"""A failed step once more, with a look at each tensor: which one was not finite first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from evengrad import _random, _recording, _stack
from evengrad._pass import Pass
from evengrad._program import Outputs, Program

if TYPE_CHECKING:
    from evengrad._compiled import Compiled
    from evengrad._core import F32, F64
    from evengrad._feed import Feed
    from evengrad._own_loop import OwnLoop
    from evengrad._pass import Gone
    from evengrad._recording import Recording
    from evengrad._trainer import Trainer
    from evengrad.layers.base import Layer
    from evengrad.losses import Loss
    from evengrad.optimizers import Optimizer
    from evengrad.variable import Variable

Rows = NDArray[np.intp]

NONE = np.zeros(0, np.intp)


class Finding(NamedTuple):
    """A tensor that is not finite.

    `kind`: "input" and its like, "variable", "output", "loss", "penalty", "dy", "gradient",
    "slope" of a penalty, "accumulated", "move". `samples` are rows of the batch, `maker` the layer
    that made a dy, None for the loss or the user.
    """

    kind: str
    layer: Layer | None = None
    variable: Variable | None = None
    samples: Rows = NONE
    units: tuple[int, ...] = ()
    nan: bool = False
    maker: Layer | None = None


class Size(NamedTuple):
    """The largest absolute value of what belongs to a layer."""

    layer: Layer
    largest: float


def largest(array: NDArray[Any]) -> float:
    """Largest absolute value: NaN or infinity where there is any; 0 of nothing."""
    return float(np.maximum(array.max(), -array.min())) if array.size else 0.0


def columns(bad: NDArray[np.bool_]) -> tuple[int, ...]:
    """Where along the last axis anything is so."""
    rows = bad.reshape(-1, bad.shape[-1] if bad.ndim else 1)
    return tuple(np.flatnonzero(rows.any(axis=0)).tolist())


def look_at(kind: str, variable: Variable, array: NDArray[Any], **more: Any) -> Finding | None:
    """Return what is found in an array of a variable's size."""
    if np.isfinite(largest(array)):
        return None
    bad = ~np.isfinite(array.reshape(variable.shape))
    nan = bool(np.isnan(array).any())
    return Finding(kind, variable=variable, units=columns(bad), nan=nan, **more)


class Traced(Program):
    """A program that stops behind the first tensor that is not finite, and never at the end.

    It changes nothing but its own memory.

    Attributes
    ----------
    found : Finding or None
    sizes, slopes : list of Size
        Of what was finite: outputs, and dy, the gradients of outputs, in the order they were made.
    each : ndarray or None
        Loss of each row, where it was wanted.
    compared : Outputs or None
        What the loss compares.
    done : str
        How far it came: "", "loss", "end".
    rows : int
        Samples of the step.
    """

    def __init__(self, capacity: int, *, training: bool = True) -> None:
        super().__init__(capacity, training=training, differentiable=True)
        self.found: Finding | None = None
        self.sizes: list[Size] = []
        self.slopes: list[Size] = []
        self.each: F32 | None = None
        self.compared: Outputs | None = None
        self.done = ""
        self.rows = 0
        self._maker: Layer | None = None

    def _batch(self, kind: str, layer: Layer, batch: F32, rows: int, sizes: list[Size]) -> bool:
        """Look at the rows of a batch; say whether they are finite."""
        self.rows = rows
        per_sample = len(batch) // self.capacity
        array = batch[: rows * per_sample]
        size = largest(array)
        if np.isfinite(size):
            sizes.append(Size(layer, size))
            return True
        bad = ~np.isfinite(array)
        samples = np.unique(np.flatnonzero(bad.any(axis=1)) // per_sample)
        nan = bool(np.isnan(array).any())
        self.found = Finding(kind, layer, samples=samples, units=columns(bad), nan=nan)
        return False

    def made(self, layer: Layer, y: F32) -> F32:
        """Look at the output of a layer."""
        self.python(lambda rows: self._batch("output", layer, y, rows, self.sizes))
        return y

    def receives(self, layer: Layer, dy: F32) -> None:
        """Look at the gradient of the output of a layer."""
        maker = self._maker

        def look(rows: int) -> bool:
            if self._batch("dy", layer, dy, rows, self.slopes):
                return True
            assert self.found is not None
            self.found = self.found._replace(maker=maker)
            return False

        self.python(look)

    def leaves(self, layer: Layer, dx: F32 | None = None) -> F32 | None:
        """Look at the gradients of the variables of a layer."""
        those = [v for v in layer.variables if v in self.gradients]
        if those:
            self.python(lambda rows: self._gradients("gradient", those, layer))
        self._maker = layer
        return dx

    def _gradients(self, kind: str, those: Sequence[Variable], layer: Layer | None = None) -> bool:
        for variable in those:
            self.found = look_at(kind, variable, self.gradients[variable], layer=layer)
            if self.found:
                return False
        return True

    def commit(self) -> None:
        """Look at the gradients with their penalties, and end the replay."""

        def end(rows: int) -> bool:
            del rows
            self.done = "end"
            self._gradients("slope", list(self.gradients))
            return False

        self.python(end)


class _Loss:
    """A loss that says when it is done, and on demand what it makes of each row."""

    def __init__(self, loss: Loss, *, by_row: bool) -> None:
        self.loss, self.by_row = loss, by_row or loss.in_python
        self.in_python, self.sparse, self.kernel = loss.in_python, loss.sparse, loss.kernel

    def record(self, program: Traced, kernel: str, outputs: Outputs, dy: F32, result: F64) -> None:
        program.compared = outputs
        if self.by_row:
            program.each = np.zeros(len(outputs.y), np.float32)
        self.loss.record(program, kernel, outputs, dy, result, program.each)

        def passed(rows: int) -> None:
            del rows
            program.done = "loss"

        program.python(passed)


class _NoOptimizer:
    """One that updates nothing."""

    def build(self, variables: Sequence[Variable]) -> None:
        pass

    def record(self, program: Program, health: F64 | None = None) -> F64:
        del program, health
        return np.zeros(0)


@contextlib.contextmanager
def untouched(model: Compiled) -> Iterator[None]:
    """Put back what parts in Python change when they are called once more."""
    layers = list(_stack.every(model.layers))
    parts: list[object] = [*layers, model.loss, *(v.regularizer for v in model.variables)]
    parts += [getattr(layer, "activation", None) for layer in layers]
    own = [vars(part) for part in parts if hasattr(part, "__dict__")]
    attributes = [(each, dict(each)) for each in own]
    generators = [g for each in own for g in each.values() if isinstance(g, np.random.Generator)]
    bits = [g.bit_generator for g in (*generators, _random.generator())]
    states = [(b, b.state) for b in bits]
    legacy = np.random.get_state()
    arrays = [(a, a.copy()) for layer in model.layers for a in layer.live_arrays]
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        for array, values in arrays:
            array[...] = values
        for bit, state in states:
            bit.state = state
        for now, before in attributes:
            for name in now.keys() - before.keys():
                del now[name]
            now.update(before)
        np.random.set_state(legacy)


def of_fit(model: Trainer, feed: Feed, recording: Recording) -> Traced:
    """Run the next step of a feed once more."""
    capacity = recording.program.capacity
    program = _replayed(model, feed, capacity, by_row=False)
    failed = program.failure and program.failure[0] == "loss"
    if program.found is not None or program.done == "end" or not failed:
        return program
    if program.done == "loss":
        program.found = Finding("penalty")
        return program
    if program.each is None:  # kernels add up in another order where each row is wanted
        program = _replayed(model, feed, capacity, by_row=True)
    assert program.each is not None
    per_sample = len(program.each) // capacity
    samples = np.unique(np.flatnonzero(~np.isfinite(program.each)) // per_sample)
    nan = bool(np.isnan(program.each).any())
    program.found = Finding("loss", samples=samples, nan=nan)
    return program


def _replayed(model: Trainer, feed: Feed, capacity: int, *, by_row: bool) -> Traced:
    program, optimizer = Traced(capacity), _NoOptimizer()
    loss = _Loss(model.compiled_loss("fit"), by_row=by_row)
    _recording.record_step(
        model.layers, model.sample_shape(), capacity, cast("Loss", loss), (), (),
        cast("Optimizer", optimizer), program,
    )  # fmt: skip
    with untouched(model):
        counter = model.optimizer.counter.copy()
        feed.replay(program, 1, counter=counter, seed=model.seed)
    return program


def of_pass(model: OwnLoop, gone: Gone, dy: F32, *, need_dx: bool) -> Traced:
    """Run a forward and a backward of the user's once more."""
    program = Traced(gone.way.program.capacity, training=gone.training)
    shapes = model.sample_shape(), model.sample_output_shape()
    layers = _stack.flat(model.layers)
    way = Pass(layers, shapes, {}, program)
    with untouched(model):
        way.forward(gone.x, gone.iteration, gone.seed)
        if program.found is None:
            way.backward(dy, gone.iteration, gone.seed, need_dx=need_dx)
    return program
