"""Learning rates as functions of the number of steps done, with Keras' arguments and formulas.

Pass one as the `learning_rate` of an optimizer, or call it: `schedule(step)`. Steps are counted
from 0, those that only accumulate gradients included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evengrad.optimizers.schedules.base import LearningRateSchedule
from evengrad.optimizers.schedules.cosine import CosineDecay, CosineDecayRestarts
from evengrad.optimizers.schedules.decay import (
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
)
from evengrad.saving import _configs, registration

__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay",
    "LearningRateSchedule", "PiecewiseConstantDecay", "PolynomialDecay", "deserialize", "serialize",
]  # fmt: skip

_CLASSES: dict[str, type[LearningRateSchedule]] = {
    c.__name__: c
    for c in (
        CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay,
        PiecewiseConstantDecay, PolynomialDecay,
    )
}  # fmt: skip


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Return the class name and arguments of a schedule, fit for JSON.

    Parameters
    ----------
    learning_rate_schedule : LearningRateSchedule

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> schedules.serialize(schedules.PiecewiseConstantDecay([10], [0.1, 0.01]))["config"]
    {'boundaries': [10], 'values': [0.1, 0.01], 'name': 'PiecewiseConstant'}
    """
    if not isinstance(learning_rate_schedule, LearningRateSchedule):
        raise TypeError(f"serialize: expected a LearningRateSchedule, got {learning_rate_schedule}")
    config = _configs.config_of(learning_rate_schedule)
    name = registration.name_of(type(learning_rate_schedule), "schedule")
    return {"class_name": name, "config": config}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, type[Any]] | None = None
) -> LearningRateSchedule:
    """Make a schedule out of what `serialize` returned, here or in Keras.

    Parameters
    ----------
    config : mapping
        With "class_name" and "config".
    custom_objects : mapping of str to class, optional
        Classes of your own by name.

    Raises
    ------
    ValueError
        If there is no class of that name.

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> config = {"boundaries": [10], "values": [0.1, 0.01]}
    >>> schedules.deserialize({"class_name": "PiecewiseConstantDecay", "config": config})
    PiecewiseConstantDecay(boundaries=[10], values=[0.1, 0.01])
    """
    found = _CLASSES | dict(custom_objects or {})
    name = config.get("class_name", "")
    known = registration.find(name, "schedule", LearningRateSchedule) or found.get(str(name))
    if known is None:
        raise ValueError(f"schedule: expected one of {', '.join(found)}, got {name!r}")
    made: LearningRateSchedule = known.from_config(config.get("config", {}))
    return made
