"""NonFiniteError: which tensor of a step was not finite first, where, and why."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import activations, initializers, layers, losses, regularizers
from evengrad.optimizers import SGD, Adam
from harness import F32, draws

ROWS, IN, OUT = 24, 5, 3
X, Y = draws(7, (ROWS, IN), (ROWS, OUT))
Spoil = Callable[[keras.Sequential], None]


class Scale(layers.Layer):
    """y = factor x, with what a test wants to be wrong."""

    wrong = ""
    value = np.nan
    at: Any = (slice(None), 1)

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight(input_shape[-1:], "ones", "factor")

    def _maybe(self, place: str, array: F32) -> F32:
        if self.wrong == place:
            array = array.copy()
            array[self.at if array.ndim > 1 else self.at[-1]] = self.value
        return array

    def call(self, inputs: F32) -> F32:
        return self._maybe("call", inputs * self.factor.value)

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
        gradient = self._maybe("gradient", (dy * inputs).sum(axis=0))
        return self._maybe("dx", dy * self.factor.value), {self.factor: gradient}


class Halves(activations.Activation):
    """x / 2, with what a test wants to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong

    def call(self, x: F32) -> F32:
        return x / (0.0 if self.wrong == "call" else 2.0)

    def slope(self, x: F32, y: F32) -> F32:
        return np.full_like(x, np.nan if self.wrong == "slope" else 0.5)

    def get_config(self) -> dict[str, Any]:
        return {"wrong": self.wrong}


class Error(losses.Loss):
    """Squared error, with what a test wants to be wrong in one row."""

    wrong = ""
    row = 2

    def call(self, y_true: F32, y_pred: F32) -> F32:
        values = np.square(y_pred - y_true).mean(axis=-1)
        if self.wrong == "call":
            values[self.row] = np.nan
        return values

    def gradient(self, y_true: F32, y_pred: F32) -> F32:
        slope = 2.0 * (y_pred - y_true) / y_pred.shape[-1]
        if self.wrong == "gradient":
            slope[self.row, 1] = np.inf
        return slope


class Penalty(regularizers.Regularizer):
    """Sum of squares, with what a test wants to be wrong."""

    wrong = ""

    def __call__(self, x: Any) -> float:
        return float("nan") if self.wrong == "call" else float(np.square(x).sum())

    def gradient(self, x: Any) -> Any:
        slope = 2.0 * np.asarray(x)
        if self.wrong == "gradient":
            slope[0, 2] = np.inf
        return slope


def model(*stack: Any, loss: Any = "mse", optimizer: Any = None, **options: Any) -> Any:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((IN,)), *stack], name="m")
    made.compile(optimizer or SGD(0.01), loss, **options)
    return made


def state(made: keras.Sequential) -> list[bytes]:
    """All that a failed step may not change."""
    slots = [s.storage for v in made.optimizer.kept().values() for s in v.values()]
    arrays = [*made.live_arrays, *slots, made.optimizer.counter]
    return [*(a.tobytes() for a in arrays), repr(made.drawing().state).encode()]


def by_fit(made: keras.Sequential, x: F32, y: F32, weight: Any) -> None:
    made.fit(x, y, len(x), verbose=0, shuffle=False, sample_weight=weight)


def by_train_on_batch(made: keras.Sequential, x: F32, y: F32, weight: Any) -> None:
    made.train_on_batch(x, y, weight)


def by_batches(made: keras.Sequential, x: F32, y: F32, weight: Any) -> None:
    weight = np.ones(len(x)) if weight is None else weight
    made.fit(iter([(x, y, weight)]), steps_per_epoch=1, verbose=0)


def by_hand(made: keras.Sequential, x: F32, y: F32, weight: Any) -> None:
    made.forward(x)
    made.backward(y)
    made.optimizer.step()


WAYS = [by_fit, by_train_on_batch, by_batches]


def error_of(
    way: Callable[..., None], made: Any, x: F32 = X, y: F32 = Y, weight: Any = None
) -> keras.NonFiniteError:
    """The error of a step, which has changed nothing, survives pickle and says what it holds."""
    made.drawing()
    before = state(made)
    with pytest.raises(keras.NonFiniteError) as caught, np.errstate(all="ignore"):
        way(made, x, y, weight)
    error = caught.value
    if way is not by_hand:
        assert state(made) == before
    twin = pickle.loads(pickle.dumps(error))
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)
    text = str(error)
    assert f"Likely cause: {error.cause}. " in text
    assert "\n" not in text
    assert error.tensor in text
    assert (error.layer or "") in text
    return error


