"""Initializers: distributions against theory, names, configurations, seeds, bad arguments."""

from __future__ import annotations

import copy
import json
import math
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from evengrad import _random, initializers
from evengrad.initializers import (
    Auto,
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
    compute_fans,
)
from evengrad.initializers.variance_scaling import DISTRIBUTIONS

F32_MAX = float(np.finfo(np.float32).max)
ALL: list[type[Any]] = [
    Zeros,
    Ones,
    Constant,
    Identity,
    RandomNormal,
    TruncatedNormal,
    RandomUniform,
    Orthogonal,
    VarianceScaling,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Auto,
]
RANDOM = ALL[4:]
NAMES = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "identity": Identity,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "random_uniform": RandomUniform,
    "orthogonal": Orthogonal,
    "variance_scaling": VarianceScaling,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "auto": Auto,
}


@pytest.fixture(autouse=True)
def _keep_global_state() -> Iterator[None]:
    state = _random.generator().bit_generator.state
    yield
    _random.generator().bit_generator.state = state


def normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def truncated_moments(a: float = 2.0) -> tuple[float, float]:
    """Second and fourth moment of a standard normal variable given |z| <= a.

    With phi the density and Z = 2 Phi(a) - 1, integrating by parts:
    E z^2 = 1 - 2 a phi(a) / Z and E z^4 = 3 E z^2 - 2 a^3 phi(a) / Z.
    """
    phi = math.exp(-a * a / 2.0) / math.sqrt(2.0 * math.pi)
    z = 2.0 * normal_cdf(a) - 1.0
    second = 1.0 - 2.0 * a * phi / z
    return second, 3.0 * second - 2.0 * a**3 * phi / z


def check_moments(
    values: np.ndarray, mean: float, variance: float, kurtosis: float, sigmas: float = 5.0
) -> None:
    """Mean and variance of n independent draws, within 5 standard deviations of the estimators.

    The mean has variance s2 / n. The mean of (x - mean)^2, mean known, has expectation s2 and
    variance (kurtosis - 1) s2^2 / n. Seeds are fixed, so a correct initializer passes always or
    never; 5 sigmas would reject one in 1.7 million.
    """
    x = values.astype(np.float64).ravel() - mean
    bound = sigmas * math.sqrt(variance / x.size)
    assert abs(x.mean()) <= bound
    bound = sigmas * variance * math.sqrt((kurtosis - 1.0) / x.size)
    assert abs(np.mean(x * x) - variance) <= bound


SECOND, FOURTH = truncated_moments()
KURTOSIS = {
    "normal": FOURTH / SECOND**2,
    "truncated_normal": FOURTH / SECOND**2,
    "untruncated_normal": 3.0,
    "uniform": 9.0 / 5.0,
}
N = (1000, 1000)


def test_moments_random_normal() -> None:
    check_moments(RandomNormal(0.3, 0.7, seed=1)(N), 0.3, 0.49, 3.0)


def test_moments_random_uniform() -> None:
    values = RandomUniform(-0.2, 0.6, seed=2)(N)
    check_moments(values, 0.2, 0.8**2 / 12.0, 9.0 / 5.0)


def test_moments_truncated_normal() -> None:
    values = TruncatedNormal(0.3, 0.7, seed=3)(N)
    # The constant that Keras and we divide by.
    assert math.isclose(SECOND, 0.87962566103423978**2, rel_tol=1e-13)
    check_moments(values, 0.3, 0.49 * SECOND, FOURTH / SECOND**2)


def test_truncated_normal_is_redrawn_not_clipped() -> None:
    # P(1.99 < |z| < 2) given |z| < 2; clipping would put all the mass beyond, 4.6%, there.
    values = np.abs(TruncatedNormal(0.0, 1.0, seed=4)(N))
    p = (normal_cdf(2.0) - normal_cdf(1.99)) / (normal_cdf(2.0) - 0.5)
    assert abs((values > 1.99).mean() - p) <= 5.0 * math.sqrt(p / values.size)


