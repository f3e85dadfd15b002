"""Rules: one function a disease, from evidence to a verdict, and which verdicts are reported.

A rule is relative: it compares layers with each other, a short training with another one, a score
with that of a small healthy network on the same rows. What is weak evidence alone is reported only
where the model falls short of that network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from evengrad.doctor import rules_data, rules_limits, rules_signal, rules_statistics, rules_steps
from evengrad.doctor._reference import doubt_of
from evengrad.doctor.rules_during import during
from evengrad.doctor.verdicts import Verdict

if TYPE_CHECKING:
    from evengrad.doctor._evidence import Evidence

__all__ = ["RULES", "during", "shortfall", "verdicts"]

Rule = Callable[["Evidence"], Verdict | None]

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        rules_signal.vanishing_gradient,
        rules_signal.exploding_gradient,
        rules_signal.dying_units,
        rules_signal.saturation,
        rules_signal.symmetric_initialization,
        rules_signal.dead_on_arrival,
        rules_signal.initialization_scale,
        rules_steps.learning_rate_too_high,
        rules_steps.learning_rate_too_low,
        rules_steps.oscillation,
        rules_steps.optimizer_state,
        rules_data.output_loss_mismatch,
        rules_data.unscaled_inputs,
        rules_data.unscaled_targets,
        rules_data.constant_columns,
        rules_data.leaking_columns,
        rules_data.labels_not_learnable,
        rules_limits.over_regularized,
        rules_limits.over_clipped,
        rules_statistics.lagging_statistics,
        rules_statistics.small_batches,
        rules_steps.too_few_epochs,
    )
}

# Not in need of a gap: what they say is so, whatever the score.
CERTAIN = (
    "symmetric_initialization", "dead_on_arrival", "output_loss_mismatch", "leaking_columns",
    "labels_not_learnable", "lagging_statistics",
)  # fmt: skip
# What can be seen before the first step.
BEFORE = (
    "vanishing_gradient", "exploding_gradient", "saturation", "symmetric_initialization",
    "dead_on_arrival", "initialization_scale", "learning_rate_too_high", "output_loss_mismatch",
    "unscaled_inputs", "unscaled_targets", "constant_columns", "leaking_columns",
)  # fmt: skip
_UNTRAINED = 0.8
# With these a network does not even do well on the rows that it was trained on.
UNFIT = (
    "vanishing_gradient", "dying_units", "learning_rate_too_low",
    "oscillation", "optimizer_state", "over_regularized", "over_clipped", "too_few_epochs",
)  # fmt: skip
_BY_HEART = 0.6

_DATA = "unscaled_inputs", "unscaled_targets", "constant_columns", "output_loss_mismatch"
CAUSES = {
    "learning_rate_too_high": _DATA,
    "learning_rate_too_low": _DATA,
    "dying_units": (*_DATA, "learning_rate_too_high", "oscillation", "exploding_gradient"),
    "saturation": (*_DATA, "learning_rate_too_high", "optimizer_state"),
    "exploding_gradient": ("unscaled_inputs", "unscaled_targets"),
    "optimizer_state": (*_DATA, "over_regularized"),
    "too_few_epochs": ("learning_rate_too_low",),
    "lagging_statistics": ("over_regularized",),
}

_SURE, _LEAST = 0.9, 0.25


def shortfall(e: Evidence) -> float:
    """By how much the model is below what a small healthy network reaches, by its score.

    Less the standard errors; the larger of that on its rows and that on held-out ones. How many
    these are is not known: a third of the rows. NaN where there is nothing to compare with.
    """
    reference = e.reference
    if reference is None or e.task is None or reference.unseen <= 0.0:
        return float("nan")
    doubts = [(e.score, reference.doubt)]
    if np.isfinite(e.held_out):
        own = doubt_of(reference.unseen, max(1, len(e.data.x) // 3), reference.classes)
        doubts.append((e.held_out, float(np.hypot(own, reference.doubt))))
    return max(1.0 - (score + doubt) / reference.unseen for score, doubt in doubts)


def needed(short: float) -> float:
    """Confidence that a verdict needs: the larger the shortfall, the less."""
    return float(np.clip(0.95 - 11.0 * short, _LEAST, 1.0))


def verdicts(e: Evidence) -> tuple[Verdict, ...]:
    """Return what is reported, the most likely first."""
    if e.trained:
        short = shortfall(e)
        least = needed(short) if short > 0.01 else 2.0
        if e.fits:  # then rows that were learned by heart are the likeliest cause
            least = max(least, _BY_HEART)
        asked = CERTAIN if least > 1.0 else tuple(RULES)
    else:
        least, asked = _UNTRAINED, BEFORE
    found = []
    for name in asked:
        with np.errstate(all="ignore"):
            verdict = RULES[name](e)
        if verdict is not None and e.fits and name in UNFIT:
            verdict = replace(verdict, confidence=0.5 * verdict.confidence)
        if verdict is not None:
            found.append(verdict)
    found = sorted(explained(found), key=lambda v: -v.confidence)
    return tuple(v for v in found if v.confidence >= least or _is_certain(v))


def explained(found: list[Verdict]) -> list[Verdict]:
    """Trust a consequence less where its cause was found, too."""
    sure = {v.disease: v.confidence for v in found}
    shown = []
    for verdict in found:
        causes = [sure[name] for name in CAUSES.get(verdict.disease, ()) if name in sure]
        factor = 1.0 - 0.25 * max(causes, default=0.0)
        shown.append(replace(verdict, confidence=round(verdict.confidence * factor, 3)))
    return shown


def _is_certain(verdict: Verdict) -> bool:
    return verdict.disease in CERTAIN and verdict.confidence >= _SURE
