"""What is known of a failed step, and words that several causes need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad._nonfinite.trace import Finding, Traced

if TYPE_CHECKING:
    from evengrad.losses import Loss
    from evengrad.optimizers import Optimizer

LARGEST = float(np.finfo(np.float32).max)
EXPONENT = 88.7  # e to the power of more is beyond float32
INITIALIZE = (
    'Initialize with the variance of the activation (kernel_initializer="auto"), or put a '
    "BatchNormalization or LayerNormalization between the layers."
)
CHECK = "Look at how it is computed, with utils.check_gradients for instance."
GUARD = (
    "Keep what it divides by, or takes a logarithm of, away from 0, as np.maximum(y, 1e-7) does."
)

Verdict = tuple[str, str]  # cause, a sentence without its full stop; cure, whole sentences


class Case(NamedTuple):
    """What is known of a failed step.

    `sizes`: largest absolute values of "inputs", "targets", "weights" of samples, where there are
    any. `losses`: of the steps so far, or means of the epochs. `moves`: norms of the last update
    and of what it made, by path of the variable.
    """

    finding: Finding
    program: Traced | None = None
    sizes: Mapping[str, float] = MappingProxyType({})
    losses: tuple[float, ...] = ()
    moves: Mapping[str, tuple[float, float]] = MappingProxyType({})
    optimizer: Optimizer | None = None
    loss: Loss | None = None
    given: str = ""  # "backward" or "apply": what is first was the user's
    norm: float = math.nan  # of the gradient, where it is one that failed
    repeated: bool = True

    @property
    def steps(self) -> int:
        """Steps that the optimizer has done."""
        return 0 if self.optimizer is None else int(self.optimizer.counter[0])


def short(number: float) -> str:
    """Two digits of a number."""
    return f"{float(f'{number:.2g}'):g}"


def kind_of(case: Case) -> str:
    return "NaN" if case.finding.nan else "infinity"


def slower(case: Case) -> str:
    if case.optimizer is None:
        return "Lower the learning rate."
    rate = case.optimizer.rate_of_step
    text = f"Lower the learning rate from {short(rate)} to {short(min(rate / 10.0, 0.1))} or less"
    if case.optimizer.clip[0] == "none" and rate <= 1.0:
        text += ", or clip gradients (clipnorm=1.0)"
    return f"{text}."


def blames_rate(case: Case) -> bool:
    """Whether large weights may be the learning rate's doing: where losses are known, they rose."""
    return case.steps > 0 and (len(case.losses) < 2 or bool(risen(case)))


def risen(case: Case) -> str:
    """What the losses so far say, where the last is far above those at the beginning."""
    known = [loss for loss in case.losses if math.isfinite(loss)]
    start = float(np.median(known[: -(-len(known) // 2)])) if len(known) > 1 else math.inf
    if known and known[-1] > 10.0 * start > 0.0:
        return f"; the loss had risen from {short(start)} to {short(known[-1])}"
    return ""


def moved(case: Case, path: str) -> str:
    """What the last update did to a variable, where that was much."""
    update, weight = case.moves.get(path, (0.0, 0.0))
    if not (math.isfinite(update) and update > 0.1 * weight):
        return ""
    by, to = short(update), short(weight)
    return f", the last step alone having moved them by {by} to a norm of {to}"


def remarkable(given: NDArray[Any] | None, case: Case) -> str:
    """What is remarkable about what a function of the user's was given."""
    if given is None or not given.size:
        return " for finite inputs"
    low, high = float(given.min()), float(given.max())
    if (given == 0.0).any():
        return " where it is given 0: perhaps a division by 0 or a logarithm of 0"
    if case.finding.nan and low < 0.0:
        return (
            f" where it is given numbers down to {short(low)}: perhaps a root or a logarithm of "
            "what is below 0"
        )
    if max(-low, high) > EXPONENT:
        size = short(max(-low, high))
        return f" where it is given up to {size}: perhaps an overflow of exp or power"
    return f" where it is given {short(low)} to {short(high)}: perhaps a division by 0"