@pytest.mark.parametrize("make", [RandomNormal, TruncatedNormal, RandomUniform])
def test_distribution_function(make: type[Any]) -> None:
    """Kolmogorov-Smirnov: sqrt(n) sup |F_n - F| exceeds 2.6 once in 370,000 (2 exp(-2 * 2.6^2))."""
    values = make(-1.0 if make is RandomUniform else 0.0, 1.0, seed=5)(N)
    x = np.sort(values.astype(np.float64).ravel())[::97]  # float32 rounding is far below 1/sqrt(n)
    if make is RandomUniform:
        f = (x + 1.0) / 2.0
    else:
        f = np.array([normal_cdf(v) for v in x])
        if make is TruncatedNormal:
            f = (f - normal_cdf(-2.0)) / (normal_cdf(2.0) - normal_cdf(-2.0))
    ranks = np.arange(values.size)[::97] / values.size
    assert np.abs(f - ranks).max() * math.sqrt(values.size) < 2.6


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_moments_variance_scaling(mode: str, distribution: str) -> None:
    shape = (500, 2000)
    n = {"fan_in": 500, "fan_out": 2000, "fan_avg": 1250}[mode]
    values = VarianceScaling(2.0, mode, distribution, seed=6)(shape)
    check_moments(values, 0.0, 2.0 / n, KURTOSIS[distribution])


@pytest.mark.parametrize(
    ("make", "scale", "mode", "distribution"),
    [
        (GlorotNormal, 1.0, "fan_avg", "truncated_normal"),
        (GlorotUniform, 1.0, "fan_avg", "uniform"),
        (HeNormal, 2.0, "fan_in", "truncated_normal"),
        (HeUniform, 2.0, "fan_in", "uniform"),
        (LecunNormal, 1.0, "fan_in", "truncated_normal"),
        (LecunUniform, 1.0, "fan_in", "uniform"),
    ],
)
def test_named_family(make: type[Any], scale: float, mode: str, distribution: str) -> None:
    shape = (800, 1250)
    n = {"fan_in": 800, "fan_avg": 1025}[mode]
    values = make(seed=7)(shape)
    check_moments(values, 0.0, scale / n, KURTOSIS[distribution])
    np.testing.assert_array_equal(values, VarianceScaling(scale, mode, distribution, seed=7)(shape))


# What no value may leave, in float64, after rounding to float32. -0.05 and 0.05 are such that
# their nearest float32 lies outside; a range of a few float32 makes every draw a border case.
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-0.05, 0.05),
        (0.1, 0.1 + 2e-8),
        (0.7, 0.7 + 3e-7),
        (1.0, 1.0 + 3e-7),
        (-F32_MAX, F32_MAX),
        (1e-45, 1e-44),
    ],
)
def test_uniform_range(low: float, high: float) -> None:
    values = RandomUniform(low, high, seed=8)(N).astype(np.float64)
    assert values.min() >= low
    assert values.max() <= high
    assert np.unique(values).size > 1


@pytest.mark.parametrize(
    ("mean", "stddev"), [(0.0, 0.05), (0.1, 0.05), (1.0, 1e-7), (0.0, F32_MAX), (0.0, 1e-45)]
)
def test_truncated_range(mean: float, stddev: float) -> None:
    values = TruncatedNormal(mean, stddev, seed=9)(N).astype(np.float64)
    assert values.min() >= max(mean - 2.0 * stddev, -F32_MAX)
    assert values.max() <= min(mean + 2.0 * stddev, F32_MAX)
    assert np.unique(values).size > 1


def test_variance_scaling_range() -> None:
    limit = math.sqrt(6.0 / (784 + 300))
    assert np.abs(GlorotUniform(seed=10)((784, 300)).astype(np.float64)).max() <= limit
    limit = 2.0 * math.sqrt(2.0 / 784) / 0.87962566103423978
    assert np.abs(HeNormal(seed=10)((784, 300)).astype(np.float64)).max() <= limit


def test_normal_stays_finite() -> None:
    assert np.isfinite(RandomNormal(0.0, F32_MAX, seed=11)(N)).all()


def test_ranges_of_one_point() -> None:
    np.testing.assert_array_equal(RandomUniform(0.1, 0.1)((3,)), np.full(3, 0.1, np.float32))
    np.testing.assert_array_equal(TruncatedNormal(0.1, 0.0)((3,)), np.full(3, 0.1, np.float32))
    np.testing.assert_array_equal(RandomNormal(0.1, 0.0)((3,)), np.full(3, 0.1, np.float32))


@pytest.mark.parametrize(
    ("shape", "fans"),
    [
        ((), (1, 1)),
        ((7,), (7, 7)),
        ((3, 5), (3, 5)),
        ((2, 3, 5), (6, 10)),
        ((4, 2, 3, 5), (24, 40)),
        ((0, 5), (0, 5)),
    ],
)
def test_fans(shape: tuple[int, ...], fans: tuple[int, int]) -> None:
    assert compute_fans(shape) == fans


