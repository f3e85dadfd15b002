"""Layers in a row: what models and the layers that contain others have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad.layers.base import Layer, Shape

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from evengrad._core import F32
    from evengrad._program import Program
    from evengrad.models import Sequential
    from evengrad.variable import Variable

    Part: TypeAlias = Layer | Sequential


class Stack:
    """Something made of layers and models: its variables are theirs."""

    version: int = 0  # of its own attributes, where a recording depends on any

    if TYPE_CHECKING:
        name: str

    @property
    def parts(self) -> list[Part]:
        """What it is made of, in the order of its variables."""
        raise NotImplementedError(f"{type(self).__name__}.parts")

    @property
    def variables(self) -> list[Variable]:
        """All variables, layer by layer."""
        return [v for part in self.parts for v in part.variables]

    weights = variables

    @property
    def trainable_variables(self) -> list[Variable]:
        """Those that the optimizer updates."""
        return [v for part in self.parts for v in part.trainable_variables]

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The others."""
        return [v for part in self.parts for v in part.non_trainable_variables]

    non_trainable_weights = non_trainable_variables

    @property
    def losses(self) -> list[float]:
        """Penalties of regularizers on the variables as they are now, layer by layer."""
        return [penalty for part in self.parts for penalty in part.losses]

    @property
    def trainable(self) -> bool:
        """Whether any layer is; setting it sets all layers."""
        return any(part.trainable for part in self.parts)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for part in self.parts:
            part.trainable = value

    @property
    def live_arrays(self) -> list[NDArray[Any]]:
        """The live arrays of all that training changes."""
        return [array for part in self.parts for array in part.live_arrays]

    def count_params(self) -> int:
        """Number of elements of all variables."""
        return sum(part.count_params() for part in self.parts)

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Return a copy of each variable, in order."""
        return [v.numpy() for v in self.variables]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Overwrite all variables; checked before the first is touched."""
        _validation.check_weights(self.name, weights, self.variables)
        rest = list(weights)
        for part in self.parts:
            count = len(part.variables)
            part.set_weights(rest[:count])
            del rest[:count]


def is_part(thing: object) -> TypeIs[Part]:
    """Whether it is a layer or a model."""
    return isinstance(thing, Layer | Stack)


def every(parts: Sequence[Part]) -> Iterator[Part]:
    """All parts, each before those inside it."""
    for part in parts:
        yield part
        if isinstance(part, Stack):
            yield from every(part.parts)


def structure(parts: Sequence[Part]) -> list[object]:
    """What a recording depends on: the parts, their versions, and which is inside which."""
    found: list[object] = []
    for part in parts:
        found += (part, part.version)
        if isinstance(part, Stack):
            found += (len(part.parts), *structure(part.parts))
    return found


def flat(parts: Sequence[Part]) -> list[Layer]:
    """The layers in the order they are called; those of a model in its place."""
    found: list[Layer] = []
    for part in parts:
        found += [part] if isinstance(part, Layer) else flat(part.layers)
    return found


def check(who: str, owner: object, present: Sequence[Part], new: object) -> None:
    """Refuse what is no layer, not yet a whole one, or in the stack already."""
    if not is_part(new):
        raise TypeError(f"{who}: expected a Layer or a Sequential, got {new!r}")
    if not hasattr(new, "name"):
        kind = type(new).__name__
        raise TypeError(f"{kind}: call super().__init__(**kwargs) first in {kind}.__init__")
    if any(new.name == other.name for other in present):
        text = f'{type(new).__name__} "{new.name}"'
        raise ValueError(f"{who}: expected layers of different names, got two {text}")
    inside = list(every([new]))
    known = {id(part) for part in every(present)}
    for part in inside:
        if part is owner:
            raise ValueError(f"{who}: it cannot be a part of itself")
        if id(part) in known:
            raise ValueError(f"{who}: expected each layer once, got {part.name!r} again")


def output_shape(parts: Sequence[Part], shape: Shape) -> Shape:
    """Shape of one sample of the output for one of the input."""
    for part in parts:
        shape = part.checked_output_shape(shape)
    return shape


def build(parts: Sequence[Part], shape: Shape) -> None:
    """Make the variables of all parts for samples of this shape."""
    for part in parts:
        part.build_once(shape)
        shape = part.checked_output_shape(shape)


def forward(program: Program, layers: Sequence[Layer], x: F32) -> F32:
    """Record the output for a batch x."""
    for layer in layers:
        x = program.outputs[layer] = layer.record(program, x)
    return x


def lowest(layers: Sequence[Layer]) -> int:
    """Index of the first layer with something to train; below it no gradient is needed."""
    trainable = [bool(layer.trainable_variables) for layer in layers]
    return trainable.index(True) if any(trainable) else len(layers)


def backward(program: Program, layers: Sequence[Layer], dy: F32, *, need_dx: bool) -> F32:
    """Record the gradients of all variables; return that of the input, if it is needed."""
    last = 0 if need_dx else lowest(layers)
    for i in reversed(range(last, len(layers))):
        dx = layers[i].record_backward(program, dy, need_dx=need_dx or i > last)
        if need_dx or i > last:
            assert dx is not None
            dy = dx
    return dy
