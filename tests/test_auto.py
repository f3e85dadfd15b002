"""The initializer "auto": gains against integrals, and kernels that follow their activation."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import _core, initializers, layers
from evengrad.initializers import Auto, calculate_gain

FAMILY = sorted(set(_core.activations) - {"relu_general"})
# Where an argument has no default, that of tests/reference.py.
NAMED: dict[str, Any] = {name: name for name in FAMILY} | {
    "threshold": functools.partial(
        keras.activations.threshold, **reference.ACTIVATIONS["threshold"].defaults
    )
}
TRUNCATED = 0.87962566103423978


def mean_square(f: Callable[[Any], Any], kinks: tuple[float, ...] = ()) -> float:
    """E[f(z)^2] by Gauss and Legendre's rule on pieces between kinks, each at most 1 long."""
    edges = sorted({*np.arange(-13.0, 14.0), *(k for k in kinks if abs(k) < 13.0)})
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for a, b in itertools.pairwise(edges):
        z = (a + b) / 2.0 + (b - a) / 2.0 * nodes
        density = np.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
        total += (b - a) / 2.0 * float(weights @ (density * np.asarray(f(z)) ** 2))
    return total


def expected_gain(name: str, **parameters: float) -> float:
    return (
        mean_square(
            lambda z: reference.activation_forward(name, z, **parameters),
            reference.activation_kinks(name, **parameters),
        )
        ** -0.5
    )


def spread(kernel: Any) -> float:
    """What multiplies 1 / sqrt(fan_in) in a kernel's standard deviation."""
    values = np.asarray(kernel, dtype=np.float64)
    return float(np.sqrt(np.mean(values**2) * len(values)))


# Gains


@pytest.mark.parametrize("name", FAMILY)
def test_gain_is_the_integral(name: str) -> None:
    right = expected_gain(name)
    # The kernels are float32: each value is off by up to 4e-7 of it, in either direction.
    assert calculate_gain(NAMED[name]) == pytest.approx(right, rel=1e-7)


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        (None, 1.0),
        ("linear", 1.0),
        ("relu", math.sqrt(2.0)),
        (layers.ReLU(), math.sqrt(2.0)),
        (layers.LeakyReLU(0.1), math.sqrt(2.0 / 1.01)),
        (layers.ReLU(negative_slope=0.1), math.sqrt(2.0 / 1.01)),
        (layers.Activation("leaky_relu"), math.sqrt(2.0 / 1.04)),
        (layers.Dense(1, "relu"), math.sqrt(2.0)),
        (keras.activations.relu, math.sqrt(2.0)),
        ("selu", 1.0),
        ("exponential", 1.0 / math.e),
        ("softmax", 1.0),
        ("tanh", 1.5925374),
        (np.tanh, 1.5925374),
        (functools.partial(keras.activations.leaky_relu, negative_slope=0.1), math.sqrt(2 / 1.01)),
        (functools.partial(np.clip, a_min=0.0, a_max=None), math.sqrt(2.0)),
        ({"class_name": "leaky_relu", "config": {"negative_slope": 0.1}}, math.sqrt(2 / 1.01)),
        ("log_softmax", 1.0),
        (np.sign, 1.0),
        (lambda z: np.where(np.abs(z) < 1.0, 0.0, 1.0), 0.31731051**-0.5),  # P(|z| >= 1)
    ],
)
def test_known_gains(name: Any, gain: float) -> None:
    assert calculate_gain(name) == pytest.approx(gain, rel=1e-7)


def test_gain_of_parameters() -> None:
    for layer, name, parameters in (
        (layers.ELU(0.3), "elu", {"alpha": 0.3}),
        (layers.ReLU(2.0, 0.25, 0.5), "relu_general", None),
    ):
        if parameters is None:
            right = (
                mean_square(
                    lambda z: np.where(z >= 2.0, 2.0, np.where(z >= 0.5, z, 0.25 * (z - 0.5))),
                    (0.5, 2.0),
                )
                ** -0.5
            )
        else:
            right = expected_gain(name, **parameters)
        assert calculate_gain(layer) == pytest.approx(right, rel=1e-7)


