"""Errors with a name of their own, and what to say of Keras' names that are not here."""

import re

import numpy as np


class NonFiniteError(ArithmeticError):
    """A training step met NaN or infinity; it was left out, the model is as before it.

    Attributes
    ----------
    epoch, step : int
        Where, both counted from 0; the step within the epoch.
    tensor : str
        Path of the variable whose gradient was not finite, or "loss".
    """

    def __init__(self, message: str, *, epoch: int, step: int, tensor: str) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.tensor = tensor

    def __reduce__(self) -> tuple[object, ...]:
        return _nonfinite_error, (str(self), self.epoch, self.step, self.tensor)


def _nonfinite_error(message: str, epoch: int, step: int, tensor: str) -> NonFiniteError:
    return NonFiniteError(message, epoch=epoch, step=step, tensor=tensor)


_DENSE_ONLY = "evengrad has dense layers only; Flatten samples and use Dense"
_ONE_PATH = "layers follow one another; for shortcuts use Residual, inside or around a Sequential"

# Patterns of names that Keras has, and what to do instead.
_INSTEAD = {
    "Model|Functional": "build an evengrad.Sequential; for shortcuts, layers.Residual",
    "GradientTape": "call model.fit or model.train_on_batch",
    "backend|ops": "arrays are numpy's: use numpy",
    "applications": "evengrad has dense layers only; there are no pretrained networks",
    "mixed_precision|DTypePolicy": "all of evengrad computes in float32",
    "Embedding|StringLookup|IntegerLookup|TextVectorization|CategoryEncoding|Hashing|Discretization":
        "turn categories into columns first, as evengrad.utils.to_categorical does",
    r".*Conv\w*\d\w*|\w*Pooling\dD|UpSampling\dD|ZeroPadding\dD|Cropping\dD|SpatialDropout\dD":
        _DENSE_ONLY,
    "LSTM|GRU|SimpleRNN|RNN|\\w*Cell|Bidirectional|TimeDistributed|ConvLSTM.*": _DENSE_ONLY,
    "Attention|AdditiveAttention|MultiHeadAttention|GroupedQueryAttention": _DENSE_ONLY,
    "Masking": "there are no masks; leave samples out, or give them a sample_weight of 0",
    "Add|Average|Concatenate|Subtract|Multiply|Maximum|Minimum|Dot": _ONE_PATH,
    "Lambda": "write a layer of your own: a class derived from layers.Layer",
    "\\w+Normalization": "use BatchNormalization or LayerNormalization",
}  # fmt: skip


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
