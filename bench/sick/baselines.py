"""What the doctor has to be better than: nothing, one recipe for all, random search.

All that train keep what they tried only where its validation score is better, and may spend the
same budget: trainings, counted in epochs of the one that is to be cured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bench.sick import twins
from bench.sick.data import load
from bench.sick.families import Case
from bench.sick.faults import task_of
from bench.sick.networks import Result, Setup, measured
from bench.sick.twins import RATES


class Outcome(NamedTuple):
    """Scores of what a method hands back, what it changed, and what it cost in trainings."""

    val: float
    test: float
    edits: tuple[str, ...]
    cost: float


def unchanged(case: Case) -> Outcome:
    """The run as it is."""
    return Outcome(case.result.val, case.result.test, (), 0.0)


class Search:
    """Trainings within a budget; the best by validation so far, at first the run as it is."""

    def __init__(self, case: Case, budget: float) -> None:
        self.case, self.left, self.cost = case, budget, 0.0
        self.best = unchanged(case)

    def affords(self, setup: Setup) -> bool:
        """Whether there is enough left."""
        return self._price(setup) <= self.left + 1e-9

    def _price(self, setup: Setup) -> float:
        return setup.epochs / self.case.setup.epochs

    def spend(self, setup: Setup) -> None:
        """Account for a training that was done."""
        self.left -= self._price(setup)
        self.cost += self._price(setup)

    def offer(self, result: Result, edits: tuple[str, ...]) -> None:
        """Keep it if it is better."""
        if result.val > self.best.val:
            self.best = Outcome(result.val, result.test, edits, 0.0)

    def outcome(self) -> Outcome:
        """The best, with all that was spent."""
        return self.best._replace(cost=self.cost)


def try_out(search: Search, setup: Setup, edits: tuple[str, ...]) -> None:
    """Train and offer."""
    search.spend(setup)
    search.offer(measured(setup), edits)


def _reseeded(setup: Setup, number: int) -> Setup:
    """Another draw of weights for the same data: only the data know what the first seed is."""
    return replace(setup, draw=number)


def recipe(case: Case, budget: float) -> Outcome:
    """ELU, He's initialization and batch normalization everywhere; the best of as many seeds."""
    given = case.setup
    fixed = replace(
        given, activation="elu", initializer="he_normal", bias=0.0,
        normalization=given.normalization if given.normalization != "none" else "before",
    )  # fmt: skip
    names = {
        "activation": given.activation != "elu",
        "initializer": given.initializer != "he_normal" or given.bias != 0.0,
        "batch_normalization": given.normalization == "none",
    }
    search = Search(case, budget)
    number = 0
    while search.affords(fixed):
        try_out(search, _reseeded(fixed, number), tuple(n for n, is_new in names.items() if is_new))
        number += 1
    return search.outcome()


Edit = Callable[[Setup, np.random.Generator], Setup]
CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")


def _without(arguments: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in arguments.items() if k not in names}


def _new_optimizer(setup: Setup, rng: np.random.Generator) -> Setup:
    name = str(rng.choice(list(RATES)))
    clip = {k: v for k, v in setup.arguments.items() if k in CLIPS}
    return replace(setup, optimizer=name, learning_rate=RATES[name], arguments=clip, stale=())


def _clipping(setup: Setup, rng: np.random.Generator) -> Setup:
    kept = _without(setup.arguments, *CLIPS)
    new = {} if rng.random() < 0.5 else {"global_clipnorm": 1.0}
    return replace(setup, arguments=kept | new)


def _initializer(setup: Setup, rng: np.random.Generator) -> Setup:
    names = ("he_normal", "lecun_normal", "glorot_uniform", "auto", "orthogonal")
    return replace(setup, initializer=str(rng.choice(names)), bias=0.0)


def _columns(setup: Setup, rng: np.random.Generator) -> Setup:
    drop = ("drop_constant", 0) if rng.random() < 0.5 else ("drop_column", int(rng.integers(1000)))
    return replace(setup, changes=(*setup.changes, drop))


def _regularization(setup: Setup, rng: np.random.Generator) -> Setup:
    arguments = _without(setup.arguments, "weight_decay")
    return replace(setup, l2=0.0, dropout=0.0, arguments=arguments)


def _head(setup: Setup, rng: np.random.Generator) -> Setup:
    return replace(setup, **twins.head(task_of(setup), load(setup.data, setup.seed).classes))


def _rate(setup: Setup, rng: np.random.Generator) -> Setup:
    factor = 10.0 ** rng.uniform(-3.0, 3.0)
    return replace(setup, learning_rate=setup.learning_rate * factor, schedule="")


# The kinds of edits of `model.cure`, with values drawn.
EDITS: dict[str, Edit] = {
    "learning_rate": _rate,
    "clipping": _clipping,
    "initializer": _initializer,
    "activation": lambda s, rng: replace(
        s, activation=str(rng.choice(["relu", "elu", "selu", "tanh", "leaky_relu", "gelu"]))
    ),
    "batch_normalization": lambda s, rng: replace(
        s, normalization=str(rng.choice(["before", "after", "none"]))
    ),
    "optimizer": _new_optimizer,
    "output": _head,
    "scale_inputs": lambda s, rng: replace(s, input_normalization=True),
    "scale_targets": lambda s, rng: replace(s, scale_targets=True),
    "regularization": _regularization,
    "epochs": lambda s, rng: replace(s, epochs=s.epochs * int(rng.choice([2, 4, 6]))),
    "batch_size": lambda s, rng: replace(s, batch=int(rng.choice([16, 32, 64]))),
    "moving_average": lambda s, rng: replace(s, bn_momentum=0.9, bn_debias=True),
    "recalibrate": lambda s, rng: replace(s, recalibrate=True),
    "drop_columns": _columns,
}


def random_search(case: Case, budget: float) -> Outcome:
    """One to four edits of random kinds and values a training, until the budget is spent."""
    rng = np.random.default_rng([case.setup.seed, len(case.name)])
    search = Search(case, budget)
    for number in range(10 * int(budget)):
        kinds = rng.permutation(list(EDITS))[: int(rng.integers(1, 5))]
        setup = case.setup
        for kind in kinds:
            setup = EDITS[str(kind)](setup, rng)
        setup = _reseeded(setup, number)
        if search.left < 1.0:
            break
        if search.affords(setup):
            try_out(search, setup, tuple(map(str, kinds)))
    return search.outcome()


def undone(case: Case, budget: float) -> Outcome:
    """The healthy twin in another seed: what a doctor who knows the fault would reach."""
    if not case.sick:
        return unchanged(case)
    result = measured(_reseeded(case.twin, 3))
    return Outcome(result.val, result.test, ("undo",), case.twin.epochs / case.setup.epochs)
