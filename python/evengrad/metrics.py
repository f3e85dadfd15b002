"""Metrics, with Keras' names: means over samples."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad._names import snake_case
from evengrad._program import Program


class Metric:
    """Base of the metrics; given to `compile`, or fed by hand.

    Parameters
    ----------
    name : str, optional
        Default: the class name in snake case.
    """

    kind: ClassVar[str]  # the kernel's name
    sparse: ClassVar[bool] = False  # y_true: class numbers

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.reset_state()

    def reset_state(self) -> None:
        """Start again."""
        self._total = np.zeros(1)
        self._count = 0

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Add predictions (n, ...) and their truth."""
        x = _validation.features(self.name, "y_pred", y_pred)
        rows = x.reshape(-1, x.shape[-1])
        program = Program(len(rows), training=False)
        batch = program.tensor(rows.shape[1])
        batch[...] = rows
        labels: NDArray[np.int32] | None = None
        target = None
        if self.sparse:
            labels = _validation.labels(self.name, "y_true", y_true, len(x), x.shape[1])
        else:
            target = program.like(batch)
            truth = _validation.targets(self.name, "y_true", y_true, len(x), x.shape[1:])
            target[...] = truth.reshape(rows.shape)
        program.metric(self.kind, batch, labels, target, self._total)
        program.run(len(rows))
        self._count += len(rows)

    def result(self) -> np.float32:
        """Return the mean so far; 0 of nothing."""
        return np.float32(self._total[0] / self._count) if self._count else np.float32(0)

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike) -> np.float32:
        """update_state, then result."""
        self.update_state(y_true, y_pred)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return {"name": self.name}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}={self.result()}>"


class SparseCategoricalAccuracy(Metric):
    """Share of samples whose largest output is that of their class number."""

    kind = "sparse_accuracy"
    sparse = True


class CategoricalAccuracy(Metric):
    """Share of samples whose largest output is where the one-hot target is largest."""

    kind = "categorical_accuracy"


class BinaryAccuracy(Metric):
    """Share of outputs on the target's side of 0.5."""

    kind = "binary_accuracy"


class MeanSquaredError(Metric):
    """Mean of (prediction - y)^2."""

    kind = "squared_error"


class MeanAbsoluteError(Metric):
    """Mean of |prediction - y|.

    Examples
    --------
    >>> from evengrad import metrics
    >>> float(metrics.MeanAbsoluteError()([[1.0], [2.0]], [[1.0], [4.0]]))
    1.0
    """

    kind = "absolute_error"


_CLASSES: dict[str, type[Metric]] = {
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "binary_accuracy": BinaryAccuracy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
}


def get(identifier: str | Metric, *, sparse: bool = False, outputs: int = 1) -> Metric:
    """Return a metric by name or as itself.

    Parameters
    ----------
    identifier : str or Metric
        "accuracy" (or "acc") is the one that fits the model.
    sparse : bool
        Whether the loss reads class numbers.
    outputs : int
        Number of outputs of the model; one means binary.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    """
    if isinstance(identifier, Metric):
        return identifier
    name = snake_case(identifier) if isinstance(identifier, str) else ""
    if name in ("accuracy", "acc"):
        fitting = CategoricalAccuracy if outputs > 1 else BinaryAccuracy
        return (SparseCategoricalAccuracy if sparse else fitting)(name=identifier)
    if name in _CLASSES:
        return _CLASSES[name](name=identifier if isinstance(identifier, str) else None)
    known = ", ".join(["accuracy", *_CLASSES])
    raise ValueError(f"metrics: expected some of {known}, got {identifier!r}")
