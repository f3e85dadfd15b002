"""Copies of models: pickle, deepcopy, joblib, clones, configurations and JSON."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evengrad as keras
import models_at_random
import numpy as np
import pytest
from evengrad import initializers, layers, losses, metrics, optimizers
from models_at_random import BATCH, data, state, targets

HOW: list[Callable[[Any], Any]] = [
    copy.deepcopy,
    lambda thing: pickle.loads(pickle.dumps(thing)),
    lambda thing: pickle.loads(pickle.dumps(thing, protocol=2)),
]
each_way = pytest.mark.parametrize("how", HOW, ids=["deepcopy", "pickle", "pickle2"])


def train(model: keras.Sequential, begin: int, end: int) -> None:
    model.fit(data()[0], targets(model), BATCH, initial_epoch=begin, epochs=end, verbose=0)


@each_way
@pytest.mark.parametrize("seed", range(0, 20, 2))
def test_training_goes_on_in_a_copy(seed: int, how: Callable[[Any], Any]) -> None:
    model = models_at_random.model(seed)
    train(model, 0, 2)
    twin = how(model)
    assert state(twin) == state(model)
    before = state(model)
    train(twin, 2, 3)
    assert state(model) == before  # its memory is its own
    assert state(twin) != before
    train(model, 2, 3)
    assert state(twin) == state(model)


@each_way
def test_memory_of_a_copy_is_as_kernels_want_it(how: Callable[[Any], Any]) -> None:
    model = models_at_random.model(1)
    train(model, 0, 1)
    twin = how(model)
    for mine, other in zip(
        [*model.variables, *model.optimizer.variables],
        [*twin.variables, *twin.optimizer.variables],
        strict=True,
    ):
        assert mine is not other
        assert not np.shares_memory(mine.storage, other.storage)
        if other.storage.dtype == np.float32:
            assert other.storage.ctypes.data % 64 == 0
            assert other.storage.strides == mine.storage.strides


@each_way
def test_copies_before_anything(how: Callable[[Any], Any]) -> None:
    model = keras.Sequential([layers.Dense(2)])
    twin = how(model)
    assert (twin.compiled, twin.built) == (False, False)
    twin.compile("sgd", "mse")
    twin.fit([[1.0]], [[1.0, 2.0]], verbose=0)
    assert not model.built


def test_a_copy_does_not_take_the_count_of_changes_of_its_process() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    assert model.built
    text = pickle.dumps(model)
    assert pickle.loads(text)._known_built == -1


@each_way
def test_what_is_shared_is_shared_in_a_copy(how: Callable[[Any], Any]) -> None:
    dense = layers.Dense(2)
    first, second = keras.Sequential([dense]), keras.Sequential([dense, layers.ReLU()])
    a, b = how((first, second))
    a.predict([[1.0]])
    assert a.layers[0] is b.layers[0]
    assert not dense.built


def test_a_copy_of_a_model_in_use_by_others() -> None:
    model = models_at_random.model(3)
    train(model, 0, 1)
    errors: list[Exception] = []

    def use() -> None:
        try:
            for _ in range(5):
                model.predict(data()[0])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    twins = [copy.deepcopy(model) for _ in range(5)]
    for thread in threads:
        thread.join()
    assert not errors
    assert all(state(twin) == state(model) for twin in twins)


def test_a_seed_set_since_then_holds_for_the_copy_too() -> None:
    model = models_at_random.model(3)
    train(model, 0, 1)
    keras.utils.set_random_seed(1)
    for how in HOW:
        assert how(model).draws is None


def test_copies_begin_no_draws() -> None:
    model = models_at_random.model(3)
    for how in HOW:
        how(model)
    assert model.draws is None


def test_joblib(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    model = models_at_random.model(2)
    train(model, 0, 1)
    joblib.dump(model, tmp_path / "m.joblib")
    twin = joblib.load(tmp_path / "m.joblib")
    assert state(twin) == state(model)
    train(model, 1, 2)
    train(twin, 1, 2)
    assert state(twin) == state(model)


# Clones


def test_a_clone_has_the_same_layers_and_other_weights() -> None:
    for seed in range(20):
        model = models_at_random.model(seed)
        train(model, 0, 1)
        before = state(model)
        twin = keras.models.clone_model(model)
        assert twin.get_config() == model.get_config()
        assert twin.get_compile_config() == model.get_compile_config()
        assert twin.optimizer.iterations == 0
        for mine, other in zip(model.variables, twin.variables, strict=True):
            assert (mine.name, mine.shape) == (other.name, other.shape)
            if mine.name == "kernel" and mine.trainable and mine.size > 9:
                assert not np.array_equal(mine.value, other.value)
        train(twin, 0, 1)
        assert state(model) == before


def test_a_clone_is_compiled_where_the_model_is() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    assert not keras.models.clone_model(model).compiled
    model.compile("sgd", None)
    assert keras.models.clone_model(model).loss is None


def test_a_clone_function() -> None:
    inner = keras.Sequential([layers.Dense(3), layers.Dropout(0.5)])
    model = keras.Sequential([keras.Input((2,)), layers.Dropout(0.1), inner])
    seen: list[str] = []

    def seeded(layer: Any) -> Any:
        seen.append(type(layer).__name__)
        config = layer.get_config()
        if "seed" in config:
            config["seed"] = 7
        return type(layer).from_config(config)

    twin = keras.models.clone_model(model, clone_function=seeded)
    assert seen == ["Dropout", "Sequential"]
    assert twin.layers[0].seed == 7
    assert twin.layers[1].layers[1].seed is None
    twin = keras.models.clone_model(model, clone_function=seeded, recursive=True)
    assert twin.layers[1].layers[1].seed == 7
    assert twin.built
    assert twin.name == model.name
    same = keras.models.clone_model(model, clone_function=lambda layer: layer)
    assert same.layers == model.layers


def test_a_clone_for_other_samples() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    for given in ((5,), 5, [keras.Input((5,))], keras.Input((5,)), [5]):
        twin = keras.models.clone_model(model, given)
        assert twin.input_shape == (None, 5)
        assert twin.layers[0].kernel.shape == (5, 3)
    function = keras.models.clone_model(
        model, (5,), clone_function=lambda layer: type(layer).from_config(layer.get_config())
    )
    assert function.input_shape == (None, 5)


def test_what_cannot_be_cloned() -> None:
    model = keras.Sequential([layers.Dense(3)])
    for wrong, text in (
        ({"model": layers.Dense(3)}, "expected a Sequential"),
        ({"call_function": print}, "use clone_function"),
        ({"clone_function": 3}, "callable"),
        ({"input_tensors": "x"}, "input_tensors"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"clone_model: .*{text}"):
            keras.models.clone_model(**({"model": model} | wrong))  # type: ignore[arg-type]


class Scale(layers.Layer):
    """Not registered."""

    def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor

    def call_backward(self, inputs: Any, outputs: Any, dy: Any) -> Any:
        return dy * self.factor

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"factor": self.factor}


class Cube(losses.Loss):
    """Not registered."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return (np.abs(y_pred - y_true) ** 3).mean(axis=-1)

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        return 3 * (y_pred - y_true) * np.abs(y_pred - y_true) / y_pred.shape[-1]


