"""Optimizers, with Keras' names, arguments and formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evengrad.optimizers.adam import Adam
from evengrad.optimizers.base import Optimizer
from evengrad.optimizers.rmsprop import RMSprop
from evengrad.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "get"]

_CLASSES: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam, "rmsprop": RMSprop}


def get(identifier: str | Optimizer | Mapping[str, Any]) -> Optimizer:
    """Return an optimizer given by name, by {"class_name", "config"} or as itself.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    name: Any = identifier
    config: Mapping[str, Any] = {}
    if isinstance(identifier, Mapping):
        name, config = identifier.get("class_name"), identifier.get("config", {})
    if isinstance(name, str) and name.lower() in _CLASSES:
        return _CLASSES[name.lower()](**config)
    raise ValueError(f"optimizer: expected one of {', '.join(_CLASSES)}, got {identifier!r}")
