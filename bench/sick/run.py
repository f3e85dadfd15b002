"""The run: cases in two processes, what each method makes of them, one line of JSON a case."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.pool import Pool
from typing import Any, TextIO

import evengrad

from bench.sick import baselines, doctor
from bench.sick.autotrainer import autotrainer
from bench.sick.baselines import Outcome
from bench.sick.families import Case, family
from bench.sick.literature import literature

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    half: str
    sick: int  # at least so many sick runs
    healthy: int  # and so many healthy ones
    faults: frozenset[str] = frozenset()
    literature: int = 0  # networks times seeds of the literature's kind
    methods: tuple[str, ...] = ()
    diagnose: bool = True
    budget: float = 8.0
    processes: int = 2


SAMPLED = 3  # one in so many healthy runs is given to the baselines, too, which train all the same
METHODS: dict[str, Callable[[Case, float], Outcome]] = {
    "no change": lambda case, budget: baselines.unchanged(case),
    "recipe": baselines.recipe,
    "random search": baselines.random_search,
    "AutoTrainer": autotrainer,
    "doctor": doctor.cured,
    "fault undone": baselines.undone,
}


def row_of(case: Case, plan: Plan, *, sample: bool) -> Row:
    """A case and what all methods make of it; of a healthy one, all only if it is in the sample."""
    row = case.as_json()
    if plan.diagnose:
        row["diagnosis"] = doctor.examined(case)
    names = [n for n in plan.methods if case.sick or sample or n in ("no change", "doctor")]
    row["methods"] = {name: _outcome(name, case, plan.budget) for name in names}
    return row


def _outcome(name: str, case: Case, budget: float) -> Row:
    """What a method makes of a case, as a row; of one that raises, the run as it is."""
    begin = time.perf_counter()
    try:
        found = METHODS[name](case, budget)._asdict()
    except Exception:  # the benchmark goes on, and the table counts it
        found = baselines.unchanged(case)._asdict() | {"error": traceback.format_exc(limit=-3)}
    return found | {"seconds": time.perf_counter() - begin}


def rows_of(job: tuple[Plan, str, int]) -> list[Row]:
    """All of one family; for a process of its own."""
    plan, group, number = job
    evengrad.set_num_threads(1)
    if group == "literature":
        found = literature(plan.half, number)
    else:
        found = family(plan.half, number, plan.faults)
    rows = enumerate(found)
    return [row_of(case, plan, sample=(n + number) % SAMPLED == 0) for n, case in rows]


def _in_order(pool: Pool, jobs: Iterator[tuple[Plan, str, int]]) -> Iterator[list[Row]]:
    """Results in the order of the jobs, some of which are on their way."""
    running = deque(pool.apply_async(rows_of, (job,)) for job in itertools.islice(jobs, 6))
    while running:
        yield running.popleft().get()
        running.extend(pool.apply_async(rows_of, (job,)) for job in itertools.islice(jobs, 1))


def rows(plan: Plan) -> Iterator[Row]:
    """Rows of family after family until there are enough of both kinds; then the literature's."""
    missing = {True: plan.sick, False: plan.healthy}
    with multiprocessing.get_context("spawn").Pool(plan.processes) as pool:
        sampled = ((plan, "sampled", number) for number in itertools.count())
        for found in _in_order(pool, sampled):
            for row in found:
                if missing[row["sick"]] > 0:
                    missing[row["sick"]] -= 1
                    yield row
            if max(missing.values()) <= 0:
                break
        known = ((plan, "literature", number) for number in range(plan.literature))
        for found in _in_order(pool, known):
            yield from found


def dumped(plan: Plan, file: TextIO | None) -> list[Row]:
    """All rows, each written as soon as it is there."""
    kept = []
    for row in rows(plan):
        kept.append(row)
        if file is not None:
            print(json.dumps(row, default=_plain), file=file, flush=True)
    return kept


def loaded(file: TextIO) -> list[Row]:
    """Rows that were dumped."""
    return [json.loads(line) for line in file]


def _plain(value: Any) -> Any:
    """Numbers of numpy as numbers of JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
