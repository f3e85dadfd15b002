"""Layers, losses and metrics written in Python."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, losses, metrics
from gradcheck import assert_gradients
from harness import UNIT
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def draws(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


X, Y, LABELS = draws(40, 4), draws(40, 3, seed=1), np.arange(40) % 3


def close(made: Any, right: Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(made, right, rtol=tolerance, atol=tolerance)


def state(model: keras.Sequential) -> list[bytes]:
    """Weights in full precision, batch counts and the optimizer's state."""
    parts = [v.storage.tobytes() for v in model.variables]
    parts += [layer._batches.tobytes() for layer in model.layers if hasattr(layer, "_batches")]
    slots = model.optimizer.slots(model.trainable_variables)
    return [
        *parts,
        *(s.tobytes() for slot in slots for s in slot),
        model.optimizer.counter.tobytes(),
    ]


def compiled(*stack: layers.Layer, loss: Any = "mse", seed: int = 0, **options: Any) -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), *stack])
    model.compile(options.pop("optimizer", None) or keras.optimizers.Adam(0.01), loss, **options)
    return model


def fit(model: keras.Sequential, x: Any = X, y: Any = Y, **options: Any) -> Any:
    return model.fit(x, y, 16, shuffle=False, verbose=0, **options).history


class Square(layers.Layer):
    def call(self, inputs: F32) -> F32:
        return inputs * inputs

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
        return 2.0 * inputs * dy


class Scale(layers.Layer):
    """A weight for each element of a sample, and one for all."""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(input_shape, keras.initializers.Constant(1.5), "scale")
        self.gain = self.add_weight(initializer="ones")

    def call(self, inputs: F32) -> Any:
        return inputs * self.scale.value * self.gain.value

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
        gain, scale = self.gain.value, self.scale.value
        gradients = {
            self.scale: (dy * inputs).sum(axis=0) * gain,
            self.gain: (dy * inputs * scale).sum(),
        }
        return dy * scale * gain, gradients


class Affine(layers.Dense):
    """A layer of kernels, but in Python."""

    def call(self, inputs: F32) -> F32:
        assert self.kernel is not None
        assert self.bias is not None
        return inputs @ self.kernel.value + self.bias.value

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
        assert self.kernel is not None
        gradients = {self.kernel: inputs.T @ dy, self.bias: dy.sum(axis=0)}
        return dy @ self.kernel.value.T, gradients


class Error(losses.Loss):
    def call(self, y_true: F32, y_pred: F32) -> F32:
        return np.square(y_pred - y_true).mean(axis=-1)

    def gradient(self, y_true: F32, y_pred: F32) -> F32:
        return 2.0 * (y_pred - y_true) / np.float32(y_pred.shape[-1])


class Surprise(losses.Loss):
    """Of class numbers, from logits."""

    sparse = True

    def call(self, y_true: Any, y_pred: F32) -> Any:
        return -np.log(self.chances(y_pred)[np.arange(len(y_true)), y_true])

    def gradient(self, y_true: Any, y_pred: F32) -> Any:
        return self.chances(y_pred) - np.eye(y_pred.shape[1])[y_true]

    def chances(self, y_pred: F32) -> Any:
        e = np.exp(y_pred.astype(np.float64))
        return e / e.sum(axis=1, keepdims=True)


# Layers


def test_a_layer_on_its_own() -> None:
    layer = Square()
    np.testing.assert_array_equal(layer(X), X * X)
    assert layer.name.startswith("square")
    assert layer.built
    assert layer.output_shape == (4,)
    scale = Scale()
    close(scale(draws(5, 2, 3)), 1.5 * draws(5, 2, 3))
    assert [v.name for v in scale.variables] == ["scale", "variable_1"]
    assert [v.shape for v in scale.variables] == [(2, 3), ()]


def test_a_layer_between_others() -> None:
    """Square is not among the kernels; mirrored, it is a product with the inputs themselves."""
    model = compiled(layers.Dense(6, "tanh"), Square(), layers.Dense(3))
    w1, b1, w2, b2 = (w.astype(np.float64) for w in model.get_weights())
    hidden = np.tanh(X @ w1 + b1)
    close(model.predict(X), hidden**2 @ w2 + b2, 4e-6)
    assert model.summary(print_fn=lambda text: None) is None


