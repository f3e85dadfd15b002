"""AutoTrainer's rules: five symptoms, each with a menu of repairs tried in order.

From the paper (Zhang, Zhai, Ma, Shen 2021, doi:10.1109/ICSE43902.2021.00043) and the defaults of
its authors' tool; written anew for dense networks. Symptoms are looked for every third epoch, those
of scores from 30% of the epochs on, and end the training. A repair counts as a success where the
training after it shows none, whatever its score: as published. R2 takes the place of accuracy in
regression, which the paper does not have. Not as in the tool: ThresholdedReLU and Adamax are not
among the repairs, SELU keeps biases of 0, and clipping takes the place of clipping that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import evengrad
import numpy as np
from evengrad import callbacks

from bench.sick.baselines import Outcome, Search
from bench.sick.data import Array, Data
from bench.sick.families import Case
from bench.sick.networks import Setup, Trained, fit, result_of

EVERY = 3  # epochs
JUDGED_FROM = 0.3  # of the epochs
FADED_RATIO, FADED_NORM = 1e-3, 1e-4  # beta_1: first kernel by last; beta_2: the first
GROWN_RATIO = 70.0  # beta_3
DEAD_SHARE = 0.7  # gamma: of gradients that are exactly 0
SWING, SWINGS = 0.03, 0.2  # zeta, eta: drop between extremes of the score, share of epochs
SLOW = 0.01  # delta: largest rise of the score in an epoch
SATISFIED = 0.7  # theta: score
LOSS_TOO_LARGE = 1e5
_RATE = 2.0**20  # a step of plain descent so long that rounding of weights hides no gradient


def gradients(model: evengrad.Sequential, data: Data, batch: int) -> list[Array]:
    """Gradients of the kernels in the first batch, as a step of plain descent on a copy shows."""
    copy = evengrad.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile(evengrad.optimizers.SGD(_RATE), model.loss)
    before = [np.array(v) for v in copy.trainable_variables]
    copy.train_on_batch(data.x_train[:batch], data.y_train[:batch])
    pairs = zip(before, copy.trainable_variables, strict=True)
    return [(np.float64(a) - np.float64(np.array(b))) / _RATE for a, b in pairs]


def of_gradients(found: Sequence[Array]) -> str:
    """The symptom that gradients show, "" for none."""
    kernels = [g for g in found if g.ndim == 2]
    zeros = sum(int((g == 0.0).sum()) for g in found) / sum(g.size for g in found)
    first, last = (float(np.linalg.norm(kernels[n])) for n in (0, -1))
    ratio = first / last if last > 0.0 else np.inf if first > 0.0 else 0.0
    if zeros >= DEAD_SHARE:
        return "dying"
    if ratio > GROWN_RATIO:
        return "exploding"
    if ratio < FADED_RATIO and first < FADED_NORM:
        return "vanishing"
    return ""


def swings(scores: Sequence[float]) -> bool:
    """Whether the training score goes up and down."""
    inner = range(1, len(scores) - 1)
    high = [scores[i] for i in inner if scores[i] >= max(scores[i - 1], scores[i + 1])]
    low = [scores[i] for i in inner if scores[i] <= min(scores[i - 1], scores[i + 1])]
    drops = sum(a - b >= SWING for a, b in zip(high, low, strict=False))
    return drops >= SWINGS * len(scores) and drops > 0


def symptom(history: dict[str, list[float]], gradient: str, share: float) -> str:
    """What is wrong so far, "" for nothing; `share`: of the epochs."""
    losses = history["loss"] + history["val_loss"]
    if not np.isfinite(losses).all() or history["val_loss"][-1] >= LOSS_TOO_LARGE:
        return "exploding"
    if share < JUDGED_FROM:
        return ""
    name = next(k for k in history if k in ("accuracy", "r2_score"))
    both = history[name], history[f"val_{name}"]
    slow = all(max(np.diff(s), default=0.0) < SLOW for s in both)
    if slow or any(max(s) < SATISFIED for s in both):
        return gradient or ("slow" if slow else "")
    return "unstable" if swings(history[name]) else ""


class Watch(callbacks.Callback):
    """Looks for symptoms while a model trains, and stops it at the first."""

    def __init__(self, data: Data, setup: Setup) -> None:
        super().__init__()
        self.data, self.setup, self.found = data, setup, ""
        self.series: dict[str, list[float]] = {}
        self.gradient = ""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the scores, and look."""
        for name, value in (logs or {}).items():
            self.series.setdefault(name, []).append(float(np.mean(value)))
        if epoch % EVERY:
            return
        try:
            shown = of_gradients(gradients(self.model, self.data, self.setup.batch))
        except evengrad.NonFiniteError:
            self.found = "exploding"
        else:
            self.gradient = self.gradient or shown
            self.found = symptom(self.series, self.gradient, (epoch + 1) / self.setup.epochs)
        self.model.stop_training = bool(self.found)


