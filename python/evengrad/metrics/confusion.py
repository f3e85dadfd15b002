"""Metrics of right and wrong answers above and below thresholds.

The sums are the weights of what is false and of what is true, by the number of thresholds below
the prediction; all counts at all thresholds come out of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation
from evengrad._program import Outputs, Program
from evengrad.metrics.base import Metric

if TYPE_CHECKING:
    from evengrad._core import F64

Thresholds = float | Sequence[float]


class Counts(NamedTuple):
    """Weights at each threshold, (..., thresholds): true and false positives and negatives."""

    tp: NDArray[np.float64]
    fp: NDArray[np.float64]
    tn: NDArray[np.float64]
    fn: NDArray[np.float64]


def counts_of(buckets: F64) -> Counts:
    """Counts from (..., false or true, number of thresholds below)."""
    from_above = np.flip(np.flip(buckets, -1).cumsum(-1), -1)
    above, total = from_above[..., 1:], from_above[..., :1]
    below = total - above
    return Counts(above[..., 1, :], above[..., 0, :], below[..., 0, :], below[..., 1, :])


def divide_no_nan(a: Any, b: Any) -> NDArray[np.float64]:
    """A / b, 0 where b is 0."""
    a, b = np.broadcast_arrays(a, b)
    quotient: NDArray[np.float64] = np.divide(a, b, out=np.zeros(a.shape), where=b != 0)
    return quotient


def are_even(thresholds: Sequence[float]) -> bool:
    """Whether they are i / (n - 1); then Keras rounds p (n - 1) up rather than compare."""
    n = len(thresholds)
    return n >= 3 and np.allclose(thresholds, np.arange(n) / (n - 1), atol=1e-7)


def check_thresholds(who: str, thresholds: Thresholds | None, default: float) -> list[float]:
    """Return one or several thresholds as a list."""
    if thresholds is None:
        return [default]
    several = thresholds if isinstance(thresholds, Sequence | np.ndarray) else [thresholds]
    if len(several) == 0:
        raise ValueError(f"{who}: expected at least one threshold, got {thresholds!r}")
    return [_validation.check_number(who, "each threshold", t, 0.0, 1.0) for t in several]


class _Confusion(Metric):
    """Counts at one or several thresholds."""

    _direction: str | None = "up"

    def __init__(
        self,
        thresholds: Thresholds | None,
        top_k: int | None,
        class_id: int | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(name, dtype)
        count = _validation.check_count
        self.top_k = None if top_k is None else count(self.name, "top_k", top_k)
        self.class_id = None if class_id is None else count(self.name, "class_id", class_id, 0)
        default = 0.5 if top_k is None else -1e10
        self.thresholds = check_thresholds(self.name, thresholds, default)
        self._given = thresholds
        self._order = np.argsort(self.thresholds, kind="stable")

    def size(self, outputs: int) -> int:
        """Return the number of sums."""
        if self.class_id is not None and self.class_id >= outputs:
            raise ValueError(
                f"{self.name}: expected class_id below the number of outputs, {outputs}, "
                f"got {self.class_id}"
            )
        return 2 * (len(self.thresholds) + 1)

    def record(self, program: Program, outputs: Outputs, sums: F64) -> None:
        """Record what a batch adds to the sums."""
        y, _, labels, target, weight = outputs
        program.confusion(
            y, labels, target, weight,
            [self.thresholds[i] for i in self._order],
            sums,
            top_k=self.top_k or 0,
            class_id=-1 if self.class_id is None else self.class_id,
            even=are_even(self.thresholds),
        )  # fmt: skip

    def value(self, sums: F64) -> Any:
        """Return a number, or one for each threshold."""
        made = self.of_counts(counts_of(sums.reshape(2, -1)))
        values = np.empty(len(made))
        values[self._order] = made
        return values[0] if len(values) == 1 else values

    def of_counts(self, counts: Counts) -> NDArray[np.float64]:
        """Return the metric at each threshold."""
        raise NotImplementedError(f"{type(self).__name__}.of_counts")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        own = {"thresholds": self._given, "top_k": self.top_k, "class_id": self.class_id}
        return super().get_config() | own


class Precision(_Confusion):
    """Share of true answers among those predicted: tp / (tp + fp), 0 where none is.

    Parameters
    ----------
    thresholds : float or sequence of float in [0, 1], optional
        An output above it is predicted. Default 0.5, with top_k none. The result has one number
        for each of several.
    top_k : int, at least 1, optional
        Only the k largest outputs of a sample can be predicted.
    class_id : int, at least 0, optional
        The one output to look at.
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.Precision()([[0.0], [1.0], [1.0], [1.0]], [[1.0], [0.0], [1.0], [1.0]]).round(4)
    np.float32(0.6667)
    """

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def of_counts(self, counts: Counts) -> NDArray[np.float64]:
        """Return tp / (tp + fp)."""
        return divide_no_nan(counts.tp, counts.tp + counts.fp)


class Recall(_Confusion):
    """Share of answers predicted among the true ones: tp / (tp + fn), 0 where none is.

    Parameters
    ----------
    thresholds, top_k, class_id, name, dtype
        As in `Precision`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.Recall()([[0.0], [1.0], [1.0], [1.0]], [[1.0], [0.0], [1.0], [1.0]]).round(4)
    np.float32(0.6667)
    """

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def of_counts(self, counts: Counts) -> NDArray[np.float64]:
        """Return tp / (tp + fn)."""
        return divide_no_nan(counts.tp, counts.tp + counts.fn)


class _Count(_Confusion):
    """One of the four counts."""

    _direction = None
    which: ClassVar[str]

    def __init__(
        self, thresholds: Thresholds | None = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(thresholds, None, None, name, dtype)

    def of_counts(self, counts: Counts) -> NDArray[np.float64]:
        """Return the count."""
        count: NDArray[np.float64] = getattr(counts, self.which)
        return count

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return {"name": self.name, "thresholds": self._given}


class TruePositives(_Count):
    """Weight of the true answers predicted.

    Parameters
    ----------
    thresholds, name, dtype
        As in `Precision`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.TruePositives()([[0.0], [1.0], [1.0]], [[1.0], [0.0], [1.0]])
    np.float32(1.0)
    """

    which = "tp"


class TrueNegatives(_Count):
    """Weight of the false answers not predicted.

    Parameters
    ----------
    thresholds, name, dtype
        As in `Precision`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.TrueNegatives()([[0.0], [1.0], [0.0]], [[1.0], [0.0], [0.0]])
    np.float32(1.0)
    """

    which = "tn"


class FalsePositives(_Count):
    """Weight of the false answers predicted.

    Parameters
    ----------
    thresholds, name, dtype
        As in `Precision`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.FalsePositives(thresholds=[0.2, 0.8])([[0.0], [1.0]], [[0.5], [0.5]])
    array([1., 0.], dtype=float32)
    """

    which = "fp"


class FalseNegatives(_Count):
    """Weight of the true answers not predicted.

    Parameters
    ----------
    thresholds, name, dtype
        As in `Precision`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.FalseNegatives()([[0.0], [1.0], [1.0]], [[1.0], [0.0], [1.0]])
    np.float32(1.0)
    """

    which = "fn"
