"""Curing: from a model and its data to changes that held-out rows have shown to be better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _arguments, _data, _random, _validation
from evengrad.doctor.candidates import Menu, leaking_columns
from evengrad.doctor.cures import CureResult, Trial
from evengrad.doctor.judging import Held, Judge, Score, classes_of
from evengrad.doctor.plans import Plan
from evengrad.doctor.races import Course, Race, Runner
from evengrad.doctor.reachable import predictions
from evengrad.doctor.scaling import Truth
from evengrad.doctor.treatments import Treatment

if TYPE_CHECKING:
    from evengrad.doctor.report import Report
    from evengrad.models import Sequential

_HELD_OUT = 0.2
_FOR_ONE = 0.6  # of the budget, that one candidate may cost

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A model, what it is trained on and what it is judged by, as `cure` was given them."""

    plan: Plan
    truth: Truth
    fit: dict[str, Any]
    held: Held


def cure(
    model: Sequential,
    x: Any,
    y: Any,
    validation_data: Any = None,
    *,
    budget: float = 8.0,
    metric: Any = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    seed: int = 0,
) -> CureResult:
    """Look for edits that make a model better on held-out data; see `Sequential.cure`."""
    budget = _validation.check_number("cure", "budget", budget, 1.0, open_high=True)
    seed = _random.check_seed("cure", seed)
    _arguments.check_counts("cure", epochs=epochs, batch_size=batch_size)
    with model.locked():
        weights = sample_weight, class_weight
        case = _case(model, x, y, validation_data, epochs, batch_size, weights)
        judge = Judge(model, case.held, metric)
        race = Race(Course(case.plan, case.truth, case.fit, judge, seed), budget)
        return _cured(model, case, race)


def _cured(model: Sequential, case: Case, race: Race) -> CureResult:
    judge, report = race.course.judge, _report(model, case)
    before, reach, best = _before(model, race), _reach(judge, case.truth), None
    if not (report.healthy and _is_fine(judge, before, reach)):
        most = _FOR_ONE * race.budget
        menu = Menu(case.plan, case.truth, judge, report.verdicts, most, anew=_is_trained(model))
        best = Treatment(race, menu, before, reach).best()
    trials = tuple(
        Trial(runner.edits, runner.score.value, runner.cost)
        for runner in race.runners.values()
        if runner.cost
    )
    return CureResult(
        model=model if best is None else _ready(best),
        improved=best is not None,
        before=before.value,
        after=before.value if best is None else best.score.value,
        metric=judge.name,
        edits=() if best is None else best.edits,
        cost=race.spent,
        report=report,
        trials=trials,
    )


def _case(
    model: Sequential,
    x: Any,
    y: Any,
    validation_data: Any,
    epochs: int | None,
    batch_size: int | None,
    weights: tuple[Any, Any],
) -> Case:
    """Check the data as `fit` does, and hold rows out where none are given."""
    data = _data.prepare(model, "cure", x, y, *weights)
    held = _held_out(model, validation_data)
    if held is None:
        kept, out = _split(len(data.x))
        held, data = _as_held(data.rows(out)), data.rows(kept)
    params = getattr(model.history, "params", None) or {}
    steps = params.get("steps") or math.ceil(len(data.x) / 32)
    rows = (
        batch_size or getattr(model.history, "batch_size", None) or math.ceil(len(data.x) / steps)
    )
    plan = Plan.of(model, epochs or params.get("epochs") or 1, rows)
    fit = {} if data.weight is None else {"sample_weight": data.weight}
    return Case(plan, Truth(data.x, data.y), fit, held)


def _held_out(model: Sequential, validation_data: Any) -> Held | None:
    if validation_data is None:
        return None
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise ValueError(
            "cure: expected validation_data (x, y) or (x, y, sample_weight), got "
            f"{type(validation_data).__name__}"
        )
    return _as_held(_data.prepare(model, "cure: validation_data", *validation_data))


def _as_held(data: _data.Data) -> Held:
    assert data.y is not None
    weight = None if data.weight is None else data.weight.astype(np.float64)
    return Held(data.x, data.y, weight)


def _split(rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A fifth of the rows to judge by, the others to train on, drawn without the user's draws."""
    order = np.random.default_rng(rows).permutation(rows)
    out = max(1, round(_HELD_OUT * rows))
    return np.sort(order[out:]), np.sort(order[:out])


def _report(model: Sequential, case: Case) -> Report:
    """What an examination finds."""
    held = (case.held.x, case.held.y)
    return model.diagnose(
        case.truth.x, case.truth.y, validation_data=held, batch_size=case.plan.batch_size
    )


def _before(model: Sequential, race: Race) -> Score:
    """Score of the model as it is; of one that was never trained, of its twin that is."""
    if _is_trained(model):
        return race.course.judge(model)
    twin = race.runner(())
    race.run(twin)
    return race.course.judge(model) if twin is None else twin.score


def _is_trained(model: Sequential) -> bool:
    return model.history is not None or model.optimizer.iterations > 0


def _is_fine(judge: Judge, before: Score, reach: F64 | None) -> bool:
    return before.valid and reach is not None and judge.is_near(before, reach)


def _reach(judge: Judge, truth: Truth) -> F64 | None:
    """Merits of what needs no network, kernel ridge regression; None where that says nothing."""
    assert truth.x is not None
    assert truth.y is not None
    numbers = classes_of(judge.loss, truth.y, judge.outputs)
    if leaking_columns(truth, numbers):
        return None
    if numbers is None:
        targets = np.asarray(truth.y, np.float64).reshape(len(truth.y), -1)
    else:
        targets = np.eye(max(2, int(numbers.max()) + 1))[numbers]
    try:
        return judge.merits_of(predictions(truth.x, targets, judge.held.x))
    except (np.linalg.LinAlgError, MemoryError, ValueError):
        return None


def _ready(best: Runner) -> Sequential:
    """The trained model, compiled as the user's was, draws included."""
    model, arguments = best.model, best.plan.compile_arguments()
    model.compile(**arguments | {"optimizer": model.optimizer})
    return model
