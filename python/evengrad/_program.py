"""The compiled Program with what layers share while they record into it."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from evengrad import _core
from evengrad._arena import tensor, vector

if TYPE_CHECKING:
    from evengrad._core import F32, I32
    from evengrad.layers.base import Layer
    from evengrad.variable import Variable


_OWN_SEEDS = 1 << 31  # keys below are for layers with a seed


class Outputs(NamedTuple):
    """What losses and metrics compare: a batch of outputs, `shape` each, and what is right."""

    y: "F32"
    shape: tuple[int, ...]
    labels: "I32 | None" = None
    target: "F32 | None" = None
    weight: "F32 | None" = None


def outputs_of(
    y: "F32", truth: Any, *, sparse: bool, weight: "F32 | None" = None
) -> "tuple[Program, Outputs]":
    """Return a program for predictions (n, ...) and the truth as its loss or metric reads them."""
    program = Program(len(y), training=False)
    batch = program.tensor(y.shape[-1], math.prod(y.shape[1:-1]))
    batch[...] = y.reshape(batch.shape)
    if sparse:
        return program, Outputs(batch, y.shape[1:], labels=truth, weight=weight)
    target = program.like(batch)
    target[...] = truth.reshape(batch.shape)
    return program, Outputs(batch, y.shape[1:], target=target, weight=weight)


class Program(_core.Program):
    """A list of kernel calls being recorded.

    Parameters
    ----------
    capacity : int
        Largest number of samples of a replay.
    training : bool
        Whether layers record their training mode, and gradients of variables are wanted.
    differentiable : bool, optional
        Whether layers keep what their backward needs. Default: in training.

    Attributes
    ----------
    saved : dict
        What a layer's forward leaves for its backward, by layer.
    gradients : dict
        Gradient of each trainable variable, in the order in which layers ask for them.
    memory : dict
        Where those are, by variable; several programs may share it.
    fused : object
        The layer whose activation the loss computes itself.
    folded : object
        A first BatchNormalization whose gradients the Dense after it computes.
    commits : list
        Recordings that come last in a step, behind its finite check.
    outputs : dict
        Where each layer left its output.
    """

    def __init__(
        self, capacity: int, *, training: bool, differentiable: bool | None = None
    ) -> None:
        super().__init__(capacity)
        self.training = training
        self.differentiable = training if differentiable is None else differentiable
        self.saved: dict[Any, Any] = {}
        self.gradients: dict[Variable, F32] = {}
        self.memory: dict[Variable, F32] = {}
        self.fused: object = None
        self.folded: object = None
        self.commits: list[Callable[[], None]] = []
        self.outputs: dict[Layer, F32] = {}
        self._kept: set[int] = set()
        self._draws = 0

    def tensor(self, columns: int, per_sample: int = 1) -> "F32":
        """Zeros for a batch: shape (capacity * per_sample, columns)."""
        return tensor(self.capacity * per_sample, columns)

    def like(self, x: "F32") -> "F32":
        """Zeros in the shape of x."""
        return tensor(*x.shape)

    def keep(self, x: "F32") -> None:
        """Say that x is read once more, so that what is recorded next may not overwrite it."""
        self._kept.add(x.ctypes.data)

    def over(self, x: "F32") -> "F32":
        """Return where an output or a gradient of the shape of x may go: x unless it is kept."""
        return self.like(x) if x.ctypes.data in self._kept else x

    def in_rows_of(self, columns: int, x: "F32") -> "F32":
        """Return the same samples in rows of so many numbers: x itself, or a copy recorded."""
        if x.shape[1] == columns:
            return x
        y = self.tensor(columns, x.size // (columns * self.capacity))
        self.reshape(x, y)
        return y

    def gradient(self, variable: "Variable") -> "F32 | None":
        """Memory for the gradient of a variable; None where none is wanted."""
        if not (variable.trainable and self.training):
            return None
        if variable not in self.gradients:
            if variable not in self.memory:
                shape = variable.storage.shape
                self.memory[variable] = vector(*shape) if len(shape) == 1 else tensor(*shape)
            self.gradients[variable] = self.memory[variable]
        return self.gradients[variable]

    @staticmethod
    def draw_of(seed: int) -> int:
        """Key of a layer with a seed of its own."""
        return seed % _OWN_SEEDS

    def next_draw(self) -> int:
        """Key of the next layer that draws random numbers and has no seed of its own."""
        self._draws += 1
        return _OWN_SEEDS + self._draws

    @property
    def draws(self) -> int:
        """How many layers have such a key."""
        return self._draws

    def skip_draws(self, count: int) -> None:
        """Go on as after so many layers of another program."""
        self._draws = count

    def made(self, layer: "Layer", y: "F32") -> "F32":
        """Hear of the output y of a layer, once it is recorded; return it."""
        del layer
        return y

    def receives(self, layer: "Layer", dy: "F32") -> None:
        """Hear of the gradient that a layer is about to record its backward with."""

    def leaves(self, layer: "Layer", dx: "F32 | None" = None) -> "F32 | None":
        """Hear of a layer that has recorded the gradients of its variables and dx; return dx."""
        del layer
        return dx

    def commit(self) -> None:
        """Record what comes last in a step."""
        for record in self.commits:
            record()
