"""Bad input for every argument of a model's methods: one clear line, nothing half done."""

from __future__ import annotations

import inspect
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers
from test_validation import CLASSES, NAN, ROWS, X, Y, classifier, left_alone, numbers, refused

COUNTS: list[Any] = [0, -1, 2.5, 3.0, "3", [3], True, NAN]
FLAGS: list[Any] = ["yes", 2, [True], None]
VERBOSE: list[Any] = [3, -1, "loud", None, [1], 0.5]
SAMPLES: list[Any] = [None, "text", X[:, :3], X[0], 5.0, X.astype(str)]
TRUTH: list[Any] = [None, "text", Y[:-1], Y + CLASSES, Y + 0.5, X]
WEIGHTS: list[Any] = ["text", np.ones(3), -np.ones(ROWS), np.full(ROWS, NAN), np.ones((ROWS, 2)), 5]
OF_CLASSES: list[Any] = [
    5, [1.0, 2.0], "balanced", {"a": 1.0}, {0: -1.0}, {0: NAN}, {0: "1"}, {-1: 1.0}, {0.5: 1.0},
    {None: 1.0},
]  # fmt: skip
CALLBACKS: list[Any] = [5, ["History"], [keras.callbacks.History], [None]]

# By method and argument; what messages call something else is in NAMES.
BAD: dict[str, dict[str, list[Any]]] = {
    "fit": {
        "x": SAMPLES,
        "y": TRUTH,
        "batch_size": COUNTS,
        "epochs": [-1, 2.5, "3", None, True],
        "verbose": VERBOSE,
        "callbacks": CALLBACKS,
        "validation_split": numbers(-0.1, 1.0, 1.5, 0.999),
        "validation_data": [5, X, (X,), (X, Y, None, None), "xy", {"x": X}, (X, None), (X, Y[1:])],
        "shuffle": FLAGS,
        "class_weight": OF_CLASSES,
        "sample_weight": WEIGHTS,
        "initial_epoch": [-1, 2.5, "3", None, True],
        "steps_per_epoch": COUNTS,
        "validation_steps": COUNTS,
        "validation_batch_size": COUNTS,
        "validation_freq": [*(bad for bad in COUNTS if bad != [3]), None, [0], [1.5], ["1"]],
    },
    "evaluate": {
        "x": SAMPLES,
        "y": TRUTH,
        "batch_size": COUNTS,
        "verbose": VERBOSE,
        "sample_weight": WEIGHTS,
        "steps": COUNTS,
        "callbacks": CALLBACKS,
        "return_dict": FLAGS,
    },
    "predict": {
        "x": [bad for bad in SAMPLES if bad is not None],
        "batch_size": COUNTS,
        "verbose": VERBOSE,
        "steps": COUNTS,
        "callbacks": CALLBACKS,
    },
    "train_on_batch": {
        "x": SAMPLES,
        "y": TRUTH,
        "sample_weight": WEIGHTS,
        "class_weight": OF_CLASSES,
        "return_dict": FLAGS,
    },
    "test_on_batch": {"x": SAMPLES, "y": TRUTH, "sample_weight": WEIGHTS, "return_dict": FLAGS},
    "predict_on_batch": {"x": SAMPLES},
    "compile": {
        "optimizer": ["nope", 5, None, keras.optimizers.SGD, {"class_name": "nope"}],
        "loss": ["nope", 5, keras.losses.MeanSquaredError, ["mse", "mae"], len],
        "metrics": ["nope", ["nope"], ["accuracy", 5], 5, [None], [keras.metrics.MeanSquaredError]],
        "loss_weights": [0.5, [1.0, 2.0], {"a": 0.5}, "1"],
        "weighted_metrics": ["nope", 5, [None]],
        "run_eagerly": FLAGS,
        "steps_per_execution": [0, -1, 2.5, "all", None],
        "jit_compile": ["yes", 2, [True], None],
        "auto_scale_loss": FLAGS,
        "on_nonfinite": ["ignore", None, 5],
        "health": FLAGS,
    },
    "summary": {
        "line_length": [*COUNTS, 8],
        "positions": [5, [0.5, 1.0], ["a", "b", "c"], [0.5, 0.4, 1.0], [0.5, NAN, 1.0], "abc"],
        "print_fn": [5, "print"],
        "expand_nested": FLAGS,
        "show_trainable": FLAGS,
        "layer_range": [5, "dense", ["dense"], [1, 2], ["nope", "dense"], ["(", "dense"]],
    },
    "add": {"layer": [5, "dense", None, layers.Dense, keras.Input((3,))], "rebuild": FLAGS},
    "pop": {"rebuild": FLAGS},
    "build": {"input_shape": [(None, 7), (None,), (), "4", 4.0, (None, 0), (None, 2.5), (2, None)]},
    "get_layer": {"name": ["nope", None, 5], "index": [9, -9, 1.0, "0", None, True]},
    "__init__": {
        "layers": [5, "dense", [5], ["dense"], [None], layers.Dense(2), {1: 2}],
        "trainable": FLAGS,
        "name": [5, "a/b", "", ["a"]],
    },
}  # fmt: skip
NAMES = {
    "callbacks": "Callback", "layer": "", "layers": "Layer", "input_shape": "", "positions": "",
    "line_length": "line_length", "print_fn": "print_fn",
}  # fmt: skip
# What goes with an argument: it is looked at only then, or the call needs it.
WITH: dict[str, dict[str, Any]] = {
    "validation_steps": {"validation_data": (X, Y)},
    "validation_batch_size": {"validation_data": (X, Y)},
    "validation_freq": {"validation_data": (X, Y)},
}


