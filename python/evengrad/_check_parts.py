"""What `check_gradients` can look at: things with inputs, outputs and gradients of their own."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _python, _random, _stack, _validation
from evengrad._arena import padding
from evengrad._program import Program, outputs_of

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad._stack import Part
    from evengrad.activations import Activation, Spec
    from evengrad.layers.base import Layer
    from evengrad.losses import Loss
    from evengrad.regularizers import Regularizer
    from evengrad.variable import Variable

Array = NDArray[Any]
F64 = NDArray[np.float64]
_SPARE = 2  # rows of NaN behind a batch, which nobody may read
_SEED = 1  # of dropout and noise


class MisfitError(Exception):
    """A gradient of another shape than what it belongs to: name, shapes, what may be the cause."""

    def __init__(self, name: str, expected: tuple[int, ...], got: object) -> None:
        self.name, self.expected, self.got = name, expected, got
        super().__init__(name)


class Subject:
    """A function of some arrays and its derivatives."""

    who: str
    arrays: dict[str, Array]  # where it is differentiated; moved in place
    compiled = False  # in float32
    positive = False  # whether sums of the outputs take positive factors
    tells_rows = True  # whether the outputs of a row depend on that row alone

    def outputs(self) -> F64:
        """Return the outputs for what the arrays hold."""
        raise NotImplementedError

    def gradients(self, dy: F64) -> dict[str, F64]:
        """Return the derivatives of sum dy outputs by each array, as the part computes them."""
        raise NotImplementedError

    def generators(self) -> list[np.random.Generator]:
        """Where random numbers may come from."""
        return [_random.generator()]


def _fitting(name: str, value: Any, shape: tuple[int, ...]) -> F64:
    if value is None:
        raise MisfitError(name, shape, None)
    array = _validation.as_array(name, "gradient", value)
    if array.shape != shape:
        raise MisfitError(name, shape, array.shape)
    return array.astype(np.float64)


def _locked(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


@contextlib.contextmanager
def in_float64(variables: Sequence[Variable], draw: Callable[[Variable], Array]) -> Iterator[None]:
    """Let variables hold other numbers, in float64, for a while."""
    before = [(v.storage, v.double) for v in variables]
    try:
        for v in variables:
            v.storage, v.double = draw(v), True
        yield
    finally:
        for v, (storage, double) in zip(variables, before, strict=True):
            v.storage, v.double = storage, double


@contextlib.contextmanager
def moved(variables: Sequence[Variable], draw: Callable[[Variable], Array]) -> Iterator[None]:
    """Let variables hold other numbers where they are."""
    before = [v.storage.copy() for v in variables]
    try:
        for v in variables:
            v.storage[...] = draw(v)
        yield
    finally:
        for v, storage in zip(variables, before, strict=True):
            v.storage[...] = storage


def _own_generators(layers: Sequence[object]) -> list[np.random.Generator]:
    found = [value for layer in layers for value in vars(layer).values()]
    return [value for value in found if isinstance(value, np.random.Generator)]


class LayerInPython(Subject):
    """`call` and `call_backward`, called with float64."""

    def __init__(self, layer: Layer, x: F64, *, training: bool) -> None:
        self.who, self.layer, self.x = str(layer), layer, x
        self.trained = layer.trainable_variables
        self.arrays = {"inputs": x} | {v.path: v.storage for v in self.trained}
        self.options = {"training": training} if _python.takes_training(layer) else {}

    def _call(self) -> F64:
        shape = self.layer.output_shape
        assert shape is not None
        made = self.layer.call(_locked(self.x), **self.options)
        returned = _python.returned(self.who, "call", made, (len(self.x), *shape))
        return returned.astype(np.float64)

    outputs = _call

    def gradients(self, dy: F64) -> dict[str, F64]:
        """Those that call_backward returns."""
        y = self._call()
        returned = self.layer.call_backward(_locked(self.x), _locked(y), _locked(dy))
        dx, given = _python.parts(self.layer, returned)
        found = {"inputs": _fitting("inputs", dx, self.x.shape)}
        for v in self.trained:
            gradient = _fitting(v.path, given.get(v), v.shape)
            found[v.path] = gradient.reshape(v.storage.shape)
        return found

    def generators(self) -> list[np.random.Generator]:
        """Those of the layer too."""
        return [*super().generators(), *_own_generators([self.layer])]


class Recorded(Subject):
    """Layers that record kernel calls, run in memory as in training."""

    compiled = True

    def __init__(self, part: Part, layers: Sequence[Layer], x: F64, *, training: bool) -> None:
        self.who = str(part) if layers and part is layers[0] else f"Sequential {part.name!r}"
        self.layers, self.rows = layers, len(x)
        self.x = x.astype(np.float32)
        capacity = len(x) + _SPARE
        self.program = Program(capacity, training=training, differentiable=True)
        self._source = self._batch(self.x.shape)
        self._y = _stack.forward(self.program, layers, self._source)
        self._dy = self.program.like(self._y)
        self._back = self.program.begin_part()
        self._dx = _stack.backward(self.program, layers, self._dy, need_dx=True)
        variables = self.program.gradients
        self.arrays = {"inputs": self.x} | {v.path: v.storage for v in variables}
        shape = layers[-1].output_shape if layers else x.shape[1:]
        assert shape is not None
        self._shape = len(x), *shape

    def _batch(self, shape: tuple[int, ...]) -> Array:
        return self.program.tensor(shape[-1], math.prod(shape[1:-1]))

    def _forward(self) -> Array:
        self._source[...] = np.nan
        padding(self._source)[...] = 0.0
        self._source[: self.x.size // self._source.shape[1]] = self.x.reshape(
            -1, self._source.shape[1]
        )
        self.program.run(self.rows, seed=_SEED)
        return self._y[: math.prod(self._shape) // self._y.shape[1]]

    def outputs(self) -> F64:
        """Those of the last layer."""
        return self._forward().astype(np.float64).reshape(self._shape)

    def gradients(self, dy: F64) -> dict[str, F64]:
        """Those that the layers leave in their memory, whose padding must be 0."""
        rows = len(self._forward())
        self._dy[...] = np.nan
        self._dy[:rows] = dy.reshape(rows, -1)
        self.program.run(self.rows, seed=_SEED, part=self._back)
        dx = self._dx[: self.x.size // self._dx.shape[1]]
        found = {"inputs": dx} | {v.path: g for v, g in self.program.gradients.items()}
        for name, gradient in found.items():
            if padding(gradient).any():
                raise AssertionError(f"{self.who}: the padding of the gradient of {name} is not 0")
        shapes = {name: array.shape for name, array in self.arrays.items()}
        return {n: g.astype(np.float64).reshape(shapes[n]) for n, g in found.items()}

    def generators(self) -> list[np.random.Generator]:
        """Those of the layers too."""
        return [*super().generators(), *_own_generators(self.layers)]


class ActivationInPython(Subject):
    """`call` and `slope`, called with float64."""

    def __init__(self, activation: Activation, x: F64) -> None:
        self.who, self.activation, self.x = repr(activation), activation, x
        self.arrays = {"inputs": x}

    def outputs(self) -> F64:
        """f(x)."""
        made = self.activation.call(_locked(self.x))
        return _python.returned(self.who, "call", made, self.x.shape).astype(np.float64)

    def gradients(self, dy: F64) -> dict[str, F64]:
        """Dy f'(x)."""
        slope = self.activation.slope(_locked(self.x), _locked(self.outputs()))
        return {"inputs": dy * _fitting("inputs", slope, self.x.shape)}


