"""Cures: changes to a network that held-out data have shown to be better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evengrad.doctor._shown import Shown

if TYPE_CHECKING:
    from evengrad.doctor.report import Report
    from evengrad.doctor.verdicts import Edit
    from evengrad.models import Sequential


@dataclass(frozen=True)
class Trial:
    """One set of edits that was tried: held-out score and cost in trainings."""

    edits: tuple[Edit, ...]
    score: float
    cost: float


@dataclass(frozen=True, eq=False, repr=False)
class CureResult(Shown):
    """What `model.cure` returns; `print` shows it.

    Parameters
    ----------
    model : Sequential
        The cured model, or the one that was given where nothing was better.
    improved : bool
        Whether it is better on held-out data.
    before, after : float
        Held-out scores.
    metric : str
        Of what.
    edits : tuple of Edit
        What was changed.
    cost : float
        All that was tried, in units of one training.
    report : Report
        What was found first.
    trials : tuple of Trial
        All that was tried, in order.
    """

    model: Sequential
    improved: bool
    before: float
    after: float
    metric: str
    edits: tuple[Edit, ...]
    cost: float
    report: Report
    trials: tuple[Trial, ...] = ()
