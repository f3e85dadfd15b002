"""What a recorded step carries from one replay to the next, against training loops in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import layers, losses
from evengrad._program import Program
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

ROWS, BATCH, FEATURES, HIDDEN, OUTPUTS = 44, 16, 5, 7, 3  # the last batch has 12 rows
STEPS = 3  # an epoch
RATE, MOMENTUM = 0.05, 0.9


def draws(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


X, Y = draws(ROWS, FEATURES), draws(ROWS, OUTPUTS, seed=1)


def close(made: Any, right: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(made, right, rtol=tolerance, atol=tolerance)


class EachBatch(keras.callbacks.Callback):
    """Calls function(model, updates done) after each batch."""

    def __init__(self, function: Callable[[keras.Sequential, int], None]) -> None:
        self.function = function

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        assert isinstance(self.model, keras.Sequential)
        self.function(self.model, self.model.optimizer.iterations)


def network(
    *between: layers.Layer, first: layers.Layer | None = None, loss: Any = "mse"
) -> keras.Sequential:
    """tanh(x w1 + b1) w2 + b2, with the mean of squared errors and SGD with momentum."""
    keras.utils.set_random_seed(0)
    stack = [first or layers.Dense(HIDDEN, "tanh"), *between, layers.Dense(OUTPUTS)]
    model = keras.Sequential([keras.Input((FEATURES,)), *stack])
    model.compile(keras.optimizers.SGD(RATE, momentum=MOMENTUM), loss)
    return model


class Loop:
    """The same in float64, step by step."""

    def __init__(self, model: keras.Sequential) -> None:
        self.weights = [w.astype(np.float64) for w in model.get_weights()]
        self.momenta = [np.zeros(w.shape) for w in self.weights]
        self.rate, self.frozen, self.updates = RATE, set[int](), 0

    def mask(self, rows: int) -> F64:
        """What the hidden layer is multiplied by."""
        return np.ones((rows, HIDDEN))

    def step(self, x: F32, y: F32, weight: F64) -> float:
        """Update; return the sum over rows of weight * loss before it."""
        self.updates += 1
        w1, b1, w2, b2 = self.weights
        mask = self.mask(len(x))
        wide = x.astype(np.float64)
        raw = np.tanh(wide @ w1 + b1)
        hidden = raw * mask
        error = hidden @ w2 + b2 - y
        dy = 2.0 * error * weight[:, None] / error.size
        dz = dy @ w2.T * mask * (1.0 - raw**2)
        for i, gradient in enumerate((wide.T @ dz, dz.sum(0), hidden.T @ dy, dy.sum(0))):
            if i in self.frozen:
                continue
            self.momenta[i] = MOMENTUM * self.momenta[i] - self.rate * gradient
            self.weights[i] = self.weights[i] + self.momenta[i]
        return float((weight * (error**2).mean(axis=1)).sum())

    def epoch(self, weight: Any = None, after: Callable[[], None] = lambda: None) -> float:
        weight = np.ones(ROWS) if weight is None else np.asarray(weight, dtype=np.float64)
        total = 0.0
        for i in range(0, ROWS, BATCH):
            part = slice(i, i + BATCH)
            total += self.step(X[part], Y[part], weight[part])
            after()
        return total / ROWS


def check(
    model: keras.Sequential,
    loop: Loop,
    *callbacks: keras.callbacks.Callback,
    after: Callable[[], None] = lambda: None,
    weight: Any = None,
) -> None:
    """Three epochs of both: losses and weights."""
    history = model.fit(
        X, Y, BATCH, epochs=3, shuffle=False, verbose=0, callbacks=callbacks, sample_weight=weight
    )
    close(history.history["loss"], [loop.epoch(weight, after) for _ in range(3)])
    for made, right in zip(model.get_weights(), loop.weights, strict=True):
        close(made, right)


def test_a_partial_last_batch() -> None:
    model = network()
    check(model, Loop(model))
    assert model.optimizer.iterations == 3 * STEPS


class DroppingLoop(Loop):
    def __init__(self, model: keras.Sequential, rate: float, layer: int) -> None:
        super().__init__(model)
        self.drop, self.layer, self.seed = rate, layer, model.seed

    def mask(self, rows: int) -> F64:
        shape = rows, HIDDEN
        kept = reference.dropout_mask(shape, self.drop, self.seed, self.layer, self.updates)
        return kept / (1.0 - self.drop)


@pytest.mark.parametrize("seed", [None, 12])
def test_dropout(seed: int | None) -> None:
    model = network(layers.Dropout(0.4, seed=seed))
    key = Program(1, training=True).next_draw() if seed is None else Program.draw_of(seed)
    check(model, DroppingLoop(model, 0.4, key))


def test_sample_weights() -> None:
    model = network()
    check(model, Loop(model), weight=np.random.default_rng(2).uniform(0.0, 3.0, ROWS))


def test_a_learning_rate_changed_in_mid_epoch() -> None:
    model = network()
    loop = Loop(model)

    def rate(updates: int) -> float:
        return 0.01 if STEPS < updates < 2 * STEPS else RATE  # from the second of an epoch on

    def change(model: keras.Sequential, updates: int) -> None:
        model.optimizer.learning_rate = rate(updates)

    def follow() -> None:
        loop.rate = rate(loop.updates)

    check(model, loop, EachBatch(change), after=follow)


def test_weights_changed_in_mid_epoch() -> None:
    model = network()
    loop = Loop(model)

    def change(model: keras.Sequential, updates: int) -> None:
        model.layers[1].kernel.value[...] *= 0.5

    def follow() -> None:
        loop.weights[2] = loop.weights[2] * 0.5

    check(model, loop, EachBatch(change), after=follow)


@pytest.mark.parametrize("layer", [0, 1])
def test_trainable_switched_and_back_in_mid_epoch(layer: int) -> None:
    """Frozen for two updates: weights and momenta stay, and go on from there afterwards."""
    model = network()
    loop = Loop(model)

    def frozen(updates: int) -> bool:
        return updates in (STEPS + 1, STEPS + 2)

    def switch(model: keras.Sequential, updates: int) -> None:
        model.layers[layer].trainable = not frozen(updates)

    def follow() -> None:
        loop.frozen = {2 * layer, 2 * layer + 1} if frozen(loop.updates) else set()

    check(model, loop, EachBatch(switch), after=follow)


def test_trainable_of_one_variable() -> None:
    model = network()
    loop = Loop(model)

    def switch(model: keras.Sequential, updates: int) -> None:
        model.layers[1].kernel.trainable = updates % 2 == 0

    def follow() -> None:
        loop.frozen = {2} if loop.updates % 2 else set()

    check(model, loop, EachBatch(switch), after=follow)


def test_trainable_switched_before_the_batch_and_between_epochs() -> None:
    class Switch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.layers[0].trainable = batch != 1

    class Slow(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.layers[1].trainable = epoch != 1

    model = network()
    loop = Loop(model)

    def follow() -> None:
        epoch, batch = divmod(loop.updates, STEPS)
        loop.frozen = ({0, 1} if batch == 1 else set()) | ({2, 3} if epoch == 1 else set())

    check(model, loop, Switch(), Slow(), after=follow)


def test_a_normalization_frozen_in_mid_epoch_stops_to_follow() -> None:
    model = network(layers.BatchNormalization())
    norm = model.layers[1]
    seen: list[bytes] = []

    def switch(model: keras.Sequential, updates: int) -> None:
        seen.append(b"".join(v.storage.tobytes() for v in norm.variables))
        norm.trainable = updates not in (2, 3)

    model.fit(X, Y, BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[EachBatch(switch)])
    assert [a == b for a, b in itertools.pairwise(seen)] == [
        False, True, True, False, False
    ]  # fmt: skip


def test_the_mean_of_an_epoch_outlives_a_new_recording() -> None:
    model, right = network(), network()
    for m in (model, right):
        m.compile(keras.optimizers.SGD(0.0), "mse", ["mae"])

    def switch(model: keras.Sequential, updates: int) -> None:
        model.layers[0].trainable = updates % 2 == 0

    fit = {"shuffle": False, "verbose": 0}
    a = model.fit(X, Y, BATCH, **fit, callbacks=[EachBatch(switch)]).history
    assert a == right.fit(X, Y, BATCH, **fit).history


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_compiled_again_in_mid_epoch(loss: str) -> None:
    """It holds from the next step on; loss and metrics of the epoch are means since then."""
    model, seen = network(), []
    model.compile(keras.optimizers.SGD(0.0), "mse", ["mae"])

    def compile_again(model: keras.Sequential, updates: int) -> None:
        seen.append(model.get_metrics_result())
        if len(seen) == 1:
            model.compile(keras.optimizers.SGD(0.0), loss, ["mse"])

    fit = {"shuffle": False, "verbose": 0, "callbacks": [EachBatch(compile_again)]}
    history = model.fit(X, Y, BATCH, epochs=2, **fit).history
    assert {name: len(values) for name, values in history.items()} == {"loss": 2, "mse": 2}
    for epoch, rows in enumerate((slice(BATCH, None), slice(None))):
        right = model.evaluate(X[rows], Y[rows], verbose=0, return_dict=True)
        close([values[epoch] for values in history.values()], list(right.values()))
    assert [list(logs) for logs in seen[:2]] == [["loss", "mae"], ["loss", "mse"]]


def test_another_optimizer_in_mid_epoch() -> None:
    model, right = network(), network()

    def compile_again(model: keras.Sequential, updates: int) -> None:
        if not isinstance(model.optimizer, keras.optimizers.Adam):
            model.compile("adam", "mse")

    fit = {"shuffle": False, "verbose": 0}
    model.fit(X[: 2 * BATCH], Y[: 2 * BATCH], BATCH, **fit, callbacks=[EachBatch(compile_again)])
    right.fit(X[:BATCH], Y[:BATCH], BATCH, **fit)
    right.compile("adam", "mse")
    right.fit(X[BATCH : 2 * BATCH], Y[BATCH : 2 * BATCH], BATCH, **fit)
    for a, b in zip(model.get_weights(), right.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_metrics_reset_in_mid_epoch() -> None:
    model = network()
    model.compile(keras.optimizers.SGD(0.0), "mse", ["mae"])

    def reset(model: keras.Sequential, updates: int) -> None:
        if updates == 1:
            model.reset_metrics()
            assert model.get_metrics_result() == {"loss": 0.0, "mae": 0.0}

    fit = {"shuffle": False, "verbose": 0, "callbacks": [EachBatch(reset)]}
    history = model.fit(X, Y, BATCH, **fit).history
    right = model.evaluate(X[BATCH:], Y[BATCH:], verbose=0, return_dict=True)
    close([history["loss"][0], history["mae"][0]], [right["loss"], right["mae"]])


def test_evaluation_in_mid_epoch_leaves_its_means_alone() -> None:
    model, right = network(), network()

    def look(model: keras.Sequential, updates: int) -> None:
        model.evaluate(X, Y, verbose=0)

    fit = {"shuffle": False, "verbose": 0}
    a = model.fit(X, Y, BATCH, **fit, callbacks=[EachBatch(look)]).history
    assert a == right.fit(X, Y, BATCH, **fit).history


# Written in Python


class OwnDense(layers.Layer):
    """tanh(x w + b)."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((input_shape[-1], self.units), name="kernel")
        self.bias = self.add_weight((self.units,), "zeros", "bias")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)

    def call(self, inputs: F32, training: bool = False) -> F32:
        return np.tanh(inputs @ self.kernel.value + self.bias.value)

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
        dz = dy * (1.0 - outputs**2)
        gradients = {self.kernel: inputs.T @ dz, self.bias: dz.sum(axis=0)}
        return dz @ self.kernel.value.T, gradients