def test_a_layer_of_kernels_in_python() -> None:
    def trained(dense: type[layers.Dense]) -> Any:
        stack = layers.BatchNormalization(), dense(6), layers.Activation("elu"), dense(3)
        model = compiled(*stack, optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
        history = fit(model, epochs=3, validation_split=0.2, sample_weight=np.arange(40) / 20.0)
        return history, model.get_weights(), model.predict(X)

    for made, right in zip(trained(Affine), trained(layers.Dense), strict=True):
        if isinstance(made, dict):
            assert list(made) == list(right)
            made, right = list(made.values()), list(right.values())  # noqa: PLW2901
        for a, b in zip(made, right, strict=True):
            close(a, b, 1e-5)


def test_gradients_by_finite_differences() -> None:
    model = compiled(
        layers.Dense(6, "tanh"), Scale(), Square(), layers.Dense(5), Affine(3),
        optimizer=keras.optimizers.SGD(0.0),
    )  # fmt: skip
    x, y = X[:10], Y[:10]

    def loss() -> float:
        return float(model.train_on_batch(x, y))

    before = model.get_weights()
    model.optimizer.learning_rate = 1.0
    loss()
    after = model.get_weights()
    model.optimizer.learning_rate = 0.0
    model.set_weights(before)
    arrays = {v.path: np.atleast_1d(v.storage) for v in model.variables}
    gradients = {
        v.path: (a - b).reshape(v.storage.shape)
        for v, a, b in zip(model.variables, before, after, strict=True)
    }
    assert len(arrays) == 8
    assert_gradients(loss, arrays, gradients, elements=10)


@pytest.mark.parametrize("stack", ["own", "kernels"])
def test_a_last_softmax_after_a_layer_that_keeps_its_outputs(stack: str) -> None:
    """The loss computes it in place, and call_backward is still given what call returned."""

    class Tanh(layers.Layer):
        def call(self, inputs: F32) -> F32:
            return np.tanh(inputs)

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            return dy * (1.0 - outputs * outputs)

    tanh = Tanh() if stack == "own" else layers.Activation("tanh")
    model = compiled(
        layers.Dense(3), tanh, layers.Activation("softmax"),
        loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.SGD(1.0),
    )  # fmt: skip
    kernel, bias = model.get_weights()
    h = np.tanh(X.astype(np.float64) @ kernel + bias)
    p = np.exp(h) / np.exp(h).sum(axis=1, keepdims=True)
    dz = (p - np.eye(3)[LABELS]) / 40 * (1.0 - h * h)
    model.train_on_batch(X, LABELS)
    close(kernel - model.get_weights()[0], X.T @ dz)


def test_a_last_layer_of_ones_own_keeps_its_activation() -> None:
    """An attribute of that name is no reason to leave the softmax to the loss."""

    class Chances(Affine):
        def call(self, inputs: F32) -> F32:
            e = np.exp(super().call(inputs))
            return e / e.sum(axis=1, keepdims=True)

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
            dz = outputs * (dy - (dy * outputs).sum(axis=1, keepdims=True))
            return super().call_backward(inputs, outputs, dz)

    loss, optimizer = "sparse_categorical_crossentropy", keras.optimizers.SGD
    weights = []
    for dense in (Chances, layers.Dense):
        model = compiled(dense(3, "softmax"), loss=loss, optimizer=optimizer(0.5))
        fit(model, y=LABELS, epochs=2)
        weights.append(model.get_weights())
    for made, right in zip(*weights, strict=True):
        close(made, right, 1e-5)


def test_samples_of_several_axes() -> None:
    seen: list[Any] = []

    class Transposed(layers.Layer):
        def compute_output_shape(self, input_shape: Any) -> Any:
            return list(input_shape[::-1])

        def call(self, inputs: F32) -> F32:
            seen.append((inputs.shape, inputs.dtype))
            return inputs.swapaxes(1, 2)

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            seen.append((inputs.shape, outputs.shape, dy.shape))
            return dy.swapaxes(1, 2)

    x = draws(10, 2, 17)
    np.testing.assert_array_equal(Transposed()(x), x.swapaxes(1, 2))
    model = keras.Sequential([layers.Dense(17), Transposed(), layers.Flatten(), layers.Dense(2)])
    model.compile("sgd", "mse")
    seen.clear()
    model.fit(x, draws(10, 2), 8, verbose=0)
    assert model.layers[1].output_shape == (17, 2)
    assert seen == [
        ((8, 2, 17), np.float32), ((8, 2, 17), (8, 17, 2), (8, 17, 2)),
        ((2, 2, 17), np.float32), ((2, 2, 17), (2, 17, 2), (2, 17, 2)),
    ]  # fmt: skip


def test_a_first_layer_derived_from_flatten() -> None:
    class Flat(layers.Flatten):
        def call(self, inputs: F32) -> F32:
            assert inputs.shape[1:] == (2, 3)
            return inputs.reshape(len(inputs), -1)

    x = draws(5, 2, 3)
    model = keras.Sequential([Flat(input_shape=(2, 3)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, np.ones(5), verbose=0)
    np.testing.assert_array_equal(Flat()(x), x.reshape(5, 6))


def test_training_is_said_where_it_is_asked_for() -> None:
    seen: list[Any] = []

    class Asks(layers.Layer):
        def call(self, inputs: F32, training: bool = False) -> F32:
            seen.append(training)
            return inputs

    class AsksByName(layers.Layer):
        def call(self, inputs: F32, **options: Any) -> F32:
            seen.append(options["training"])
            return inputs

    for layer in (Asks(), AsksByName()):
        seen.clear()
        model = compiled(layer, layers.Dense(3))
        model.train_on_batch(X, Y)
        model.predict(X[:3])
        model.evaluate(X[:3], Y[:3], verbose=0)
        layer(X, training=True)
        layer(X)
        assert seen == [True, False, False, True, False]


def test_arrays_are_for_reading() -> None:
    class Writes(Square):
        def call(self, inputs: F32) -> F32:
            assert not inputs.flags.writeable
            return super().call(inputs)

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            assert not any(a.flags.writeable for a in (inputs, outputs, dy))
            np.testing.assert_array_equal(outputs, inputs * inputs)
            return super().call_backward(inputs, outputs, dy)

    model = compiled(layers.Dense(3), Writes(), layers.Activation("relu"), layers.Dense(3))
    fit(model)


@pytest.mark.parametrize("way", ["plain", "super first", "super last", "built"])
def test_build_in_ways_that_keras_users_write_it(way: str) -> None:
    built: list[Any] = []

    class Own(Scale):
        def build(self, input_shape: Any) -> None:
            built.append(input_shape)
            if way == "super first":
                layers.Layer.build(self, input_shape)
            super().build(input_shape)
            if way == "super last":
                layers.Layer.build(self, input_shape)
            if way == "built":
                self.built = True

    layer = Own(name="own")
    model = compiled(layer, layers.Dense(3))
    model.build((None, 4))
    fit(model)
    layer(X)
    assert built == [(4,)]
    assert len(layer.variables) == 2
    assert (layer.built, layer.input_shape, layer.output_shape) == (True, (4,), (4,))
    assert layer.variables[0].path == f"{model.name}/own/scale"
    with pytest.raises(ValueError, match=r'Own "own": built for samples \(4,\), got \(5,\)'):
        layer(draws(3, 5))


def test_a_layer_that_keeps_things_is_recorded_once() -> None:
    class Keeps(Square):
        def call(self, inputs: F32) -> F32:
            self.inputs = inputs.copy()
            return super().call(inputs)

    layer = Keeps()
    model = compiled(layers.Dense(3), layer, layers.Dense(3))
    version = layer.version
    fit(model, epochs=3)
    assert layer.version == version
    assert len(model._programs._recorded) == 1
    layer.trainable = False
    assert layer.version == version + 1


def test_a_layer_without_gradient_where_none_is_needed() -> None:
    class Log(layers.Layer):
        def call(self, inputs: F32) -> F32:
            return np.log1p(np.abs(inputs))

    model = compiled(Log(), layers.Dense(3))
    fit(model)
    other = compiled(layers.Dense(3), Log())
    before = state(other)
    with pytest.raises(NotImplementedError, match=r'Log "log.*": write call_backward\(self, inp'):
        fit(other)
    assert state(other) == before
    other.layers[0].trainable = False
    fit(other)
    assert other.evaluate(X, Y, verbose=0) > 0.0


def test_a_frozen_layer_hands_gradients_down() -> None:
    model = compiled(layers.Dense(4), Scale(trainable=False), layers.Dense(3))
    first, scale = model.layers[0].get_weights(), model.layers[1].get_weights()
    fit(model)
    assert not np.array_equal(model.layers[0].get_weights()[0], first[0])
    for a, b in zip(model.layers[1].get_weights(), scale, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_layer_may_use_another_model_and_not_its_own() -> None:
    other = compiled(layers.Dense(4))

    class Uses(layers.Layer):
        model: Any = other

        def call(self, inputs: F32) -> F32:
            return inputs + np.asarray(self.model.predict(inputs))

    layer = Uses()
    model = compiled(layer, layers.Dense(3))
    fit(model)
    right = (X + other.predict(X)).astype(np.float64)
    kernel, bias = model.layers[1].get_weights()
    close(model.predict(X), right @ kernel + bias, 4e-6)
    layer.model = model
    for use in (lambda: model.predict(X), lambda: fit(model)):
        with pytest.raises(RuntimeError, match=r"Program: already running, in another thread or "):
            use()
    layer.model = other
    fit(model)


def test_a_layer_that_knows_its_model_is_collected() -> None:
    layer = Square()
    model = compiled(layers.Dense(3), layer, layers.Dense(3))
    layer.model = model
    fit(model)
    gone = weakref.ref(layer)
    del layer, model
    gc.collect()
    assert gone() is None


def test_a_layer_of_ones_own_is_copied() -> None:
    layer = Scale()
    layer(X)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other(X), layer(X))
        other.variables[0].value[...] = 0.0
        assert not other(X).any()
    assert layer(X).any()
    made = Scale.from_config(Scale(name="mine", trainable=False).get_config())
    assert (made.name, made.trainable) == ("mine", False)


def test_the_same_bits_for_any_number_of_threads() -> None:
    x, y = draws(300, 64), draws(300, 64, seed=1)

    def trained(threads: int) -> list[bytes]:
        before = keras.get_num_threads()
        keras.set_num_threads(threads)
        try:
            keras.utils.set_random_seed(0)
            stack = layers.Dense(200, "tanh"), Square(), layers.Dense(100), Scale()
            model = keras.Sequential([*stack, layers.Dropout(0.2), layers.Dense(64)])
            model.compile("adam", Error(), ["mae"])
            model.fit(x, y, 128, epochs=2, verbose=0)
            return [*state(model), model.predict(x).tobytes()]
        finally:
            keras.set_num_threads(before)

    if keras.get_num_threads() < 2:
        pytest.skip("one core: nothing to compare")
    assert trained(1) == trained(2)


# What layers of one's own get wrong


class Returns(layers.Layer):
    """Returns what it is given."""

    def __init__(self, call: Any = None, backward: Any = None, **kwargs: Any) -> None:
        super().__init__(name="returns", **kwargs)
        self.made, self.gradients = call, backward

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight((2,), "ones", "scale")

    def call(self, inputs: F32) -> Any:
        return inputs if self.made is None else self.made(inputs)

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
        return self.gradients(self, dy)


def zeros(layer: Returns, dy: F32) -> dict[Any, Any]:
    return {layer.scale: np.zeros(2)}


CALLS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: x[:, :2], ValueError, r"what call returns to have shape \(16, 4\), got \(16, 2\)"),
    (lambda x: x[0], ValueError, r"what call returns to have shape \(16, 4\), got \(4,\)"),
    (lambda x: 0.0, ValueError, r"what call returns to have shape \(16, 4\), got \(\)"),
    (lambda x: "text", TypeError, r"what call returns to be numbers"),
    (lambda x: x.astype(complex), TypeError, r"what call returns to be numbers, got dtype comp"),
    (lambda x: object(), TypeError, r"what call returns to be an array of numbers"),
    (lambda x: [[1.0], [2.0, 3.0]], TypeError, r"what call returns to be an array of numbers"),
]
BACKWARDS: list[tuple[Any, type[Exception], str]] = [
    (lambda s, dy: dy, TypeError, r"call_backward for .*/returns/scale returns .*\(2,\), got None"),
    (lambda s, dy: None, TypeError, r"what call_backward returns .* shape \(16, 4\), got None"),
    (lambda s, dy: (dy[:, :1], zeros(s, dy)), ValueError, r"shape \(16, 4\), got \(16, 1\)"),
    (lambda s, dy: (dy, {s.scale: np.zeros(3)}), ValueError, r"scale returns .*\(2,\), got \(3,\)"),
    (lambda s, dy: (dy, np.zeros(2)), TypeError, r"\(dx, {variable: gradient, ...}\), got .*nda"),
    (lambda s, dy: (dy, {}, {}), TypeError, r"got a tuple of ndarray, dict, dict"),
    (lambda s, dy: (dy, {"scale": np.zeros(2)}), ValueError, r"got one of 'scale'"),
]


@pytest.mark.parametrize(("part", "kind", "text"), CALLS)
def test_what_call_returns_is_checked(part: Any, kind: type[Exception], text: str) -> None:
    model = compiled(layers.Dense(4), Returns(call=part), layers.Dense(3))
    before = state(model)
    with pytest.raises(kind, match=f'^Returns "returns": expected .*{text}'):
        fit(model)
    assert state(model) == before


def test_call_that_returns_nothing() -> None:
    class Forgets(layers.Layer):
        def call(self, inputs: F32) -> None:
            pass

    with pytest.raises(TypeError, match=r"what call returns to be .* shape \(40, 4\), got None"):
        Forgets()(X)


@pytest.mark.parametrize(("part", "kind", "text"), BACKWARDS)
def test_what_call_backward_returns_is_checked(part: Any, kind: type[Exception], text: str) -> None:
    model = compiled(layers.Dense(4), Returns(backward=part), layers.Dense(3))
    before = state(model)
    with pytest.raises(kind, match=f'^Returns "returns": expected .*{text}'):
        fit(model)
    assert state(model) == before


def test_other_numbers_are_converted() -> None:
    model = compiled(
        layers.Dense(4),
        Returns(
            call=lambda x: np.asfortranarray(x.astype(np.float64)),
            backward=lambda s, dy: (dy.tolist(), {s.scale: [1, 2]}),
        ),
        layers.Dense(3),
    )
    other = compiled(layers.Dense(4), layers.Dense(3))
    for m in (model, other):
        m.compile(keras.optimizers.SGD(0.5), "mse")
        m.train_on_batch(X, Y)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], other.get_weights()[0])
    np.testing.assert_array_equal(model.layers[1].get_weights()[0], [0.5, 0.0])


