"""Processes of the peers, and rounds in which each is timed once while the machine is ours."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
from peers import PEERS

HERE = Path(__file__).parent
TOLERANCE = 1.15  # a calibration that takes longer than this times the best one: not all ours
SETTLE = 0.03  # seconds until idle threads of whoever was timed last have stopped spinning
RETRIES = 3


class PeerError(Exception):
    """A peer could not do it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Process:
    """A peer's process; it sleeps on its stdin until told to do something."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, HERE / "peers" / "worker.py", name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=machine.environment(threads) | PEERS[name].environment,
        )

    def tell(self, command: str, **arguments: Any) -> None:
        """Send a command."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # hear says so
            print(json.dumps([command, arguments]), file=self.process.stdin, flush=True)

    def hear(self) -> Any:
        """Wait for the answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            last = self.log.read().strip().splitlines()[-3:]
            text = f"ended with {self.process.wait()}: {' | '.join(last)}"
            raise PeerError(self.name, text)
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(self.name, answer["error"])
        return answer["ok"]

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command and wait for the answer."""
        self.tell(command, **arguments)
        return self.hear()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (subprocess.TimeoutExpired, OSError):
            self.process.kill()
            self.process.wait()


class Calibration:
    """A fixed amount of work that nobody but the machine has an influence on."""

    def __init__(self, threads: int) -> None:
        self.cpus = machine.pick_cpus(threads)
        self.process = subprocess.Popen(
            [sys.executable, HERE / "machine.py", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=machine.environment(1),
        )
        self.best = min(self.measure() for _ in range(20))

    def measure(self) -> float:
        """Return the seconds it takes now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("go", file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Timing:
    """One peer in one round."""

    seconds: float  # a step, or a call
    used: float  # seconds of CPUs in it, which tells something even while others disturb
    calibration: float  # the slower of the one before and the one after
    foreign: float  # share of the CPUs that others used meanwhile, as far as the kernel tells


@dataclass
class Limits:
    """How long to go on."""

    rounds: int
    least: int
    budget: float  # seconds of a cell after which it stops at `least` good rounds
    target: float  # seconds that one timing should take at least


@dataclass
class Cell:
    """All rounds of one piece of work."""

    good: list[dict[str, Timing]] = field(default_factory=list)
    thrown_out: int = 0
    noisy: bool = False

    def median(self, name: str, what: str = "seconds") -> float:
        """Return the median seconds of a peer."""
        return statistics.median(getattr(r[name], what) for r in self.good)

    def ratio(self, name: str, base: str) -> float:
        """Return the median over the rounds of one peer's time by another's."""
        return statistics.median(r[name].seconds / r[base].seconds for r in self.good)

    def spread(self, name: str) -> float:
        """Return the share by which the slowest good round exceeds the fastest."""
        times = [r[name].seconds for r in self.good]
        return max(times) / min(times) - 1.0


@dataclass
class Job:
    """How to time one peer: a command that answers {"seconds", "used"}, and units of work in it."""

    process: Process
    command: str
    arguments: dict[str, Any]
    units: float


def time_once(job: Job, calibration: Calibration, deadline: float) -> Timing:
    """Time one peer, again if the machine was busy with others and there is time left."""
    best: Timing | None = None
    for _ in range(1 + RETRIES):
        time.sleep(SETTLE)
        before = calibration.measure()
        busy = machine.busy_seconds(calibration.cpus)
        begin = time.perf_counter()
        answer = job.process.ask(job.command, **job.arguments)
        wall = time.perf_counter() - begin
        busy = machine.busy_seconds(calibration.cpus) - busy
        time.sleep(SETTLE)
        slower = max(before, calibration.measure())
        calibration.best = min(calibration.best, before, slower)
        foreign = (busy - answer["used"]) / (wall * len(calibration.cpus))
        timing = Timing(
            answer["seconds"] / job.units,
            answer["used"] / job.units,
            slower,
            min(max(foreign, 0.0), 1.0),
        )
        if best is None or timing.calibration < best.calibration:
            best = timing
        if slower <= TOLERANCE * calibration.best or time.perf_counter() > deadline:
            break
    assert best is not None
    return best


def run_cell(jobs: dict[str, Job], calibration: Calibration, limits: Limits) -> Cell:
    """Go round and round, each peer once a round, beginning with another one each time."""
    cell, bad = Cell(), []
    names, deadline = list(jobs), time.perf_counter() + limits.budget
    while len(cell.good) < limits.rounds and len(bad) <= limits.rounds:
        done = len(cell.good) + len(bad)
        over = time.perf_counter() - deadline
        # Two rounds will do where each is seconds of steps for every peer.
        if over > 0.0 and done >= (2 if over > 2.0 * limits.budget else limits.least):
            break
        shift = done % len(names)
        order = names[shift:] + names[:shift]
        timed = {n: time_once(jobs[n], calibration, deadline) for n in order}
        timings = {n: timed[n] for n in names}
        slowest = max(t.calibration for t in timings.values())
        if slowest <= TOLERANCE * calibration.best:
            cell.good.append(timings)
        else:
            bad.append((slowest, timings))
    bad.sort(key=lambda pair: pair[0])
    while bad and len(cell.good) < limits.least:  # better the quietest bad rounds than none
        cell.good.append(bad.pop(0)[1])
        cell.noisy = True
    cell.thrown_out = len(bad)
    return cell
