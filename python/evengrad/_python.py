"""Layers, losses and metrics written in Python: their calls between the kernels of a program.

What their methods get are read-only views of the batch, without padding; what they return is
checked and copied. An exception ends the step before anything is updated.
"""

from __future__ import annotations

import functools
import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation
from evengrad._program import Outputs, Program

if TYPE_CHECKING:
    from evengrad._core import F32, F64
    from evengrad.layers.base import Layer, Shape
    from evengrad.losses import Loss
    from evengrad.metrics import Metric
    from evengrad.variable import Variable


def _samples(batch: F32, rows: int, shape: Shape) -> F32:
    """View of the first rows of a batch, (rows, *shape)."""
    per_sample = math.prod(shape) // batch.shape[1]
    return batch[: rows * per_sample].reshape(rows, *shape)


def shown(batch: NDArray[Any], rows: int, shape: Shape) -> NDArray[Any]:
    """The same, for reading only."""
    view = _samples(batch, rows, shape)
    view.flags.writeable = False
    return view


def returned(
    who: str, method: str, value: Any, shape: tuple[int, ...], cure: str = ""
) -> NDArray[Any]:
    """Return what a method of the user's returned, or say what is wrong with it."""
    what = f"what {method} returns"
    if value is None:
        raise TypeError(f"{who}: expected {what} to be an array of shape {shape}, got None")
    array = _validation.as_array(who, what, value)
    if array.shape != shape:
        raise ValueError(f"{who}: expected {what} to have shape {shape}, got {array.shape}{cure}")
    return array


def store(to: F32, value: NDArray[Any]) -> None:
    """Copy what was returned, to where kernels read it."""
    with np.errstate(over="ignore"):  # infinity is what the checks of the step look for
        to[...] = value


def _who(thing: Loss | Metric) -> str:
    return f'{type(thing).__name__} "{thing.name}"'


# -- layers


def record_call(layer: Layer, program: Program, x: F32) -> F32:
    """Record y = layer.call(x)."""
    before, after = layer.input_shape, layer.output_shape
    assert before is not None
    assert after is not None
    y = program.tensor(after[-1], math.prod(after[:-1]))
    options = {"training": program.training} if takes_training(layer) else {}

    def call(rows: int) -> None:
        made = layer.call(shown(x, rows, before), **options)
        store(_samples(y, rows, after), returned(str(layer), "call", made, (rows, *after)))

    program.python(call)
    if program.differentiable:
        program.keep(x)
        program.keep(y)
        program.saved[layer] = x, y
    return y


def takes_training(layer: Layer) -> bool:
    """Whether its call has an argument of this name."""
    parameters = inspect.signature(layer.call).parameters.values()
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)


def record_call_backward(layer: Layer, program: Program, dy: F32, *, need_dx: bool) -> F32 | None:
    """Record dx and the gradients of the variables, as layer.call_backward returns them."""
    before, after = layer.input_shape, layer.output_shape
    assert before is not None
    assert after is not None
    x, y = program.saved[layer]
    dx = program.like(x) if need_dx else None
    wanted = {v: program.gradient(v) for v in layer.trainable_variables}
    gradients = {v: gradient for v, gradient in wanted.items() if gradient is not None}
    who = str(layer)

    def call(rows: int) -> None:
        arrays = shown(x, rows, before), shown(y, rows, after), shown(dy, rows, after)
        input_gradient, given = parts(layer, layer.call_backward(*arrays))
        if dx is not None:
            value = returned(who, "call_backward", input_gradient, (rows, *before))
            store(_samples(dx, rows, before), value)
        for variable, gradient in gradients.items():
            what = f"call_backward for {variable.path}"
            value = returned(who, what, given.get(variable), variable.shape)
            store(gradient, value.reshape(gradient.shape))

    program.python(call)
    return dx


def parts(layer: Layer, answer: Any) -> tuple[Any, dict[Variable, Any]]:
    """Gradient of the inputs, and those of the variables, of what call_backward returned."""
    if not isinstance(answer, tuple):
        answer = answer, {}
    if len(answer) != 2 or not isinstance(answer[1], dict):
        raise TypeError(
            f"{layer}: expected call_backward to return dx, or (dx, {{variable: gradient, ...}}), "
            f"got a tuple of {', '.join(type(part).__name__ for part in answer)}"
        )
    dx, gradients = answer
    for key in gradients:
        if key not in layer.variables:
            raise ValueError(
                f"{layer}: expected call_backward to give gradients of variables of this layer, "
                f"got one of {key!r}"
            )
    return dx, gradients


