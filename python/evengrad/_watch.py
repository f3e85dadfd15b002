"""Watching a training from within: the figures that kernels leave, step by step."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _core
from evengrad._arena import vector
from evengrad._program import Program
from evengrad.activations import Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evengrad._core import F32, F64
    from evengrad._recording import Recording
    from evengrad.doctor.health import Health
    from evengrad.layers.base import Layer
    from evengrad.variable import Variable

POINTS = 4096
_FLAT = 0.01  # of the largest slope; a unit whose slope is below is saturated


class Figures(NamedTuple):
    """What a watch has seen: sums over the entries of each row, and where entries end.

    `steps`: loss, clipped, then by variable the norms of gradient, value and update;
    `looks`: number of the step, then by output mean, deviation, zeros and saturated.
    """

    order: list[str]  # of the variables in the model
    paths: list[str]  # as the kernel has them
    moved: bool  # whether there are norms of values and updates
    names: list[str]
    steps: F64
    step_ends: NDArray[np.int64]
    looks: F64
    look_ends: NDArray[np.int64]


class Watch:
    """The memory of a training program's figures, and the recording of its kernel.

    Parameters
    ----------
    recording : Recording
        Of training; what it is made of is recorded after the rest.
    variables : sequence of Variable
        Those of the model that are trained, in order.
    moved : bool
        Whether a kernel updates the variables.
    """

    def __init__(self, recording: Recording, variables: Sequence[Variable], *, moved: bool) -> None:
        program = recording.program
        shown = _shown(program.outputs)
        self.order, self.names = [v.path for v in variables], _named(list(shown))
        self.paths = [v.path for v in recording.variables]
        self.moved = moved
        widths = 2 + 3 * len(self.paths), 1 + 4 * len(shown)
        self._steps, self._looks = (np.zeros(POINTS * width) for width in widths)
        self._state = np.array([0, 1, 0, 1, 0], np.int64)  # entries, entries of a row; origin
        slopes = [_slope(program, layer, y) for layer, y in shown.items()]
        alive = [vector(y.shape[1]) for y in shown.values()]
        self.alive = {
            name: live
            for name, live, slope in zip(self.names, alive, slopes, strict=True)
            if slope[0] is not None
        }
        self._owner: weakref.ref[Watching] | None = None
        self.pause = program.watch(
            recording.norms[: len(self.paths)],
            recording.totals[:2],
            recording.before[:2],
            recording.health,
            self._steps,
            self._looks,
            self._state,
            np.zeros(2),
            [(*slope, live) for slope, live in zip(slopes, alive, strict=True)],
        )

    def begin(self, owner: Watching, updates: int) -> None:
        """Start anew, for another training; what was seen goes to those who still want it."""
        former = None if self._owner is None else self._owner()
        if former is not None:
            former.settle(self)
        self._owner = weakref.ref(owner)
        self._state[...] = 0, 1, 0, 1, updates
        for live in self.alive.values():
            live[...] = 0.0

    def figures(self) -> Figures:
        """Return a copy of what was seen."""
        steps, step_ends = _taken(self._steps, self._state[:2])
        looks, look_ends = _taken(self._looks, self._state[2:4])
        of = self.order, self.paths, self.moved, self.names
        return Figures(*of, steps, step_ends, looks, look_ends)

    @property
    def looks(self) -> int:
        """How many looks there were."""
        return int(self._state[2])


class Watching:
    """What is seen of one training, by a watch for each structure that the model has had."""

    most = 8  # watches whose memory it uses

    def __init__(self) -> None:
        self._past: list[Figures] = []
        self._watches: list[Watch] = []
        self._current: Watch | None = None
        self._looks = 0  # before this epoch
        self.dead: dict[str, list[int]] = {}
        self.dead_units: dict[str, NDArray[np.intp]] = {}

    def use(self, watch: Watch | None, updates: int) -> None:
        """Go on with the figures of this one."""
        if watch is self._current or watch is None:
            return
        if watch not in self._watches:
            while len(self._watches) >= self.most:
                self.settle(self._watches[0])
            watch.begin(self, updates)
            self._watches.append(watch)
        self._current, self._looks = watch, watch.looks

    def settle(self, watch: Watch) -> None:
        """Keep what is there, for the watch begins anew."""
        self._past.append(watch.figures())
        self._watches.remove(watch)
        if watch is self._current:
            self._current = None

    def end_epoch(self) -> None:
        """Count the units that were dead in all looks of an epoch; without a look, as before."""
        watch = self._current
        if watch is None:
            return
        looked, self._looks = watch.looks > self._looks, watch.looks
        for name, live in watch.alive.items():
            counts = self.dead.setdefault(name, [])
            if looked:
                self.dead_units[name] = np.flatnonzero(live == 0.0)
                live[...] = 0.0
            counts.append(len(self.dead_units.get(name, ())))

    def health(self, epochs: dict[str, list[float]]) -> Health:
        """Return all figures so far."""
        from evengrad.doctor.health import joined

        now = [watch.figures() for watch in self._watches]
        return joined(self._past + now, epochs, self.dead, self.dead_units)


def _taken(rows: F64, state: NDArray[np.int64]) -> tuple[F64, NDArray[np.int64]]:
    """Rows of sums that are in use, and the number of entries up to the end of each."""
    entries, each = state.tolist()
    used = -(-entries // each)
    ends = np.minimum(np.arange(1, used + 1) * each, entries)
    return rows.reshape(POINTS, -1)[:used].copy(), ends


def _shown(outputs: dict[Layer, F32]) -> dict[Layer, F32]:
    """Outputs that are still there at the end of a step, but for noise and shapes."""
    from evengrad.layers import dropout, flatten

    unseen = (
        dropout.Dropout, dropout.AlphaDropout, dropout.GaussianDropout, dropout.GaussianNoise,
        flatten.Flatten, flatten.Reshape,
    )  # fmt: skip
    last = {y.ctypes.data: layer for layer, y in outputs.items()}
    return {
        layer: y
        for layer, y in outputs.items()
        if last[y.ctypes.data] is layer and not isinstance(layer, unseen)
    }


def _named(layers: list[Layer]) -> list[str]:
    """Names of layers; with the model's where two are the same."""
    names = [layer.name for layer in layers]
    return [
        f"{layer._scope}{layer.name}" if names.count(layer.name) > 1 else layer.name
        for layer in layers
    ]


def _slope(program: Program, layer: Layer, y: F32) -> tuple[Any, ...]:
    """What the kernel needs for the slopes of an output, if it is an activation's."""
    activation = None if layer.in_python else getattr(layer, "activation", None)
    known = isinstance(activation, Spec) and activation.name in _core.activations
    if not known or (layer, "activation") not in program.saved:
        return None, (), None, y, 0.0
    assert isinstance(activation, Spec)
    x, _ = program.saved[layer, "activation"]
    source = x if _core.activations[activation.name].needs_input else None
    flat = _FLAT * _largest_slope(activation)
    return activation.name, list(activation.parameters), source, y, flat


@functools.lru_cache(maxsize=64)
def _largest_slope(activation: Spec) -> float:
    """Largest absolute slope of an activation in [-3, 3], where normalized inputs are."""
    program = Program(1, training=True)
    x = program.tensor(193)
    x[...] = np.linspace(-3.0, 3.0, 193)
    y = activation.record(program, x, owner=activation)
    if not len(program):
        return 1.0
    dy = program.like(y)
    dy[...] = 1.0
    dx = activation.record_backward(program, dy, activation)
    program.run(1)
    return float(np.abs(dx).max())
