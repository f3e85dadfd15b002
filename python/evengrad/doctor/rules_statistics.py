"""Diseases of batch normalization: its moving statistics, and those of tiny batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evengrad.doctor import _lab
from evengrad.doctor._verdict import some, verdict
from evengrad.doctor.rules_steps import outruns_statistics
from evengrad.doctor.verdicts import Edit, Verdict

if TYPE_CHECKING:
    from evengrad.doctor._evidence import Evidence


def lagging_statistics(e: Evidence) -> Verdict | None:
    """Ioffe 2017: moving statistics are not those of the data."""
    if not e.trained or not e.now.statistics:
        return None
    exact_loss, exact_score = e.exact
    lags = [value for _, value in e.now.statistics]
    gain = exact_score - e.score
    worse = e.loss / exact_loss if exact_loss > 0.0 else 1.0
    if not (gain > 0.02 or worse > 1.3) or float(np.median(lags)) < 0.1:
        return None
    names = [name for name, value in e.now.statistics if value > 0.1]
    found = _lab.normalizations(e.model)
    momenta = [layer.momentum for layer in found]
    confidence = 0.4 + 1.2 * max(gain, 0.0) + 0.15 * min(float(np.log(max(worse, 1.0))), 2.0)
    slow = any(not one.debias and one.momentum**e.steps > 0.05 for one in found)
    slow = slow or max(momenta) > 0.995
    confidence += 0.25 * slow - 0.25 * outruns_statistics(e)
    if e.goal > e.score:  # how much of what is missing they bring back
        confidence *= 0.5 + 0.5 * float(np.clip(gain / (e.goal - e.score), 0.0, 1.0))
    return verdict(
        "lagging_statistics",
        min(confidence, 0.97 - 0.25 * outruns_statistics(e)),
        f"Moving statistics of {some(names)} are {np.median(lags):.2g} deviations from those of "
        f"the data; with these the loss is {exact_loss:.3g} instead of {e.loss:.3g}.",
        {
            "loss": e.loss,
            "loss_with_exact": exact_loss,
            "score": e.score,
            "score_with_exact": exact_score,
            "momentum": max(momenta),
            "lag": float(np.median(lags)),
            "steps": e.steps,
        },
        (Edit("recalibrate", True), Edit("moving_average", 0.9)),
        "model.recalibrate(x)",
        "Ioffe 2017, arXiv:1702.03275",
        names,
    )


def small_batches(e: Evidence) -> Verdict | None:
    """Wu, He 2018: batch normalization of a handful of rows is noise."""
    if not _lab.normalizations(e.model) or e.batch > 8:
        return None
    names = [layer.name for layer in _lab.normalizations(e.model)]
    return verdict(
        "small_batches",
        0.9 if e.batch <= 2 else 0.8 if e.batch <= 4 else 0.4,
        f"Batch normalization takes its statistics from {e.batch} rows at a time.",
        {"batch_size": e.batch, "normalizations": len(names)},
        (Edit("batch_size", 32), Edit("batch_normalization", "none")),
        "model.fit(x, y, batch_size=32)",
        "Wu, He 2018, arXiv:1803.08494",
        names,
    )
