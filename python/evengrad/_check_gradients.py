"""check_gradients: derivatives of a part against finite differences."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _check_parts as parts
from evengrad import _random, _stack, _validation, activations, losses
from evengrad._differences import Check, compare
from evengrad.activations import Activation, Spec
from evengrad.errors import GradientError
from evengrad.layers.base import Layer
from evengrad.losses import Loss
from evengrad.regularizers import Regularizer

if TYPE_CHECKING:
    from evengrad._gradient_report import GradientReport
    from evengrad._stack import Part
    from evengrad.variable import Variable

F64 = NDArray[np.float64]

_ROWS = 5  # of samples drawn here; no factor that people forget
_FEATURES = 6


def check_gradients(
    part: Any,
    x: ArrayLike | None = None,
    y_true: ArrayLike | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    training: bool = True,
    elements: int = 100,
    tolerance: float | None = None,
    seed: int = 0,
) -> GradientReport:
    """Compare the gradients of a part with finite differences.

    Parameters
    ----------
    part : Layer, Sequential, Loss, Activation, Regularizer, or name of an activation or loss
        Of your own or of evengrad. What is written in Python is called with float64 arrays, its
        variables in float64 too; what runs in the core is taken as it is, in float32.
    x : array_like (n, ...), optional
        Samples; predictions for a loss; for a regularizer the weights. Default: 5 normal samples;
        for a loss rows of 6 probabilities.
    y_true : array_like, optional
        The truth for a loss. Default: rows of probabilities, or class numbers.
    input_shape : sequence of int, optional
        Shape of a sample, for a layer that is not built. Default: (6,).
    training : bool
        Whether a layer runs in training mode, the default. Random numbers are the same at each
        call: dropout, `np.random`, and each `np.random.Generator` that a layer has as attribute.
        In inference mode the layers of evengrad have gradients of their inputs only.
    elements : int, at least 1
        Of a larger tensor so many are checked, default 100, chosen by the seed.
    tolerance : float, above 0, optional
        Largest error allowed beyond that of the differences, as a share of the largest gradient of
        the tensor, or of a twentieth of that of all tensors. Default: 1e-6 in float64, 1e-4 in
        float32.
    seed : int
        Of all that is drawn here, default 0.

    Returns
    -------
    GradientReport
        Largest relative error of each tensor, and where.

    Raises
    ------
    GradientError
        If a gradient is wrong, has another shape than its tensor, or is missing. The message says
        where, by how much, and what the cause may be.
    ValueError, TypeError
        If the part cannot be checked with these arrays.

    Notes
    -----
    It is the gradient of a sum of all outputs times random factors, at random weights around those
    of the part, which has its own again in the end; a layer that is not built stays so. Differences
    are central, over two steps that are combined so that the error is of fourth order [1]_, and
    shorter where that has less error, as near a kink. On a kink any slope between those of its two
    sides is right.

    References
    ----------
    .. [1] Richardson 1911, doi:10.1098/rsta.1911.0009

    Examples
    --------
    >>> from evengrad import layers, utils
    >>> class Square(layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs**2
    ...
    ...     def call_backward(self, inputs, outputs, dy):
    ...         return inputs * dy  # a factor is missing
    >>> try:
    ...     utils.check_gradients(Square(name="square"))
    ... except utils.GradientError as error:
    ...     print(str(error).splitlines()[-1])
    Likely cause: it is 0.5 times the right one.
    >>> utils.check_gradients(layers.Dense(3, "tanh")).error < 1e-4
    True
    """
    _validation.check_flag("check_gradients", "training", training)
    _validation.check_count("check_gradients", "elements", elements)
    if tolerance is not None:
        _validation.check_number("check_gradients", "tolerance", tolerance, 0.0, open_low=True)
    check = Check(np.random.default_rng(seed), elements, tolerance)
    if isinstance(part, str):
        part = _named(part)
    if _stack.is_part(part):
        return _of_layers(part, x, input_shape, check, training=training)
    return compare(_other(part, x, y_true, check.rng), check)


def _named(name: str) -> Spec | Activation | Loss:
    try:
        return activations.get(name)
    except ValueError:
        return losses.get(name)


def _drawn(x: ArrayLike | None, shape: tuple[int, ...], rng: np.random.Generator) -> F64:
    if x is None:
        return rng.standard_normal((_ROWS, *shape))
    array = _validation.as_array("check_gradients", "x", x).astype(np.float64)
    if not (array.ndim and array.size):
        raise ValueError(
            f"check_gradients: expected x of at least one axis and one element, got {array.shape}"
        )
    return array


def _other(part: Any, x: Any, y_true: Any, rng: np.random.Generator) -> parts.Subject:
    if isinstance(part, Loss):
        return _of_loss(losses.get(part), x, y_true, rng)
    if isinstance(part, Regularizer):
        return parts.Penalty(part, _drawn(x, (_FEATURES,), rng))
    try:
        found = activations.get(part)
    except (TypeError, ValueError):
        raise TypeError(
            "check_gradients: expected a Layer, a Sequential, a Loss, an Activation, a Regularizer "
            f"or a name, got {part!r}"
        ) from None
    drawn = _drawn(x, (_FEATURES,), rng)
    if isinstance(found, Spec):
        return parts.CompiledActivation(found, drawn)
    return parts.ActivationInPython(found, drawn)


def _of_loss(loss: Loss, x: Any, y_true: Any, rng: np.random.Generator) -> parts.Subject:
    rows = np.ones(_FEATURES)
    drawn = 0.5 * rng.dirichlet(rows, _ROWS) + 0.5 / _FEATURES  # not near 0
    y_pred = drawn if x is None else _drawn(x, (), rng)
    if y_true is None:
        n, width = len(y_pred), y_pred.shape[-1]
        drawn = rng.dirichlet(np.ones(width), y_pred.shape[:-1])
        y_true = rng.integers(0, width, n, dtype=np.int32) if loss.sparse else drawn
    truth = _validation.as_array("check_gradients", "y_true", y_true)
    if loss.in_python:
        return parts.LossInPython(loss, truth, y_pred)
    return parts.CompiledLoss(loss, truth, y_pred)


def _of_layers(
    part: Part, x: Any, input_shape: Any, check: Check, *, training: bool
) -> GradientReport:
    with _random.seeded(check.rng):
        part, shape = _built(part, None if x is None else np.shape(x)[1:], input_shape)
    drawn = _drawn(x, shape, check.rng)
    if drawn.shape[1:] != shape or not len(drawn):
        raise ValueError(
            f"check_gradients: expected x of shape (n, {', '.join(map(str, shape))}) for {part}, "
            f"got {drawn.shape}"
        )
    layers = [part] if isinstance(part, Layer) else _stack.flat(part.layers)
    in_python = isinstance(part, Layer) and part.in_python

    def numbers(variable: Variable) -> NDArray[Any]:
        """Around those that are there: gradients at 0 tell little."""
        now = variable.storage.astype(np.float64)
        return now + check.rng.uniform(-0.25, 0.25, now.shape) if variable.trainable else now

    context: AbstractContextManager[None]
    context = (parts.in_float64 if in_python else parts.moved)(part.variables, numbers)
    with context:
        if in_python:
            assert isinstance(part, Layer)
            return compare(parts.LayerInPython(part, drawn, training=training), check)
        return compare(parts.Recorded(part, layers, drawn, training=training), check)


def _built(part: Part, of_x: Any, input_shape: Any) -> tuple[Part, tuple[int, ...]]:
    """Return the part, or a copy of it that is built, and the shape of its samples."""
    if part.built:
        shape = part.input_shape if isinstance(part, Layer) else part.sample_shape()
        assert shape is not None
        return part, tuple(shape)
    declared = part.declared_shape if isinstance(part, Layer) else None
    given = input_shape or of_x or declared or (_FEATURES,)
    shape = _validation.check_shape("check_gradients", "input_shape", given)
    made = _copied(part)
    made.build_once(shape)
    return made, shape


def _copied(part: Part) -> Part:
    if isinstance(part, Layer):
        return copy.deepcopy(part)
    return type(part)([_copied(layer) for layer in part.layers], name=part.name)


__all__ = ["GradientError", "check_gradients"]
