"""fit: batches, weights, validation, callbacks, progress, bits, non-finite steps, interrupts."""

from __future__ import annotations

import _thread
import os
import pickle
import signal
import subprocess
import sys
import threading
import tracemalloc
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers
from gradcheck import assert_gradients
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FEATURES, HIDDEN, CLASSES = 6, 8, 3
PACKAGE = str(Path(keras.__file__).parent.parent)


def draws(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def problem(n: int) -> tuple[F32, NDArray[np.int64]]:
    """Samples in three classes that can be learned."""
    x = draws(n, FEATURES)
    return x, np.argmax(x[:, :CLASSES] + 0.3 * draws(n, CLASSES, seed=1), axis=1)


def close(made: Any, right: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(made, right, rtol=tolerance, atol=tolerance)


def bits(model: keras.Sequential) -> bytes:
    return b"".join(w.tobytes() for w in model.get_weights())


def classifier(*more: layers.Layer, optimizer: Any = None, **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(HIDDEN, "tanh"), *more, layers.Dense(CLASSES, "softmax")]
    model = keras.Sequential([keras.Input((FEATURES,)), *stack])
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss, **options)
    return model


class Record(keras.callbacks.Callback):
    """Writes down what was called."""

    def __init__(self, events: list[Any], name: str = "") -> None:
        self.events, self.mark = events, name

    def add(self, *event: Any) -> None:
        self.events.append((self.mark, *event) if self.mark else event)

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.add("train begin")

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.add("train end")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.add("epoch begin", epoch)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.add("epoch end", epoch)


class RecordBatches(Record):
    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.add("batch begin", batch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.add("batch end", batch)


class Call(keras.callbacks.Callback):
    """Calls a function of the callback and the number at one hook."""

    def __init__(self, hook: str, function: Callable[[Any, int], None]) -> None:
        setattr(self, hook, lambda number=-1, logs=None: function(self, number))


class EachBatch(keras.callbacks.Callback):
    def __init__(self, function: Callable[[Any, int], None]) -> None:
        self.function = function

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.function(self, batch)


# Against a training loop in float64


class Loop:
    """The network of `classifier` and SGD with momentum, in float64 and as plain as can be."""

    def __init__(self, weights: list[F32], rate: float, momentum: float = 0.0) -> None:
        self.weights = [w.astype(np.float64) for w in weights]
        self.momenta = [np.zeros(w.shape) for w in weights]
        self.rate, self.momentum = rate, momentum

    def forward(self, x: F32) -> tuple[F64, F64]:
        w1, b1, w2, b2 = self.weights
        hidden = np.tanh(x.astype(np.float64) @ w1 + b1)
        logits = hidden @ w2 + b2
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return hidden, e / e.sum(axis=1, keepdims=True)

    def losses(self, x: F32, y: Any) -> F64:
        return np.asarray(-np.log(self.forward(x)[1][np.arange(len(y)), y]))

    def step(self, x: F32, y: Any, weight: Any) -> float:
        """Update; return the sum of weight * loss before it."""
        hidden, p = self.forward(x)
        rows = np.arange(len(y))
        loss = float(-(weight * np.log(p[rows, y])).sum())
        p[rows, y] -= 1.0
        dz2 = p * np.asarray(weight)[:, None] / len(y)
        dz1 = dz2 @ self.weights[2].T * (1.0 - hidden**2)
        gradients = [x.T.astype(np.float64) @ dz1, dz1.sum(0), hidden.T @ dz2, dz2.sum(0)]
        for i, gradient in enumerate(gradients):
            self.momenta[i] = self.momentum * self.momenta[i] - self.rate * gradient
            self.weights[i] = self.weights[i] + self.momenta[i]
        return loss

    def epoch(self, x: F32, y: Any, batch: int, weight: Any = None, steps: int = 10**9) -> float:
        """Reported loss: the sum over rows of weight * loss, divided by the number of rows."""
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        total, rows = 0.0, 0
        for i in range(0, min(len(y), batch * steps), batch):
            part = slice(i, i + batch)
            total += self.step(x[part], y[part], weight[part])
            rows += len(y[part])
        return total / rows


BY_CLASS = {0: 0.5, 2: 4.0}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch", [1, 16, 50, 64])
@pytest.mark.parametrize("weighing", ["none", "sample_weight", "class_weight"])
def test_two_epochs_against_float64(momentum: float, batch: int, weighing: str) -> None:
    x, y = problem(50)  # the last batch of 16 has two rows
    rate = 0.1 * (1.0 - momentum)
    model = classifier(optimizer=keras.optimizers.SGD(rate, momentum=momentum))
    loop = Loop(model.get_weights(), rate, momentum)
    weight, options = None, {}
    if weighing == "sample_weight":
        weight = np.random.default_rng(2).uniform(0.0, 3.0, 50)
        options = {"sample_weight": weight}
    if weighing == "class_weight":
        weight = [BY_CLASS.get(int(c), 1.0) for c in y]
        options = {"class_weight": BY_CLASS}
    history = model.fit(x, y, batch, epochs=2, shuffle=False, verbose=0, **options)
    close(history.history["loss"], [loop.epoch(x, y, batch, weight) for _ in range(2)])
    for made, right in zip(model.get_weights(), loop.weights, strict=True):
        close(made, right)
    assert model.optimizer.iterations == 2 * -(-50 // batch)
    assert history.params["steps"] == -(-50 // batch)


def test_the_loss_falls() -> None:
    x, y = problem(500)
    for optimizer in (keras.optimizers.SGD(0.1), "adam", "rmsprop"):
        model = classifier(
            layers.BatchNormalization(), layers.Dropout(0.1), optimizer=optimizer,
            metrics=["accuracy"],
        )  # fmt: skip
        history = model.fit(x, y, epochs=15, validation_split=0.2, verbose=0).history
        assert history["loss"][-1] < 0.7 * history["loss"][0]
        assert history["val_loss"][-1] < 0.7 * history["val_loss"][0]
        assert history["val_accuracy"][-1] > 0.7


def test_sample_weight_of_zero_is_absence() -> None:
    x, y = problem(40)
    model, other = classifier(), classifier()
    weight = np.repeat([1.0, 0.0], 20)
    model.fit(x, y, batch_size=40, sample_weight=weight, verbose=0)
    other.optimizer.learning_rate = 0.05  # the mean is over all rows of the batch
    other.fit(x[:20], y[:20], batch_size=20, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        close(a, b, 1e-6)


def test_class_weight_of_one_hot_targets() -> None:
    x, y = problem(50)
    sparse, dense = classifier(), classifier()
    dense.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    one_hot = keras.utils.to_categorical(y)
    for model, truth in ((sparse, y), (dense, one_hot)):
        model.fit(x, truth, class_weight=BY_CLASS, shuffle=False, verbose=0)
    for a, b in zip(sparse.get_weights(), dense.get_weights(), strict=True):
        close(a, b, 1e-6)


def test_one_kind_of_weight_at_a_time() -> None:
    x, y = problem(20)
    model = classifier()
    before = bits(model)
    with pytest.raises(ValueError, match="fit: expected sample_weight or class_weight, not both"):
        model.fit(x, y, sample_weight=np.ones(20), class_weight={0: 1.0})
    assert bits(model) == before


# Validation


def test_validation_split_takes_the_last_rows_before_shuffling() -> None:
    x, y = problem(50)
    for shuffle in (False, True):
        split, given = classifier(metrics=["accuracy"]), classifier(metrics=["accuracy"])
        keras.utils.set_random_seed(5)
        a = split.fit(x, y, 16, 2, 0, validation_split=0.3, shuffle=shuffle)
        keras.utils.set_random_seed(5)
        b = given.fit(x[:35], y[:35], 16, 2, 0, validation_data=(x[35:], y[35:]), shuffle=shuffle)
        assert a.history == b.history
        assert bits(split) == bits(given)
        assert a.params["steps"] == 3
        final = given.evaluate(x[35:], y[35:], batch_size=16, verbose=0, return_dict=True)
        assert a.history["val_loss"][-1] == final["loss"]
        assert a.history["val_accuracy"][-1] == final["accuracy"]


def test_validation_split_splits_the_weights_too() -> None:
    x, y = problem(40)
    weight = np.random.default_rng(2).uniform(0.0, 3.0, 40)
    model, other = classifier(), classifier()
    a = model.fit(x, y, shuffle=False, sample_weight=weight, validation_split=0.25, verbose=0)
    b = other.fit(
        x[:30], y[:30], shuffle=False, sample_weight=weight[:30], verbose=0,
        validation_data=(x[30:], y[30:], weight[30:]),
    )  # fmt: skip
    assert a.history == b.history
    close(b.history["val_loss"], other.evaluate(x[30:], y[30:], 32, 0, weight[30:]))


def test_validation_is_in_inference_mode() -> None:
    x, y = problem(60)
    model = classifier(layers.BatchNormalization(), layers.Dropout(0.5))
    other = classifier(layers.BatchNormalization(), layers.Dropout(0.5))
    keras.utils.set_random_seed(1)
    with_it = model.fit(x, y, epochs=3, validation_data=(x, y), verbose=0)
    keras.utils.set_random_seed(1)
    without = other.fit(x, y, epochs=3, verbose=0)
    assert bits(model) == bits(other)
    assert with_it.history["loss"] == without.history["loss"]
    close(with_it.history["val_loss"][-1], model.evaluate(x, y, verbose=0))


def test_validation_freq() -> None:
    x, y = problem(40)
    history = classifier().fit(x, y, epochs=7, validation_split=0.5, validation_freq=3, verbose=0)
    assert len(history.history["loss"]) == 7
    assert len(history.history["val_loss"]) == 2  # after epochs 3 and 6


def test_validation_steps_and_batch_size() -> None:
    x, y = problem(60)
    for options, rows in (
        ({"validation_steps": 2}, 16),
        ({"validation_steps": 2, "validation_batch_size": 5}, 10),
        ({"validation_batch_size": 7}, 60),
    ):
        model = classifier()
        history = model.fit(x, y, 8, verbose=0, validation_data=(x, y), **options).history
        close(history["val_loss"][0], model.evaluate(x[:rows], y[:rows], verbose=0))


# Order of rows


class Order:
    """A model whose weight shows which rows a step has seen: x is a power of 4 a row."""

    def __init__(self, rows: int) -> None:
        self.x = np.eye(rows, dtype=np.float32)
        self.model = keras.Sequential(
            [keras.Input((rows,)), layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
        )
        self.model.compile(keras.optimizers.SGD(1e-3), "mse")
        self.seen: list[list[int]] = []

    def fit(self, **options: Any) -> list[list[int]]:
        before = [self.model.get_weights()[0]]

        def look(callback: Any, batch: int) -> None:
            now = self.model.get_weights()[0]
            self.seen.append(np.flatnonzero(now != before[0]).tolist())
            before[0] = now

        self.seen = []
        y = np.ones(len(self.x))
        self.model.fit(self.x, y, verbose=0, callbacks=[EachBatch(look)], **options)
        return self.seen


def test_batches_without_shuffling() -> None:
    seen = Order(10).fit(batch_size=4, epochs=2, shuffle=False)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] * 2


def test_shuffling_sees_each_row_once_an_epoch_in_a_new_order() -> None:
    keras.utils.set_random_seed(0)
    order = Order(50)
    seen = order.fit(batch_size=8, epochs=3)
    assert [len(batch) for batch in seen] == [8, 8, 8, 8, 8, 8, 2] * 3
    epochs = [seen[i : i + 7] for i in (0, 7, 14)]
    for batches in epochs:
        assert sorted(row for batch in batches for row in batch) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0][0] != list(range(8))
    keras.utils.set_random_seed(0)
    assert Order(50).fit(batch_size=8, epochs=3) == seen
    np.testing.assert_array_equal(order.x, np.eye(50))


def test_shuffling_keeps_rows_labels_and_weights_together() -> None:
    x, y = problem(64)
    weight = np.random.default_rng(2).uniform(0.0, 3.0, 64)
    model = classifier()
    history = model.fit(x, y, batch_size=64, sample_weight=weight, verbose=0).history
    loop = Loop(classifier().get_weights(), 0.1)
    close(history["loss"][0], loop.epoch(x, y, 64, weight))  # one batch: any order will do
    for made, right in zip(model.get_weights(), loop.weights, strict=True):
        close(made, right)


def test_steps_per_epoch() -> None:
    x, y = problem(50)
    model = classifier()
    loop = Loop(model.get_weights(), 0.1)
    history = model.fit(x, y, 8, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 6
    assert history.params["steps"] == 3
    # The second epoch goes on where the first one ended.
    parts = slice(0, 24), slice(24, 48)
    close(history.history["loss"], [loop.epoch(x[rows], y[rows], 8) for rows in parts])
    with pytest.warns(UserWarning, match=r"^fit: the data ended before the 99 steps"):
        model.fit(x, y, 8, steps_per_epoch=99, verbose=0)
    assert model.optimizer.iterations == 6 + 7


def test_a_batch_larger_than_the_data_costs_no_more() -> None:
    x, y = problem(50)
    model, right = classifier(), classifier()
    right.fit(x, y, 50, epochs=2, shuffle=False, verbose=0)
    tracemalloc.start()
    try:
        model.fit(x, y, 10**6, epochs=2, shuffle=False, verbose=0)
        model.evaluate(x, y, 10**6, verbose=0)
        model.predict(x, 10**6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bits(model) == bits(right)
    assert peak < 10e6


# Epochs and History


def test_history() -> None:
    x, y = problem(40)
    model = classifier(metrics=["accuracy", "sparse_categorical_accuracy"])
    history = model.fit(x, y, 16, epochs=3, validation_split=0.5, verbose=0)
    assert isinstance(history, keras.callbacks.History)
    names = ["loss", "accuracy", "sparse_categorical_accuracy"]
    assert list(history.history) == [*names, *(f"val_{name}" for name in names)]
    assert history.epoch == [0, 1, 2]
    assert history.params == {"verbose": 0, "epochs": 3, "steps": 2}
    assert history.model is model
    for values in history.history.values():
        assert len(values) == 3
        assert all(type(value) is float for value in values)


def test_initial_epoch() -> None:
    x, y = problem(40)
    events: list[Any] = []
    model = classifier()
    history = model.fit(x, y, epochs=5, initial_epoch=3, verbose=0, callbacks=[Record(events)])
    assert history.epoch == [3, 4]
    assert [e for e in events if e[0] == "epoch begin"] == [("epoch begin", 3), ("epoch begin", 4)]
    assert model.fit(x, y, epochs=2, initial_epoch=2, verbose=0).history == {}
    assert model.fit(x, y, epochs=0, verbose=0).epoch == []


def test_training_goes_on_where_it_stopped() -> None:
    x, y = problem(50)
    one, two = (classifier(optimizer=keras.optimizers.Adam(0.01)) for _ in range(2))
    a = one.fit(x, y, epochs=4, shuffle=False, verbose=0).history["loss"]
    b = two.fit(x, y, epochs=2, shuffle=False, verbose=0).history["loss"]
    b += two.fit(x, y, epochs=4, initial_epoch=2, shuffle=False, verbose=0).history["loss"]
    assert a == b
    assert bits(one) == bits(two)


def test_metrics_in_training_are_running_means() -> None:
    x, y = problem(50)
    model = classifier(optimizer=keras.optimizers.SGD(0.0), metrics=["accuracy"])
    history = model.fit(x, y, 16, verbose=0).history
    close([history["loss"][0], history["accuracy"][0]], model.evaluate(x, y, verbose=0))


# Callbacks


def test_hooks_in_order() -> None:
    x, y = problem(20)
    events: list[Any] = []
    classifier().fit(x, y, 10, epochs=2, verbose=0, callbacks=[RecordBatches(events)])
    batches = [("batch begin", 0), ("batch end", 0), ("batch begin", 1), ("batch end", 1)]
    assert events == [
        ("train begin",),
        ("epoch begin", 0), *batches, ("epoch end", 0),
        ("epoch begin", 1), *batches, ("epoch end", 1),
        ("train end",),
    ]  # fmt: skip


def test_callbacks_in_order() -> None:
    x, y = problem(20)
    events: list[Any] = []
    classifier().fit(x, y, verbose=0, callbacks=[Record(events, "a"), Record(events, "b")])
    assert [e[0] for e in events] == ["a", "b"] * 4


def test_what_callbacks_are_told() -> None:
    x, y = problem(50)
    model = classifier(metrics=["accuracy"])
    seen: list[Any] = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            assert self.model is model
            assert self.params["epochs"] == 2
            seen.append(dict(logs or {}))

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
            assert logs is not None
            assert list(logs) == ["loss", "accuracy"]
            seen.append(logs["loss"])

    loop = Loop(model.get_weights(), 0.1)
    history = model.fit(
        x, y, 16, epochs=2, shuffle=False, validation_split=0.2, verbose=0, callbacks=[Look()]
    )
    # Means of the epoch so far: of 16, 32 and 40 rows.
    first = loop.step(x[:16], y[:16], np.ones(16))
    second = loop.step(x[16:32], y[16:32], np.ones(16))
    third = loop.step(x[32:40], y[32:40], np.ones(8))
    close(seen[:3], [first / 16, (first + second) / 32, (first + second + third) / 40])
    for epoch in range(2):
        logs = seen[4 * epoch + 3]
        assert logs == {name: values[epoch] for name, values in history.history.items()}


def test_a_batch_hook_changes_no_bit() -> None:
    x, y = problem(200)
    models = [classifier(layers.Dropout(0.5), optimizer="adam") for _ in range(2)]
    keras.utils.set_random_seed(3)
    plain = models[0].fit(x, y, 16, epochs=3, verbose=0)
    keras.utils.set_random_seed(3)
    watched = models[1].fit(x, y, 16, epochs=3, verbose=0, callbacks=[RecordBatches([])])
    assert plain.history == watched.history
    assert bits(models[0]) == bits(models[1])


def test_stop_training_after_an_epoch() -> None:
    x, y = problem(40)
    model = classifier()
    events: list[Any] = []

    def stop(callback: Any, epoch: int) -> None:
        callback.model.stop_training = epoch == 1

    callbacks = [Call("on_epoch_end", stop), Record(events)]
    assert model.fit(x, y, epochs=9, verbose=0, callbacks=callbacks).epoch == [0, 1]
    assert events[-2:] == [("epoch end", 1), ("train end",)]
    assert model.fit(x, y, epochs=2, verbose=0).epoch == [0, 1]  # it is not for ever


def test_stop_training_after_a_batch() -> None:
    x, y = problem(40)
    model = classifier()

    def stop(callback: Any, batch: int) -> None:
        callback.model.stop_training = batch == 2

    history = model.fit(x, y, 4, epochs=9, verbose=0, callbacks=[EachBatch(stop)])
    assert history.epoch == [0]
    assert model.optimizer.iterations == 3


def test_stop_training_from_another_thread() -> None:
    x, y = problem(2000)
    model = classifier()
    started = threading.Event()

    def stop() -> None:
        started.wait(60)
        model.stop_training = True

    thread = threading.Thread(target=stop)
    thread.start()
    begin = Call("on_epoch_end", lambda callback, epoch: started.set())
    history = model.fit(x, y, 2, epochs=20_000, verbose=0, callbacks=[begin])
    thread.join(60)
    assert 1 <= len(history.epoch) < 20_000


def test_an_error_in_a_callback_ends_training_and_nothing_else() -> None:
    x, y = problem(40)
    model = classifier()
    events: list[Any] = []

    def fail(callback: Any, epoch: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        model.fit(x, y, verbose=0, callbacks=[Record(events), Call("on_epoch_end", fail)])
    assert events[-1] == ("epoch end", 0)  # as Keras: a backup is still there
    assert model.optimizer.iterations == 2
    model.fit(x, y, verbose=0)
    assert np.isfinite(model.predict(x)).all()


def test_a_callback_may_use_the_model() -> None:
    x, y = problem(60)
    losses: list[float] = []

    def look(callback: Any, number: int) -> None:
        before = bits(callback.model)
        losses.append(callback.model.evaluate(x, y, verbose=0))
        callback.model.predict(x[:3])
        assert bits(callback.model) == before

    model, alone = classifier(), classifier()
    a = model.fit(x, y, 8, epochs=2, shuffle=False, verbose=0, callbacks=[EachBatch(look)])
    b = alone.fit(x, y, 8, epochs=2, shuffle=False, verbose=0)
    assert a.history == b.history
    assert bits(model) == bits(alone)
    assert losses[-1] == model.evaluate(x, y, verbose=0) < losses[0]


def test_callbacks_of_another_kind() -> None:
    x, y = problem(20)
    model = classifier()
    before = bits(model)
    for bad in ([5], ["History"], [keras.callbacks.History], 5, [None]):
        with pytest.raises(TypeError, match=r"callbacks: expected .*Callback"):
            model.fit(x, y, verbose=0, callbacks=bad)  # type: ignore[arg-type]
    assert bits(model) == before


def test_one_callback_needs_no_list() -> None:
    x, y = problem(20)
    events: list[Any] = []
    classifier().fit(x, y, verbose=0, callbacks=Record(events))  # type: ignore[arg-type]
    assert len(events) == 4


# Learning rate


def test_schedule_counts_updates() -> None:
    x, y = problem(50)
    rates = [0.1 / (1 + i) for i in range(8)]
    model = classifier(optimizer=keras.optimizers.SGD(lambda step: rates[step]))
    other = classifier()
    model.fit(x, y, 16, epochs=2, shuffle=False, verbose=0)
    for i in range(8):
        other.optimizer.learning_rate = rates[i]
        part = slice(16 * (i % 4), 16 * (i % 4) + 16)
        other.train_on_batch(x[part], y[part])
    assert bits(model) == bits(other)


def test_schedule_goes_on_in_the_next_fit() -> None:
    x, y = problem(32)
    asked: list[int] = []

    def rate(step: int) -> float:
        asked.append(step)
        return 0.1

    model = classifier(optimizer=keras.optimizers.SGD(rate))
    for _ in range(2):
        model.fit(x, y, 8, epochs=2, verbose=0)
    assert sorted(set(asked)) == list(range(16))


def test_learning_rate_changed_by_a_callback() -> None:
    x, y = problem(48)
    after_two = 16 * [0.1]
    after_two[4:] = [0.02] * 12

    def lower(callback: Any, batch: int) -> None:
        if callback.model.optimizer.iterations == 4:
            callback.model.optimizer.learning_rate = 0.02

    def lower_by_epoch(callback: Any, epoch: int) -> None:
        callback.model.optimizer.learning_rate = [0.1, 0.02, 0.02, 0.02][epoch]

    expected = classifier(optimizer=keras.optimizers.SGD(lambda step: after_two[step]))
    expected.fit(x, y, 12, epochs=4, shuffle=False, verbose=0)
    for callback in (EachBatch(lower), Call("on_epoch_begin", lower_by_epoch)):
        model = classifier()
        model.fit(x, y, 12, epochs=4, shuffle=False, verbose=0, callbacks=[callback])
        assert bits(model) == bits(expected)
        assert model.optimizer.learning_rate == 0.02


@pytest.mark.parametrize("bad", [float("nan"), -0.1, float("inf"), "0.1", None])
def test_a_schedule_that_returns_no_rate(bad: Any) -> None:
    x, y = problem(20)
    model = classifier(optimizer=keras.optimizers.SGD(lambda step: bad))
    before = bits(model)
    with pytest.raises((ValueError, TypeError), match="SGD's schedule: expected"):
        model.fit(x, y, verbose=0)
    assert bits(model) == before
    assert model.optimizer.iterations == 0


# Progress


def test_verbose_0_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    x, y = problem(40)
    model = classifier(metrics=["accuracy"])
    model.fit(x, y, epochs=3, validation_split=0.5, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.train_on_batch(x, y)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_one_line_an_epoch_where_there_is_no_terminal(
    verbose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = problem(40)
    model = classifier(metrics=["accuracy"])
    history = model.fit(x, y, epochs=3, validation_split=0.5, verbose=verbose).history
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 3
    for i, line in enumerate(lines):
        assert line.startswith(f"Epoch {i + 1}/3 - ")
        for name, values in history.items():
            assert f" - {name}: {values[i]:.4g}" in line


class Bar:
    """Stands for tqdm."""

    made: list[Bar]

    def __init__(self, total: int, desc: str, unit: str) -> None:
        self.total, self.desc, self.n, self.closed, self.text = total, desc, 0, False, ""
        self.made.append(self)

    def update(self, n: int) -> None:
        assert not self.closed
        self.n += n

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        self.text = text

    def close(self) -> None:
        self.closed = True


def terminal(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    """Pretend to have a terminal, and a tqdm that keeps its bars.

    No fixture: pytest changes sys.stderr between those and the test.
    """
    Bar.made = []
    module = types.ModuleType("tqdm")
    module.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm", module)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    return Bar.made


@pytest.mark.parametrize("verbose", ["auto", 1])
def test_a_bar_an_epoch_on_a_terminal(
    verbose: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = terminal(monkeypatch)
    x, y = problem(50)
    classifier().fit(x, y, 16, epochs=3, verbose=verbose, validation_split=0.2)
    assert [bar.desc for bar in bars] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    for bar in bars:
        assert (bar.total, bar.n, bar.closed) == (3, 3, True)
        assert bar.text.startswith("loss: ")
        assert " - val_loss: " in bar.text
    assert capsys.readouterr().out == ""


def test_no_bar_with_verbose_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = terminal(monkeypatch)
    x, y = problem(50)
    classifier().fit(x, y, epochs=2, verbose=2)
    assert bars == []
    assert capsys.readouterr().out.count("\n") == 2


def test_no_bar_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = terminal(monkeypatch)
    x, y = problem(50)
    model = classifier()

    def interrupt(callback: Any, batch: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=1, callbacks=[EachBatch(interrupt)])
    assert [bar.closed for bar in bars] == [True]


def test_lines_where_tqdm_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    x, y = problem(50)
    classifier().fit(x, y, epochs=2, verbose=1)
    assert bars == []
    assert capsys.readouterr().out.count("\n") == 2


def test_tqdm_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    x, y = problem(50)
    classifier().fit(x, y, 16, epochs=2, verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Epoch 2/2" in err
    assert "4/4" in err
    assert "loss: " in err


# Gradients


def test_gradient_of_a_whole_network_by_finite_differences() -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            layers.Flatten(input_shape=[3, 4]),
            layers.BatchNormalization(),
            layers.Dense(9, "elu", kernel_initializer="he_normal"),
            layers.Dropout(0.25),
            layers.Dense(8, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("tanh"),
            layers.Dense(7, "silu"),
            layers.Dense(4, "softmax"),
        ]
    )
    x, y = 1.0 + draws(24, 3, 4), np.arange(24) % 4
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.train_on_batch(x, y)
    before = model.get_weights()

    def loss() -> float:
        model.optimizer.iterations = 7  # the same dropout each time
        return float(model.train_on_batch(x, y))

    model.optimizer.learning_rate = 1.0
    loss()
    trained = model.get_weights()
    model.optimizer.learning_rate = 0.0
    model.set_weights(before)
    trainable = {v.path: i for i, v in enumerate(model.variables) if v.trainable}
    gradients = {path: before[i] - trained[i] for path, i in trainable.items()}
    arrays = {path: model.variables[i].value for path, i in trainable.items()}
    assert len(arrays) == 11
    assert_gradients(loss, arrays, gradients, elements=12, kinks=0.1)


@pytest.mark.parametrize("activation", ["tanh", "softplus", "linear"])
@pytest.mark.parametrize("last", ["softmax", "sigmoid"])
def test_the_outputs_before_a_last_activation_are_kept(activation: str, last: str) -> None:
    """The loss computes the last activation over its input, which the layer before needs too."""
    x, truth = draws(12, FEATURES), np.eye(CLASSES)[np.arange(12) % CLASSES]
    weights: list[list[F32]] = []
    for stack in (
        [layers.Dense(CLASSES), layers.Activation(activation), layers.Activation(last)],
        [layers.Dense(CLASSES, activation), layers.Dense(CLASSES, last, name="identity")],
    ):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((FEATURES,)), *stack])
        if stack[-1].name == "identity":
            stack[-1].set_weights([np.eye(CLASSES), np.zeros(CLASSES)])
        kind = "categorical" if last == "softmax" else "binary"
        model.compile(keras.optimizers.SGD(0.1), f"{kind}_crossentropy")
        model.train_on_batch(x, truth)
        weights.append(model.get_weights()[:2])
    for made, right in zip(*weights, strict=True):
        close(made, right, 1e-6)


# Bits

SCRIPT = """
import hashlib, sys
import evengrad as keras
layers = keras.layers
if sys.argv[2] != "0":
    keras.set_num_threads(int(sys.argv[2]))
assert keras.get_num_threads() == int(sys.argv[3]), keras.get_num_threads()
keras.utils.set_random_seed(int(sys.argv[1]))
(x, y), (x_test, _) = keras.datasets.fashion_mnist.load_sample()
digest = hashlib.sha256()
for batch, dropout in ((32, 0.0), (32, 0.2), (400, 0.2)):
    model = keras.Sequential([layers.Flatten(input_shape=[28, 28]), layers.BatchNormalization()])
    for units in (300, 100):
        model.add(layers.Dense(units, kernel_initializer="he_normal", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.Activation("elu"))
        if dropout:
            model.add(layers.Dropout(dropout))
    model.add(layers.Dense(10, activation="softmax"))
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, batch_size=batch, epochs=2, validation_split=0.1, verbose=0)
    for part in (*model.get_weights(), model.predict(x_test), model.predict(x_test[:3])):
        digest.update(part.tobytes())
    digest.update(repr(history.history).encode())
print(digest.hexdigest())
"""


def run_script(script: str, *arguments: Any, **environment: str) -> str:
    """Output of a script in a fresh interpreter, which is killed with its children if it hangs."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": PACKAGE} | environment,
    )
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail("it hangs")
    assert process.returncode == 0, err
    return out.strip()


two_threads = pytest.mark.skipif(keras.get_num_threads() < 2, reason="one core: nothing to compare")


@two_threads
def test_the_same_bits_for_any_number_of_threads() -> None:
    one = run_script(SCRIPT, 0, 0, 1, OMP_NUM_THREADS="1")
    assert run_script(SCRIPT, 0, 0, 2, OMP_NUM_THREADS="2") == one
    assert run_script(SCRIPT, 0, 1, 1, OMP_NUM_THREADS="2") == one
    assert run_script(SCRIPT, 1, 0, 2, OMP_NUM_THREADS="2") != one


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = keras.get_num_threads()
    yield keras.set_num_threads
    keras.set_num_threads(before)


@two_threads
def test_the_same_bits_when_the_number_of_threads_changes(threads: Callable[[int], None]) -> None:
    x, y = draws(700, 64), np.arange(700) % 10

    def trained(numbers: list[int]) -> bytes:
        keras.utils.set_random_seed(2)
        model = keras.Sequential(
            [layers.Dense(96, "tanh"), layers.Dropout(0.3), layers.Dense(10, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy")

        def change(callback: Any, batch: int) -> None:
            threads(numbers[batch % len(numbers)])

        model.fit(x, y, 256, epochs=2, verbose=0, callbacks=[EachBatch(change)])
        return bits(model) + model.predict(x).tobytes()

    assert trained([1]) == trained([2]) == trained([1, 2])


def test_the_seed_decides_all() -> None:
    x, y = problem(100)

    def trained(seed: int) -> tuple[bytes, Any]:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [layers.Dense(8, "tanh"), layers.Dropout(0.5), layers.Dense(3, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(x, y, 16, epochs=2, verbose=0)
        return bits(model), history.history

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)
    assert np.isfinite(trained(3)[1]["loss"]).all()


def test_dropout_depends_on_the_seed() -> None:
    x, y = problem(64)
    losses = set()
    for seed in (1, 2, 1):
        model = classifier(layers.Dropout(0.5))
        keras.utils.set_random_seed(seed)
        losses.add(model.train_on_batch(x, y))
    assert len(losses) == 2


# Steps that meet NaN or infinity

HUGE = 1e38


def spoil(x: F32, *batches: int, size: int = 4) -> F32:
    """Make the loss of some batches overflow."""
    x = x.copy()
    for batch in batches:
        x[size * batch : size * batch + size] = HUGE
    return x


def regression(optimizer: Any = None, **options: Any) -> tuple[keras.Sequential, F32, F32]:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile(optimizer or keras.optimizers.SGD(0.01), "mse", **options)
    return model, draws(48, 3), draws(48, 2, seed=1)


def everything(model: keras.Sequential) -> list[bytes]:
    """Weights in full precision, batch counts and the optimizer's state."""
    parts = [v.storage.tobytes() for v in model.variables]
    parts += [layer._batches.tobytes() for layer in model.layers if hasattr(layer, "_batches")]
    slots = model.optimizer.slots(model.trainable_variables)
    return parts + [s.tobytes() for slot in slots for s in slot]


def test_a_non_finite_loss_leaves_the_model_as_before_the_step() -> None:
    def make() -> keras.Sequential:
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)]
        )
        model.compile(keras.optimizers.Adam(0.01), "mse")
        return model

    x, y = draws(48, 3), draws(48, 2, seed=1)
    spoiled = spoil(x, 7)
    spoiled[28] *= -1.0  # of equal rows the variance would be 0
    model, right = make(), make()
    assert model.get_weights()[0].any()
    with pytest.raises(keras.NonFiniteError) as caught:
        model.fit(spoiled, y, 4, epochs=3, shuffle=False, verbose=0)
    right.fit(x[:28], y[:28], 4, shuffle=False, verbose=0)
    assert everything(model) == everything(right)
    assert model.optimizer.iterations == right.optimizer.iterations == 7
    error = caught.value
    assert (error.epoch, error.step, error.tensor) == (0, 7, "output")
    assert error.layer in {layer.name for layer in model.layers}
    assert error.rows == (28, 29, 30, 31)
    assert "epoch 1, step 8: the loss is not finite" in str(error)
    assert "\n" not in str(error)
    # It can be trained on, to the same bits as one that never met the bad batch.
    model.fit(x, y, 4, shuffle=False, verbose=0)
    right.fit(x, y, 4, shuffle=False, verbose=0)
    assert everything(model) == everything(right)


def test_the_epoch_of_a_non_finite_step() -> None:
    model, x, y = regression()

    def poison(callback: Any, epoch: int) -> None:
        if epoch == 2:
            callback.model.layers[0].kernel.value[...] = HUGE

    with pytest.raises(keras.NonFiniteError, match="epoch 3, step 1") as caught:
        model.fit(x, y, 4, 9, 0, callbacks=[Call("on_epoch_begin", poison)])
    assert (caught.value.epoch, caught.value.step) == (2, 0)


def gradient_overflow() -> tuple[keras.Sequential, F32, NDArray[np.int64], F32]:
    """Loss finite, gradient of the first kernel not, in the second batch of 4."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(3, kernel_initializer="zeros", bias_initializer="ones", name="first"),
            layers.Dense(3, "softmax", name="last"),
        ]
    )
    x, weight = np.ones((16, 2), np.float32), np.ones(16, np.float32)
    x[4:8], weight[4:8] = 3e38, 1e3
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, x, np.zeros(16, np.int64), weight


def test_a_non_finite_gradient_names_its_variable() -> None:
    model, x, y, weight = gradient_overflow()
    start = everything(model)
    with pytest.raises(keras.NonFiniteError) as caught:
        model.fit(x[4:8], y[4:8], 4, sample_weight=weight[4:8], verbose=0)
    assert everything(model) == start
    assert caught.value.tensor == model.layers[0].kernel.path
    assert f"the gradient of {caught.value.tensor} is not finite" in str(caught.value)
    assert model.optimizer.iterations == 0
    with pytest.raises(keras.NonFiniteError):
        model.train_on_batch(x[4:8], y[4:8], weight[4:8])
    assert everything(model) == start


def test_the_error_can_be_pickled() -> None:
    error = keras.NonFiniteError("text", epoch=1, step=2, tensor="loss")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.epoch, copy.step, copy.tensor) == ("text", 1, 2, "loss")
    assert isinstance(error, ArithmeticError)


def test_weights_never_become_non_finite() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e30), "mse")
    x = np.full((4, 2), 1e10, np.float32)
    with pytest.raises(keras.NonFiniteError):  # gradient and rate are finite, their product not
        model.fit(x, np.zeros(4), epochs=3, verbose=0)
    assert np.isfinite(model.get_weights()[0]).all()


def test_skip_leaves_bad_steps_out() -> None:
    model, x, y = regression(keras.optimizers.Adam(0.01), on_nonfinite="skip")
    right, _, _ = regression(keras.optimizers.Adam(0.01))
    bad = spoil(x, 0, 5, 6, 11)
    good = np.r_[4:20, 28:44]
    a = model.fit(bad, y, 4, epochs=2, shuffle=False, verbose=0)
    b = right.fit(x[good], y[good], 4, epochs=2, shuffle=False, verbose=0)
    assert everything(model) == everything(right)
    assert model.optimizer.iterations == 16
    assert model.skipped_steps == 8
    close(a.history["loss"], b.history["loss"])  # the mean over the rows that were trained on


def test_skip_counts_no_loss_of_a_step_with_a_bad_gradient() -> None:
    model, x, y, weight = gradient_overflow()
    model.compile(
        keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", ["accuracy"],
        on_nonfinite="skip",
    )  # fmt: skip
    history = model.fit(x, y, 4, sample_weight=weight, shuffle=False, verbose=0).history
    assert model.skipped_steps == 1
    good = np.r_[0:4, 8:16]
    close([history["loss"][0], history["accuracy"][0]], model.evaluate(x[good], y[good], verbose=0))


def test_skip_works_batch_by_batch_too() -> None:
    model, x, y = regression(on_nonfinite="skip")
    seen: list[int] = []
    watch = EachBatch(lambda callback, batch: seen.append(batch))
    model.fit(spoil(x, 0, 5), y, 4, shuffle=False, verbose=0, callbacks=[watch])
    assert seen == list(range(12))
    assert model.skipped_steps == 2


def test_skip_gives_up_after_ten_in_a_row() -> None:
    model, _, _ = regression(on_nonfinite="skip")
    x, y = draws(100, 3), draws(100, 2)
    model.fit(spoil(x, *range(5, 14)), y, 4, shuffle=False, verbose=0)  # nine
    assert model.skipped_steps == 9
    before = everything(model)
    with pytest.raises(keras.NonFiniteError, match="epoch 1, step 10"):
        model.fit(spoil(x, *range(10)), y, 4, shuffle=False, verbose=0)
    assert everything(model) == before
    assert model.skipped_steps == 19


def test_skip_counts_from_zero_in_a_new_fit() -> None:
    model, _, _ = regression(on_nonfinite="skip")
    x, y = draws(100, 3), draws(100, 2)
    with pytest.raises(keras.NonFiniteError):
        model.fit(spoil(x, *range(12)), y, 4, shuffle=False, verbose=0)
    model.fit(spoil(x, 0, 1), y, 4, shuffle=False, verbose=0)
    model.fit(spoil(x, *range(16, 25)), y, 4, shuffle=False, verbose=0)
    model.fit(spoil(x, 0, 1), y, 4, shuffle=False, verbose=0)


# Interrupts


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Ctrl-C after some time."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers on this system")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_a_long_fit_between_steps() -> None:
    x, y = problem(1 << 16)
    for seconds in (0.1, 0.15, 0.2):
        model, right = (classifier(optimizer="adam") for _ in range(2))
        with alarm(seconds), pytest.raises(KeyboardInterrupt):
            model.fit(x, y, 8, epochs=500, shuffle=False, verbose=0)
        done = model.optimizer.iterations
        # What was counted is what was done: as many steps of another model give the same bits.
        epochs, steps = divmod(done, len(x) // 8)
        right.fit(x, y, 8, epochs=epochs, shuffle=False, verbose=0)
        if steps:
            right.fit(x, y, 8, steps_per_epoch=steps, shuffle=False, verbose=0)
        assert right.optimizer.iterations == done
        assert bits(model) == bits(right)
        model.fit(x[:500], y[:500], verbose=0)
        assert np.isfinite(model.predict(x[:500])).all()


def test_a_signal_ends_a_long_evaluation_and_prediction() -> None:
    x, y = draws(20_000, FEATURES), np.zeros(20_000)
    model = classifier()

    def for_long(use: Callable[[], Any]) -> None:
        for _ in range(2_000):
            use()

    for use in (
        lambda: model.predict(x, batch_size=1),
        lambda: model.evaluate(x, y, batch_size=1, verbose=0),
        lambda: model.fit(x, y, epochs=5_000, validation_data=(x, y), verbose=0),
    ):
        with alarm(0.1), pytest.raises(KeyboardInterrupt):
            for_long(use)
        assert model.predict(x[:5]).shape == (5, CLASSES)


def test_another_thread_interrupts_a_long_fit() -> None:
    x, y = problem(4096)
    model = classifier()
    started = threading.Event()

    def interrupt() -> None:
        started.wait(60)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    begin = Call("on_epoch_end", lambda callback, epoch: started.set())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y, 8, epochs=5_000, verbose=0, callbacks=[begin])
    finally:
        thread.join(60)
        signal.signal(signal.SIGINT, before)
    model.fit(x, y, verbose=0)
    assert np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "batch", "on_train_end"]
)
def test_an_interrupt_in_a_callback(hook: str) -> None:
    x, y = problem(60)

    def interrupt(callback: Any, number: int) -> None:
        raise KeyboardInterrupt

    callback = EachBatch(interrupt) if hook == "batch" else Call(hook, interrupt)
    model = classifier(layers.BatchNormalization())
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    history = model.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert np.isfinite(model.predict(x)).all()


# Threads


def test_two_models_train_while_one_predicts() -> None:
    x, y = problem(600)

    def trained(model: keras.Sequential) -> bytes:
        model.fit(x, y, 32, epochs=30, shuffle=False, verbose=0)
        return bits(model)

    def make() -> keras.Sequential:
        return classifier(layers.BatchNormalization(), optimizer="adam")

    alone = trained(make())
    third = make()
    right = third.predict(x).tobytes()
    models = [make(), make()]
    results: dict[str, Any] = {}
    start, done = threading.Barrier(3), threading.Event()

    def train(i: int) -> None:
        start.wait(60)
        results[f"train {i}"] = trained(models[i]) == alone

    def predict() -> None:
        start.wait(60)
        results["predict"] = all(third.predict(x).tobytes() == right for _ in range(50))
        while not done.is_set():
            results["predict"] &= third.predict(x).tobytes() == right

    workers = [threading.Thread(target=train, args=(i,), daemon=True) for i in range(2)]
    workers.append(threading.Thread(target=predict, daemon=True))
    for worker in workers:
        worker.start()
    for worker in workers[:2]:
        worker.join(60)
    done.set()
    workers[2].join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert results == {"train 0": True, "train 1": True, "predict": True}


def test_one_model_used_from_many_threads() -> None:
    x, y = problem(300)
    model = classifier()
    right = model.predict(x).tobytes()
    model.optimizer.learning_rate = 0.0
    failures: list[BaseException] = []

    def use(i: int) -> None:
        try:
            for _ in range(10):
                if i % 2:
                    model.fit(x, y, 32, verbose=0)
                else:
                    assert model.predict(x).tobytes() == right
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=use, args=(i,), daemon=True) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert failures == []


FORK = """
import multiprocessing, warnings
import numpy as np
import evengrad as keras
# Python warns of forking a process with threads; that it works all the same is what is tested.
warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((2000, 64), dtype=np.float32)
y = np.arange(2000) % 10
dense = keras.layers.Dense
model = keras.Sequential([dense(256, "tanh"), dense(256, "elu"), dense(10, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x, y, 256, verbose=0)

def child(queue, train):
    if train:
        model.fit(x, y, 256, verbose=0)
    queue.put((keras.get_num_threads(), model.predict(x).tobytes()))

context = multiprocessing.get_context("fork")
def in_child(train):
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(queue, train))
    process.start()
    result = queue.get()
    process.join(30)
    assert process.exitcode == 0, process.exitcode
    return result

parent = keras.get_num_threads()
threads, predicted = in_child(train=False)
assert threads == 1, threads
assert predicted == model.predict(x).tobytes()
assert keras.get_num_threads() == parent
keras.utils.set_random_seed(5)
trained_there = in_child(train=True)[1]
assert predicted == model.predict(x).tobytes()
model.fit(x, y, 256, verbose=0)
assert trained_there == model.predict(x).tobytes()
print("good")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_after_training() -> None:
    assert run_script(FORK) == "good"
