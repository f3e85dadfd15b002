"""python -m bench.sick: run the benchmark and print its tables."""

from __future__ import annotations

import argparse
import time

from bench.sick import tables
from bench.sick.faults import FAULTS
from bench.sick.run import Plan, dumped

DISEASES = sorted({fault.disease for fault in FAULTS})


def arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.sick", description=__doc__)
    parser.add_argument("--half", choices=("design", "held-out"), default="held-out")
    parser.add_argument("--limit", type=int, default=300, help="sick runs, and healthy ones")
    parser.add_argument("--faults", default="", help="diseases, comma between; default all")
    parser.add_argument("--no-cure", action="store_true", help="diagnoses only")
    parser.add_argument("--no-healthy", action="store_true", help="sick runs only")
    parser.add_argument("--budget", type=int, default=12, help="of a cure, in trainings")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", help="file for one line of JSON a case")
    return parser.parse_args()


def main() -> None:
    """Run and print."""
    given = arguments()
    faults = frozenset(filter(None, given.faults.split(",")))
    if unknown := faults - set(DISEASES):
        raise SystemExit(f"--faults: expected some of {', '.join(DISEASES)}, got {unknown}")
    plan = Plan(
        given.half, given.limit, 0 if given.no_healthy else given.limit, faults,
        methods=(), budget=given.budget, processes=given.processes,
    )  # fmt: skip
    begin = time.perf_counter()
    if given.json:
        with open(given.json, "w") as file:
            rows = dumped(plan, file)
    else:
        rows = dumped(plan, None)
    print(tables.census(rows), tables.detection(rows), sep="\n\n")
    print(f"\n{len(rows)} runs in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
