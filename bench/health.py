"""What it costs that training is watched: compile(health=True), the default, beside False.

python bench/health.py [threads ...]      about a minute for each, default 2 and 1

Each workload of workloads.py at batches of 32: pairs of a fit with and one without, the order
within a pair by turns, on models made anew for each few pairs, for the memory that a model happens
to get has its own effect. Printed: microseconds a step, the median ratio of the pairs, and its 95%
interval from 2,000 bootstrap samples.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray
from peers.evengrad_fit import EvengradFit
from workloads import WORKLOADS, Workload, make_data, make_weights

BATCH, MODELS, PAIRS, SECONDS = 32, 10, 5, 0.1


def models_of(workload: Workload, threads: int, data: tuple[NDArray, NDArray]) -> list[EvengradFit]:
    """Return one that watches and one that does not, trained for an epoch."""
    made = []
    for watched in (True, False):
        peer = EvengradFit(threads)
        peer.build(workload, BATCH, *data, make_weights(workload))
        model = peer.model
        model.compile(model.optimizer, model.loss, model._metrics, health=watched)
        peer.train(1, shuffle=True)
        made.append(peer)
    return made


def seconds(peer: EvengradFit, epochs: int) -> float:
    """Return those of a fit."""
    begin = time.perf_counter()
    peer.train(epochs, shuffle=True)
    return time.perf_counter() - begin


def pairs_of(workload: Workload, threads: int) -> NDArray[np.float64]:
    """Return seconds a step of the pairs, (pairs, 2): watched, not watched."""
    data = make_data(workload, workload.quick_rows)
    found, turn = [], 0
    for _ in range(MODELS):
        peers = models_of(workload, threads, data)
        epochs = max(1, round(SECONDS / seconds(peers[1], 1)))
        for _ in range(PAIRS):
            turn += 1
            order = (0, 1) if turn % 2 else (1, 0)
            times = {i: seconds(peers[i], epochs) for i in order}
            found.append([times[0], times[1]])
            found[-1] = [t / epochs for t in found[-1]]
    return np.array(found) / -(-workload.quick_rows // BATCH)


def interval(ratios: NDArray[np.float64]) -> tuple[float, float]:
    """95% interval of the median."""
    draws = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Print a line for each workload and number of threads."""
    print(f"{'workload':12}{'threads':>8}{'with':>10}{'without':>10}{'ratio':>8}  95% interval")
    for threads in [int(t) for t in sys.argv[1:]] or [2, 1]:
        for name, workload in WORKLOADS.items():
            pairs = pairs_of(workload, threads)
            ratios = pairs[:, 0] / pairs[:, 1]
            low, high = interval(ratios)
            with_, without = np.median(pairs, axis=0) * 1e6
            print(
                f"{name:12}{threads:8}{with_:10.1f}{without:10.1f}{np.median(ratios):8.3f}"
                f"  {low:.3f} to {high:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