def test_fans_from_axes() -> None:
    assert compute_fans((2, 3, 5, 7), [0, 1], [-1]) == (6, 7)
    values = LecunNormal(seed=1, input_axes=[0, 1], output_axes=[2])((10, 10, 10_000))
    check_moments(values, 0.0, 1.0 / 100.0, KURTOSIS["normal"])


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 5), (4, 2, 3, 5), (0, 3), (1, 1)])
@pytest.mark.parametrize("make", ALL)
def test_shape_dtype_and_layout(make: type[Any], shape: tuple[int, ...]) -> None:
    if (make is Identity and len(shape) != 2) or (make is Orthogonal and len(shape) < 2):
        with pytest.raises(ValueError, match=f"^{make.__name__}: expected a shape of rank 2"):
            make()(shape)
        return
    values = make()(shape)
    assert isinstance(values, np.ndarray)
    assert (values.shape, values.dtype) == (shape, np.float32)
    assert values.flags.c_contiguous
    assert values.flags.writeable
    assert np.isfinite(values).all()
    assert make()(shape) is not values


def test_constants() -> None:
    assert (Zeros()((2, 3)) == 0.0).all()
    assert (Ones()((2, 3)) == 1.0).all()
    assert (Constant()((2, 3)) == 0.0).all()
    assert (Constant(0.1)((2, 3)) == np.float32(0.1)).all()
    assert (Constant(2)((2, 3)) == 2.0).all()
    np.testing.assert_array_equal(Identity(0.5)((3, 2)), [[0.5, 0.0], [0.0, 0.5], [0.0, 0.0]])


@pytest.mark.parametrize(
    "shape", [(50, 50), (80, 30), (30, 80), (1, 9), (9, 1), (4, 5, 7), (2, 3, 40)]
)
@pytest.mark.parametrize("gain", [1.0, 2.5, -0.5])
def test_orthogonal(shape: tuple[int, ...], gain: float) -> None:
    q = Orthogonal(gain, seed=12)(shape).astype(np.float64).reshape(-1, shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    # Each entry of q / gain is at most 1 and off by half an ulp, eps / 2: a product of rows or
    # columns of norm 1 is off by eps at most (Cauchy-Schwarz), the rest is float64.
    eps = float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), rtol=0, atol=gain**2 * eps)


def test_orthogonal_is_uniform() -> None:
    # Uniform over the orthogonal group, the trace has mean 0 and variance 1. With Householder's
    # signs left in, as LAPACK gives them, its mean is far from 0.
    make = Orthogonal(seed=13)
    traces = [np.trace(make((5, 5))) for _ in range(2000)]
    assert abs(np.mean(traces)) < 5.0 / math.sqrt(len(traces))
    assert abs(np.mean(np.linalg.det([make((2, 2)) for _ in range(2000)]))) < 5.0 / math.sqrt(2000)


@pytest.mark.parametrize(("name", "make"), list(NAMES.items()))
def test_names(name: str, make: type[Any]) -> None:
    assert set(NAMES.values()) == set(ALL)
    for identifier in (name, make.__name__, make):
        assert type(initializers.get(identifier)) is make


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("zero", Zeros),
        ("one", Ones),
        ("normal", RandomNormal),
        ("uniform", RandomUniform),
        ("IdentityInitializer", Identity),
        ("OrthogonalInitializer", Orthogonal),
    ],
)
def test_short_names(name: str, make: type[Any]) -> None:
    assert type(initializers.get(name)) is make


def test_get_returns_instances_as_they_are() -> None:
    he = HeNormal(seed=1)
    assert initializers.get(he) is he
    assert initializers.get(None) is None
    assert initializers.serialize(None) is None


CONFIGURED = [
    Zeros(),
    Ones(),
    Constant(0.25),
    Identity(3.0),
    RandomNormal(0.1, 0.2, seed=3),
    TruncatedNormal(0.1, 0.2, seed=3),
    RandomUniform(0.1, 0.2, seed=3),
    Orthogonal(0.5, seed=3),
    VarianceScaling(2.0, "fan_avg", "uniform", seed=3),
    VarianceScaling(2.0, "fan_in", "normal", seed=3, input_axes=[0], output_axes=(1,)),
    *(make(seed=3) for make in ALL[9:]),
]