def test_layers_that_are_half_written() -> None:
    class Nothing(layers.Layer):
        pass

    class OtherGradient(layers.Dense):
        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            return dy

    class NoInit(layers.Layer):
        def __init__(self) -> None:
            self.factor = 2.0

    class NoShape(Square):
        def compute_output_shape(self, input_shape: Any) -> Any:
            return None

    with pytest.raises(NotImplementedError, match=r'Nothing ".*": write call\(self, inputs'):
        keras.Sequential([Nothing()]).predict(X)
    with pytest.raises(NotImplementedError, match=r'OtherGradient ".*": write call\(self, inputs'):
        OtherGradient(3)(X)
    with pytest.raises(TypeError, match=r"NoInit: call super\(\).__init__\(\*\*kwargs\) first"):
        keras.Sequential([NoInit()])
    with pytest.raises(ValueError, match=r'NoShape ".*": expected what compute_output_shape'):
        NoShape()(X)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shape": (0,)}, "each of shape to be at least 1"),
        ({"shape": (2.5,)}, "each of shape to be an integer"),
        ({"shape": (2,), "initializer": "sevens"}, "sevens"),
        ({"shape": (2,), "name": "a/b"}, "name to be a string without '/'"),
        ({"shape": (2,), "trainable": "no"}, "trainable to be True or False"),
    ],
)
def test_bad_arguments_of_add_weight(options: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        Square().add_weight(**options)


# Exceptions


class Raises(Square):
    """An error of the user's, in the step and the method asked for."""

    def __init__(self, method: str, step: int, error: BaseException) -> None:
        super().__init__()
        self.left, self.method, self.error = step, method, error

    def count(self, method: str) -> None:
        if method == self.method:
            self.left -= 1
            if self.left == 0:
                raise self.error

    def call(self, inputs: F32) -> F32:
        self.count("call")
        return super().call(inputs)

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
        self.count("call_backward")
        return super().call_backward(inputs, outputs, dy)


class RaisingError(Error):
    def __init__(self, layer: Raises) -> None:
        super().__init__()
        self.layer = layer

    def call(self, y_true: F32, y_pred: F32) -> F32:
        self.layer.count("loss")
        return super().call(y_true, y_pred)

    def gradient(self, y_true: F32, y_pred: F32) -> F32:
        self.layer.count("gradient")
        return super().gradient(y_true, y_pred)


@pytest.mark.parametrize("error", [OSError("mine"), KeyboardInterrupt()])
@pytest.mark.parametrize("method", ["call", "call_backward", "loss", "gradient", "metric"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_an_exception_leaves_the_model_as_before_the_step(
    step: int, method: str, error: BaseException
) -> None:
    def make(step: int) -> keras.Sequential:
        layer = Raises(method, step, error)

        def metric(y_true: F32, y_pred: F32) -> F32:
            layer.count("metric")
            return y_pred[:, 0]

        stack = layers.Dense(4), layers.BatchNormalization(), layer, layers.Dense(3)
        return compiled(*stack, loss=RaisingError(layer), metrics=[metric])

    model, right = make(step), make(10**6)
    start = state(model)
    with pytest.raises(type(error)) as caught:
        fit(model, epochs=2)  # of three steps
    assert caught.value is error
    if step == 1:
        assert state(model) == start
    else:
        fit(right) if step > 3 else fit(right, steps_per_epoch=step - 1)
        if step == 5:
            right.train_on_batch(X[:16], Y[:16])
        assert state(model) == state(right)
        assert model.optimizer.iterations == step - 1
    fit(model)
    fit(right)
    if step > 1:
        assert state(model) == state(right)


def test_an_exception_in_evaluate_and_predict() -> None:
    layer = Raises("call", 2, OSError("mine"))
    model = compiled(layers.Dense(4), layer, layers.Dense(3))
    before = state(model)
    for use in (
        lambda: model.predict(X, batch_size=16),
        lambda: model.evaluate(X, Y, batch_size=16, verbose=0),
    ):
        layer.left = 2
        with pytest.raises(OSError, match="mine"):
            use()
        assert use() is not None
    assert state(model) == before


@pytest.mark.parametrize("where", ["call", "call_backward", "loss", "gradient"])
def test_what_is_not_finite_leaves_the_step_out(where: str) -> None:
    bad = [False]

    def spoilt(value: Any, method: str) -> Any:
        return value * np.float64(1e300) if bad[0] and method == where else value  # no float32

    class Spoils(Square):
        def call(self, inputs: F32) -> Any:
            return spoilt(super().call(inputs), "call")

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
            return spoilt(super().call_backward(inputs, outputs, dy), "call_backward")

    class SpoiltError(Error):
        def call(self, y_true: F32, y_pred: F32) -> Any:
            return spoilt(super().call(y_true, y_pred).astype(np.float64) * 1e10, "loss")

        def gradient(self, y_true: F32, y_pred: F32) -> Any:
            return spoilt(super().gradient(y_true, y_pred), "gradient")

    stack = layers.Dense(4), layers.BatchNormalization(), Spoils(), layers.Dense(3)
    model = compiled(*stack, loss=SpoiltError(), on_nonfinite="skip")
    fit(model)
    before = state(model)
    bad[0] = True
    own = "ignore" if where in ("call", "loss") else "raise"  # what the test's loss makes of it
    with np.errstate(over=own, invalid=own):
        model.train_on_batch(X, Y)
        assert model.skipped_steps == 1
        model.on_nonfinite = "raise"
        with pytest.raises(keras.NonFiniteError) as caught:
            fit(model)
    assert state(model) == before
    tensor = {"call": "output", "loss": "loss"}.get(where, caught.value.tensor)
    assert caught.value.tensor == tensor
    assert (tensor in ("output", "loss")) == (where in ("call", "loss"))
    assert caught.value.layer == {"call": stack[2].name, "loss": None}.get(
        where, caught.value.layer
    )


# Losses


@pytest.mark.parametrize("weighted", [False, True])
def test_an_error_like_mse(weighted: bool) -> None:
    weight = np.random.default_rng(2).uniform(0.0, 3.0, 40) if weighted else None
    results: list[Any] = []
    for loss in (Error(), "mse"):
        stack = layers.Dense(6, "tanh"), layers.Dense(3)
        model = compiled(*stack, loss=loss, optimizer=keras.optimizers.SGD(0.1))
        history = fit(model, epochs=2, sample_weight=weight, validation_split=0.2)
        value = model.evaluate(X, Y, 16, 0, sample_weight=weight)
        results.append((history["loss"], history["val_loss"], value, *model.get_weights()))
    for made, right in zip(*results, strict=True):
        close(made, right)


def test_a_loss_called_by_hand() -> None:
    weight = np.arange(40.0)
    right = np.square(X.astype(np.float64) - 1.0).mean(axis=1)
    np.testing.assert_allclose(Error()(np.ones((40, 4)), X), right.mean(), rtol=8 * UNIT)
    made = Error()(np.ones((40, 4)), X, sample_weight=weight)
    np.testing.assert_allclose(made, (weight * right).mean(), rtol=8 * UNIT)
    made = Surprise()(LABELS, Y)
    logits = Y.astype(np.float64)
    right = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(40), LABELS]
    np.testing.assert_allclose(made, right.mean(), rtol=8 * UNIT)
    sequences = Y[:20].reshape(20, 3, 1) * [[[1.0, 2.0]]], X.reshape(20, 4, 2)[:, :3]
    made, right = (loss(*sequences, weight[:20]) for loss in (Error(), losses.MeanSquaredError()))
    wide = np.square(sequences[1].astype(np.float64) - sequences[0]).mean(axis=2)
    np.testing.assert_allclose(made, (weight[:20, None] * wide).mean(), rtol=8 * UNIT)
    np.testing.assert_allclose(right, made, rtol=8 * UNIT)
    assert repr(Error()) == "<Error error>"
    config = {"name": "mine", "reduction": "sum_over_batch_size"}
    assert Error(name="mine").get_config() == config


def test_a_loss_of_class_numbers() -> None:
    results = []
    built_in = losses.SparseCategoricalCrossentropy(from_logits=True)
    for loss in (Surprise(), built_in):
        optimizer = keras.optimizers.SGD(0.5)
        model = compiled(layers.Dense(3), loss=loss, metrics=["accuracy"], optimizer=optimizer)
        history = fit(model, y=LABELS, epochs=2, class_weight={1: 3.0})
        results.append((history["loss"], *model.get_weights()))
    for made, right in zip(*results, strict=True):
        close(made, right)
    with pytest.raises(ValueError, match="class numbers from 0 to 2"):
        fit(model, y=LABELS + 1)


def test_a_loss_derived_from_one_that_computes_the_last_activation() -> None:
    class Own(losses.SparseCategoricalCrossentropy):
        def call(self, y_true: Any, y_pred: F32) -> Any:
            np.testing.assert_allclose(y_pred.sum(axis=1), 1.0, rtol=1e-5)
            return -np.log(y_pred[np.arange(len(y_true)), y_true])

        def gradient(self, y_true: Any, y_pred: F32) -> Any:
            return -np.eye(3)[y_true] / y_pred

    results = []
    for loss in (Own(), losses.SparseCategoricalCrossentropy()):
        model = compiled(layers.Dense(3, "softmax"), loss=loss, optimizer=keras.optimizers.SGD(0.5))
        history = fit(model, y=LABELS, epochs=2)
        results.append((history["loss"], *model.get_weights()))
    for made, right in zip(*results, strict=True):
        close(made, right)


def test_a_loss_of_outputs_of_several_axes() -> None:
    """One value for each row of outputs, as the kernels' losses; a weight for each sample."""
    x, y, weight = draws(20, 3, 4), draws(20, 3, 2, seed=1), np.arange(20) / 10.0
    results = []
    for loss in (Error(), "mse"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3, 4)), layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.5), loss)
        history = model.fit(x, y, 8, 2, 0, shuffle=False, sample_weight=weight).history
        results.append((history["loss"], *model.get_weights()))
    for made, right in zip(*results, strict=True):
        close(made, right)


