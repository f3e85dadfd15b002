"""Every layer's output, input gradient and weight gradients against Keras'."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
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

# Keras has no name for gelu(approximate=True); its function is compared below. "threshold" alone is
# no activation, there or here: its arguments have no defaults.
NAMES = sorted({*activations.FUNCTIONS, *activations.ALIASES} - {"gelu_tanh", "threshold"})
# Names that Keras does not know.
OTHERS: dict[str, Callable[..., Any]] = {
    "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True)
}
KINKS = {
    "relu": [0.0],
    "relu6": [0.0, 6.0],
    "leaky_relu": [0.0],
    "hard_sigmoid": [-3.0, 3.0],
    "hard_silu": [-3.0, 3.0],
    "hard_swish": [-3.0, 3.0],
    "hard_tanh": [-1.0, 1.0],
    "hard_shrink": [-0.5, 0.5],
    "soft_shrink": [-0.5, 0.5],
    "sparse_plus": [-1.0, 1.0],
    "sparse_sigmoid": [-1.0, 1.0],
}


class Case:
    """A random batch. All comes from the seed: small examples of hypothesis' own are all alike."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.n = int(self.rng.integers(1, 40))
        axes = self.rng.choice([1, 1, 2, 3])
        last = self.rng.integers(2, 70)  # Keras warns of a softmax over one
        self.shape = (*(int(k) for k in self.rng.integers(1, 5, axes - 1)), int(last))

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def __repr__(self) -> str:
        return f"Case({self.seed}): n = {self.n}, shape {self.shape}"


cases = st.integers(0, 2**32 - 1).map(Case)


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
    softmax: bool = False,
    kinks: Any = (),
) -> None:
    """Outputs and gradients in training mode, and outputs in inference mode.

    At a kink any number between the two slopes is right: dy is 0 there.
    """
    compare = errors.compare_elements if elements else errors.compare
    y = helpers.of_keras(theirs, x, None, training=False).y
    compare(name, helpers.of_evengrad(ours, x, None, training=False).y, y)
    (dy,) = draws(1, y.shape)
    if np.size(kinks):
        dy[np.isin(x, np.asarray(kinks, dtype=np.float32))] = 0.0
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    compare(name, a.y, b.y)
    # The gradient of softmax is y (dy - sum y dy), what is left of y dy.
    # Others have slopes of about 1 that vanish as 1 - y does: what is left of dy.
    top = float(np.abs(b.y * dy if softmax else dy).max())
    compare(name, a.dx, b.dx, top=top)
    for made, expected in zip(a.gradients, b.gradients, strict=True):
        errors.compare(name, made, expected, top=top)


# Dense


@pytest.mark.parametrize("activation", [None, *NAMES])
@few
@given(cases)
def test_dense(activation: str | None, case: Case) -> None:
    units, use_bias = int(case.rng.integers(2, 70)), case.pick(True, False)
    ours = evengrad.layers.Dense(units, activation, use_bias)
    theirs = keras.layers.Dense(units, OTHERS.get(str(activation), activation), use_bias)
    n_in = case.shape[-1]
    # Standard deviation 1 before the activation: nothing saturates, no kink is met.
    kernel, bias = draws(case.seed, (n_in, units), (units,), spread=n_in**-0.5)
    pair(ours, theirs, case.shape, [kernel, bias][: 1 + use_bias])
    (x,) = draws(case.seed + 1, (case.n, *case.shape))
    agree("Dense", ours, theirs, x, softmax=activation == "softmax")


# Activations


def inputs(case: Case, kinks: Any = ()) -> np.ndarray:
    """From about -8 to 8, kinks and zero included, nothing so near to a kink that rounding
    decides the side."""
    (x,) = draws(case.seed, (case.n, *case.shape), spread=2.5)
    flat = x.reshape(-1)
    for value in kinks:
        flat[np.abs(flat - value) < 1e-4] += np.float32(1e-3)
    for i, value in enumerate([0.0, *kinks]):
        flat[i :: 11 + i] = value
    return x


@pytest.mark.parametrize("name", NAMES)
@few
@given(cases)
def test_activation(name: str, case: Case) -> None:
    kinks = KINKS.get(name, [])
    x = inputs(case, kinks)
    ours = evengrad.layers.Activation(name)
    theirs = keras.layers.Activation(OTHERS.get(name, name))
    pair(ours, theirs, case.shape)
    if name == "softmax":  # a row is a sum, and so is its gradient
        agree("Softmax", ours, theirs, x, softmax=True)
    elif name == "log_softmax":
        agree("log_softmax", ours, theirs, x)
    else:
        agree("Activation", ours, theirs, x, elements=True, kinks=kinks)


def test_all_of_keras_are_here() -> None:
    theirs = set(keras.src.activations.ALL_OBJECTS_DICT)
    assert theirs - {*activations.FUNCTIONS, *activations.ALIASES} == {"glu", "sparsemax"}


