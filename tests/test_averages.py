"""Kernels that add up gradients over steps, and those that average values, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _core
from harness import (
    F32,
    TINY,
    UNIT,
    Results,
    check,
    check_threads,
    draws,
    matrix,
    number_of_threads,
    parameter_gradient,
    run,
)

SHAPES: list[tuple[int, ...]] = [(33, 17), (17,), (1, 1), (1,), (9, 1024), (130, 100)]
RATE = 0.1


class Accumulation:
    """SGD or Adam over the mean of every `steps` gradients, clipped by norm."""

    def __init__(self, steps: int, *, adam: bool = False, limit: float = np.inf) -> None:
        self.starts = draws(1, *SHAPES)
        self.values, self.gradients, self.sums, *self.slots = (
            [matrix(a) for a in arrays]
            for arrays in (self.starts, *([np.zeros_like(s) for s in self.starts],) * 4)
        )
        self.norms, self.steps, self.adam, self.limit = np.zeros(len(SHAPES)), steps, adam, limit
        self.done = 0

    def record(self, p: _core.Program) -> None:
        p.accumulate(self.gradients, self.sums, self.steps)
        p.gradient_norms(self.gradients, self.norms)
        p.carry(self.gradients, self.sums)
        shared = self.values, self.gradients
        if self.adam:
            p.adam(*shared, self.slots, self.norms, "norm", 0.9, 0.999, 1e-7, False)
        else:
            p.sgd(*shared, None, self.norms, "norm", 0.0, False)

    def start(self, gradients: list[F32], threads: int = 1) -> None:
        self.set(gradients)
        self.program = run(
            1, self.record, threads=threads, learning_rate=RATE, clip=self.limit, iteration=1
        )
        self.done = 1

    def set(self, gradients: list[F32]) -> None:
        for array, gradient in zip(self.gradients, gradients, strict=True):
            array[...] = gradient

    def step(self, gradients: list[F32]) -> None:
        self.set(gradients)
        self.program.run(1, learning_rate=RATE, clip=self.limit, iteration=self.done + 1)
        self.done += self.program.failure is None


def case(steps: int, *, adam: bool = False, limit: float = np.inf, threads: int = 1) -> Results:
    # Of one sign: where they cancel Adam makes the rounding of their mean as large as the rate.
    batches = [[np.abs(g) for g in draws(2 + i, *SHAPES)] for i in range(2 * steps + 1)]
    made = Accumulation(steps, adam=adam, limit=limit)
    made.start(batches[0], threads)
    with number_of_threads(threads):
        for gradients in batches[1:]:
            made.step(gradients)
    means = [
        [np.mean([reference.f64(b[v]) for b in batches[k : k + steps]], axis=0) for k in (0, steps)]
        for v in range(len(SHAPES))
    ]
    results: Results = {}
    for v, start in enumerate(made.starts):
        gradients = means[v]
        if limit < np.inf:
            gradients = [reference.clip_by_norm([g], limit)[0] for g in gradients]
        right = getattr(reference, "adam" if adam else "sgd")(start, gradients, RATE)
        # Each mean rounds the share, its products and sums.
        size = sum(np.abs(b[v]) for b in batches) / steps
        moved = RATE * (64 if adam else size * (2 * steps + 8))
        results[f"value {v}"] = made.values[v], right, UNIT * (4 * np.abs(right) + moved)
        left = reference.f64(batches[-1][v]) / steps
        results[f"sum {v}"] = made.sums[v], left, 2 * UNIT * np.abs(left) + TINY
        for array in (made.values[v], made.sums[v], made.gradients[v]):
            parameter_gradient(array)
    return results


@pytest.mark.parametrize("steps", [2, 3, 7])
@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("limit", [np.inf, 0.3])
def test_steps(steps: int, adam: bool, limit: float) -> None:
    check(case(steps, adam=adam, limit=limit))


@pytest.mark.parametrize("steps", [2, 3])
def test_threads(steps: int) -> None:
    check_threads(case, steps, adam=True, limit=0.3)


def test_nothing_moves_between_updates() -> None:
    made = Accumulation(3, adam=True)
    before = [v.copy() for v in made.values]
    made.start(draws(2, *SHAPES))
    made.step(draws(3, *SHAPES))
    for now, old in zip((*made.values, *made.slots[0]), (*before, *made.slots[1]), strict=True):
        np.testing.assert_array_equal(now, old)
    made.step(draws(4, *SHAPES))
    assert all((now != old).any() for now, old in zip(made.values, before, strict=True))
    for total in made.sums:
        np.testing.assert_array_equal(total, 0.0)


@pytest.mark.parametrize("fails_in", [1, 2, 3])
def test_a_failed_step_leaves_the_sums(fails_in: int) -> None:
    """The same bits as if the step had never been."""
    batches = [draws(2 + i, *SHAPES) for i in range(3)]
    bad = [np.full(shape, np.nan, np.float32) for shape in SHAPES]
    results = []
    for spoilt in (False, True):
        made = Accumulation(3)
        made.start(batches[0])
        for i in (2, 3):
            if spoilt and fails_in == i:
                made.step(bad)
                assert made.program.failure == ("gradient", 0)
            made.step(batches[i - 1])
        if spoilt and fails_in == 1:
            made.step(bad)
        results.append([v.tobytes() for v in (*made.values, *made.sums)])
    assert results[0] == results[1]


@pytest.mark.parametrize("scale", [2.0**-149, 1e-44, 1e-38, 1e-20, 1e20, 1e38, 3.4e38])
@pytest.mark.parametrize("steps", [2, 4])
def test_the_mean_of_finite_gradients_is_finite(scale: float, steps: int) -> None:
    gradient, total = matrix(np.zeros((9, 17))), matrix(np.zeros((9, 17)))
    norms = np.zeros(1)
    program = _core.Program(1)
    program.accumulate([gradient], [total], steps)
    program.gradient_norms([gradient], norms)
    program.carry([gradient], [total])
    for i in range(steps):
        gradient[...] = np.float32(scale)
        program.run(1, iteration=i + 1)
        assert program.failure is None
    wanted = float(np.float32(scale))
    np.testing.assert_allclose(gradient, wanted, rtol=4 * UNIT, atol=steps * TINY)
    np.testing.assert_array_equal(total, 0.0)


def averages(
    momentum: float, overwrite: int, *, steps: int = 1, threads: int = 1
) -> tuple[Results, list[F32]]:
    starts = draws(1, *SHAPES)
    values, means = [matrix(s) for s in starts], [matrix(np.full_like(s, 7.0)) for s in starts]
    gradients, sums = [matrix(np.zeros_like(s)) for s in starts], [matrix(0 * s) for s in starts]

    def record(p: _core.Program) -> None:
        p.accumulate(gradients, sums, steps)
        p.average(values, means, momentum, overwrite)

    program = run(1, record, threads=threads, iteration=1)
    right_values = [reference.f64(s) for s in starts]
    right = [v.copy() for v in right_values]
    bound = [np.abs(v) for v in right]
    with number_of_threads(threads):
        for i in range(2, 13):
            update = (i - 1) // steps + 1
            for v, more in enumerate(draws(i, *SHAPES)):
                values[v] += more
                right_values[v] = reference.f64(values[v])
                keep = momentum if update > 1 else 0.0
                right[v] = keep * right[v] + (1.0 - keep) * right_values[v]
                bound[v] = np.maximum(bound[v], np.abs(right_values[v]))
            program.run(1, iteration=i)
            if overwrite and update % overwrite == 0:
                for v in range(len(SHAPES)):
                    np.testing.assert_array_equal(values[v], means[v])
    results: Results = {}
    for v in range(len(SHAPES)):
        results[f"average {v}"] = parameter_gradient(means[v]), right[v], 40 * UNIT * bound[v]
        parameter_gradient(values[v])
    return results, values


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("overwrite", [0, 1, 3])
@pytest.mark.parametrize("steps", [1, 2])
def test_averages(momentum: float, overwrite: int, steps: int) -> None:
    check(averages(momentum, overwrite, steps=steps)[0])


def test_averages_of_threads() -> None:
    def run_case(*, threads: int) -> Results:
        results, values = averages(0.9, 3, threads=threads)
        return results | {f"value {i}": (v, v, 0.0) for i, v in enumerate(values)}

    check_threads(run_case)


def test_average_leaves_values_alone() -> None:
    value, mean = matrix(draws(1, (9, 17))[0]), matrix(np.zeros((9, 17)))
    before: Any = value.copy()
    run(1, lambda p: p.average([value], [mean], 0.9, 0))
    assert value.tobytes() == before.tobytes()
    assert mean.tobytes() == before.tobytes()  # the first average is the value


def test_bad_arguments() -> None:
    p, g, s = _core.Program(1), matrix(np.zeros((3, 4))), matrix(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"^steps: expected at least 1, got 0"):
        p.accumulate([g], [s], 0)
    with pytest.raises(ValueError, match=r"^overwrite: expected at least 0, got -1"):
        p.average([g], [s], 0.9, -1)
    shapes = "expected arrays of the shapes of the"
    with pytest.raises(ValueError, match=f"^accumulators: {shapes} gradients"):
        p.carry([g], [s, s])
    with pytest.raises(ValueError, match=f"^averages: {shapes} values"):
        p.average([g], [matrix(np.zeros((4, 4)))], 0.9, 0)
    assert len(p) == 0
