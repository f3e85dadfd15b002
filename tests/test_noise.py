"""AlphaDropout, GaussianNoise, GaussianDropout: kernels draw by draw, moments, and the layers."""

from __future__ import annotations

import statistics
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import _core, layers
from evengrad._arena import tensor
from evengrad._program import Program
from harness import (
    F32,
    THREAD_ROWS,
    TINY,
    UNIT,
    Results,
    batch,
    check,
    check_threads,
    draws,
    output,
    run,
    taken,
    upstream,
)

SEED, LAYER, ITERATION = 12345678901234567890, 2, 7
NORMAL = 5e-7  # csrc/rng.h: largest relative error of a normal number


def alpha_dropout(
    rows: int,
    columns: int,
    *,
    rate: float = 0.3,
    gradient: bool = False,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x = draws(rows + 7 * columns, (rows, columns))[0]
    x_ = (upstream if gradient else batch)(x, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    run(
        rows,
        lambda p: p.alpha_dropout(x_, y, rate, LAYER, gradient),
        per_sample=per_sample,
        threads=threads,
        seed=SEED,
        iteration=ITERATION,
    )
    kept = reference.dropout_mask((rows, columns), rate, SEED, LAYER, ITERATION)
    expected = reference.alpha_dropout(x, kept, rate)
    if gradient:  # what is linear in x
        expected = expected - reference.alpha_dropout(np.zeros_like(x), kept, rate)
    bound = 3 * UNIT * (np.abs(x) + (0.0 if gradient else 2.0))
    return {"y": (taken(y, rows, gradient=gradient), expected, bound)}


def noise(
    rows: int,
    columns: int,
    *,
    added: float = 0.5,
    multiplied: float = 0.25,
    gradient: bool = False,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x = draws(rows + 7 * columns, (rows, columns))[0]
    x_ = (upstream if gradient else batch)(x, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    run(
        rows,
        lambda p: p.noise(x_, y, added, multiplied, LAYER),
        per_sample=per_sample,
        threads=threads,
        seed=SEED,
        iteration=ITERATION,
    )
    z = reference.normal_draws((rows, columns), SEED, LAYER, ITERATION)
    drawn = z * (added + multiplied * x)
    terms = np.abs(z) * (added + multiplied * np.abs(x))
    bound = (NORMAL + 3 * UNIT) * terms + UNIT * np.abs(x + drawn)
    return {"y": (taken(y, rows, gradient=gradient), x + drawn, bound)}


SIZES = [(5, 1), (5, 16), (33, 17), (65, 33), (2, 100), (1, 200)]


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_alpha_dropout(rows: int, columns: int, gradient: bool, in_place: bool) -> None:
    check(alpha_dropout(rows, columns, gradient=gradient, in_place=in_place))


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.9, 0.999])
def test_alpha_dropout_of_any_rate(rate: float) -> None:
    results = alpha_dropout(33, 17, rate=rate)
    made, right, bound = results["y"]
    check({"y": (made, right, bound * (1.0 + np.abs(right).max()))})


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("in_place", [False, True])
def test_noise(rows: int, columns: int, in_place: bool) -> None:
    check(noise(rows, columns, in_place=in_place))
    check(noise(rows, columns, in_place=in_place, multiplied=0.0))
    check(noise(rows, columns, in_place=in_place, added=0.0, gradient=True))


def test_rows_of_a_sample() -> None:
    check(alpha_dropout(12, 17, per_sample=2))
    check(noise(12, 17, per_sample=2))


@pytest.mark.parametrize("rows", THREAD_ROWS)
def test_threads(rows: int) -> None:
    check_threads(alpha_dropout, rows, 33)
    check_threads(noise, rows, 100)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, np.nan])
def test_bad_rate(rate: float) -> None:
    p, x = _core.Program(2), tensor(2, 3)
    with pytest.raises(ValueError, match=r"^rate: expected a number in \[0, 1\), got"):
        p.alpha_dropout(x, x, rate, 0)


# Moments of fixed draws, within 5 standard deviations of what they are of independent ones.

ROWS, COLUMNS = 1000, 1000
N = ROWS * COLUMNS


def normals(layer: int = 0, **scalars: Any) -> Any:
    """A million normal numbers."""
    y = output(ROWS, COLUMNS)
    run(ROWS, lambda p: p.noise(batch(np.zeros((ROWS, COLUMNS))), y, 1.0, 0.0, layer), **scalars)
    return y[:ROWS].astype(np.float64)


def test_moments_of_normal_numbers() -> None:
    z = normals(seed=3)
    # Variances of the powers: E z^2k - (E z^k)^2.
    moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96), 5: (0, 945), 6: (15, 10170)}
    for power, (mean, variance) in moments.items():
        assert abs((z**power).mean() - mean) <= 5.0 * np.sqrt(variance / N), power


def test_distribution_of_normal_numbers() -> None:
    z = np.sort(normals(seed=4).reshape(-1))
    uniform = reference._normal(z[::100])
    # Kolmogorov and Smirnov: beyond 2.2 / sqrt(n) once in 10,000 samples.
    assert np.abs(uniform - np.arange(0, N, 100) / N).max() <= 2.2 / np.sqrt(N)
    assert 4.2 < z[-1] < 6.8  # the largest of a million: 4.86 +- 0.2, and a tail
    assert 4.2 < -z[0] < 6.8


