"""Fifty steps of the same program from the same weights, in evengrad, Keras on JAX and float64."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import evengrad
import numpy as np
import pytest
import reference
from evengrad import datasets

from parity import errors, helpers
from parity.helpers import keras

pytestmark = [
    helpers.quiet,
    # Keras prefers Input, and says so.
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
]

STEPS, BATCH, RATE = 50, 32, 0.05
# No gradient of these programs reaches 1 in any element: the last one is for clipvalue to do work.
CLIPS = {
    "clipnorm": {"clipnorm": 1.0},
    "clipvalue": {"clipvalue": 1.0},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "low clipvalue": {"clipvalue": 0.01},
}


def without_biases(keras: ModuleType, **batch_norm: Any) -> Any:
    """The reference program; batch_norm is for debias=False, which Keras does not know."""
    return keras.models.Sequential(
        [
            keras.layers.Flatten(input_shape=[28, 28]),
            keras.layers.BatchNormalization(**batch_norm),
            keras.layers.Dense(300, kernel_initializer="he_normal", use_bias=False),
            keras.layers.BatchNormalization(**batch_norm),
            keras.layers.Activation("elu"),
            keras.layers.Dense(100, kernel_initializer="he_normal", use_bias=False),
            keras.layers.BatchNormalization(**batch_norm),
            keras.layers.Activation("elu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def with_biases(keras: ModuleType, **batch_norm: Any) -> Any:
    return keras.models.Sequential(
        [
            keras.layers.Flatten(input_shape=[28, 28]),
            keras.layers.BatchNormalization(**batch_norm),
            keras.layers.Dense(300, activation="elu", kernel_initializer="he_normal"),
            keras.layers.BatchNormalization(**batch_norm),
            keras.layers.Dense(100, activation="elu", kernel_initializer="he_normal"),
            keras.layers.BatchNormalization(**batch_norm),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


PROGRAMS = {"without biases": without_biases, "with biases": with_biases}
CASES = [
    *(("without biases", clip) for clip in CLIPS),
    ("with biases", "clipnorm"),
    ("with biases", "low clipvalue"),
]


def compiled(library: ModuleType, program: Any, clip: dict[str, float]) -> Any:
    library.utils.clear_session()
    batch_norm = {"debias": False} if library is evengrad else {}
    model = program(library, **batch_norm)
    optimizer = library.optimizers.SGD(learning_rate=RATE, **clip)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


def twins(program: Any, clip: dict[str, float]) -> tuple[Any, Any]:
    """The program in both libraries, compiled, from the same weights."""
    keras.utils.set_random_seed(0)
    ours, theirs = (compiled(library, program, clip) for library in (evengrad, keras))
    ours.set_weights(theirs.get_weights())
    return ours, theirs


class Outcome(NamedTuple):
    losses: list[float]
    accuracies: list[float]
    variables: dict[str, np.ndarray]
    outputs: np.ndarray  # on the test images, in inference mode
    clipped: int = 0  # steps; counted in float64


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    (x, y), _ = datasets.fashion_mnist.load_sample()
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        rows = rng.choice(len(x), BATCH, replace=False)
        yield x[rows].astype(np.float32), y[rows]


def held_out_images() -> np.ndarray:
    return datasets.fashion_mnist.load_sample()[1][0].astype(np.float32)


def names(model: Any) -> list[str]:
    return [f"{layer.name}/{v.name}" for layer in model.layers for v in layer.weights]


def trained(model: Any) -> Outcome:
    losses, accuracies = [], []
    for x, y in batches():
        logs = model.train_on_batch(x, y, return_dict=True)
        losses.append(float(logs["loss"]))
        accuracies.append(float(logs["accuracy"]))
        if isinstance(model, keras.Model):
            model.reset_metrics()  # Keras goes on averaging over batches
    variables = dict(zip(names(model), model.get_weights(), strict=True))
    outputs = np.asarray(model.predict(held_out_images(), verbose=0))
    return Outcome(losses, accuracies, variables, outputs)


# The same in float64, from the formulas that the kernels are tested with.


def in_float64(model: Any, weights: list[np.ndarray], clip: dict[str, float]) -> Outcome:
    """Train on the same batches; `model` says only which layers there are."""
    variables = dict(zip(names(model), map(reference.f64, weights), strict=True))
    ((kind, limit),) = clip.items()
    clipped = reference.CLIPS[{"clipnorm": "norm", "clipvalue": "value"}.get(kind, "global_norm")]
    losses, accuracies, steps = [], [], 0
    for x, y in batches():
        one_hot = reference.one_hot(y, 10)
        logits, tape = _forward(model, variables, x, training=True)
        loss, dy = reference.softmax_cross_entropy(logits, one_hot)
        losses.append(float(loss.mean()))
        accuracies.append(float((logits.argmax(axis=1) == y).mean()))
        gradients = {k: g for k, g in _backward(tape, dy).items() if k in variables}
        after = clipped(list(gradients.values()), limit)
        steps += any((a != b).any() for a, b in zip(after, gradients.values(), strict=True))
        for name, gradient in zip(gradients, after, strict=True):
            variables[name] = variables[name] - RATE * gradient
    logits, _ = _forward(model, variables, held_out_images(), training=False)
    return Outcome(losses, accuracies, variables, reference.softmax_forward(logits), steps)


def _forward(
    model: Any, variables: dict[str, Any], x: np.ndarray, *, training: bool
) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """Logits, and what the way back needs."""
    tape: list[tuple[Any, ...]] = []
    y = reference.f64(x).reshape(len(x), -1)
    for layer in model.layers:
        kind, name = type(layer).__name__, layer.name
        if kind == "BatchNormalization":
            gamma, beta = variables[f"{name}/gamma"], variables[f"{name}/beta"]
            moving = [f"{name}/moving_mean", f"{name}/moving_variance"]
            tape.append((kind, name, y, gamma))
            if training:
                y, *batch = reference.batch_norm_forward(y, gamma, beta, 1e-3)
                for key, value in zip(moving, batch, strict=True):
                    variables[key] = 0.99 * variables[key] + (1 - 0.99) * value
            else:
                statistics = variables[moving[0]], variables[moving[1]]
                y = reference.batch_norm_inference(y, gamma, beta, statistics, 1e-3)
        if kind == "Dense":
            kernel = variables[f"{name}/kernel"]
            tape.append((kind, name, y, kernel))
            y = reference.dense_forward(y, kernel, variables.get(f"{name}/bias"))
        if kind == "Activation" or (kind == "Dense" and layer.units != 10 and layer.use_bias):
            tape.append(("elu", name, y, None))
            y = reference.activation_forward("elu", y)
    return y, tape


def _backward(tape: list[tuple[Any, ...]], dy: np.ndarray) -> dict[str, np.ndarray]:
    gradients = {}
    for kind, name, x, weight in reversed(tape):
        if kind == "elu":
            dy = dy * reference.activation_slope("elu", x)
        elif kind == "Dense":
            dy, dkernel, dbias = reference.dense_backward(x, weight, dy)
            gradients |= {f"{name}/kernel": dkernel, f"{name}/bias": dbias}
        else:
            dy, gradients[f"{name}/gamma"], gradients[f"{name}/beta"] = (
                reference.batch_norm_backward(x, weight, dy, 1e-3)
            )
    return gradients


# Comparisons


class Case(NamedTuple):
    evengrad: Outcome
    keras: Outcome
    float64: Outcome


@pytest.fixture(scope="module", params=CASES, ids=" - ".join)
def case(request: pytest.FixtureRequest) -> Case:
    program, clip = request.param
    ours, theirs = twins(PROGRAMS[program], CLIPS[clip])
    oracle = in_float64(ours, ours.get_weights(), CLIPS[clip])
    return Case(trained(ours), trained(theirs), oracle)


PAIRS = [("evengrad", "keras"), ("evengrad", "float64"), ("keras", "float64")]


@pytest.mark.parametrize(("made", "expected"), PAIRS)
def test_losses(case: Case, made: str, expected: str) -> None:
    a, b = getattr(case, made), getattr(case, expected)
    for one, other in zip(a.losses, b.losses, strict=True):
        errors.compare(f"50 steps, {made} - {expected}: losses", one, other)
    assert a.accuracies == pytest.approx(b.accuracies)
    assert b.losses[-1] < 0.6 * b.losses[0], "nothing was learnt"


@pytest.mark.parametrize(("made", "expected"), PAIRS)
def test_variables(case: Case, made: str, expected: str) -> None:
    a, b = getattr(case, made).variables, getattr(case, expected).variables
    assert list(a) == list(b)
    for name in a:
        errors.compare_variable(f"50 steps, {made} - {expected}: variables", a[name], b[name])


@pytest.mark.parametrize(("made", "expected"), PAIRS)
def test_outputs(case: Case, made: str, expected: str) -> None:
    a, b = getattr(case, made).outputs, getattr(case, expected).outputs
    # As the variables they come from.
    errors.compare(f"50 steps, {made} - {expected}: outputs", a, b, allowed=1e-4)


def test_clipping_was_at_work(case: Case, request: pytest.FixtureRequest) -> None:
    _, clip = request.node.callspec.params["case"]
    idle = clip == "clipvalue"
    assert case.float64.clipped == 0 if idle else case.float64.clipped >= STEPS // 2


# What a user reads off the model


def test_summary_counts() -> None:
    for library in (evengrad, keras):
        model = compiled(library, with_biases, {})
        assert [layer.count_params() for layer in model.layers] == [
            0, 3136, 235500, 1200, 30100, 400, 1010,
        ]  # fmt: skip
        assert model.count_params() == 271_346
        frozen = sum(int(np.prod(v.shape)) for v in model.non_trainable_variables)
        assert frozen == 2_368
        assert shown(model) == ["0", "3,136", "235,500", "1,200", "30,100", "400", "1,010"]
        text = summary(model)
        assert "Total params: 271,346" in text
        assert "Trainable params: 268,978" in text
        assert "Non-trainable params: 2,368" in text


def test_summary_is_the_same_but_for_widths() -> None:
    for program in PROGRAMS.values():
        ours, theirs = twins(program, {})
        assert shown(ours) == shown(theirs)
        x, y = next(batches())
        for model in (ours, theirs):  # an optimizer without slots: its counter and its rate
            model.train_on_batch(x, y)
        a, b = (summary(model).split("\n Total")[1].split() for model in (ours, theirs))
        assert a == b


def summary(model: Any) -> str:
    lines: list[str] = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    return "\n".join(lines)


def shown(model: Any) -> list[str]:
    """The last column."""
    return re.findall(r"([\d,]+) │$", summary(model), flags=re.MULTILINE)


@pytest.mark.parametrize("attribute", ["name", "path", "trainable", "shape", "dtype"])
def test_variables_are_described_alike(attribute: str) -> None:
    ours, theirs = twins(with_biases, {})
    for kind in ("variables", "trainable_variables", "non_trainable_variables"):
        a, b = ([getattr(v, attribute) for v in getattr(model, kind)] for model in (ours, theirs))
        assert a == b, kind
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert a.name == b.name
        assert [getattr(v, attribute) for v in a.variables] == [
            getattr(v, attribute) for v in b.variables
        ]


# fit and evaluate


@pytest.fixture(scope="module")
def fitted() -> tuple[Any, Any]:
    """Models and their histories; the last batch of 1,203 rows has 19."""
    (x, y), _ = datasets.fashion_mnist.load_sample()
    return tuple(  # type: ignore[return-value]
        (
            model,
            model.fit(
                x.astype(np.float32), y, epochs=2, shuffle=False, validation_split=0.198, verbose=0
            ),
        )
        for model in twins(without_biases, CLIPS["clipnorm"])
    )


def test_history(fitted: Any) -> None:
    (_, ours), (_, theirs) = fitted
    assert sorted(ours.history) == sorted(theirs.history)  # Keras sorts them
    assert ours.epoch == theirs.epoch
    assert {k: ours.params[k] for k in theirs.params} == theirs.params
    for key, values in theirs.history.items():
        # 76 steps, and Keras sums an epoch's losses in float32.
        errors.compare("fit", ours.history[key], values, allowed=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [64, 400])
def test_evaluate(fitted: Any, batch_size: int, weighted: bool) -> None:
    (ours, _), (theirs, _) = fitted
    x, y = held_out_images(), datasets.fashion_mnist.load_sample()[1][1]
    weight = np.random.default_rng(0).uniform(0.0, 2.0, len(x)) if weighted else None
    arguments = {"batch_size": batch_size, "sample_weight": weight, "verbose": 0}
    a, b = ours.evaluate(x, y, **arguments), theirs.evaluate(x, y, **arguments)
    errors.compare("evaluate", a, b, allowed=1e-4)  # as the variables
    a, b = (model.evaluate(x, y, **arguments, return_dict=True) for model in (ours, theirs))
    assert a.keys() == b.keys()
    for key in a:
        errors.compare("evaluate", a[key], b[key], allowed=1e-4)
