"""From a model to the programs that train, evaluate and predict with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from evengrad import _python_functions, _stack
from evengrad._names import Changes
from evengrad._program import Outputs, Program
from evengrad.activations import Spec
from evengrad.layers.base import Layer, Shape
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dense import Dense
from evengrad.layers.flatten import Flatten
from evengrad.losses import Loss
from evengrad.metrics import Metric
from evengrad.optimizers.base import Optimizer
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad._stack import Part
    from evengrad._watch import Watch


class Recording(NamedTuple):
    """A program and where it leaves its results.

    `totals` are sums since they were last reset: of the loss, reduced and times rows, and of rows,
    then those of each metric, as `places` says; `before` is what they were before the last step.
    `norms` are the sums of squares of the gradients of `variables` in the last step.
    `health`: see `Clipping.record`; reset as `totals`. `watch` sees each step, where one is wanted.
    """

    program: Program
    totals: NDArray[np.float64]
    before: NDArray[np.float64]
    places: list[slice]
    variables: list[Variable]
    norms: NDArray[np.float64]
    health: NDArray[np.float64]
    watch: Watch | None = None


class Prediction(NamedTuple):
    """A program that gathers and scatters, and the shape of what it makes of a sample."""

    program: Program
    shape: Shape


_T = TypeVar("_T")


class Programs:
    """The last few recordings of a model, each good until something that it looked at changes."""

    most = 8

    def __init__(self) -> None:
        self.clear()

    def room(self, use: str, rows: int) -> int:
        """Return how many rows a program for batches of all sizes needs, with these."""
        before = self._rooms.get(use, 0)
        if rows > before:
            self._rooms[use] = max(rows, before * 3 // 2)
        return self._rooms[use]

    def get(
        self,
        key: tuple[Any, ...],
        layers: Sequence[Part],
        record: Callable[[], _T],
        more: Callable[[], Sequence[object]] = tuple,
    ) -> _T:
        """Return the recording for a key, the layers as they are now, and `more` to look at."""
        now, key = Changes.latest, (*key, len(layers))
        known = self._unchanged.get(key)
        if known is None or known[0] != now:
            known = self._unchanged[key] = now, self._search((*key, *more()), layers, record)
        found: _T = known[1]
        return found

    def _search(self, key: tuple[Any, ...], layers: Sequence[Part], record: Callable[[], _T]) -> _T:
        flags = [v.trainable for layer in layers for v in layer.variables]
        full = (key, *_stack.structure(layers), *flags)
        if full in self._recorded:
            found: _T = self._recorded[full]
            return found
        while len(self._recorded) >= self.most:
            del self._recorded[next(iter(self._recorded))]
            self._unchanged.clear()
        recorded = self._recorded[full] = record()
        return recorded

    def clear(self) -> None:
        """Forget all."""
        self._recorded: dict[tuple[Any, ...], Any] = {}
        self._unchanged: dict[tuple[Any, ...], tuple[int, Any]] = {}  # and when they were that
        self._rooms: dict[str, int] = {}


def batch_input(program: Program, shape: tuple[int, ...], layers: Sequence[Layer]) -> F32:
    """Batch buffer; samples as one long row where that is what the first layer makes of them."""
    if layers and isinstance(layers[0], Flatten):
        return program.tensor(math.prod(shape))
    return program.tensor(shape[-1], math.prod(shape[:-1]))


def _keeps_kernels(layer: Layer, of: type[Layer]) -> bool:
    """Whether a layer, of a class derived from `of` perhaps, does what that class does."""
    own = type(layer)
    same = own.forward is of.forward and own.backward is of.backward
    return same and not layer.in_python


def foldable(layers: Sequence[Layer]) -> BatchNormalization | None:
    """Return a first normalization whose only consumer is a Dense, both trained."""
    lowest = _stack.lowest(layers)
    if lowest + 1 >= len(layers):
        return None
    first, second = layers[lowest : lowest + 2]
    if not (isinstance(first, BatchNormalization) and isinstance(second, Dense)):
        return None
    if not (_keeps_kernels(first, BatchNormalization) and _keeps_kernels(second, Dense)):
        return None
    kernel = second.kernel
    return first if second.trainable and kernel is not None and kernel.trainable else None


def backward(program: Program, layers: Sequence[Layer], dy: F32) -> None:
    """Record the gradients of all variables, those of a folded normalization with its Dense."""
    folded = program.folded
    if not isinstance(folded, BatchNormalization):
        _stack.backward(program, layers, dy, need_dx=False)
        return
    above = list(layers).index(folded) + 1
    dy = _stack.backward(program, layers[above + 1 :], dy, need_dx=True)
    dense = cast("Dense", layers[above])
    program.receives(dense, dy)
    dense.backward_folded(program, dy, folded)
    program.leaves(dense)
    program.leaves(folded)


def regularize(
    program: Program, layers: Sequence[Layer], per_sample: int, result: NDArray[np.float64]
) -> None:
    """Add penalties to the loss and, where there are any, their slopes to the gradients."""
    trained = [v for layer in layers for v in layer.trainable_variables]
    found = [(v, v.regularizer) for v in trained if v.regularizer is not None]
    for variable, own in found:
        if own.in_python:
            gradient = program.gradients[variable] if program.training else None
            _python_functions.record_penalty(own, variable, gradient, program, per_sample, result)
    chosen = [(v, known) for v, known in found if not known.in_python]
    if not chosen:
        return
    gradients = [program.gradients[v] for v, _ in chosen] if program.training else None
    l1, l2 = (np.array([getattr(r, n) for _, r in chosen], np.float64) for n in ("l1", "l2"))
    program.regularize([v.storage for v, _ in chosen], gradients, l1, l2, per_sample, result)


def record_prediction(
    parts: Sequence[Part], shape: Shape, capacity: int, linear: Layer | None = None
) -> Prediction:
    """Gather, forward, scatter; of the layer `linear` without its activation."""
    layers = _stack.flat(parts)
    program = Program(capacity, training=False)
    program.fused = linear
    x = batch_input(program, shape, layers)
    program.gather(x, None, None, None)
    program.scatter(_stack.forward(program, layers, x))
    return Prediction(program, _stack.output_shape(layers, shape))


def _places(sizes: Sequence[int]) -> list[slice]:
    """Parts of one array, one after the other."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def record_step(
    parts: Sequence[Part],
    shape: tuple[int, ...],
    capacity: int,
    loss: Loss,
    metrics: Sequence[Metric],
    weighted: Sequence[Metric],
    optimizer: Optimizer | None,
    program: Program | None = None,
) -> Recording:
    """Gather, forward, loss and metrics; with an optimizer also backward and update.

    The metrics are those without weights, then the weighted ones. It goes into `program`, if any.
    """
    layers = _stack.flat(parts)
    program = Program(capacity, training=optimizer is not None) if program is None else program
    x = batch_input(program, shape, layers)
    last = layers[-1] if layers else None
    activation = None if last is None or last.in_python else getattr(last, "activation", None)
    kernel, fused = "", False
    if not loss.in_python:
        kernel, fused = loss.kernel(activation.name if isinstance(activation, Spec) else "")
    program.fused = last if fused else None
    program.folded = foldable(layers) if program.training else None

    labels = np.zeros(capacity, np.int32) if loss.sparse else None
    output_shape = shape if last is None else last.output_shape
    assert output_shape is not None
    per_sample = math.prod(output_shape[:-1])
    target = None if loss.sparse else program.tensor(output_shape[-1], per_sample)
    weight = np.zeros(capacity, np.float32)
    places = _places([2, *(metric.size(output_shape[-1]) for metric in (*metrics, *weighted))])
    totals, before = np.zeros(places[-1].stop), np.zeros(places[-1].stop)
    program.copy(totals, before)
    program.gather(x, labels, target, weight)
    y = _stack.forward(program, layers, x)

    def record_metrics() -> None:
        unweighted = outputs._replace(weight=None)
        for i, metric in enumerate((*metrics, *weighted), 1):
            compared = unweighted if i <= len(metrics) else outputs
            metric.record(program, compared, totals[places[i]])

    outputs = Outputs(y, output_shape, labels, target, weight)
    if not fused:  # the loss turns logits into probabilities where they lie
        record_metrics()
    if program.training and (copy := program.over(y)) is not y:
        outputs = outputs._replace(y=copy)
        program.activation_forward("linear", y, copy)
    dy = program.like(y) if program.training else None
    loss.record(program, kernel, outputs, dy, totals[places[0]])
    if fused:
        record_metrics()

    norms, health = np.zeros(0), np.zeros(3)
    if optimizer is not None and dy is not None:
        backward(program, layers, dy)
        regularize(program, layers, per_sample, totals[:1])
        if program.gradients:
            optimizer.build([v for layer in layers for v in layer.trainable_variables])
            norms = optimizer.record(program, health)
        program.commit()
    else:
        regularize(program, layers, per_sample, totals[:1])
    return Recording(program, totals, before, places, list(program.gradients), norms, health)
