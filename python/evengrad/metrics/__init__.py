"""Metrics, with Keras' names: given to `compile` by name or as objects, or fed by hand.

By hand: `update_state(y_true, y_pred, sample_weight)`, `result()`, `reset_state()`; a call does the
first two. In training their sums are filled by the step itself. Names that `compile` and `get` know
are those of the classes in snake or camel case, "accuracy", and mse, mae, mape, msle, bce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evengrad._family import Family
from evengrad._names import snake_case
from evengrad.metrics.accuracy import (
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from evengrad.metrics.auc import AUC
from evengrad.metrics.base import Metric
from evengrad.metrics.by_column import F1Score, FBetaScore, R2Score
from evengrad.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from evengrad.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    KLDivergence,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from evengrad.metrics.reduction import Mean, Sum
from evengrad.metrics.regression import (
    CosineSimilarity,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
)
from evengrad.metrics.wrapper import MeanMetricWrapper
from evengrad.saving import registration

__all__ = [
    "AUC", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "CosineSimilarity", "F1Score", "FBetaScore",
    "FalseNegatives", "FalsePositives", "Hinge", "KLDivergence", "LogCoshError", "Mean",
    "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanMetricWrapper", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Metric", "Poisson", "Precision", "R2Score", "Recall",
    "RootMeanSquaredError", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "SquaredHinge", "Sum", "TopKCategoricalAccuracy",
    "TrueNegatives", "TruePositives", "deserialize", "get", "serialize",
]  # fmt: skip

_CLASSES: dict[str, type[Any]] = {
    snake_case(c.__name__): c
    for c in (
        SparseCategoricalAccuracy, CategoricalAccuracy, BinaryAccuracy, TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy, MeanSquaredError, RootMeanSquaredError, MeanAbsoluteError,
        MeanAbsolutePercentageError, MeanSquaredLogarithmicError, CosineSimilarity, LogCoshError,
        R2Score, AUC, Precision, Recall, TruePositives, TrueNegatives, FalsePositives,
        FalseNegatives, F1Score, FBetaScore, Hinge, SquaredHinge, CategoricalHinge, KLDivergence,
        Poisson, BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy,
    )
}  # fmt: skip
_BY_HAND: dict[str, type[Any]] = {"mean": Mean, "sum": Sum, "wrapper": MeanMetricWrapper}
_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
}


def get(
    identifier: str | Mapping[str, Any] | Metric | Callable[..., Any],
    *,
    sparse: bool = False,
    outputs: int = 1,
) -> Metric:
    """Return a metric by name, by config, as itself, or of a function.

    Parameters
    ----------
    identifier : str, dict, Metric or callable
        "accuracy" (or "acc") is the one that fits the model. A metric got by name is called by that
        name. A dict is what `serialize` returned. A function of (y_true, y_pred) returns one value
        a sample.
    sparse : bool
        Whether the loss reads class numbers.
    outputs : int
        Number of outputs of the model; one means binary.

    Raises
    ------
    ValueError
        If there is none of that name.
    TypeError
        If it is a metric of one's own that lacks `call`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.get("mse")
    <MeanSquaredError mse=0.0>
    """
    if isinstance(identifier, Metric):
        return _complete(identifier)
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if callable(identifier) and not isinstance(identifier, type):
        return MeanMetricWrapper(identifier)
    name = identifier if isinstance(identifier, str) else ""
    key = snake_case(name)
    if key in ("accuracy", "acc"):
        fitting = CategoricalAccuracy if outputs > 1 else BinaryAccuracy
        found: Metric = (SparseCategoricalAccuracy if sparse else fitting)(name=name)
        return found
    key = _ALIASES.get(key, key)
    if key in _CLASSES:
        of_name: Metric = _CLASSES[key](name=name)
        return of_name
    own: type[Metric] | None = registration.find(identifier, "metric", Metric)
    if own is not None:
        return _complete(own())
    raise ValueError(
        f"metrics: expected names such as accuracy, auc, precision, recall, f1_score, "
        f"{', '.join(_ALIASES)} or another of evengrad.metrics.__all__, got {identifier!r}"
    )


def _complete(metric: Metric) -> Metric:
    kind = type(metric)
    if isinstance(metric, Mean | Sum) and not metric.stateful:
        raise TypeError(f"metrics: {kind.__name__} is of values and fed by hand only")
    if not metric.in_python and kind.record is Metric.record:
        raise TypeError(
            f"metrics: {kind.__name__} does not define call(self, y_true, y_pred), one value a "
            "sample, nor update_state(self, y_true, y_pred, sample_weight=None) and result(self)"
        )
    if metric.stateful and kind.result is Metric.result and not isinstance(metric, Mean | Sum):
        raise TypeError(f"metrics: {kind.__name__} does not define result(self)")
    return metric


def serialize(metric: Metric) -> dict[str, Any]:
    """Return the class name and arguments of a metric, fit for JSON.

    Parameters
    ----------
    metric : Metric

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.serialize(metrics.BinaryAccuracy(threshold=0.25))["config"]["threshold"]
    0.25
    """
    described = Family("metric", Metric).serialize(metric)
    assert described is not None
    return described


def deserialize(
    config: str | Mapping[str, Any], custom_objects: Mapping[str, type[Metric]] | None = None
) -> Metric:
    """Return the metric that `serialize` described.

    Parameters
    ----------
    config : dict or str
        {"class_name": ..., "config": {...}}, or a name for `get`.
    custom_objects : dict of classes by name, optional
        Metrics of your own.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.deserialize(metrics.serialize(metrics.AUC(curve="PR"))).curve
    'PR'
    """
    if isinstance(config, str):
        return get(config)
    custom = (custom_objects or {}).values()
    known: list[type[Metric]] = [*_CLASSES.values(), *_BY_HAND.values(), *custom]
    return Family("metric", Metric, *known).deserialize(config)