class OwnError(losses.Loss):
    """The mean of squared errors."""

    def call(self, y_true: F32, y_pred: F32) -> F32:
        return np.square(y_pred - y_true).mean(axis=-1)

    def gradient(self, y_true: F32, y_pred: F32) -> F32:
        return 2.0 * (y_pred - y_true) / np.float32(y_pred.shape[-1])


def own(*more: layers.Layer) -> keras.Sequential:
    return network(*more, first=OwnDense(HIDDEN), loss=OwnError())


def test_a_layer_in_python() -> None:
    model = network(first=OwnDense(HIDDEN))
    check(model, Loop(model))


def test_a_loss_in_python() -> None:
    model = network(loss=OwnError())
    check(model, Loop(model))


def test_all_of_it_together() -> None:
    model = own(layers.Dropout(0.3))
    loop = DroppingLoop(model, 0.3, Program(1, training=True).next_draw())

    def rate(updates: int) -> float:
        return RATE / (1 + updates % 4)

    def change(model: keras.Sequential, updates: int) -> None:
        model.optimizer.learning_rate = rate(updates)
        model.layers[0].trainable = updates % 3 != 1

    def follow() -> None:
        loop.rate = rate(loop.updates)
        loop.frozen = {0, 1} if loop.updates % 3 == 1 else set()

    weight = np.random.default_rng(2).uniform(0.0, 3.0, ROWS)
    check(model, loop, EachBatch(change), after=follow, weight=weight)
