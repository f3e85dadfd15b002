"""Activations of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _python, _python_functions, _validation
from evengrad._family import Configured

if TYPE_CHECKING:
    from evengrad._program import Program

F32 = NDArray[np.float32]


class Activation(Configured):
    """Base of activations of your own, in Python with numpy: f and its derivative.

    Give an object of a derived class to a layer: `Dense(10, activation=Snake())`. One with
    arguments also writes `get_config`, a dict of them. What works row by row rather than element by
    element, as softmax does, is a layer: see `layers.Layer`.

    Raises
    ------
    NotImplementedError
        If `call` or `slope` is not written.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import activations, layers, utils
    >>> class Snake(activations.Activation):
    ...     def __init__(self, a=1.0):
    ...         self.a = a
    ...
    ...     def call(self, x):
    ...         return x + np.sin(self.a * x) ** 2 / self.a
    ...
    ...     def slope(self, x, y):
    ...         return 1.0 + np.sin(2.0 * self.a * x)
    ...
    ...     def get_config(self):
    ...         return {"a": self.a}
    >>> utils.check_gradients(Snake(0.5)).error < 1e-6
    True
    >>> layers.Dense(1, Snake(), kernel_initializer="ones")([[0.25, 0.75]]).round(3)
    array([[1.708]], dtype=float32)
    """

    parameters: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    def call(self, x: F32) -> NDArray[Any]:
        """Return f(x), element by element.

        Parameters
        ----------
        x : ndarray
            Read-only, of any shape; in `check_gradients` float64.
        """
        raise NotImplementedError(f"{self.name}: write call(self, x), which returns f(x)")

    def slope(self, x: F32, y: F32) -> NDArray[Any]:
        """Return the derivative of f at x.

        Parameters
        ----------
        x, y : ndarray
            What `call` was given and returned; read-only.
        """
        raise NotImplementedError(
            f"{self.name}: write slope(self, x, y), which returns the derivative of f at x, with "
            "y = f(x); it cannot be found automatically"
        )

    def record(self, program: Program, x: F32, owner: object) -> F32:
        """Record the output for a batch; nothing where only what comes before it is wanted."""
        if program.fused is owner:
            return x
        return _python_functions.record_activation(self, program, x, owner)

    def record_backward(self, program: Program, dy: F32, owner: object) -> F32:
        """Record the gradient of the input."""
        return _python_functions.record_slope(self, program, dy, owner)

    def __call__(self, x: ArrayLike) -> F32:
        """Return f(x) as a new array."""
        array = _validation.as_float32(self.name, "x", x)
        made = _python.returned(repr(self), "call", self.call(array), array.shape)
        with np.errstate(over="ignore"):
            return np.array(made, np.float32, order="C")


def complete(activation: Activation) -> Activation:
    """Return an activation, or say what it lacks."""
    own = type(activation)
    missing = [n for n in ("call", "slope") if getattr(own, n) is getattr(Activation, n)]
    if missing:
        raise TypeError(f"activation: {own.__name__} does not define {' and '.join(missing)}")
    return activation
