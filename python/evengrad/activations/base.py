"""What a layer records for an activation, and running it on an array at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _core, _validation
from evengrad._program import Program

F32 = NDArray[np.float32]
ROW_BY_ROW = ("softmax", "log_softmax")  # kernels of their own, besides the family
LARGEST = float(np.finfo(np.float32).max)


class Spec(NamedTuple):
    """What a layer records: a kernel's name and its parameters.

    Parameters
    ----------
    name : str
        Of a kernel of the family.
    parameters : tuple of float
        In the order of the function's arguments.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.get("elu").name
    'elu'
    """

    name: str
    parameters: tuple[float, ...] = ()

    def record(self, program: Program, x: F32, owner: object) -> F32:
        """Record the output for a batch; nothing where the loss takes care of it."""
        if self.name == "linear" or program.fused is owner:
            return x
        if self.name in ROW_BY_ROW:
            y = program.over(x)
            getattr(program, f"{self.name}_forward")(x, y)
        else:
            needs_input = _core.activations[self.name].needs_input and program.differentiable
            y = program.like(x) if needs_input else program.over(x)
            program.activation_forward(self.name, x, y, self.parameters)
            if needs_input:
                program.keep(x)
        program.keep(y)
        program.saved[owner, "activation"] = x, y
        return y

    def record_backward(self, program: Program, dy: F32, owner: object) -> F32:
        """Record the gradient of the input, over dy unless it is kept."""
        if self.name == "linear" or program.fused is owner:
            return dy
        x, y = program.saved[owner, "activation"]
        dx = program.over(dy)
        if self.name in ROW_BY_ROW:
            getattr(program, f"{self.name}_backward")(y, dy, dx)
        else:
            source = x if _core.activations[self.name].needs_input else None
            program.activation_backward(self.name, source, y, dy, dx, self.parameters)
        return dx


def spec(name: str, *values: float) -> Spec:
    """Return an activation of the family with its parameters, checked against their limits."""
    limits = _core.activations[name].minimums
    return Spec(
        name,
        tuple(
            _validation.check_number(name, parameter, value, low, LARGEST)
            for (parameter, low), value in zip(limits.items(), values, strict=True)
        ),
    )


def apply(activation: Spec, x: ArrayLike) -> F32:
    """Return a new array f(x); what works row by row goes along the last axis."""
    array = _validation.as_float32(activation.name, "x", x)
    if array.size == 0:
        return array.copy()
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    program = Program(len(rows), training=False)
    batch = program.tensor(rows.shape[1])
    batch[...] = rows
    y = activation.record(program, batch, owner=activation)
    if len(program):
        program.run(len(rows))
    return np.array(y, order="C").reshape(array.shape)