def test_evaluation_reports_an_infinite_loss() -> None:
    class InfiniteError(Error):
        def call(self, y_true: F32, y_pred: F32) -> F32:
            return np.full(len(y_pred), np.inf)

    model = compiled(layers.Dense(3), loss=InfiniteError())
    assert model.evaluate(X, Y, verbose=0) == np.inf
    with pytest.raises(keras.NonFiniteError, match="step 1: the loss is not finite"):
        fit(model)


def test_losses_that_are_half_written() -> None:
    def squared(y_true: F32, y_pred: F32) -> F32:
        return np.square(y_pred - y_true).mean(axis=-1)

    class NoGradient(losses.Loss):
        def call(self, y_true: F32, y_pred: F32) -> F32:
            return y_pred[:, 0]

    class Nothing(losses.Loss):
        pass

    class OtherGradient(losses.MeanSquaredError):
        def gradient(self, y_true: F32, y_pred: F32) -> F32:
            return y_pred

    for loss, kind, text in (
        (
            squared,
            TypeError,
            r"got the function <function .*squared.*> *, whose gradient .*Write a",
        ),
        (lambda a, b: 0, TypeError, r"gradient\(self, y_true, y_pred\), in the shape of y_pred"),
        (NoGradient(), TypeError, r"loss: NoGradient does not define gradient"),
        (Nothing(), TypeError, r"loss: Nothing does not define call and gradient"),
        (OtherGradient(), TypeError, r"loss: OtherGradient does not define call$"),
        (Error, ValueError, r"loss: expected one of"),
        (3, ValueError, r"loss: expected one of"),
    ):
        with pytest.raises(kind, match=text):
            compiled(layers.Dense(3), loss=loss)


