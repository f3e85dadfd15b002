"""model.diagnose: sick networks by name, silence for healthy ones, nothing changed by asking."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import evengrad as keras
import models_at_random
import numpy as np
import pytest
from evengrad import _names, _random, doctor, initializers, layers, losses, optimizers
from evengrad.doctor import rules
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Model = keras.Sequential


@functools.cache
def ring() -> tuple[F32, NDArray[np.int64]]:
    """300 points on two circles."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    angle = rng.uniform(0.0, 2.0 * np.pi, 300)
    x = np.where(y == 1, 0.6, 1.3)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (x + rng.normal(0.0, 0.1, x.shape)).astype(np.float32), y


@functools.cache
def curve() -> tuple[F32, F32]:
    """400 rows of a smooth function of three of five columns."""
    x = np.random.default_rng(1).standard_normal((400, 5), dtype=np.float32)
    y = np.sin(2.0 * x[:, 0]) + x[:, 1] * x[:, 2]
    return x, (y / y.std()).astype(np.float32)


def network(
    depth: int = 3,
    width: int = 16,
    activation: str = "relu",
    kernel: Any = "he_normal",
    bias: Any = "zeros",
    head: str | None = "sigmoid",
    loss: Any = "binary_crossentropy",
    optimizer: Any = None,
    penalty: Any = None,
    normalized: Callable[[], Any] | None = None,
    metrics: Any = ("accuracy",),
) -> Model:
    keras.utils.set_random_seed(0)
    parts: list[Any] = []
    for _ in range(depth):
        parts.append(
            layers.Dense(
                width, activation, kernel_initializer=kernel, bias_initializer=bias,
                kernel_regularizer=penalty,
            )
        )  # fmt: skip
        parts += [normalized()] if normalized else []
    model = Model([*parts, layers.Dense(1, head)])
    model.compile(optimizer or optimizers.Adam(0.005), loss, list(metrics))
    return model


def trained(model: Model, x: Any, y: Any, epochs: int = 60, batch: int = 32) -> Model:
    with contextlib.suppress(keras.NonFiniteError):
        model.fit(x, y, batch, epochs, verbose=0)
    return model


def first_two(model: Model, x: Any, y: Any) -> list[str]:
    return [verdict.disease for verdict in model.diagnose(x, y).verdicts[:2]]


# What is said: the same words everywhere


def test_there_is_a_rule_for_every_disease() -> None:
    assert set(rules.RULES) == set(doctor.DISEASES)


def test_every_rule_names_its_source() -> None:
    for rule in rules.RULES.values():
        assert rule.__doc__
        assert any(year in rule.__doc__ for year in ("199", "200", "201", "202")), rule.__name__


def said_well(verdict: doctor.Verdict, model: Model) -> None:
    assert verdict.disease in doctor.DISEASES
    assert 0.0 <= verdict.confidence <= 1.0
    assert verdict.cause.endswith(".")
    assert verdict.evidence
    assert json.loads(json.dumps(verdict.evidence)) == verdict.evidence
    assert verdict.cure
    assert verdict.source
    json.dumps([(edit.kind, edit.value) for edit in verdict.edits])
    assert set(verdict.layers) <= {layer.name for layer in model.layers}


# Healthy ones


