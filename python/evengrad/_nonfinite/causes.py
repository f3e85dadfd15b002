"""The likely cause of what is not finite, from the numbers of the step, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evengrad._nonfinite import backward, forward
from evengrad._nonfinite.case import Case, Verdict, short, slower
from evengrad._nonfinite.trace import largest

if TYPE_CHECKING:
    from collections.abc import Callable


def likely(case: Case) -> Verdict:
    """Return the likely cause, a sentence without its full stop, and the cure, whole sentences."""
    if not case.repeated:
        return (
            "the data, or a part written in Python, have changed meanwhile or draw random numbers "
            "of their own",
            "Look at what changes them while training runs.",
        )
    with np.errstate(all="ignore"):
        return _BY_KIND[case.finding.kind](case)


# -- given from outside


def of_given(case: Case) -> Verdict:
    name = case.finding.kind
    if case.given == "checked":
        return f"the {name} have changed after they were checked", (
            "Look into the data: they changed after fit had checked them."
        )
    if case.finding.nan:
        return f"the {name} hold NaN", "Look into the data; fill or leave out missing values."
    return (
        f"the {name} hold infinity or numbers beyond the range of float32 (3.4e38)",
        "Look into the data; scale what is that large.",
    )


def of_variable(case: Case) -> Verdict:
    variable = case.finding.variable
    assert variable is not None
    value = variable.value
    fine = np.isfinite(value)
    count = f"{int((~fine).sum())} of its {variable.size} numbers"
    others = largest(value[fine])
    restore = "Give it finite numbers (set_weights), or load the weights of an earlier epoch"
    slots = {} if case.optimizer is None else case.optimizer.kept().get(variable, {})
    spoilt = [name for name, slot in slots.items() if not np.isfinite(slot.storage).all()]
    if spoilt:
        return (
            f"the optimizer's {spoilt[0]} of it was not finite either before the step",
            f"{restore}, and compile with a new optimizer.",
        )
    if case.steps and others > 1e30:
        return (
            f"before the step {count} were not finite already and the others reach "
            f"{short(others)}: the learning rate is too high",
            f"{restore}. {slower(case)}",
        )
    return (
        f"before the step {count} were not finite already, assigned or loaded as they are",
        f"{restore}.",
    )


_BY_KIND: dict[str, Callable[[Case], Verdict]] = {
    "inputs": of_given,
    "targets": of_given,
    "weights": of_given,
    "variable": of_variable,
    "output": forward.of_output,
    "loss": forward.of_loss,
    "penalty": forward.of_penalty,
    "dy": backward.of_dy,
    "gradient": backward.of_gradient,
    "slope": forward.of_penalty,
    "accumulated": backward.of_accumulated,
    "move": backward.of_move,
}