class CompiledActivation(Subject):
    """A kernel of the family."""

    compiled = True

    def __init__(self, spec: Spec, x: F64) -> None:
        self.who, self.spec, self.x = f"activation {spec.name!r}", spec, x.astype(np.float32)
        self.arrays = {"inputs": self.x}

    def _run(self, dy: F64 | None) -> F64:
        rows = self.x.reshape(-1, self.x.shape[-1])
        program = Program(len(rows), training=True)
        source = program.tensor(rows.shape[1])
        source[...] = rows
        made = self.spec.record(program, source, self)
        if dy is not None:
            batch = program.like(source)
            batch[...] = dy.reshape(rows.shape)
            made = self.spec.record_backward(program, batch, self)
        program.run(len(rows))
        return made.astype(np.float64).reshape(self.x.shape)

    def outputs(self) -> F64:
        """f(x)."""
        return self._run(None)

    def gradients(self, dy: F64) -> dict[str, F64]:
        """Dy f'(x), or what the rows make of it."""
        return {"inputs": self._run(dy)}


class LossInPython(Subject):
    """`call` and `gradient`, called with float64."""

    def __init__(self, loss: Loss, y_true: Array, y_pred: F64) -> None:
        self.who = f"{type(loss).__name__} {loss.name!r}"
        self.loss, self.y_true, self.y_pred = loss, y_true, y_pred
        self.arrays = {"y_pred": y_pred}

    def outputs(self) -> F64:
        """One loss a row."""
        made = self.loss.call(_locked(self.y_true), _locked(self.y_pred))
        shape = self.y_pred.shape[:-1]
        return _python.returned(self.who, "call", made, shape).astype(np.float64)

    def gradients(self, dy: F64) -> dict[str, F64]:
        """Each loss by its own row."""
        made = self.loss.gradient(_locked(self.y_true), _locked(self.y_pred))
        return {"y_pred": dy[..., None] * _fitting("y_pred", made, self.y_pred.shape)}


