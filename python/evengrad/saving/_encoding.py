"""Configurations as JSON holds them, and back.

Besides what JSON knows there are tuples, which become lists, numbers of numpy, numbers that are not
finite, arrays, functions by their registered names, and objects that have a configuration.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from evengrad.saving import _configs, registration

_DEEPEST = 100  # levels of lists and dicts; a model within a model takes four
_LONGEST = 1 << 26  # bytes; about 50,000 layers
_FLOAT, _ARRAY, _OBJECT, _FUNCTION = "__float__", "__numpy__", "__object__", "function"
_TAGS = _FLOAT, _ARRAY, _OBJECT, _FUNCTION


class _Kind(NamedTuple):
    base: type[Any]
    serialize: Callable[[Any], Any]
    deserialize: Callable[[Any], Any]


@functools.cache
def _kinds() -> dict[str, _Kind]:
    from evengrad import (
        _stack,
        activations,
        constraints,
        initializers,
        layers,
        losses,
        metrics,
        optimizers,
        regularizers,
    )
    from evengrad.optimizers import clipping, schedules

    return {
        "activation": _Kind(activations.Spec, activations.serialize, activations.deserialize),
        "own activation": _Kind(
            activations.Activation, activations.serialize, activations.deserialize
        ),
        "layer": _Kind(layers.Layer, layers.serialize, layers.deserialize),
        "model": _Kind(_stack.Stack, layers.serialize, layers.deserialize),
        "initializer": _Kind(
            initializers.Initializer, initializers.serialize, initializers.deserialize
        ),
        "regularizer": _Kind(
            regularizers.Regularizer, regularizers.serialize, regularizers.deserialize
        ),
        "constraint": _Kind(constraints.Constraint, constraints.serialize, constraints.deserialize),
        "loss": _Kind(losses.Loss, losses.serialize, losses.deserialize),
        "metric": _Kind(metrics.Metric, metrics.serialize, metrics.deserialize),
        "optimizer": _Kind(optimizers.Optimizer, optimizers.serialize, optimizers.deserialize),
        "schedule": _Kind(
            schedules.LearningRateSchedule, schedules.serialize, schedules.deserialize
        ),
        "clipping": _Kind(clipping.Clipping, clipping.serialize, clipping.deserialize),
    }


# -- to JSON


def encode(value: Any, where: str = "config") -> Any:
    """Return a configuration as JSON can hold it.

    Raises
    ------
    TypeError
        For what no file can hold; the message says where it is.
    """
    if isinstance(value, np.bool_ | np.number):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _tagged(_FLOAT, repr(value))
    if isinstance(value, Mapping):
        return _encoded_dict(value, where)
    named = hasattr(value, "_fields")  # activations are tuples, too
    if isinstance(value, list | tuple) and not (named and _kind_of(value)):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    return _encoded_thing(value, where)


def _tagged(tag: str, content: Any) -> dict[str, Any]:
    return {"class_name": tag, "config": content}


def _encoded_dict(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{where}: expected texts as the keys of a dict, got {key!r}")
    if value.get("class_name") in _TAGS:
        raise TypeError(f"{where}: expected another class_name than {value['class_name']!r}")
    return {str(key): encode(item, f"{where}.{key}") for key, item in value.items()}


def _kind_of(value: Any) -> str | None:
    return next((name for name, kind in _kinds().items() if isinstance(value, kind.base)), None)


def _encoded_thing(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        numbers = encode(value.tolist(), where)
        return _tagged(
            _ARRAY, {"dtype": value.dtype.name, "shape": list(value.shape), "value": numbers}
        )
    kind = _kind_of(value)
    if kind is not None:
        content = encode(_kinds()[kind].serialize(value), where)
        return _tagged(_OBJECT, {"kind": kind, "value": content})
    if callable(value) and not isinstance(value, type) and not hasattr(value, "get_config"):
        return _tagged(_FUNCTION, registration.name_of(value, where))
    if hasattr(value, "get_config") and not isinstance(value, type):
        name = registration.name_of(type(value), where)
        content = {"class_name": name, "config": encode(_configs.config_of(value), where)}
        return _tagged(_OBJECT, {"kind": "object", "value": content})
    raise TypeError(
        f"{where}: expected numbers, texts, lists, dicts, arrays of numbers, registered functions "
        f"and objects with get_config, got {value!r}"
    )


def to_text(content: Any, **options: Any) -> str:
    """Return JSON text.

    Raises
    ------
    ValueError
        If it is larger, or deeper, than what `from_text` accepts.
    """
    text = json.dumps(content, allow_nan=False, **options)
    if len(text) > _LONGEST:
        raise ValueError(f"the description of the model has {len(text)} characters: too many")
    _check_depth(content)
    return text


# -- from JSON


def from_text(text: str | bytes) -> Any:
    """Parse JSON; whatever is wrong with it is a ValueError."""
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text)} bytes, more than {_LONGEST}")
    try:
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_depth(content)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"it has {name!r:.80} twice")
        made[name] = value
    return made


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            item
            for part in level
            if isinstance(part, dict | list)
            for item in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} levels deep")


def decode(value: Any) -> Any:
    """Return what `encode` was given, but tuples as lists.

    Raises
    ------
    ValueError, TypeError
        If it names what is not registered, or is not what `encode` makes.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("expected finite numbers, got one beyond the range of floats")
        return value
    tag = value.get("class_name")
    if tag not in _TAGS:
        return {key: decode(item) for key, item in value.items()}
    if value.keys() != {"class_name", "config"}:
        raise ValueError(f"expected class_name and config for {tag}, got {', '.join(value)}")
    return _decoders()[tag](value["config"])


def _decoders() -> dict[str, Callable[[Any], Any]]:
    return {_FLOAT: _float, _ARRAY: _array, _OBJECT: _object, _FUNCTION: _function}


def _float(content: Any) -> float:
    if content not in ("inf", "-inf", "nan"):
        raise ValueError(f"expected inf, -inf or nan, got {content!r:.80}")
    return float(content)


def _array(content: Any) -> np.ndarray[Any, Any]:
    _check(content, {"dtype": str, "shape": list, "value": object})
    dtype = content["dtype"]
    if not re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", dtype):
        raise ValueError(f"expected an array of numbers, got dtype {dtype!r:.80}")
    array = np.array(decode(content["value"]), dtype)
    if array.size != math.prod(content["shape"]):
        raise ValueError(f"expected an array of shape {content['shape']}, got {array.shape}")
    return array.reshape(content["shape"])


def _check(content: Any, types: dict[str, type]) -> None:
    right = isinstance(content, dict) and content.keys() == types.keys()
    if not right or not all(isinstance(content[name], kind) for name, kind in types.items()):
        raise ValueError(f"expected a dict with {', '.join(types)}, got {content!r:.80}")


def _function(name: Any) -> Any:
    found = registration.find(name, "function")
    if found is None:
        raise ValueError(f"function: {registration.unknown(str(name))}")
    return found


def _object(content: Any) -> Any:
    _check(content, {"kind": str, "value": object})
    kind, value, kinds = content["kind"], decode(content["value"]), _kinds()
    if kind in kinds:
        return kinds[kind].deserialize(value)
    if kind != "object":
        raise ValueError(f"expected a kind of object, got {kind!r:.80}")
    _check(value, {"class_name": str, "config": dict})
    name = value["class_name"]
    found = registration.find(name, "object", object)
    if found is None:
        raise ValueError(f"object: {registration.unknown(name)}")
    made = getattr(found, "from_config", None)
    return made(value["config"]) if made else found(**value["config"])
