"""What all initializers share, and functions of the user's own as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evengrad._validation import check_count, check_dtype

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
LARGEST = float(np.finfo(np.float32).max)


class Initializer:
    """Base class of all initializers.

    Derive from it and write `__call__(shape, dtype)`; one with arguments also writes `get_config`,
    a dict of them.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import initializers, layers
    >>> class Halves(initializers.Initializer):
    ...     def __call__(self, shape, dtype="float32"):
    ...         return np.full(shape, 0.5, dtype)
    >>> layers.Dense(1, kernel_initializer=Halves())([[1.0, 2.0]])
    array([[1.5]], dtype=float32)
    """

    _arguments: ClassVar[tuple[str, ...]] = ()

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = "float32") -> F32:
        """Return a new array.

        Parameters
        ----------
        shape : sequence of int
        dtype : "float32"
            Accepted for Keras' sake; there is no other.
        """
        check_dtype(self._owner, dtype)
        if not isinstance(shape, Sequence) or isinstance(shape, str):
            raise TypeError(f"{self._owner}: expected shape to be a tuple of ints, got {shape!r}")
        sizes = tuple(check_count(self._owner, "shape", n, 0) for n in shape)
        return np.asarray(self._values(sizes), dtype=np.float32, order="C")

    def _values(self, shape: tuple[int, ...]) -> F32 | F64:
        raise NotImplementedError(f"{self._owner} does not define __call__(shape, dtype)")

    @property
    def _owner(self) -> str:
        return type(self).__name__

    @property
    def draws_its_own(self) -> bool:
        """Whether what a call returns depends on those before, whose ever they were."""
        return False

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, by name."""
        return {name: getattr(self, name) for name in self._arguments}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make an initializer from what `get_config` returned."""
        return cls(**config)

    def clone(self) -> Self:
        """Return an equal initializer at the start of its random stream."""
        return self.from_config(self.get_config())

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{self._owner}({arguments})"


class Function(Initializer):
    """A function of the user's own, its result checked."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @property
    def _owner(self) -> str:
        return f"initializer {getattr(self.function, '__name__', repr(self.function))}"

    def _values(self, shape: tuple[int, ...]) -> F32:
        values = np.asarray(self.function(shape, dtype="float32"))
        if values.shape != shape or values.dtype.kind not in "fiub":
            raise ValueError(
                f"{self._owner}: expected it to return numbers of shape {shape}, "
                f"got {values.dtype} of shape {values.shape}"
            )
        if not (np.abs(values.astype(np.float64)) <= LARGEST).all():
            raise ValueError(f"{self._owner}: expected finite float32 numbers, got others")
        return values.astype(np.float32)  # a copy: the function may keep the array

    def get_config(self) -> dict[str, Any]:
        """Return the function; a file holds its registered name."""
        return {"function": self.function}

    def clone(self) -> Self:
        """Return an initializer of the same function."""
        return type(self)(self.function)

    def __repr__(self) -> str:
        return f"<{self._owner}>"