@pytest.mark.parametrize("original", CONFIGURED, ids=repr)
def test_config_round_trip(original: Any) -> None:
    original((6, 4))  # what was drawn before does not matter to the copies made from a config
    config = initializers.serialize(original)
    assert config is not None
    assert config == json.loads(json.dumps(config))
    expected = type(original)(**original.get_config())((6, 4))
    copies = [
        initializers.get(config),
        initializers.deserialize(config),
        type(original).from_config(original.get_config()),
        original.clone(),
        eval(repr(original), {c.__name__: c for c in ALL}),
    ]
    for twin in copies:
        assert twin is not None
        assert type(twin) is type(original)
        assert initializers.serialize(twin) == config
        np.testing.assert_array_equal(twin((6, 4)), expected)


@pytest.mark.parametrize("original", CONFIGURED, ids=repr)
def test_copies_carry_the_random_state(original: Any) -> None:
    original((6, 4))
    twins = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]
    expected = original((6, 4))
    for twin in twins:
        np.testing.assert_array_equal(twin((6, 4)), expected)


def test_config_as_keras_writes_it() -> None:
    made = initializers.get(
        {
            "module": "keras.initializers",
            "class_name": "GlorotUniform",
            "config": {"seed": None, "input_axes": None, "output_axes": None},
            "registered_name": None,
        }
    )
    assert type(made) is GlorotUniform


class Halves(Initializer):
    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return np.full(shape, 0.5, dtype)


def test_classes_of_the_user() -> None:
    made = initializers.get(Halves)
    assert type(made) is Halves
    assert made.get_config() == {}
    config = initializers.serialize(made)
    assert config == {"class_name": "Halves", "config": {}}
    with pytest.raises(ValueError, match=r"expected one of .* got 'Halves'"):
        initializers.get(config)
    with pytest.raises(NotImplementedError, match="Initializer does not define __call__"):
        Initializer()((2,))


def test_functions_of_the_user() -> None:
    kept = np.arange(6, dtype=np.int64).reshape(2, 3)

    def ramp(shape: tuple[int, ...], dtype: Any = None) -> Any:
        return kept if shape == (2, 3) else np.full((2,), np.nan)

    made = initializers.get(ramp)
    assert isinstance(made, Initializer)
    values = made((2, 3))
    np.testing.assert_array_equal(values, kept)
    assert values.dtype == np.float32
    assert "ramp" in repr(made)
    np.testing.assert_array_equal(made.clone()((2, 3)), kept)
    with pytest.raises(ValueError, match=r"ramp: expected it to return numbers of shape \(3,\)"):
        made((3,))
    with pytest.raises(ValueError, match="ramp: expected finite float32 numbers"):
        made((2,))
    saved = initializers.serialize(made)
    assert saved == {"class_name": "Function", "config": {"function": ramp}}
    np.testing.assert_array_equal(initializers.deserialize(saved)((2, 3)), kept)


def test_functions_result_is_copied() -> None:
    kept = np.ones((2, 3), np.float32)
    made = initializers.get(lambda shape, dtype: kept)
    assert made is not None
    made((2, 3))[...] = 7.0
    assert (kept == 1.0).all()


@pytest.mark.parametrize("make", RANDOM)
@pytest.mark.parametrize("seed", [None, 5])
def test_shared_object_gives_different_kernels(make: type[Any], seed: int | None) -> None:
    shared = make(seed=seed)
    first, second = shared((20, 20)), shared((20, 20))
    assert (first != second).mean() > 0.9


@pytest.mark.parametrize("make", RANDOM)
def test_seeds(make: type[Any]) -> None:
    one, two, other = make(seed=5), make(seed=5), make(seed=6)
    for _ in range(3):
        values = one((20, 20))
        np.testing.assert_array_equal(values, two((20, 20)))
        assert (values != other((20, 20))).mean() > 0.9
    assert type(make(seed=np.int64(5)).seed) is int


@pytest.mark.parametrize("make", RANDOM)
def test_global_seed(make: type[Any]) -> None:
    draws = []
    for seed in (1, 1, 2):
        _random.set_seed(seed)
        shared = make()
        draws.append((shared((20, 20)), shared((20, 20))))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0][0] != draws[2][0]).mean() > 0.9


def test_own_seed_leaves_the_global_generator_alone() -> None:
    before = _random.generator().bit_generator.state
    HeNormal(seed=3)((20, 20))
    assert _random.generator().bit_generator.state == before


def test_set_seed_is_followed_by_holders() -> None:
    held = _random.generator()
    _random.set_seed(7)
    assert held.random() == np.random.Generator(np.random.PCG64(7)).random()