class CompiledLoss(Subject):
    """A loss with a kernel; factors of rows are weights of samples."""

    compiled = positive = True

    def __init__(self, loss: Loss, y_true: Array, y_pred: F64) -> None:
        self.who = f"{type(loss).__name__} {loss.name!r}"
        self.loss, self.y_pred = loss, y_pred.astype(np.float32)
        shape = y_pred.shape[1:]
        self.y_true = loss.convert(self.who, y_true, len(y_pred), shape)
        self.arrays = {"y_pred": self.y_pred}

    def _run(self, reduction: str, weight: F32 | None, dy: bool) -> tuple[Array, Array]:
        """Loss of each row, where it is not reduced, and the gradient, where it is wanted."""
        loss, y = self.loss, self.y_pred
        program, outputs = outputs_of(y, self.y_true, sparse=loss.sparse, weight=weight)
        each, slope = np.zeros(len(outputs.y), np.float32), program.like(outputs.y)
        program.loss(
            loss.kernel("")[0], outputs.y, outputs.labels, outputs.target, weight,
            slope if dy else None, np.zeros(2), loss.parameters, reduction, None if dy else each,
        )  # fmt: skip
        program.run(len(y))
        return each, slope

    def outputs(self) -> F64:
        """One loss a row."""
        each, _ = self._run("none", None, False)
        return each.astype(np.float64).reshape(self.y_pred.shape[:-1])

    def gradients(self, dy: F64) -> dict[str, F64]:
        """Those of the weighted sum."""
        _, slope = self._run("sum", dy.astype(np.float32), True)
        return {"y_pred": slope.astype(np.float64).reshape(self.y_pred.shape)}


class Penalty(Subject):
    """A regularizer, called with float64."""

    tells_rows = False

    def __init__(self, regularizer: Regularizer, w: F64) -> None:
        self.who, self.regularizer, self.w = repr(regularizer), regularizer, w
        self.arrays = {"weights": w}

    def outputs(self) -> F64:
        """The penalty."""
        return np.array([self.regularizer(_locked(self.w))], np.float64)

    def gradients(self, dy: F64) -> dict[str, F64]:
        """What `gradient` returns."""
        made = self.regularizer.gradient(_locked(self.w))
        return {"weights": dy[0] * _fitting("weights", made, self.w.shape)}
