"""Losses of numbers as metrics: their mean over rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import losses
from evengrad.metrics.base import LossMean

if TYPE_CHECKING:
    from evengrad._core import F64


class MeanSquaredError(LossMean):
    """Mean of (prediction - y)^2; see `losses.MeanSquaredError`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.MeanSquaredError()([[0.0, 0.0]], [[1.0, 3.0]])
    np.float32(5.0)
    """

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.MeanSquaredError(), name, dtype)


class RootMeanSquaredError(LossMean):
    """Root of the mean of (prediction - y)^2.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.RootMeanSquaredError()([[0.0], [0.0]], [[1.0], [7.0]])
    np.float32(5.0)
    """

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.MeanSquaredError(), name, dtype)

    def value(self, sums: F64) -> Any:
        """Return the root of the mean."""
        return super().value(sums) ** 0.5


class MeanAbsoluteError(LossMean):
    """Mean of |prediction - y|; see `losses.MeanAbsoluteError`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.MeanAbsoluteError()([[1.0], [2.0]], [[1.0], [4.0]])
    np.float32(1.0)
    """

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.MeanAbsoluteError(), name, dtype)


class MeanAbsolutePercentageError(LossMean):
    """Mean of 100 |prediction - y| / |y|; see `losses.MeanAbsolutePercentageError`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 4.0]])
    np.float32(25.0)
    """

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(losses.MeanAbsolutePercentageError(), name, dtype)


class MeanSquaredLogarithmicError(LossMean):
    """Mean of (ln(1 + prediction) - ln(1 + y))^2; see `losses.MeanSquaredLogarithmicError`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.MeanSquaredLogarithmicError()([[0.0]], [[0.0]])
    np.float32(0.0)
    """

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(losses.MeanSquaredLogarithmicError(), name, dtype)


class LogCoshError(LossMean):
    """Mean of ln cosh(prediction - y); see `losses.LogCosh`.

    Parameters
    ----------
    name, dtype
        Of `Metric`; the name is "logcosh".

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.LogCoshError()([[0.0], [1.0]], [[1.0], [1.0]]).round(4)
    np.float32(0.2169)
    """

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        super().__init__(losses.LogCosh(), name, dtype)


class Poisson(LossMean):
    """Mean of p - y ln p; see `losses.Poisson`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.Poisson()([[0.0]], [[1.0]])
    np.float32(1.0)
    """

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(losses.Poisson(), name, dtype)


class CosineSimilarity(LossMean):
    """Mean cosine of the angle between prediction and y: the loss of that name, negated.

    Parameters
    ----------
    name, dtype
        Of `Metric`.
    axis : int
        -1, the only one there is.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.CosineSimilarity()([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [2.0, 2.0]]).round(4)
    np.float32(0.5)
    """

    _direction: str | None = "up"

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(losses.CosineSimilarity(axis), name, dtype)

    def value(self, sums: F64) -> Any:
        """Return the mean, negated."""
        return -super().value(sums)
