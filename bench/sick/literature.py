"""Circle and Blob: small networks of the kind that AutoTrainer and DeepDiagnosis are shown on.

AutoTrainer: Zhang et al. 2021, doi:10.1109/ICSE43902.2021.00043; DeepDiagnosis: Wardat et al. 2022,
doi:10.1145/3510003.3510071. Nine networks for each of the two data sets, in many seeds.
"""

from __future__ import annotations

import functools
from typing import Any

from bench.sick import data as sets
from bench.sick import twins
from bench.sick.families import Case, healthy_relative, sick_relative
from bench.sick.faults import FAULTS
from bench.sick.networks import Setup

# Fault, level, depth, width, optimizer of the healthy twin.
NETWORKS: tuple[tuple[str, Any, int, int, str], ...] = (
    ("sigmoid_deep", "glorot_uniform", 10, 16, "adam"),
    ("flat_and_small", ("sigmoid", 0.05), 6, 8, "sgd"),
    ("flat_and_small", ("tanh", 0.01), 10, 16, "adam"),
    ("growing", 5.0, 10, 16, "sgd"),
    ("stddev_1", 1.0, 10, 32, "sgd"),
    ("negative_bias", -2.0, 5, 16, "adam"),
    ("negative_kernels", 1.0, 8, 16, "adam"),
    ("fast", 300.0, 5, 16, "adam"),
    ("slow", 0.001, 3, 16, "sgd"),
)
DATA = {"design": ("circle",), "held-out": ("circle", "blobs")}


@functools.lru_cache(maxsize=4)
def literature(half: str, number: int) -> tuple[Case, ...]:
    """Twin and sick network of one of the networks and seeds of a half, counted from 0."""
    number, network = divmod(number, len(NETWORKS))
    seeds, which = divmod(number, len(DATA[half]))
    data, seed = DATA[half][which], 100_000 + 2 * seeds + (half != "design")
    kind, level, depth, width, optimizer = NETWORKS[network]
    fault = next(f for f in FAULTS if f.name == kind)
    source = sets.SOURCES[data]
    setup = Setup(
        data, seed, depth, width, "relu", optimizer=optimizer, epochs=60,
        learning_rate=0.005 if optimizer == "adam" else 0.05,
        **twins.head(source.task, sets.load(data, seed).classes),
    )  # fmt: skip
    twin = twins.proven(setup)
    if twin is None:
        return ()
    name = f"{data}-{seed}-{network}"
    healthy = healthy_relative(name, half, twin, "twin", twin.setup, twin.result, "literature")
    sick = sick_relative(name, half, twin, fault, level, "literature")
    return (healthy,) if sick is None else (healthy, sick)