def where(error: keras.NonFiniteError) -> tuple[Any, ...]:
    return error.tensor, error.layer, error.rows, error.units


# Each place in turn


def stack(**options: Any) -> list[Any]:
    """One of each: normalization folded into the Dense behind it, branches, models inside."""
    return [
        layers.BatchNormalization(name="bn"),
        layers.Dense(6, "relu", name="a"),
        keras.Sequential([layers.Dense(4, name="b"), layers.Dropout(0.25, name="drop")], name="in"),
        Scale(name="own"),
        layers.Residual([layers.Dense(4, "tanh", name="branch")], name="block"),
        layers.LayerNormalization(name="ln"),
        layers.Dense(OUT, name="out", **options),
    ]


def variable(made: keras.Sequential, path: str) -> Any:
    return next(v for v in made.variables if v.path == f"m/{path}")


VARIABLES = {
    "bn/gamma": ("bn", (1,)),
    "a/kernel": ("a", (1,)),
    "in/b/bias": ("b", (1,)),
    "own/factor": ("own", (1,)),
    "block/branch/kernel": ("branch", (1,)),
    "ln/beta": ("ln", (1,)),
    "out/kernel": ("out", (1,)),
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("path", VARIABLES)
def test_a_variable(path: str, value: float) -> None:
    made = model(*stack())
    variable(made, path).value[..., 1] = value
    layer, units = VARIABLES[path]
    for way in (*WAYS, by_hand):
        error = error_of(way, made)
        assert where(error) == (f"m/{path}", layer, (), units)
        assert "before the step" in error.cause


@pytest.mark.parametrize("wrong", ["call", "dx", "gradient"])
@pytest.mark.parametrize("way", [*WAYS, by_hand])
def test_a_layer_in_python(wrong: str, way: Any) -> None:
    made = model(*stack())
    own = made.get_layer("own")
    own.wrong = wrong
    if wrong != "gradient":
        own.at = ([3, 9], 1)
    error = error_of(way, made)
    assert (
        where(error)
        == {
            "call": ("output", "own", (3, 9), (1,)),
            "dx": ("dy", "drop", (3, 9), (1,)),
            "gradient": ("m/own/factor", "own", (), (1,)),
        }[wrong]
    )
    name = "call" if wrong == "call" else "call_backward"
    assert f'{name} of Scale "own" returned NaN' in error.cause


@pytest.mark.parametrize("wrong", ["call", "slope"])
def test_an_activation_in_python(wrong: str) -> None:
    made = model(layers.Dense(4, Halves(wrong), name="d"), layers.Dense(OUT, name="out"))
    error = error_of(by_fit, made)
    tensor = "output" if wrong == "call" else "m/d/kernel"
    assert (error.tensor, error.layer, error.units) == (tensor, "d", (0, 1, 2, 3))
    assert f"{wrong} of Halves(wrong='{wrong}') returned" in error.cause


@pytest.mark.parametrize("wrong", ["call", "gradient"])
@pytest.mark.parametrize("way", WAYS)
def test_a_loss_in_python(wrong: str, way: Any) -> None:
    own = Error()
    own.wrong = wrong
    error = error_of(way, model(*stack(), loss=own))
    right = ("loss", None, (2,), ()) if wrong == "call" else ("dy", "out", (2,), (1,))
    assert where(error) == right
    assert f'{wrong} of Error "error" returned {"NaN" if wrong == "call" else "inf"}' in error.cause


@pytest.mark.parametrize("wrong", ["call", "gradient"])
def test_a_regularizer_in_python(wrong: str) -> None:
    own = Penalty()
    own.wrong = wrong
    made = model(*stack(kernel_regularizer=own))
    error = error_of(by_fit, made)
    if wrong == "call":
        assert where(error) == ("loss", "out", (), ())
        assert "the penalty on m/out/kernel" in str(error)
    else:
        assert where(error) == ("m/out/kernel", "out", (), (2,))
        assert where(error_of(by_hand, made)) == where(error)
    assert "of Penalty()" in error.cause


def test_a_penalty_of_evengrad() -> None:
    big = initializers.Constant(1e3)
    made = model(
        layers.Dense(2, kernel_initializer=big, kernel_regularizer=regularizers.L2(1e38), name="d"),
        layers.Dense(OUT),
    )
    for way in (by_fit, by_hand):
        error = error_of(way, made)
        assert where(error) == ("m/d/kernel", "d", (), (0, 1))
        assert "penalty" in str(error)
        assert "L2(l2=1e+38)" in error.cause
        assert "Lower the factors" in str(error)


@pytest.mark.parametrize("tensor", ["inputs", "targets", "weights"])
def test_data_that_changed(tensor: str) -> None:
    x, y, weight = X.copy(), Y.copy(), np.ones(ROWS, np.float32)
    changed = {"inputs": x, "targets": y, "weights": weight}[tensor]

    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                changed[13] = np.nan
                if tensor != "weights":
                    changed[13] = 1.0
                    changed[13, 2] = np.nan

    made = model(layers.Dense(4, "relu"), layers.Dense(OUT))
    with pytest.raises(keras.NonFiniteError) as caught:
        made.fit(x, y, 4, 3, 0, [Change()], sample_weight=weight)
    error = caught.value
    assert where(error) == (tensor, None, (13,), () if tensor == "weights" else (2,))
    assert (error.epoch, "changed after they were checked" in error.cause) == (1, True)


def test_a_relu_does_not_hide_what_is_not_a_number() -> None:
    x = np.array(X)
    made = model(layers.Dense(4, "relu", name="d"), layers.ReLU(), layers.Dense(OUT))

    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            x[6, 0] = np.nan

    for value in ("data", "own"):
        if value == "data":
            with pytest.raises(keras.NonFiniteError) as caught:
                made.fit(x, Y, 4, verbose=0, callbacks=[Change()])
            assert where(caught.value) == ("inputs", None, (6,), (0,))
            continue
        own = Scale(name="own")
        own.wrong, own.at = "call", (6, 1)
        made = model(own, layers.Dense(4, "relu"), layers.ReLU(), layers.Dense(OUT))
        assert where(error_of(by_fit, made)) == ("output", "own", (6,), (1,))


def test_an_output_that_is_hidden_by_what_follows() -> None:
    """Infinity in a layer whose tanh makes it 1: the loss is finite, the gradient is not."""
    made = model(
        layers.Dense(4, kernel_initializer=initializers.Constant(1e38), name="big"),
        layers.Dense(4, "tanh", kernel_initializer="ones"),
        layers.Dense(OUT),
    )
    x = np.abs(X) + 5.0
    error = error_of(by_fit, made, x)
    assert where(error) == ("output", "big", tuple(range(ROWS)), (0, 1, 2, 3))
    assert "epoch 1, step 1: the output of big is not finite" in str(error)
    assert "m/big/kernel are as large as 1e+38" in error.cause


# Overflow in kernels


def deep(scale: float, count: int = 20) -> list[layers.Layer]:
    random = initializers.RandomNormal(0.0, scale)
    return [layers.Dense(8, kernel_initializer=random, name=f"d{i}") for i in range(count)]


def test_outputs_that_grow_layer_by_layer() -> None:
    made = model(*deep(100.0), layers.Dense(OUT, name="out"))
    error = error_of(by_fit, made)
    assert error.tensor == "output"
    assert error.layer in {f"d{i}" for i in range(15, 20)}
    y, growth = X.astype(np.float64), []
    for i in range(int(error.layer[1:])):
        y = y @ made.get_layer(f"d{i}").get_weights()[0]
        growth.append(np.abs(y).max())
    assert (
        f"from {float(f'{growth[0]:.2g}'):g} in d0 to beyond 3.4e+38 in {error.layer}"
        in error.cause
    )
    fold = (3.4028235e38 / growth[0]) ** (1.0 / len(growth))
    assert f"outputs grow {float(f'{fold:.2g}'):g}-fold a layer" in error.cause
    assert 'kernel_initializer="auto"' in str(error)


def test_gradients_that_grow_on_the_way_back() -> None:
    tiny = initializers.Constant(1e-30)
    stack = [layers.Dense(8, "tanh", kernel_initializer=tiny, name="tiny"), *deep(1e6, 9)]
    for layer in stack[1:]:
        layer.activation = activations.get("tanh")
    made = model(*stack, layers.Dense(OUT, name="out"))
    error = error_of(by_fit, made, 1e-30 * X)
    assert error.tensor == "dy"
    assert "gradients grow" in error.cause
    assert "in out to" in error.cause


def test_an_exponential() -> None:
    for last in (
        [layers.Dense(6, "exponential", name="e")],
        [layers.Dense(6), layers.Activation("exponential", name="e")],
    ):
        made = model(*last, layers.Dense(OUT))
        x = X.copy()
        x[4] *= 500.0
        error = error_of(by_fit, made, x)
        assert (error.tensor, error.layer, error.rows) == ("output", "e", (4,))
        assert "exponential of" in error.cause
        assert "overflows above 88.7" in error.cause


@pytest.mark.parametrize("what", ["inputs", "targets", "weights", "outputs"])
def test_what_a_loss_is_too_large_of(what: str) -> None:
    x, y, weight = X.copy(), Y.copy(), np.ones(ROWS, np.float32)
    made = model(layers.Dense(6, name="d"), layers.Dense(OUT, name="out"))
    if what == "outputs":
        made.get_layer("out").kernel.value[...] *= 1e25
    else:
        array, value = {"inputs": (x, 1e30), "targets": (y, 1e30), "weights": (weight, 3e38)}[what]
        array[5] = value
    y[5] += 3.0
    error = error_of(by_fit, made, x, y, weight)
    assert (error.tensor, error.layer, error.units) == ("loss", None, ())
    assert error.rows == ((5,) if what != "outputs" else tuple(range(ROWS)))
    said = {
        "inputs": "the inputs reach 1e+30",
        "targets": "the targets reach 1e+30",
        "weights": "the weights of samples reach 3e+38",
        "outputs": "the weights of m/out/kernel are as large as",
    }
    assert said[what] in error.cause


def test_a_loss_that_overflows_in_its_sum_only() -> None:
    error = error_of(by_fit, model(layers.Dense(OUT)), X, np.full((ROWS, OUT), 1e19))
    assert where(error) == ("loss", None, (), ())
    assert "the targets reach 1e+19" in error.cause
    assert "once more" not in str(error)


def test_a_logarithm_of_what_is_below_0() -> None:
    error = error_of(by_fit, model(layers.Dense(OUT), loss="poisson"), X, np.abs(Y))
    assert error.tensor == "loss"
    assert "poisson takes a logarithm" in error.cause
    assert "softplus" in str(error)


def test_a_cross_entropy_of_what_is_no_probability() -> None:
    made = model(
        layers.Dense(OUT, "relu", name="out", kernel_initializer="zeros"),
        loss="sparse_categorical_crossentropy",
    )
    error = error_of(by_fit, made, X, np.arange(ROWS) % OUT)
    assert where(error) == ("loss", None, tuple(range(ROWS)), ())
    assert "a division by 0" in error.cause
    assert 'End with the activation "softmax"' in str(error)


def test_a_division_by_0_in_a_layer() -> None:
    class Inverse(layers.Layer):
        def call(self, inputs: F32) -> F32:
            return 1.0 / inputs

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            return -dy / inputs**2

    made = model(layers.Dense(6, "relu"), Inverse(name="inverse"), layers.Dense(OUT))
    error = error_of(by_fit, made)
    assert (error.tensor, error.layer) == ("output", "inverse")
    assert "division by 0 or a logarithm of 0" in error.cause


def test_a_learning_rate_that_is_too_high() -> None:
    made = model(layers.Dense(16, name="d"), layers.Dense(OUT, name="out"), optimizer=SGD(0.9))
    with pytest.raises(keras.NonFiniteError) as caught:
        made.fit(X, Y, 8, epochs=50, verbose=0)
    error = caught.value
    assert "the learning rate is too high" in error.cause
    assert "Lower the learning rate from 0.9 to 0.09 or less" in str(error)
    assert "the loss had risen from" in error.cause
    assert "the last step alone having moved them by" in error.cause


def test_weights_that_training_has_not_made_so_large() -> None:
    made = model(layers.Dense(16, name="d"), layers.Dense(OUT, name="out"))

    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                made.get_layer("d").kernel.value[3, 4] = 1e30

    with pytest.raises(keras.NonFiniteError) as caught:
        made.fit(X, Y, epochs=3, verbose=0, callbacks=[Change()])
    assert "the weights of m/d/kernel are as large as 1e+30" in caught.value.cause
    assert "though the loss had not risen" in caught.value.cause
    assert "learning rate" not in str(caught.value)


@pytest.mark.parametrize("kind", ["", "clipnorm", "clipvalue", "global_clipnorm"])
def test_a_move_that_leaves_float32(kind: str) -> None:
    optimizer = SGD(3e38, **({kind: 1.0} if kind else {}))
    made = model(layers.Dense(OUT, name="d"), optimizer=optimizer)
    x = X.copy()
    for way in (by_fit, by_hand):
        error = error_of(way, made, x)
        assert (error.tensor, error.layer, error.rows) == ("m/d/kernel", "d", ())
        assert error.units
        assert "the learning rate is too high: 3e+38 times" in error.cause
        assert "Lower the learning rate from 3e+38 to about 1e-0" in str(error)


def test_what_was_accumulated() -> None:
    made = model(layers.Dense(OUT, name="d"), optimizer=Adam(0.01, gradient_accumulation_steps=4))
    made.train_on_batch(X, Y)
    kernel = made.layers[0].kernel
    made.optimizer.kept()[kernel]["gradient_accumulator"].value[1, 2] = np.inf
    for way in (by_fit, by_hand):
        error = error_of(way, made)
        assert where(error) == ("m/d/kernel", "d", (), (2,))
        assert "the accumulated gradient of m/d/kernel" in str(error)
        assert "accumulated before the step" in error.cause
    with pytest.raises(keras.NonFiniteError, match="accumulated gradient of m/d/kernel"):
        made.optimizer.apply([np.ones((IN, OUT))], [kernel])


def test_a_state_of_the_optimizer_that_spoils_variables() -> None:
    made = model(layers.Dense(OUT, name="d"), optimizer=SGD(0.01, momentum=0.9))
    made.train_on_batch(X, Y)
    kernel = made.layers[0].kernel
    made.optimizer.kept()[kernel]["momentum"].value[1, 2] = np.nan
    made.train_on_batch(X, Y)
    error = error_of(by_fit, made)
    assert where(error) == ("m/d/kernel", "d", (), (2,))
    assert "the optimizer's momentum of it was not finite" in error.cause


def test_accumulation_of_a_bad_gradient() -> None:
    made = model(*stack(), optimizer=SGD(0.01, gradient_accumulation_steps=3))
    made.train_on_batch(X, Y)
    made.get_layer("own").wrong = "gradient"
    assert where(error_of(by_fit, made)) == ("m/own/factor", "own", (), (1,))


def folded(*more: layers.Layer) -> Any:
    big, wide = initializers.Constant(3e37), initializers.Constant(1e3)
    made = model(
        layers.BatchNormalization(name="bn"),
        layers.Dense(4, kernel_initializer=big, name="d"),
        *more,
        layers.Activation("tanh"),
        layers.Dense(OUT, kernel_initializer=wide, name="out"),
    )
    made.layers[0].gamma.value[...] = 1e-38
    return made


def test_a_folded_normalization() -> None:
    """The Dense computes both gradients; that of gamma overflows alone."""
    error = error_of(by_fit, folded(), X, 1e3 * Y)
    assert where(error) == ("m/bn/gamma", "bn", (), tuple(range(IN)))
    assert "the gradient of m/bn/gamma is not" in str(error)
    own = Scale(name="own")
    own.wrong, own.at = "dx", (3, 1)
    error = error_of(by_fit, folded(own))
    assert where(error) == ("dy", "d", (3,), (1,))


def test_a_normalization_is_folded_where_the_inputs_need_no_gradient() -> None:
    for need_dx in (False, True):
        made = folded()
        made.forward(X)
        made.backward(1e3 * Y, need_dx=need_dx)
        with pytest.raises(keras.NonFiniteError) as caught:
            made.optimizer.step()
        right = ("dy", "bn") if need_dx else ("m/bn/gamma", "bn")
        assert (caught.value.tensor, caught.value.layer) == right


def test_a_projection() -> None:
    block = layers.Residual([layers.Dense(4, name="branch")], name="block")
    made = model(block, layers.Dense(OUT))
    made.layers[0].projection.kernel.value[2, 1] = 3e38
    x = np.abs(X) + 2.0
    assert where(error_of(by_fit, made, x)) == ("output", "projection", tuple(range(ROWS)), (1,))
    made.layers[0].projection.kernel.value[2, 1] = 1e38
    made.layers[0].layers[0].kernel.value[2, 1] = 1e38
    x[:, 2] = 2.0
    assert where(error_of(by_fit, made, x)) == ("output", "block", tuple(range(ROWS)), (1,))


def test_the_order_of_a_step() -> None:
    """Of several faults the one that a step meets first, each made good in turn."""
    made = model(*stack(), loss=Error(), optimizer=SGD(3e38))
    own, loss = made.get_layer("own"), made.loss
    variable(made, "out/kernel").value[1, 1] = np.nan
    made.layers[0].moving_mean.value[1] = np.nan  # not read
    own.wrong, own.at = "call", (4, 1)
    loss.wrong = "call"
    found = [error_of(by_fit, made)]
    variable(made, "out/kernel").value[1, 1] = 0.0
    found.append(error_of(by_fit, made))
    own.wrong = "dx"
    found.append(error_of(by_fit, made))
    loss.wrong = "gradient"
    found.append(error_of(by_fit, made))
    loss.wrong = ""
    found.append(error_of(by_fit, made))
    own.wrong = "gradient"
    found.append(error_of(by_fit, made))
    own.wrong = ""
    found.append(error_of(by_fit, made))
    assert [(error.tensor, error.layer) for error in found] == [
        ("m/out/kernel", "out"),
        ("output", "own"),
        ("loss", None),
        ("dy", "out"),
        ("dy", "drop"),
        ("m/own/factor", "own"),
        ("m/out/kernel", "out"),
    ]


def test_inputs_come_before_variables() -> None:
    x = X.copy()
    made = model(layers.Dense(OUT, name="d"))

    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            x[3, 2] = np.inf
            made.layers[0].bias.value[0] = np.nan

    with pytest.raises(keras.NonFiniteError) as caught:
        made.fit(x, Y, verbose=0, callbacks=[Change()])
    assert where(caught.value) == ("inputs", None, (3,), (2,))


def test_a_frozen_normalization_below_0() -> None:
    made = model(layers.BatchNormalization(name="bn", trainable=False), layers.Dense(OUT))
    made.layers[0].moving_variance.value[3] = -2.0
    error = error_of(by_fit, made)
    assert where(error) == ("output", "bn", tuple(range(ROWS)), (3,))
    assert "moving_variance of bn is below 0" in error.cause


@pytest.mark.parametrize("last", ["softmax", "sigmoid"])
def test_a_cross_entropy_of_logits(last: str) -> None:
    loss = "categorical_crossentropy" if last == "softmax" else "binary_crossentropy"
    made = model(layers.Dense(OUT, last, name="out"), loss=loss)
    y = np.eye(OUT, dtype=np.float32)[np.arange(ROWS) % OUT]
    x = X.copy()
    x[8] = 3e38
    made.get_layer("out").kernel.value[...] = [1.0, -1.0, 1.0]
    error = error_of(by_fit, made, x, y)
    assert (error.tensor, error.layer, error.rows) == ("output", "out", (8,))
    assert "the inputs reach 3e+38" in error.cause


def test_samples_of_several_rows() -> None:
    keras.utils.set_random_seed(0)
    own = Scale(name="own")
    own.wrong, own.at = "call", (4, 1, 2)
    made = keras.Sequential([keras.Input((2, 6)), own, layers.Dense(3)], name="m")
    made.compile(SGD(), "mse")
    x, y = draws(3, (8, 2, 6), (8, 2, 3))
    assert where(error_of(by_fit, made, x, y)) == ("output", "own", (4,), (2,))


def test_layers_of_one_name_are_told_apart() -> None:
    parts = [keras.Sequential([Scale(name="own")], name=name) for name in ("one", "two")]
    made = model(*parts, layers.Dense(OUT))
    parts[1].layers[0].wrong = "call"
    error = error_of(by_fit, made)
    assert error.layer == "own"
    assert "nor is the output of two/own in row" in str(error)


# Loops of one's own


def test_dy_that_was_given() -> None:
    made = model(*stack())
    made.forward(X)
    dy = np.ones((ROWS, OUT))
    dy[[2, 7], 1] = np.nan
    made.backward(dy)
    with pytest.raises(keras.NonFiniteError) as caught:
        made.optimizer.step()
    assert where(caught.value) == ("dy", "out", (2, 7), (1,))
    assert "what backward was given, dy, is not finite in row 2, 7" in str(caught.value)


@pytest.mark.parametrize("need_dx", [False, True])
def test_dropout_draws_the_same_numbers_again(need_dx: bool) -> None:
    """Whether it is the dropped ones that are huge decides what is found."""
    for _ in range(8):
        made = model(layers.Dropout(0.5), layers.Dense(1, name="d", kernel_initializer="ones"))
        x = np.full((4, IN), 1.5e38, np.float32)  # twice that each that is left
        y = made.forward(x)
        made.backward(np.ones((4, 1)), need_dx=need_dx)
        bad = np.flatnonzero(~np.isfinite(y[:, 0]))
        if not bad.size:
            continue
        with pytest.raises(keras.NonFiniteError) as caught:
            made.optimizer.step()
        assert caught.value.rows == tuple(bad.tolist())


def test_gradients_that_were_changed_or_added_up() -> None:
    made = model(layers.Dense(OUT, name="d"))
    kernel = made.layers[0].kernel
    made.forward(X)
    made.backward(Y)
    made.gradients[kernel][1, 2] = np.inf
    with pytest.raises(keras.NonFiniteError) as caught:
        made.optimizer.step()
    assert where(caught.value) == ("m/d/kernel", "d", (), (2,))
    assert "changed by hand" in caught.value.cause
    made.forward(X)
    made.backward(Y * np.nan)
    made.backward(Y, accumulate=True)
    with pytest.raises(keras.NonFiniteError, match="the gradient of m/d/kernel") as caught:
        made.optimizer.step()
    assert "several calls of backward" in caught.value.cause


def test_gradients_repaired_by_hand() -> None:
    made = model(layers.Dense(OUT, name="d"), optimizer=SGD(3e38))
    made.forward(X)
    made.backward(Y * np.nan)
    for gradient in made.gradients.values():
        gradient[...] = 1.0
    with pytest.raises(keras.NonFiniteError, match="the learning rate times") as caught:
        made.optimizer.step()
    assert caught.value.units == (0, 1, 2)


def test_apply() -> None:
    one, two = (keras.Variable(np.ones(3), path=name) for name in "ab")
    optimizer = SGD(0.1)
    with pytest.raises(keras.NonFiniteError, match=r"SGD.apply: the gradient of b is") as caught:
        optimizer.apply([np.ones(3), [1.0, np.nan, 2.0]], [one, two])
    assert where(caught.value) == ("b", None, (), (1,))
    assert "Nothing was updated." in str(caught.value)
    optimizer.learning_rate = 2e38
    with pytest.raises(keras.NonFiniteError, match="the learning rate times") as caught:
        optimizer.apply([np.ones(3), np.zeros(3)], [one, two])
    assert where(caught.value) == ("a", None, (), (0, 1, 2))
    one.value[2] = np.nan
    with pytest.raises(keras.NonFiniteError, match="a was not finite before the step"):
        optimizer.apply([np.ones(3), np.zeros(3)], [one, two])


# A second run that gives something else


class Once(Scale):
    """Wrong in its first call of a kind only."""

    def _maybe(self, place: str, array: F32) -> F32:
        wrong = super()._maybe(place, array)
        if place == self.wrong:
            type(self).calls += 1
        return wrong if self.calls == 1 else array

    calls = 0


@pytest.mark.parametrize("wrong", ["call", "gradient", "dx"])
def test_what_is_not_found_again_is_said_to_be_so(wrong: str) -> None:
    own = Once(name="own")
    Once.calls, own.wrong = 0, wrong
    made = model(layers.Dense(4, name="d"), own, layers.Dense(OUT))
    error = error_of(by_fit, made)
    assert Once.calls == 2
    assert "Run once more, the step gives finite numbers" in str(error)
    assert "have changed meanwhile" in error.cause
    right = {"call": ("loss", None), "gradient": ("m/own/factor", "own"), "dx": ("m/d/kernel", "d")}
    assert (error.tensor, error.layer) == right[wrong]


def test_a_loss_that_fails_the_second_time_only() -> None:
    """What failed was a gradient, so the loss was finite."""

    class LaterError(Error):
        calls = 0

        def call(self, y_true: F32, y_pred: F32) -> F32:
            self.calls += 1
            return super().call(y_true, y_pred) * (1.0 if self.calls == 1 else np.nan)

    made = model(*stack(), loss=LaterError())
    made.get_layer("own").wrong = "gradient"
    error = error_of(by_fit, made)
    assert where(error) == ("m/own/factor", "own", (), ())
    assert "have changed meanwhile" in error.cause


def test_a_part_that_fails_the_second_time() -> None:
    class Fails(Once):
        def _maybe(self, place: str, array: F32) -> F32:
            wrong = super()._maybe(place, array)
            if self.calls > 1:
                raise KeyError("mine")
            return wrong

    Once.calls = Fails.calls = 0
    own = Fails(name="own")
    own.wrong = "call"
    error = error_of(by_fit, model(layers.Dense(4), own, layers.Dense(OUT)))
    assert error.tensor == "loss"
    assert "have changed meanwhile" in error.cause


def test_the_second_run_changes_nothing() -> None:
    """Random numbers, attributes, weights of parts in Python are as the failed step left them."""

    class Busy(Scale):
        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.seen = self.add_weight((1,), "zeros", "seen", trainable=False)
            self.own, self.calls = np.random.default_rng(1), 0

        def call(self, inputs: F32) -> F32:
            self.calls += 1
            self.seen.value[...] += 1.0
            self.own.random()
            np.random.rand()
            return super().call(inputs)

    own = Busy(name="own")
    own.wrong = "gradient"
    made = model(layers.Dense(4), own, layers.Dropout(0.5), layers.Dense(OUT), on_nonfinite="skip")
    results = []
    for policy in ("skip", "raise"):
        made.on_nonfinite = policy
        np.random.seed(3)
        own.own, own.calls = np.random.default_rng(1), 0
        own.seen.value[...] = 0.0
        if policy == "skip":
            made.train_on_batch(X, Y)
        else:
            with pytest.raises(keras.NonFiniteError):
                made.train_on_batch(X, Y)
        results.append((own.calls, float(own.seen.value[0]), own.own.random(), np.random.rand()))
    assert results[0] == results[1]
    assert results[0][:2] == (1, 1.0)


def test_skipped_steps_are_counted_as_ever() -> None:
    made = model(*stack(), on_nonfinite="skip")
    made.get_layer("own").wrong = "gradient"
    made.get_layer("own").value = np.inf
    history = made.fit(X, Y, 6, epochs=2, verbose=0)
    assert history.health["skipped_steps"] == [4, 4]
    with pytest.raises(keras.NonFiniteError) as caught:
        made.fit(X, Y, 2, verbose=0)
    assert caught.value.step == 9
    assert made.skipped_steps == 18
    assert caught.value.tensor == "m/own/factor"


def test_an_update_in_python() -> None:
    class Own(keras.optimizers.Optimizer):
        def update_step(self, gradient: F32, variable: Any, learning_rate: float) -> None:
            if self.iterations == 5 and variable.name == "bias":
                variable.value[1] = np.inf

    made = model(layers.Dense(OUT, name="d"), optimizer=Own(0.1))
    with pytest.raises(keras.NonFiniteError) as caught:
        made.fit(X, Y, 6, epochs=3, verbose=0)
    error = caught.value
    assert where(error) == ("m/d/bias", "d", (), (1,))
    assert (error.epoch, error.step) == (1, 1)
    assert "Own" in error.cause


def test_many_units_are_counted_in_the_text() -> None:
    made = model(layers.Dense(40, name="d"), layers.Dense(OUT))
    made.layers[0].kernel.value[...] = np.nan
    error = error_of(by_fit, made)
    assert error.units == tuple(range(40))
    assert "Units: 0, 1, 2, 3, 4 and 35 more." in str(error)