def test_a_jump_anywhere_costs_little() -> None:
    right = math.erfc(0.1234567 / math.sqrt(2.0)) ** -0.5
    made = calculate_gain(lambda z: np.where(np.abs(z) < 0.1234567, 0.0, 1.0))
    assert made == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("nope", "activation: expected one of"),
        (3, "activation: expected one of"),
        (np.zeros_like, "calculate_gain: expected zeros_like to have a finite mean square above 0"),
        (lambda z: z * math.nan, "calculate_gain: expected .* finite mean square above 0 .* nan"),
        (lambda z: np.where(z > 11.0, np.inf, z), "finite mean square above 0 .* inf"),
        (np.sum, r"calculate_gain: expected sum to return numbers of shape \(98304,\)"),
        (lambda z: z.astype(complex), "expected .* to return numbers of shape .* complex"),
    ],
)
def test_bad_activations(bad: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        calculate_gain(bad)
    assert "\n" not in str(caught.value)


def test_a_function_cannot_spoil_the_grid() -> None:
    def clears(z: Any) -> Any:
        y = z.copy()
        z[...] = 0.0
        return y

    assert calculate_gain(clears) == pytest.approx(1.0, rel=1e-7)
    assert calculate_gain("relu6") == pytest.approx(expected_gain("relu6"), rel=1e-7)


# The initializer


@pytest.mark.parametrize("name", [None, "relu", "tanh", "selu"])
def test_distribution(name: str | None) -> None:
    kernel = Auto(name, seed=1)((400, 2500)).astype(np.float64)
    stddev = calculate_gain(name) / 20.0
    # A million draws: five standard errors of mean and deviation, as in test_initializers.
    assert abs(kernel.mean()) < 5e-3 * stddev
    assert abs(kernel.std() / stddev - 1.0) < 5e-3
    limit = 2.0 * stddev / TRUNCATED
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    like = {"relu": "he_normal", "selu": "lecun_normal"}.get(name or "")
    if like:
        same = type(initializers.get(like))(seed=1)((400, 2500))
        np.testing.assert_allclose(kernel, same, rtol=1e-6)


@pytest.mark.parametrize(("shape", "fan"), [((), 1), ((50,), 50), ((3, 5, 40), 15), ((0, 3), 1)])
def test_fans_of_other_ranks(shape: tuple[int, ...], fan: int) -> None:
    values = np.concatenate([Auto("relu", seed=s)(shape).ravel() for s in range(200)])
    limit = 2.0 * math.sqrt(2.0 / fan) / TRUNCATED
    assert np.abs(values).max(initial=0.0) <= limit
    assert not values.size or np.abs(values).max() > 0.9 * limit


def test_configuration() -> None:
    for given in ("auto", "Auto", Auto, Auto(), {"class_name": "Auto", "config": {}}):
        made = initializers.get(given)
        assert isinstance(made, Auto)
        assert made.get_config() == {"activation": None, "seed": None}
    made = Auto(keras.activations.silu, seed=3)
    config = initializers.serialize(made)
    assert config == {"class_name": "Auto", "config": {"activation": "silu", "seed": 3}}
    partial = Auto(functools.partial(keras.activations.elu, alpha=0.5))
    assert initializers.deserialize(initializers.serialize(partial)).gain == partial.gain
    twin = initializers.deserialize(config)
    np.testing.assert_array_equal(twin((4, 3)), made((4, 3)))
    with pytest.raises(ValueError, match="activation: expected one of"):
        Auto("nope")
    with pytest.raises(TypeError, match="deserialize: expected a dict, got 'auto'"):
        initializers.deserialize("auto")  # type: ignore[arg-type]
    layer = layers.Dense(3, "tanh", kernel_initializer="auto")
    other = layers.Dense.from_config(layer.get_config())
    assert other.get_config() == layer.get_config()


def test_one_object_for_several_layers() -> None:
    shared = Auto(seed=5)
    model = keras.Sequential([keras.Input((300,))])
    for activation in ("relu", "tanh", None, None):
        model.add(layers.Dense(300, activation, kernel_initializer=shared))
    kernels = [w for w in model.get_weights() if w.ndim == 2]
    gains = [math.sqrt(2.0), 1.5925, 1.0, 1.0]
    assert [spread(k) for k in kernels] == pytest.approx(gains, rel=0.02)
    assert not np.array_equal(kernels[2], kernels[3])
    assert shared.activation is None


# The activation behind


BEHIND: list[tuple[list[Callable[[], layers.Layer]], float]] = [
    ([], 1.0),
    ([lambda: layers.Dense(3, "tanh")], 1.0),
    ([lambda: layers.Activation("tanh")], 1.5925),
    ([layers.ReLU], 1.4142),
    ([lambda: layers.LeakyReLU(0.5)], math.sqrt(2.0 / 1.25)),
    ([layers.PReLU], 1.4142),
    ([lambda: layers.PReLU(initializers.Constant(0.5))], math.sqrt(2.0 / 1.25)),
    ([layers.Softmax], 1.0),
    ([layers.BatchNormalization, lambda: layers.Activation("tanh")], 1.5925),
    ([lambda: layers.Dropout(0.5), layers.Flatten, layers.ELU], 1.2452),
    ([layers.BatchNormalization, lambda: layers.Dense(3), layers.ReLU], 1.0),
]


@pytest.mark.parametrize(("behind", "gain"), BEHIND)
@pytest.mark.parametrize("known", ["before", "after"])
@pytest.mark.parametrize("added", ["at once", "one by one"])
def test_the_next_activation_counts(
    behind: list[Callable[[], layers.Layer]], gain: float, known: str, added: str
) -> None:
    start: list[Any] = [keras.Input((300,))] if known == "before" else []
    stack = [*start, layers.Dense(400, kernel_initializer=Auto(seed=1)), *(f() for f in behind)]
    if added == "at once":
        model = keras.Sequential(stack)
    else:
        model = keras.Sequential()
        for layer in stack:
            model.add(layer)
    if known == "after":
        model.build((None, 300))
    kernel = model.get_weights()[0]
    plain = Auto("linear", seed=1)((300, 400))
    np.testing.assert_allclose(kernel, gain * plain, rtol=1e-4)
    assert spread(kernel) == pytest.approx(gain, rel=0.02)


def test_its_own_activation_comes_first() -> None:
    model = keras.Sequential([keras.Input((300,))])
    model.add(layers.Dense(400, "tanh", kernel_initializer="auto"))
    model.add(layers.ReLU())
    assert spread(model.get_weights()[0]) == pytest.approx(1.5925, rel=0.02)


def test_a_given_activation_comes_before_all() -> None:
    model = keras.Sequential([keras.Input((300,))])
    model.add(layers.Dense(400, "relu", kernel_initializer=Auto("selu", seed=1)))
    model.add(layers.ReLU())
    np.testing.assert_array_equal(model.get_weights()[0], Auto("selu", seed=1)((300, 400)))


def test_another_activation_instead() -> None:
    model = keras.Sequential([keras.Input((300,)), layers.Dense(400, kernel_initializer="auto")])
    for activation, gain in (("relu", 1.4142), ("tanh", 1.5925), ("linear", 1.0)):
        model.add(layers.Activation(activation))
        assert spread(model.get_weights()[0]) == pytest.approx(gain, rel=0.02)
        model.pop()


@pytest.mark.parametrize("change", ["set_weights", "value", "assign", "training", "lsuv"])
def test_changed_kernels_are_left_alone(change: str) -> None:
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, kernel_initializer="auto")])
    (dense,) = model.layers
    kernel = dense.variables[0]
    rng = np.random.default_rng(0)
    if change == "set_weights":
        model.set_weights([np.full((5, 4), 0.25), np.zeros(4)])
    elif change == "value":
        kernel.value[0, 0] += 1.0
    elif change == "assign":
        kernel.assign(2.0 * kernel.numpy())
    elif change == "training":
        model.compile("sgd", "mse")
        model.fit(rng.normal(size=(9, 5)), rng.normal(size=(9, 4)), verbose=0)
    else:
        model.lsuv(rng.normal(size=(50, 5)))
    before = kernel.numpy()
    model.add(layers.ReLU())
    np.testing.assert_array_equal(kernel.numpy(), before)


