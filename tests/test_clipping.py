"""Gradient norms and clipping: exact for every finite float32 gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from evengrad import _core
from evengrad._arena import tensor, vector
from harness import (
    F32,
    TINY,
    UNIT,
    Results,
    blank,
    check,
    check_threads,
    draws,
    matrix,
    parameter_gradient,
    run,
)

KINDS = list(reference.CLIPS)
# Vectors and matrices about the sizes of chunks (4,096 floats) and of rows with a wider pitch.
SHAPES: list[tuple[int, ...]] = [(33, 17), (17,), (1, 1), (1,), (16, 16), (9, 1024), (130, 100)]


def gradients_of(scale: float) -> list[F32]:
    return [(g * scale).astype(np.float32) for g in draws(1, *SHAPES)]


def case(kind: str, gradients: list[F32], limit: float, *, threads: int = 1) -> Results:
    arrays, norms = [matrix(g) for g in gradients], np.full(len(gradients), np.nan)

    def record(p: _core.Program) -> None:
        p.gradient_norms(arrays, norms)
        p.clip(arrays, norms, kind)

    program = run(1, record, threads=threads, clip=limit)
    assert program.failure is None
    squares = np.array([reference.norm(g) ** 2 for g in gradients])
    # float64 throughout: as many roundings as elements, each 2^-53.
    results: Results = {"norms": (norms, squares, 1e-11 * squares)}
    clipped = reference.CLIPS[kind](gradients, limit)
    for i, (made, right) in enumerate(zip(arrays, clipped, strict=True)):
        # The factor is rounded, perhaps in two parts, and each product is; below 2^-126 the
        # last product, or one of the two, has an absolute error.
        bound = 4 * UNIT * np.abs(right) + 2 * TINY
        results[f"gradient {i}"] = (parameter_gradient(made), right, bound)
    return results


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e19, 1e20, 1e30, 5e37])
@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e10])
def test_any_scale(kind: str, scale: float, limit: float) -> None:
    check(case(kind, gradients_of(scale), limit))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1e-30, 1e-10, 1.0, 1e30])
def test_scales_mixed(kind: str, limit: float) -> None:
    exponents = np.linspace(-30.0, 38.0, 33 * 17).reshape(33, 17)
    wide = (10.0**exponents).astype(np.float32)
    wide[::2] *= -1.0
    check(case(kind, [wide, wide[0], *gradients_of(1e-5)], limit))


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_and_the_smallest_numbers(kind: str) -> None:
    largest = np.full((130, 100), np.finfo(np.float32).max, dtype=np.float32)
    smallest = np.full((33, 17), TINY, dtype=np.float32)
    for limit in (1e-3, 1.0, 1e38):
        check(case(kind, [largest, smallest], limit))
    check(case(kind, [smallest], 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_short_gradients_keep_their_bits(kind: str) -> None:
    gradients = gradients_of(1.0)
    results = case(kind, gradients, 1e6)
    for i, gradient in enumerate(gradients):
        assert results[f"gradient {i}"][0].tobytes() == gradient.tobytes()


def test_norm_afterwards_is_the_limit() -> None:
    for scale in (1.0, 1e19, 1e30, 5e37):
        made = case("norm", gradients_of(scale), 0.5)
        for i in range(len(SHAPES)):
            assert reference.norm(made[f"gradient {i}"][0]) <= 0.5 * (1 + 4 * UNIT)
        made = case("global_norm", gradients_of(scale), 0.5)
        norms = [reference.norm(made[f"gradient {i}"][0]) for i in range(len(SHAPES))]
        np.testing.assert_allclose(reference.norm(norms), 0.5, rtol=4 * UNIT)


def test_value_is_exact() -> None:
    for gradient, (made, _, _) in zip(
        gradients_of(1.0), list(case("value", gradients_of(1.0), 0.1).values())[1:], strict=True
    ):
        np.testing.assert_array_equal(made, np.clip(gradient, -np.float32(0.1), np.float32(0.1)))


@pytest.mark.parametrize("kind", KINDS)
def test_zero_gradients_stay_zero(kind: str) -> None:
    zeros = [np.zeros(shape, dtype=np.float32) for shape in SHAPES]
    check(case(kind, zeros, 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_threads(kind: str) -> None:
    for scale in (1.0, 1e30):
        check_threads(case, kind, gradients_of(scale), 0.5)
    # Many chunks, and fewer chunks than threads.
    big, one = draws(2, (300, 784), (1,))
    check_threads(case, kind, [big, one], 0.5)
    check_threads(case, kind, [one], 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("variable", range(len(SHAPES)))
@pytest.mark.parametrize("threads", [1, 2])
def test_non_finite_gradient_ends_the_replay(bad: float, variable: int, threads: int) -> None:
    arrays = [matrix(g) for g in gradients_of(1.0)]
    before = [a.copy() for a in arrays]
    arrays[variable].flat[-1] = before[variable].flat[-1] = bad
    if variable < len(arrays) - 1:  # the first one is named
        arrays[-1].flat[0] = before[-1].flat[0] = bad
    norms = np.zeros(len(arrays))

    def record(p: _core.Program) -> None:
        p.gradient_norms(arrays, norms)
        p.clip(arrays, norms, "value")

    program = run(1, record, threads=threads, clip=1e-3)
    assert program.failure == ("gradient", variable)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    for array in arrays:
        array[...] = 1.0
    program.run(1, clip=1e-3)
    assert program.failure is None


def test_norms_do_not_see_what_lies_between_rows() -> None:
    # Rows of 1,024 floats have a pitch of 1,040. What lies between is nobody's.
    gradient = matrix(draws(1, (9, 1024))[0])
    pitch = gradient.strides[0] // 4
    assert pitch == 1040
    between: Any = np.lib.stride_tricks.as_strided(gradient, (9, pitch), gradient.strides)
    between[:, 1024:] = np.nan
    norms = np.zeros(1)
    program = run(1, lambda p: p.gradient_norms([gradient], norms))
    assert program.failure is None
    np.testing.assert_allclose(norms[0], reference.norm(gradient) ** 2, rtol=1e-12)


def test_part_of_a_matrix_leaves_the_rest_alone() -> None:
    """The first columns of a wider matrix are a matrix; the others are not its padding."""
    wide = blank(np.empty((9, 64)))
    wide[...] = 3.0
    part, norms = wide[:, :16], np.zeros(1)

    def record(p: _core.Program) -> None:
        p.gradient_norms([part], norms)
        p.clip([part], norms, "value")

    run(1, record, clip=1.0)
    assert norms[0] == 9 * 16 * 9.0
    assert (part == 1.0).all()
    assert (wide[:, 16:] == 3.0).all()


def test_bad_arguments() -> None:
    p, g = _core.Program(1), tensor(3, 4)
    with pytest.raises(ValueError, match=r"^clip: expected one of none, value, norm, .*got 'nrm'"):
        p.clip([g], np.zeros(1), "nrm")
    with pytest.raises(ValueError, match=r"^norms: expected a contiguous float64 array"):
        p.gradient_norms([g, vector(4)], np.zeros(1))
    with pytest.raises(ValueError, match=r"^norms: expected a contiguous float64 array"):
        p.clip([g, vector(4)], np.zeros(3), "norm")
