"""Metrics of values rather than of truth and prediction; by hand only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from evengrad import _validation
from evengrad.metrics.base import Metric

if TYPE_CHECKING:
    from evengrad._core import F64


class _OfValues(Metric):
    """A metric whose update_state takes values."""

    def update_state(  # type: ignore[override]
        self, values: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add values, a number or (n, ...), with weights that broadcast to them from the left."""
        array = _validation.as_array(self.name, "values", values).astype(np.float64)
        weight = np.ones(())
        if sample_weight is not None:
            weight = _validation.as_array(self.name, "sample_weight", sample_weight)
            weight = weight.astype(np.float64)
            if array.shape[: weight.ndim] != weight.shape and weight.size != 1:
                raise ValueError(
                    f"{self.name}: expected sample_weight of shape {array.shape[: weight.ndim]}, "
                    f"as the values begin, got {weight.shape}"
                )
        self._sums = self.sums_of(array, weight) + (0.0 if self._sums is None else self._sums)

    def __call__(  # type: ignore[override]
        self, values: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> np.float32:
        """update_state, then result."""
        self.update_state(values, sample_weight)
        return np.float32(self.result())

    @property
    def stateful(self) -> bool:
        """Whether a derived class has an update_state of its own."""
        return type(self).update_state is not _OfValues.update_state

    def sums_of(self, values: F64, weight: F64) -> F64:
        """Return what weighted values add to the sums."""
        raise NotImplementedError(f"{type(self).__name__}.sums_of")


def _weighted(values: F64, weight: F64) -> tuple[F64, F64]:
    shape = weight.shape + (1,) * (values.ndim - weight.ndim)
    full = np.broadcast_to(weight.reshape(shape), values.shape)
    return values * full, full


class Mean(_OfValues):
    """Weighted mean of values: sum(weight * value) / sum(weight).

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.Mean()([1.0, 3.0], sample_weight=[3.0, 1.0])
    np.float32(1.5)
    """

    def sums_of(self, values: F64, weight: F64) -> F64:
        """Sum of weight * value, sum of weight; the mean of a sample's values counts once."""
        products, full = _weighted(values, weight)
        per_sample = max(1, values.size // len(values)) if values.ndim else 1
        return np.array([products.sum(), full.sum()]) / per_sample


class Sum(_OfValues):
    """Weighted sum of values.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.Sum()([1.0, 3.0], sample_weight=[3.0, 1.0])
    np.float32(6.0)
    """

    def sums_of(self, values: F64, weight: F64) -> F64:
        """Sum of weight * value."""
        return np.array([_weighted(values, weight)[0].sum(), 1.0])

    def value(self, sums: F64) -> float:
        """Return the sum."""
        return float(sums[0])
