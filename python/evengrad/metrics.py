"""Metrics, with Keras' names: means over samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _python, _validation
from evengrad._names import snake_case
from evengrad._program import Outputs, Program, outputs_of

if TYPE_CHECKING:
    from evengrad._core import F64


class Metric:
    """Base of the metrics, given to `compile` or fed by hand, and of metrics of your own.

    A metric of your own says what it does in Python, with numpy: `call`, whose values are averaged.

    Parameters
    ----------
    name : str, optional
        Default: the class name in snake case.
    """

    kind: ClassVar[str] = ""  # the kernel's name
    sparse: ClassVar[bool] = False  # y_true: class numbers

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.reset_state()

    def reset_state(self) -> None:
        """Start again."""
        self._total = np.zeros(1)
        self._count = 0

    def call(self, y_true: NDArray[Any], y_pred: NDArray[np.float32]) -> NDArray[Any]:
        """Return the values of a batch; for metrics of your own.

        Parameters
        ----------
        y_true, y_pred : ndarray (n, ..., outputs)
            Read-only; y_true (n,) of int32 where the loss is one of class numbers.

        Returns
        -------
        ndarray (n, ...)
            One value for each row of outputs.
        """
        raise NotImplementedError(f"{type(self).__name__}.call")

    @property
    def in_python(self) -> bool:
        """Whether `call` says what the metric does."""
        return type(self).call is not Metric.call

    def record(self, program: Program, outputs: Outputs, total: F64) -> None:
        """Record total += sum over rows of outputs."""
        if self.in_python:
            return _python.record_metric(self, program, outputs, total)
        return program.metric(self.kind, outputs.y, outputs.labels, outputs.target, total)

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Add predictions (n, ...) and their truth."""
        x = _validation.features(self.name, "y_pred", y_pred)
        if self.in_python:
            truth = _validation.as_array(self.name, "y_true", y_true)
            self._total += _python.sum_of(self, truth, x)
        else:
            if self.sparse:
                truth = _validation.labels(self.name, "y_true", y_true, len(x), x.shape[1])
            else:
                truth = _validation.targets(self.name, "y_true", y_true, len(x), x.shape[1:])
            program, outputs = outputs_of(x, truth, sparse=self.sparse)
            self.record(program, outputs, self._total)
            program.run(len(x))
        self._count += math.prod(x.shape[:-1])

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


class MeanMetricWrapper(Metric):
    """Mean of what a function of yours returns.

    Parameters
    ----------
    fn : callable
        fn(y_true, y_pred): one value for each row of outputs, as `Metric.call`.
    name : str, optional
        Default: the function's name.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import metrics
    >>> def largest_error(y_true, y_pred):
    ...     return np.abs(y_pred - y_true).max(axis=-1)
    >>> metrics.MeanMetricWrapper(largest_error)([[0.0, 0.0]], [[1.0, -3.0]])
    np.float32(3.0)
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None) -> None:
        super().__init__(name=name or getattr(fn, "__name__", snake_case(type(fn).__name__)))
        self._fn = fn

    def call(self, y_true: NDArray[Any], y_pred: NDArray[np.float32]) -> NDArray[Any]:
        """Return fn(y_true, y_pred)."""
        values: NDArray[Any] = self._fn(y_true, y_pred)
        return values

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return super().get_config() | {"fn": self._fn}


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


def get(
    identifier: str | Metric | Callable[..., Any], *, sparse: bool = False, outputs: int = 1
) -> Metric:
    """Return a metric by name, as itself, or of a function.

    Parameters
    ----------
    identifier : str, Metric or callable
        "accuracy" (or "acc") is the one that fits the model. A function of (y_true, y_pred) returns
        one value a sample.
    sparse : bool
        Whether the loss reads class numbers.
    outputs : int
        Number of outputs of the model; one means binary.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    TypeError
        If it is a metric of one's own that lacks `call`.
    """
    if isinstance(identifier, Metric):
        if not identifier.in_python and not identifier.kind:
            kind = type(identifier).__name__
            raise TypeError(
                f"metrics: {kind} does not define call(self, y_true, y_pred), one value a sample; "
                "only means of such values can be computed in training"
            )
        return identifier
    if callable(identifier) and not isinstance(identifier, type):
        return MeanMetricWrapper(identifier)
    name = identifier if isinstance(identifier, str) else ""
    if snake_case(name) in ("accuracy", "acc"):
        fitting = CategoricalAccuracy if outputs > 1 else BinaryAccuracy
        return (SparseCategoricalAccuracy if sparse else fitting)(name=name)
    if snake_case(name) in _CLASSES:
        return _CLASSES[snake_case(name)](name=name)
    known = ", ".join(["accuracy", *_CLASSES])
    raise ValueError(f"metrics: expected some of {known}, got {identifier!r}")
