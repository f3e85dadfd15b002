"""A million draws of each initializer: moments and range against Keras' draws."""

from __future__ import annotations

from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import keras

pytestmark = helpers.quiet

N = 1_000_000
SHAPES = {
    "vector": (N,),
    "tall": (2000, 500),
    "three axes": (50, 200, 100),
    "four axes": (5, 20, 200, 50),
}

CASES: list[tuple[str, dict[str, Any]]] = [
    ("RandomNormal", {}),
    ("RandomNormal", {"mean": 1.5, "stddev": 0.3}),
    ("TruncatedNormal", {}),
    ("TruncatedNormal", {"mean": -0.5, "stddev": 2.0}),
    ("RandomUniform", {}),
    ("RandomUniform", {"minval": -1.0, "maxval": 3.0}),
    ("GlorotNormal", {}),
    ("GlorotUniform", {}),
    ("HeNormal", {}),
    ("HeUniform", {}),
    ("LecunNormal", {}),
    ("LecunUniform", {}),
    ("VarianceScaling", {}),
    *(
        ("VarianceScaling", {"scale": 2.0, "mode": mode, "distribution": distribution})
        for mode in ("fan_in", "fan_out", "fan_avg")
        for distribution in ("truncated_normal", "untruncated_normal", "uniform")
    ),
]


def bounded(name: str, arguments: dict[str, Any]) -> bool:
    kind = arguments.get("distribution", name)
    return kind not in ("RandomNormal", "untruncated_normal")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_moments(name: str, arguments: dict[str, Any], shape: str) -> None:
    sizes = SHAPES[shape]
    make = getattr(evengrad.initializers, name), getattr(keras.initializers, name)
    a, b = (np.asarray(f(**arguments, seed=1)(sizes), dtype=np.float64).reshape(-1) for f in make)
    assert a.shape == b.shape == (N,)
    sigma = b.std()
    # Six standard errors of a difference of two samples: once in 5e8. The variance of a standard
    # deviation is (kurtosis - 1) / 4n, the kurtosis 3 at most.
    six = 6.0 * np.sqrt(2.0 / N)
    errors.record("initializers: mean", abs(a.mean() - b.mean()) / sigma, six)
    errors.record("initializers: standard deviation", abs(a.std() / sigma - 1.0), six / 2**0.5)
    # Kurtosis, which tells the shapes apart: 3, 2.37 truncated, 1.8 uniform. That of n normal
    # numbers has a variance of 24 / n, of others less.
    kurtosis = [float(np.mean((v - v.mean()) ** 4) / v.var() ** 2) for v in (a, b)]
    allowed = 6.0 * np.sqrt(2.0 * 24.0 / N)
    errors.record("initializers: kurtosis", abs(kurtosis[0] - kurtosis[1]), allowed)
    # Where a density ends at 0.05 / sigma or more, the gap beyond the last of a million has a mean
    # of 2e-5 sigma and falls off exponentially. Extremes of normal numbers scatter with a scale of
    # 0.19 sigma: a difference of 2 sigma comes once in 2e4, and seeds are fixed.
    allowed, end = (5e-4, "bounded") if bounded(name, arguments) else (2.0, "unbounded")
    for pick in (np.min, np.max):
        errors.record(f"initializers: extremes, {end}", abs(pick(a) - pick(b)) / sigma, allowed)