# Arguments drawn anew for each case, and where the kinks then are.
DRAWN: dict[str, Callable[[Case], tuple[dict[str, float], list[float]]]] = {
    "elu": lambda case: ({"alpha": case.rng.uniform(0.0, 3.0)}, [0.0]),
    "celu": lambda case: ({"alpha": case.rng.uniform(0.1, 3.0)}, [0.0]),
    "leaky_relu": lambda case: ({"negative_slope": case.rng.uniform(0.0, 2.0)}, [0.0]),
    "squareplus": lambda case: ({"b": case.rng.uniform(0.1, 9.0)}, []),
    **dict.fromkeys(
        ("hard_shrink", "soft_shrink"),
        lambda case: ({"threshold": (t := case.pick(0.0, 0.25, 1.5))}, [-t, t]),
    ),
    "threshold": lambda case: (
        {"threshold": (t := case.pick(-1.0, 0.0, 0.5)), "default_value": case.rng.normal()},
        [t],
    ),
}


@pytest.mark.parametrize("name", DRAWN)
@fixed
@given(cases)
def test_activation_with_arguments(name: str, case: Case) -> None:
    arguments, kinks = DRAWN[name](case)
    ours, theirs = (
        library.layers.Activation(
            functools.partial(getattr(library.activations, name), **arguments)
        )
        for library in (evengrad, keras)
    )
    pair(ours, theirs, case.shape)
    agree("Activation", ours, theirs, inputs(case, kinks), elements=True, kinks=kinks)


# Arguments of the functions, where they have some.
FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("relu", {"negative_slope": 0.3}),
    ("relu", {"max_value": 2.0}),
    ("relu", {"threshold": 0.5}),
    ("relu", {"negative_slope": 0.3, "max_value": 2.0, "threshold": 0.5}),
    ("leaky_relu", {"negative_slope": 0.05}),
    ("elu", {"alpha": 0.4}),
    ("gelu", {"approximate": True}),
    ("celu", {"alpha": 0.4}),
    ("squareplus", {"b": 1.5}),
    ("hard_shrink", {"threshold": 0.8}),
    ("soft_shrink", {"threshold": 0.8}),
    ("threshold", {"threshold": 0.8, "default_value": -2.0}),
    ("softmax", {"axis": 0}),
    ("log_softmax", {"axis": 0}),
]


@pytest.mark.parametrize(("name", "arguments"), FUNCTIONS)
def test_activation_function(name: str, arguments: dict[str, Any]) -> None:
    x = inputs(Case(3), KINKS.get(name, []))
    function = OTHERS.get(name) or getattr(keras.activations, name)
    expected = np.asarray(function(x, **arguments))
    made = getattr(activations, name)(x, **arguments)
    errors.compare_elements("functions of activations", made, expected)


@settings(fixed, max_examples=20)
@given(cases)
def test_relu(case: Case) -> None:
    threshold = case.pick(0.0, 0.75)
    arguments = {
        "max_value": case.pick(None, 0.0, 0.5, 6.0),
        "negative_slope": case.pick(0.0, 0.1, 1.5),
        "threshold": threshold,
    }
    kinks = [0.0, threshold, arguments["max_value"] or 0.0]
    x = inputs(case, kinks)
    if threshold:
        # Keras' text says x where threshold <= x, its code threshold < x.
        x[x == np.float32(threshold)] = 1.0
    ours, theirs = evengrad.layers.ReLU(**arguments), keras.layers.ReLU(**arguments)
    pair(ours, theirs, case.shape)
    agree("ReLU", ours, theirs, x, elements=True, kinks=kinks)


@fixed
@given(cases)
def test_leaky_relu(case: Case) -> None:
    x = inputs(case, [0.0])
    for arguments in ({"negative_slope": case.rng.uniform(0.0, 2.0)}, {}):
        ours, theirs = (library.layers.LeakyReLU(**arguments) for library in (evengrad, keras))
        pair(ours, theirs, case.shape)
        agree("LeakyReLU", ours, theirs, x, elements=True, kinks=[0.0])


@fixed
@given(cases)
def test_elu(case: Case) -> None:
    alpha = case.pick(0.0, 1.0, case.rng.uniform(0.0, 3.0))
    ours, theirs = (library.layers.ELU(alpha=alpha) for library in (evengrad, keras))
    pair(ours, theirs, case.shape)
    agree("ELU", ours, theirs, inputs(case, [0.0]), elements=True, kinks=[0.0])


@fixed
@given(cases)
def test_selu(case: Case) -> None:
    # Keras has no class SELU.
    ours, theirs = evengrad.layers.SELU(), keras.layers.Activation("selu")
    pair(ours, theirs, case.shape)
    agree("SELU", ours, theirs, inputs(case, [0.0]), elements=True, kinks=[0.0])


@fixed
@given(cases)
def test_softmax(case: Case) -> None:
    ours, theirs = evengrad.layers.Softmax(), keras.layers.Softmax()
    pair(ours, theirs, case.shape)
    (x,) = draws(case.seed, (case.n, *case.shape), spread=3.0)
    agree("Softmax", ours, theirs, x, softmax=True)


