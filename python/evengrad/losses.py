"""Losses, with Keras' names. The mean over samples of weight times loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _python, _validation
from evengrad._names import snake_case
from evengrad._program import Outputs, Program, outputs_of

if TYPE_CHECKING:
    from evengrad._core import F32, F64


class Loss:
    """Base of the losses, called on arrays or given to `compile`, and of losses of your own.

    A loss of your own says what it does in Python, with numpy: `call` and `gradient`; there is no
    automatic differentiation.

    Parameters
    ----------
    name : str, optional
        Default: the class name in snake case.

    Attributes
    ----------
    sparse : bool
        Of the class: whether y_true are class numbers (n,). Default: they have the shape of the
        predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import losses
    >>> class LogCosh(losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return np.log(np.cosh(y_pred - y_true)).mean(axis=-1)
    ...
    ...     def gradient(self, y_true, y_pred):
    ...         return np.tanh(y_pred - y_true) / y_pred.shape[-1]
    >>> LogCosh()([[0.0], [1.0]], [[1.0], [1.0]]).round(4)
    np.float32(0.2169)
    """

    sparse: ClassVar[bool] = False  # y_true: class numbers
    of_probabilities: ClassVar[bool] = False  # y_true: from 0 to 1

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def call(self, y_true: NDArray[Any], y_pred: NDArray[np.float32]) -> NDArray[Any]:
        """Return the losses of a batch; for losses of your own.

        Parameters
        ----------
        y_true, y_pred : ndarray (n, ..., outputs)
            Read-only; y_true (n,) of int32 where the loss is sparse.

        Returns
        -------
        ndarray (n, ...)
            One loss for each row of outputs. Weights and the mean over rows come after it.
        """
        raise NotImplementedError(f"{type(self).__name__}.call")

    def gradient(self, y_true: NDArray[Any], y_pred: NDArray[np.float32]) -> NDArray[Any]:
        """Return the derivative of each loss by its own row of y_pred, in the shape of y_pred."""
        raise NotImplementedError(f"{type(self).__name__}.gradient")

    @property
    def in_python(self) -> bool:
        """Whether `call` and `gradient` say what the loss does."""
        return len(_unwritten(self)) < len(_OWN)

    def kernel(self, last_activation: str) -> tuple[str, bool]:
        """Name of the kernel, and whether it computes the model's last activation itself."""
        raise NotImplementedError(f"{type(self).__name__}.kernel")

    def record(
        self, program: Program, kernel: str, outputs: Outputs, dy: F32 | None, total: F64
    ) -> None:
        """Record total += sum of weight * loss, and dy, the gradient of its mean."""
        if self.in_python:
            return _python.record_loss(self, program, outputs, dy, total)
        y, _, labels, target, weight = outputs
        return program.loss(kernel, y, labels, target, weight, dy, total)

    def convert(self, who: str, y: ArrayLike, n: int, shape: tuple[int, ...]) -> Any:
        """Return y_true as the kernel reads it."""
        if not self.sparse:
            check = _validation.probabilities if self.of_probabilities else _validation.targets
            return check(who, "y", y, n, shape)
        if len(shape) != 1:
            raise ValueError(f"{who}: {self.name} expects one row of outputs a sample, got {shape}")
        return _validation.labels(who, "y", y, n, shape[0])

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> np.float32:
        """Return the loss of predictions (n, ...) against the truth."""
        x = _validation.features(self.name, "y_pred", y_pred)
        truth = self.convert(self.name, y_true, len(x), x.shape[1:])
        weight = None
        if sample_weight is not None:
            weight = _validation.sample_weights(self.name, sample_weight, len(x))
        program, outputs = outputs_of(x, truth, sparse=self.sparse, weight=weight)
        total = np.zeros(1)
        kernel = "" if self.in_python else self.kernel("")[0]
        self.record(program, kernel, outputs, None, total)
        program.run(len(x))
        return np.float32(total[0] / len(outputs.y))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return {"name": self.name}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


_OWN = "call", "gradient"


def _unwritten(loss: Loss) -> list[str]:
    return [name for name in _OWN if getattr(type(loss), name) is getattr(Loss, name)]


class _CrossEntropy(Loss):
    """A loss of probabilities that knows a better way from logits."""

    of_probabilities = True
    activation: ClassVar[str]
    from_logits_kernel: ClassVar[str]
    from_probabilities_kernel: ClassVar[str]

    def __init__(self, from_logits: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.from_logits = from_logits

    def kernel(self, last_activation: str) -> tuple[str, bool]:
        """The logits' kernel wherever logits can be had: its gradient never vanishes."""
        fused = last_activation == self.activation and not self.from_logits
        if fused or self.from_logits:
            return self.from_logits_kernel, fused
        return self.from_probabilities_kernel, False

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return super().get_config() | {"from_logits": self.from_logits}


class CategoricalCrossentropy(_CrossEntropy):
    """-sum y log p for one-hot (or soft) y.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits, p = softmax. With False they are probabilities, divided by
        their sum and held inside [1e-7, 1 - 1e-7]; a model that ends with softmax is computed
        from its logits all the same, so that its gradient is p - y however wrong it is.
    name : str, optional
        Default "categorical_crossentropy".
    """

    activation = "softmax"
    from_logits_kernel = "softmax_cross_entropy"
    from_probabilities_kernel = "categorical_cross_entropy"


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """-log p[y] for class numbers y, else as `CategoricalCrossentropy`.

    Examples
    --------
    >>> from evengrad import losses
    >>> float(losses.SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]))  # ln 2
    0.6931471824645996
    """

    sparse = True


class BinaryCrossentropy(_CrossEntropy):
    """-y log p - (1 - y) log(1 - p), the mean over outputs, for y from 0 to 1.

    Parameters
    ----------
    from_logits : bool
        Whether predictions are logits, p = sigmoid. With False they are held inside
        [1e-7, 1 - 1e-7]; a model that ends with sigmoid is computed from its logits all the same.
    name : str, optional
        Default "binary_crossentropy".
    """

    activation = "sigmoid"
    from_logits_kernel = "sigmoid_cross_entropy"
    from_probabilities_kernel = "binary_cross_entropy"


class MeanSquaredError(Loss):
    """(prediction - y)^2, the mean over outputs."""

    def kernel(self, last_activation: str) -> tuple[str, bool]:
        """One kernel."""
        return "mean_squared_error", False


_CLASSES: dict[str, Callable[[], Loss]] = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
}


def get(identifier: str | Loss) -> Loss:
    """Return a loss given by name, in snake or camel case, or as itself.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    TypeError
        If it is a function, or a loss of one's own that lacks `call` or `gradient`.
    """
    if isinstance(identifier, Loss):
        kind, missing = type(identifier), _unwritten(identifier)
        if missing and (identifier.in_python or kind.kernel is Loss.kernel):
            raise TypeError(f"loss: {kind.__name__} does not define {' and '.join(missing)}")
        return identifier
    if callable(identifier) and not isinstance(identifier, type):
        raise TypeError(
            f"loss: expected a name or a Loss, got the function {identifier!r}, whose gradient "
            "cannot be found automatically. Write a class derived from evengrad.losses.Loss with "
            "call(self, y_true, y_pred), one loss a sample, and gradient(self, y_true, y_pred), "
            "in the shape of y_pred"
        )
    name = snake_case(identifier) if isinstance(identifier, str) else ""
    if name in _CLASSES:
        return _CLASSES[name]()
    raise ValueError(f"loss: expected one of {', '.join(_CLASSES)}, got {identifier!r}")
