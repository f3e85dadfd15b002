"""Losses of margins: y_true are -1 and 1, or 0 and 1, where 0 stands for -1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evengrad.losses.base import Loss


class _Sided(Loss):
    """A loss of sides, -1 and 1."""

    def convert(self, who: str, y: ArrayLike, n: int, shape: tuple[int, ...]) -> Any:
        """Return y_true as the kernel reads it: it takes each 0 as -1."""
        array = super().convert(who, y, n, shape)
        if (array == 0.0).any() and not np.isin(array, (0.0, 1.0)).all():
            raise ValueError(
                f"{who}: {self.name} expects y of -1 and 1, or of 0 and 1 (0 stands for -1), got "
                "both 0 and other numbers"
            )
        return array


class Hinge(_Sided):
    """max(1 - y p, 0), the mean over outputs, for y of -1 and 1 (or 0 and 1).

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "hinge".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.Hinge()([[-1.0, 1.0]], [[0.5, 0.5]])
    np.float32(1.0)
    """

    kernel_name = "hinge"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class SquaredHinge(_Sided):
    """max(1 - y p, 0)^2, the mean over outputs, for y of -1 and 1 (or 0 and 1).

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "squared_hinge".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.SquaredHinge()([[-1.0, 1.0]], [[0.5, 0.5]])
    np.float32(1.25)
    """

    kernel_name = "squared_hinge"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "squared_hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class CategoricalHinge(Loss):
    """max(0, 1 + max((1 - y) p) - sum(y p)), for one-hot y.

    Parameters
    ----------
    reduction, name, dtype
        Of `Loss`; the name is "categorical_hinge".

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.CategoricalHinge()([[0.0, 1.0]], [[0.75, 0.5]])
    np.float32(1.25)
    """

    kernel_name = "categorical_hinge"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_hinge",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
