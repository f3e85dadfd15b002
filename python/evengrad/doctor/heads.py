"""Heads: which last activation, size and loss fit the targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor import rewriting
from evengrad.doctor.plans import Plan

_OF_QUANTITIES = {"Huber", "LogCosh", "MeanAbsoluteError", "MeanSquaredError"}
_OF_MARGINS = {"CategoricalHinge", "Hinge", "SquaredHinge"}
_OF_PROBABILITIES = {
    "BinaryCrossentropy", "CategoricalCrossentropy", "KLDivergence",
    "SparseCategoricalCrossentropy",
}  # fmt: skip
_SPARSE = "SparseCategoricalCrossentropy"


def fitting(plan: Plan, y: NDArray[Any], classes: NDArray[np.intp] | None) -> dict[str, Any] | None:
    """Return the value of an edit "output" that fits the targets; None where it fits already.

    Losses that are neither of quantities nor of classes, the user's own among them, are what the
    user wants, and stay.

    Parameters
    ----------
    plan : Plan
    y : ndarray
        Targets of training.
    classes : ndarray, optional
        The class numbers that they stand for, if they do.
    """
    last, loss = rewriting.Roles(plan.layers).last, plan.loss["class_name"]
    if last is None or loss not in _OF_QUANTITIES | _OF_MARGINS | _OF_PROBABILITIES:
        return None
    units, activation = last["config"]["units"], last_activation(plan)
    wanted = _of_quantities(loss, y) if classes is None else _of_classes(plan, y, classes, units)
    if loss in _OF_MARGINS and classes is not None:
        return None
    logits = plan.loss.get("config", {}).get("from_logits")
    fits = activation == (None if logits else wanted["activation"])
    alike = wanted["loss"] == loss or (loss == "KLDivergence" and activation == "softmax")
    return None if fits and alike and wanted["units"] == units else wanted


def _of_quantities(loss: str, y: NDArray[Any]) -> dict[str, Any]:
    kept = loss if loss in _OF_QUANTITIES else "MeanSquaredError"
    return {"activation": None, "loss": kept, "units": y.shape[-1] if y.ndim > 1 else 1}


def _of_classes(
    plan: Plan, y: NDArray[Any], classes: NDArray[np.intp], units: int
) -> dict[str, Any]:
    if y.ndim > 1 and y.shape[-1] > 1:
        loss, units = "CategoricalCrossentropy", y.shape[-1]
        return {"activation": "softmax", "loss": loss, "units": units}
    if plan.loss["class_name"] != _SPARSE and y.min() >= 0:
        return {"activation": "sigmoid", "loss": "BinaryCrossentropy", "units": 1}
    if y.min() < 0:
        return {"activation": None, "loss": "Hinge", "units": 1}
    most = max(int(classes.max(initial=0)) + 1, units, 2)
    return {"activation": "softmax", "loss": _SPARSE, "units": most}


def last_activation(plan: Plan) -> Any:
    """The activation that outputs come from: of the last Dense, or of a layer behind it."""
    roles = rewriting.Roles(plan.layers)
    found = None if roles.last is None else rewriting.function_of(roles.last)
    for layer in roles.leaves:
        if rewriting.kind(layer) in rewriting.ACTIVATIONS and roles.follows_last(layer):
            found = layer["config"].get("activation", rewriting.kind(layer).lower())
    return found
