"""Scaling of inputs and targets inside a model, with the numbers of the data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad.doctor import rewriting
from evengrad.doctor.plans import Plan

CLIPPING = "clipnorm", "clipvalue", "global_clipnorm", "clipping"
# Of these a gradient times c makes a step times c; all others go by ratios of gradients.
PROPORTIONAL = {"SGD"}
_RATES = "initial_learning_rate", "end_learning_rate", "warmup_target", "values"
# By what power of the scale of targets and outputs the loss grows.
_POWERS = {"MeanSquaredError": 2, "MeanAbsoluteError": 1, "LogCosh": 1, "Huber": 1}
_NEAR = 20.0  # times its spread: no number of a column is farther from its mean


class Truth(NamedTuple):
    """Samples and targets that edits look at."""

    x: NDArray[Any] | None = None
    y: NDArray[Any] | None = None


def width_of(plan: Plan) -> int | None:
    """Number of columns that the first layers see."""
    if not plan.model.has_shape or not plan.layers:
        return None
    shape = plan.model.sample_shape()
    return math.prod(shape) if rewriting.flattens(plan.layers) else shape[-1]


def scale_inputs(plan: Plan, value: bool, truth: Truth) -> Plan:
    """A `Normalization` with the moments of the samples, in front."""
    width = width_of(plan)
    if not value or width is None:
        return plan
    if truth.x is None:
        raise ValueError("doctor: expected samples for the edit 'scale_inputs', got none; pass x")
    mean, variance = _moments_of_columns(truth.x, width)
    scaled = rewriting.named(
        "Normalization", "input_scaling", axis=-1, mean=mean.tolist(), variance=variance.tolist()
    )
    return plan.with_layers(rewriting.at_input(plan.layers, scaled))


def _moments_of_columns(x: ArrayLike, width: int) -> tuple[NDArray[np.float64], ...]:
    """Mean and variance; of almost constant columns one that keeps all numbers near 0."""
    rows = np.asarray(x, np.float64).reshape(-1, width)
    mean = rows.mean(axis=0)
    apart = rows - mean
    variance = np.square(apart).mean(axis=0)
    variance = np.maximum(variance, np.square(np.abs(apart).max(axis=0) / _NEAR))
    return mean, np.where(variance > 0.0, variance, 1.0)


def moments_of_targets(y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column of targets."""
    rows = np.asarray(y, np.float64)
    rows = rows.reshape(-1, rows.shape[-1] if rows.ndim > 1 else 1)
    spread = rows.std(axis=0)
    return rows.mean(axis=0), np.where(spread > 0.0, spread, 1.0)


def scale_targets(plan: Plan, value: bool, truth: Truth) -> Plan:
    """Outputs s z + m; what multiplies gradients is taken from the steps.

    The squared error of s z + m against t is s^2 times that of z against (t - m) / s. Its gradient
    by the weights is s^2 times as long, and so is a step of SGD: the learning rate over s^2, with
    thresholds of clipping times s^2, trains as on scaled targets. Of absolute errors it is s.
    Adam and its kin divide gradients by their size.
    """
    if not value:
        return plan
    if truth.y is None:
        raise ValueError("doctor: expected targets for the edit 'scale_targets', got none; pass y")
    mean, spread = moments_of_targets(truth.y)
    power = _POWERS.get(plan.loss["class_name"])
    if power is None:
        return plan
    scaled = rewriting.named(
        "Rescaling", "output_scaling", scale=spread.tolist(), offset=mean.tolist()
    )
    made = plan.with_layers([*plan.layers, scaled])
    if plan.optimizer["class_name"] not in PROPORTIONAL:
        return made
    arguments, factor = plan.optimizer["config"], float(np.mean(spread**power))
    rate = _scaled_rate(arguments["learning_rate"], 1.0 / factor)
    bounds = {name: arguments.get(name) for name in CLIPPING[:-1]}
    given = {name: bound * factor for name, bound in bounds.items() if bound is not None}
    return made.with_optimizer(learning_rate=rate, **given)


def _scaled_rate(rate: Any, factor: float) -> Any:
    if isinstance(rate, int | float):
        return rate * factor
    if not isinstance(rate, dict):
        return rate  # a function of the user's own
    own = dict(rate.get("config", {}))
    for name in _RATES:
        if isinstance(own.get(name), list):
            own[name] = [each * factor for each in own[name]]
        elif isinstance(own.get(name), int | float):
            own[name] *= factor
    return rate | {"config": own}