@pytest.mark.parametrize(
    ("values", "gradient", "text"),
    [
        (lambda p: p, None, r"what call returns to have shape \(16,\), got \(16, 3\)"),
        (lambda p: p.mean(), None, r"what call returns to have shape \(16,\), got \(\)"),
        (lambda p: p[:, 0], lambda p: p[:, 0], r"what gradient returns .* \(16, 3\), got \(16,\)"),
        (lambda p: p[:, 0], lambda p: None, r"what gradient returns .*\(16, 3\), got None"),
    ],
)
def test_what_a_loss_returns_is_checked(values: Any, gradient: Any, text: str) -> None:
    class Own(losses.Loss):
        def call(self, y_true: F32, y_pred: F32) -> Any:
            return values(y_pred)

        def gradient(self, y_true: F32, y_pred: F32) -> Any:
            return gradient(y_pred)

    model = compiled(layers.Dense(3), loss=Own(name="mine"))
    before = state(model)
    with pytest.raises((ValueError, TypeError), match=rf'^Own "mine": expected {text}'):
        fit(model)
    assert state(model) == before


# Metrics


def distance(y_true: F32, y_pred: F32) -> F32:
    return np.abs(y_pred - y_true).mean(axis=-1)


class Distance(metrics.Metric):
    def call(self, y_true: F32, y_pred: F32) -> F32:
        return distance(y_true, y_pred)


