"""Treatments: in what order candidates are tried, and which edits are left in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor.edits import in_order

if TYPE_CHECKING:
    from evengrad.doctor.candidates import Edits, Menu
    from evengrad.doctor.judging import Score
    from evengrad.doctor.races import Race, Runner
    from evengrad.doctor.verdicts import Edit

_FIRST = 0.125  # share of a training after which most candidates are left behind
_LATER = (0.25, 0.5, 1.0), (3, 2, 2)  # shares, and how many are left after each
_LATER_COST = 2.2
_FOR_PRUNING = 0.25  # share of what is left
_MOST, _LEAST = 18, 4  # candidates
_SIMPLE = 2  # prescriptions that are tried in full at once
_AS_GOOD = 0.01  # of the score: no difference
_ABOUT = 0.03  # likewise, where samples do not tell them apart
# Standard errors: one in six, one in twenty, one in forty by luck; among many there is more luck.
_PROBABLY, _SURE, _SURER = 1.0, 1.64, 1.96

F64 = NDArray[np.float64]


class Treatment:
    """Looks for the fewest edits that are as good as any.

    Parameters
    ----------
    race : Race
    menu : Menu
    before : Score
        Of the model as it is.
    reach : ndarray, optional
        Merits that can be reached without a network.
    """

    def __init__(self, race: Race, menu: Menu, before: Score, reach: F64 | None) -> None:
        self.race, self.menu, self.before = race, menu, before
        self.judge, self.reach = race.course.judge, reach

    def best(self) -> Runner | None:
        """Return who is proven better than the model as it is; None where nobody is."""
        simple: list[Runner] = []
        for edits in list(self.menu.prescribed())[:_SIMPLE]:
            runner = self._finished(edits) if self._leaves_enough(edits) else None
            if runner and self._is_certainly_enough(runner):
                return runner
            simple += [runner] if runner else []
        reference = self._finished(self.menu.healthy())
        for runner in simple:
            if self._is_enough(runner, reference):
                return runner
        finished = [*self._raced(reference), *simple, *([reference] if reference else [])]
        proven = [runner for runner in finished if self._is_proven(runner)]
        if not proven:
            return None
        chosen = self._fewest(proven)
        return self._pruned(self._longer(chosen))

    def _leaves_enough(self, edits: Edits) -> bool:
        """Whether what is left after it pays for everything healthy."""
        race = self.race
        runner, healthy = race.runner(edits), race.runner(self.menu.healthy())
        if runner is None or healthy is None:
            return True
        return race.spent + race.price(runner) + race.price(healthy) <= race.budget

    def _longer(self, runner: Runner) -> Runner:
        """Let it go on twice as long, and again, while that helps and there is more to reach."""
        while not self.judge.is_near(runner.score, self.reach) and not runner.plan.recalibrate:
            made = self.race.longer(runner, 2.0)
            if made is None or not self.race.run(made) or self._as_good(runner, made):
                break
            runner = made
        return runner

    def _finished(self, edits: Edits) -> Runner | None:
        runner = self.race.runner(edits)
        return runner if runner and self.race.run(runner) else None

    def _is_certainly_enough(self, runner: Runner) -> bool:
        """Whether there is no need to know what a network of which all is healthy reaches."""
        if self.reach is None or not self._is_proven(runner):
            return False
        return self.judge.is_near(runner.score, self.reach, 1.0)

    def _is_enough(self, runner: Runner, reference: Runner | None) -> bool:
        """Whether there is no need to look for more."""
        near = self.judge.is_near(runner.score, self.reach)
        return near and self._is_proven(runner) and self._as_good(runner, reference)

    def _is_proven(self, runner: Runner) -> bool:
        named = any(e in v.edits for v in self.menu.verdicts for e in runner.edits)
        sure = _SURE if named else _SURER
        return self.judge.knows_something(runner.score) and self.judge.certain(
            runner.score, self.before, sure
        )

    def _as_good(self, runner: Runner, best: Runner | None) -> bool:
        """Whether a runner is no worse than the best, as far as the samples tell."""
        if best is None:
            return True
        lead = self.judge.gain(best.score, runner.score)
        size = max(abs(self.judge.rank(best.score)[0]), 1e-12)
        if lead <= _AS_GOOD * size:
            return True
        by_luck = not self.judge.certain(best.score, runner.score, _PROBABLY)
        return lead <= _ABOUT * size and by_luck

    def _fewest(self, runners: Sequence[Runner]) -> Runner:
        best = max(runners, key=lambda runner: self.judge.rank(runner.score))
        good = [runner for runner in runners if self._as_good(runner, best)]
        fewest = min(len(runner.edits) for runner in good)
        few = [runner for runner in good if len(runner.edits) == fewest]
        return max(few, key=lambda runner: self.judge.rank(runner.score))

    # -- the race

    def _raced(self, reference: Runner | None) -> list[Runner]:
        """Short runs of many, longer ones of the better half, and so on."""
        race = self.race
        left = (race.budget - race.spent) * (1.0 - _FOR_PRUNING)
        most = int(min(_MOST, max(_LEAST, (left - _LATER_COST) / _FIRST)))
        entered = list(self._entered(most))
        ahead = race.eliminate(entered, [_FIRST], [5])
        for runner in ahead[:2]:
            ahead_of_all = len(runner.edits) == 1 and self._as_good(runner, reference)
            if ahead_of_all and race.run(runner) and self._is_enough(runner, reference):
                return [runner]
        pair = self._pair(ahead)
        return race.eliminate([*ahead, *([pair] if pair else [])], *_LATER)

    def _entered(self, most: int) -> Iterator[Runner]:
        seen: set[int] = set()
        for edits in self._candidates():
            runner = self.race.runner(edits)
            if runner is None or id(runner) in seen or runner.finished:
                continue
            seen.add(id(runner))
            yield runner
            if len(seen) == most:
                return

    def _candidates(self) -> Iterator[Edits]:
        yield from list(self.menu.prescribed())[:8]
        yield self.menu.plain()
        for edit in self.menu.singles():
            yield (edit,)

    def _pair(self, ahead: Sequence[Runner]) -> Runner | None:
        """The two best single edits together."""
        kinds: dict[str, Edit] = {}
        for runner in ahead:
            if len(runner.edits) == 1:
                kinds.setdefault(runner.edits[0].kind, runner.edits[0])
        return self.race.runner(list(kinds.values())[:2]) if len(kinds) > 1 else None

    # -- fewer edits

    def _pruned(self, chosen: Runner) -> Runner:
        """Leave out what is not needed: the most useful edits first, how many by bisection."""
        useful = sorted(in_order(chosen.edits), key=self._use, reverse=True)
        low, high, best = 0, len(useful), chosen
        while high - low > 1:
            middle = (low + high) // 2
            runner = self.race.runner(useful[:middle])
            if runner is None:
                low = middle
                continue
            if not self.race.run(runner) and not runner.finished:
                break  # nothing left to pay for it
            if runner.score.valid and self._is_proven(runner) and self._as_good(runner, chosen):
                high, best = middle, runner
            else:
                low = middle
        return best

    def _use(self, edit: Edit) -> tuple[bool, float]:
        """Whether the report names an edit, and how good a runner with nothing else was."""
        named = any(edit in verdict.edits for verdict in self.menu.verdicts)
        alone = self.race.runner((edit,))
        if alone is None or not alone.score.valid:
            return named, float("-inf")
        return named, self.judge.racing(alone.score)
