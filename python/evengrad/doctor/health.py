"""Health: what training looked like from within, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


class Norms(NamedTuple):
    """Euclidean norms of a variable, one number a point: means over the steps of the point.

    `gradient` before clipping; `weight` after the update; `update`: of what the update added.
    """

    gradient: F64
    weight: F64
    update: F64


class Activity(NamedTuple):
    """Outputs of a layer over units and looked-at samples, one number a look.

    `mean`; `spread`: standard deviation; `zeros`: share that is 0; `saturated`: share where the
    slope of the activation is below 0.01 of its largest.
    """

    mean: F64
    spread: F64
    zeros: F64
    saturated: F64


def _empty() -> F64:
    return np.zeros(0)


@dataclass
class Health(Mapping[str, list[float]]):
    """What gradients, weights and activations of a training were like.

    As a mapping it holds means by epoch: "gradient_norm", "clip_rate", "skipped_steps".

    Parameters
    ----------
    epochs : dict of list of float
        What the mapping holds.
    steps : ndarray (points,)
        Number of the last step of each point, from 1; a point is the mean over the steps since the
        one before. There are at most 4,096: where there would be more, neighbours are merged.
    loss : ndarray (points,)
        Loss of the batches.
    clipped : ndarray (points,)
        Share of the steps whose gradients clipping changed.
    norms : dict of Norms
        By path of the variable.
    looks : ndarray (looks,)
        Numbers of the steps at which activations were looked at; at most 4,096 likewise.
    activity : dict of Activity
        By name of the layer, in their order.
    dead : dict of list of int
        By name of the layer: how many units were saturated in all looked-at samples of an epoch, by
        epoch.
    dead_units : dict of ndarray
        Which ones, in the last epoch.
    """

    epochs: dict[str, list[float]] = field(default_factory=dict)
    steps: F64 = field(default_factory=_empty)
    loss: F64 = field(default_factory=_empty)
    clipped: F64 = field(default_factory=_empty)
    norms: dict[str, Norms] = field(default_factory=dict)
    looks: F64 = field(default_factory=_empty)
    activity: dict[str, Activity] = field(default_factory=dict)
    dead: dict[str, list[int]] = field(default_factory=dict)
    dead_units: dict[str, NDArray[np.intp]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> list[float]:
        return self.epochs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)
