"""The process of one peer: waits for a command a line on stdin, does it, answers a line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import machine  # noqa: E402
import workloads  # noqa: E402

from peers import PEERS  # noqa: E402


class Worker:
    """Commands by name."""

    def __init__(self, name: str, threads: int) -> None:
        module, _, kind = PEERS[name].where.partition(":")
        self.peer = getattr(importlib.import_module(f"peers.{module}"), kind)(threads)
        self.data: tuple[Any, Any, Any] = (None, None, None)

    def versions(self) -> dict[str, str]:
        return self.peer.versions()

    def build(self, workload: str, rows: int, batch: int, settled: bool = False) -> None:
        work = workloads.WORKLOADS[workload]
        if self.data[0] != (workload, rows):
            self.data = (workload, rows), *workloads.make_data(work, rows)
        _, self.x, self.y = self.data
        self.work = work
        self.weights = workloads.make_weights(work, settled=settled)
        self.peer.build(work, batch, self.x, self.y, self.weights)

    def train(self, epochs: int, shuffle: bool) -> dict[str, Any]:
        used, begin = time.process_time(), time.perf_counter()
        loss, accuracy = self.peer.train(epochs, shuffle=shuffle)
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        return {"seconds": seconds, "used": used, "loss": loss, "accuracy": accuracy}

    def evaluate(self) -> float:
        """Loss in inference mode, which moving statistics must be right for."""
        _, predict = next(iter(self.peer.predictors().items()))
        x, y = self.x[:1024], self.y[:1024]
        return workloads.loss_of(self.work, predict(x), y)

    def prepare(self, rows: int) -> dict[str, float]:
        """Warm each predictor up; return its largest error."""
        self.ways = self.peer.predictors()
        self.samples = self.x[:rows].copy()
        expected = workloads.expected_output(self.work, self.weights, self.samples)
        return {n: float(abs(p(self.samples) - expected).max()) for n, p in self.ways.items()}

    def predict(self, way: str, calls: int) -> dict[str, float]:
        predict, samples = self.ways[way], self.samples
        predict(samples)  # the caches belong to it again
        used, begin = time.process_time(), time.perf_counter()
        for _ in range(calls):
            predict(samples)
        seconds, used = time.perf_counter() - begin, time.process_time() - used
        return {"seconds": seconds, "used": used}

    def memory(self) -> float:
        """Peak so far in MB."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, machine.pick_cpus(threads))  # some pools count CPUs, not variables
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not reach who reads the answers
    worker: Worker | None = None
    for line in sys.stdin:
        command, arguments = json.loads(line)
        try:
            worker = worker or Worker(name, threads)
            answer = {"ok": getattr(worker, command)(**arguments)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