def test_a_metric_like_mae() -> None:
    model = compiled(layers.Dense(3), metrics=["mae", distance, Distance(name="far")])
    history = fit(model, epochs=2, validation_split=0.2)
    names = ["loss", "mae", "distance", "far"]
    assert list(history) == [*names, *(f"val_{name}" for name in names)]
    for name in ("distance", "far"):
        np.testing.assert_allclose(history[name], history["mae"], rtol=4 * UNIT)
        np.testing.assert_allclose(history[f"val_{name}"], history["val_mae"], rtol=4 * UNIT)
    values = model.evaluate(X, Y, 16, 0)
    np.testing.assert_allclose(values[2:], [values[1]] * 2, rtol=4 * UNIT)
    assert model.metrics_names == names


@pytest.mark.parametrize("last", ["softmax", None])
def test_a_metric_of_class_numbers_sees_what_the_model_predicts(last: str | None) -> None:
    def right(y_true: Any, y_pred: F32) -> Any:
        assert y_true.dtype == np.int32
        if last == "softmax":
            np.testing.assert_allclose(y_pred.sum(axis=1), 1.0, rtol=1e-5)
        return y_pred.argmax(axis=1) == y_true

    loss = losses.SparseCategoricalCrossentropy(from_logits=last is None)
    model = compiled(layers.Dense(3, last), loss=loss, metrics=["accuracy", right])
    history = fit(model, y=LABELS, epochs=2)
    assert history["right"] == history["accuracy"]