@pytest.mark.parametrize(
    ("shape", "shared"),
    [((33,), None), ((4, 5), None), ((4, 5), [1]), ((2, 3, 5), None), ((2, 3, 5), [1, 2])],
)
@pytest.mark.parametrize("n", [1, 20])
def test_prelu(shape: tuple[int, ...], shared: list[int] | None, n: int) -> None:
    ours, theirs = (library.layers.PReLU(shared_axes=shared) for library in (evengrad, keras))
    ours.build(shape)
    assert not ours.get_weights()[0].any(), "alpha starts at 0"
    pair(ours, theirs, shape)
    (x,) = draws(n, (n, *shape))
    agree("PReLU", ours, theirs, x)


# Batch normalization


def batch_norms(
    seed: int, shape: tuple[int, ...], **arguments: Any
) -> tuple[evengrad.layers.Layer, Any]:
    ours = evengrad.layers.BatchNormalization(debias=False, **arguments)
    theirs = keras.layers.BatchNormalization(**arguments)
    gamma, beta, mean, variance = draws(seed, *[shape[-1:]] * 4)
    learned = [gamma] * arguments.get("scale", True) + [beta] * arguments.get("center", True)
    pair(ours, theirs, shape, [*learned, mean, np.abs(variance) + np.float32(0.1)])
    return ours, theirs


def batch_norm_arguments(case: Case) -> dict[str, Any]:
    return {
        "momentum": case.pick(0.0, 0.5, 0.99, 1.0),
        "epsilon": case.pick(1e-5, 1e-3, 0.1),
        "center": case.pick(True, False),
        "scale": case.pick(True, False),
    }


@settings(fixed, max_examples=12)
@given(cases)
def test_batch_normalization_in_training(case: Case) -> None:
    arguments = batch_norm_arguments(case)
    ours, theirs = batch_norms(case.seed, case.shape, **arguments)
    x, dy = draws(case.seed + 1, *[(case.n, *case.shape)] * 2)
    offset = case.pick(0.0, 3.0, -100.0)
    x += np.float32(offset)
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    name = "BatchNormalization training"
    # Keras' float32 mean is off by a rounding of the offset, and x - mean with it.
    lost = 1.0 + abs(offset)
    axes = tuple(range(x.ndim - 1))
    scale = 1.0 / np.sqrt(x.astype(np.float64).var(axis=axes) + arguments["epsilon"])
    if arguments["scale"]:
        scale *= np.abs(ours.get_weights()[0])
    errors.compare(name, a.y, b.y, top=lost * float(scale.max()))
    # dx is what is left of dy after its mean and its part along xhat are taken away.
    top = lost * float((scale * np.abs(dy).max(axis=axes)).max())
    errors.compare(name, a.dx, b.dx, top=top)
    for made, expected in zip(a.gradients, b.gradients, strict=True):
        errors.compare(name, made, expected, top=lost * float(np.abs(dy).max()))
    for made, expected in zip(a.variables[-2:], b.variables[-2:], strict=True):
        errors.compare(name, made, expected, top=lost)


@fixed
@given(cases)
def test_batch_normalization_in_inference(case: Case) -> None:
    ours, theirs = batch_norms(case.seed, case.shape, **batch_norm_arguments(case))
    (x,) = draws(case.seed + 1, (case.n, *case.shape))
    a = helpers.of_evengrad(ours, x, None, training=False)
    b = helpers.of_keras(theirs, x, None, training=False)
    errors.compare("BatchNormalization inference", a.y, b.y)
    for made, expected in zip(a.variables, b.variables, strict=True):
        np.testing.assert_array_equal(made, expected)


@fixed
@given(cases)
def test_frozen_batch_normalization(case: Case) -> None:
    ours, theirs = batch_norms(case.seed, case.shape, **batch_norm_arguments(case))
    ours.trainable = theirs.trainable = False
    x, dy = draws(case.seed + 1, *[(case.n, *case.shape)] * 2)
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    errors.compare("BatchNormalization frozen", a.y, b.y)
    errors.compare("BatchNormalization frozen", a.dx, b.dx)
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
        errors.compare("BatchNormalization training", made, expected)


# Without arithmetic: equal to the bit.


@fixed
@given(cases)
def test_flatten(case: Case) -> None:
    same_bits(evengrad.layers.Flatten(), keras.layers.Flatten(), case)


@fixed
@given(cases)
def test_dropout_in_inference(case: Case) -> None:
    rate = case.rng.uniform(0.0, 0.99)
    same_bits(evengrad.layers.Dropout(rate), keras.layers.Dropout(rate), case)


def same_bits(ours: Any, theirs: Any, case: Case) -> None:
    pair(ours, theirs, case.shape)
    (x,) = draws(case.seed, (case.n, *case.shape))
    y = np.asarray(theirs(x))
    (dy,) = draws(case.seed + 1, y.shape)
    a = helpers.of_evengrad(ours, x, dy, training=False)
    b = helpers.of_keras(theirs, x, dy, training=False)
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.dx, b.dx)


def test_same_arguments_of_functions() -> None:
    for name in NAMES:
        made, expected = (
            [
                (p.name, p.default)
                for p in inspect.signature(getattr(library.activations, name)).parameters.values()
            ]
            for library in (evengrad, keras)
        )
        assert made == expected, name


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
