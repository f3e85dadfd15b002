"""Errors with a name of their own, and what to say of Keras' names that are not here."""

import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np


class NonFiniteError(ArithmeticError):
    """A training step met NaN or infinity; it was left out, the model is as before it.

    Parameters
    ----------
    message : str
        What is said.
    epoch, step : int
        Where, both counted from 0; the step within the epoch.
    tensor : str
        What was not finite first, in the order of a step: "inputs", "targets", "weights" of
        samples; a variable of the model before the step; "output" of a layer; "loss", penalties of
        regularizers included; then, from the last layer to the first, "dy", the gradient of a
        layer's output, and the gradients of its variables; with penalties; accumulated; times the
        learning rate. For a variable and all that belongs to it this is its path; the message says
        which of these it was.
    layer : str or None
        Name of the layer that the variable or output belongs to.
    rows : tuple of int
        Rows of the data in which inputs, targets, weights, an output, the loss or dy were not
        finite; empty for variables.
    units : tuple of int
        Where along the last axis: columns of inputs, targets, an output, dy, a kernel, elements of
        a bias and its like; empty for the loss and weights of samples.
    cause : str
        The likely cause, by the numbers of the step.

    Notes
    -----
    All but the message are attributes. What was first is found by running the step once more, which
    changes nothing but calls parts in Python again. Where that gives other numbers, because data
    changed meanwhile, the message says so.

    Examples
    --------
    >>> import evengrad as keras
    >>> last = keras.layers.Dense(1, "exponential", kernel_initializer="ones", name="last")
    >>> model = keras.Sequential([keras.Input((2,)), last])
    >>> model.compile("sgd", "mse")
    >>> try:
    ...     history = model.fit([[1.0, 2.0], [3.0, 150.0]], [1.0, 2.0], verbose=0, shuffle=False)
    ... except keras.NonFiniteError as error:
    ...     print(error.tensor, "of", error.layer, error.rows, error.units)
    ...     print(error.cause)
    output of last (1,) (0,)
    exponential of 153 is beyond float32: e^x overflows above 88.7
    """

    def __init__(
        self,
        message: str,
        *,
        epoch: int,
        step: int,
        tensor: str,
        layer: str | None = None,
        rows: Sequence[int] = (),
        units: Sequence[int] = (),
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.tensor = tensor
        self.layer = layer
        self.rows = tuple(rows)
        self.units = tuple(units)
        self.cause = cause

    def __reduce__(self) -> tuple[object, ...]:
        return _nonfinite_error, (str(self), dict(vars(self)))


def _nonfinite_error(message: str, attributes: "dict[str, Any]") -> NonFiniteError:
    error = NonFiniteError(message, epoch=0, step=0, tensor="")
    vars(error).update(attributes)
    return error


class GradientError(AssertionError):
    """A gradient is not the derivative of what it belongs to; see `utils.check_gradients`.

    Parameters
    ----------
    message : str
        What is said: where, what is expected, what may be the cause.
    tensor : str
        "inputs" ("y_pred" of a loss, "weights" of a regularizer) or the path of a variable.
    index : tuple of int or None
        The element that is wrong most; None where there is no gradient of the right shape.
    expected, got : float or None
        There: the finite difference and the gradient.

    Notes
    -----
    All but the message are attributes.

    Examples
    --------
    >>> import evengrad
    >>> issubclass(evengrad.GradientError, AssertionError)
    True
    """

    def __init__(
        self,
        message: str,
        *,
        tensor: str,
        index: tuple[int, ...] | None = None,
        expected: float | None = None,
        got: float | None = None,
    ) -> None:
        super().__init__(message)
        self.tensor = tensor
        self.index = index
        self.expected = expected
        self.got = got

    def __reduce__(self) -> tuple[object, ...]:
        where = self.tensor, self.index, self.expected, self.got
        return _gradient_error, (str(self), *where)


def _gradient_error(
    message: str,
    tensor: str,
    index: tuple[int, ...] | None,
    expected: float | None,
    got: float | None,
) -> GradientError:
    return GradientError(message, tensor=tensor, index=index, expected=expected, got=got)


class ModelFileError(ValueError):
    """A file is not what it should be: it is damaged, or holds something else; nothing was loaded.

    Parameters
    ----------
    path : str
        The file.
    reason : str
        What is wrong with it.

    Notes
    -----
    Both are attributes.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import evengrad as keras
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "m.evengrad")
    ...     _ = path.write_bytes(b"something else")
    ...     try:
    ...         keras.models.load_model(path)
    ...     except keras.ModelFileError as error:
    ...         print(error.reason)
    expected a zip archive, as model.save writes it
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


_DENSE_ONLY = "evengrad has dense layers only; Flatten samples and use Dense"
_ONE_PATH = "layers follow one another; for shortcuts use Residual, inside or around a Sequential"

# Patterns of names that Keras has, and what to do instead.
_INSTEAD = {
    "Model|Functional": "build an evengrad.Sequential; for shortcuts, layers.Residual",
    "GradientTape": "call model.fit, or model.forward, model.backward and model.optimizer.step",
    "backend|ops": "arrays are numpy's: use numpy",
    "applications": "evengrad has dense layers only; there are no pretrained networks",
    "mixed_precision|DTypePolicy": "all of evengrad computes in float32",
    "Embedding|StringLookup|IntegerLookup|TextVectorization|CategoryEncoding|Hashing|Discretization":
        "turn categories into columns first, as evengrad.utils.to_categorical does",
    r".*Conv\w*\d\w*|\w*Pooling\dD|UpSampling\dD|ZeroPadding\dD|Cropping\dD|SpatialDropout\dD":
        _DENSE_ONLY,
    "LSTM|GRU|SimpleRNN|RNN|\\w*Cell|Bidirectional|TimeDistributed|ConvLSTM.*": _DENSE_ONLY,
    "Attention|AdditiveAttention|MultiHeadAttention|GroupedQueryAttention": _DENSE_ONLY,
    "RemoteMonitor": "send logs from on_epoch_end of a Callback of your own",
    "OrbaxCheckpoint": "use ModelCheckpoint or BackupAndRestore",
    "Masking": "there are no masks; leave samples out, or give them a sample_weight of 0",
    "(?i:Add|Average|Concatenate|Subtract|Multiply|Maximum|Minimum|Dot)": _ONE_PATH,
    "Lambda": "write a layer of your own: a class derived from layers.Layer",
    "\\w+Normalization": "use BatchNormalization or LayerNormalization",
}  # fmt: skip


_PACKAGE = os.path.dirname(__file__) + os.sep


def warn(text: str) -> None:
    """Give a UserWarning at the line outside this package that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)


def explain_missing(name: str, module: str = "evengrad") -> str:
    """One line for an attribute of Keras that evengrad does not have."""
    text = f"module {module!r} has no attribute {name!r}"
    for pattern, instead in _INSTEAD.items():
        if re.fullmatch(pattern, name):
            return f"{text}: {instead}"
    return text


def rows_text(rows: "np.ndarray[tuple[int, ...], np.dtype[np.intp]]") -> str:
    """The first of some row numbers, for a message."""
    first = ", ".join(str(r) for r in rows[:5])
    return first if len(rows) <= 5 else f"{first} and {len(rows) - 5} more"
