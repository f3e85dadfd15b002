"""The base of all losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _python, _validation
from evengrad._family import Configured
from evengrad._names import Versioned, snake_case
from evengrad._program import Outputs, Program, outputs_of

if TYPE_CHECKING:
    from evengrad._core import F32, F64

REDUCTIONS = "sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none"


class Loss(Versioned, Configured):
    """Base of the losses, called on arrays or given to `compile`, and of losses of your own.

    A loss of your own says what it does in Python, with numpy: `call` and `gradient`; there is no
    automatic differentiation.

    Parameters
    ----------
    name : str, optional
        Default: the class name in snake case.
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None}
        What becomes of weight * loss of all rows: their sum over the number of rows (the first
        two), their sum, their sum over the sum of weights, or nothing: one value a row, not for
        training.
    dtype : optional
        float32, the only one there is.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

    Attributes
    ----------
    sparse : bool
        Of the class: whether y_true are class numbers (n,). Default: they have the shape of the
        predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import losses
    >>> class FourthPower(losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return ((y_pred - y_true) ** 4).mean(axis=-1)
    ...
    ...     def gradient(self, y_true, y_pred):
    ...         return 4.0 * (y_pred - y_true) ** 3 / y_pred.shape[-1]
    >>> FourthPower()([[0.0], [1.0]], [[2.0], [1.0]])
    np.float32(8.0)
    """

    sparse: ClassVar[bool] = False  # y_true: class numbers
    of_probabilities: ClassVar[bool] = False  # y_true: from 0 to 1
    kernel_name: ClassVar[str] = ""

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        self.name = name or snake_case(type(self).__name__)
        if reduction is not None:
            _validation.check_choice(self.name, "reduction", reduction, REDUCTIONS)
        self.reduction = reduction
        _validation.check_dtype(self.name, dtype)

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
        return len(self.unwritten) < len(_OWN)

    def recording_reads(self, name: str) -> bool:
        """Whether a recording depends on this attribute: what Python reads is read at each step."""
        return name == "reduction" or not self.in_python

    @property
    def unwritten(self) -> list[str]:
        """The methods of a loss of one's own that this one does not have."""
        return [name for name in _OWN if getattr(type(self), name) is getattr(Loss, name)]

    @property
    def parameters(self) -> tuple[float, ...]:
        """What the kernel takes besides arrays."""
        return ()

    def kernel(self, last_activation: str) -> tuple[str, bool]:
        """Name of the kernel, and whether it computes the model's last activation itself."""
        if not self.kernel_name:
            raise NotImplementedError(f"{type(self).__name__}.kernel")
        return self.kernel_name, False

    def record(
        self,
        program: Program,
        kernel: str,
        outputs: Outputs,
        dy: F32 | None,
        result: F64,
        each: F32 | None = None,
    ) -> None:
        """Record result += (reduced loss * rows, rows), and dy, the gradient of the first.

        Without reduction they are the sums of weight * loss and of weight, and `each` receives
        weight * loss of each row.
        """
        if self.in_python:
            return _python.record_loss(self, program, outputs, dy, result, each)
        y, _, labels, target, weight = outputs
        reduction = self.reduction or "none"
        return program.loss(
            kernel, y, labels, target, weight, dy, result, self.parameters, reduction, each
        )

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
    ) -> Any:
        """Return the loss of predictions (n, ...) against the truth, reduced."""
        program, outputs, shape = self._given(y_true, y_pred, sample_weight)
        reduced = self.reduction not in (None, "none")
        each = None if reduced else np.zeros(math.prod(shape[:-1]), np.float32)
        result = self._run(program, outputs, None, each)
        if each is not None:
            return each.reshape(shape[:-1])
        return np.float32(result[0] / result[1])

    def _given(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[Program, Outputs, tuple[int, ...]]:
        """A program for the batch that a user gives, and the shape of its predictions."""
        x = _validation.features(self.name, "y_pred", y_pred)
        truth = self.convert(self.name, y_true, len(x), x.shape[1:])
        weight = None
        if sample_weight is not None:
            weight = _validation.sample_weights(self.name, sample_weight, len(x))
        return *outputs_of(x, truth, sparse=self.sparse, weight=weight), x.shape

    def _run(self, program: Program, outputs: Outputs, dy: F32 | None, each: F32 | None) -> F64:
        """Record and run; return the sum of the loss and what it is divided by."""
        result = np.zeros(2)
        kernel = "" if self.in_python else self.kernel("")[0]
        self.record(program, kernel, outputs, dy, result, each)
        program.run(program.capacity)
        return result

    def value_and_gradient(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, NDArray[np.float32]]:
        """Return the reduced loss and its derivative by y_pred, for `model.backward`.

        Parameters
        ----------
        y_true, y_pred : array_like
            As for a call.
        sample_weight : array_like (n,), optional
            Weights of samples.

        Raises
        ------
        ValueError, TypeError
            If they do not fit, or reduction is "none".

        Examples
        --------
        >>> from evengrad import losses
        >>> losses.MeanSquaredError().value_and_gradient([[1.0], [5.0]], [[2.0], [2.0]])
        (5.0, array([[ 1.],
               [-3.]], dtype=float32))
        """
        if self.reduction in (None, "none"):
            raise ValueError(
                f"{self.name}: expected a loss that is reduced to one number, got "
                f"reduction={self.reduction!r}; use 'sum_over_batch_size' or 'sum'"
            )
        program, outputs, shape = self._given(y_true, y_pred, sample_weight)
        dy = program.like(outputs.y)
        result = self._run(program, outputs, dy, None)
        return float(result[0] / result[1]), np.array(dy, order="C").reshape(shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return {"name": self.name, "reduction": self.reduction}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


_OWN = "call", "gradient"
