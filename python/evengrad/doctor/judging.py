"""Judging: held-out scores by the user's metric, and when a difference is more than luck."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import losses, metrics
from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad.metrics import Metric
    from evengrad.models import Sequential

F64 = NDArray[np.float64]

_SURE = 1.64  # standard errors: one in twenty by luck
_NEAR = 0.97
_FAR = 10.0  # times the error of an answer that knows nothing
_HINGES = losses.Hinge, losses.SquaredHinge
_OF_CLASSES = (
    losses.BinaryCrossentropy, losses.CategoricalCrossentropy, losses.CategoricalHinge,
    losses.Hinge, losses.KLDivergence, losses.SparseCategoricalCrossentropy, losses.SquaredHinge,
)  # fmt: skip


@dataclass(frozen=True)
class Score:
    """A held-out score; `merits` are of each sample, higher being better, `fine` orders equals."""

    value: float
    merits: F64
    fine: float = 0.0

    @property
    def valid(self) -> bool:
        """Whether it is a number."""
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Held:
    """Samples that nothing is trained on."""

    x: Any
    y: NDArray[Any]
    weight: NDArray[np.float64] | None = None


def classes_of(loss: losses.Loss, y: NDArray[Any], outputs: int) -> NDArray[np.intp] | None:
    """Return class numbers where targets stand for classes, None where they are quantities."""
    if loss.sparse:
        return np.asarray(y).reshape(-1).astype(np.intp)
    rows = np.asarray(y, np.float64)
    rows = rows.reshape(len(rows), -1)
    if rows.size == 0:
        return None
    levels = np.unique(rows)
    two = len(levels) <= 2 and set(levels.tolist()) <= {-1.0, 0.0, 1.0}
    if rows.shape[1] == 1:
        of_classes = two or (isinstance(loss, _OF_CLASSES) and len(levels) <= 2)
        return (rows[:, 0] > levels.mean()).astype(np.intp) if of_classes else None
    one_hot = two and bool((rows.sum(axis=1) == rows.max(axis=1)).all())
    return rows.argmax(axis=1) if one_hot or isinstance(loss, _OF_CLASSES) else None


def decisions(loss: losses.Loss, outputs: F64) -> NDArray[np.intp]:
    """Return class numbers that outputs stand for."""
    if outputs.shape[1] > 1:
        largest: NDArray[np.intp] = outputs.argmax(axis=1)
        return largest
    middle = 0.5
    if isinstance(loss, _HINGES) or getattr(loss, "from_logits", False):
        middle = 0.0
    return (outputs[:, 0] > middle).astype(np.intp)


class Judge:
    """Gives models their held-out score.

    Parameters
    ----------
    model : Sequential
        Whose loss and metrics decide what is scored.
    held : Held
    metric : str, Metric or function, optional
        Default: the first metric of the model of which it is known what is better; without any
        "accuracy" for classes, "r2_score" for quantities.
    """

    def __init__(self, model: Sequential, held: Held, metric: Any = None) -> None:
        self.held = held
        loss = model.compiled_loss("cure")
        self.outputs = model.sample_output_shape()[-1]
        self.classes = classes_of(loss, held.y, self.outputs)
        self.loss = loss
        self._given, self.name, self.higher = self._chosen(model, metric)

    def _chosen(self, model: Sequential, metric: Any) -> tuple[Any, str, bool]:
        if metric == "loss":
            return "loss", "loss", False
        if metric is None:
            for name, known in list(model.reported().items())[1:]:
                if known._direction:
                    return self._usual(known, name), name, known._direction == "up"
            metric = "r2_score" if self.classes is None else "accuracy"
        found = metrics.get(metric, sparse=self.loss.sparse, outputs=self.outputs)
        if not found._direction:
            raise ValueError(
                f"cure: expected a metric of which it is known whether larger is better, got "
                f"{metric!r}; name one of evengrad.metrics, or 'loss'"
            )
        return self._usual(found, metric), found.name, found._direction == "up"

    def _usual(self, found: Metric, given: Any) -> Any:
        """A metric that is computed here, however outputs are made, or the object itself."""
        accuracies = (
            metrics.BinaryAccuracy, metrics.CategoricalAccuracy, metrics.SparseCategoricalAccuracy
        )  # fmt: skip
        if type(found) in accuracies and self.classes is not None:
            return "accuracy"
        if type(found) is metrics.R2Score and self.classes is None:
            return "r2_score"
        return found

    def __call__(self, model: Sequential) -> Score:
        """Return the score; NaN where outputs are not finite."""
        none = Score(math.nan, np.zeros(len(self.held.y)), -math.inf)
        try:
            outputs = model.predict(self.held.x, verbose=0)
        except (NonFiniteError, ValueError):
            return none
        rows = outputs.reshape(len(outputs), -1).astype(np.float64)
        if not np.isfinite(rows).all():
            return none
        loss = model.compiled_loss("cure")
        merits, fine = self._merits(loss, rows)
        value = self._value(loss, outputs, merits)
        return Score(value, merits, fine) if math.isfinite(value) else none

    def merits_of(self, answers: F64) -> F64:
        """Merits of predictions that no network made: one column a class, or the targets'."""
        if self.classes is not None:
            right: F64 = (answers.argmax(axis=1) == self.classes).astype(np.float64)
            return right
        truth = np.asarray(self.held.y, np.float64).reshape(len(answers), -1)
        errors = np.abs(answers - truth)
        merits: F64 = -(errors if self._by_distance else np.square(errors)).sum(axis=1)
        return merits

    def _merits(self, loss: losses.Loss, rows: F64) -> tuple[F64, float]:
        if self.classes is not None:
            right = (decisions(loss, rows) == self.classes).astype(np.float64)
            return right, self._confidence(loss, rows)
        truth = np.asarray(self.held.y, np.float64).reshape(len(rows), -1)
        if truth.shape != rows.shape:
            return np.full(len(rows), -math.inf), -math.inf
        merits = self.merits_of(rows)
        return merits, float(merits.mean())

    @property
    def _by_distance(self) -> bool:
        absolute = metrics.MeanAbsoluteError, metrics.MeanAbsolutePercentageError
        return isinstance(self._given, absolute) or (
            self._given == "loss" and isinstance(self.loss, losses.MeanAbsoluteError)
        )

    def _confidence(self, loss: losses.Loss, rows: F64) -> float:
        """Mean of what is given to the right class, from 0 to 1."""
        assert self.classes is not None
        if rows.shape[1] == 1:
            p = rows[:, 0]
            if isinstance(loss, _HINGES) or getattr(loss, "from_logits", False):
                p = 1.0 / (1.0 + np.exp(-np.clip(p, -60.0, 60.0)))
            p = np.where(self.classes == 1, p, 1.0 - p)
        else:
            if getattr(loss, "from_logits", False):
                rows = np.exp(rows - rows.max(axis=1, keepdims=True))
                rows = rows / rows.sum(axis=1, keepdims=True)
            inside = np.minimum(self.classes, rows.shape[1] - 1)
            p = rows[np.arange(len(rows)), inside]
        return float(np.clip(p, 0.0, 1.0).mean())

    def _value(self, loss: losses.Loss, outputs: NDArray[Any], merits: F64) -> float:
        weight = self.held.weight
        if self._given == "accuracy":
            return float(np.average(merits, weights=weight))
        if self._given == "r2_score":
            y = np.asarray(self.held.y, np.float64).reshape(len(merits), -1)
            around = np.square(y - np.average(y, axis=0, weights=weight)).sum(axis=1)
            total = float(np.average(around, weights=weight))
            return 1.0 + float(np.average(merits, weights=weight)) / total if total else math.nan
        if self._given == "loss":
            return float(self.loss(self.held.y, outputs, weight))
        self._given.reset_state()
        self._given.update_state(self.held.y, outputs, weight)
        value = float(np.mean(self._given.result()))
        self._given.reset_state()
        return value

    def rank(self, score: Score) -> tuple[float, float]:
        """What orders scores, the best being the largest."""
        if not score.valid:
            return -math.inf, -math.inf
        return (score.value if self.higher else -score.value), score.fine

    def racing(self, score: Score) -> float:
        """What orders runners under way: with classes also how sure they are of the right one."""
        value, fine = self.rank(score)
        return value + 0.1 * fine if self._given == "accuracy" and score.valid else value

    def knows_something(self, score: Score) -> bool:
        """Whether right answers are more than the largest class has samples."""
        if self._given != "accuracy" or self.classes is None:
            return True
        return bool(score.merits.mean() > np.bincount(self.classes).max() / len(self.classes))

    def _bounded(self, merits: F64) -> F64:
        """Merits of which no one outweighs all others: what is far off is off."""
        return merits if self.classes is not None else np.maximum(merits, -_FAR * self._spread)

    @property
    def _spread(self) -> float:
        """Mean error of the best answer that is one for all."""
        y = np.asarray(self.held.y, np.float64).reshape(len(self.held.y), -1)
        apart = y - y.mean(axis=0)
        return float((np.abs(apart) if self._by_distance else np.square(apart)).sum(axis=1).mean())

    def is_near(self, score: Score, reach: F64 | None, share: float = _NEAR) -> bool:
        """Whether a score is about that of other merits, if there are any."""
        if reach is None:
            return True
        own, other = float(score.merits.mean()), float(reach.mean())
        if self.classes is not None:
            return own >= share * other
        return own >= other - (1.0 - share) * self._spread

    def gain(self, after: Score, before: Score) -> float:
        """By how much one is better."""
        first, second = self.rank(after)[0], self.rank(before)[0]
        return 0.0 if first == second else first - second

    def certain(self, after: Score, before: Score, sure: float = _SURE) -> bool:
        """Whether one is better, and by its samples not by luck alone.

        Samples are compared one by one: the mean of the differences is to be as many standard
        errors above 0. Of right and wrong answers these are sqrt(b + c), b and c being how many
        only one of the two gets right (McNemar 1947, doi:10.1007/BF02295996).
        """
        if not after.valid or self.gain(after, before) <= 0.0:
            return False
        if not before.valid:
            return True
        difference = self._bounded(after.merits) - self._bounded(before.merits)
        total = float(difference.sum())
        if self.classes is None:
            error = math.sqrt(len(difference)) * float(difference.std())
        else:
            error = math.sqrt(float(np.abs(difference).sum()))
        return total > 0.0 and total >= sure * error
