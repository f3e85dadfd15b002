"""What a NonFiniteError says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evengrad import _stack
from evengrad._nonfinite.case import Case
from evengrad._nonfinite.causes import likely
from evengrad._nonfinite.trace import NONE, Rows
from evengrad.errors import NonFiniteError, rows_text

if TYPE_CHECKING:
    from evengrad._stack import Part
    from evengrad.layers.base import Layer


class Where(NamedTuple):
    """What a message begins and ends with, and the attributes of the place."""

    head: str
    tail: str
    epoch: int
    step: int
    rows: Rows = NONE  # of the data, by sample of the batch
    of_batch: str = ""


def error_of(
    parts: Sequence[Part], case: Case, where: Where, *, of_loss: bool = False
) -> NonFiniteError:
    found = case.finding
    rows = np.sort(where.rows[found.samples]) if found.samples.size else NONE
    at = f" in row {rows_text(rows)}{where.of_batch}" if rows.size else ""
    text = _text(parts, case, at, of_loss=of_loss)
    units = f" Units: {rows_text(np.array(found.units))}." if found.units else ""
    cause, cure = likely(case)
    tensor = found.variable.path if found.variable and found.kind != "penalty" else found.kind
    return NonFiniteError(
        f"{where.head}{text}{units} {where.tail} Likely cause: {cause}. {cure}",
        epoch=where.epoch,
        step=where.step,
        tensor="loss" if tensor == "penalty" else tensor,
        layer=None if found.layer is None else found.layer.name,
        rows=tuple(rows.tolist()),
        units=found.units,
        cause=cause,
    )


def _text(parts: Sequence[Part], case: Case, at: str, *, of_loss: bool) -> str:
    found = case.finding
    path = found.variable.path if found.variable else ""
    label, template = _label(parts, found.layer), _TEXTS[found.kind]
    if of_loss and (found.kind == "output" or case.given == "checked"):
        template = _BESIDE_LOSS[found.kind]
    if found.kind == "dy" and found.maker is None and case.loss is None:
        template = "what backward was given, dy, is not finite{at}."
    once_more = "" if case.repeated else " Run once more, the step gives finite numbers."
    return template.format(path=path, at=at, label=label) + once_more


_TEXTS = {
    "inputs": "the inputs{at} are not finite, as float32.",
    "targets": "the targets{at} are not finite, as float32.",
    "weights": "the weights{at} are not finite, as float32.",
    "output": "the output of {label} is not finite{at}.",
    "penalty": "the loss is not finite, nor is the penalty on {path}.",
    "dy": "the gradient of the output of {label}, dy, is not finite{at}.",
    "loss": "the loss is not finite{at}.",
    "variable": "{path} was not finite before the step.",
    "gradient": "the gradient of {path} is not finite.",
    "slope": "the gradient of the penalty on {path} is not finite.",
    "accumulated": "the accumulated gradient of {path} is not finite.",
    "move": "the learning rate times the gradient of {path} is not finite.",
}
_BESIDE_LOSS = {
    "inputs": "the loss is not finite, nor are the inputs{at}.",
    "targets": "the loss is not finite, nor are the targets{at}.",
    "weights": "the loss is not finite, nor are the weights{at}.",
    "output": "the loss is not finite, nor is the output of {label}{at}.",
}


def _label(parts: Sequence[Part], layer: Layer | None) -> str:
    """The name of a layer, behind those of what it is in where others have the same."""
    if layer is None:
        return "the model"
    names = [part.name for part in _stack.every(parts)]
    return layer.name if names.count(layer.name) == 1 else "/".join(_way_to(parts, layer))


def _way_to(parts: Sequence[Part], layer: Layer) -> list[str]:
    for part in parts:
        if part is layer:
            return [part.name]
        inner = _way_to(part.parts, layer) if isinstance(part, _stack.Stack) else []
        if inner:
            return [part.name, *inner]
    return []