HEALTHY: dict[str, Callable[[], Model]] = {
    "relu": network,
    "tanh": lambda: network(5, activation="tanh", kernel="glorot_uniform"),
    "normalized": lambda: network(4, normalized=layers.BatchNormalization),
    "momentum": lambda: network(optimizer=optimizers.SGD(0.05, momentum=0.9)),
    "clipped": lambda: network(optimizer=optimizers.Adam(0.005, global_clipnorm=1.0)),
    "summed": lambda: network(loss=losses.BinaryCrossentropy(reduction="sum")),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_gets_silence(name: str) -> None:
    x, y = ring()
    model = HEALTHY[name]()
    assert model.diagnose(x, y).verdicts == ()  # before
    assert trained(model, x, y).diagnose(x, y).verdicts == ()


def test_always_zero_columns_are_no_disease() -> None:
    x, y = ring()
    x = np.hstack([x, np.zeros((len(x), 20), np.float32)])
    assert trained(network(), x, y).diagnose(x, y).healthy


def test_a_healthy_regression() -> None:
    x, y = curve()
    model = network(head=None, loss="mse", metrics=(keras.metrics.R2Score(),))
    model.fit(x[:300], y[:300], epochs=60, verbose=0, validation_data=(x[300:], y[300:]))
    assert model.diagnose(x[:300], y[:300]).healthy
    assert model.diagnose(x[:300], y[:300], validation_data=(x[300:], y[300:])).healthy


@pytest.mark.parametrize("seed", range(9))
def test_random_models_before_training_are_healthy(seed: int) -> None:
    model, (x, _) = models_at_random.model(seed), models_at_random.data()
    assert model.diagnose(x, models_at_random.targets(model)).healthy


# Sick ones: the fault is among the first two verdicts


def stale() -> Model:
    model = network(optimizer=optimizers.Adam(0.005))
    model.build((None, 2))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations = 10_000
    for slots in model.optimizer.kept().values():
        slots["velocity"].assign(np.full(slots["velocity"].shape, 1e6))
    return model


def normal(spread: float) -> initializers.Initializer:
    return initializers.RandomNormal(stddev=spread)


SICK: dict[str, tuple[str, Callable[[], Model], dict[str, int]]] = {
    "deep sigmoid": ("vanishing_gradient", lambda: network(10, activation="sigmoid",
        kernel="glorot_uniform"), {}),
    "growing": ("exploding_gradient", lambda: network(10, kernel=normal(1.5),
        optimizer=optimizers.SGD(0.05)), {}),
    "small kernels": ("initialization_scale", lambda: network(10, kernel=normal(0.03)), {}),
    "flat": ("saturation", lambda: network(4, activation="tanh", kernel=normal(10.0)), {}),
    "negative biases": ("dying_units", lambda: network(3,
        bias=initializers.Constant(-0.9)), {"epochs": 10}),
    "born dead": ("dead_on_arrival", lambda: network(bias=initializers.Constant(-30.0)), {}),
    "equal": ("symmetric_initialization", lambda: network(
        kernel=initializers.Constant(0.1)), {}),
    "fast": ("learning_rate_too_high", lambda: network(optimizer=optimizers.Adam(1.0)), {}),
    "slow": ("learning_rate_too_low", lambda: network(optimizer=optimizers.Adam(1e-6)), {}),
    "heavy": ("oscillation", lambda: network(optimizer=optimizers.SGD(0.05, momentum=0.999)), {}),
    "stale": ("optimizer_state", stale, {}),
    "relu output": ("output_loss_mismatch", lambda: network(head=None), {}),
    "penalty": ("over_regularized", lambda: network(penalty=keras.regularizers.L2(0.5)), {}),
    "decay": ("over_regularized", lambda: network(
        optimizer=optimizers.AdamW(0.005, weight_decay=40.0)), {}),
    "clipped": ("over_clipped", lambda: network(
        optimizer=optimizers.SGD(0.05, global_clipnorm=1e-4)), {}),
    "lagging": ("lagging_statistics", lambda: network(normalized=lambda: layers.BatchNormalization(
        momentum=0.9999, debias=False)), {}),
    "pairs": ("small_batches", lambda: network(6, activation="tanh", kernel="glorot_uniform",
        normalized=layers.BatchNormalization), {"batch": 1, "epochs": 3}),
    "short": ("too_few_epochs", network, {"epochs": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_a_fault_is_named(name: str) -> None:
    disease, make, options = SICK[name]
    x, y = ring()
    model = trained(make(), x, y, **options)
    report = model.diagnose(x, y)
    assert disease in [verdict.disease for verdict in report.verdicts[:2]], report.verdicts
    for verdict in report.verdicts:
        said_well(verdict, model)


DATA: dict[str, tuple[str, Callable[[F32, Any], tuple[Any, Any]]]] = {
    "one large column": ("unscaled_inputs", lambda x, y: (x * np.float32([1e4, 1, 1, 1, 1]), y)),
    "far": ("unscaled_inputs", lambda x, y: (x + np.float32(100.0), y)),
    "large targets": ("unscaled_targets", lambda x, y: (x, 1e5 * y)),
    "far targets": ("unscaled_targets", lambda x, y: (x, y + 1e4)),
    "constants": ("constant_columns", lambda x, y: (
        np.hstack([x, np.full((len(x), 50), 100.0, np.float32)]), y)),
    "permuted": ("labels_not_learnable", lambda x, y: (
        x, np.random.default_rng(5).permutation(y))),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_a_fault_of_the_data_is_named(name: str) -> None:
    disease, change = DATA[name]
    x, y = change(*curve())
    model = network(head=None, loss="mse", optimizer=optimizers.SGD(0.02, momentum=0.9))
    assert disease in first_two(trained(model, x, y), x, y)


def test_outputs_that_cannot_reach_the_targets() -> None:
    x, y = curve()
    model = trained(network(head="sigmoid", loss="mse"), x, y)
    verdict = model.diagnose(x, y).verdicts[0]
    assert verdict.disease == "output_loss_mismatch"
    assert verdict.layers == (model.layers[-1].name,)
    assert verdict.edits[0].value == {"activation": "linear", "loss": "mse", "units": 1}


def test_a_column_that_holds_the_answer() -> None:
    x, y = ring()
    known = np.hstack([x, (y[:, None] - 0.5).astype(np.float32)])
    other = np.hstack([x, np.random.default_rng(3).permutation(known[:, 2:])])
    model = network()
    model.fit(known[:200], y[:200], epochs=30, verbose=0, validation_data=(other[200:], y[200:]))
    verdict = model.diagnose(known[:200], y[:200]).verdicts[0]
    assert (verdict.disease, verdict.evidence["columns"]) == ("leaking_columns", [2])
    assert verdict.edits == (doctor.Edit("drop_columns", [2]),)


def test_normalized_inputs_may_have_any_scale() -> None:
    x, y = curve()
    x = x * np.float32([1e4, 1.0, 1e-3, 1.0, 1.0]) + np.float32(50.0)
    first = layers.Normalization(input_shape=(5,))
    first.adapt(x)
    keras.utils.set_random_seed(0)
    model = Model([first, layers.Dense(32, "elu"), layers.Dense(32, "elu"), layers.Dense(1)])
    model.compile(optimizers.Adam(0.01), "mse")
    assert trained(model, x, y).diagnose(x, y).healthy


def test_a_training_that_broke_in_its_first_step() -> None:
    x, y = curve()
    model = trained(network(head=None, loss="mse", optimizer=optimizers.SGD(1e9)), x, y)
    assert "learning_rate_too_high" in first_two(model, x, y)


# Before training


@pytest.mark.parametrize("name", ["deep sigmoid", "small kernels", "flat", "born dead", "equal",
                                  "relu output"])  # fmt: skip
def test_what_can_be_seen_before_training(name: str) -> None:
    disease, make, _ = SICK[name]
    assert disease in first_two(make(), *ring())


def test_the_depth_that_can_be_trained_is_named() -> None:
    model = network(10, activation="sigmoid", kernel="glorot_uniform")
    verdict = model.diagnose(*ring()).verdicts[0]
    assert verdict.evidence["depth"] == 10
    assert verdict.evidence["trainable_depth"] < 3.0
    assert "trainable to about 2 layers, this has 10." in verdict.cause


def test_what_was_learned_elsewhere_is_not_taken_for_a_start() -> None:
    x, y = ring()
    model = trained(network(), x, y)
    model.compile("adam", "binary_crossentropy")
    model.history = None
    assert model.diagnose(x, y).healthy


# Nothing changes


def state(model: Model) -> list[Any]:
    arrays = [*model.live_arrays, *(v.storage for v in model.optimizer.variables)]
    return [
        [array.tobytes() for array in arrays],
        None if model.draws is None else model.draws.state,
        model.draws,
        _random.generator().bit_generator.state,
        dict(_names._used),
        model.skipped_steps,
        model.history,
        None if model.history is None else copy.deepcopy(model.history.history),
        model.optimizer,
        [v.regularizer for v in model.variables],
    ]


def noisy() -> Model:
    keras.utils.set_random_seed(3)
    parts = [
        layers.Dense(16, "relu", kernel_regularizer="l2"), layers.BatchNormalization(),
        layers.Dropout(0.3), layers.Dense(16, "sigmoid"), layers.GaussianNoise(0.1),
        layers.Dense(1, "sigmoid"),
    ]  # fmt: skip
    model = Model(parts)
    rate = optimizers.schedules.CosineDecay(0.01, 100)
    model.compile(optimizers.Adam(rate, use_ema=True, clipnorm=0.1), "binary_crossentropy")
    return model


def test_asking_changes_nothing() -> None:
    x, y = ring()
    asked, left = noisy(), noisy()
    for model in (asked, left):
        keras.utils.set_random_seed(4)
        model.fit(x, y, epochs=1, verbose=0)
    before = state(asked)
    x_before = x.copy()
    assert not asked.diagnose(x, y).healthy  # short trainings are run
    assert state(asked) == before
    assert np.array_equal(x, x_before)
    for model in (asked, left):  # go on: the same random numbers, moments and moving statistics
        keras.utils.set_random_seed(5)
        model.fit(x, y, epochs=2, verbose=0)
    assert state(asked)[0] == state(left)[0]


def test_asking_before_the_model_is_built_draws_nothing() -> None:
    x, y = ring()
    weights = []
    for ask in (True, False):
        model = network()
        if ask:
            model.diagnose(x, y)
            assert not model.built
        model.build((None, 2))
        weights.append([w.tobytes() for w in model.get_weights()])
    assert weights[0] == weights[1]


@pytest.mark.parametrize("seed", range(4))
def test_the_same_model_and_data_give_the_same_report(seed: int) -> None:
    model, (x, _) = models_at_random.model(seed), models_at_random.data()
    y = models_at_random.targets(model)
    model.fit(x, y, 16, 2, verbose=0)
    keras.utils.set_random_seed(1)
    one = model.diagnose(x, y)
    keras.utils.set_random_seed(2)
    other = model.diagnose(x, y)
    assert one.verdicts == other.verdicts
    assert repr(one.layers) == repr(other.layers)


# Layers of a report


def test_figures_of_the_layers() -> None:
    x, y = ring()
    model = trained(network(2), x, y, epochs=5)
    figures = model.diagnose(x, y).layers
    assert [f.name for f in figures] == [layer.name for layer in model.layers]
    assert [f.activation for f in figures] == ["relu", "relu", "sigmoid"]
    outputs = np.asarray(x, np.float64)
    for layer, figure in zip(model.layers, figures, strict=True):
        kernel, bias = layer.get_weights()
        z = outputs @ kernel + bias
        outputs = np.maximum(z, 0.0) if figure.activation == "relu" else 1.0 / (1.0 + np.exp(-z))
        assert figure.units == kernel.shape[1]
        assert figure.mean == pytest.approx(outputs.mean(), rel=1e-5)
        assert figure.spread == pytest.approx(outputs.std(), rel=1e-5)
        assert figure.counts.sum() == outputs.size
        assert figure.edges[0] <= outputs.min()
        assert outputs.max() <= figure.edges[-1] * (1.0 + 1e-6)
        if figure.activation == "relu":
            assert figure.zeros == pytest.approx(np.mean(z <= 0.0), abs=1e-3)
            assert figure.saturated == pytest.approx(np.mean(z <= 0.0), abs=1e-3)
            assert figure.dead == np.sum((z <= 0.0).all(axis=0))


def test_gradients_of_the_figures_are_those_of_the_loss_alone() -> None:
    x, y = ring()
    model = network(2, penalty=keras.regularizers.L2(0.5))
    model.build((None, 2))
    figures = model.diagnose(x, y).layers
    outputs = model.forward(x)
    _, dy = model.loss.value_and_gradient(y[:, None], outputs)
    model.backward(dy)
    for layer, figure in zip(model.layers, figures, strict=True):
        gradient = np.asarray(model.gradients[layer.kernel], np.float64)
        assert figure.gradient == pytest.approx(np.sqrt(np.mean(gradient**2)), rel=1e-4)


# Whatever a model is made of


class Scale(layers.Layer):
    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(input_shape[-1:], "ones", "scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale.value

    def call_backward(self, inputs: Any, outputs: Any, dy: Any) -> Any:
        return dy * self.scale.value, {self.scale: (dy * inputs).sum(axis=0)}


class Cubes(losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return (np.abs(y_pred - y_true) ** 3).mean(axis=-1)

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        d = y_pred - y_true
        return 3.0 * d * np.abs(d) / d.shape[-1]


def block(units: int) -> Any:
    return layers.Residual([layers.Dense(units, "relu"), layers.LayerNormalization()])


MADE_OF: dict[str, tuple[Callable[[], list[Any]], Any, tuple[int, ...]]] = {
    "own layer": (lambda: [layers.Dense(8, "relu"), Scale(), layers.Dense(1)], "mse", (5,)),
    "own loss": (lambda: [layers.Dense(8, "relu"), layers.Dense(1)], Cubes(), (5,)),
    "residual": (lambda: [block(8), block(8), layers.Dense(1)], "mse", (5,)),
    "nested": (lambda: [Model([layers.Dense(8, "tanh")]), layers.Dense(1)], "mse", (5,)),
    "images": (lambda: [layers.Flatten(), layers.Dense(8, "relu"), layers.Dense(1)], "mse",
        (3, 4)),
    "rows": (lambda: [layers.Dense(8, "relu"), layers.Dense(1)], "mse", (3, 4)),
    "no Dense": (lambda: [layers.BatchNormalization(), layers.PReLU()], "mse", (1,)),
    "one Dense": (lambda: [layers.Dense(1)], "mse", (5,)),
    "frozen": (lambda: [layers.Dense(8, "relu", trainable=False), layers.Dense(1)], "mse", (5,)),
    "all frozen": (lambda: [layers.Dense(1, trainable=False)], "mse", (5,)),
    "dropout": (lambda: [layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(1)], "huber",
        (5,)),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE_OF)
def test_no_model_is_refused(name: str) -> None:
    make, loss, shape = MADE_OF[name]
    keras.utils.set_random_seed(0)
    model = Model(make())
    model.compile("adam", loss)
    x = np.random.default_rng(0).standard_normal((64, *shape), dtype=np.float32)
    outputs = model.predict(x).shape
    y = x.reshape(len(x), -1)[:, :1] * np.ones(outputs, np.float32).reshape(len(x), -1)
    y = y.reshape(outputs)
    assert model.diagnose(x, y).layers is not None
    model.fit(x, y, epochs=2, verbose=0)
    model.diagnose(x, y)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_few_rows(rows: int) -> None:
    x, y = ring()
    model = trained(network(), x[:rows], y[:rows], epochs=1)
    model.diagnose(x[:rows], y[:rows])


def test_labels_of_one_class_say_nothing() -> None:
    x, y = ring()
    trained(network(), x, 0 * y, epochs=2).diagnose(x, 0 * y)


def test_biases_that_feed_a_normalization_are_not_sick() -> None:
    """Their gradient is zero by construction, up to rounding."""
    x, y = ring()
    parts = [layers.Dense(16), layers.BatchNormalization(), layers.ReLU()]
    keras.utils.set_random_seed(0)
    model = Model([*parts, layers.Dense(1, "sigmoid")])
    model.compile(optimizers.Adam(0.01), "binary_crossentropy")
    assert model.diagnose(x, y).healthy
    assert trained(model, x, y).diagnose(x, y).healthy


# What is refused


def test_a_model_that_is_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"^diagnose: call model\.compile"):
        Model([layers.Dense(1)]).diagnose([[1.0]], [[1.0]])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"x": [[1.0, float("nan")]]}, "diagnose: expected x to hold finite numbers"),
        ({"y": None}, "diagnose: expected y, the labels or targets of x"),
        ({"y": [1.0, 2.0, 3.0]}, "diagnose: expected y"),
        ({"batch_size": 0}, "diagnose: expected batch_size to be at least 1"),
        ({"batch_size": 2.5}, "diagnose: expected batch_size"),
    ],
)
def test_bad_arguments(options: dict[str, Any], text: str) -> None:
    good: dict[str, Any] = {"x": [[1.0, 2.0]], "y": [1.0]}
    with pytest.raises((ValueError, TypeError), match=text):
        network().diagnose(**(good | options))


def test_arguments_have_words() -> None:
    text = inspect.getdoc(Model.diagnose) or ""
    for name in list(inspect.signature(Model.diagnose).parameters)[1:]:
        assert name in text


def test_a_program_that_does_not_ask_does_not_load_it() -> None:
    script = "import sys, evengrad; evengrad.models; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = done.stdout.split()
    assert "evengrad.models" in loaded
    assert [name for name in loaded if "doctor.rules" in name or "doctor.probe" in name] == []
