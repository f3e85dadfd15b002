"""Losses, called and with their gradients through a small model, against Keras'."""

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
    (CATEGORICAL, {"label_smoothing": 0.1}, "softmax"),
    (CATEGORICAL, {"label_smoothing": 0.3, "from_logits": True}, "linear"),
    (CATEGORICAL, {"label_smoothing": 0.2}, "sigmoid"),
    (BINARY, {"from_logits": False}, "sigmoid"),
    (BINARY, {"from_logits": True}, "linear"),
    (BINARY, {"from_logits": False}, "softmax"),
    (BINARY, {"label_smoothing": 0.1}, "sigmoid"),
    (BINARY, {"label_smoothing": 0.3, "from_logits": True}, "linear"),
    (BINARY, {"label_smoothing": 0.2}, "softmax"),
    (MSE, {}, "linear"),
    (MSE, {}, "softmax"),
    (MSE, {}, "tanh"),
    ("MeanAbsoluteError", {}, "linear"),
    ("MeanAbsolutePercentageError", {}, "linear"),
    ("MeanSquaredLogarithmicError", {}, "softplus"),
    ("Huber", {}, "linear"),
    ("Huber", {"delta": 0.3}, "tanh"),
    ("LogCosh", {}, "linear"),
    ("Hinge", {}, "tanh"),
    ("SquaredHinge", {}, "linear"),
    ("CategoricalHinge", {}, "linear"),
    ("KLDivergence", {}, "softmax"),
    ("KLDivergence", {}, "sigmoid"),
    ("Poisson", {}, "softplus"),
    ("Poisson", {}, "exponential"),
    ("CosineSimilarity", {}, "linear"),
]
EVERY = sorted({kind for kind, _, _ in CASES})
reductions = st.sampled_from(["sum_over_batch_size", "sum", "mean", "mean_with_sample_weight"])


def truth(kind: str, seed: int, n: int, units: int, *, soft: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == SPARSE:
        return rng.integers(0, units, n)
    one_hot = np.eye(units)[rng.integers(0, units, n)]
    normal, uniform = rng.standard_normal((n, units)), rng.uniform(size=(n, units))
    sides = np.where(uniform > 0.5, 1.0, -1.0 if soft else 0.0)
    classes = rng.dirichlet(np.ones(units), n) if soft else one_hot
    made = {
        CATEGORICAL: classes,
        "CategoricalHinge": classes,
        "KLDivergence": classes,
        BINARY: uniform if soft else uniform > 0.5,
        "Hinge": sides,
        "SquaredHinge": sides,
        "Poisson": np.abs(normal),
        "MeanSquaredLogarithmicError": np.abs(normal),
        # Of a target near 0 Keras' gradient has no digits.
        "MeanAbsolutePercentageError": normal + np.copysign(0.1, normal),
    }
    return np.asarray(made.get(kind, normal), np.float32)


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
@given(
    seeds, counts, st.integers(1, 20), st.integers(2, 30), st.booleans(), st.booleans(), reductions
)
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
    reduction: str,
) -> None:
    made = [model(library, n_in, units, activation) for library in (evengrad, keras)]
    # Logits of about 1: nowhere near the bounds that Keras holds probabilities in.
    parameters = draws(seed, (n_in, units), (units,), spread=n_in**-0.5)
    for library in made:
        library.set_weights(parameters)
    (x,) = draws(seed + 1, (n, n_in))
    y = truth(kind, seed, n, units, soft=soft)
    weight = weights_of(seed, n) if weighted else None
    losses = [
        getattr(library.losses, kind)(**arguments, reduction=reduction)
        for library in (evengrad, keras)
    ]
    value, gradients = helpers.step_of_evengrad(made[0], losses[0], x, y, weight)
    expected, keras_gradients = helpers.step_of_keras(made[1], losses[1], x, y, weight)
    # Terms of both signs add up to what may be much less: 1 is their size.
    top = 1.0 if kind in ("Poisson", "CosineSimilarity") else 0.0
    errors.compare(kind, value, expected, top=top)
    # As small as a gradient gets beside the numbers that it is a difference of.
    for a, b in zip(gradients, keras_gradients, strict=True):
        errors.compare(kind, a, b, top=0.01)


