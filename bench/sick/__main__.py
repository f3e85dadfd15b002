"""python -m bench.sick: run the benchmark and print its tables."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterable

import evengrad

from bench.sick import tables
from bench.sick.faults import FAULTS
from bench.sick.run import METHODS, Plan, Row, dumped, loaded


def arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.sick", description=__doc__)
    parser.add_argument("--half", choices=("design", "held-out"), default="held-out")
    parser.add_argument("--limit", type=int, default=400, help="sick runs, and healthy ones")
    parser.add_argument("--faults", default="", help="diseases, comma between; default all")
    parser.add_argument("--methods", default="", help="of cure, comma between; default all")
    parser.add_argument("--no-cure", action="store_true", help="diagnoses only")
    parser.add_argument("--no-diagnose", action="store_true", help="cures only")
    parser.add_argument("--no-healthy", action="store_true", help="sick runs only")
    parser.add_argument("--no-literature", action="store_true", help="not Circle and Blob")
    parser.add_argument("--budget", type=float, default=8.0, help="of a cure, in trainings")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", help="file for one line of JSON a case")
    parser.add_argument("--show", help="such a file, to print its tables and run nothing")
    return parser.parse_args()


def listed(option: str, text: str, known: Iterable[str]) -> list[str]:
    """Names of an option, which has to know them."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"{option}: expected some of {', '.join(known)}, got {unknown}")
    return names


def plan_of(given: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    faults = listed("--faults", given.faults, sorted({fault.disease for fault in FAULTS}))
    methods = listed("--methods", given.methods, METHODS) or list(METHODS)
    can = hasattr(evengrad.Sequential, "diagnose"), hasattr(evengrad.Sequential, "cure")
    return Plan(
        half=given.half,
        sick=given.limit,
        healthy=0 if given.no_healthy else given.limit,
        faults=frozenset(faults),
        literature=0 if given.no_literature or given.no_cure or faults else 180,
        methods=() if given.no_cure else tuple(m for m in methods if can[1] or m != "doctor"),
        diagnose=can[0] and not given.no_diagnose,
        budget=given.budget,
        processes=given.processes,
    )


def main() -> None:
    """Run and print."""
    given = arguments()
    begin = time.perf_counter()
    if given.show:
        with open(given.show) as file:
            print(*filter(None, parts(loaded(file))), sep="\n\n")
        return
    with open(given.json, "w") if given.json else contextlib.nullcontext() as file:
        rows = dumped(plan_of(given), file)
    print(*filter(None, parts(rows)), sep="\n\n")
    print(f"\n{len(rows)} runs in {time.perf_counter() - begin:.0f} s")


def parts(rows: list[Row]) -> list[str]:
    """The tables."""
    return [tables.census(rows), tables.detection(rows), tables.cures(rows)]


if __name__ == "__main__":
    main()