def test_independence_of_normal_numbers() -> None:
    first = normals(seed=3, iteration=1)
    np.testing.assert_array_equal(first, normals(seed=3, iteration=1))
    others = [
        normals(seed=3, iteration=2),
        normals(seed=4, iteration=1),
        normals(seed=3 + 2**32, iteration=1),
        normals(seed=3, iteration=1, layer=1),
        *(np.roll(first, 1, axis=axis) for axis in (0, 1)),
        np.roll(first, 16, axis=1),
        np.roll(first, 64, axis=1),
    ]
    for other in others:
        assert abs((first * other).mean()) <= 5.0 / np.sqrt(N)
        assert abs(((first**2 - 1.0) * (other**2 - 1.0)).mean()) <= 5.0 * 2.0 / np.sqrt(N)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_alpha_dropout_keeps_mean_and_variance(rate: float) -> None:
    z = normals(seed=5)
    x, y = batch(z), output(ROWS, COLUMNS)
    run(ROWS, lambda p: p.alpha_dropout(x, y, rate, 1), seed=6)
    made = y[:ROWS].astype(np.float64)
    fourth = (made**4).mean()
    assert abs(made.mean()) <= 5.0 / np.sqrt(N)
    assert abs((made**2).mean() - 1.0) <= 5.0 * np.sqrt((fourth - 1.0) / N)


def test_the_extremes_of_a_million() -> None:
    """Far in the tails, where 1 - p has few bits left in float32."""
    z = normals(seed=7, layer=LAYER, iteration=ITERATION)
    for at in np.argsort(-np.abs(z).reshape(-1))[:300]:
        row, column = divmod(int(at), COLUMNS)
        bits = reference.random_bits_at(row, column, 7, LAYER, ITERATION)
        right = statistics.NormalDist().inv_cdf((bits + 0.5) / 2.0**32)
        assert abs(z[row, column] - right) <= NORMAL * abs(right)
    assert np.abs(z).max() > 4.5


# Layers

LAYERS: dict[str, Any] = {
    "AlphaDropout": lambda **k: layers.AlphaDropout(0.3, **k),
    "GaussianDropout": lambda **k: layers.GaussianDropout(0.3, **k),
    "GaussianNoise": lambda **k: layers.GaussianNoise(0.3, **k),
}
each = pytest.mark.parametrize("name", LAYERS)


def passes(layer: layers.Layer, x: F32, dy: F32, **scalars: Any) -> tuple[F32, F32]:
    layer.build(x.shape[1:])
    program = Program(len(x), training=True)
    source, above = program.like(x), program.like(dy)
    source[...], above[...] = x, dy
    y = layer.record(program, source)
    dx = layer.record_backward(program, above, need_dx=True)
    assert dx is not None
    program.run(len(x), **scalars)
    return np.array(y), np.array(dx)


@each
def test_a_layer_does_nothing_in_inference_or_at_zero(name: str) -> None:
    x = draws(1, (9, 33))[0]
    np.testing.assert_array_equal(LAYERS[name]()(x), x)
    layer = getattr(layers, name)(0.0)
    np.testing.assert_array_equal(layer(x, training=True), x)


@each
def test_gradients_are_those_of_the_same_draws(name: str) -> None:
    """y is linear in x: for two inputs the difference of y is the gradient times that of x."""
    x, other, dy = draws(1, *[(20, 33)] * 3)
    y, dx = passes(LAYERS[name](seed=5), x, dy, seed=1, iteration=3)
    z, _ = passes(LAYERS[name](seed=5), other, dy, seed=1, iteration=3)
    slope = (y.astype(np.float64) - z) / (x.astype(np.float64) - other)
    error = 8 * UNIT * (1.0 + np.abs(x) + np.abs(other)) / np.abs(x - other)
    assert (np.abs(dx - slope * dy) <= error * np.abs(dy) * 2.0 + TINY).all()


def test_noise_of_the_layers() -> None:
    x, dy = draws(1, (20, 33), (20, 33))
    z = reference.normal_draws((20, 33), 1, 5, 3)
    y, dx = passes(layers.GaussianNoise(0.5, seed=5), x, dy, seed=1, iteration=3)
    np.testing.assert_allclose(y, x + 0.5 * z, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(dx, dy)
    y, dx = passes(layers.GaussianDropout(0.2, seed=5), x, dy, seed=1, iteration=3)
    np.testing.assert_allclose(y, x * (1.0 + 0.5 * z), rtol=0, atol=2e-6)
    np.testing.assert_allclose(dx, dy * (1.0 + 0.5 * z), rtol=0, atol=2e-6)


@each
def test_draws_follow_seed_and_update(name: str) -> None:
    x = draws(1, (9, 33))[0]

    def made(seed: int | None = None, **scalars: Any) -> F32:
        return passes(LAYERS[name](seed=seed), x, x, **scalars)[0]

    first = made(seed=5, iteration=1)
    np.testing.assert_array_equal(first, made(seed=5, iteration=1))
    for other in (made(5, iteration=2), made(6, iteration=1), made(None, iteration=1)):
        assert not np.array_equal(first, other)


@each
def test_bad_arguments(name: str) -> None:
    bad = [-0.1, np.nan, "0.1", None, True] + ([] if name == "GaussianNoise" else [1.0, 2.0])
    for value in bad:
        with pytest.raises((ValueError, TypeError), match=f'{name} "l": expected'):
            getattr(layers, name)(value, name="l")
    with pytest.raises((ValueError, TypeError), match=f'{name} "l": expected seed'):
        LAYERS[name](seed=-1, name="l")


def test_a_selu_network_with_alpha_dropout_stays_normalized() -> None:
    """20 layers of SELU, each with dropout: mean near 0, variance near 1 at the end."""
    keras.utils.set_random_seed(0)
    x = draws(1, (256, 200))[0]
    for _ in range(20):
        x = layers.Dense(200, "selu", kernel_initializer="lecun_normal")(x)
        x = layers.AlphaDropout(0.1)(x, training=True)
    assert abs(x.mean()) < 0.15
    assert 0.6 < x.var() < 1.4
