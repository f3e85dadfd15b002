"""Candidates: which edits to try, those of the verdicts first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor import heads, rewriting
from evengrad.doctor.judging import classes_of
from evengrad.doctor.scaling import PROPORTIONAL, Truth, moments_of_targets
from evengrad.doctor.verdicts import Edit

if TYPE_CHECKING:
    from evengrad.doctor.judging import Judge
    from evengrad.doctor.plans import Plan
    from evengrad.doctor.verdicts import Verdict

Edits = tuple[Edit, ...]

_RATE = 0.003  # of Adam
_FEW, _MANY = 150, 600  # steps of a training that is too short, and of one that is not
_ALMOST_ALL = 0.95
_BATCHES = 8, 64  # sizes between which nothing speaks against


class Menu:
    """What may help a plan, whatever it suffers from.

    Parameters
    ----------
    plan : Plan
    truth : Truth
        Of training.
    judge : Judge
    verdicts : sequence of Verdict
    most : float
        What one candidate may cost.
    anew : bool
        Whether to train as before, but from the beginning, is a change.
    """

    def __init__(
        self,
        plan: Plan,
        truth: Truth,
        judge: Judge,
        verdicts: Sequence[Verdict],
        most: float,
        *,
        anew: bool = False,
    ) -> None:
        self.plan, self.truth, self.judge, self.most = plan, truth, judge, most
        self.verdicts = list(verdicts)
        self.anew = anew
        self.roles = rewriting.Roles(plan.layers)
        assert truth.y is not None
        self.classes = classes_of(judge.loss, truth.y, judge.outputs)

    # -- what the report prescribes

    def prescribed(self) -> Iterator[Edits]:
        """The edits of each verdict, the first alone, then the others, then together."""
        firsts = [verdict.edits for verdict in self.verdicts if verdict.edits]
        for edits in firsts[:3]:
            yield edits[:1]
        if len(firsts) > 1:
            yield (*firsts[0][:1], *firsts[1][:1])
        for edits in firsts[:3]:
            for edit in edits[1:3]:
                yield (edit,)
            if len(edits) > 1:
                yield edits[:2]

    # -- everything healthy

    def healthy(self) -> Edits:
        """All at once that is known to be healthy."""
        return (
            *self.repairs(),
            Edit("optimizer", self._adam(_RATE)),
            Edit("activation", "elu"),
            Edit("initializer", "he_normal"),
            Edit("batch_normalization", "before"),
        )

    def plain(self) -> Edits:
        """Another way: self-normalizing (arXiv:1706.02515), of all columns."""
        kept = (edit for edit in self.repairs() if edit.kind != "drop_columns")
        return (
            *kept,
            Edit("optimizer", self._adam(_RATE / 3.0)),
            Edit("activation", "selu"),
            Edit("initializer", "lecun_normal"),
        )

    def repairs(self) -> Edits:
        """What data and arguments call for."""
        found = [*self._of_output(), *self._of_data()]
        return (*found, Edit("regularization", 0.0), *self._of_length())

    def _adam(self, rate: float) -> dict[str, Any]:
        """Adam, in longer steps where there are few of them."""
        faster = min(4.0, max(1.0, (_MANY / 3.0 / self._steps) ** 0.5))
        return {"name": "adam", "learning_rate": _rounded(rate * faster)}

    @property
    def _steps(self) -> int:
        return self.plan.epochs * math.ceil(self._rows / self.plan.batch_size)

    def _of_output(self) -> Iterator[Edit]:
        wanted = heads.fitting(self.plan, np.asarray(self.truth.y), self.classes)
        if wanted is not None:
            yield Edit("output", wanted)

    def _of_data(self) -> Iterator[Edit]:
        leaking = leaking_columns(self.truth, self.classes)
        if leaking:
            yield Edit("drop_columns", leaking)
        if not self._inputs_are_scaled():
            yield Edit("scale_inputs", True)
        if self.classes is None and self.truth.y is not None:
            mean, spread = moments_of_targets(self.truth.y)
            if not (np.all(np.abs(mean) < spread) and np.all(np.abs(np.log(spread)) < 1.1)):
                yield Edit("scale_targets", True)

    def _inputs_are_scaled(self) -> bool:
        assert self.truth.x is not None
        x = np.asarray(self.truth.x, np.float64)
        rows = x.reshape(len(x), -1)
        mean, spread = np.abs(rows.mean(axis=0)), rows.std(axis=0)
        live = spread > 0.0
        if not live.any():
            return True
        small = bool(np.all(mean[~live] < 3.0))
        near = bool(np.all(mean[live] < 3.0) and np.all(spread[live] < 10.0))
        return small and near and bool(np.median(spread[live]) > 0.1)

    def _of_length(self) -> Iterator[Edit]:
        wanted = math.ceil(_MANY / 3.0 / self._steps)
        if wanted > 1 and self.most >= 2.0:
            yield Edit("epochs", float(min(wanted, int(self.most))))
        if wanted > self.most and self.plan.batch_size > _BATCHES[0]:
            yield Edit("batch_size", max(_BATCHES[0], self.plan.batch_size // 4))
        elif not _BATCHES[0] <= self.plan.batch_size <= _BATCHES[1]:
            yield Edit("batch_size", 32)

    @property
    def _rows(self) -> int:
        return len(np.asarray(self.truth.y))

    # -- one at a time

    def singles(self) -> Iterator[Edit]:
        """Edits that may be all that is needed, the likelier first."""
        yield from self.repairs()
        rate, fast = self._rate(), self.plan.optimizer["class_name"] not in PROPORTIONAL
        good = 0.003 if fast else 0.05 / self._inertia()
        if rate is not None:
            if not good / 3.0 < rate < good * 3.0:
                yield Edit("learning_rate", _rounded(good))
            yield Edit("learning_rate", _rounded(rate * 0.1))
            yield Edit("learning_rate", _rounded(rate * 10.0))
        yield Edit("optimizer", self._adam(_RATE))
        if self.anew:
            yield self.as_before()
        if self._inertia() > 10.0:
            yield Edit("optimizer", {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9})
        yield Edit("initializer", "auto")
        yield Edit("initializer", "glorot_uniform")
        yield Edit("activation", "elu")
        yield Edit("batch_normalization", "before")
        yield Edit("clipping", {})
        yield Edit("clipping", {"global_clipnorm": 1.0})
        yield Edit("recalibrate", True)
        if self.most >= 2.0:
            yield Edit("epochs", 2.0)

    def as_before(self) -> Edit:
        """The optimizer that there is, without what it has gathered."""
        from evengrad import optimizers

        name, arguments = self.plan.optimizer["class_name"], self.plan.optimizer["config"]
        try:
            usual = optimizers.get(name).get_config()
        except (TypeError, ValueError):  # one of the user's own
            usual = {}
        said = {k: v for k, v in arguments.items() if k not in usual or usual[k] != v}
        return Edit("optimizer", {"name": name} | said)

    def _rate(self) -> float | None:
        found = self.plan.optimizer["config"].get("learning_rate")
        if isinstance(found, dict):
            found = found.get("config", {}).get("initial_learning_rate")
        return float(found) if isinstance(found, int | float) and found > 0.0 else None

    def _inertia(self) -> float:
        """How many times the momentum makes a step longer."""
        momentum = self.plan.optimizer["config"].get("momentum", 0.0)
        return float(1.0 / max(0.02, 1.0 - momentum))


def leaking_columns(
    truth: Truth, classes: NDArray[np.intp] | None, most: float = 0.95
) -> list[int]:
    """Columns that by themselves say almost all of the targets, where no more than a few do.

    Compared by the share of a column's variance between the classes, or by r^2.
    """
    assert truth.x is not None
    x = np.asarray(truth.x, np.float64).reshape(len(np.asarray(truth.x)), -1)
    apart = x - x.mean(axis=0)
    total = np.square(apart).sum(axis=0)
    if classes is None:
        y = np.asarray(truth.y, np.float64).reshape(len(x), -1)[:, 0]
        y = y - y.mean()
        explained = np.square(y @ apart) / max(float(y @ y), 1e-300)
    else:
        explained = np.zeros(x.shape[1])
        for number in np.unique(classes):
            rows = apart[classes == number]
            explained += len(rows) * np.square(rows.mean(axis=0))
    share = explained / np.where(total > 0.0, total, np.inf)
    found = np.flatnonzero(share > _ALMOST_ALL)
    return [int(i) for i in found] if len(found) < x.shape[1] else []


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")
