"""compile: each argument, and compiling again in mid-life, against Keras run beside it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import evengrad
import numpy as np
import pytest

from parity import helpers
from parity.helpers import keras
from parity.twins import CLASSES, ONE_HOT, WEIGHT, Twins, X, Y, network, outcome

pytestmark = [
    helpers.quiet,
    # Keras wants to be compiled again after a change of trainable, and says so; here it works.
    pytest.mark.filterwarnings("ignore:A layer's `trainable` state has changed:UserWarning"),
    pytest.mark.filterwarnings("ignore:If `run_eagerly` is True:UserWarning"),
]

SPARSE = "sparse_categorical_crossentropy"


@pytest.fixture(scope="module")
def twins_of_module() -> Twins:
    return Twins()


@pytest.fixture
def twins(twins_of_module: Twins) -> Twins:
    twins_of_module.again()
    return twins_of_module


# Arguments


@pytest.mark.parametrize(
    "optimizer",
    [None, "SGD", "Adam", lambda k: k.optimizers.SGD(0.1, momentum=0.9)],
    ids=["default", "SGD", "Adam", "object"],
)
def test_optimizer(twins: Twins, optimizer: Any) -> None:
    def options(library: ModuleType) -> dict[str, Any]:
        made = optimizer(library) if callable(optimizer) else optimizer
        return {"loss": SPARSE, "metrics": []} | ({} if made is None else {"optimizer": made})

    twins.compile(options)
    ours, theirs = twins.models
    assert type(ours.optimizer).__name__ == type(theirs.optimizer).__name__
    assert ours.optimizer.learning_rate == pytest.approx(float(theirs.optimizer.learning_rate))
    twins.same_history("compile: optimizer", X, Y, epochs=2, shuffle=False)


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "MeanSquaredError",
        "mean_squared_error",
        "huber",
        lambda k: k.losses.Huber(0.3),
        lambda k: k.losses.mean_squared_error,
        ["mse"],
    ],
    ids=str,
)
def test_loss(twins: Twins, loss: Any) -> None:
    twins.compile(
        lambda k: {"optimizer": "sgd", "loss": loss(k) if callable(loss) else loss, "metrics": []}
    )
    twins.same_history("compile: loss", X, ONE_HOT, shuffle=False)


def test_a_function_without_a_gradient_is_no_loss() -> None:
    """Keras differentiates it; here the error says what to write instead."""

    def cubic(y_true: Any, y_pred: Any) -> Any:
        return (abs(y_true - y_pred) ** 3).mean(axis=-1)

    model = network(evengrad)
    with pytest.raises(TypeError, match=r"losses\.Loss .*call.*gradient"):
        model.compile("sgd", cubic)
    assert not model.compiled


METRICS: dict[str, Any] = {
    "accuracy": lambda k: {"metrics": ["accuracy"]},
    "acc": lambda k: {"metrics": ["acc"]},
    "nested": lambda k: {"metrics": (["mae", "mse"],)},
    "by output": lambda k: {"metrics": {"dense_1": ["mae", "mse"]}},
    "objects": lambda k: {"metrics": [k.metrics.MeanSquaredError(), k.metrics.AUC(name="area")]},
    "named": lambda k: {"metrics": [k.metrics.MeanAbsoluteError(name="distance")]},
    "twice": lambda k: {"metrics": ["mae", "mae"], "weighted_metrics": ["mae", "mae"]},
    "weighted": lambda k: {"metrics": ["mse"], "weighted_metrics": ["mse", "mae"]},
    "only weighted": lambda k: {"weighted_metrics": ["mae"]},
    "camel": lambda k: {"metrics": ["MeanSquaredError", "mean_absolute_error"]},
}


@pytest.mark.parametrize("form", METRICS)
def test_metrics(twins: Twins, form: str) -> None:
    twins.compile(lambda k: {"optimizer": "sgd", "loss": "mse", "metrics": []} | METRICS[form](k))
    twins.same_history(
        "compile: metrics", X, ONE_HOT, sample_weight=WEIGHT, shuffle=False, validation_split=0.4
    )
    assert set(twins.ours.metrics_names) == set(twins.theirs.get_metrics_result())


def test_what_is_not_given_is_not_there(twins: Twins) -> None:
    """Keras 3.15 keeps the metrics of the compile before; here compile says it all."""
    for model in twins.models:
        model.compile("sgd", loss="mse", metrics=["mae"])
        model.compile("sgd", loss="mse")
    ours, theirs = twins.both(lambda m: sorted(m.fit(X, ONE_HOT, verbose=0).history))
    assert (ours, theirs) == (["loss"], ["loss", "mae"])


def test_a_function_as_a_metric(twins: Twins) -> None:
    def options(library: ModuleType) -> dict[str, Any]:
        numpy = np if library is evengrad else keras.ops

        def largest_error(y_true: Any, y_pred: Any) -> Any:
            return numpy.max(numpy.abs(y_true - y_pred), axis=-1)

        return {"optimizer": "sgd", "loss": "mse", "metrics": [largest_error]}

    twins.compile(options)
    ours, _ = twins.same_history("compile: metrics", X, ONE_HOT, shuffle=False)
    assert "largest_error" in ours.history


@pytest.mark.parametrize(
    "options",
    [
        {"loss_weights": 1.0},
        {"loss_weights": [1.0]},
        {"run_eagerly": True},
        {"jit_compile": False},
        {"steps_per_execution": 2},
        {"auto_scale_loss": False},
    ],
    ids=str,
)
def test_what_has_no_effect(twins: Twins, options: dict[str, Any]) -> None:
    twins.compile(lambda k: {"optimizer": "sgd", "loss": "mse", "metrics": ["mae"]} | options)
    twins.same_history("compile: no effect", X[:16], ONE_HOT[:16], batch_size=4, shuffle=False)
    ours, theirs = twins.models
    for name in options.keys() & {"run_eagerly", "jit_compile", "steps_per_execution"}:
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "nope"},
        {"loss": "nope"},
        {"metrics": "accuracy"},
        {"metrics": ["nope"]},
        {"loss_weights": [1.0, 2.0]},
    ],
    ids=str,
)
def test_what_is_refused(twins: Twins, options: dict[str, Any]) -> None:
    """By compile here, by Keras partly at the first use. One metric without a list is taken."""

    def use(model: Any) -> Any:
        model.compile(**{"optimizer": "sgd", "loss": "mse"} | options)
        return model.test_on_batch(X, ONE_HOT)

    ours, theirs = twins.both(lambda model: outcome(lambda: use(model)))
    assert theirs is ValueError
    assert (ours is ValueError) != (options == {"metrics": "accuracy"})


def test_use_before_compile() -> None:
    calls = ("fit", "evaluate", "train_on_batch", "test_on_batch")
    twins = Twins()
    for call in calls:
        kinds = twins.both(lambda m, c=call: outcome(lambda: getattr(m, c)(X, Y)))
        assert kinds == (ValueError, ValueError)
    assert twins.both(lambda model: model.compiled) == (False, False)
    assert twins.both(lambda model: outcome(lambda: model.predict(X, verbose=0).shape)) == (
        (len(X), CLASSES), (len(X), CLASSES)
    )  # fmt: skip


# Again


def adam(library: ModuleType) -> dict[str, Any]:
    return {"optimizer": library.optimizers.Adam(0.05), "loss": SPARSE, "metrics": ["accuracy"]}


def fit_all(twins: Twins, **options: Any) -> None:
    twins.same_history("compiled again", X, Y, shuffle=False, epochs=2, **options)


def iterations(twins: Twins) -> tuple[int, int]:
    ours, theirs = twins.both(lambda model: int(model.optimizer.iterations))
    return ours, theirs


def test_a_new_optimizer_starts_anew() -> None:
    twins = Twins(compiled=adam)
    fit_all(twins)
    assert iterations(twins) == (4, 4)
    twins.compile(adam)
    assert iterations(twins) == (0, 0)
    fit_all(twins)
    assert iterations(twins) == (4, 4)


def test_the_same_optimizer_goes_on() -> None:
    twins = Twins(compiled=adam)
    fit_all(twins)
    for model in twins.models:
        model.compile(model.optimizer, SPARSE, metrics=["sparse_categorical_accuracy"])
    fit_all(twins)
    assert iterations(twins) == (8, 8)


def test_another_loss() -> None:
    twins = Twins(compiled=adam)
    fit_all(twins)
    twins.compile(lambda library: adam(library) | {"loss": "mse"})
    twins.same_history("compiled again", X, ONE_HOT, shuffle=False)


def test_another_learning_rate() -> None:
    twins = Twins(compiled=adam)
    fit_all(twins)
    for model in twins.models:
        model.optimizer.learning_rate = 0.005
    fit_all(twins)
    assert twins.ours.optimizer.learning_rate == 0.005
    assert iterations(twins) == (8, 8)


def test_frozen_and_thawed() -> None:
    twins = Twins(compiled=adam)
    for trainable in (False, True):
        for model in twins.models:
            model.layers[0].trainable = trainable
        twins.compile(adam)
        before = twins.ours.get_weights()[0]
        fit_all(twins)
        assert (twins.ours.get_weights()[0] != before).any() == trainable


def test_trainable_of_a_model() -> None:
    def seen(model: Any) -> list[Any]:
        found: list[Any] = [model.trainable]
        model.trainable = False
        found += [model.trainable, [layer.trainable for layer in model.layers]]
        found.append(len(model.trainable_variables))
        model.trainable = True
        return [*found, len(model.trainable_variables), len(model.non_trainable_variables)]

    ours, theirs = Twins().both(seen)
    assert ours == theirs
