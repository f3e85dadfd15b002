"""Activations, regularizers and constraints written in Python: functions of one array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _python
from evengrad._undo import Undo, check_finite

if TYPE_CHECKING:
    from evengrad._core import F32, F64
    from evengrad._program import Program
    from evengrad.activations import Activation
    from evengrad.constraints import Constraint
    from evengrad.regularizers import Regularizer
    from evengrad.variable import Variable


# -- activations


def record_activation(activation: Activation, program: Program, x: F32, owner: object) -> F32:
    """Record y = activation.call(x)."""
    y = program.like(x)
    width, per_sample = x.shape[1:], len(x) // program.capacity

    def call(rows: int) -> None:
        n = rows * per_sample
        made = activation.call(_python.shown(x, n, width))
        _python.store(y[:n], _python.returned(repr(activation), "call", made, (n, *width)))

    program.python(call)
    if program.differentiable:
        program.keep(x)
        program.keep(y)
        program.saved[owner, "activation"] = x, y
    return y


def record_slope(activation: Activation, program: Program, dy: F32, owner: object) -> F32:
    """Record dx = dy activation.slope(x, y)."""
    x, y = program.saved[owner, "activation"]
    dx = program.over(dy)
    width, per_sample = x.shape[1:], len(x) // program.capacity

    def call(rows: int) -> None:
        n = rows * per_sample
        made = activation.slope(_python.shown(x, n, width), _python.shown(y, n, width))
        slope = _python.returned(repr(activation), "slope", made, (n, *width))
        with np.errstate(over="ignore", invalid="ignore"):
            _python.store(dx[:n], dy[:n] * slope)

    program.python(call)
    return dx


# -- regularizers


def record_penalty(
    regularizer: Regularizer, variable: Variable, gradient: F32 | None, program: Program,
    per_sample: int, result: F64,
) -> None:  # fmt: skip
    """Record result += penalty times rows, and the gradient's part of it."""
    who = f"{regularizer!r} of {variable.path}"

    def call(rows: int) -> bool:
        weights = _locked(variable)
        made = _python.returned(who, "a call", regularizer(weights), ())
        penalty = float(made)
        if not np.isfinite(penalty):
            return False
        if gradient is not None:
            slope = regularizer.gradient(weights)
            slope = _python.returned(who, "gradient", slope, variable.shape)
            with np.errstate(over="ignore", invalid="ignore"):
                _python.store(gradient, gradient + slope.reshape(gradient.shape))
        result[0] += penalty * rows * per_sample
        return True

    program.python(call)


def _locked(variable: Variable) -> NDArray[Any]:
    view = variable.value.view()
    view.flags.writeable = False
    return view


# -- constraints


def record_constraint(
    constraint: Constraint, variable: Variable, program: Program, undo: Undo
) -> None:
    """Record variable = constraint(variable)."""
    who = f"{constraint!r} of {variable.path}"

    def call(rows: int) -> None:
        del rows
        with undo.on_error():
            made = _python.returned(who, "a call", constraint(_locked(variable)), variable.shape)
            _python.store(variable.storage, made.reshape(variable.storage.shape))
            check_finite(who, variable)

    program.python(call)
