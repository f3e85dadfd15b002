"""The same work in evengrad and every peer installed, interleaved, in one run.

python bench/compare.py                       all of it, about a quarter of an hour
python bench/compare.py --quick               fewer rows and rounds, two threads
python bench/compare.py --workload reference --batch 32 --threads 2 --peers evengrad,jax_scan
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import footprint
import machine
import tables
from peers import PEERS
from rounds import TOLERANCE, Calibration, Cell, Job, Limits, PeerError, Process, run_cell
from workloads import BATCHES, PREDICTION_ROWS, WORKLOADS

LOSS_BAND = 0.005  # of one epoch from the same weights in the same order
INFERENCE_BAND = 0.02  # PyTorch's running variance is the unbiased one
OUTPUT_BAND = 1e-4
LONG = 5.0  # seconds of a first epoch, compilation included, that make a second to warm up needless
SAME_PACKAGES = ("jax_step", "torch_compile")  # as another peer: no line of their own in footprint
PARTS = ("training", "prediction", "footprint")


class Run:
    """All cells of one number of threads."""

    def __init__(self, options: argparse.Namespace, threads: int, results: dict[str, Any]) -> None:
        self.options, self.threads, self.results = options, threads, results
        self.limits = Limits(3, 2, 2.0, 0.05) if options.quick else Limits(5, 3, 12.0, 0.25)
        self.limits.rounds = options.rounds or self.limits.rounds
        self.limits.budget = options.budget or self.limits.budget
        self.processes = {name: Process(name, threads) for name in options.peers}
        self.calibration = Calibration(threads)
        for versions in self.everyone("versions", list(self.processes)).values():
            results["versions"] |= versions

    def close(self) -> None:
        """End all processes."""
        for process in (*self.processes.values(), self.calibration):
            process.close()

    def failed(self, error: PeerError) -> None:
        """Note it; the peer starts afresh."""
        self.results["problems"].append(str(error))
        print(f"  ! {error}", flush=True)
        self.processes[error.name].close()
        self.processes[error.name] = Process(error.name, self.threads)

    def everyone(self, command: str, names: list[str], **arguments: Any) -> dict[str, Any]:
        """Have several peers do it at the same time; return the answers of those who could."""
        answers = {}
        for name in names:
            self.processes[name].tell(command, **arguments)
        for name in names:
            try:
                answers[name] = self.processes[name].hear()
            except PeerError as error:
                self.failed(error)
        return answers

    def one_by_one(self, command: str, names: list[str], **arguments: Any) -> dict[str, Any]:
        """Likewise, undisturbed by each other."""
        answers = {}
        for name in names:
            answers |= self.everyone(command, [name], **arguments)
        return answers

    def cell(self, jobs: dict[str, Job]) -> Cell:
        """Run the rounds, without those who fail."""
        while True:
            try:
                return run_cell(jobs, self.calibration, self.limits)
            except PeerError as error:
                self.failed(error)
                jobs = {k: j for k, j in jobs.items() if j.process.name != error.name}

    # -- training

    def train(self, workload: str, batch: int) -> None:
        """Check that all learn the same, then time them."""
        work = WORKLOADS[workload]
        rows = work.quick_rows if self.options.quick else work.rows
        names = [n for n in self.processes if workload in PEERS[n].trains]
        where = {"workload": workload, "rows": rows, "batch": batch}
        names = list(self.everyone("build", names, **where))
        checked = self.everyone("train", names, epochs=1, shuffle=False)
        inference = self.everyone("evaluate", list(checked))
        deviation, disagreements = self.check(workload, checked, inference)
        short = [n for n in inference if checked[n]["seconds"] < LONG]
        warm = self.one_by_one("train", short, epochs=1, shuffle=True)
        jobs = {}
        for name in (n for n in inference if n in warm or n not in short):
            epochs = 1
            if name in warm:
                epochs = max(1, math.ceil(self.limits.target / warm[name]["seconds"]))
            arguments = {"epochs": epochs, "shuffle": True}
            steps = epochs * math.ceil(rows / batch)
            jobs[name] = Job(self.processes[name], "train", arguments, steps)
        if not jobs:
            return
        cell = self.cell(jobs)
        entry = self.entry(cell, workload, batch=batch, data_rows=rows)
        entry |= {
            "loss": {n: a["loss"] for n, a in checked.items()},
            "accuracy": {n: a["accuracy"] for n, a in checked.items()},
            "inference_loss": inference,
            "worst_deviation": deviation,
            "disagreements": disagreements,
        }
        self.results["training"].append(entry)

    def check(
        self, workload: str, checked: dict[str, Any], inference: dict[str, float]
    ) -> tuple[float, list[str]]:
        """Compare losses with the first peer's; return the worst deviation and who is off."""
        same = [n for n in inference if workload not in PEERS[n].simpler]
        found, worst = [], 0.0
        for kind, band, losses in (
            ("training", LOSS_BAND, {n: checked[n]["loss"] for n in same}),
            ("inference", INFERENCE_BAND, {n: inference[n] for n in same}),
        ):
            for name in same[1:]:
                off = abs(losses[name] / losses[same[0]] - 1.0)
                worst = max(worst, off) if kind == "training" else worst
                if not off <= band:
                    found.append(
                        f"{workload}: {kind} loss {losses[name]:.6f} of {name} differs from "
                        f"{losses[same[0]]:.6f} of {same[0]} by {off:.2%} > {band:.1%}"
                    )
        for text in found:
            print(f"  ! {text}", flush=True)
        return worst, found

    # -- prediction

    def predict(self, workload: str, rows: int) -> None:
        """Check the answers, then time all ways to get them."""
        data_rows = WORKLOADS[workload].quick_rows
        names = [n for n in self.processes if workload in PEERS[n].predicts]
        where = {"workload": workload, "rows": data_rows, "batch": 1024}
        names = list(self.everyone("build", names, **where, settled=True))
        errors = self.everyone("prepare", names, rows=rows)
        found, jobs = [], {}
        for name, ways in errors.items():
            for way, error in ways.items():
                title = f"{name}.{way}" if way else name
                if workload not in PEERS[name].simpler and not error <= OUTPUT_BAND:
                    found.append(f"{workload}: outputs of {title} are off by {error:.1e}")
                    print(f"  ! {found[-1]}", flush=True)
                first = self.everyone("predict", [name], way=way, calls=3)
                if name in first:
                    # a third of the target: there are many ways and few surprises
                    calls = math.ceil(self.limits.target / first[name]["seconds"])
                    arguments = {"way": way, "calls": max(3, min(calls, 100_000))}
                    job = Job(self.processes[name], "predict", arguments, arguments["calls"])
                    jobs[title] = job
        if not jobs:
            return
        cell = self.cell(jobs)
        entry = self.entry(cell, workload, rows=rows)
        self.results["prediction"].append(entry | {"error": errors, "disagreements": found})

    def entry(self, cell: Cell, workload: str, **where: Any) -> dict[str, Any]:
        """Return what is kept of a cell, and print its line."""
        names = list(cell.good[0])
        base = next((n for n in ("evengrad", "evengrad.predict_on_batch") if n in names), None)
        others = [n for n in names if n.partition(".")[0] != "evengrad"]
        same = [n for n in others if workload not in PEERS[n.partition(".")[0]].simpler]
        ratios = {n: cell.ratio(n, base) for n in others} if base else {}
        fastest = min(same, key=cell.median) if same else None
        foreign = {n: max(r[n].foreign for r in cell.good) for n in names}
        entry = {
            "threads": self.threads,
            "workload": workload,
            **where,
            "us": {n: 1e6 * cell.median(n) for n in names},
            "spread": {n: cell.spread(n) for n in names},
            "cpu_us": {n: 1e6 * cell.median(n, "used") for n in names},
            "ratios": ratios,
            "fastest": fastest,
            "fastest_ratio": ratios.get(fastest) if fastest else None,
            "rounds": len(cell.good),
            "thrown_out": cell.thrown_out,
            "noisy": cell.noisy,
            "foreign": foreign,
            "all_us": {n: [1e6 * r[n].seconds for r in cell.good] for n in names},
            "calibration_ms": {n: [1e3 * r[n].calibration for r in cell.good] for n in names},
        }
        size = ", ".join(f"{k} {v:,}" for k, v in where.items())
        times = "  ".join(f"{n} {tables.number(t)}" for n, t in entry["us"].items())
        state = f"{entry['rounds']} rounds, {entry['thrown_out']} thrown out"
        print(f"{workload}, {size}, {self.threads} threads: {times} us ({state})", flush=True)
        return entry

    # -- all of it

    def run(self) -> None:
        """Go through the cells; the peak memory is that of the first workload's training."""
        options, costs = self.options, self.results["footprint"]
        for number, workload in enumerate(options.workload):
            if "training" in options.part:
                for batch in options.batch:
                    self.train(workload, batch)
                if number == 0 and self.threads == options.threads[0]:
                    trained = [n for n in self.processes if workload in PEERS[n].trains]
                    trained = [n for n in trained if n not in SAME_PACKAGES]
                    for name, peak in self.everyone("memory", trained).items():
                        costs.setdefault(name, {})["peak_mb"] = peak
            if "prediction" in options.part:
                for rows in PREDICTION_ROWS:
                    self.predict(workload, rows)
        limit = 1e3 * TOLERANCE * self.calibration.best  # early cells were judged by less
        for entry in self.results["training"] + self.results["prediction"]:
            if entry["threads"] == self.threads:
                slowest = max(max(times) for times in entry["calibration_ms"].values())
                entry["noisy"] |= slowest > limit


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; without choices everything installed takes part."""

    def choices(known: Any, kind: Any = str) -> Any:
        def read(text: str) -> list[Any]:
            values = [kind(value) for value in text.split(",")]
            if known is not None and (wrong := [v for v in values if v not in known]):
                raise argparse.ArgumentTypeError(f"{wrong}: expected some of {list(known)}")
            return values

        return read

    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary, epilog="Lists: a,b,c")
    add = parser.add_argument
    add("--workload", type=choices(WORKLOADS), default=list(WORKLOADS))
    add("--batch", type=choices(None, int), default=list(BATCHES))
    add("--threads", type=choices(None, int), help="default 2,1; with --quick 2")
    add("--peers", type=choices(PEERS), help="default: those installed")
    add("--part", type=choices(PARTS), default=list(PARTS), help="default: all")
    add("--compile", action="store_true", help="torch.compile too; needs a C++ compiler")
    add("--quick", action="store_true", help="fewer rows and rounds, two threads")
    add("--rounds", type=int, help="rounds of a cell, default 5; with --quick 3")
    add("--budget", type=float, help="seconds of a cell after which fewer rounds will do")
    add("--json", type=Path, metavar="FILE", help="write all timings")
    add("--markdown", action="store_true", help="tables as in README.md")
    options = parser.parse_args(arguments)
    if options.peers is None:
        options.peers = [n for n, p in PEERS.items() if p.by_default and p.installed]
    if options.compile and "torch_compile" not in options.peers:
        options.peers.append("torch_compile")
    for name in options.peers:
        if not PEERS[name].installed:
            parser.error(f"{name} needs {', '.join(PEERS[name].needs)}: pip install '.[bench]'")
    if options.threads is None:
        counts = [2] if options.quick else [2, 1]
        cpus = len(os.sched_getaffinity(0))
        options.threads = [n for n in counts if n <= cpus] or [1]
    return options


def main() -> int:
    """Run and report; 1 if the peers did not agree."""
    options = parse(sys.argv[1:])
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "quick": options.quick,
        "machine": machine.describe(),
        "peers": options.peers,
        "versions": {},
        "training": [],
        "prediction": [],
        "footprint": {},
        "problems": [],
    }
    if "footprint" in options.part:
        names = [n for n in options.peers if n not in SAME_PACKAGES]
        times = footprint.import_ms(names, 1 if options.quick else 5)
        for name in names:
            costs = {"import_ms": times[name], "install_mb": footprint.install_mb(name)}
            results["footprint"][name] = costs
    if {"training", "prediction"} & set(options.part):
        for threads in options.threads:
            run = Run(options, threads, results)
            try:
                run.run()
            finally:
                run.close()
    print("\n" + tables.report(results, markdown=options.markdown))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(c["disagreements"] for c in results["training"] + results["prediction"]))


if __name__ == "__main__":
    sys.exit(main())
