"""Losses of probabilities and margins as metrics: their mean over rows."""

from __future__ import annotations

from typing import Any

from evengrad import losses
from evengrad.metrics.base import LossMean


class BinaryCrossentropy(LossMean):
    """Mean of -y ln p - (1 - y) ln(1 - p); see `losses.BinaryCrossentropy`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.
    from_logits, label_smoothing
        As the loss has them.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.BinaryCrossentropy()([[1.0, 0.0]], [[0.5, 0.5]]).round(4)
    np.float32(0.6931)
    """

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        loss = losses.BinaryCrossentropy(from_logits, label_smoothing)
        super().__init__(loss, name, dtype)
        self.from_logits, self.label_smoothing = loss.from_logits, loss.label_smoothing

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        own = {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}
        return super().get_config() | own


class CategoricalCrossentropy(LossMean):
    """Mean of -sum y ln p; see `losses.CategoricalCrossentropy`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.
    from_logits, label_smoothing, axis
        As the loss has them.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.CategoricalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    np.float32(0.6931)
    """

    strict = True

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        loss = losses.CategoricalCrossentropy(from_logits, label_smoothing, axis)
        super().__init__(loss, name, dtype)
        self.from_logits, self.label_smoothing = loss.from_logits, loss.label_smoothing

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        own = {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}
        return super().get_config() | own


class SparseCategoricalCrossentropy(LossMean):
    """Mean of -ln p[y] for class numbers y; see `losses.SparseCategoricalCrossentropy`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.
    from_logits, ignore_class, axis
        As the loss has them.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]).round(4)
    np.float32(0.6931)
    """

    strict = True

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis)
        super().__init__(loss, name, dtype)
        self.from_logits = loss.from_logits

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return super().get_config() | {"from_logits": self.from_logits}


class KLDivergence(LossMean):
    """Mean of sum y ln(y / p); see `losses.KLDivergence`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.KLDivergence()([[0.5, 0.5]], [[0.5, 0.5]])
    np.float32(0.0)
    """

    def __init__(self, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(losses.KLDivergence(), name, dtype)


class Hinge(LossMean):
    """Mean of max(1 - y p, 0); see `losses.Hinge`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.Hinge()([[-1.0, 1.0]], [[0.5, 0.5]])
    np.float32(1.0)
    """

    def __init__(self, name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(losses.Hinge(), name, dtype)


class SquaredHinge(LossMean):
    """Mean of max(1 - y p, 0)^2; see `losses.SquaredHinge`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.SquaredHinge()([[-1.0, 1.0]], [[0.5, 0.5]])
    np.float32(1.25)
    """

    def __init__(self, name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(losses.SquaredHinge(), name, dtype)


class CategoricalHinge(LossMean):
    """Mean of max(0, 1 + max((1 - y) p) - sum(y p)); see `losses.CategoricalHinge`.

    Parameters
    ----------
    name, dtype
        Of `Metric`.

    Examples
    --------
    >>> from evengrad import metrics
    >>> metrics.CategoricalHinge()([[0.0, 1.0]], [[0.75, 0.5]])
    np.float32(1.25)
    """

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(losses.CategoricalHinge(), name, dtype)