def test_copies_know_whether_a_kernel_was_changed() -> None:
    dense = layers.Dense(400, kernel_initializer="auto")
    dense.build((300,))
    twin = copy.deepcopy(dense)
    model = keras.Sequential([keras.Input((300,)), twin, layers.ReLU()])
    assert spread(model.get_weights()[0]) == pytest.approx(1.4142, rel=0.02)
    assert spread(dense.get_weights()[0]) == pytest.approx(1.0, rel=0.02)


# What it is for


def exponent(name: str) -> float:
    """Slope at 1 of log E[f(sqrt(q) z)^2] over log q: above 1 a deviation grows layer by layer."""
    low, high = (
        mean_square(
            lambda z, q=q: reference.activation_forward(name, math.sqrt(q) * z),
            reference.activation_kinks(name),
        )
        for q in (0.99, 1.01)
    )
    return math.log(high / low) / math.log(1.01 / 0.99)


def test_which_activations_lead_away() -> None:
    """As the docstring of calculate_gain says."""
    away = {name for name in FAMILY if exponent(name) > 1.001}
    assert {"silu", "hard_silu", "gelu", "mish", "exponential", "soft_shrink"} <= away
    assert not {"relu", "leaky_relu", "linear", "tanh", "sigmoid", "elu", "selu"} & away


@pytest.mark.parametrize("name", FAMILY)
def test_variance_through_fifty_layers(name: str) -> None:
    """Inputs of f with variance 1 stay so; where f leads away from 1, for the first layers.

    Where f keeps what it gets chance adds up: with n units log(variance) makes steps of a standard
    deviation of sqrt(5 / n) at most, ReLU's, 0.9 together. A gain of 1.05 times the right one would
    make the variance 130.
    """
    slope = exponent(name)
    depth = 50 if slope < 1.001 else 3 if slope < 1.5 else 1
    factor = 2.0 if slope < 0.999 else 15.0
    keras.utils.set_random_seed(0)
    f = layers.Activation(NAMED[name])
    signal = f(np.random.default_rng(0).standard_normal((64, 300)))
    for _ in range(depth):
        inputs = layers.Dense(300, use_bias=False, kernel_initializer=Auto(NAMED[name]))(signal)
        assert 1.0 / factor < float(np.mean(inputs.astype(np.float64) ** 2)) < factor
        signal = f(inputs)
