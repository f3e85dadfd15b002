"""Cases: families of a healthy twin, its sick relatives and its look-alikes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import evengrad
import numpy as np

from bench.sick import networks, twins
from bench.sick.data import HALVES, Data
from bench.sick.faults import FAULTS, Fault
from bench.sick.lookalikes import LOOKALIKES
from bench.sick.networks import Result, Setup, Trained

FAULTS_OF_A_TWIN, LOOKALIKES_OF_A_TWIN = 5, 2
# Diseases that few set-ups can have, or whose effect rarely shows, are tried more often.
WEIGHTS = {
    "dying_units": 15.0, "unscaled_targets": 5.0, "exploding_gradient": 4.0, "oscillation": 5.0,
    "lagging_statistics": 3.0, "over_clipped": 3.0, "learning_rate_too_high": 1.5,
    "vanishing_gradient": 3.5, "initialization_scale": 3.0, "small_batches": 3.0,
    "dead_on_arrival": 1.5, "too_few_epochs": 1.5, "optimizer_state": 1.3,
    "labels_not_learnable": 0.4, "leaking_columns": 0.4, "symmetric_initialization": 0.6,
    "saturation": 0.8, "output_loss_mismatch": 0.8, "constant_columns": 0.7,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One run: a set-up, what is wrong with it, and the scores of it and of its healthy twin.

    `disease` is "" for healthy ones; `kind`: name of the fault or look-alike, or "twin"; `also`:
    other names for the same; `group`: "sampled", or "literature" for Circle and Blob.
    """

    name: str
    half: str
    group: str
    setup: Setup
    twin: Setup
    kind: str
    disease: str
    level: Any
    also: frozenset[str]
    curable: bool
    result: Result
    twin_result: Result

    @property
    def sick(self) -> bool:
        """Whether it has a fault whose effect shows."""
        return self.disease != ""

    def data(self) -> Data:
        """What it is trained on."""
        return networks.data_of(self.setup)

    def built(self) -> tuple[evengrad.Sequential, Data]:
        """The compiled model before training, and the data."""
        data = self.data()
        return networks.built(self.setup, data), data

    def trained(self) -> Trained:
        """Train: model, data (x_train, y_train, x_val, ..., task), epochs, batch."""
        return networks.fit(self.setup)

    def cured(self, score: float) -> bool:
        """Whether a score on test rows is one of a healthy network."""
        return score >= twins.SICK_BELOW * self.twin_result.test

    def as_json(self) -> dict[str, Any]:
        """For the dump."""
        return asdict(self) | {"also": sorted(self.also), "sick": self.sick}


def healthy_relative(
    name: str,
    half: str,
    twin: twins.Twin,
    kind: str,
    setup: Setup,
    result: Result,
    group: str = "sampled",
) -> Case:
    """The twin, or one that looks sick and is not."""
    return Case(
        name, half, group, setup, twin.setup, kind, "", None, frozenset(), False, result,
        twin.result,
    )  # fmt: skip


def sick_relative(
    name: str, half: str, twin: twins.Twin, fault: Fault, level: Any, group: str = "sampled"
) -> Case | None:
    """The twin with the fault, if it shows."""
    setup = fault.inject(twin.setup, level)
    result = networks.measured(setup)
    if not twins.is_sick(result, twin.result):
        return None
    return Case(
        f"{name}-{fault.name}", half, group, setup, twin.setup, fault.name, fault.disease, level,
        fault.also, fault.curable, result, twin.result,
    )  # fmt: skip


def _lookalikes(name: str, half: str, twin: twins.Twin, rng: np.random.Generator) -> Iterator[Case]:
    fitting = [a for a in LOOKALIKES if a.applies(twin.setup)]
    for number in rng.permutation(len(fitting))[:LOOKALIKES_OF_A_TWIN]:
        alike = fitting[number]
        setup = alike.change(twin.setup)
        result = networks.measured(setup)
        if all(a >= twins.SICK_BELOW * b for a, b in zip(result[:2], twin.result[:2], strict=True)):
            yield healthy_relative(f"{name}-{alike.name}", half, twin, alike.name, setup, result)


def _drawn(twin: twins.Twin, only: frozenset[str], rng: np.random.Generator) -> list[Fault]:
    """A fault of each disease that can be injected here, in an order drawn by weight."""
    fitting: dict[str, list[Fault]] = {}
    for fault in FAULTS:
        if fault.applies(twin.setup) and (not only or fault.disease in only):
            fitting.setdefault(fault.disease, []).append(fault)
    weights = np.array([WEIGHTS.get(disease, 1.0) for disease in fitting])
    order = np.argsort(rng.exponential(size=len(fitting)) / weights, kind="stable")
    choices = list(fitting.values())
    return [choices[n][int(rng.integers(len(choices[n])))] for n in order]


@functools.lru_cache(maxsize=4)
def family(half: str, number: int, only: frozenset[str] = frozenset()) -> tuple[Case, ...]:
    """The cases of one twin, the twin first; none where no set-up of these showed its health.

    `only`: diseases to be injected, default all.
    """
    names = HALVES[half]
    data, seed = names[number % len(names)], 2 * number + (half != "design")
    twin = twins.twin(data, seed)
    if twin is None:
        return ()
    rng = np.random.default_rng([seed, 2])
    name = f"{data}-{seed}"
    found = [healthy_relative(name, half, twin, "twin", twin.setup, twin.result)]
    for fault in _drawn(twin, only, rng)[:FAULTS_OF_A_TWIN]:
        level = fault.levels[int(rng.integers(len(fault.levels)))]
        case = sick_relative(name, half, twin, fault, level)
        found += [] if case is None else [case]
    found += _lookalikes(name, half, twin, rng)
    return tuple(found)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Nothing here is large enough for two."""
    before = evengrad.get_num_threads()
    evengrad.set_num_threads(1)
    try:
        yield
    finally:
        evengrad.set_num_threads(before)


def cases(
    half: str,
    limit: int | None = None,
    faults: Iterable[str] = (),
    *,
    healthy: bool = True,
    start: int = 0,
) -> Iterator[Case]:
    """Cases of a half, always the same ones in the same order.

    Parameters
    ----------
    half : {"design", "held-out"}
    limit : int, optional
        How many at most; default: no end.
    faults : iterable of str
        Diseases (names of `evengrad.doctor.DISEASES`); default all.
    healthy : bool
        Whether twins and look-alikes are among them.
    start : int
        Number of the first family.
    """
    given, number = 0, start
    while limit is None or given < limit:
        with one_thread():
            found = family(half, number, frozenset(faults))
        for case in found:
            if (healthy or case.sick) and (limit is None or given < limit):
                given += 1
                yield case
        number += 1
