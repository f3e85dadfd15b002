"""Losses as functions of (y_true, y_pred): one value for each row of outputs, on their last axis.

Each takes arrays (..., outputs) and returns float32 of shape (...). They can be given to `compile`
and to `metrics` by name or as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad.losses import cross_entropy, regression
from evengrad.losses import hinge as hinges
from evengrad.losses.base import Loss


def _values(loss: Loss, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    loss.reduction = None
    x = _validation.as_array(loss.name, "y_pred", y_pred)
    if x.ndim != 1:
        values: NDArray[np.float32] = loss(y_true, x)
        return values
    truth = _validation.as_array(loss.name, "y_true", y_true)
    values = loss(truth.reshape(1, *truth.shape), x[None, :])
    return values[0]  # type: ignore[no-any-return]


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Mean of (y_pred - y_true)^2; see `MeanSquaredError`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.mean_squared_error([[0.0, 0.0], [1.0, 1.0]], [[1.0, 3.0], [1.0, 1.0]])
    array([5., 0.], dtype=float32)
    """
    return _values(regression.MeanSquaredError(), y_true, y_pred)


def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Mean of |y_pred - y_true|; see `MeanAbsoluteError`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.mean_absolute_error([[0.0, 0.0]], [[1.0, 3.0]])
    array([2.], dtype=float32)
    """
    return _values(regression.MeanAbsoluteError(), y_true, y_pred)


def mean_absolute_percentage_error(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """100 times the mean of |y_pred - y_true| / |y_true|; see `MeanAbsolutePercentageError`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.mean_absolute_percentage_error([[2.0, 4.0]], [[1.0, 4.0]])
    array([25.], dtype=float32)
    """
    return _values(regression.MeanAbsolutePercentageError(), y_true, y_pred)


def mean_squared_logarithmic_error(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Mean squared difference of ln(1 + y); see `MeanSquaredLogarithmicError`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.mean_squared_logarithmic_error([[0.0]], [[1.0]]).round(4)
    array([0.4805], dtype=float32)
    """
    return _values(regression.MeanSquaredLogarithmicError(), y_true, y_pred)


def huber(y_true: ArrayLike, y_pred: ArrayLike, delta: float = 1.0) -> NDArray[np.float32]:
    """Mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2); see `Huber`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.
    delta : float, above 0, default 1
        Where.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.huber([[0.0, 0.0]], [[1.0, 3.0]])
    array([1.5], dtype=float32)
    """
    return _values(regression.Huber(delta), y_true, y_pred)


def log_cosh(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Mean of ln cosh(y_pred - y_true); see `LogCosh`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.log_cosh([[0.0]], [[1.0]]).round(4)
    array([0.4338], dtype=float32)
    """
    return _values(regression.LogCosh(), y_true, y_pred)


def poisson(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Mean of y_pred - y_true ln y_pred; see `Poisson`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.poisson([[3.0]], [[1.0]]).round(4)
    array([1.], dtype=float32)
    """
    return _values(regression.Poisson(), y_true, y_pred)


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> NDArray[np.float32]:
    """Minus the cosine of the angle between y_true and y_pred; see `CosineSimilarity`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.
    axis : int, default -1
        -1, the only one there is.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.cosine_similarity([[0.0, 1.0]], [[0.0, 2.0]])
    array([-1.], dtype=float32)
    """
    return _values(regression.CosineSimilarity(axis), y_true, y_pred)


def hinge(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Mean of max(1 - y_true y_pred, 0); see `Hinge`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.hinge([[-1.0, 1.0]], [[0.5, 0.5]])
    array([1.], dtype=float32)
    """
    return _values(hinges.Hinge(), y_true, y_pred)


def squared_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Mean of max(1 - y_true y_pred, 0)^2; see `SquaredHinge`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.squared_hinge([[-1.0, 1.0]], [[0.5, 0.5]])
    array([1.25], dtype=float32)
    """
    return _values(hinges.SquaredHinge(), y_true, y_pred)


def categorical_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """max(0, 1 + max((1 - y_true) y_pred) - sum(y_true y_pred)); see `CategoricalHinge`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.categorical_hinge([[0.0, 1.0]], [[0.75, 0.5]])
    array([1.25], dtype=float32)
    """
    return _values(hinges.CategoricalHinge(), y_true, y_pred)


def kl_divergence(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Sum of y_true ln(y_true / y_pred); see `KLDivergence`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.kl_divergence([[0.5, 0.5]], [[0.25, 0.75]]).round(4)
    array([0.1438], dtype=float32)
    """
    return _values(cross_entropy.KLDivergence(), y_true, y_pred)


def binary_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> NDArray[np.float32]:
    """Mean of -y ln p - (1 - y) ln(1 - p); see `BinaryCrossentropy`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.
    from_logits : bool, default False
        Whether y_pred are logits.
    label_smoothing : float in [0, 1], default 0
        How far the truth is moved towards equal shares.
    axis : int, default -1
        -1, the only one there is.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.binary_crossentropy([[1.0, 0.0]], [[0.5, 0.5]]).round(4)
    array([0.6931], dtype=float32)
    """
    loss = cross_entropy.BinaryCrossentropy(from_logits, label_smoothing, axis)
    return _values(loss, y_true, y_pred)


def categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> NDArray[np.float32]:
    """-sum y ln p; see `CategoricalCrossentropy`.

    Parameters
    ----------
    y_true, y_pred : array_like (..., outputs)
        Truth and prediction.
    from_logits : bool, default False
        Whether y_pred are logits.
    label_smoothing : float in [0, 1], default 0
        How far the truth is moved towards equal shares.
    axis : int, default -1
        -1, the only one there is.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.6931], dtype=float32)
    """
    loss = cross_entropy.CategoricalCrossentropy(from_logits, label_smoothing, axis)
    return _values(loss, y_true, y_pred)


def sparse_categorical_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> NDArray[np.float32]:
    """-ln p[y] for class numbers y; see `SparseCategoricalCrossentropy`.

    Parameters
    ----------
    y_true : array_like of int (...)
        Class numbers.
    y_pred : array_like (..., outputs)
        Predictions.
    from_logits : bool, default False
        Whether y_pred are logits.
    ignore_class : int, optional
        Rows of this class have loss 0.
    axis : int, default -1
        -1, the only one there is.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.sparse_categorical_crossentropy([1], [[0.5, 0.5]]).round(4)
    array([0.6931], dtype=float32)
    """
    loss = cross_entropy.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis)
    return _values(loss, y_true, y_pred)
