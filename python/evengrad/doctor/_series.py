"""Series of a training as charts want them: by layer, and not more points than can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evengrad.doctor.health import F64, Health, Norms

_BESIDE = {"bias", "gamma", "beta", "alpha"}  # small variables beside or after a kernel


def kernels(health: Health) -> dict[str, Norms]:
    """Return the norms of the kernels by layer, from the input to the output.

    Where a model has none, those of all its variables, by their paths.
    """
    found = {path: n for path, n in health.norms.items() if path.split("/")[-1] not in _BESIDE}
    if not found:
        return dict(health.norms)
    owners = [path.split("/")[:-1] for path in found]
    names = ["/".join(parts) for parts in _without_common_start(owners)]
    if len(set(names)) < len(names) or not all(names):  # layers with several such variables
        names = list(found)
    return dict(zip(names, found.values(), strict=True))


def _without_common_start(paths: list[list[str]]) -> list[list[str]]:
    while all(len(parts) > 1 for parts in paths) and len({parts[0] for parts in paths}) == 1:
        paths = [parts[1:] for parts in paths]
    return paths


def ratio(norms: Norms) -> F64:
    """Return the norm of the update over that of the weight."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: F64 = np.asarray(norms.update) / np.asarray(norms.weight)
    return found


def ratios(health: Health) -> dict[str, F64]:
    """Return `ratio` of each of `kernels`."""
    return {name: ratio(norms) for name, norms in kernels(health).items()}


def gradients(health: Health) -> dict[str, F64]:
    """Return the norms of the gradients of `kernels`."""
    return {name: np.asarray(norms.gradient, float) for name, norms in kernels(health).items()}


def starts(points: int, most: int) -> list[int]:
    """Return where groups of neighbours begin, at most so many, as equal as can be."""
    groups = min(points, most)
    return [i * points // groups for i in range(groups)]


def ends(steps: Iterable[float], most: int) -> list[int]:
    """Return the number of the last step of each group."""
    steps = np.asarray(list(steps))
    firsts = starts(len(steps), most)
    return [int(steps[stop - 1]) for stop in [*firsts[1:], len(steps)]] if firsts else []


def thin(values: Iterable[float], most: int) -> F64:
    """Return the mean of each group: infinite where one is, without those that are NaN."""
    values = np.asarray(values, float)
    firsts = starts(len(values), most)
    if not firsts:
        return np.zeros(0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        known = ~np.isnan(values)
        sums = np.add.reduceat(np.where(known, values, 0.0), firsts)
        mean: F64 = sums / np.add.reduceat(known.astype(float), firsts)
    return mean


def thinned(series: Mapping[str, F64], most: int) -> dict[str, F64]:
    """Return `thin` of each."""
    return {name: thin(values, most) for name, values in series.items()}


def epoch(health: Health, since: float) -> tuple[dict[str, float], dict[str, F64]]:
    """Return what is told of an epoch's end, by name: scalars, and numbers to be counted.

    Parameters
    ----------
    health : Health
        Of the training so far.
    since : float
        The last step of the epoch before.
    """
    scalars = {f"health/{name}": values[-1] for name, values in health.epochs.items() if values}
    spreads = {}
    points, looks = health.steps > since, health.looks > since
    for kind, series in (("gradient", gradients(health)), ("update", ratios(health))):
        for name, values in series.items():
            scalars |= {f"health_{kind}/{name}": one for one in thin(values[points], 1)}
            known = values[points & (values > 0) & np.isfinite(values)]
            spreads[f"health_{kind}/{name}"] = np.log10(known)
    for name, activity in health.activity.items():
        for kind in ("zeros", "saturated"):
            values = np.asarray(getattr(activity, kind), float)[looks]
            scalars |= {f"health_{kind}/{name}": one for one in thin(values, 1)}
    scalars |= {f"health_dead/{name}": counts[-1] for name, counts in health.dead.items() if counts}
    return scalars, {name: values for name, values in spreads.items() if len(values)}