# -- losses and metrics


def _shown_outputs(outputs: Outputs, rows: int) -> tuple[NDArray[Any], F32]:
    """Truth and prediction."""
    truth = outputs.target
    if truth is not None:
        return shown(truth, rows, outputs.shape), shown(outputs.y, rows, outputs.shape)
    assert outputs.labels is not None
    labels = outputs.labels[:rows]
    labels.flags.writeable = False
    return labels, shown(outputs.y, rows, outputs.shape)


def _weights(weight: F32 | None, rows: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Weights of samples for values of that shape, to be broadcast."""
    given = np.ones(rows) if weight is None else weight[:rows].astype(np.float64)
    return given.reshape(rows, *[1] * (len(shape) - 1))


def _divisor(reduction: str | None, weight: NDArray[np.float64], values: NDArray[Any]) -> float:
    """What the sum of weight * loss is divided by."""
    if reduction == "mean_with_sample_weight":
        return float(weight.sum()) * values.size / weight.size
    return 1.0 if reduction == "sum" else float(values.size)


def record_loss(
    loss: Loss,
    program: Program,
    outputs: Outputs,
    dy: F32 | None,
    result: F64,
    each: F32 | None = None,
) -> None:
    """Record what Loss.record promises."""
    who = _who(loss)

    def call(rows: int) -> bool:
        y_true, y_pred = _shown_outputs(outputs, rows)
        shape = y_pred.shape[:-1]
        values = returned(who, "call", loss.call(y_true, y_pred), shape).astype(np.float64)
        weight = _weights(outputs.weight, rows, shape)
        with np.errstate(invalid="ignore"):
            products = weight * values
            total = float(products.sum())
        if each is not None:
            each[: values.size] = products.ravel()
        divisor = _divisor(loss.reduction, weight, values)
        factor = 1.0 / divisor if divisor else 0.0
        if dy is not None:
            if not math.isfinite(total):
                return False
            slope = returned(who, "gradient", loss.gradient(y_true, y_pred), y_pred.shape)
            with np.errstate(over="ignore", invalid="ignore"):
                weighted = slope * (weight * factor)[..., None]
            store(_samples(dy, rows, outputs.shape), weighted)
        result[0] += total * factor * values.size
        result[1] += values.size
        return True

    program.python(call)


def record_metric(metric: Metric, program: Program, outputs: Outputs, sums: F64) -> None:
    """Record sums += (sum of weight * value, sum of weight)."""
    if metric.stateful:
        record_stateful(metric, program, outputs)
        return

    def call(rows: int) -> None:
        weight = None if outputs.weight is None else outputs.weight[:rows]
        sums[...] += sums_of(metric, *_shown_outputs(outputs, rows), weight)

    program.python(call)


def record_stateful(metric: Metric, program: Program, outputs: Outputs) -> None:
    """Record update_state, which gets copies; should the step fail, it is taken back."""

    def call(rows: int) -> None:
        y_true, y_pred = _shown_outputs(outputs, rows)
        metric.keep_state()
        if outputs.weight is None:
            metric.update_state(y_true.copy(), y_pred.copy())
        else:
            weight = outputs.weight[:rows].copy()
            metric.update_state(y_true.copy(), y_pred.copy(), sample_weight=weight)

    program.python(call)
    if program.training:
        done = functools.partial(metric.take_back, keep=True)
        program.commits.append(lambda: program.python(lambda rows: done()))


def sums_of(
    metric: Metric, y_true: NDArray[Any], y_pred: NDArray[Any], weight: F32 | None
) -> NDArray[np.float64]:
    """Sums of weight times a metric's values, one for each row of outputs, and of weights."""
    cure = "; return one number a sample: mean(axis=-1), not mean()"
    values = returned(_who(metric), "call", metric.call(y_true, y_pred), y_pred.shape[:-1], cure)
    weights = np.broadcast_to(_weights(weight, len(values), values.shape), values.shape)
    return np.array([(weights * values.astype(np.float64)).sum(), weights.sum()])
