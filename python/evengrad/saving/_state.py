"""What training leaves in a model besides its arguments, as JSON and arrays, and back again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad.saving._archive import Reader, Wanted, Writer

if TYPE_CHECKING:
    from evengrad._random import Draws
    from evengrad._stack import Part
    from evengrad.optimizers import Optimizer
    from evengrad.optimizers.clipping import Clipping
    from evengrad.variable import Variable

Fields = dict[str, type | tuple[type, ...]]

_MODULUS = 1 << 128  # of PCG64
_PLAIN = re.compile(r"[\w|]*")  # a pattern that takes no time to look for


def checked(content: Any, what: str, fields: Fields) -> dict[str, Any]:
    """Return a dict that has these keys and no others, with values of these types."""
    if not isinstance(content, dict) or content.keys() != fields.keys():
        raise ValueError(f"expected {what} to have {', '.join(fields)}, got {content!r:.80}")
    for name, kind in fields.items():
        value = content[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise ValueError(f"expected {name} of {what} to be {kinds}, got {value!r:.80}")
    return content


# -- layers: how they were built, whether they are trained, what they keep besides variables


_PART: Fields = {
    "name": str, "input_shape": (list, type(None)), "trainable": (bool, type(None)), "state": dict,
}  # fmt: skip


def describe_part(part: Part) -> dict[str, Any]:
    """Return what restores a layer, or a model inside another, after it is made."""
    from evengrad import _stack
    from evengrad.saving._encoding import encode

    single = None if isinstance(part, _stack.Stack) else part
    return {
        "name": part.name,
        "input_shape": _built_for(part),
        "trainable": None if single is None else single.trainable,
        "state": {} if single is None else encode(single.get_extra_state(), str(part)),
    }


def _built_for(part: Part) -> list[int] | None:
    """Shape of one sample."""
    from evengrad import layers

    shape = part.input_shape if part.built else None
    if shape is None:
        return None
    return [int(n or 0) for n in (shape if isinstance(part, layers.Layer) else shape[1:])]


def build_parts(parts: Iterable[Part], described: Sequence[Any]) -> list[Part]:
    """Make the variables that the model had, also where it was not built as a whole."""
    found: list[Part] = []
    rest = iter(described)
    for part in parts:  # each before those inside it, some of which building makes
        content = checked(next(rest, None), f"layer {part.name!r}", _PART)
        if part.name != content["name"]:
            raise ValueError(f"expected layer {part.name!r}, got {content['name']!r:.80}")
        shape = content["input_shape"]
        if shape is not None and not part.built:
            part.build_once(shape)
        if _built_for(part) != shape:
            raise ValueError(
                f"expected {part.name!r} built for {_built_for(part)}, got {shape!r:.80}"
            )
        found.append(part)
    if len(found) != len(described):
        raise ValueError(f"it describes {len(described)} layers, its configuration {len(found)}")
    return found


def restore_part(part: Part, content: dict[str, Any]) -> None:
    """Take over what `describe_part` returned."""
    from evengrad import _stack
    from evengrad.saving._encoding import decode

    if isinstance(part, _stack.Stack):
        return
    if content["trainable"] is None:
        raise ValueError(f"expected whether layer {part.name!r} is trainable")
    if part.trainable != content["trainable"]:
        part.trainable = content["trainable"]
    if content["state"]:
        part.set_extra_state(decode(content["state"]))


# -- random draws


def describe_draws(draws: Draws | None) -> dict[str, Any] | None:
    """Return the state of a model's draws: a seed and that of a PCG64."""
    if draws is None or not draws.good:
        return None
    state: Any = draws.generator.bit_generator.state
    return {
        "seed": draws.seed,
        "state": str(state["state"]["state"]),  # beyond what other readers of JSON call integers
        "increment": str(state["state"]["inc"]),
        "has_half": bool(state["has_uint32"]),
        "half": state["uinteger"],
    }


def restore_draws(content: Any) -> Draws | None:
    """Return draws that go on from there."""
    from evengrad import _random

    if content is None:
        return None
    checked(content, "random", {
        "seed": int, "state": str, "increment": str, "has_half": bool, "half": int,
    })  # fmt: skip
    digits = content["state"], content["increment"]
    if not all(re.fullmatch("[0-9]{1,39}", text) and int(text) < _MODULUS for text in digits):
        raise ValueError(f"expected a state of PCG64, got {digits}")
    if not 0 <= content["seed"] < 1 << 63 or not 0 <= content["half"] < 1 << 32:
        raise ValueError(f"expected a seed and a half, got {content['seed']} {content['half']}")
    generator = np.random.Generator(np.random.PCG64(0))
    state, increment = map(int, digits)
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": increment | 1},
        "has_uint32": int(content["has_half"]),
        "uinteger": content["half"],
    }
    return _random.draws_of(content["seed"], generator)


# -- optimizers


