"""Shares of right answers."""

from __future__ import annotations

from typing import Any

from evengrad import _validation
from evengrad.metrics.base import RowMean


class BinaryAccuracy(RowMean):
    """Share of outputs where (output > threshold) is the target, 0 or 1.

    Parameters
    ----------
    name, dtype
        Of `Metric`.
    threshold : float
        Default 0.5.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.BinaryAccuracy()([[1.0, 0.0]], [[0.7, 0.6]])
    np.float32(0.5)
    """

    kind = "binary_accuracy"

    def __init__(
        self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5
    ) -> None:
        super().__init__(name, dtype)
        self.threshold = _validation.check_number(self.name, "threshold", threshold)

    @property
    def parameters(self) -> tuple[float, ...]:
        """The threshold."""
        return (self.threshold,)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return super().get_config() | {"threshold": self.threshold}


class CategoricalAccuracy(RowMean):
    """Share of samples whose largest output is where the one-hot target is largest.

    The first of equal ones counts as the largest.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.CategoricalAccuracy()([[0.0, 1.0], [1.0, 0.0]], [[0.1, 0.9], [0.4, 0.6]])
    np.float32(0.5)
    """

    kind = "categorical_accuracy"
    strict = True

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class SparseCategoricalAccuracy(RowMean):
    """Share of samples whose largest output is that of their class number.

    The first of equal ones counts as the largest.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.SparseCategoricalAccuracy()([1, 0], [[0.1, 0.9], [0.4, 0.6]])
    np.float32(0.5)
    """

    kind = "categorical_accuracy"
    strict = True
    sparse = True

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class TopKCategoricalAccuracy(RowMean):
    """Share of samples where fewer than k outputs are above that of the largest target.

    Parameters
    ----------
    k : int, at least 1
        Default 5.
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metric = metrics.TopKCategoricalAccuracy(k=2)
    >>> metric([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], [[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    np.float32(0.5)
    """

    kind = "top_k_accuracy"
    strict = True

    def __init__(
        self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(name, dtype)
        self.k = _validation.check_count(self.name, "k", k)

    @property
    def parameters(self) -> tuple[float, ...]:
        """How many may be as large."""
        return (float(min(self.k, 1 << 24)),)  # of more columns than there can be

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return super().get_config() | {"k": self.k}


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """Share of samples where fewer than k outputs are above that of their class number.

    Parameters
    ----------
    k : int, at least 1
        Default 5.
    name, dtype
        Of `Metric`.
    from_sorted_ids : bool
        False, the only choice there is.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.SparseTopKCategoricalAccuracy(k=2)([2, 0], [[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    np.float32(0.5)
    """

    sparse = True

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(k, name, dtype)
        if from_sorted_ids:
            raise ValueError(f"{self.name}: from_sorted_ids is not supported; pass the scores")