def test_spawn_seed() -> None:
    _random.set_seed(1)
    seeds = [_random.spawn_seed() for _ in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
    _random.set_seed(1)
    assert seeds[0] == _random.spawn_seed()


def test_threads_share_the_generator() -> None:
    # Each number is drawn once: were state lost between threads, duplicates would show.
    _random.set_seed(1)
    drawn: list[int] = []

    def draw() -> None:
        mine = [_random.spawn_seed() for _ in range(2000)]
        drawn.extend(mine)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 8000


def bad_numbers() -> Iterator[tuple[type[Any], str, object]]:
    owners: dict[str, type[Any]] = {
        "value": Constant,
        "mean": RandomNormal,
        "stddev": TruncatedNormal,
        "minval": RandomUniform,
        "maxval": RandomUniform,
        "gain": Orthogonal,
        "scale": VarianceScaling,
    }
    for name, make in owners.items():
        for bad in (math.nan, math.inf, -math.inf, 1e39, 10**400):
            yield make, name, bad
    yield TruncatedNormal, "stddev", -1.0
    yield VarianceScaling, "scale", 0.0


@pytest.mark.parametrize(("make", "name", "bad"), list(bad_numbers()))
def test_numbers_out_of_limits(make: type[Any], name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{make.__name__}: expected {name} in .*, got"):
        make(**{name: bad})


@pytest.mark.parametrize("bad", ["0.1", None, True, [0.1], np.ones(2), 1j, object()])
@pytest.mark.parametrize(("make", "name"), [(Constant, "value"), (RandomNormal, "stddev")])
def test_not_numbers(make: type[Any], name: str, bad: object) -> None:
    with pytest.raises(TypeError, match=f"^{make.__name__}: expected {name} to be a number, got"):
        make(**{name: bad})


@pytest.mark.parametrize("make", RANDOM)
@pytest.mark.parametrize(
    ("bad", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError), (True, TypeError)]
)
def test_bad_seed(make: type[Any], bad: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{make.__name__}: expected seed .*, got"):
        make(seed=bad)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ((2, -1), ValueError),
        ((2.0, 3), TypeError),
        ("23", TypeError),
        (None, TypeError),
        (5, TypeError),
        ((2, None), TypeError),
    ],
)
def test_bad_shape(bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^HeNormal: expected shape"):
        HeNormal()(bad)


@pytest.mark.parametrize("bad", ["float64", "int32", np.float16, "no such type", 3])
def test_bad_dtype(bad: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^Zeros: expected dtype float32, the only one there is, got"
    ):
        Zeros()((2,), dtype=bad)


@pytest.mark.parametrize("dtype", [None, "float32", np.float32, np.dtype("float32")])
def test_good_dtype(dtype: Any) -> None:
    assert Zeros()((2,), dtype=dtype).dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"mode": "fan"}, "expected mode to be one of fan_in, fan_out, fan_avg, got 'fan'"),
        ({"mode": 3}, "expected mode to be one of"),
        ({"distribution": "gauss"}, "expected distribution to be one of .*, got 'gauss'"),
        ({"input_axes": [0]}, "expected both input_axes and output_axes or neither"),
    ],
)
def test_bad_variance_scaling(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^VarianceScaling: {text}"):
        VarianceScaling(**arguments)


def test_bad_axes() -> None:
    with pytest.raises(ValueError, match=r"expected axes of shape \(3, 4\), got 2"):
        HeNormal(input_axes=[0], output_axes=[2])((3, 4))


def test_bad_uniform_range() -> None:
    text = r"^RandomUniform: expected minval <= maxval, got minval=1.0, maxval=0.5"
    with pytest.raises(ValueError, match=text):
        RandomUniform(1.0, 0.5)


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        ("he_norma", ValueError, "expected one of zeros, .*he_normal, .* got 'he_norma'"),
        ("?", ValueError, "expected one of .* got '\\?'"),
        ("", ValueError, "expected one of .* got ''"),
        (3, TypeError, "expected None, a name.* got 3"),
        (np.ones((9, 9)), TypeError, "expected None, a name"),
        (int, TypeError, "expected None, a name.* got <class 'int'>"),
        ({"config": {}}, ValueError, 'expected a dict with "class_name"'),
        ({"class_name": "Ones", "config": 3}, ValueError, 'expected a dict with "class_name"'),
        ({"class_name": "Ones", "config": {"a": 1}}, TypeError, "Ones: "),
    ],
)
def test_bad_identifier(bad: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^initializer:? ?{text}") as caught:
        initializers.get(bad)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_bad_serialize() -> None:
    with pytest.raises(TypeError, match=r"^serialize: expected an Initializer, got 3"):
        initializers.serialize(3)  # type: ignore[arg-type]
