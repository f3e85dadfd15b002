"""evengrad's three products of a dense layer beside OpenBLAS (numpy) and MKL (PyTorch), in one run.

python bench/products.py [threads ...]      some two minutes for each, default 2 and 1

Shapes are those of the networks in workloads.py with at least 64 inputs and outputs. Each library
lives in a process of its own, confined to as many CPUs as there are threads, and sleeps while
another is timed. A timing is the fastest of five repetitions of some milliseconds with all arrays
in place; what is printed are GFLOP/s, medians of 5 rounds, 2 operations for each row, input and
output. Every product is compared with numpy's before it is timed.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from machine import environment, pick_cpus
from workloads import WORKLOADS

LIBRARIES = {"evengrad": "evengrad", "numpy": "OpenBLAS", "torch": "MKL"}
DIRECTIONS = {"forward": "y = x W", "dx": "dx = dy W'", "dw": "dW = x' dy"}
ROUNDS, REPETITIONS, SECONDS = 5, 5, 0.004


def shapes() -> list[tuple[int, int, int]]:
    """Return (rows, inputs, outputs) of the dense layers of all workloads, each once."""
    found = set()
    for workload in WORKLOADS.values():
        inputs = workload.inputs
        for layer in workload.layers:
            if layer.kind == "dense":
                if min(inputs, layer.units) >= 64:
                    found.add((inputs, layer.units))
                inputs = layer.units
    return [(rows, *pair) for pair in sorted(found) for rows in (32, 128, 1024)]


def arrays(rows: int, inputs: int, outputs: int) -> list[np.ndarray]:
    """Return x, W and dy."""
    rng = np.random.default_rng(0)
    pairs = (rows, inputs), (inputs, outputs), (rows, outputs)
    return [rng.standard_normal(pair, np.float32) for pair in pairs]


def in_numpy(direction: str, given: list[Any]) -> tuple[Callable[[], Any], Any]:
    """Return what multiplies, and where the result is."""
    a, b = factors(direction, given)
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    return lambda: np.matmul(a, b, out=out), out


def in_torch(direction: str, given: list[Any]) -> tuple[Callable[[], Any], Any]:
    """Likewise."""
    import torch

    a, b = factors(direction, [torch.from_numpy(array) for array in given])
    out = torch.empty((a.shape[0], b.shape[1]))
    return lambda: torch.mm(a, b, out=out), out


def factors(direction: str, given: list[Any]) -> tuple[Any, Any]:
    """Return the two that are multiplied."""
    x, kernel, dy = given
    return {"forward": (x, kernel), "dx": (dy, kernel.T), "dw": (x.T, dy)}[direction]


def in_evengrad(direction: str, given: list[Any]) -> tuple[Callable[[], Any], Any]:
    """Likewise, in arrays of its own, as layers use them."""
    from evengrad._arena import tensor
    from evengrad._program import Program

    x, kernel, dy = (tensor(*array.shape) for array in given)
    for own, array in zip((x, kernel, dy), given, strict=True):
        own[...] = array
    program = Program(len(x), training=True)
    out = tensor(*{"forward": dy.shape, "dx": x.shape, "dw": kernel.shape}[direction])
    if direction == "forward":
        program.dense_forward(x, kernel, None, out)
    else:
        dx, dw = (out, None) if direction == "dx" else (None, out)
        program.dense_backward(x, kernel, dy, dw, None, dx)
    return lambda: program.run(len(x)), out


def timed(multiply: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        multiply()
        calls += 1
    best = math.inf
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        for _ in range(calls):
            multiply()
        best = min(best, (time.perf_counter() - begin) / calls)
    return best


def work(library: str, cpus: str) -> None:
    """Answer each line of stdin, a direction and a shape, with the seconds of that product."""
    os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    made = {"evengrad": in_evengrad, "numpy": in_numpy, "torch": in_torch}[library]
    for line in sys.stdin:
        direction, *shape = line.split()
        given = arrays(*map(int, shape))
        multiply, out = made(direction, given)
        multiply()
        a, b = factors(direction, given)
        np.testing.assert_allclose(np.asarray(out), a @ b, rtol=1e-3, atol=1e-3 * math.sqrt(len(b)))
        print(timed(multiply), flush=True)


def measure(threads: int) -> None:
    """Print the table for so many threads."""
    cpus = ",".join(map(str, pick_cpus(threads)))
    workers = {
        library: subprocess.Popen(
            [sys.executable, __file__, "work", library, cpus],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )
        for library in LIBRARIES
    }

    def ask(library: str, line: str) -> float:
        worker = workers[library]
        assert worker.stdin
        assert worker.stdout
        print(line, file=worker.stdin, flush=True)
        answer = worker.stdout.readline()
        if not answer:
            raise SystemExit(f"{library}: stopped at {line}")
        return float(answer)

    titles = "".join(f"{title:>10}" for title in LIBRARIES.values())
    print(f"\n{threads} threads\n{'GFLOP/s':34}{titles}{'ratio':>8}{'spread':>8}")
    ratios = []
    for direction, formula in DIRECTIONS.items():
        for rows, inputs, outputs in shapes():
            line, operations = f"{direction} {rows} {inputs} {outputs}", 2e-9 * rows * inputs
            rounds = [
                {library: outputs * operations / ask(library, line) for library in LIBRARIES}
                for _ in range(ROUNDS)
            ]
            medians = [statistics.median(r[library] for r in rounds) for library in LIBRARIES]
            each = sorted(r["evengrad"] / max(r["numpy"], r["torch"]) for r in rounds)
            ratios.append(each[ROUNDS // 2])
            title = f"{formula}, {rows} x {inputs} x {outputs}"
            columns = "".join(f"{value:10.0f}" for value in medians)
            print(f"{title:34}{columns}{ratios[-1]:8.2f}{each[-1] - each[0]:8.2f}", flush=True)
    mean = statistics.geometric_mean(ratios)
    print(f"evengrad by the faster of the two: mean {mean:.2f}, least {min(ratios):.2f}")
    for worker in workers.values():
        worker.terminate()


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
    else:
        for count in map(int, sys.argv[1:] or ("2", "1")):
            measure(count)