def arguments_of(method: str) -> set[str]:
    return set(inspect.signature(getattr(keras.Sequential, method)).parameters) - {"self"}


def call(model: keras.Sequential, method: str, options: dict[str, Any]) -> None:
    good: dict[str, Any] = {}
    if method in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        good = {"x": X, "y": Y} | ({"verbose": 0} if method in ("fit", "evaluate") else {})
    if method in ("predict", "predict_on_batch"):
        good = {"x": X}
    if method == "compile":
        good = {"optimizer": "sgd", "loss": "sparse_categorical_crossentropy"}
    if method == "add":
        good = {"layer": layers.ReLU()}
    if method == "__init__":
        keras.Sequential(**options)
    else:
        getattr(model, method)(**good | options)


@pytest.mark.parametrize("method", BAD)
def test_every_argument_has_bad_values(method: str) -> None:
    assert set(BAD[method]) == arguments_of(method)
    assert all(len(values) > 1 for values in BAD[method].values())


@pytest.mark.parametrize(
    ("method", "name"), [(method, name) for method, names in BAD.items() for name in names]
)
def test_bad_arguments(method: str, name: str) -> None:
    model = classifier()
    loss, structure = model.loss, [layer.name for layer in model.layers]
    for bad in BAD[method][name]:
        words = (NAMES.get(name, name), "got")
        if isinstance(bad, np.ndarray) and bad.dtype.kind == "f" and np.isnan(bad).any():
            words = (name,)
        with left_alone(model), refused(*words):
            call(model, method, WITH.get(name, {}) | {name: bad})
        assert model.loss is loss
        assert [layer.name for layer in model.layers] == structure


@pytest.mark.parametrize(
    "method", ["fit", "evaluate", "train_on_batch", "test_on_batch", "predict"]
)
def test_what_is_not_there_is_named(method: str) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        call(classifier(), method, {"nonsense": 1})


def test_compile_in_the_order_of_keras() -> None:
    """Its third argument there is loss_weights; four by position say which is meant by none."""
    model = classifier()
    with left_alone(model), pytest.raises(TypeError, match="positional"):
        model.compile("sgd", "mse", None, ["mae"])  # type: ignore[call-arg]


def test_a_shape_that_a_later_layer_refuses_builds_nothing() -> None:
    model = keras.Sequential([layers.Dense(3), layers.Reshape((7,))])
    x = np.ones((2, 4), np.float32)
    for use in (lambda: model.build((None, 4)), lambda: model.predict(x), lambda: model(x)):
        with pytest.raises(ValueError, match="reshape"):
            use()
        assert model.variables == []
    model.pop()
    model.build((None, 5))
    assert model.output_shape == (None, 3)


# Metrics between calls


def test_metrics_before_there_are_any() -> None:
    model = keras.Sequential([layers.Dense(CLASSES, "softmax")])
    assert model.metrics == []
    with pytest.raises(ValueError, match=r"get_metrics_result: call model\.compile"):
        model.get_metrics_result()
    model.reset_metrics()
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    with pytest.raises(ValueError, match="not built"):
        model.get_metrics_result()
    assert model.metrics == []
    model.build((None, 4))
    assert model.get_metrics_result() == {"loss": 0.0, "accuracy": 0.0}
    assert [metric.name for metric in model.metrics] == ["loss", "accuracy"] == model.metrics_names


def test_a_model_is_frozen_with_what_is_added_to_it() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    assert keras.Sequential().trainable
    model.trainable = False
    model.add(layers.Dense(2))
    assert model.trainable_variables == []
    model.layers[-1].trainable = True
    assert model.trainable
    assert len(model.trainable_variables) == 2
