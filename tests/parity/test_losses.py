"""Losses with their gradients through a small model, and metrics, against Keras'."""

from __future__ import annotations

from typing import Any

import evengrad
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import draws, keras

pytestmark = helpers.quiet

few = settings(helpers.fixed, max_examples=4)
seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 40)

SPARSE, CATEGORICAL, BINARY, MSE = (
    "SparseCategoricalCrossentropy",
    "CategoricalCrossentropy",
    "BinaryCrossentropy",
    "MeanSquaredError",
)
# Loss, its arguments, activation of the model's last layer.
CASES: list[tuple[str, dict[str, Any], str]] = [
    (SPARSE, {"from_logits": False}, "softmax"),
    (SPARSE, {"from_logits": True}, "linear"),
    (SPARSE, {"from_logits": False}, "sigmoid"),
    (CATEGORICAL, {"from_logits": False}, "softmax"),
    (CATEGORICAL, {"from_logits": True}, "linear"),
    (CATEGORICAL, {"from_logits": False}, "softplus"),
    (BINARY, {"from_logits": False}, "sigmoid"),
    (BINARY, {"from_logits": True}, "linear"),
    (BINARY, {"from_logits": False}, "softmax"),
    (MSE, {}, "linear"),
    (MSE, {}, "softmax"),
    (MSE, {}, "tanh"),
]


def truth(kind: str, seed: int, n: int, units: int, *, soft: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == SPARSE:
        return rng.integers(0, units, n)
    if kind == CATEGORICAL:
        if soft:
            return rng.dirichlet(np.ones(units), n).astype(np.float32)
        return np.eye(units, dtype=np.float32)[rng.integers(0, units, n)]
    if kind == BINARY:
        uniform = rng.uniform(size=(n, units))
        return (uniform if soft else uniform > 0.5).astype(np.float32)
    return rng.standard_normal((n, units)).astype(np.float32)


def weights_of(seed: int, n: int) -> np.ndarray:
    """Some of them 0."""
    weight = np.random.default_rng(seed).uniform(-0.5, 2.0, n)
    return np.maximum(weight, 0.0).astype(np.float32)


def model(library: Any, n_in: int, units: int, activation: str) -> Any:
    return library.Sequential(
        [library.Input((n_in,)), library.layers.Dense(units, activation=activation)]
    )


@pytest.mark.parametrize(("kind", "arguments", "activation"), CASES)
@few
@given(seeds, counts, st.integers(1, 20), st.integers(2, 30), st.booleans(), st.booleans())
def test_through_a_model(
    kind: str,
    arguments: dict[str, Any],
    activation: str,
    seed: int,
    n: int,
    n_in: int,
    units: int,
    soft: bool,
    weighted: bool,
) -> None:
    made = [model(library, n_in, units, activation) for library in (evengrad, keras)]
    # Logits of about 1: nowhere near the bounds that Keras holds probabilities in.
    parameters = draws(seed, (n_in, units), (units,), spread=n_in**-0.5)
    for library in made:
        library.set_weights(parameters)
    (x,) = draws(seed + 1, (n, n_in))
    y = truth(kind, seed, n, units, soft=soft)
    weight = weights_of(seed, n) if weighted else None
    losses = [getattr(library.losses, kind)(**arguments) for library in (evengrad, keras)]
    value, gradients = helpers.step_of_evengrad(made[0], losses[0], x, y, weight)
    expected, keras_gradients = helpers.step_of_keras(made[1], losses[1], x, y, weight)
    errors.compare(kind, value, expected)
    for a, b in zip(gradients, keras_gradients, strict=True):
        errors.compare(kind, a, b)


@pytest.mark.parametrize("kind", [SPARSE, CATEGORICAL, BINARY, MSE])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@few
@given(seeds, st.sampled_from([1, 20]), st.sampled_from([2, 17]), st.booleans())
def test_called(
    kind: str, from_logits: bool, weighted: bool, seed: int, n: int, units: int, soft: bool
) -> None:
    """On arrays: numbers that need not add up to 1 where probabilities are expected."""
    arguments = {} if kind == MSE else {"from_logits": from_logits}
    ours, theirs = (getattr(library.losses, kind)(**arguments) for library in (evengrad, keras))
    y = truth(kind, seed, n, units, soft=soft)
    rng = np.random.default_rng(seed)
    low, high = (-5.0, 5.0) if from_logits or kind == MSE else (0.01, 0.99)
    prediction = rng.uniform(low, high, (n, units)).astype(np.float32)
    weight = weights_of(seed, n) if weighted else None
    errors.compare(
        kind,
        ours(y, prediction, sample_weight=weight),
        theirs(y, prediction, sample_weight=weight),
    )


@pytest.mark.parametrize("kind", [SPARSE, CATEGORICAL, BINARY])
def test_impossible_probabilities(kind: str) -> None:
    """Probabilities of 0 and 1 are held inside [1e-7, 1 - 1e-7] in both."""
    prediction = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=np.float32)
    right = np.array([[0, 1, 0], [1, 0, 0]], dtype=np.float32)
    for y in (right, np.roll(right, 1, axis=1)):
        target = y.argmax(axis=1) if kind == SPARSE else y
        made = getattr(evengrad.losses, kind)()(target, prediction)
        expected = getattr(keras.losses, kind)()(target, prediction)
        # 1 - 1e-7 is off by 2e-8 in float32, a fifth of what is left of 1.
        errors.compare(kind, made, expected)


