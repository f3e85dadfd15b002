"""Nothing that is out of date takes part: rates, recordings, data, a layer's own gradient."""

from __future__ import annotations

from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, losses, metrics, optimizers


def made(optimizer: Any = "sgd", loss: Any = "mse", **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="head")])
    model.compile(optimizer, loss, **options)
    return model


def data(n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)


def test_a_function_is_asked_for_the_rate_at_each_step() -> None:
    seen: list[int] = []

    def rate() -> float:
        seen.append(model.optimizer.iterations)
        return 0.1 / (1 + model.optimizer.iterations)

    model = made(optimizers.SGD(rate))
    model.fit(*data(100), 2, verbose=0)
    assert seen == list(range(50))


def test_a_changed_loss_is_the_one_that_is_used() -> None:
    x, y = data(64)
    loss = losses.Huber()
    model = made(loss=loss)
    model.evaluate(x, y, 32, verbose=0)
    loss.delta = 0.01
    prediction = model.predict(x, verbose=0)
    right = losses.Huber(0.01)(y, prediction)
    assert model.evaluate(x, y, 32, verbose=0) == pytest.approx(right, rel=1e-6)
    model.loss = losses.MeanAbsoluteError()
    right = np.abs(prediction.astype(np.float64) - y).mean()
    assert model.evaluate(x, y, 32, verbose=0) == pytest.approx(right, rel=1e-6)


def test_a_changed_metric_is_the_one_that_is_used() -> None:
    x, y = data(64)
    y = (y > 0.0).astype(np.float32)
    metric = metrics.BinaryAccuracy()
    model = made(metrics=[metric])
    model.evaluate(x, y, 32, verbose=0)
    metric.threshold = 0.125
    right = ((model.predict(x, verbose=0) > 0.125) == y).mean()
    _, accuracy = model.evaluate(x, y, 32, verbose=0)
    assert accuracy == pytest.approx(right, rel=1e-6)


class Spoil(keras.callbacks.Callback):
    def __init__(self, labels: Any) -> None:
        self.labels = labels

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.labels[3] = 99


def test_labels_that_change_after_the_check_stop_validation() -> None:
    x, _ = data(16)
    labels = np.zeros(16, np.int32)
    held_out = labels.copy()
    model = made(loss=losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="data to stay as they were checked, but label 99"):
        model.fit(x, labels, validation_data=(x, held_out), verbose=0, callbacks=Spoil(held_out))


def test_the_gradient_of_a_derived_normalization_is_its_own() -> None:
    called = []

    class Counted(layers.BatchNormalization):
        def backward(self, program: Any, dy: Any, *, need_dx: bool = True) -> Any:
            called.append(self.name)
            return super().backward(program, dy, need_dx=need_dx)

    x, y = data(16)
    weights = []
    for normalization in (Counted, layers.BatchNormalization):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), normalization(), layers.Dense(2)])
        model.compile("sgd", "mse")
        model.fit(x, y, 8, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    assert called
    for ours, folded in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, folded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [7, 1000, 100_003])
@pytest.mark.parametrize("weighted", [False, True])
def test_r2_of_a_constant_is_0(rows: int, weighted: bool) -> None:
    weight = np.random.default_rng(0).uniform(0.1, 2.0, rows) if weighted else None
    score = metrics.R2Score()
    y = np.full((rows, 1), 0.1, np.float32)
    assert float(score(y, y + np.float32(0.5), weight)) == 0.0


def test_the_base_of_the_optimizers_is_none() -> None:
    with pytest.raises(TypeError, match=r"an update of its own, got Optimizer.*use SGD"):
        made(optimizers.Optimizer(0.1))


def test_another_optimizer_put_in_place_of_the_compiled_one() -> None:
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,), kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.train_on_batch([[1.0]], [[3.0]])
    assert model.get_weights()[0] == 1.0
    model.optimizer = keras.optimizers.SGD(0.25, clipvalue=0.5)
    model.train_on_batch([[1.0]], [[3.0]])
    assert model.get_weights()[0] == 1.125


def test_a_layer_inside_a_nested_model_is_noticed_by_the_outer_one() -> None:
    inner = keras.Sequential([keras.layers.ReLU(input_shape=(1,))])
    outer = keras.Sequential([inner])
    assert outer.predict([[-1.0]]) == 0.0
    inner.add(keras.layers.Rescaling(1.0, offset=2.0))
    assert outer.predict([[-1.0]]) == 2.0
    inner.pop()
    assert outer.predict([[-1.0]]) == 0.0