@pytest.mark.parametrize(
    ("kind", "from_logits"),
    [(kind, False) for kind in EVERY] + [(kind, True) for kind in (SPARSE, CATEGORICAL, BINARY)],
)
@few
@given(
    st.booleans(),
    seeds,
    st.sampled_from([1, 20]),
    st.sampled_from([2, 17]),
    st.booleans(),
    st.booleans(),
)
def test_called(
    kind: str,
    from_logits: bool,
    weighted: bool,
    seed: int,
    n: int,
    units: int,
    soft: bool,
    reduced: bool,
) -> None:
    """On arrays: numbers that need not add up to 1 where probabilities are expected."""
    entropy = kind.endswith("Crossentropy")
    arguments: dict[str, Any] = {"from_logits": from_logits} if entropy else {}
    if not reduced:
        arguments["reduction"] = "none"
    ours, theirs = (getattr(library.losses, kind)(**arguments) for library in (evengrad, keras))
    y = truth(kind, seed, n, units, soft=soft)
    rng = np.random.default_rng(seed)
    positive = kind in ("KLDivergence", "Poisson") or (entropy and not from_logits)
    low, high = (0.01, 0.99) if positive else (-5.0, 5.0)
    prediction = rng.uniform(low, high, (n, units)).astype(np.float32)
    weight = weights_of(seed, n) if weighted else None
    made = ours(y, prediction, sample_weight=weight)
    expected = np.asarray(theirs(y, prediction, sample_weight=weight))
    errors.compare(kind, made, expected, top=1.0)
    function = evengrad._names.snake_case(kind)
    options = {"from_logits": from_logits} if entropy else {}
    values, keras_values = (
        np.asarray(getattr(library.losses, function)(y, prediction, **options))
        for library in (evengrad, keras)
    )
    errors.compare(kind, values, keras_values, top=1.0)


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


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind != SPARSE])
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
@pytest.mark.parametrize("kind", [BINARY, MSE, "Huber"])
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
    """In train_on_batch; the metric is not weighted, the weighted one is."""
    units = 4 if kind == SPARSE else 1
    activation = "softmax" if kind == SPARSE else "sigmoid"
    (x, kernel) = draws(3, (32, 5), (5, units))
    y = truth(kind, 4, 32, units)
    class_weight = {0: 0.5, 1: 2.0} | ({2: 0.0, 3: 1.25} if kind == SPARSE else {})
    results = []
    for library in (evengrad, keras):
        made = model(library, 5, units, activation)
        made.set_weights([kernel, np.zeros(units, np.float32)])
        loss = getattr(library.losses, kind)()
        names = {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
        made.compile(library.optimizers.SGD(0.1), loss, **names)
        logs = made.train_on_batch(x, y, class_weight=class_weight, return_dict=True)
        results.append((logs, made.get_weights()))
    (logs, weights), (keras_logs, keras_weights) = results
    assert logs.keys() == keras_logs.keys() == {"loss", "accuracy", "weighted_accuracy"}
    for key in logs:
        errors.compare("class_weight", logs[key], keras_logs[key])
    for a, b in zip(weights, keras_weights, strict=True):
        errors.compare("class_weight", a, b)


# 50 steps with each loss, the partial last batch included; loss and metrics as fit reports them.


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize(
    ("kind", "arguments", "activation"),
    [case for case in CASES if case[1] in ({}, {"from_logits": False}, {"label_smoothing": 0.1})],
)
def test_fifty_steps(kind: str, arguments: dict[str, Any], activation: str, reduction: str) -> None:
    x, *start = draws(1, (100, 6), (6, 8), (8,), (8, 5), (5,), spread=0.5)
    y = truth(kind, 2, 100, 5)
    weight = weights_of(3, 100)
    made, histories = [], []
    for library in (evengrad, keras):
        layers = library.layers
        network = library.Sequential(
            [library.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(5, activation)]
        )
        network.set_weights(start)
        rate = 1e-3 if reduction == "sum" or "Percentage" in kind else 0.03
        loss = getattr(library.losses, kind)(**arguments, reduction=reduction)
        network.compile(library.optimizers.SGD(rate), loss)
        options = {"epochs": 10, "batch_size": 22, "shuffle": False, "verbose": 0}
        history = network.fit(x, y, sample_weight=weight, **options)
        made.append(network.get_weights())
        histories.append(history.history["loss"])
    errors.compare("50 steps: loss", *histories, top=1.0)
    for a, b in zip(*made, strict=True):
        errors.compare_variable("50 steps: variables", a, b)


# Where Keras is wrong. On JAX it makes probabilities first, holds them inside [1e-7, 1 - 1e-7] and
# sends no gradient through what it holds: a sample wrong by 17 logits or more teaches nothing.


def wrong(kind: str, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets of samples that are wrong by so many logits."""
    if kind == BINARY:
        return by * np.array([[1.0], [-1.0], [1.0]]), np.array([[0.0], [1.0], [0.0]])
    return by * np.eye(3, 4), np.eye(4)[[1, 2, 3]]


ENDINGS = ["argument", "activation layer", "softmax layer", "from_logits"]


def ending_with(end: str, n: int, units: int, activation: str) -> evengrad.Sequential:
    layers = evengrad.layers
    dense = layers.Dense(units, activation if end == "argument" else None)
    stack = [evengrad.Input((n,)), dense]
    if end == "activation layer":
        stack.append(layers.Activation(activation))
    if end == "softmax layer":
        stack.append(layers.Softmax())
    return evengrad.Sequential(stack)


@pytest.mark.parametrize("by", [0.0, 5.0, 14.0, 16.0, 17.0, 20.0, 50.0, 100.0, 1000.0])
@pytest.mark.parametrize(
    ("kind", "end", "smoothing"),
    [
        *((SPARSE, end, 0.0) for end in ENDINGS),
        *((CATEGORICAL, end, smoothing) for end in ENDINGS for smoothing in (0.0, 0.1)),
        *((BINARY, end, s) for end in ENDINGS if end != "softmax layer" for s in (0.0, 0.1)),
    ],
)
def test_gradient_never_vanishes(kind: str, end: str, by: float, smoothing: float) -> None:
    logits, target = wrong(kind, by)
    n, units = logits.shape
    made = ending_with(end, n, units, "sigmoid" if kind == BINARY else "softmax")
    made.set_weights([logits, np.zeros(units)])
    y = target.argmax(axis=1) if kind == SPARSE else target
    arguments = {"label_smoothing": smoothing} if smoothing else {}
    loss = getattr(evengrad.losses, kind)(from_logits=end == "from_logits", **arguments)
    # With the identity as input the kernel's gradient is that of the logits.
    value, gradients = helpers.step_of_evengrad(made, loss, np.eye(n, dtype=np.float32), y, None)
    smoothed = target * (1 - smoothing) + smoothing / max(2, units)
    formula = reference.sigmoid_cross_entropy if kind == BINARY else reference.softmax_cross_entropy
    losses, p_minus_y = formula(logits, smoothed)
    errors.compare("wrong by up to 1000 logits", value, losses.mean())
    errors.compare("wrong by up to 1000 logits", gradients[0], p_minus_y)
    errors.compare("wrong by up to 1000 logits", gradients[1], p_minus_y.sum(axis=0))
    assert np.abs(p_minus_y).max() > 0.1


@pytest.mark.parametrize("kind", [SPARSE, CATEGORICAL, BINARY])
def test_outputs_stay_probabilities(kind: str) -> None:
    """Where the loss computes the last activation, metrics and predict see what it gives."""
    activation = "sigmoid" if kind == BINARY else "softmax"
    (x, kernel) = draws(3, (40, 5), (5, 4))
    made = model(evengrad, 5, 4, activation)
    made.set_weights([kernel, np.zeros(4, np.float32)])

    def mean_output(y_true: Any, y_pred: Any) -> Any:
        return y_pred[:, 0]

    made.compile(evengrad.optimizers.SGD(0.0), getattr(evengrad.losses, kind)(), [mean_output])
    outputs = reference.softmax_forward(x @ kernel)
    if kind == BINARY:
        outputs = 1.0 / (1.0 + np.exp(-(x @ kernel)))
    errors.compare("outputs of fused losses", made.predict(x), outputs)
    y = truth(kind, 1, 40, 4)
    for logs in (made.train_on_batch(x, y), made.evaluate(x, y, verbose=0)):
        errors.compare("outputs of fused losses", logs[1], outputs[:, 0].mean())


@pytest.mark.parametrize("after", ["Dropout", "Flatten"])
@pytest.mark.parametrize("kind", [SPARSE, BINARY])
def test_layers_after_the_last_activation(kind: str, after: str) -> None:
    activation = "sigmoid" if kind == BINARY else "softmax"
    parameters = draws(0, (6, 4), (4,), spread=0.4)
    made = []
    for library in (evengrad, keras):
        last = library.layers.Dropout(0.0) if after == "Dropout" else library.layers.Flatten()
        dense = library.layers.Dense(4, activation)
        made.append(library.Sequential([library.Input((6,)), dense, last]))
        made[-1].set_weights(parameters)
    (x,) = draws(1, (20, 6))
    y = truth(kind, 2, 20, 4)
    losses = [getattr(library.losses, kind)() for library in (evengrad, keras)]
    value, gradients = helpers.step_of_evengrad(made[0], losses[0], x, y)
    expected, keras_gradients = helpers.step_of_keras(made[1], losses[1], x, y)
    errors.compare("unfused", value, expected)
    for a, b in zip(gradients, keras_gradients, strict=True):
        errors.compare("unfused", a, b)
