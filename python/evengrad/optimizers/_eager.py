"""Updates by hand: the kernels of a training step on gradients from elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation
from evengrad._program import Program

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad._own_loop import OwnLoop
    from evengrad.optimizers import Optimizer
    from evengrad.optimizers._by_hand import ByHand
    from evengrad.variable import Variable


class Recorded(NamedTuple):
    """The program for a list of variables, good for one version of the optimizer."""

    version: tuple[object, ...]
    variables: list[Variable]
    program: Program


def apply(optimizer: ByHand, gradients: list[Any], variables: Iterable[Variable] | None) -> None:
    """Do one step; nothing is changed where it cannot be done."""
    who = f"{type(optimizer).__name__}.apply"
    if not gradients:
        return
    chosen, arrays = _checked(who, gradients, _variables(who, optimizer, variables))
    program = _program(optimizer, chosen)
    for variable, array in zip(chosen, arrays, strict=True):
        program.gradients[variable].reshape(variable.shape)[...] = array
    count = int(optimizer.counter[0])
    program.run(
        1, learning_rate=optimizer.learning_rate, iteration=count + 1, clip=optimizer.clip[1]
    )
    if program.failure is not None:
        from evengrad._nonfinite import provenance  # much that only errors need

        given = dict(zip(chosen, arrays, strict=True))
        raise provenance.of_apply(who, cast("Optimizer", optimizer), given, program)
    optimizer.counter[0] += 1


def waiting(optimizer: ByHand, models: Sequence[OwnLoop | None]) -> OwnLoop:
    """The one model among these whose gradients wait for a step with the optimizer."""
    who = f"{type(optimizer).__name__}.step"
    those = [
        model
        for model in models
        if model is not None and model.waits_for_step and model.optimizer is optimizer
    ]
    if not those:
        raise ValueError(
            f"{who}: there are no gradients that wait for it; call forward and backward of a model "
            "that is compiled with this optimizer before each step"
        )
    if len(those) > 1:
        names = " and ".join(model.name for model in those)
        raise ValueError(
            f"{who}: expected gradients of one model, got those of {names}; compile each with an "
            "optimizer of its own"
        )
    return those[0]


def _variables(who: str, optimizer: ByHand, variables: Iterable[Variable] | None) -> list[Variable]:
    if variables is not None:
        return list(variables)
    if not optimizer.built:
        raise ValueError(f"{who}: expected trainable_variables, for the optimizer is not built yet")
    return optimizer.built_for


def _checked(
    who: str, gradients: list[Any], variables: list[Variable]
) -> tuple[list[Variable], list[F32]]:
    if len(gradients) != len(variables):
        raise ValueError(
            f"{who}: expected a gradient for each of {len(variables)} variables, "
            f"got {len(gradients)}"
        )
    if len(set(variables)) != len(variables):
        raise ValueError(f"{who}: expected each variable once")
    missing = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
    if len(missing) == len(variables):
        raise ValueError(f"{who}: expected gradients, got none for any variable")
    if missing:
        warnings.warn(f"{who}: there is no gradient for {', '.join(missing)}", stacklevel=4)
    pairs = [(v, g) for v, g in zip(variables, gradients, strict=True) if g is not None]
    arrays = [_gradient(who, v, g) for v, g in pairs]
    return [v for v, _ in pairs], arrays


def _gradient(who: str, variable: Variable, gradient: Any) -> NDArray[np.float32]:
    if not variable.trainable:
        raise ValueError(f"{who}: expected trainable variables, {variable.path} is not")
    array = _validation.as_float32(who, f"the gradient of {variable.path}", gradient)
    if array.shape != variable.shape:
        raise ValueError(
            f"{who}: expected a gradient of shape {variable.shape} for {variable.path}, "
            f"got {array.shape}"
        )
    return array


def _program(optimizer: ByHand, variables: list[Variable]) -> Program:
    known = optimizer._eager
    version = optimizer.version, *[v.shaping for v in variables]
    if known and known.version == version and known.variables == variables:
        return known.program
    program = Program(1, training=True)
    for variable in variables:
        program.gradient(variable)
    optimizer.record(program)
    optimizer._eager = Recorded(version, variables, program)
    return program