class Dense(layers.Dense):
    """Not registered, and of a name that is taken."""


def test_a_clone_of_parts_of_ones_own() -> None:
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Residual([Scale(3.0), keras.Sequential([Dense(3)])]),
            layers.Dense(2, kernel_initializer=lambda shape, dtype: np.ones(shape)),
        ]
    )
    model.compile("sgd", Cube(), [lambda y_true, y_pred: np.zeros(len(y_pred))])
    twin = keras.models.clone_model(model)
    block = twin.layers[0].layers
    assert (type(block[0]), block[0].factor) == (Scale, 3.0)
    assert type(block[1].layers[0]) is Dense
    assert type(twin.loss) is Cube
    assert (twin.layers[1].kernel.value == 1.0).all()
    twin.fit(np.ones((3, 2)), np.ones((3, 2)), verbose=0)


def test_initializers_that_layers_share_are_shared_in_copies_too() -> None:
    shared, alone = initializers.RandomNormal(seed=3), initializers.RandomNormal(seed=3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, kernel_initializer=shared),
            layers.Residual([layers.Dense(4, kernel_initializer=shared)]),
            keras.Sequential([layers.Dense(4, kernel_initializer=shared)]),
            layers.Dense(4, kernel_initializer=alone),
        ]
    )
    kernels = [v.numpy() for v in model.variables if v.name == "kernel"]
    assert len({kernel.tobytes() for kernel in kernels}) == 3  # the last is as the first
    text = model.to_json()
    assert text.count("shared_object_id") == 3
    for twin in (
        keras.models.clone_model(model),
        keras.Sequential.from_config(model.get_config()),
        keras.models.model_from_json(text),
    ):
        made = [v.numpy() for v in twin.variables if v.name == "kernel"]
        for mine, other in zip(kernels, made, strict=True):
            np.testing.assert_array_equal(mine, other)


