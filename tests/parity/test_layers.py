"""Every layer's output, input gradient and weight gradients against Keras'."""

from __future__ import annotations

from typing import Any

import evengrad
import numpy as np
import pytest
from evengrad import activations
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import draws, keras

pytestmark = helpers.quiet

fixed = helpers.fixed
few = settings(fixed, max_examples=3)

NAMES = sorted([*activations._FUNCTIONS, *activations._ALIASES])
KINKS = {"relu": [0.0], "relu6": [0.0, 6.0], "leaky_relu": [0.0], "hard_sigmoid": [-3.0, 3.0]}

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 40)
widths = st.integers(1, 70)
units = st.integers(2, 70)  # Keras warns of a softmax over one


def one_or_more_axes(last: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of samples."""
    return st.tuples(st.lists(st.integers(1, 4), max_size=2), last).map(lambda s: (*s[0], s[1]))


def pair(
    ours: Any, theirs: Any, shape: tuple[int, ...], weights: list[np.ndarray] | None = None
) -> None:
    """Build both with the same weights: those given, else normal ones."""
    theirs.build((None, *shape))
    ours.build(shape)
    assert [v.name for v in ours.variables] == [v.name for v in theirs.weights]
    shapes = [v.shape for v in ours.variables]
    assert shapes == [tuple(v.shape) for v in theirs.weights]
    values = draws(7, *shapes) if weights is None else weights
    ours.set_weights(values)
    theirs.set_weights(values)


def agree(
    name: str,
    ours: Any,
    theirs: Any,
    x: np.ndarray,
    *,
    elements: bool = False,
    kinks: Any = (),
    seed: int = 1,
) -> None:
    """Outputs and gradients in training mode, and outputs in inference mode.

    At a kink any number between the two slopes is right: dy is 0 there.
    """
    compare = errors.compare_elements if elements else errors.compare
    y = helpers.of_keras(theirs, x, None, training=False).y
    compare(name, helpers.of_evengrad(ours, x, None, training=False).y, y)
    (dy,) = draws(seed, y.shape)
    if np.size(kinks):
        dy[np.isin(x, np.asarray(kinks, dtype=np.float32))] = 0.0
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    compare(name, a.y, b.y)
    # The gradient of softmax is y (dy - sum y dy), what is left of y dy.
    # Others have slopes of about 1 that vanish as 1 - y does: what is left of dy.
    top = float(np.abs(b.y * dy if "softmax" in name.lower() else dy).max())
    compare(f"{name}: dx", a.dx, b.dx, top=top)
    for made, expected in zip(a.gradients, b.gradients, strict=True):
        errors.compare(f"{name}: dw", made, expected, top=top)


# Dense


@pytest.mark.parametrize("activation", [None, *NAMES])
@few
@given(seeds, counts, one_or_more_axes(widths), units, st.booleans())
def test_dense(
    activation: str | None, seed: int, n: int, shape: tuple[int, ...], n_out: int, use_bias: bool
) -> None:
    arguments: dict[str, Any] = {"activation": activation, "use_bias": use_bias}
    ours, theirs = evengrad.layers.Dense(n_out, **arguments), keras.layers.Dense(n_out, **arguments)
    n_in = shape[-1]
    # Standard deviation 1 before the activation: nothing saturates, no kink is met.
    kernel, bias = draws(seed, (n_in, n_out), (n_out,), spread=n_in**-0.5)
    pair(ours, theirs, shape, [kernel, bias][: 1 + use_bias])
    (x,) = draws(seed + 1, (n, *shape))
    agree("Dense softmax" if activation == "softmax" else "Dense", ours, theirs, x)


# Activations


def inputs(seed: int, n: int, shape: tuple[int, ...], kinks: Any = ()) -> np.ndarray:
    """From about -8 to 8, kinks and zero included, nothing so near to a kink that rounding
    decides the side."""
    (x,) = draws(seed, (n, *shape), spread=2.5)
    flat = x.reshape(-1)
    for value in kinks:
        flat[np.abs(flat - value) < 1e-4] += np.float32(1e-3)
    for i, value in enumerate([0.0, *kinks]):
        flat[i :: 11 + i] = value
    return x


@pytest.mark.parametrize("name", NAMES)
@few
@given(seeds, counts, one_or_more_axes(units))
def test_activation(name: str, seed: int, n: int, shape: tuple[int, ...]) -> None:
    kinks = KINKS.get(name, [])
    x = inputs(seed, n, shape, kinks)
    ours, theirs = evengrad.layers.Activation(name), keras.layers.Activation(name)
    pair(ours, theirs, shape)
    # A row of softmax is a sum, and so is its gradient.
    agree(
        "Softmax" if name == "softmax" else "Activation",
        ours,
        theirs,
        x,
        elements=name != "softmax",
        kinks=kinks,
    )


# Arguments of the functions, where they have some.
FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES if name not in activations._ALIASES),
    ("relu", {"negative_slope": 0.3}),
    ("relu", {"max_value": 2.0}),
    ("relu", {"threshold": 0.5}),
    ("relu", {"negative_slope": 0.3, "max_value": 2.0, "threshold": 0.5}),
    ("leaky_relu", {"negative_slope": 0.05}),
    ("elu", {"alpha": 0.4}),
]


@pytest.mark.parametrize(("name", "arguments"), FUNCTIONS)
def test_activation_function(name: str, arguments: dict[str, Any]) -> None:
    x = inputs(1, 9, (3, 5), KINKS.get(name, []))
    expected = np.asarray(getattr(keras.activations, name)(x, **arguments))
    made = getattr(activations, name)(x, **arguments)
    errors.compare_elements("functions of activations", made, expected)


relu_arguments = st.fixed_dictionaries(
    {
        "max_value": st.sampled_from([None, 0.0, 0.5, 6.0]),
        "negative_slope": st.sampled_from([0.0, 0.1, 1.5]),
        "threshold": st.sampled_from([0.0, 0.75]),
    }
)


@settings(fixed, max_examples=20)
@given(seeds, counts, one_or_more_axes(widths), relu_arguments)
def test_relu(seed: int, n: int, shape: tuple[int, ...], arguments: dict[str, Any]) -> None:
    kinks = [0.0, arguments["threshold"], arguments["max_value"] or 0.0]
    x = inputs(seed, n, shape, kinks)
    if arguments["threshold"]:
        # Keras' text says x where threshold <= x, its code threshold < x.
        x[x == np.float32(arguments["threshold"])] = 1.0
    ours, theirs = evengrad.layers.ReLU(**arguments), keras.layers.ReLU(**arguments)
    pair(ours, theirs, shape)
    agree("ReLU", ours, theirs, x, elements=True, kinks=kinks)


@fixed
@given(seeds, counts, one_or_more_axes(widths), st.floats(0.0, 2.0))
def test_leaky_relu(seed: int, n: int, shape: tuple[int, ...], slope: float) -> None:
    x = inputs(seed, n, shape, [0.0])
    layers = [library.layers.LeakyReLU(negative_slope=slope) for library in (evengrad, keras)]
    pair(*layers, shape)
    agree("LeakyReLU", *layers, x, elements=True, kinks=[0.0])
    defaults = [library.layers.LeakyReLU() for library in (evengrad, keras)]
    pair(*defaults, shape)
    agree("LeakyReLU", *defaults, x, elements=True, kinks=[0.0])


@fixed
@given(seeds, counts, one_or_more_axes(widths), st.floats(0.0, 3.0))
def test_elu(seed: int, n: int, shape: tuple[int, ...], alpha: float) -> None:
    x = inputs(seed, n, shape, [0.0])
    layers = [library.layers.ELU(alpha=alpha) for library in (evengrad, keras)]
    pair(*layers, shape)
    agree("ELU", *layers, x, elements=True, kinks=[0.0])


@fixed
@given(seeds, counts, one_or_more_axes(widths))
def test_selu(seed: int, n: int, shape: tuple[int, ...]) -> None:
    # Keras has no class SELU.
    x = inputs(seed, n, shape, [0.0])
    layers = evengrad.layers.SELU(), keras.layers.Activation("selu")
    pair(*layers, shape)
    agree("SELU", *layers, x, elements=True, kinks=[0.0])


@fixed
@given(seeds, counts, one_or_more_axes(units))
def test_softmax(seed: int, n: int, shape: tuple[int, ...]) -> None:
    layers = evengrad.layers.Softmax(), keras.layers.Softmax()
    pair(*layers, shape)
    (x,) = draws(seed, (n, *shape), spread=3.0)
    agree("Softmax", *layers, x)


@fixed
@given(seeds, counts, one_or_more_axes(widths), st.booleans())
def test_prelu(seed: int, n: int, shape: tuple[int, ...], shared: bool) -> None:
    axes = list(range(1, len(shape))) if shared and len(shape) > 1 else None
    layers = [library.layers.PReLU(shared_axes=axes) for library in (evengrad, keras)]
    layers[0].build(shape)
    assert not layers[0].get_weights()[0].any(), "alpha starts at 0"
    pair(*layers, shape)
    agree("PReLU", *layers, inputs(seed, n, shape, [0.0]), kinks=[0.0])


# Batch normalization

batch_norm_arguments = st.fixed_dictionaries(
    {
        "momentum": st.sampled_from([0.0, 0.5, 0.99, 1.0]),
        "epsilon": st.sampled_from([1e-5, 1e-3, 0.1]),
        "center": st.booleans(),
        "scale": st.booleans(),
    }
)


def batch_norms(
    seed: int, shape: tuple[int, ...], **arguments: Any
) -> tuple[evengrad.layers.Layer, Any]:
    ours = evengrad.layers.BatchNormalization(debias=False, **arguments)
    theirs = keras.layers.BatchNormalization(**arguments)
    gamma, beta, mean, variance = draws(seed, *[shape[-1:]] * 4)
    learned = [gamma] * arguments.get("scale", True) + [beta] * arguments.get("center", True)
    pair(ours, theirs, shape, [*learned, mean, np.abs(variance) + np.float32(0.1)])
    return ours, theirs


@settings(fixed, max_examples=12)
@given(
    seeds,
    st.integers(1, 40),
    one_or_more_axes(widths),
    st.sampled_from([0.0, 3.0, -100.0]),
    batch_norm_arguments,
)
def test_batch_normalization_in_training(
    seed: int, n: int, shape: tuple[int, ...], offset: float, arguments: dict[str, Any]
) -> None:
    ours, theirs = batch_norms(seed, shape, **arguments)
    (x, dy) = draws(seed + 1, (n, *shape), (n, *shape))
    x += np.float32(offset)
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    name = "BatchNormalization training"
    # x - mean loses what x has lost by rounding; a row alone gives exactly beta.
    axes = tuple(range(x.ndim - 1))
    lost = 1.0 + abs(offset)
    inverse = 1.0 / np.sqrt(x.astype(np.float64).var(axis=axes) + arguments["epsilon"])
    gamma = np.abs(ours.get_weights()[0]) if arguments["scale"] else np.ones(shape[-1])
    top_y = lost * float((inverse * gamma).max() + np.abs(b.y).max())
    errors.compare(name, a.y, b.y, top=top_y)
    # dx is what is left of dy after its mean and its part along xhat are taken away.
    top_dx = lost * float((inverse * gamma).max() * np.abs(dy).max())
    errors.compare(f"{name}: dx", a.dx, b.dx, top=top_dx)
    rows = dy.size // shape[-1]
    for made, expected in zip(a.gradients, b.gradients, strict=True):
        errors.compare(f"{name}: dw", made, expected, top=lost * rows**0.5)
    moving = list(zip(a.variables[-2:], b.variables[-2:], strict=True))
    errors.compare(f"{name}: moving mean", *moving[0])
    errors.compare(f"{name}: moving variance", *moving[1], top=lost)


@fixed
@given(seeds, counts, one_or_more_axes(widths), batch_norm_arguments)
def test_batch_normalization_in_inference(
    seed: int, n: int, shape: tuple[int, ...], arguments: dict[str, Any]
) -> None:
    ours, theirs = batch_norms(seed, shape, **arguments)
    (x,) = draws(seed + 1, (n, *shape))
    a = helpers.of_evengrad(ours, x, None, training=False)
    b = helpers.of_keras(theirs, x, None, training=False)
    errors.compare("BatchNormalization inference", a.y, b.y)
    for made, expected in zip(a.variables, b.variables, strict=True):
        np.testing.assert_array_equal(made, expected)


@fixed
@given(seeds, counts, one_or_more_axes(widths), batch_norm_arguments)
def test_frozen_batch_normalization(
    seed: int, n: int, shape: tuple[int, ...], arguments: dict[str, Any]
) -> None:
    ours, theirs = batch_norms(seed, shape, **arguments)
    ours.trainable = theirs.trainable = False
    (x, dy) = draws(seed + 1, (n, *shape), (n, *shape))
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    errors.compare("BatchNormalization frozen", a.y, b.y)
    errors.compare("BatchNormalization frozen: dx", a.dx, b.dx)
    assert a.gradients == b.gradients == []
    for made, expected in zip(a.variables, b.variables, strict=True):
        np.testing.assert_array_equal(made, expected)


def test_moving_statistics_over_many_batches() -> None:
    ours, theirs = batch_norms(3, (5,), momentum=0.9)
    for seed in range(30):
        (x,) = draws(seed, (16, 5), spread=1.0 + seed)
        a, b = ours(x, training=True), np.asarray(theirs(x, training=True))
        errors.compare("BatchNormalization training", a, b)
    for made, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        errors.compare("BatchNormalization 30 batches", made, expected)


# Without arithmetic: equal to the bit.


@fixed
@given(seeds, counts, one_or_more_axes(widths))
def test_flatten(seed: int, n: int, shape: tuple[int, ...]) -> None:
    same_bits(evengrad.layers.Flatten(), keras.layers.Flatten(), seed, (n, *shape))


@fixed
@given(seeds, counts, one_or_more_axes(widths), st.floats(0.0, 0.99))
def test_dropout_in_inference(seed: int, n: int, shape: tuple[int, ...], rate: float) -> None:
    same_bits(evengrad.layers.Dropout(rate), keras.layers.Dropout(rate), seed, (n, *shape))


def same_bits(ours: Any, theirs: Any, seed: int, shape: tuple[int, ...]) -> None:
    pair(ours, theirs, shape[1:])
    (x,) = draws(seed, shape)
    y = np.asarray(theirs(x))
    (dy,) = draws(seed + 1, y.shape)
    a = helpers.of_evengrad(ours, x, dy, training=False)
    b = helpers.of_keras(theirs, x, dy, training=False)
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.dx, b.dx)


def test_same_defaults() -> None:
    """What a call without arguments means."""
    layers: list[tuple[str, dict[str, Any]]] = [
        ("Dense", {"units": 3}),
        ("BatchNormalization", {}),
        ("ReLU", {}),
        ("LeakyReLU", {}),
        ("PReLU", {}),
        ("ELU", {}),
        ("Softmax", {}),
        ("Dropout", {"rate": 0.5}),
    ]
    for name, arguments in layers:
        made = getattr(evengrad.layers, name)(**arguments).get_config()
        expected = getattr(keras.layers, name)(**arguments).get_config()
        for key in made.keys() & expected.keys() - {"name"}:
            value = expected[key]
            if isinstance(value, dict) and "class_name" in value:
                assert made[key]["class_name"] == value["class_name"], (name, key)
            else:
                assert made[key] == value, (name, key)
