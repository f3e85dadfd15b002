"""Optimizers, with Keras' names, arguments and formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evengrad.optimizers import clipping, schedules
from evengrad.optimizers.adadelta import Adadelta
from evengrad.optimizers.adagrad import Adagrad
from evengrad.optimizers.adam import Adam, AdamW
from evengrad.optimizers.adamax import Adamax
from evengrad.optimizers.base import Optimizer
from evengrad.optimizers.lion import Lion
from evengrad.optimizers.nadam import Nadam
from evengrad.optimizers.rmsprop import RMSprop
from evengrad.optimizers.sgd import SGD
from evengrad.saving import _configs, registration

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Nadam", "Optimizer",
    "RMSprop", "clipping", "deserialize", "get", "schedules", "serialize",
]  # fmt: skip

_CLASSES: dict[str, type[Optimizer]] = {
    c.__name__.lower(): c
    for c in (SGD, Adam, RMSprop, AdamW, Nadam, Adamax, Adagrad, Adadelta, Lion)
}


def get(identifier: str | Optimizer | Mapping[str, Any]) -> Optimizer:
    """Return an optimizer given by name, by what `serialize` returned, or as itself.

    Parameters
    ----------
    identifier : str, mapping or Optimizer
        A name in any case: "adamw" or "AdamW".

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    TypeError
        If it is no optimizer, or only their base.

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.get("adagrad")
    Adagrad(learning_rate=0.001, initial_accumulator_value=0.1, epsilon=1e-07)
    """
    if isinstance(identifier, Optimizer):
        own = type(identifier)
        if own.record_update is Optimizer.record_update and not identifier.in_python:
            raise TypeError(
                f"optimizer: expected one with an update of its own, got {identifier!r}; "
                "use SGD, Adam or another of evengrad.optimizers"
            )
        return identifier
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    return deserialize({"class_name": identifier})


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Return the class name and arguments of an optimizer, those of a schedule inside.

    Parameters
    ----------
    optimizer : Optimizer

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.serialize(optimizers.SGD(0.1))["class_name"]
    'SGD'
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"serialize: expected an Optimizer, got {optimizer!r}")
    name = registration.name_of(type(optimizer), "optimizer")
    return {"class_name": name, "config": _configs.config_of(optimizer)}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, type[Any]] | None = None
) -> Optimizer:
    """Make an optimizer out of what `serialize` returned, here or in Keras.

    Parameters
    ----------
    config : mapping
        With "class_name", in any case, and "config".
    custom_objects : mapping of str to class, optional
        Classes of your own by name: optimizers and schedules.

    Raises
    ------
    ValueError
        If there is no class of that name.

    Examples
    --------
    >>> from evengrad import optimizers
    >>> config = optimizers.serialize(optimizers.Lion(1e-4))
    >>> optimizers.deserialize(config)
    Lion(learning_rate=0.0001, beta_1=0.9, beta_2=0.99)
    """
    name, custom = config.get("class_name", ""), custom_objects or {}
    known = custom.get(name) or registration.find(name, "optimizer", Optimizer)
    known = known or _CLASSES.get(str(name).lower())
    if known is None:
        raise ValueError(f"optimizer: expected one of {', '.join(_CLASSES)}, got {name!r}")
    made: Optimizer = known.from_config(config.get("config", {}), custom_objects)
    return made