_OPTIMIZER: Fields = {
    "steps": int, "built": bool, "no_decay": dict, "slots": list, "clipping": dict,
}  # fmt: skip
_NO_DECAY: Fields = {"variables": list, "names": str}
_SLOTS: Fields = {"variable": int, "arrays": dict}


def describe_optimizer(
    optimizer: Optimizer, variables: Sequence[Variable], writer: Writer
) -> dict[str, Any]:
    """Write the arrays of an optimizer and return what restores it, after it is made."""
    number = {variable: i for i, variable in enumerate(variables)}
    slots = []
    for variable, kept in optimizer.kept().items():
        if variable in number:  # else it is no longer a part of the model
            arrays = {
                name: _add(writer, f"optimizer/{name}/{variable.path}", slot.value, slot.path)
                for name, slot in kept.items()
            }
            slots.append({"variable": number[variable], "arrays": arrays})
    clipping = {} if optimizer.clipping is None else optimizer.clipping.get_state()
    return {
        "steps": int(optimizer.counter[0]),
        "built": optimizer.built,
        "no_decay": _describe_excluded(optimizer, variables),
        "slots": slots,
        "clipping": {
            name: _add(writer, f"optimizer/clipping/{name}", np.asarray(array), name)
            for name, array in clipping.items()
        },
    }


def _add(writer: Writer, member: str, array: Any, who: str) -> dict[str, Any]:
    try:
        return writer.add(member, array)
    except ValueError as error:
        raise ValueError(f"save: {who}: {error}; nothing was saved") from None


def _describe_excluded(optimizer: Optimizer, variables: Sequence[Variable]) -> dict[str, Any]:
    those, pattern = optimizer.excluded
    if _PLAIN.fullmatch(pattern):
        chosen = [i for i, v in enumerate(variables) if v in those]
        return {"variables": chosen, "names": pattern}
    # Another regular expression could keep who loads the file waiting for as long as it likes.
    chosen = [i for i, v in enumerate(variables) if v in those or re.search(pattern, v.name)]
    return {"variables": chosen, "names": ""}


def restore_optimizer(
    optimizer: Optimizer, content: Any, variables: Sequence[Variable], reader: Reader
) -> None:
    """Take over what `describe_optimizer` returned."""
    checked(content, "the optimizer", _OPTIMIZER)
    if not 0 <= content["steps"] < 1 << 63:
        raise ValueError(f"expected a number of steps, got {content['steps']}")
    optimizer.counter[0] = content["steps"]
    excluded = checked(content["no_decay"], "no_decay", _NO_DECAY)
    if not _PLAIN.fullmatch(excluded["names"]):
        raise ValueError(f"expected names without weight decay, got {excluded['names']!r:.80}")
    chosen = frozenset(_numbered(variables, i) for i in excluded["variables"])
    optimizer.excluded = chosen, excluded["names"]
    wanted: list[Wanted] = []
    for kept in content["slots"]:
        checked(kept, "a slot", _SLOTS)
        wanted += _slots(optimizer, _numbered(variables, kept["variable"]), kept["arrays"])
    reader.fill(wanted)
    if content["built"] and not optimizer.built:
        optimizer.build([])
    _restore_clipping(optimizer.clipping, content["clipping"], reader)


def _numbered(variables: Sequence[Variable], i: Any) -> Variable:
    if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < len(variables):
        raise ValueError(
            f"expected the number of a variable, below {len(variables)}, got {i!r:.80}"
        )
    return variables[i]


def _slots(optimizer: Optimizer, variable: Variable, arrays: dict[str, Any]) -> list[Wanted]:
    """Make what is kept for a variable, to be filled."""
    if variable in optimizer.kept():
        raise ValueError(f"it has the state for {variable.path!r} twice")
    optimizer.build([variable])
    slots = optimizer.kept()[variable]
    if slots.keys() != arrays.keys():
        raise ValueError(
            f"expected the state {', '.join(slots) or 'none'} for {variable.path!r}, got "
            f"{', '.join(arrays) or 'none'}"
        )
    return [(arrays[name], slot.value, slot.path) for name, slot in slots.items()]


def _restore_clipping(clipping: Clipping | None, content: Any, reader: Reader) -> None:
    arrays = {name: reader.read(entry, f"clipping {name}") for name, entry in content.items()}
    if clipping is not None:
        clipping.set_state(arrays)
    elif arrays:
        raise ValueError("it has a state of clipping, but there is none")


def arrays_of(optimizer: Any) -> list[tuple[Any, str]]:
    """The arrays that `describe_optimizer` tells of, each with what it is."""
    checked(optimizer, "the optimizer", _OPTIMIZER)
    found = [(entry, f"clipping {name}") for name, entry in optimizer["clipping"].items()]
    for kept in optimizer["slots"]:
        checked(kept, "a slot", _SLOTS)
        found += [(entry, f"{name} of the optimizer") for name, entry in kept["arrays"].items()]
    return found
