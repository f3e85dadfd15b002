"""Updates written in Python, behind the checks and the clipping of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evengrad._undo import Undo, check_finite

if TYPE_CHECKING:
    from evengrad._core import F64
    from evengrad._program import Program
    from evengrad.optimizers.base import Lists, Optimizer
    from evengrad.variable import Variable

__all__ = ["Undo", "record_update"]


def record_update(
    optimizer: Optimizer,
    program: Program,
    lists: Lists,
    decays: F64 | None,
    variables: Sequence[Variable],
    undo: Undo,
) -> None:
    """Record clipping, weight decay and update_step of each variable."""
    if lists.clip != "none":
        program.clip(lists.gradients, lists.norms, lists.clip)
    shown = []
    for variable, gradient in zip(variables, lists.gradients, strict=True):
        view = gradient.reshape(variable.shape)
        view.flags.writeable = False
        shown.append((variable, view))
    rates = np.zeros(len(variables)) if decays is None else decays
    every = optimizer.gradient_accumulation_steps or 1

    def call(rows: int) -> None:
        del rows
        if (int(optimizer.counter[0]) + 1) % every:
            return
        with undo.on_error():
            rate = optimizer.rate_of_step
            for (variable, gradient), decay in zip(shown, rates.tolist(), strict=True):
                if decay:
                    variable.storage *= np.float32(1.0 - rate * decay)
                optimizer.update_step(gradient, variable, rate)
                check_finite(type(optimizer).__name__, variable)

    program.python(call)
