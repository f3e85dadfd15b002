"""Losses of numbers: how far predictions are from targets. d = prediction - target."""

from __future__ import annotations

from typing import Any

from evengrad import _validation
from evengrad.losses.base import Loss


class MeanSquaredError(Loss):
    """d^2, the mean over outputs.

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "mean_squared_error".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.MeanSquaredError()([[0.0, 0.0]], [[1.0, 3.0]])
    np.float32(5.0)
    """

    kernel_name = "mean_squared_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanAbsoluteError(Loss):
    """|d|, the mean over outputs; its gradient at d = 0 is 0.

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "mean_absolute_error".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.MeanAbsoluteError()([[0.0, 0.0]], [[1.0, -3.0]])
    np.float32(2.0)
    """

    kernel_name = "mean_absolute_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanAbsolutePercentageError(Loss):
    """100 |d| / max(|target|, 1e-7), the mean over outputs.

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "mean_absolute_percentage_error".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 4.0]])
    np.float32(25.0)
    """

    kernel_name = "mean_absolute_percentage_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanSquaredLogarithmicError(Loss):
    """(ln(1 + prediction) - ln(1 + target))^2, both held above 1e-7, the mean over outputs.

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "mean_squared_logarithmic_error".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.MeanSquaredLogarithmicError()([[0.0]], [[1.0]]).round(4)
    np.float32(0.4805)
    """

    kernel_name = "mean_squared_logarithmic_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class Huber(Loss):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2); the mean over outputs.

    Parameters
    ----------
    delta : float, above 0
        Where the parabola becomes a line. Default 1.
    reduction, name, dtype
        Of `Loss`; the name is "huber_loss".

    References
    ----------
    .. [1] Huber 1964, "Robust estimation of a location parameter", doi:10.1214/aoms/1177703732

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.Huber()([[0.0, 0.0]], [[1.0, 3.0]])
    np.float32(1.5)
    """

    kernel_name = "huber"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = _validation.check_number(self.name, "delta", delta, 0.0, open_low=True)

    @property
    def parameters(self) -> tuple[float, ...]:
        """Delta."""
        return (self.delta,)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return super().get_config() | {"delta": self.delta}


class LogCosh(Loss):
    """ln cosh d, the mean over outputs: d^2 / 2 near 0, |d| - ln 2 far from it.

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "log_cosh".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.LogCosh()([[0.0], [1.0]], [[1.0], [1.0]]).round(4)
    np.float32(0.2169)
    """

    kernel_name = "log_cosh"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class Poisson(Loss):
    """prediction - target ln(prediction + 1e-7), the mean over outputs; for expected counts.

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "poisson".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.Poisson()([[3.0]], [[1.0]]).round(4)
    np.float32(1.0)
    """

    kernel_name = "poisson"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "poisson",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


def check_axis(who: str, axis: Any) -> int:
    """Refuse all but the last axis."""
    if axis != -1 or isinstance(axis, bool):
        raise ValueError(f"{who}: expected axis -1, the last, got {axis!r}")
    return -1


class CosineSimilarity(Loss):
    """Minus the cosine of the angle between prediction and target.

    sum of -y p / (|y| |p|); norms count as 1e-7 at least.

    Parameters
    ----------
    axis : int
        -1, the only one there is.
    reduction, name, dtype
        Of `Loss`; the name is "cosine_similarity".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.CosineSimilarity()([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [2.0, 2.0]]).round(4)
    np.float32(-0.5)
    """

    kernel_name = "cosine_similarity"

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = check_axis(self.name, axis)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return super().get_config() | {"axis": self.axis}