def test_metrics_by_hand() -> None:
    metric = metrics.get(distance)
    assert metric.name == "distance"
    right = np.abs(X.astype(np.float64) - 1.0)
    close(metric(np.ones((40, 4)), X), right.mean())
    metric.update_state(np.ones((10, 4)), X[:10])
    close(metric.result(), np.concatenate([right, right[:10]]).mean())
    metric.reset_state()
    assert metric.result() == 0.0
    close(Distance()(np.ones((40, 2, 2)), X.reshape(40, 2, 2)), right.mean())
    assert metrics.MeanMetricWrapper(distance, name="far").name == "far"
    with pytest.raises(ValueError, match=r"MeanMetricWrapper \"mean\": expected what call returns"):
        metrics.MeanMetricWrapper(lambda a, b: b, name="mean")(X, X)


def test_one_metric_needs_no_list() -> None:
    for metric in (distance, Distance(name="distance")):
        assert list(fit(compiled(layers.Dense(3), metrics=metric))) == ["loss", "distance"]


def test_metrics_that_are_half_written() -> None:
    class Keeps(metrics.Metric):
        def update_state(self, y_true: Any, y_pred: Any) -> None:
            pass

    class Nothing(metrics.Metric):
        pass

    with pytest.raises(TypeError, match=r"metrics: Keeps does not define result\(self\)"):
        compiled(layers.Dense(3), metrics=[Keeps()])
    with pytest.raises(TypeError, match=r"metrics: Nothing does not define call\(self, y_true"):
        compiled(layers.Dense(3), metrics=[Nothing()])
    for bad in ([3], [None], Distance, [Distance], {"a": 1}):
        with pytest.raises(TypeError, match=r"compile: expected metrics to be names, Metric obj"):
            compiled(layers.Dense(3), metrics=bad)
    model = compiled(layers.Dense(3), metrics=[lambda y_true, y_pred: y_pred])
    before = state(model)
    with pytest.raises(ValueError, match=r'"<lambda>": expected what call returns .*\(16,\), got'):
        fit(model)
    assert state(model) == before


def test_python_stops_training_after_its_step() -> None:
    """A step that calls Python is a chunk of its own: what it changes counts from the next on."""
    steps: list[int] = []

    class Stops(Square):
        def call(self, inputs: F32) -> F32:
            steps.append(len(inputs))
            self.stop(len(steps))
            return super().call(inputs)

        stop: Callable[[int], None]

    layer = Stops()
    model = compiled(layers.Dense(3), layer, layers.Dense(3))

    def stop(step: int) -> None:
        model.stop_training = step == 5

    layer.stop = stop
    model.fit(X, Y, 4, epochs=5, verbose=0)
    assert steps == [4] * 5
