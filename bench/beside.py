"""evengrad's two thread backends alone and beside other libraries in one process.

python bench/beside.py               some two minutes

A fresh interpreter for each backend, order of imports and neighbour trains the reference network
in steps of 32 rows: alone, and with a 256 x 256 product of the neighbour after each step. What is
printed are microseconds: of a step alone, of a step beside, and of the neighbour's product beside
and alone; medians of 5 runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import Any

NEIGHBOURS = ("numpy", "torch", "sklearn")
RUNS, STEPS = 5, 300


def product(neighbour: str) -> Any:
    """Return a function that makes the neighbour multiply, or None if it is not there."""
    import numpy as np

    a = np.ones((256, 256), np.float32)
    if neighbour == "torch":
        import torch

        b = torch.from_numpy(a)
        return lambda: b @ b
    if neighbour == "sklearn":  # its own threads come from a libgomp in its wheel
        from sklearn.metrics import pairwise_distances_argmin

        return lambda: pairwise_distances_argmin(a, a)
    return lambda: a @ a


def measure(backend: str, neighbour: str, order: str) -> None:
    """Print the four medians for one process."""
    import time

    multiply = product(neighbour) if order == "last" else None
    import evengrad as keras
    import numpy as np
    from evengrad import _core

    if backend == "pool":
        _core.use_pool()
    multiply = multiply or product(neighbour)
    layers = keras.layers
    model = keras.Sequential([layers.Input((784,)), layers.BatchNormalization()])
    for units in (300, 100):
        model.add(layers.Dense(units, use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.Activation("elu"))
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.SGD(0.01, clipnorm=1.0), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 784)).astype(np.float32)
    y = rng.integers(0, 10, 32)

    def step() -> None:
        model.train_on_batch(x, y)

    def median(*functions: Any) -> list[float]:
        times: list[list[float]] = [[] for _ in functions]
        for _ in range(STEPS):
            for taken, function in zip(times, functions, strict=True):
                begin = time.perf_counter()
                function()
                taken.append(1e6 * (time.perf_counter() - begin))
        return [statistics.median(taken) for taken in times]

    median(step, multiply)
    print(*median(step), *median(step, multiply), *median(multiply), _core.config()["backend"])


def main() -> None:
    """Go through all of it in fresh interpreters."""
    print(f"{'':34}{'alone':>10}{'beside':>10}{'product':>10}{'its own':>10}")
    for neighbour in NEIGHBOURS:
        for order in ("first", "last"):
            for backend in ("openmp", "pool"):
                runs = []
                for _ in range(RUNS):
                    done = subprocess.run(
                        [sys.executable, __file__, backend, neighbour, order],
                        check=False,
                        capture_output=True,
                        text=True,
                        env=os.environ | {"PYTHONWARNINGS": "ignore"},
                    )
                    if done.returncode:
                        break
                    runs.append(done.stdout.split())
                if not runs:
                    print(f"{neighbour}: {done.stderr.strip().splitlines()[-1]}")
                    continue
                columns = list(zip(*[map(float, run[:4]) for run in runs], strict=True))
                title = f"{neighbour}, evengrad {order}, {runs[0][4]}"
                print(f"{title:34}" + "".join(f"{statistics.median(c):10.0f}" for c in columns))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
    else:
        main()
