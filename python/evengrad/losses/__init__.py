"""Losses, with Keras' names: classes, called on arrays or given to `compile`, and functions.

A loss has one value for each row of outputs; `reduction` says what becomes of them, by default the
sum of weight times loss over the number of rows. Names that `compile` and `get` know: those of the
classes ("MeanSquaredError"), of the functions ("mean_squared_error"), and mse, mae, mape, msle,
bce, kld, logcosh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evengrad._family import Family
from evengrad._names import snake_case
from evengrad.losses import functions
from evengrad.losses.base import Loss
from evengrad.losses.cross_entropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    KLDivergence,
    SparseCategoricalCrossentropy,
)
from evengrad.losses.functions import (
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    cosine_similarity,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from evengrad.losses.hinge import CategoricalHinge, Hinge, SquaredHinge
from evengrad.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
)
from evengrad.saving import registration

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "CategoricalHinge", "CosineSimilarity",
    "Hinge", "Huber", "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError",
    "MeanAbsolutePercentageError", "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson",
    "SparseCategoricalCrossentropy", "SquaredHinge", "binary_crossentropy",
    "categorical_crossentropy", "categorical_hinge", "cosine_similarity", "deserialize", "get",
    "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "poisson", "serialize", "sparse_categorical_crossentropy", "squared_hinge",
]  # fmt: skip

# snake_case of the class is the name of the function.
_CLASSES: dict[str, type[Loss]] = {
    snake_case(c.__name__): c
    for c in (
        MeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError, Huber, LogCosh, BinaryCrossentropy, CategoricalCrossentropy,
        SparseCategoricalCrossentropy, Hinge, SquaredHinge, CategoricalHinge, KLDivergence,
        Poisson, CosineSimilarity,
    )
}  # fmt: skip
ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "logcosh": "log_cosh",
}


def get(identifier: str | Mapping[str, Any] | Loss | Callable[..., Any]) -> Loss:
    """Return a loss given by name, config or function, or as itself.

    Parameters
    ----------
    identifier : str, dict, Loss or function
        A name in snake or camel case, what `serialize` returned, or a function of this module.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    TypeError
        If it is another function, or a loss of one's own that lacks `call` or `gradient`.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.get("mse")
    <MeanSquaredError mean_squared_error>
    """
    if isinstance(identifier, Loss):
        return _complete(identifier)
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if callable(identifier) and not isinstance(identifier, type):
        return _of_function(identifier)
    name = snake_case(identifier) if isinstance(identifier, str) else ""
    name = ALIASES.get(name, name)
    if name in _CLASSES:
        return _CLASSES[name]()
    own: type[Loss] | None = registration.find(identifier, "loss", Loss)
    if own is not None:
        return _complete(own())
    known = ", ".join([*_CLASSES, *ALIASES])
    raise ValueError(f"loss: expected one of {known}, got {identifier!r}")


def _complete(loss: Loss) -> Loss:
    kind, missing = type(loss), loss.unwritten
    nothing = kind.kernel is Loss.kernel and not kind.kernel_name
    if missing and (loss.in_python or nothing):
        raise TypeError(f"loss: {kind.__name__} does not define {' and '.join(missing)}")
    return loss


def _of_function(function: Callable[..., Any]) -> Loss:
    name = getattr(function, "__name__", "")
    if name in _CLASSES and getattr(functions, name) is function:
        return _CLASSES[name](name=name)
    raise TypeError(
        f"loss: expected a name or a Loss, got the function {function!r}, whose gradient "
        "cannot be found automatically. Write a class derived from evengrad.losses.Loss with "
        "call(self, y_true, y_pred), one loss a sample, and gradient(self, y_true, y_pred), "
        "in the shape of y_pred"
    )


def serialize(loss: Loss) -> dict[str, Any]:
    """Return the class name and arguments of a loss, fit for JSON.

    Parameters
    ----------
    loss : Loss

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.serialize(losses.LogCosh())["class_name"]
    'LogCosh'
    """
    described = Family("loss", Loss).serialize(loss)
    assert described is not None
    return described


def deserialize(
    name: str | Mapping[str, Any], custom_objects: Mapping[str, type[Loss]] | None = None
) -> Loss:
    """Return the loss that `serialize` described.

    Parameters
    ----------
    name : dict or str
        {"class_name": ..., "config": {...}}, or a name for `get`.
    custom_objects : dict of classes by name, optional
        Losses of your own.

    Examples
    --------
    >>> from evengrad import losses
    >>> losses.deserialize(losses.serialize(losses.Huber(2.0))).delta
    2.0
    """
    if isinstance(name, str):
        return get(name)
    return Family("loss", Loss, *_CLASSES.values(), *(custom_objects or {}).values()).deserialize(
        name
    )
