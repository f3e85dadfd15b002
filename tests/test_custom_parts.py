"""Activations, regularizers, constraints, optimizers, metrics, schedules written in Python."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import (
    activations,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
)
from numpy.typing import NDArray

Array = NDArray[Any]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 5), dtype=np.float32)
Y = RNG.standard_normal((48, 3), dtype=np.float32)


def fit(
    *stack: Any, optimizer: Any = None, loss: Any = "mse", epochs: int = 3, **options: Any
) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), *stack])
    model.compile(optimizer or optimizers.SGD(0.05, momentum=0.9), loss, **options)
    history = model.fit(X, Y, 16, epochs=epochs, shuffle=False, verbose=0).history
    return model, history


def same(ours: Any, right: Any, tolerance: float = 1e-5) -> None:
    """Two models with their histories."""
    for name, values in right[1].items():
        np.testing.assert_allclose(ours[1][name], values, rtol=tolerance)
    for a, b in zip(ours[0].get_weights(), right[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def state(model: Any) -> list[bytes]:
    parts = [*model.live_arrays, *(v.storage for v in model.optimizer.variables)]
    return [a.tobytes() for a in parts]


# Activations


class Tanh(activations.Activation):
    def call(self, x: Array) -> Any:
        return np.tanh(x)

    def slope(self, x: Array, y: Array) -> Any:
        return 1.0 - y * y


class Elu(activations.Activation):
    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def call(self, x: Array) -> Any:
        return np.where(x > 0.0, x, self.alpha * np.expm1(np.minimum(x, 0.0)))

    def slope(self, x: Array, y: Array) -> Any:
        return np.where(x > 0.0, 1.0, y + self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


def elu(alpha: float) -> Any:
    import functools

    return functools.partial(activations.elu, alpha=alpha)


@pytest.mark.parametrize(
    ("own", "right"), [(Tanh(), "tanh"), (Elu(0.5), elu(0.5)), (Tanh, "tanh"), (Elu(), "elu")]
)
def test_an_activation_is_as_that_of_the_kernels(own: Any, right: Any) -> None:
    def stack(f: Any) -> Any:
        return (
            layers.Dense(8, f),
            layers.BatchNormalization(),
            layers.Activation(f),
            layers.Dense(3),
        )

    same(fit(*stack(own)), fit(*stack(right)))
    same(fit(*stack(own), layers.Activation(own)), fit(*stack(right), layers.Activation(right)))


def test_an_activation_on_arrays() -> None:
    x = np.linspace(-3.0, 3.0, 24).reshape(2, 3, 4)
    np.testing.assert_allclose(Elu(0.5)(x), activations.elu(x, 0.5), rtol=1e-6)
    assert Elu()(x).dtype == np.float32
    assert repr(Elu(0.5)) == "Elu(alpha=0.5)"
    layer = layers.Dense(4, Tanh(), input_shape=(2, 3))
    y = layer(np.ones((5, 2, 3)))
    assert y.shape == (5, 2, 4)


def test_an_activation_goes_and_comes_back() -> None:
    own = Elu(0.25)
    assert activations.get(own) is own
    config = activations.serialize(own)
    assert config == {"class_name": "Elu", "config": {"alpha": 0.25}}
    assert Elu.from_config(own.get_config()).alpha == 0.25
    assert layers.Dense(2, own).get_config()["activation"] == config


def test_gains_and_auto_kernels_of_an_activation() -> None:
    assert initializers.calculate_gain(Tanh()) == pytest.approx(
        initializers.calculate_gain("tanh"), rel=1e-5
    )
    weights = []
    for f in (Tanh(), "tanh"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [layers.Dense(20, f, kernel_initializer="auto", input_shape=(5,)),
             layers.Dense(4, kernel_initializer="auto"), layers.Activation(f)]
        )  # fmt: skip
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_lsuv_looks_before_an_activation() -> None:
    kernels = []
    for f in (Tanh(), "tanh"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([layers.Dense(8, f, input_shape=(5,)), layers.Dense(3, f)])
        model.lsuv(X)
        kernels.append(model.get_weights())
    for a, b in zip(*kernels, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_softmax_of_ones_own_is_no_softmax_of_ours() -> None:
    """The loss must not take it for the one that it is fused with."""

    class softmax(activations.Activation):  # noqa: N801
        def call(self, x: Array) -> Any:
            return 1.0 / (1.0 + np.exp(-x))

        def slope(self, x: Array, y: Array) -> Any:
            return y * (1.0 - y)

    labels = np.arange(48) % 3
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, softmax())])
    model.compile("sgd", "sparse_categorical_crossentropy")
    right = losses.SparseCategoricalCrossentropy()(labels, model.predict(X))
    assert model.evaluate(X, labels, verbose=0) == pytest.approx(float(right), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: layers.Dense(2, np.tanh), "whose derivative cannot be found automatically"),
        (lambda: layers.Dense(2, activations.Activation()), "Activation does not define call"),
        (lambda: layers.Dense(2, type("Half", (activations.Activation,), {"call": Tanh.call})()),
         "activation: Half does not define slope"),
    ],
)  # fmt: skip
def test_activations_that_cannot_be_used(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        make()


@pytest.mark.parametrize("method", ["call", "slope"])
def test_an_activation_that_fails_leaves_the_model_as_it_was(method: str) -> None:
    class Fails(Tanh):
        bad: Any = None

        def call(self, x: Array) -> Any:
            return self.answer("call", super().call(x))

        def slope(self, x: Array, y: Array) -> Any:
            return self.answer("slope", super().slope(x, y))

        def answer(self, name: str, value: Any) -> Any:
            if self.bad is None or name != method:
                return value
            if isinstance(self.bad, BaseException):
                raise self.bad
            return self.bad

    own = Fails()
    model, _ = fit(layers.Dense(8, own), layers.BatchNormalization(), layers.Dense(3))
    before = state(model)
    for bad, error, text in (
        (KeyError("mine"), KeyError, "mine"),
        (np.zeros(3), ValueError, rf"Fails\(\): expected what {method} returns to have shape"),
        ("text", TypeError, rf"what {method} returns to be"),
    ):
        own.bad = bad
        with pytest.raises(error, match=text):
            model.fit(X, Y, 16, verbose=0)
        assert state(model) == before
    own.bad = None
    model.fit(X, Y, 16, verbose=0)


def test_what_an_activation_is_given_is_read_only() -> None:
    class Writes(Tanh):
        def call(self, x: Array) -> Any:
            x[...] = 0.0
            return x

    with pytest.raises(ValueError, match="read-only"):
        layers.Dense(2, Writes())(X)


# Regularizers


class Squares(regularizers.Regularizer):
    def __init__(self, strength: float = 0.01) -> None:
        self.strength = strength

    def __call__(self, x: Any) -> Any:
        return self.strength * np.square(np.asarray(x, np.float64)).sum()

    def gradient(self, x: Array) -> Any:
        return 2.0 * self.strength * x

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}


def test_a_regularizer_is_as_that_of_the_kernels() -> None:
    def stack(r: Any) -> Any:
        return (
            layers.Dense(8, "tanh", kernel_regularizer=r, bias_regularizer=r),
            layers.PReLU(alpha_regularizer=r), layers.Dense(3, kernel_regularizer="l1"),
        )  # fmt: skip

    ours, right = fit(*stack(Squares(0.02))), fit(*stack(regularizers.L2(0.02)))
    same(ours, right)
    assert ours[0].evaluate(X, Y, verbose=0) == pytest.approx(
        right[0].evaluate(X, Y, verbose=0), rel=1e-5
    )
    assert ours[0].losses == pytest.approx(right[0].losses, rel=1e-5)


def test_a_regularizer_in_a_loop_of_ones_own() -> None:
    weights = []
    for r in (Squares(0.02), regularizers.L2(0.02)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([layers.Dense(3, kernel_regularizer=r, input_shape=(5,))])
        model.compile("adam")
        for _ in range(5):
            y = model.forward(X)
            model.backward((y - Y) / len(Y))
            model.optimizer.step()
        weights.append(model.get_weights())
    np.testing.assert_allclose(weights[0][0], weights[1][0], rtol=1e-5)


def test_regularizers_that_cannot_be_used() -> None:
    class Half(regularizers.Regularizer):
        def __call__(self, x: Any) -> Any:
            return 0.0

    with pytest.raises(TypeError, match="Half does not define gradient; it needs __call__"):
        layers.Dense(2, kernel_regularizer=Half())
    with pytest.raises(TypeError, match="regularizer: expected None, a name"):
        layers.Dense(2, kernel_regularizer=np.sum)


def test_a_regularizer_that_fails_leaves_the_model_as_it_was() -> None:
    own = Squares()
    model, _ = fit(layers.Dense(8, kernel_regularizer=own), layers.Dense(3))
    before = state(model)
    own.strength = np.nan
    with pytest.raises(keras.NonFiniteError):
        model.fit(X, Y, 16, verbose=0)
    assert state(model) == before
    own.strength = "much"  # type: ignore[assignment]
    with pytest.raises(Exception, match=r"multiply|loop|dtype"):
        model.fit(X, Y, 16, verbose=0)
    assert state(model) == before


# Constraints


class Between(constraints.Constraint):
    def __init__(self, limit: float = 0.1) -> None:
        self.limit = limit

    def __call__(self, w: Any) -> Any:
        return np.clip(w, -self.limit, self.limit)

    def get_config(self) -> dict[str, Any]:
        return {"limit": self.limit}


def test_a_constraint_is_kept_at_each_step() -> None:
    def positive(w: Array) -> Any:
        return np.maximum(w, 0.0)

    def stack(c: Any) -> Any:
        return (
            layers.Dense(8, "tanh", kernel_constraint=c), layers.PReLU(alpha_constraint=c),
            layers.Dense(3),
        )  # fmt: skip

    right = fit(*stack("non_neg"))
    same(fit(*stack(positive)), right, 0.0)
    model, _ = fit(layers.Dense(8, kernel_constraint=Between()), layers.Dense(3))
    assert np.abs(model.layers[0].kernel.value).max() <= np.float32(0.1)
    assert "positive" in repr(constraints.get(positive))


def test_a_function_as_constraint_goes_and_comes_back() -> None:
    made = constraints.get(np.abs)
    again = constraints.get(constraints.serialize(made))
    assert again is not None
    np.testing.assert_array_equal(again([-1.0, 2.0]), [1.0, 2.0])


@pytest.mark.parametrize("made", ["adam", "accumulated", "own"])
def test_a_constraint_that_fails_takes_the_update_back(made: str) -> None:
    class Fails(Between):
        bad: Any = None

        def __call__(self, w: Any) -> Any:
            if isinstance(self.bad, BaseException):
                raise self.bad
            return super().__call__(w) if self.bad is None else self.bad

    own = Fails()
    optimizer = {
        "adam": optimizers.Adam(use_ema=True),
        "accumulated": optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2),
        "own": Heavy(),
    }[made]
    model, _ = fit(
        layers.Dense(8, bias_constraint=own), layers.BatchNormalization(), layers.Dense(3),
        optimizer=optimizer,
    )  # fmt: skip
    before = state(model)
    for bad, error, text in (
        (KeyError("mine"), KeyError, "mine"),
        (np.zeros(3), ValueError, r"Fails\(.*\) of \S+/bias: expected what a call returns to h"),
        (np.full(8, np.nan), keras.NonFiniteError, "expected it to leave .* finite; nothing has"),
    ):
        own.bad = bad
        with pytest.raises(error, match=text):
            model.fit(X, Y, 16, verbose=0)
        assert state(model) == before
    own.bad = None
    model.fit(X, Y, 16, verbose=0)
    assert state(model) != before


# Optimizers


class Heavy(optimizers.Optimizer):
    """SGD with momentum."""

    slot_names = (("momentum",),)

    def __init__(self, learning_rate: Any = 0.05, momentum: float = 0.9, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum

    def update_step(self, gradient: Array, variable: Any, learning_rate: float) -> None:
        m = self.slot("momentum", variable)
        m *= np.float32(self.momentum)
        m -= np.float32(learning_rate) * gradient
        variable.value[...] += m

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum}


@pytest.mark.parametrize(
    "options",
    [
        {}, {"clipnorm": 0.1}, {"clipvalue": 0.01}, {"global_clipnorm": 0.1}, {"weight_decay": 0.1},
        {"use_ema": True}, {"gradient_accumulation_steps": 3}, {"clipping": "auto_clip"},
        {"clipping": "adaptive_gradient_clipping"},
        {"learning_rate": optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)},
    ],
)  # fmt: skip
def test_an_optimizer_is_as_that_of_the_kernels(options: dict[str, Any]) -> None:
    def stack() -> Any:
        return (
            layers.Dense(8, "tanh", bias_constraint="non_neg"), layers.PReLU(), layers.Dense(3),
        )  # fmt: skip

    rate = {"learning_rate": 0.05} | options
    ours = fit(*stack(), optimizer=Heavy(**rate))
    same(ours, fit(*stack(), optimizer=optimizers.SGD(momentum=0.9, **rate)), 2e-5)
    assert ours[0].optimizer.iterations == 9 // options.get("gradient_accumulation_steps", 1)


def test_an_optimizer_by_hand_and_in_a_loop() -> None:
    for kind in (Heavy, lambda: optimizers.SGD(0.05, momentum=0.9)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([layers.Dense(3, input_shape=(5,))])
        model.compile(kind())
        for _ in range(3):
            y = model.forward(X)
            model.backward(y - Y)
            model.optimizer.step()
        model.optimizer.apply([np.ones(v.shape) for v in model.variables], model.variables)
        if kind is Heavy:
            ours = model.get_weights()
    for a, b in zip(ours, model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_an_optimizer_goes_and_comes_back() -> None:
    made = Heavy.from_config(Heavy(0.25, 0.5, clipnorm=1.0).get_config())
    assert (made.learning_rate, made.momentum, made.clipnorm) == (0.25, 0.5, 1.0)
    config = optimizers.serialize(made)
    again = optimizers.deserialize(config, {"Heavy": Heavy})
    assert again.get_config() == made.get_config()


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_optimizer_that_fails_takes_the_step_back(after: int) -> None:
    class Fails(Heavy):
        left = 10**9
        infinite = False

        def update_step(self, gradient: Array, variable: Any, learning_rate: float) -> None:
            super().update_step(gradient, variable, learning_rate)
            if self.left == 0:
                if self.infinite:
                    variable.value[...] = np.inf
                    return
                raise KeyError("mine")
            self.left -= 1

    own = Fails(use_ema=True)
    model, _ = fit(layers.Dense(8), layers.BatchNormalization(), layers.Dense(3), optimizer=own)
    before = state(model)
    own.left = after
    with pytest.raises(KeyError, match="mine"):
        model.fit(X, Y, 16, verbose=0)
    assert state(model) == before
    own.left, own.infinite = after, True
    with pytest.raises(
        keras.NonFiniteError, match=r"Fails: expected it to leave \S+ finite; nothin"
    ):
        model.fit(X, Y, 16, verbose=0)
    assert state(model) == before


def test_what_an_optimizer_is_given_is_read_only() -> None:
    class Writes(optimizers.Optimizer):
        def update_step(self, gradient: Array, variable: Any, learning_rate: float) -> None:
            gradient[...] = 0.0

    with pytest.raises(ValueError, match="read-only"):
        fit(layers.Dense(3), optimizer=Writes(0.1))


# Metrics


class Largest(metrics.Metric):
    """As a Keras user writes it."""

    def __init__(self, name: str = "largest_error", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.largest = self.add_weight(shape=(), initializer="zeros", name="largest")
        self.count = self.add_variable(shape=(), name="count")
        self.seen: list[int] = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        errors = np.abs(y_true - y_pred)
        if sample_weight is not None:
            errors = errors * sample_weight[:, None]
        self.largest.assign(np.maximum(self.largest, errors.max()))
        self.count.assign_add(len(y_true))
        self.seen.append(len(y_true))

    def result(self) -> Any:
        return self.largest.value

    def reset_state(self) -> None:
        self.seen = []
        super().reset_state()


def test_a_metric_with_a_state_of_its_own() -> None:
    metric = Largest()
    model, history = fit(layers.Dense(3), metrics=[metric, "mae"], epochs=2)
    assert metric.seen == [16, 16, 16]
    assert float(metric.count) == 48.0
    loss, largest, _ = model.evaluate(X, Y, verbose=0)
    right = np.abs(model.predict(X).astype(np.float64) - Y).max()
    assert largest == pytest.approx(right, rel=1e-5)
    assert len(history["largest_error"]) == 2
    assert loss > 0.0
    values = model.fit(X, Y, 16, epochs=2, validation_split=0.25, verbose=0).history
    assert set(values) == {
        "loss", "largest_error", "mae", "val_loss", "val_largest_error", "val_mae"
    }  # fmt: skip


def test_a_metric_with_weights() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Dense(3, input_shape=(5,))])
    model.compile("sgd", "mse", metrics=[Largest("plain")], weighted_metrics=[Largest()])
    weight = np.linspace(0.0, 2.0, 48)
    found = model.evaluate(X, Y, sample_weight=weight, verbose=0, return_dict=True)
    errors = np.abs(model.predict(X).astype(np.float64) - Y)
    assert found["plain"] == pytest.approx(errors.max(), rel=1e-5)
    assert found["largest_error"] == pytest.approx((errors * weight[:, None]).max(), rel=1e-5)


def test_a_metric_of_class_numbers_behind_a_fused_softmax() -> None:
    class Chance(metrics.Metric):
        def __init__(self, name: str = "chance", **kwargs: Any) -> None:
            super().__init__(name=name, **kwargs)
            self.kept: list[Array] = []

        def update_state(self, y_true: Array, y_pred: Array) -> None:
            assert y_true.dtype == np.int32
            self.kept.append(y_pred[np.arange(len(y_true)), y_true])  # its own: a copy

        def result(self) -> Any:
            return np.concatenate(self.kept).mean()

        def reset_state(self) -> None:
            self.kept = []

    labels = np.arange(48) % 3
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[Chance()])
    model.fit(X, labels, 16, epochs=2, verbose=0)
    _, chance = model.evaluate(X, labels, 16, verbose=0)
    right = model.predict(X)[np.arange(48), labels].mean()
    assert chance == pytest.approx(right, rel=1e-5)


def test_a_derived_mean() -> None:
    class MeanOfMax(metrics.Mean):
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            super().update_state(np.abs(y_true - y_pred).max(axis=-1), sample_weight)

    model, history = fit(layers.Dense(3), metrics=[MeanOfMax("m")])
    _, found = model.evaluate(X, Y, 7, verbose=0)
    right = np.abs(model.predict(X).astype(np.float64) - Y).max(axis=-1).mean()
    assert found == pytest.approx(right, rel=1e-5)
    assert history["m"][-1] > 0.0


def test_the_state_of_a_metric_without_the_step_that_was_left_out() -> None:
    class Overflows(losses.Loss):
        batch = 0

        def call(self, y_true: Array, y_pred: Array) -> Any:
            Overflows.batch += 1
            return np.full(len(y_true), np.inf if Overflows.batch == 2 else 1.0)

        def gradient(self, y_true: Array, y_pred: Array) -> Any:
            return np.zeros_like(y_pred)

    metric = Largest()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Dense(3, input_shape=(5,))])
    model.compile("sgd", Overflows(), metrics=[metric], on_nonfinite="skip")
    model.fit(X, Y, 16, shuffle=False, verbose=0)
    assert model.skipped_steps == 1
    assert float(metric.count) == 32.0
    assert metric.seen == [16, 16]
    kept = np.r_[0:16, 32:48]
    right = np.abs(model.predict(X[kept]).astype(np.float64) - Y[kept]).max()
    assert float(metric.largest) == pytest.approx(right, rel=1e-5)


def test_metrics_on_their_own() -> None:
    metric = Largest()
    assert float(metric(Y, Y + 2.0)) == pytest.approx(2.0)
    metric.reset_state()
    assert float(metric.result()) == 0.0
    assert [v.path for v in metric.variables] == ["largest_error/largest", "largest_error/count"]
    assert "largest_error" in repr(metric)


def test_a_metric_whose_result_is_no_number() -> None:
    class Dict(Largest):
        def result(self) -> Any:
            return {"a": 1.0}

    with pytest.raises(TypeError, match="largest_error: expected what result returns to be"):
        fit(layers.Dense(3), metrics=[Dict()])


def test_a_metric_that_fails_leaves_the_model_as_it_was() -> None:
    class Fails(Largest):
        when = -1

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            if self.when == 0:
                raise KeyError("mine")

    metric = Fails()
    model, _ = fit(layers.Dense(3), layers.BatchNormalization(), metrics=[metric])
    before = state(model)
    metric.when = 0
    with pytest.raises(KeyError, match="mine"):
        model.fit(X, Y, 16, verbose=0)
    assert state(model) == before


# Initializers, schedules, layers: from and to their configuration


class Ramp(initializers.Initializer):
    def __init__(self, top: float = 1.0) -> None:
        self.top = top

    def __call__(self, shape: Any, dtype: Any = "float32") -> Any:
        return np.linspace(0.0, self.top, int(np.prod(shape)), dtype=dtype).reshape(shape)

    def get_config(self) -> dict[str, Any]:
        return {"top": self.top}


class Steps(optimizers.schedules.LearningRateSchedule):
    def __init__(self, rate: float, every: int) -> None:
        self.rate, self.every = rate, every

    def __call__(self, step: Any) -> Any:
        return self.rate * 0.5 ** (step // self.every)

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "every": self.every}


class Shift(layers.Layer):
    def __init__(self, by: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.by = by

    def call(self, inputs: Array) -> Any:
        return inputs + self.by

    def call_backward(self, inputs: Array, outputs: Array, dy: Array) -> Any:
        return dy

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"by": self.by}


@pytest.mark.parametrize(
    "made",
    [Ramp(2.0), Steps(0.1, 3), Shift(0.5), Elu(0.3), Squares(0.2), Heavy(0.1, 0.3),
     Largest("worst")],
    ids=lambda made: type(made).__name__,
)  # fmt: skip
def test_every_part_is_made_again_from_its_configuration(made: Any) -> None:
    again = type(made).from_config(made.get_config())
    assert again.get_config() == made.get_config()


def test_initializers_and_schedules_in_training() -> None:
    seen: list[float] = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(float(self.model.optimizer.learning_rate))

    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Dense(3, kernel_initializer=Ramp(), input_shape=(5,))])
    np.testing.assert_allclose(
        model.get_weights()[0], np.linspace(0.0, 1.0, 15).reshape(5, 3), rtol=1e-6
    )
    model.compile(optimizers.SGD(Steps(0.1, 3)), "mse")
    model.fit(X, Y, 8, verbose=0, callbacks=[Watch()])
    assert seen == pytest.approx([0.1] * 3 + [0.05] * 3)
    rates = []
    model.compile(optimizers.SGD(Steps(0.1, 2)))
    for _ in range(4):
        rates.append(model.optimizer.learning_rate)
        model.backward(model.forward(X))
        model.optimizer.step()
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05])


@pytest.fixture
def registered() -> Iterator[None]:
    """Names for the parts of this file."""
    known = keras.saving.get_custom_objects()
    before = dict(known)
    for thing in (Elu, Tanh, Squares, Between, Heavy, Largest, Ramp, Steps, Shift):
        keras.saving.register_keras_serializable("parts")(thing)
    yield
    known.clear()
    known.update(before)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("how", ["file", "pickle", "copy", "clone"])
def test_models_of_own_parts_are_saved(how: str, tmp_path: Path) -> None:
    model, _ = fit(
        layers.Dense(8, Elu(0.5), kernel_initializer=Ramp(), kernel_regularizer=Squares(0.1)),
        layers.Activation(Tanh()), Shift(0.25), layers.Dense(3, kernel_constraint=Between(0.3)),
        optimizer=Heavy(Steps(0.1, 3), 0.5), metrics=[Largest()],
    )  # fmt: skip
    if how == "file":
        model.save(tmp_path / "m.evengrad")
        twin = keras.models.load_model(tmp_path / "m.evengrad")
    elif how == "clone":
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        assert twin.layers[0].activation.alpha == 0.5
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
        return
    else:
        twin = pickle.loads(pickle.dumps(model)) if how == "pickle" else copy.deepcopy(model)
    assert twin.optimizer.momentum == 0.5
    assert twin.layers[3].kernel_constraint.limit == 0.3
    for one in (model, twin):
        one.fit(X, Y, 16, shuffle=False, verbose=0)
    assert state(twin) == state(model)


def test_what_is_not_registered_is_named(tmp_path: Path) -> None:
    model, _ = fit(layers.Dense(3, Elu()))
    with pytest.raises(TypeError, match="activation: the class Elu is not registered"):
        model.save(tmp_path / "m.evengrad")
    assert list(tmp_path.iterdir()) == []


# Variables in formulas


def test_variables_calculate() -> None:
    v = keras.Variable([[1.0, 2.0], [3.0, 4.0]])
    w = np.array([[0.5, 0.5], [2.0, 2.0]], np.float32)
    a = v.numpy()
    for made, right in (
        (v + w, a + w), (w + v, w + a), (v - w, a - w), (w - v, w - a), (v * w, a * w),
        (w * v, w * a), (v / w, a / w), (w / v, w / a), (v @ w, a @ w), (w @ v, w @ a), (-v, -a),
        (2.0 * v, 2.0 * a), (1.0 - v, 1.0 - a), (v + v, a + a), (v @ v, a @ a), (1.0 / v, 1.0 / a),
    ):  # fmt: skip
        assert isinstance(made, np.ndarray)
        np.testing.assert_array_equal(made, right)
        assert made.dtype == np.float32
    v.assign_add(w)
    np.testing.assert_array_equal(v.value, a + w)
    v.assign_sub(w)
    np.testing.assert_array_equal(v.value, a)
    assert float(keras.Variable(3.0)) == 3.0
    np.testing.assert_array_equal(np.maximum(v, 2.5), np.maximum(a, 2.5))
    with pytest.raises(ValueError, match="finite"):
        v.assign_add(np.full((2, 2), np.inf))
    assert len({v, keras.Variable(1.0)}) == 2


def test_metrics_inside_a_metric() -> None:
    class Half(metrics.Metric):
        def __init__(self, name: str = "half") -> None:
            super().__init__(name)
            self.inner = metrics.Mean()

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.inner.update_state(np.abs(y_true - y_pred).mean(axis=-1), sample_weight)

        def result(self) -> Any:
            return 0.5 * self.inner.result()

    half = Half()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Dense(3, input_shape=(5,))])
    model.compile("sgd", "mae", metrics=[half])
    first = model.evaluate(X, Y, 7, verbose=0)
    assert first[1] == pytest.approx(0.5 * first[0], rel=1e-5)
    assert model.evaluate(X, 2.0 + model.predict(X), 7, verbose=0)[1] == pytest.approx(1.0)
    kept = half.snapshot()
    half.update_state(Y, Y + 100.0)
    half.restore(kept)
    assert half.result() == pytest.approx(1.0)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_weights_of_samples_reach_the_gradient_of_a_loss_of_ones_own(reduction: str) -> None:
    class Squared(losses.Loss):
        def call(self, y_true: Array, y_pred: Array) -> Any:
            return np.square(y_pred - y_true).mean(axis=-1)

        def gradient(self, y_true: Array, y_pred: Array) -> Any:
            return 2.0 * (y_pred - y_true) / y_pred.shape[-1]

    weight = np.linspace(0.0, 3.0, len(Y))
    prediction = Y + np.sin(np.arange(Y.size)).reshape(Y.shape)
    own = Squared(reduction=reduction).value_and_gradient(Y, prediction, weight)
    ours = losses.MeanSquaredError(reduction=reduction).value_and_gradient(Y, prediction, weight)
    assert own[0] == pytest.approx(ours[0], rel=1e-6)
    np.testing.assert_allclose(own[1], ours[1], rtol=1e-6, atol=1e-7)


def test_a_rate_is_asked_for_once_a_step_of_an_optimizer_of_ones_own() -> None:
    asked: list[float] = []

    def rate() -> float:
        asked.append(0.1 * len(asked))
        return asked[-1]

    class Plain(keras.optimizers.Optimizer):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            variable.value[...] -= learning_rate * gradient

    model = keras.Sequential([layers.Dense(3, input_shape=(5,))])
    model.compile(Plain(rate), "mse")
    model.fit(X, Y, len(X) // 4, verbose=0)
    assert len(asked) == model.optimizer.iterations
