"""One file with all that a run needs to go on: model, optimizer, draws, position, callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evengrad import _position
from evengrad._position import Position

if TYPE_CHECKING:
    from evengrad._random import Draws
    from evengrad.models import Sequential
    from evengrad.saving._archive import Reader, Writer

# What reads and writes zip archives is imported where it is used: importing evengrad is to be fast.

_FORMAT, _VERSION = "evengrad backup", 1
_MEMBER = "array in this file"


class Backup(NamedTuple):
    """What is in a file besides the model."""

    position: Position
    draws: Draws | None  # as the epoch began, where it is in its middle
    callbacks: dict[str, dict[str, Any]]


def write(path: Path, model: Sequential, backup: Backup) -> None:
    """Write a backup in the place of the one before, whole or not at all."""
    from evengrad import _stack
    from evengrad.saving import _files, _state
    from evengrad.saving._archive import Writer
    from evengrad.saving._model_file import _variable

    optimizer, variables = model.optimizer, model.variables
    with _files.replacing(path) as file, Writer(file) as writer:
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "position": _packed(backup.position._asdict(), writer),
            "random": _state.describe_draws(backup.draws),
            "callbacks": _packed(backup.callbacks, writer),
            "layers": [_state.describe_part(part) for part in _stack.every(model.parts)],
            "variables": [_variable(v, writer) for v in variables],
            "optimizer": _state.describe_optimizer(optimizer, variables, writer),
            "learning_rate": optimizer.learning_rate if optimizer.rate_is_set else None,
            "skipped": [model.skipped_steps, model.skipped_in_a_row],
        }
        writer.add_description(content)


def _packed(value: Any, writer: Writer) -> Any:
    """Return it as JSON can hold it, arrays as members of the file."""
    from evengrad.saving._encoding import encode

    if isinstance(value, np.ndarray) and value.ndim:
        return {_MEMBER: writer.add("callbacks/array", value)}
    if isinstance(value, dict):
        return {name: _packed(item, writer) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(item, writer) for item in value]
    return encode(value)


def _unpacked(value: Any, reader: Reader) -> Any:
    from evengrad.saving._encoding import decode

    if isinstance(value, list):
        return [_unpacked(item, reader) for item in value]
    if not isinstance(value, dict) or "class_name" in value:
        return decode(value)
    if _MEMBER in value:
        return reader.read(value[_MEMBER], "a callback")
    return {name: _unpacked(item, reader) for name, item in value.items()}


def _members(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _members(item)
    elif isinstance(value, dict):
        if _MEMBER in value:
            yield value[_MEMBER]
        else:
            yield from _members(list(value.values()))


def restore(path: Path, model: Sequential) -> Backup:
    """Give a model what a file holds; nothing is changed where that is not whole.

    Raises
    ------
    ModelFileError
        If it is damaged, or of another model.
    """
    from evengrad.saving._archive import Reader
    from evengrad.saving._model_file import failures

    with open(path, "rb") as file, failures(str(path)):
        reader = Reader(file, str(path))
        content = _checked(reader, model)
        callbacks = _unpacked(content["callbacks"], reader)
        position = _position.from_json(_unpacked(content["position"], reader))
        _take(model, content, reader)
    return Backup(position, model.draws, callbacks)


def _checked(reader: Reader, model: Sequential) -> dict[str, Any]:
    """Return the description, once all arrays are seen to be whole and to fit the model."""
    from evengrad.saving import _state
    from evengrad.saving._encoding import from_text

    content = from_text(reader.description())
    nothing = type(None)
    _state.checked(content, "a backup", {
        "format": str, "version": int, "position": dict, "random": (dict, nothing),
        "callbacks": dict, "layers": list, "variables": list, "optimizer": dict,
        "learning_rate": (float, int, nothing), "skipped": list,
    })  # fmt: skip
    if (content["format"], content["version"]) != (_FORMAT, _VERSION):
        raise reader.bad(f"expected {_FORMAT} {_VERSION}, got {content['format']!r:.80}")
    entries = [(entry["array"], entry["path"]) for entry in content["variables"]]
    shapes = [tuple(entry["shape"]) for entry, _ in entries]
    if shapes != [v.shape for v in model.variables]:
        raise reader.bad(
            f"it is of another model than {model.name}, whose variables have other shapes; remove "
            "the backup to begin again"
        )
    _check_states(reader, model, content)
    entries += _state.arrays_of(content["optimizer"])
    entries += [(entry, "a callback") for entry in _members(content["callbacks"])]
    for entry, what in entries:
        reader.check(entry, what)
        reader.read(entry, what)  # whatever is wrong with it is seen before the first is taken
    return dict(content)


def _check_states(reader: Reader, model: Sequential, content: dict[str, Any]) -> None:
    """Refuse other kinds of layers and optimizers, whose variables may look the same."""
    from evengrad import _stack

    variables, optimizer = model.variables, model.optimizer
    layers = [set(part["state"]) for part in content["layers"]]
    states = [
        set() if isinstance(part, _stack.Stack) else set(part.get_extra_state())
        for part in _stack.every(model.parts)
    ]
    if layers != states:
        raise reader.bad(f"it is of another model than {model.name}, with other layers")
    for kept in content["optimizer"]["slots"]:
        variable = variables[kept["variable"]]
        optimizer.build([variable])
        if optimizer.kept()[variable].keys() != kept["arrays"].keys():
            raise reader.bad(f"it is of another optimizer than {optimizer!r}")
    clipping = {} if optimizer.clipping is None else optimizer.clipping.get_state()
    if clipping.keys() != content["optimizer"]["clipping"].keys():
        raise reader.bad(f"it is of another way of clipping than {optimizer!r}")


def _take(model: Sequential, content: dict[str, Any], reader: Reader) -> None:
    from evengrad import _stack
    from evengrad.saving import _state

    draws = _state.restore_draws(content["random"])
    variables, optimizer = model.variables, model.optimizer
    for variable, entry in zip(variables, content["variables"], strict=True):
        reader.read_into(entry["array"], variable.value, entry["path"])
        variable.trainable = entry["trainable"]
    for part, described in zip(_stack.every(model.parts), content["layers"], strict=True):
        _state.restore_part(part, described)
    state = content["optimizer"]
    for kept in state["slots"]:
        for name, slot in optimizer.kept()[variables[kept["variable"]]].items():
            reader.read_into(kept["arrays"][name], slot.value, slot.path)
    optimizer.counter[0] = state["steps"]
    if optimizer.clipping is not None:
        found = {n: reader.read(e, f"clipping {n}") for n, e in state["clipping"].items()}
        optimizer.clipping.set_state(found)
    if content["learning_rate"] is not None:
        optimizer.learning_rate = content["learning_rate"]
    model.draws = draws
    model.skipped_steps, model.skipped_in_a_row = content["skipped"]


def named(callbacks: Sequence[Any]) -> dict[str, Any]:
    """Callbacks by class and number: those of another process are called the same."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        kind = type(callback).__name__
        found[f"{kind} {sum(key.startswith(f'{kind} ') for key in found)}"] = callback
    return found
