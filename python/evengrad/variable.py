"""Variables: the numbers a layer owns, in memory that the kernels read where it lies."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad._arena import tensor, vector
from evengrad._names import Changes

if TYPE_CHECKING:
    from evengrad.constraints import Constraint
    from evengrad.regularizers import Regularizer


def _value(operand: Any) -> Any:
    return operand.value if isinstance(operand, Variable) else operand


class Variable:
    """An array of a layer, trainable or not.

    Parameters
    ----------
    initial : array_like or None
        First value; its shape is the variable's for good. None for zeros of a given shape.
    name : str
        Short name, as "kernel".
    path : str
        Name with the layer's, as "dense/kernel".
    trainable : bool
        Whether optimizers update it.
    double : bool
        Keep it in float64. Reading gives float32 all the same; moving statistics of batch
        normalization use this, for small updates of large means.
    flat : bool
        Keep a matrix as one row, for layers that read it along with whole samples.
    regularizer : Regularizer, optional
        Penalty on its size in training.
    constraint : Constraint, optional
        What it is brought back to after each update.
    shape : tuple of int, optional
        Where there is no first value.

    Examples
    --------
    >>> from evengrad import Variable
    >>> v = Variable([[1.0, 2.0]], name="kernel")
    >>> v.value[...] = 3.0
    >>> v.numpy()
    array([[3., 3.]], dtype=float32)
    >>> 2.0 * v + 1.0
    array([[7., 7.]], dtype=float32)
    """

    dtype = "float32"

    def __init__(
        self,
        initial: ArrayLike | None,
        *,
        name: str = "variable",
        path: str | None = None,
        trainable: bool = True,
        double: bool = False,
        flat: bool = False,
        regularizer: Regularizer | None = None,
        constraint: Constraint | None = None,
        shape: tuple[int, ...] = (),
    ) -> None:
        array = None if initial is None else np.asarray(initial)
        self.name = name
        self.path = path or name
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.shape: tuple[int, ...] = shape if array is None else array.shape
        self.double, self._flat = double, flat
        self._allocate()
        if constraint is not None:
            constraint.check(f"Variable {self.path!r}", self.shape, self.storage.ndim)
        if array is not None:
            self.assign(array)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("trainable", "regularizer", "constraint"):
            Changes.note()

    def _allocate(self) -> None:
        self.storage: NDArray[Any]
        if self.double:
            self.storage = np.zeros(self.size)
        elif self.ndim == 2 and not self._flat:
            self.storage = tensor(*self.shape)
        else:
            self.storage = vector(self.size)

    @property
    def value(self) -> NDArray[Any]:
        """The live array, writeable and maybe strided: writing takes effect at the next step."""
        return self.storage if self.storage.ndim == 2 else self.storage.reshape(self.shape)

    @property
    def shaping(self) -> tuple[object, ...]:
        """What a recorded training step has read of regularizer and constraint."""
        strength = self.regularizer and (self.regularizer.l1, self.regularizer.l2)
        text = self.constraint and repr(self.constraint)
        return self.regularizer, strength, self.constraint, text

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def numpy(self) -> NDArray[np.float32]:
        """Return a contiguous float32 copy."""
        return np.array(self.value, dtype=np.float32, order="C")

    def assign(self, value: ArrayLike) -> None:
        """Overwrite with an array of the same shape.

        Raises
        ------
        ValueError
            If the shape differs or a number is not finite in float32.
        """
        try:
            array = np.asarray(value)
        except ValueError as error:  # ragged
            raise ValueError(f"Variable {self.path!r}: expected an array: {error}") from None
        if array.shape != self.shape:
            raise ValueError(
                f"Variable {self.path!r}: expected shape {self.shape}, got {array.shape}"
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(f"Variable {self.path!r}: expected numbers, got dtype {array.dtype}")
        with np.errstate(over="ignore"):
            converted = array.astype(self.storage.dtype)
            finite = np.isfinite(converted.astype(np.float32, copy=False)).all()
        if not finite:
            raise ValueError(f"Variable {self.path!r}: expected finite float32 numbers")
        self.value[...] = converted

    def assign_add(self, value: ArrayLike) -> None:
        """Add an array of the same shape, or a number."""
        self.assign(self.value + np.asarray(value))

    def assign_sub(self, value: ArrayLike) -> None:
        """Subtract an array of the same shape, or a number."""
        self.assign(self.value - np.asarray(value))

    __array_priority__ = 1000.0  # numpy's arrays leave operators with a variable to it

    def __float__(self) -> float:
        return float(self.value)

    def __neg__(self) -> Any:
        return -self.value

    def __add__(self, other: Any) -> Any:
        return self.value + _value(other)

    def __radd__(self, other: Any) -> Any:
        return other + self.value

    def __sub__(self, other: Any) -> Any:
        return self.value - _value(other)

    def __rsub__(self, other: Any) -> Any:
        return other - self.value

    def __mul__(self, other: Any) -> Any:
        return self.value * _value(other)

    def __rmul__(self, other: Any) -> Any:
        return other * self.value

    def __truediv__(self, other: Any) -> Any:
        return self.value / _value(other)

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.value

    def __matmul__(self, other: Any) -> Any:
        return self.value @ _value(other)

    def __rmatmul__(self, other: Any) -> Any:
        return other @ self.value

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"Variable {self.path!r}: use .value for the memory itself")
        return self.numpy().astype(dtype or np.float32, copy=False)

    def __dlpack__(self, **options: Any) -> Any:
        return self.value.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # kDLCPU

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"storage": None, "value": np.ascontiguousarray(self.value)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        value = state.pop("value")
        self.__dict__.update(state)
        self._allocate()
        self.value[...] = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = type(self).__new__(type(self))
        rest = {name: value for name, value in self.__dict__.items() if name != "storage"}
        twin.__dict__.update(copy.deepcopy(rest, memo))
        twin._allocate()
        twin.storage[...] = self.storage
        return twin

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, trainable={self.trainable}>"
