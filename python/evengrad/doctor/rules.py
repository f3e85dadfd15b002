"""Rules: one function a disease, from evidence to a verdict, and which verdicts are reported.

A rule is relative: it compares layers with each other, a short training with another one, a score
with that of a small healthy network on the same rows. What is weak evidence alone is reported only
where the model falls short of that network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from evengrad.doctor import rules_data, rules_signal, rules_statistics, rules_steps
from evengrad.doctor.verdicts import Verdict

if TYPE_CHECKING:
    from evengrad.doctor.probe import Evidence

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
        rules_steps.over_regularized,
        rules_steps.over_clipped,
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
_SURE, _LEAST = 0.9, 0.25


def shortfall(e: Evidence) -> float:
    """By how much the model is below what a small healthy network reaches, by its score.

    Less the standard error of the latter; nan where there is nothing to compare with.
    """
    reference = e.reference
    if reference is None or e.task is None or reference.unseen <= 0.0:
        return float("nan")
    return 1.0 - (e.reached + reference.doubt) / reference.unseen


def needed(short: float) -> float:
    """Confidence that a verdict needs: the larger the shortfall, the less."""
    return float(np.clip(0.95 - 11.0 * short, _LEAST, 1.0))


def verdicts(e: Evidence) -> tuple[Verdict, ...]:
    """Return what is reported, the most likely first."""
    short = shortfall(e)
    least = needed(short) if short > 0.01 else 2.0
    found = []
    for name, rule in RULES.items():
        if least > 1.0 and name not in CERTAIN:
            continue
        with np.errstate(all="ignore"):
            verdict = rule(e)
        if verdict is not None:
            found.append(verdict)
    found.sort(key=lambda v: -v.confidence)
    return tuple(v for v in found if v.confidence >= least or _is_certain(v))


def _is_certain(verdict: Verdict) -> bool:
    return verdict.disease in CERTAIN and verdict.confidence >= _SURE
