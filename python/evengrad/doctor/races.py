"""Races: plans carried out on the same data from the same seed, as far as the budget goes."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad.doctor import edits as edits_of
from evengrad.doctor.judging import Judge, Score
from evengrad.doctor.plans import Plan
from evengrad.doctor.scaling import Truth
from evengrad.doctor.verdicts import Edit
from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad.models import Sequential

Edits = tuple[Edit, ...]
_NOTHING = np.zeros(0)


@dataclass(frozen=True)
class Course:
    """What all runners train on, and how they are scored."""

    plan: Plan
    truth: Truth
    fit: dict[str, Any]  # arguments besides epochs and batch_size
    judge: Judge
    seed: int


@dataclass
class Runner:
    """A plan that is being carried out: how far, at what cost, and how good it is by now."""

    edits: Edits
    plan: Plan
    model: Sequential
    epochs: int = 0
    cost: float = 0.0
    failed: bool = False
    score: Score = field(default_factory=lambda: Score(math.nan, _NOTHING, -math.inf))

    @property
    def finished(self) -> bool:
        """Whether it is trained in full."""
        return self.failed or self.epochs >= self.plan.epochs


class Race:
    """Runs what it is asked to, each set of edits once.

    Parameters
    ----------
    course : Course
    budget : float
        What may be spent, in units of one training.
    """

    def __init__(self, course: Course, budget: float) -> None:
        self.course, self.budget = course, budget
        self.spent = 0.0
        self.runners: dict[str, Runner] = {}
        self._asked: dict[str, Runner | None] = {}
        self._twin = course.plan.key

    def runner(self, edits: Sequence[Edit]) -> Runner | None:
        """Return who runs with these edits; None where they change nothing or cannot be made."""
        made = edits_of.in_order(edits)
        key = repr(made)
        if key not in self._asked:
            self._asked[key] = self._enter(made)
        return self._asked[key]

    def _enter(self, edits: Edits) -> Runner | None:
        course = self.course
        try:
            plan, needed = course.plan, []
            for edit in edits:
                changed = edits_of.edited(plan, edit, course.truth)
                if changed.key != plan.key:
                    needed.append(edit)
                plan = changed
            key = plan.key
            anew = [edit for edit in edits if edit.kind == "optimizer"]
            if edits and key == self._twin and not anew:
                return None
            if key not in self.runners:
                model = plan.build(course.seed, metrics=False)
                made = tuple(needed) or tuple(anew)
                self.runners[key] = Runner(made, plan, model)
        except Exception:  # whatever a class of the user's own makes of other arguments
            return None
        return self.runners[key]

    def price(self, runner: Runner, share: float = 1.0) -> float:
        """What it costs to bring a runner to a share of its training."""
        epochs = math.ceil(runner.plan.epochs * share)
        return max(0, epochs - runner.epochs) / self.course.plan.epochs

    def run(self, runner: Runner | None, share: float = 1.0) -> bool:
        """Bring a runner to a share of its training; whether it is valid, and was paid for."""
        if runner is None or runner.failed:
            return False
        price = self.price(runner, share)
        if price == 0.0 and runner.epochs:
            return True
        if self.spent + price > self.budget + 1e-9:
            return False
        self._train(runner, math.ceil(runner.plan.epochs * share))
        return not runner.failed

    def _train(self, runner: Runner, epochs: int) -> None:
        course, before = self.course, runner.epochs
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runner.model.fit(
                    course.truth.x, course.truth.y, initial_epoch=before, epochs=epochs,
                    batch_size=runner.plan.batch_size, verbose=0, **course.fit,
                )  # fmt: skip
                runner.epochs = epochs
                if runner.plan.recalibrate:
                    runner.model.recalibrate(course.truth.x)
                runner.score = course.judge(runner.model)
        except NonFiniteError as error:
            runner.epochs, runner.failed = (error.epoch or before) + 1, True
        except Exception:  # as above
            runner.epochs, runner.failed = epochs, True
        paid = (runner.epochs - before) / course.plan.epochs
        runner.cost += paid
        self.spent += paid
        if not runner.score.valid:
            runner.failed = True

    def longer(self, runner: Runner, factor: float) -> Runner | None:
        """Return a runner that has come as far as another one, on a longer way.

        Trained as long from the beginning it would be the same, bit for bit.
        """
        before = next((e.value for e in runner.edits if e.kind == "epochs"), 1.0)
        edits = edits_of.in_order([*runner.edits, Edit("epochs", before * factor)])
        plan = replace(runner.plan, epochs=math.ceil(runner.plan.epochs * factor))
        if plan.key in self.runners or runner.plan.recalibrate:
            return self.runner(edits)
        made = Runner(edits, plan, copy.deepcopy(runner.model), runner.epochs)
        self.runners[plan.key] = made
        return made

    def eliminate(
        self, runners: Sequence[Runner], shares: Sequence[float], keep: Sequence[int]
    ) -> list[Runner]:
        """Bring runners to each share, and after it keep so many of the best, see [1]_.

        References
        ----------
        .. [1] Jamieson, Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter
           optimization", arXiv:1502.07943
        """
        left = list(runners)
        for share, most in zip(shares, keep, strict=True):
            left = [runner for runner in left if self.run(runner, share)]
            left.sort(key=lambda runner: self.course.judge.racing(runner.score), reverse=True)
            left = left[:most]
        return left
