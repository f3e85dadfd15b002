"""Metrics of sums over samples for each output: F-scores, R2."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad import _validation
from evengrad._program import Outputs, Program
from evengrad.metrics.base import Metric

if TYPE_CHECKING:
    from evengrad._core import F64

_EPSILON = 1e-7  # Keras'


class _ByColumn(Metric):
    """Three sums for each output, then those of weights and of rows."""

    _direction: str | None = "up"

    def size(self, outputs: int) -> int:
        """Return the number of sums."""
        return 3 * outputs + 2


class FBetaScore(_ByColumn):
    """Weighted harmonic mean of precision and recall, (1 + b^2) p r / (b^2 p + r), by output.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        None: a score for each output. "micro": one of all outputs together. "macro": their mean.
        "weighted": their mean by the number of true answers.
    beta : float, above 0
        Weight of recall beside precision. Default 1.
    threshold : float in (0, 1], optional
        An output above it is predicted. Default: the largest of a sample is.
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metric = metrics.FBetaScore(beta=2.0, threshold=0.5)
    >>> metric([[1.0, 1.0], [1.0, 0.0]], [[0.6, 0.2], [0.4, 0.7]]).round(4)
    array([0.5556, 0.    ], dtype=float32)
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        number = _validation.check_number
        if average is not None:
            choices = "micro", "macro", "weighted"
            _validation.check_choice(self.name, "average", average, choices)
        self.average = average
        self.beta = number(self.name, "beta", beta, 0.0, open_low=True)
        if threshold is not None:
            threshold = number(self.name, "threshold", threshold, 0.0, 1.0, open_low=True)
        self.threshold = threshold

    def record(self, program: Program, outputs: Outputs, sums: F64) -> None:
        """Record what a batch adds to the sums."""
        y, _, labels, target, weight = outputs
        threshold = -1.0 if self.threshold is None else self.threshold
        program.f_score_sums(y, labels, target, weight, sums, threshold)

    def value(self, sums: F64) -> Any:
        """Return the score, or one for each output."""
        counts = sums[:-2].reshape(3, -1)
        hit, predicted, true = counts.sum(axis=1) if self.average == "micro" else counts
        precision, recall = hit / (predicted + _EPSILON), hit / (true + _EPSILON)
        square = self.beta**2
        mean = precision * recall / (square * precision + recall + _EPSILON)
        score = mean * (1.0 + square)
        if self.average == "weighted":
            return (score * true / (true.sum() + _EPSILON)).sum()
        return score if self.average is None else np.mean(score)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        own = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return super().get_config() | own


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall, by output.

    Parameters
    ----------
    average, threshold, name, dtype
        As in `FBetaScore`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metric = metrics.F1Score(threshold=0.5)
    >>> metric([[1.0, 1.0], [1.0, 0.0]], [[0.6, 0.2], [0.4, 0.7]]).round(4)
    array([0.6667, 0.    ], dtype=float32)
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        config = super().get_config()
        del config["beta"]
        return config


class R2Score(_ByColumn):
    """1 - sum (y - prediction)^2 / sum (y - mean y)^2, the share of variance explained.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        The mean over outputs, that by their variance, or one number for each.
    num_regressors : int, at least 0
        Number of inputs p for the adjusted score 1 - (1 - R2) (n - 1) / (n - p - 1), with n the
        number of targets seen, those of all outputs, as Keras counts them.
    name, dtype
        Of `Metric`.

    Notes
    -----
    0 for an output whose targets are all the same, as far as sums in float64 can tell, and not
    predicted exactly.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]]).round(4)
    np.float32(0.5714)
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if class_aggregation is not None:
            choices = "uniform_average", "variance_weighted_average"
            _validation.check_choice(self.name, "class_aggregation", class_aggregation, choices)
        self.class_aggregation = class_aggregation
        self.num_regressors = _validation.check_count(
            self.name, "num_regressors", num_regressors, 0
        )

    def record(self, program: Program, outputs: Outputs, sums: F64) -> None:
        """Record what a batch adds to the sums."""
        y, _, labels, target, weight = outputs
        program.r2_sums(y, labels, target, weight, sums)

    def value(self, sums: F64) -> Any:
        """Return the score, or one for each output."""
        total, squares, residual = sums[:-2].reshape(3, -1)
        if not sums[-2]:
            return 0.0
        variance = squares - total * total / sums[-2]
        rounding = (sums[-1] + 4.0) * np.finfo(np.float64).eps * squares
        variance = np.where(variance <= rounding, 0.0, variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = 1.0 - residual / variance
        scores = np.where(np.isinf(scores), 0.0, scores)
        score: Any = scores
        if self.class_aggregation == "uniform_average":
            score = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            score = (variance * scores).sum() / variance.sum()
        return self._adjusted(score, sums[-1] * len(total)) if self.num_regressors else score

    def _adjusted(self, score: Any, n: float) -> Any:
        rest = n - self.num_regressors - 1.0
        if rest > 0.0:
            return 1.0 - (1.0 - score) * (n - 1.0) / rest
        warnings.warn(
            f"{self.name}: {self.num_regressors} regressors need more than "
            f"{self.num_regressors + 1} targets for an adjusted score, got {n:.0f}; not adjusted",
            stacklevel=3,
        )
        return score

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        own = {
            "class_aggregation": self.class_aggregation,
            "num_regressors": self.num_regressors,
        }
        return super().get_config() | own
