"""What can be reached: the task, scores, and a small healthy network on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import losses
from evengrad.doctor._lab import draws

if TYPE_CHECKING:
    from evengrad.models import Sequential

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_CLASSES = (
    losses.BinaryCrossentropy,
    losses.CategoricalCrossentropy,
    losses.SparseCategoricalCrossentropy,
    losses.Hinge,
    losses.SquaredHinge,
    losses.CategoricalHinge,
    losses.KLDivergence,
)
_STEPS = 400
_FOLDS = 3


@dataclass(frozen=True)
class Task:
    """What is to be learned: class numbers, or columns of numbers.

    `classes`: how many, 0 for regression; `labels` (n,) or `values` (n, columns).
    """

    classes: int
    labels: NDArray[np.intp] | None = None
    values: F64 | None = None

    @property
    def chance(self) -> float:
        """Score of the best answer that knows nothing of the inputs."""
        if self.labels is None:
            return 0.0
        return float(np.bincount(self.labels).max() / len(self.labels))


def task_of(loss: losses.Loss, y: NDArray[Any], outputs: int) -> Task | None:
    """Find out what targets mean; None where there is more than one row of them a sample."""
    if loss.sparse:
        labels = np.asarray(y).reshape(-1).astype(np.intp)
        return Task(max(outputs, int(labels.max(initial=0)) + 1), labels)
    rows = np.asarray(y, np.float64)
    if rows.ndim > 2:
        return None
    rows = rows.reshape(len(rows), -1)
    columns, of_classes = rows.shape[1], isinstance(loss, _CLASSES)
    levels = np.unique(rows)
    two = len(levels) == 2 and set(levels.tolist()) <= {-1.0, 0.0, 1.0}
    if columns > 1 and (of_classes or (two and bool(np.all(rows.sum(axis=1) == 1.0)))):
        return Task(columns, rows.argmax(axis=1))  # one-hot, or near it
    if columns == 1 and (two or of_classes):
        return Task(2, (rows[:, 0] > (levels[0] + levels[-1]) / 2.0).astype(np.intp))
    return Task(0, values=rows)


def score(task: Task, loss: losses.Loss, outputs: F32) -> float:
    """Share of right answers, or share of the variance that is explained, at least -1."""
    rows = outputs.reshape(len(outputs), -1).astype(np.float64)
    if not np.isfinite(rows).all():
        return -1.0
    if task.labels is None:
        assert task.values is not None
        return explained(task.values, rows)
    if rows.shape[1] > 1:
        return float(np.mean(rows.argmax(axis=1) == task.labels))
    middle = 0.5
    if isinstance(loss, losses.Hinge | losses.SquaredHinge) or getattr(loss, "from_logits", False):
        middle = 0.0
    if task.classes > 2:
        return float(np.mean(np.rint(rows[:, 0]) == task.labels))
    return float(np.mean((rows[:, 0] > middle) == (task.labels == 1)))


def explained(truth: F64, predicted: F64) -> float:
    """1 - squared errors over squared deviations, at least -1."""
    if predicted.shape != truth.shape:
        return -1.0
    total = float(((truth - truth.mean(axis=0)) ** 2).sum())
    if total == 0.0:
        return 0.0
    return max(-1.0, 1.0 - float(((truth - predicted) ** 2).sum()) / total)


@dataclass(frozen=True)
class Reference:
    """Scores of a small healthy network: on rows that it saw and on rows that it did not.

    Those of a linear model where that does better on unseen rows.
    """

    seen: float
    unseen: float
    chance: float
    rows: int

    classes: int

    @property
    def doubt(self) -> float:
        """Standard error of the score of unseen rows."""
        return doubt_of(self.unseen, self.rows, self.classes)


def doubt_of(score: float, rows: int, classes: int) -> float:
    """Standard error of a share of right answers, or of explained variance, over so many rows."""
    share = min(max(score, 0.0), 1.0)
    if classes:
        return float(np.sqrt((share * (1.0 - share) + 0.25 / rows) / rows))
    return float(2.0 * np.sqrt(share) * (1.0 - share) / np.sqrt(rows) + 0.5 / rows)


def standardized(x: F32) -> F32:
    """Columns of mean 0 and deviation 1; constant ones become 0."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    spread = rows.std(axis=0)
    scaled = (rows - rows.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    return np.where(spread > 1e-12, scaled, 0.0).astype(np.float32)


def train_reference(task: Task, x: F32, width: int, seed: int) -> Reference:
    """Train a network of two hidden layers on two thirds of the rows, three times over.

    Each row is judged once by a network that has not seen it.
    """
    order = np.random.default_rng(seed).permutation(len(x))
    inputs, truth = standardized(x), _truth(task)
    answers = np.zeros((2, len(x), task.classes or truth.shape[1]), np.float32)
    seen: list[tuple[float, float]] = []
    for fold in range(_FOLDS):
        held, kept = order[fold::_FOLDS], np.delete(order, np.s_[fold::_FOLDS])
        model = _network(inputs.shape[1], task, width)
        model.draws = draws(seed)
        batch = max(16, min(64, len(kept) // 8))
        epochs = max(1, round(_STEPS * batch / len(kept)))
        model.fit(inputs[kept], truth[kept], batch, epochs, verbose=0)
        lines = _lines(inputs[kept], truth[kept], answers.shape[2])
        answers[0, held], answers[1, held] = model.predict(inputs[held]), lines(inputs[held])
        both = model.predict(inputs[kept]), lines(inputs[kept])
        seen.append((_judged(truth[kept], both[0]), _judged(truth[kept], both[1])))
    unseen = [_judged(truth, given) for given in answers]
    best = int(unseen[1] > unseen[0])
    return Reference(
        float(np.mean(seen, axis=0)[best]), unseen[best], task.chance, len(x), task.classes
    )


def _lines(x: F32, truth: NDArray[Any], outputs: int) -> Callable[[F32], F32]:
    """Return a ridge regression, a tenth of the rows strong, on targets or one-hot labels."""
    goal = np.eye(outputs)[truth] if truth.ndim == 1 else truth.astype(np.float64)
    rows, middle = x.astype(np.float64), goal.mean(axis=0)
    square = rows.T @ rows + 0.1 * len(rows) * np.eye(rows.shape[1])
    weight = np.linalg.solve(square, rows.T @ (goal - middle))
    return lambda given: (given.astype(np.float64) @ weight + middle).astype(np.float32)


def _truth(task: Task) -> NDArray[Any]:
    if task.labels is not None:
        return task.labels
    assert task.values is not None
    return standardized(task.values.astype(np.float32))


def _judged(truth: NDArray[Any], outputs: F32) -> float:
    if truth.ndim == 1:
        return float(np.mean(outputs.argmax(axis=1) == truth))
    return explained(truth.astype(np.float64), outputs.astype(np.float64))


def _network(columns: int, task: Task, width: int) -> Sequential:
    from evengrad import layers, models, optimizers

    names = iter(f"reference_{i}" for i in range(9))
    parts: list[Any] = []
    shape: dict[str, Any] = {"input_shape": (columns,)}
    for _ in range(2):
        parts += [
            layers.Dense(
                width, use_bias=False, kernel_initializer="he_normal", name=next(names), **shape
            ),
            layers.BatchNormalization(momentum=0.9, name=next(names)),
            layers.ELU(name=next(names)),
        ]
        shape = {}
    outputs = task.classes
    if task.values is not None:
        outputs = task.values.shape[1]
    last = "softmax" if task.classes else None
    parts.append(layers.Dense(outputs, last, kernel_initializer="glorot_uniform", name=next(names)))
    model = models.Sequential(parts, name="reference")
    rate = optimizers.schedules.CosineDecay(0.01, _STEPS)
    loss = "sparse_categorical_crossentropy" if task.classes else "mse"
    model.compile(optimizers.AdamW(rate, weight_decay=0.01), loss)
    return model