@pytest.mark.parametrize("shape", [(300, 300), (500, 100), (100, 500), (4, 50, 300)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    make = evengrad.initializers.Orthogonal, keras.initializers.Orthogonal
    a, b = (np.asarray(f(gain=1.5, seed=1)(shape), dtype=np.float64) for f in make)
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    for made in (a, b):
        matrix = made.reshape(rows, columns)
        gram = matrix.T @ matrix if rows >= columns else matrix @ matrix.T
        # Keras decomposes in float32.
        np.testing.assert_allclose(gram, 2.25 * np.eye(len(gram)), atol=2e-5)
    # The sum of squares is fixed by that, and the rest is nearly normal.
    six = 6.0 * np.sqrt(2.0 / a.size)
    errors.record("initializers: mean", abs(a.mean() - b.mean()) / b.std(), six)
    for pick in (np.min, np.max):
        distance = abs(pick(a) - pick(b)) / b.std()
        errors.record("initializers: extremes, unbounded", distance, 2.0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Zeros", {}), ("Ones", {}), ("Constant", {}), ("Constant", {"value": -0.7})],
)
@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 3, 4)])
def test_constants(name: str, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    make = getattr(evengrad.initializers, name), getattr(keras.initializers, name)
    a, b = (np.asarray(f(**arguments)(shape)) for f in make)
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)])
def test_identity(shape: tuple[int, ...]) -> None:
    make = evengrad.initializers.Identity, keras.initializers.Identity
    a, b = (np.asarray(f(gain=0.3)(shape)) for f in make)
    np.testing.assert_array_equal(a, b)


@helpers.fixed
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_fans(shape: list[int]) -> None:
    from keras.src.initializers.random_initializers import compute_fans

    assert evengrad.initializers.compute_fans(shape) == tuple(map(int, compute_fans(shape)))


@pytest.mark.parametrize("shape", [(40,), (30, 50), (3, 20, 10), (2, 3, 10, 20)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_bounds(mode: str, shape: tuple[int, ...]) -> None:
    """The largest of many draws of a uniform distribution is its limit, whatever the rank."""
    largest = []
    for library in (evengrad, keras):
        draws = [
            library.initializers.VarianceScaling(2.0, mode, "uniform", seed=seed)(shape)
            for seed in range(-(-200_000 // int(np.prod(shape))) if library is evengrad else 20)
        ]
        largest.append(max(float(np.abs(np.asarray(v)).max()) for v in draws))
    ours, theirs = largest
    # Of 20 arrays of 40 numbers: the gap below the limit exceeds 2% once in 1e7.
    assert 0.98 * ours <= theirs <= ours * (1.0 + 1e-5)


def test_a_shared_object() -> None:
    """Keras gives layers that share one the same kernels; ours draws anew. Both from one seed."""
    for library, equal in ((evengrad, False), (keras, True)):
        shared = library.initializers.HeNormal(seed=1)
        first, second, again = (
            np.asarray(f((20, 30))) for f in (shared, shared, library.initializers.HeNormal(seed=1))
        )
        assert np.array_equal(first, second) == equal
        np.testing.assert_array_equal(first, again)


CONFIGURED = [
    ("Zeros", {}),
    ("Ones", {}),
    ("Constant", {"value": 0.25}),
    ("Identity", {}),
    ("RandomNormal", {"mean": 0.5, "stddev": 0.25, "seed": 3}),
    ("TruncatedNormal", {"mean": 0.5, "stddev": 0.25, "seed": 3}),
    ("RandomUniform", {"minval": 0.5, "maxval": 0.75, "seed": 3}),
    ("Orthogonal", {"gain": 0.5, "seed": 3}),
    ("VarianceScaling", {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform", "seed": 3}),
    *((name, {"seed": 3}) for name in ("GlorotNormal", "GlorotUniform", "HeNormal")),
    *((name, {"seed": 3}) for name in ("HeUniform", "LecunNormal", "LecunUniform")),
]


@pytest.mark.parametrize(("name", "arguments"), CONFIGURED)
def test_configurations_of_keras(name: str, arguments: dict[str, Any]) -> None:
    theirs = getattr(keras.initializers, name)(**arguments)
    ours = evengrad.initializers.deserialize(keras.initializers.serialize(theirs))
    assert type(ours).__name__ == name
    assert {k: ours.get_config()[k] for k in arguments} == arguments


NAMES = [
    "zeros", "ones", "random_normal", "random_uniform", "truncated_normal",
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal",
    "lecun_uniform", "orthogonal", "identity", "variance_scaling", "HeNormal", "GlorotUniform",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_and_defaults(name: str) -> None:
    a, b = evengrad.initializers.get(name), keras.initializers.get(name)
    assert type(a).__name__ in (type(b).__name__, type(b).__name__.removesuffix("Initializer"))
    expected = b.get_config()
    assert {k: v for k, v in a.get_config().items() if k in expected} == expected
