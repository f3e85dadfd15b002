"""Metrics that are a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evengrad._names import snake_case
from evengrad.metrics.base import Metric


class MeanMetricWrapper(Metric):
    """Mean of what a function of yours returns.

    Parameters
    ----------
    fn : callable
        fn(y_true, y_pred, **kwargs): one value for each row of outputs, as `Metric.call`.
    name : str, optional
        Default: the function's name.
    dtype : optional
        float32, the only one there is.
    **kwargs
        More arguments for fn.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import metrics
    >>> def largest_error(y_true, y_pred):
    ...     return np.abs(y_pred - y_true).max(axis=-1)
    >>> metrics.MeanMetricWrapper(largest_error)([[0.0, 0.0]], [[1.0, -3.0]])
    np.float32(3.0)
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        own = getattr(fn, "__name__", snake_case(type(fn).__name__))
        super().__init__(name or own, dtype)
        self._fn, self._kwargs = fn, kwargs
        if getattr(fn, "__module__", "").startswith("evengrad.losses"):
            self._direction = "down"

    def call(self, y_true: NDArray[Any], y_pred: NDArray[np.float32]) -> NDArray[Any]:
        """Return fn(y_true, y_pred)."""
        values: NDArray[Any] = self._fn(y_true, y_pred, **self._kwargs)
        return values

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return super().get_config() | {"fn": self._fn} | self._kwargs