# Configurations


@pytest.mark.parametrize("seed", range(20))
def test_json(seed: int) -> None:
    model = models_at_random.model(seed)
    text = model.to_json(indent=2)
    assert json.loads(text)["class_name"] == "Sequential"
    twin = keras.models.model_from_json(text)
    assert not twin.compiled
    assert twin.get_config() == model.get_config()
    assert twin.to_json() == model.to_json()
    compiled = json.loads(json.dumps(model.get_compile_config()))
    twin.compile_from_config(compiled)
    assert twin.get_compile_config() == model.get_compile_config()
    assert twin.optimizer.built


def test_what_is_no_json_of_a_model() -> None:
    good = keras.Sequential([layers.ReLU(input_shape=(3,))]).to_json()
    for bad in ("", "{", "[]", "3", "NaN", good[:-1], good.replace("ReLU", "os.system")):
        with pytest.raises(ValueError, match="expected"):
            keras.models.model_from_json(bad)
    with pytest.raises(TypeError, match="expected a text"):
        keras.models.model_from_json(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nested"):
        keras.models.model_from_json("[" * 10_000 + "]" * 10_000)


def test_configurations_of_compile() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "softmax")])
    assert model.get_compile_config() == {}
    model.compile(
        optimizers.Adam(1e-4, clipping="z_clip"),
        losses.CategoricalCrossentropy(label_smoothing=0.1),
        ["accuracy", metrics.AUC(curve="PR")],
        weighted_metrics=["mse"],
        on_nonfinite="skip",
    )
    config = model.get_compile_config()
    assert config["metrics"][0] == "accuracy"
    assert config["on_nonfinite"] == "skip"
    twin = keras.Sequential([keras.Input((3,)), layers.Dense(4, "softmax")])
    twin.compile_from_config(config)
    assert twin.metrics_names == model.metrics_names
    assert twin.on_nonfinite == "skip"
    assert twin.loss.label_smoothing == 0.1
    assert repr(twin.optimizer) == repr(model.optimizer)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_made_in_the_middle_of_fit_is_at_nothing(how: Any) -> None:
    copies: list[Any] = []
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("adam", "mse")
    take = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: copies.append(how(model))
    )
    x, y = np.ones((8, 2)), np.ones(8)
    model.fit(x, y, 4, epochs=2, verbose=0, callbacks=[take])
    first = copies[0]
    assert first.history is None
    assert first.running is None
    assert first.passes == 0
    first.fit(x, y, 4, epochs=2, initial_epoch=1, verbose=0)
    np.testing.assert_array_equal(first.get_weights()[0], model.get_weights()[0])
