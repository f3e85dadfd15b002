"""Rules for the middle of a training: what the series of `Health` say alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor._verdict import some, verdict
from evengrad.doctor.health import Health, Norms
from evengrad.doctor.verdicts import Edit, Verdict

F64 = NDArray[np.float64]
_LEAST = 20  # points of a series before anything is said
_DECADES = 4.0  # that gradients lose over the layers
_NONE = 1e-30


@dataclass(frozen=True)
class Watched:
    """Series of a training, and what they do not tell: clip threshold, sizes of layers."""

    health: Health
    clip: float | None = None
    units: Mapping[str, int] = field(default_factory=dict)

    @property
    def kernels(self) -> dict[str, Norms]:
        """Norms of all kernels, in the order of the layers."""
        return {p: n for p, n in self.health.norms.items() if p.rpartition("/")[2] == "kernel"}

    @property
    def late(self) -> slice:
        """The last quarter."""
        return slice(-max(1, len(self.health.steps) // 4), None)


def layer_of(path: str) -> str:
    """Name of the layer of a variable."""
    return path.rpartition("/")[0].rpartition("/")[2]


def _median(values: F64) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def fading(watched: Watched) -> Verdict | None:
    """Gradients of the first layers are decades below those of the last ones."""
    kernels = watched.kernels
    logs = np.log10([max(_median(n.gradient[watched.late]), _NONE) for n in kernels.values()])
    if len(logs) < 3 or not np.isfinite(logs).all():
        return None
    slope = float(np.polyfit(np.arange(len(logs) - 1), logs[:-1], 1)[0])
    decades = slope * (len(logs) - 2)
    if abs(decades) < _DECADES:
        return None
    names = [layer_of(path) for path in kernels]
    fades = decades > 0.0
    return verdict(
        "vanishing_gradient" if fades else "exploding_gradient",
        min(0.95, 0.5 + 0.08 * abs(decades)),
        f"Gradients {'lose' if fades else 'gain'} {abs(decades):.1f} decades from {names[-1]} to "
        f"{names[0]}.",
        {"decades": decades, "decades_per_layer": slope, "depth": len(names)},
        (Edit("initializer", "auto"), Edit("batch_normalization", "before")),
        'kernel_initializer="auto" and BatchNormalization() behind each Dense',
        "Glorot, Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html",
        names,
    )


def dying(watched: Watched) -> Verdict | None:
    """Most units of a layer were flat for all samples of the last epoch."""
    shares = {
        name: counts[-1] / watched.units[name]
        for name, counts in watched.health.dead.items()
        if counts and watched.units.get(name)
    }
    names = [name for name, share in shares.items() if share > 0.5]
    if not names:
        return None
    worst = max(shares.values())
    return verdict(
        "dying_units",
        min(0.95, 0.4 + 0.5 * worst),
        f"Up to {worst:.0%} of the units of {some(names)} were flat for every sample of an epoch.",
        {"largest_share": worst, "layers": len(names)},
        (Edit("activation", "elu"), Edit("batch_normalization", "before")),
        'Dense(units, "elu")',
        "Lu, Shin, Su, Karniadakis 2019, arXiv:1903.06733",
        names,
    )


def growing(watched: Watched) -> Verdict | None:
    """The loss is above what it began with, by much more than it varies."""
    loss = watched.health.loss
    begin, end = loss[: max(5, len(loss) // 20)], loss[watched.late]
    noise = float(np.median(np.abs(begin - np.median(begin)))) + 1e-12
    rise = _median(end) - _median(begin)
    steps = [_median((n.update / np.maximum(n.weight, _NONE))[watched.late])
             for n in watched.kernels.values()]  # fmt: skip
    long = max(steps, default=0.0)
    if not (rise > 5.0 * noise and rise > 0.2 * abs(_median(begin))) and long < 0.3:
        return None
    return verdict(
        "learning_rate_too_high",
        0.85 if rise > 5.0 * noise else 0.6,
        f"The loss went from {_median(begin):.3g} to {_median(end):.3g}; a step moves a kernel by "
        f"up to {long:.1%} of its norm.",
        {"loss_at_first": _median(begin), "loss_now": _median(end), "update_to_weight": long},
        (Edit("clipping", {"global_clipnorm": 1.0}),),
        "model.optimizer.learning_rate = 0.1 * model.optimizer.learning_rate",
        "LeCun, Bottou, Orr, Muller 1998, doi:10.1007/3-540-49430-8_2",
    )


def standing(watched: Watched) -> Verdict | None:
    """No kernel moves, and the loss has hardly fallen."""
    loss = watched.health.loss
    begin, end = float(np.mean(loss[: len(loss) // 4])), float(np.mean(loss[watched.late]))
    steps = [_median(n.update / np.maximum(n.weight, _NONE)) for n in watched.kernels.values()]
    fastest = max(steps, default=1.0)
    if fastest > 1e-5 or end < 0.9 * begin:
        return None
    return verdict(
        "learning_rate_too_low",
        min(0.95, 0.6 + 0.1 * float(np.log10(1e-5 / max(fastest, 1e-12)))),
        f"No step moves a kernel by more than {fastest:.1e} of its norm.",
        {"update_to_weight": fastest, "loss_at_first": begin, "loss_now": end},
        (),
        "model.optimizer.learning_rate = 100 * model.optimizer.learning_rate",
        "Smith 2017, arXiv:1506.01186",
    )


def clipped(watched: Watched) -> Verdict | None:
    """Almost every step is shortened, and by much."""
    share = float(np.mean(watched.health.clipped[watched.late]))
    if watched.clip is None or share < 0.95 or not watched.health.norms:
        return None
    squares = sum(n.gradient[watched.late] ** 2 for n in watched.health.norms.values())
    factor = watched.clip / max(_median(np.sqrt(squares)), _NONE)
    if factor > 0.05:
        return None
    return verdict(
        "over_clipped",
        min(0.95, 0.6 + 0.15 * float(-np.log10(factor) - 1.3)),
        f"Clipping shortens {share:.0%} of the steps, to {factor:.1%} of their length.",
        {"threshold": watched.clip, "factor": factor, "share_of_steps": share},
        (Edit("clipping", {"global_clipnorm": 1.0}), Edit("clipping", {})),
        "optimizer=SGD(learning_rate, global_clipnorm=1.0)",
        "Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063",
    )


def flat(watched: Watched) -> Verdict | None:
    """Units of a layer are where their activation is flat, for most samples."""
    shares = {
        name: float(np.mean(a.saturated[-max(1, len(a.saturated) // 4) :]))
        for name, a in watched.health.activity.items()
        if len(a.saturated) and float(a.zeros[-1]) < 0.05  # zeros are for `dying`
    }
    names = [name for name, share in shares.items() if share > 0.8]
    if not names:
        return None
    worst = max(shares.values())
    return verdict(
        "saturation",
        min(0.9, worst),
        f"{worst:.0%} of the outputs of {some(names)} are where the activation is flat.",
        {"largest_share": worst},
        (Edit("batch_normalization", "before"), Edit("activation", "elu")),
        "BatchNormalization() between Dense and Activation",
        "Glorot, Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html",
        names,
    )


_RULES: tuple[Callable[[Watched], Verdict | None], ...] = (
    fading, dying, growing, standing, clipped, flat,
)  # fmt: skip


def during(
    health: Health, clip: float | None = None, units: Mapping[str, int] | None = None
) -> tuple[Verdict, ...]:
    """Return what the series of a training say, the most likely first; nothing is trained.

    Parameters
    ----------
    health : Health
        Of the training so far.
    clip : float, optional
        Threshold of clipping by norm, if there is any.
    units : mapping of str to int, optional
        Sizes of layers by name.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad.doctor import Health, Norms
    >>> from evengrad.doctor.rules import during
    >>> one = np.ones(40)
    >>> norms = {f"d{i}/kernel": Norms(10.0 ** (2 * i) * one, one, 1e-3 * one) for i in range(5)}
    >>> health = Health(steps=np.arange(1.0, 41.0), loss=one, clipped=0 * one, norms=norms)
    >>> [verdict.disease for verdict in during(health)]
    ['vanishing_gradient']
    """
    if len(health.steps) < _LEAST or len(health.loss) < _LEAST:
        return ()
    watched = Watched(health, clip, units or {})
    with np.errstate(all="ignore"):
        found = [rule(watched) for rule in _RULES]
    return tuple(sorted((v for v in found if v), key=lambda v: -v.confidence))
