"""Area under a curve of right and wrong answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad._program import Outputs, Program
from evengrad.metrics.base import Metric
from evengrad.metrics.confusion import Counts, are_even, check_thresholds, counts_of, divide_no_nan

if TYPE_CHECKING:
    from evengrad._core import F64

_EPSILON = 1e-7  # Keras': the first threshold is below 0, the last above 1
_MOST = 10_000  # thresholds
_F64 = NDArray[np.float64]


def _curve(kind: str, counts: Counts) -> tuple[_F64, _F64]:
    """X and y at each threshold."""
    tp, fp, tn, fn = counts
    recall = divide_no_nan(tp, tp + fn)
    if kind == "ROC":
        return divide_no_nan(fp, fp + tn), recall
    if kind == "PR":
        return recall, divide_no_nan(tp, tp + fp)
    scale = divide_no_nan(tp + fn, tn + fp)
    recall_gain = np.where(tp == 0.0, 0.0, 1.0 - scale * divide_no_nan(fn, tp))
    precision_gain = np.where(tp == 0.0, 1.0, 1.0 - scale * divide_no_nan(fp, tp))
    return np.maximum(recall_gain, 0.0), precision_gain


def _interpolated_pr(counts: Counts) -> _F64:
    """Area under precision over recall, true positives linear in predicted ones in between [1]."""
    tp, predicted = counts.tp, counts.tp + counts.fp
    dtp, dp = tp[..., :-1] - tp[..., 1:], predicted[..., :-1] - predicted[..., 1:]
    slope = divide_no_nan(dtp, np.maximum(dp, 0.0))
    intercept = tp[..., 1:] - slope * predicted[..., 1:]
    both = (predicted[..., :-1] > 0.0) & (predicted[..., 1:] > 0.0)
    ratio = np.where(both, divide_no_nan(predicted[..., :-1], predicted[..., 1:]), 1.0)
    areas = slope * (dtp + intercept * np.log(ratio))
    true = np.maximum(tp[..., 1:] + counts.fn[..., 1:], 0.0)
    area: _F64 = divide_no_nan(areas, true).sum(axis=-1)
    return area


class AUC(Metric):
    """Area under the curve of right against wrong answers, from counts at thresholds.

    Parameters
    ----------
    num_thresholds : int, at least 2
        Evenly spread from 0 to 1. Default 200.
    curve : {"ROC", "PR", "PRGAIN"}
        True over false positive rate, precision over recall, or their gains [2].
    summation_method : {"interpolation", "minoring", "majoring"}
        The mean of a piece's ends (of PR, what [1] makes of them), the lower or the higher one.
    name, dtype
        Of `Metric`; the name is "auc".
    thresholds : sequence of float in [0, 1], optional
        Instead of num_thresholds; 0 and 1 are added.
    multi_label : bool
        The mean of an area for each output, rather than one of all together.
    num_labels : int, optional
        Number of outputs, checked; with multi_label.
    label_weights : array_like (outputs,), optional
        Weights of the areas, or of all that belongs to an output.
    from_logits : bool
        Whether predictions are logits, to be taken through sigmoid.

    References
    ----------
    .. [1] Davis, Goadrich 2006, "The relationship between precision-recall and ROC curves",
       doi:10.1145/1143844.1143874
    .. [2] Flach, Kull 2015, "Precision-recall-gain curves: PR analysis done right", NeurIPS

    Examples
    --------
    >>> from evengrad import metrics
    >>> auc = metrics.AUC(num_thresholds=3)
    >>> auc([[0.0], [0.0], [1.0], [1.0]], [[0.0], [0.5], [0.3], [0.9]])
    np.float32(0.75)
    """

    _direction: str | None = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: ArrayLike | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name, dtype)
        who, choice = self.name, _validation.check_choice
        if thresholds is None:
            n = _validation.check_count(who, "num_thresholds", num_thresholds, 2)
            if n > _MOST:
                raise ValueError(f"{who}: expected num_thresholds of at most {_MOST}, got {n}")
            inner = [i / (n - 1) for i in range(1, n - 1)]
        else:
            inner = sorted(check_thresholds(who, thresholds, 0.5))
        self._given = None if thresholds is None else inner
        self._even = thresholds is None or are_even([0.0, *inner, 1.0])
        self.thresholds = [-_EPSILON, *inner, 1.0 + _EPSILON]
        self.num_thresholds = len(self.thresholds)
        upper = curve.upper() if isinstance(curve, str) else curve
        self.curve = choice(who, "curve", upper, ("ROC", "PR", "PRGAIN"))
        lower = summation_method.lower() if isinstance(summation_method, str) else summation_method
        methods = "interpolation", "majoring", "minoring"
        self.summation_method = choice(who, "summation_method", lower, methods)
        self.multi_label = _validation.check_flag(who, "multi_label", multi_label)
        if num_labels is not None:
            _validation.check_count(who, "num_labels", num_labels)
            if not self.multi_label:
                raise ValueError(f"{who}: num_labels goes with multi_label=True only")
        self.num_labels = num_labels
        self.label_weights: _F64 | None = None
        if label_weights is not None:
            weights = _validation.as_array(who, "label_weights", label_weights)
            if weights.ndim != 1 or not (weights >= 0).all():
                raise ValueError(f"{who}: expected label_weights (outputs,) of at least 0")
            self.label_weights = weights.astype(np.float64)
        self.from_logits = _validation.check_flag(who, "from_logits", from_logits)

    @property
    def _by_column(self) -> bool:
        return self.multi_label or self.label_weights is not None

    def size(self, outputs: int) -> int:
        """Return the number of sums."""
        labels = outputs if self._by_column else 1
        for name, expected in (
            ("num_labels", self.num_labels),
            ("label_weights", None if self.label_weights is None else len(self.label_weights)),
        ):
            if expected not in (None, outputs):
                raise ValueError(
                    f"{self.name}: expected {expected} outputs as {name} says, got {outputs}"
                )
        return labels * 2 * (self.num_thresholds + 1)

    def record(self, program: Program, outputs: Outputs, sums: F64) -> None:
        """Record what a batch adds to the sums."""
        y, _, labels, target, weight = outputs
        if self.from_logits:
            logits, y = y, program.like(y)
            program.activation_forward("sigmoid", logits, y)
        program.confusion(
            y, labels, target, weight, self.thresholds, sums,
            even=self._even, by_column=self._by_column,
        )  # fmt: skip

    def value(self, sums: F64) -> Any:
        """Return the area."""
        buckets = sums.reshape(-1, 2, self.num_thresholds + 1)
        weights = self.label_weights
        if weights is None or len(weights) != len(buckets):  # the latter: nothing added yet
            weights = np.ones(len(buckets))
        if not self.multi_label:
            return self._area(counts_of((buckets * weights[:, None, None]).sum(axis=0)))
        return divide_no_nan((self._area(counts_of(buckets)) * weights).sum(), weights.sum())

    def _area(self, counts: Counts) -> _F64:
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated_pr(counts)
        x, y = _curve(self.curve, counts)
        low, high = y[..., :-1], y[..., 1:]
        heights = {
            "interpolation": (low + high) / 2.0,
            "minoring": np.minimum(low, high),
            "majoring": np.maximum(low, high),
        }[self.summation_method]
        area: _F64 = ((x[..., :-1] - x[..., 1:]) * heights).sum(axis=-1)
        return area

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        weights = self.label_weights
        return super().get_config() | {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "thresholds": self._given,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if weights is None else weights.tolist(),
            "from_logits": self.from_logits,
        }
