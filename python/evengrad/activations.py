"""Activation functions: by name, or called on arrays.

Each function takes a float array of any shape and returns float32. The formulas, with parameters
and their defaults, are those of the kernels: `evengrad._core.activations`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _core, _validation
from evengrad._program import Program

F32 = NDArray[np.float32]


class Spec(NamedTuple):
    """What a layer records: a kernel's name ("softmax" besides the family) and its parameters."""

    name: str
    parameters: tuple[float, ...] = ()

    def record(self, program: Program, x: F32, owner: object) -> F32:
        """Record the output for a batch; nothing where the loss takes care of it."""
        if self.name == "linear" or program.fused is owner:
            return x
        if self.name == "softmax":
            y = program.over(x)
            program.softmax_forward(x, y)
        else:
            needs_input = _core.activations[self.name].needs_input and program.training
            y = program.like(x) if needs_input else program.over(x)
            program.activation_forward(self.name, x, y, self.parameters)
            if needs_input:
                program.keep(x)
        program.keep(y)
        program.saved[owner, "activation"] = x, y
        return y

    def record_backward(self, program: Program, dy: F32, owner: object) -> F32:
        """Record the gradient of the input, over dy."""
        if self.name == "linear" or program.fused is owner:
            return dy
        x, y = program.saved[owner, "activation"]
        if self.name == "softmax":
            program.softmax_backward(y, dy, dy)
        else:
            source = x if _core.activations[self.name].needs_input else None
            program.activation_backward(self.name, source, y, dy, dy, self.parameters)
        return dy


def _apply(spec: Spec, x: ArrayLike) -> F32:
    array = _validation.as_float32(spec.name, "x", x)
    if array.size == 0:
        return array.copy()
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    program = Program(len(rows), training=False)
    batch = program.tensor(rows.shape[1])
    batch[...] = rows
    y = spec.record(program, batch, owner=spec)
    if len(program):
        program.run(len(rows))
    return np.array(y, order="C").reshape(array.shape)


def linear(x: ArrayLike) -> F32:
    """Return x."""
    return _apply(Spec("linear"), x)


def relu(
    x: ArrayLike,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> F32:
    """max(x, 0), or the general form with a slope below, a ceiling and a threshold.

    Parameters
    ----------
    x : array_like
        Any shape.
    negative_slope, max_value, threshold : float
        y = max_value where x >= max_value; x where threshold <= x; else
        negative_slope (x - threshold).

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.relu([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    return _apply(relu_spec(negative_slope, max_value, threshold), x)


def relu6(x: ArrayLike) -> F32:
    """min(max(x, 0), 6)."""
    return _apply(Spec("relu6"), x)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.2) -> F32:
    """Return x where x >= 0, else negative_slope x."""
    return _apply(Spec("leaky_relu", (negative_slope,)), x)


def elu(x: ArrayLike, alpha: float = 1.0) -> F32:
    """Return x where x > 0, else alpha (e^x - 1). Clevert et al. 2015, arXiv:1511.07289."""
    return _apply(Spec("elu", (alpha,)), x)


def selu(x: ArrayLike) -> F32:
    """1.0507 elu(x, 1.6733), exact constants. Klambauer et al. 2017, arXiv:1706.02515."""
    return _apply(Spec("selu"), x)


def softplus(x: ArrayLike) -> F32:
    """ln(1 + e^x)."""
    return _apply(Spec("softplus"), x)


def softsign(x: ArrayLike) -> F32:
    """Return x / (1 + |x|)."""
    return _apply(Spec("softsign"), x)


def silu(x: ArrayLike) -> F32:
    """Return x / (1 + e^-x), also called swish. Elfwing et al. 2017, arXiv:1702.03118."""
    return _apply(Spec("silu"), x)


def mish(x: ArrayLike) -> F32:
    """Return x tanh(ln(1 + e^x)): like SiLU, smooth and not monotonic.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Misra 2019, arXiv:1908.08681.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.mish([0.0, 20.0])
    array([ 0., 20.], dtype=float32)
    """
    return _apply(Spec("mish"), x)


def gelu(x: ArrayLike, approximate: bool = False) -> F32:
    """Return x (1 + erf(x / sqrt(2))) / 2, x times the normal distribution function at x.

    Parameters
    ----------
    x : array_like
        Any shape.
    approximate : bool, default False
        Whether to take x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 instead, which differs by
        less than 5e-4.

    References
    ----------
    Hendrycks, Gimpel 2016, arXiv:1606.08415.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.gelu([0.0, 20.0])
    array([ 0., 20.], dtype=float32)
    """
    return _apply(Spec("gelu_tanh" if approximate else "gelu"), x)


def gelu_tanh(x: ArrayLike) -> F32:
    """gelu(x, approximate=True), by a name that layers know."""
    return gelu(x, approximate=True)


def tanh(x: ArrayLike) -> F32:
    """Hyperbolic tangent."""
    return _apply(Spec("tanh"), x)


def sigmoid(x: ArrayLike) -> F32:
    """1 / (1 + e^-x)."""
    return _apply(Spec("sigmoid"), x)


def hard_sigmoid(x: ArrayLike) -> F32:
    """min(max(x + 3, 0), 6) / 6."""
    return _apply(Spec("hard_sigmoid"), x)


def exponential(x: ArrayLike) -> F32:
    """e^x."""
    return _apply(Spec("exponential"), x)


def softmax(x: ArrayLike) -> F32:
    """e^x / sum e^x over the last axis."""
    return _apply(Spec("softmax"), x)


def relu_spec(negative_slope: float, max_value: float | None, threshold: float) -> Spec:
    """Return the simplest kernel that does it."""
    if max_value is None and threshold == 0.0:
        return Spec("relu") if negative_slope == 0.0 else Spec("leaky_relu", (negative_slope,))
    if (negative_slope, max_value, threshold) == (0.0, 6.0, 0.0):
        return Spec("relu6")
    ceiling = float("inf") if max_value is None else max_value
    return Spec("relu_general", (ceiling, negative_slope, threshold))


_FUNCTIONS: dict[str, Callable[..., F32]] = {
    f.__name__: f
    for f in (
        linear, relu, relu6, leaky_relu, elu, selu, softplus, softsign, silu, mish, gelu,
        gelu_tanh, tanh, sigmoid, hard_sigmoid, exponential, softmax,
    )
}  # fmt: skip
_ALIASES = {"swish": "silu"}


def get(identifier: str | Callable[..., F32] | Spec | None) -> Spec:
    """Return what a layer records for an activation given by name or as a function from here.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    """
    if identifier is None:
        return Spec("linear")
    if isinstance(identifier, Spec):
        return identifier
    name: Any = identifier
    if callable(identifier):
        known = _FUNCTIONS.get(getattr(identifier, "__name__", ""))
        name = known.__name__ if known is identifier else repr(identifier)
    if isinstance(name, str):
        name = _ALIASES.get(name, name)
        if name in _FUNCTIONS:
            return Spec(name)
    names = ", ".join(sorted([*_FUNCTIONS, *_ALIASES]))
    raise ValueError(f"activation: expected one of {names}, got {identifier!r}")
