"""Layers as dicts fit for JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evengrad import _stack
from evengrad._names import snake_case
from evengrad.layers.base import Layer
from evengrad.saving import _configs, _sharing, registration

if TYPE_CHECKING:
    from evengrad._stack import Part


def serialize(layer: Part) -> dict[str, Any]:
    """Return the class name and arguments of a layer, or of a model that is part of another.

    Parameters
    ----------
    layer : Layer or Sequential

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.serialize(layers.Flatten(name="flat"))
    {'class_name': 'Flatten', 'config': {'name': 'flat', 'trainable': True}}
    """
    if not isinstance(layer, Layer | _stack.Stack):
        raise TypeError(f"serialize: expected a Layer or a Sequential, got {layer!r}")
    name = registration.name_of(type(layer), f"layer {layer.name!r}")
    return {"class_name": name, "config": _configs.config_of(layer)}


def serialize_inside(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Serialize the parts of a layer or model.

    One whose shape came from outside is made without: its variables are made, and named, there.
    """
    with _sharing.describing():
        made = [serialize(part) for part in parts]
    for part, config in zip(parts, made, strict=True):
        if isinstance(part, _stack.Stack) and not isinstance(part, Layer) and part.shaped_outside:
            del config["config"]["layers"][0]
    return made


def deserialize_inside(configs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the parts that `serialize_inside` described."""
    with _sharing.making():
        return [deserialize(config) for config in configs]


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, type[Any]] | None = None
) -> Any:
    """Make a layer from what `serialize` returned.

    Parameters
    ----------
    config : dict
        With "class_name", as "Dense" or "dense", and "config".
    custom_objects : dict of class by name, optional
        Layers of your own, here and inside other layers, beside those that are registered.

    Raises
    ------
    ValueError
        If there is no such layer, or it is no such dict.

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.deserialize({"class_name": "Dense", "config": {"units": 3, "name": "last"}})
    <Dense "last", built=False>
    """
    arguments = config.get("config", {}) if isinstance(config, Mapping) else None
    if not isinstance(arguments, Mapping) or "class_name" not in config:
        raise ValueError(
            'layer: expected a dict with "class_name" (a name) and "config" (a dict), got '
            f"{config!r}"
        )
    name = config["class_name"]
    known = {**_classes(), **(custom_objects or {})}
    found = registration.find(name, "layer", Layer, _stack.Stack)
    if found is None and isinstance(name, str):
        found = {snake_case(each): value for each, value in known.items()}.get(snake_case(name))
    if found is None:
        raise ValueError(f"layer: expected one of {', '.join(known)}, got {name!r}")
    with registration.custom_object_scope(custom_objects):
        return found.from_config(dict(arguments))


def _classes() -> dict[str, type[Any]]:
    from evengrad import layers, models

    found = {name: getattr(layers, name) for name in layers.__all__}
    made = {k: v for k, v in found.items() if isinstance(v, type) and v is not Layer}
    return made | {"Sequential": models.Sequential}
