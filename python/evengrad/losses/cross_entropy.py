"""Losses of probabilities.

Where a model ends with the softmax or sigmoid that goes with its cross-entropy, as an activation
argument or as a layer, or gives logits, both are computed together: the gradient is p - y at any
logit, however wrong the answer is.
"""

from __future__ import annotations

from typing import Any, ClassVar

from evengrad import _validation
from evengrad.losses.base import Loss
from evengrad.losses.regression import check_axis


class _CrossEntropy(Loss):
    """A loss of probabilities that knows a better way from logits."""

    of_probabilities = True
    activation: ClassVar[str]
    from_logits_kernel: ClassVar[str]
    from_probabilities_kernel: ClassVar[str]

    def __init__(
        self, from_logits: bool, axis: int, reduction: str | None, name: str, dtype: Any
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = _validation.check_flag(self.name, "from_logits", from_logits)
        self.axis = check_axis(self.name, axis)

    def kernel(self, last_activation: str) -> tuple[str, bool]:
        """The logits' kernel wherever logits can be had: its gradient never vanishes."""
        fused = last_activation == self.activation and not self.from_logits
        if fused or self.from_logits:
            return self.from_logits_kernel, fused
        return self.from_probabilities_kernel, False

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return super().get_config() | {"from_logits": self.from_logits, "axis": self.axis}


class _Smoothed(_CrossEntropy):
    """One whose truth may be smoothed."""

    def __init__(self, from_logits: bool, label_smoothing: float, axis: int, *others: Any) -> None:
        super().__init__(from_logits, axis, *others)
        self.label_smoothing = _validation.check_number(
            self.name, "label_smoothing", label_smoothing, 0.0, 1.0
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        """The smoothing."""
        return (self.label_smoothing,)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return super().get_config() | {"label_smoothing": self.label_smoothing}


class BinaryCrossentropy(_Smoothed):
    """-y ln p - (1 - y) ln(1 - p), the mean over outputs, for y from 0 to 1.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits, p = sigmoid. With False they are held inside
        [1e-7, 1 - 1e-7]; a model that ends with sigmoid is computed from its logits all the same.
    label_smoothing : float in [0, 1]
        s > 0 takes y (1 - s) + s / 2 for y.
    axis : int
        -1, the only one there is.
    reduction, name, dtype
        Of `Loss`; the name is "binary_crossentropy".

    Examples
    --------
    >>> from evengrad import losses
    >>> float(losses.BinaryCrossentropy()([[1.0, 0.0]], [[0.5, 0.5]]))  # ln 2
    0.6931471824645996
    """

    activation = "sigmoid"
    from_logits_kernel = "sigmoid_cross_entropy"
    from_probabilities_kernel = "binary_cross_entropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)


class CategoricalCrossentropy(_Smoothed):
    """-sum y ln p for one-hot (or soft) y.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits, p = softmax. With False they are probabilities, divided by
        their sum and held inside [1e-7, 1 - 1e-7]; a model that ends with softmax is computed
        from its logits all the same, so that its gradient is p - y however wrong it is.
    label_smoothing : float in [0, 1]
        s > 0 takes y (1 - s) + s / outputs for y.
    axis : int
        -1, the only one there is.
    reduction, name, dtype
        Of `Loss`; the name is "categorical_crossentropy".

    Examples
    --------
    >>> from evengrad import losses
    >>> float(losses.CategoricalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]))  # ln 2
    0.6931471824645996
    """

    activation = "softmax"
    from_logits_kernel = "softmax_cross_entropy"
    from_probabilities_kernel = "categorical_cross_entropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)


class SparseCategoricalCrossentropy(_CrossEntropy):
    """-ln p[y] for class numbers y, else as `CategoricalCrossentropy`.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits; see `CategoricalCrossentropy`.
    ignore_class : None
        Not supported: give the samples to ignore a sample_weight of 0.
    reduction, axis, name, dtype
        As in `CategoricalCrossentropy`; the name is "sparse_categorical_crossentropy".

    Examples
    --------
    >>> from evengrad import losses
    >>> float(losses.SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]))  # ln 2
    0.6931471824645996
    """

    sparse = True
    activation = "softmax"
    from_logits_kernel = "softmax_cross_entropy"
    from_probabilities_kernel = "categorical_cross_entropy"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, axis, reduction, name, dtype)
        if ignore_class is not None:
            raise ValueError(
                f"{self.name}: ignore_class is not supported, got {ignore_class!r}; give the "
                "samples of that class another class and a sample_weight of 0"
            )
        self.ignore_class = ignore_class

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return super().get_config() | {"ignore_class": self.ignore_class}


class KLDivergence(Loss):
    """sum y ln(y / p), both held inside [1e-7, 1].

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "kl_divergence".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]).round(4)
    np.float32(0.1438)
    """

    kernel_name = "kl_divergence"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