@pytest.mark.parametrize("kind", [CATEGORICAL, BINARY, MSE])
@pytest.mark.parametrize("weighted", [False, True])
def test_samples_of_several_axes(kind: str, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    prediction = rng.uniform(0.05, 0.95, (6, 4, 5)).astype(np.float32)
    y = truth(kind, 1, 24, 5).reshape(6, 4, 5)
    weight = weights_of(2, 6) if weighted else None
    made = getattr(evengrad.losses, kind)()(y, prediction, sample_weight=weight)
    # Keras wants the weight of a sample as something that numpy would broadcast.
    column = None if weight is None else weight[:, None]
    expected = getattr(keras.losses, kind)()(y, prediction, sample_weight=column)
    errors.compare(kind, made, expected)


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
@pytest.mark.parametrize("kind", [BINARY, MSE])
def test_targets_as_a_vector(kind: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    prediction = rng.uniform(0.05, 0.95, (7, 1)).astype(np.float32)
    y = rng.integers(0, 2, shape).astype(np.float32)
    made, expected = (
        getattr(library.losses, kind)()(y, prediction) for library in (evengrad, keras)
    )
    errors.compare(kind, made, expected)


@pytest.mark.parametrize("kind", [SPARSE, BINARY])
def test_class_weight(kind: str) -> None:
    """In train_on_batch; the metric is not weighted."""
    units = 4 if kind == SPARSE else 1
    activation = "softmax" if kind == SPARSE else "sigmoid"
    (x, kernel) = draws(3, (32, 5), (5, units))
    y = truth(kind, 4, 32, units)
    class_weight = {0: 0.5, 1: 2.0} | ({2: 0.0, 3: 1.25} if kind == SPARSE else {})
    results = []
    for library in (evengrad, keras):
        made = model(library, 5, units, activation)
        made.set_weights([kernel, np.zeros(units, np.float32)])
        made.compile(
            library.optimizers.SGD(0.1), getattr(library.losses, kind)(), metrics=["accuracy"]
        )
        logs = made.train_on_batch(x, y, class_weight=class_weight, return_dict=True)
        results.append((logs, made.get_weights()))
    (logs, weights), (keras_logs, keras_weights) = results
    for key in ("loss", "accuracy"):
        errors.compare("class_weight", logs[key], keras_logs[key])
    for a, b in zip(weights, keras_weights, strict=True):
        errors.compare("class_weight", a, b)


# Where Keras is wrong. On JAX it makes probabilities first, holds them inside [1e-7, 1 - 1e-7] and
# sends no gradient through what it holds: a sample wrong by 17 logits or more teaches nothing.


def wrong(kind: str, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets of samples that are wrong by so many logits."""
    if kind == BINARY:
        return by * np.array([[1.0], [-1.0], [1.0]]), np.array([[0.0], [1.0], [0.0]])
    return by * np.eye(3, 4), np.eye(4)[[1, 2, 3]]


@pytest.mark.parametrize("by", [0.0, 5.0, 14.0, 16.0, 17.0, 20.0, 50.0, 100.0, 1000.0])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("kind", [SPARSE, CATEGORICAL, BINARY])
def test_gradient_never_vanishes(kind: str, from_logits: bool, by: float) -> None:
    logits, target = wrong(kind, by)
    n, units = logits.shape
    activation = "sigmoid" if kind == BINARY else "softmax"
    made = model(evengrad, n, units, "linear" if from_logits else activation)
    made.set_weights([logits, np.zeros(units)])
    y = target.argmax(axis=1) if kind == SPARSE else target
    loss = getattr(evengrad.losses, kind)(from_logits=from_logits)
    # With the identity as input the kernel's gradient is that of the logits.
    value, gradients = helpers.step_of_evengrad(made, loss, np.eye(n, dtype=np.float32), y, None)
    formula = reference.sigmoid_cross_entropy if kind == BINARY else reference.softmax_cross_entropy
    losses, p_minus_y = formula(logits, target)
    errors.compare("wrong by up to 1000 logits", value, losses.mean())
    errors.compare("wrong by up to 1000 logits", gradients[0], p_minus_y)
    errors.compare("wrong by up to 1000 logits", gradients[1], p_minus_y.sum(axis=0))
    assert np.abs(p_minus_y).max() > 0.1


# Metrics

METRICS = [
    "SparseCategoricalAccuracy",
    "CategoricalAccuracy",
    "BinaryAccuracy",
    "MeanSquaredError",
    "MeanAbsoluteError",
]


@pytest.mark.parametrize("name", METRICS)
@few
@given(seeds, st.sampled_from([2, 17]))
def test_metric(name: str, seed: int, units: int) -> None:
    """Over three batches; predictions from a few numbers, so that there are ties."""
    ours, theirs = (getattr(library.metrics, name)() for library in (evengrad, keras))
    rng = np.random.default_rng(seed)
    for n in (20, 20, 1):
        prediction = (rng.integers(0, 5, (n, units)) / 4).astype(np.float32)
        y: np.ndarray = rng.integers(0, 2, (n, units)).astype(np.float32)
        if name == "SparseCategoricalAccuracy":
            y = rng.integers(0, units, n)
        if name == "CategoricalAccuracy":
            y = np.eye(units, dtype=np.float32)[rng.integers(0, units, n)]
        ours.update_state(y, prediction)
        theirs.update_state(y, prediction)
        errors.compare("metrics", ours.result(), float(theirs.result()))
    ours.reset_state()
    assert ours.result() == 0.0


@pytest.mark.parametrize("name", METRICS[1:])
def test_metric_of_soft_targets_and_several_axes(name: str) -> None:
    rng = np.random.default_rng(0)
    y, prediction = rng.uniform(size=(2, 6, 4, 5)).astype(np.float32)
    ours, theirs = (getattr(library.metrics, name)() for library in (evengrad, keras))
    errors.compare("metrics", ours(y, prediction), float(theirs(y, prediction)))


@pytest.mark.parametrize(
    ("kind", "activation", "units"),
    [
        (SPARSE, "softmax", 4),
        (CATEGORICAL, "softmax", 4),
        (BINARY, "sigmoid", 1),
        (MSE, "linear", 3),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_in_compile(kind: str, activation: str, units: int, weighted: bool) -> None:
    """By name, "accuracy" as the loss and the outputs say; sample weights are not theirs."""
    (x, kernel) = draws(3, (50, 5), (5, units))
    y = truth(kind, 4, 50, units)
    weight = weights_of(5, 50) if weighted else None
    names = ["mse", "mae"] if kind == MSE else ["accuracy"]
    results = []
    for library in (evengrad, keras):
        made = model(library, 5, units, activation)
        made.set_weights([kernel, np.zeros(units, np.float32)])
        made.compile("sgd", getattr(library.losses, kind)(), metrics=names)
        results.append(
            made.evaluate(x, y, batch_size=16, sample_weight=weight, verbose=0, return_dict=True)
        )
    ours, theirs = results
    assert ours.keys() == theirs.keys()
    for key in ours:
        errors.compare("metrics", ours[key], theirs[key])
