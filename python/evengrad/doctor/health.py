"""Health: what training looked like from within, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor._shown import Told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evengrad._watch import Figures

F64 = NDArray[np.float64]
POINTS = 4096


class Norms(NamedTuple):
    """Euclidean norms of a variable, one number a point: means over the steps of the point.

    `gradient` before clipping; `weight` after the update; `update`: of what the update added. The
    last two are sums in float32: infinite where an element is beyond some 1e19; NaN where the
    optimizer is in Python.
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


@dataclass(eq=False)
class Health(Told, Mapping[str, list[float]]):
    """What gradients, weights and activations of a training were like.

    As a mapping it holds means by epoch: "gradient_norm", "clip_rate", "skipped_steps".

    Parameters
    ----------
    epochs : dict of list of float
        What the mapping holds.
    steps : ndarray (points,)
        Number of the last update of each point, from 1; a point is the mean over the updates since
        the one before. There are at most 4,096: where there would be more, neighbours are merged.
    loss : ndarray (points,)
        Loss of the batches.
    clipped : ndarray (points,)
        Share of the updates whose gradients clipping changed.
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

    def __repr__(self) -> str:
        epochs = max((len(values) for values in self.epochs.values()), default=0)
        return f"<Health of {int(self.steps[-1]) if len(self.steps) else 0} steps, {epochs} epochs>"

    def plot(self) -> Figure:
        """Draw gradients, updates over weights, activations and loss, see `plots.health`."""
        from evengrad.doctor import plots

        return plots.health(self)


def joined(
    parts: Sequence[Figures],
    epochs: dict[str, list[float]],
    dead: dict[str, list[int]],
    dead_units: dict[str, NDArray[np.intp]],
) -> Health:
    """Return what a training left, seen by one watch after the other."""
    parts = [part for part in parts if len(part.step_ends)]
    offsets = np.cumsum([0, *(part.step_ends[-1] for part in parts)])
    paths = list(dict.fromkeys(path for part in parts for path in part.order))
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    counts = _merged_counts([part.step_ends for part in parts])
    steps = _merged([_steps_of(part, paths) for part in parts], counts, 2 + 3 * len(paths))
    looks = _merged(
        [_looks_of(part, names, offset) for part, offset in zip(parts, offsets, strict=False)],
        _merged_counts([part.look_ends for part in parts]),
        1 + 4 * len(names),
    )
    return Health(
        epochs={name: list(values) for name, values in epochs.items()},
        steps=np.cumsum(counts.sum(axis=1)).astype(np.float64),
        loss=steps[:, 0],
        clipped=steps[:, 1],
        norms={
            path: Norms(*(steps[:, 2 + 3 * i + k] for k in range(3)))
            for i, path in enumerate(paths)
        },
        looks=looks[:, 0],
        activity={
            name: Activity(*(looks[:, 1 + 4 * i + k] for k in range(4)))
            for i, name in enumerate(names)
        },
        dead={name: list(values) for name, values in dead.items()},
        dead_units=dict(dead_units),
    )


def _merged_counts(ends: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Entries of each row of all parts, (points, neighbours that make one)."""
    counts = np.concatenate([np.zeros(0, np.int64), *(np.diff(e, prepend=0) for e in ends)])
    together = max(1, -(-len(counts) // POINTS))
    return np.pad(counts, (0, -len(counts) % together)).reshape(-1, together)


def _merged(sums: Sequence[F64], counts: NDArray[np.int64], width: int) -> F64:
    """Means from the sums of all parts; neighbours are added up as `counts` says."""
    rows = np.concatenate([np.zeros((0, width)), *sums])
    rows = np.pad(rows, ((0, counts.size - len(rows)), (0, 0)))
    totals = rows.reshape(*counts.shape, width).sum(axis=1)
    means: F64 = totals / counts.sum(axis=1, keepdims=True)
    return means


def _steps_of(part: Figures, paths: Sequence[str]) -> F64:
    """Sums of a part for the variables of all, NaN where it has none."""
    found = np.full((len(part.steps), 2 + 3 * len(paths)), np.nan)
    found[:, :2] = part.steps[:, :2]
    for i, path in enumerate(part.paths):
        to, here = 2 + 3 * paths.index(path), 2 + 3 * i
        seen = 3 if part.moved else 1
        found[:, to : to + seen] = part.steps[:, here : here + seen]
    return found


def _looks_of(part: Figures, names: Sequence[str], offset: int) -> F64:
    """Likewise, of looks; `offset` steps were before it."""
    found = np.full((len(part.looks), 1 + 4 * len(names)), np.nan)
    found[:, 0] = part.looks[:, 0] + offset * np.diff(part.look_ends, prepend=0)
    for i, name in enumerate(part.names):
        to = 1 + 4 * names.index(name)
        found[:, to : to + 4] = part.looks[:, 1 + 4 * i : 5 + 4 * i]
    return found