def watched(setup: Setup) -> tuple[Trained, str]:
    """Train under watch."""
    from bench.sick.networks import data_of

    data = data_of(setup)
    watch = Watch(data, setup)
    trained = fit(setup, data, [watch])
    ended_early = len(watch.series.get("loss", ())) < setup.epochs
    return trained, watch.found or ("exploding" if ended_early else "")


def _selu(setup: Setup) -> Setup:
    return replace(setup, activation="selu", initializer="lecun_uniform", bias=0.0)


def _with(setup: Setup, name: str, **arguments: Any) -> Setup:
    """An optimizer with the defaults of Keras."""
    defaults = {"sgd": 0.01, "momentum": 0.01}
    rate = defaults.get(name, 0.001)
    return replace(setup, optimizer=name, learning_rate=rate, arguments=arguments, stale=())


def _faster(setup: Setup, factor: float) -> Setup:
    return replace(setup, learning_rate=setup.learning_rate * factor)


Repair = tuple[str, Setup]


def _batch_normalization(setup: Setup) -> Repair:
    return "batch_normalization", replace(setup, normalization="after")


def _activation(setup: Setup, name: str) -> Repair:
    """Activation and initializer that go together in the tool."""
    return "activation", replace(setup, activation=name, initializer="he_uniform", bias=0.0)


def _vanishing(setup: Setup, rng: np.random.Generator) -> Iterator[Repair]:
    yield "activation", _selu(setup)
    yield _activation(setup, "relu")
    yield _batch_normalization(setup)


def _exploding(setup: Setup, rng: np.random.Generator) -> Iterator[Repair]:
    yield "activation", _selu(setup)
    yield _activation(setup, "relu")
    for clip in rng.uniform(9.0, 10.0, 2):
        kept = {k: v for k, v in setup.arguments.items() if "clip" not in k}
        yield "clipping", replace(setup, arguments=kept | {"clipvalue": float(clip)})
    yield _activation(setup, "tanh")
    yield _batch_normalization(setup)


def _dying(setup: Setup, rng: np.random.Generator) -> Iterator[Repair]:
    yield "activation", _selu(setup)
    yield _batch_normalization(setup)
    names = ("he_uniform", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal")
    for name in rng.permutation(names)[:3]:
        yield "initializer", replace(setup, initializer=str(name), bias=0.0)
    for name in ("leaky_relu", "elu"):
        yield "activation", replace(setup, activation=name)


def _unstable(setup: Setup, rng: np.random.Generator) -> Iterator[Repair]:
    yield "optimizer", _with(setup, "adam")
    for n in (1, 2, 3):
        yield "learning_rate", _faster(setup, 10.0**-n)
    yield "learning_rate", replace(setup, schedule="plateau")
    for n in (1, 2, 3):
        yield "batch_size", replace(setup, batch=2**n * setup.batch)
    for momentum in rng.uniform(0.01, 0.9, 3):
        yield "optimizer", _with(setup, "momentum", momentum=float(momentum))
    yield "noise", replace(setup, noise=0.1)


def _slow(setup: Setup, rng: np.random.Generator) -> Iterator[Repair]:
    for name in rng.permutation(["sgd", "adam", "nadam", "rmsprop"])[:3]:
        yield "optimizer", _with(setup, str(name))
    for n in (1, 2, 3):
        yield "learning_rate", _faster(setup, 10.0**n)


# Repairs of a symptom, in the order of the published strategy "balance".
MENUS = {
    "vanishing": _vanishing,
    "exploding": _exploding,
    "dying": _dying,
    "unstable": _unstable,
    "slow": _slow,
}


def autotrainer(case: Case, budget: float) -> Outcome:
    """Repairs until a training shows no symptom; else the best by validation.

    Where a menu is at its end, the best training that shows a symptom not yet treated is next.
    """
    search = Search(case, budget)
    rng = np.random.default_rng(case.setup.seed)
    _, found = watched(case.setup)
    search.spend(case.setup)
    setup, before, treated = case.setup, (), {""}
    while found not in treated:
        treated.add(found)
        others: list[tuple[float, str, Setup, tuple[str, ...]]] = []
        for kind, repaired in MENUS[found](setup, rng):
            if not search.affords(repaired):
                return search.outcome()
            trained, left = watched(repaired)
            search.spend(repaired)
            result = result_of(trained)
            edits = (*before, kind)
            if not left:
                return Outcome(result.val, result.test, edits, search.cost)
            search.offer(result, edits)
            others.append((result.val, left, repaired, edits))
        new = [other for other in others if other[1] not in treated]
        if new:
            _, found, setup, before = max(new, key=lambda other: other[0])
    return search.outcome()
