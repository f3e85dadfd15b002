"""The run: cases in two processes, what each method makes of them, one line of JSON a case."""

from __future__ import annotations

import json
import multiprocessing
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import evengrad

from bench.sick.families import Case, family

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    half: str
    sick: int  # at least so many sick runs
    healthy: int  # and so many healthy ones
    faults: frozenset[str] = frozenset()
    methods: tuple[str, ...] = ()
    diagnose: bool = True
    budget: int = 12
    processes: int = 2


def examined(case: Case) -> Row:
    """What the doctor finds after training."""
    model, data, _, _ = case.trained()
    begin = time.perf_counter()
    try:
        report = model.diagnose(data.x_train, data.y_train)
    except Exception:  # the benchmark goes on, and the table counts it
        return {"error": traceback.format_exc(limit=-3), "verdicts": []}
    seconds = time.perf_counter() - begin
    verdicts = [
        {"disease": v.disease, "confidence": v.confidence, "cause": v.cause, "evidence": v.evidence}
        for v in report.verdicts
    ]
    return {"verdicts": verdicts, "seconds": seconds}


def row_of(case: Case, plan: Plan) -> Row:
    """A case and what all methods make of it."""
    row = case.as_json()
    if plan.diagnose and hasattr(evengrad.Sequential, "diagnose"):
        row["diagnosis"] = examined(case)
    return row


def rows_of_family(job: tuple[Plan, int]) -> list[Row]:
    """All of one family; for a process of its own."""
    plan, number = job
    evengrad.set_num_threads(1)
    return [row_of(case, plan) for case in family(plan.half, number, plan.faults)]


def rows(plan: Plan) -> Iterator[Row]:
    """Rows of family after family until there are enough of both kinds."""
    missing = {True: plan.sick, False: plan.healthy}
    numbers = ((plan, number) for number in range(100_000))
    context = multiprocessing.get_context("spawn")
    with context.Pool(plan.processes) as pool:
        running = [pool.apply_async(rows_of_family, (next(numbers),)) for _ in range(4)]
        while max(missing.values()) > 0:
            found = running.pop(0).get()
            running.append(pool.apply_async(rows_of_family, (next(numbers),)))
            for row in found:
                if missing[row["sick"]] > 0:
                    missing[row["sick"]] -= 1
                    yield row
        pool.terminate()


def dumped(plan: Plan, file: TextIO | None) -> list[Row]:
    """All rows, each written as soon as it is there."""
    kept = []
    for row in rows(plan):
        kept.append(row)
        if file is not None:
            print(json.dumps(row, default=_plain), file=file, flush=True)
    return kept


def _plain(value: Any) -> Any:
    """Numbers of numpy as numbers of JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
