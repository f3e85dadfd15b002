"""forward, backward and step: loops of the user's own do what fit does, and say what is wrong."""

from __future__ import annotations

import copy
import gc
import threading
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, losses, optimizers, utils
from evengrad._arena import padding
from numpy.typing import NDArray

F32 = NDArray[np.float32]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 6), dtype=np.float32)
Y = RNG.standard_normal((64, 3), dtype=np.float32)

STACKS: dict[str, Any] = {
    "plain": lambda: [layers.Dense(8, "tanh"), layers.Dense(3)],
    "deep": lambda: [
        layers.Dense(8, "selu"), layers.Dropout(0.3), layers.BatchNormalization(),
        layers.Activation("elu"), layers.GaussianNoise(0.1), layers.Dense(3),
    ],
    "normalized first": lambda: [
        layers.BatchNormalization(), layers.Dense(8, use_bias=False), layers.BatchNormalization(),
        layers.Activation("elu"), layers.Dense(3),
    ],
    "penalized": lambda: [
        layers.Dense(8, "relu", kernel_regularizer="l2", bias_constraint="non_neg"),
        layers.LayerNormalization(), layers.PReLU(), layers.Dense(3, kernel_regularizer="l1"),
    ],
    "residual": lambda: [layers.Residual([layers.Dense(6, "gelu")]), layers.Dense(3)],
    "frozen": lambda: [layers.Dense(8, "tanh", trainable=False), layers.Dense(3)],
    "frozen first": lambda: [layers.BatchNormalization(trainable=False), layers.Dense(3)],
}  # fmt: skip

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda: optimizers.SGD(0.05, momentum=0.9),
    "adam": lambda: optimizers.Adam(0.01, clipnorm=0.1),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=0.5),
    "ema": lambda: optimizers.RMSprop(0.01, use_ema=True, ema_overwrite_frequency=3),
    "accumulated": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "schedule": lambda: optimizers.SGD(
        optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), clipvalue=0.01
    ),
    "adaptive": lambda: optimizers.SGD(0.05, clipping="adaptive_gradient_clipping"),
}


def made(stack: str = "plain", optimizer: Any = "adam", loss: Any = None, **options: Any) -> Any:
    utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), *STACKS[stack]()])
    chosen = OPTIMIZERS[optimizer]() if isinstance(optimizer, str) else optimizer
    model.compile(chosen, loss, **options)
    return model


def state(model: Any) -> list[bytes]:
    parts = [a.tobytes() for a in model.live_arrays]
    parts += [v.storage.tobytes() for v in model.optimizer.variables]
    return parts


def step(model: Any, x: F32 = X[:32], y: F32 = Y[:32], **options: Any) -> float:
    made = model.forward(x)
    value, dy = losses.MeanSquaredError().value_and_gradient(y, made)
    model.backward(dy, **options)
    assert model.optimizer.step()
    return value


# The same as fit


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loop_is_train_on_batch_to_the_bit(stack: str, optimizer: str) -> None:
    def states(loss: str | None) -> list[Any]:
        model, found = made(stack, optimizer, loss), []
        for rows in (32, 64, 7, 1, 33, 64, 7):
            if loss:
                model.train_on_batch(X[:rows], Y[:rows])
            else:
                step(model, X[:rows], Y[:rows], need_dx=False)
            found.append((rows, state(model)))
        return found

    assert states(None) == states("mse")


@pytest.mark.parametrize("stack", STACKS)
def test_with_dx_the_weights_are_the_same_but_for_rounding(stack: str) -> None:
    weights = []
    for need_dx in (True, False):
        model = made(stack, "sgd")
        for _ in range(5):
            step(model, need_dx=need_dx)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads(threads: int) -> None:
    utils.set_random_seed(0)
    x = np.random.default_rng(3).standard_normal((256, 64), dtype=np.float32)
    before = keras.get_num_threads()
    weights = []
    for count in (1, threads):
        utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((64,)), layers.BatchNormalization(), layers.Dense(256, "elu"),
             layers.Dropout(0.2), layers.Dense(64)]
        )  # fmt: skip
        model.compile("adam")
        keras.set_num_threads(count)
        try:
            for _ in range(20):
                y = model.forward(x)
                model.backward((y - x) / len(x))
                model.optimizer.step()
        finally:
            keras.set_num_threads(before)
        weights.append([w.tobytes() for w in model.get_weights()])
    assert weights[0] == weights[1]


def test_outputs_and_dx_are_those_of_float64() -> None:
    model = made("plain")
    w1, b1, w2, b2 = (w.astype(np.float64) for w in model.get_weights())
    hidden = np.tanh(X @ w1 + b1)
    y = model.forward(X)
    np.testing.assert_allclose(y, hidden @ w2 + b2, rtol=1e-5, atol=1e-6)
    dx = model.backward(Y)
    inner = (Y @ w2.T) * (1.0 - hidden**2)
    np.testing.assert_allclose(dx, inner @ w1.T, rtol=1e-5, atol=1e-5)
    found = [g.astype(np.float64) for g in model.gradients.values()]
    right = X.T @ inner, inner.sum(axis=0), hidden.T @ Y, Y.sum(axis=0)
    assert [v.path.split("/", 1)[1] for v in model.gradients] == [
        v.path.split("/", 1)[1] for v in model.trainable_variables
    ]
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, 31, 32, 33, 100])
def test_batches_of_any_size_without_recording_anew(rows: int) -> None:
    model = made("normalized first")
    x = np.random.default_rng(0).standard_normal((rows, 6), dtype=np.float32)
    y = model.forward(x, training=False)
    assert y.shape == (rows, 3)
    np.testing.assert_allclose(y, model.predict(x), rtol=1e-6, atol=1e-6)
    assert model.forward(x).shape == (rows, 3)
    assert model.backward(y).shape == x.shape
    assert model.optimizer.step()


def test_programs_are_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from evengrad import _own_loop, _pass

    count = []

    class Counted(_pass.Pass):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            count.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(_own_loop, "Pass", Counted)
    model = made("deep")
    for rows in (33, 40, 64, 50, 33):
        step(model, X[:rows], Y[:rows])
    program = model._loop.update[1]
    step(model)
    assert len(count) == 2  # up to 64, and up to 32
    assert model._loop.update[1] is program


def test_samples_of_several_axes() -> None:
    utils.set_random_seed(0)
    model = keras.Sequential([layers.Flatten(input_shape=(2, 3)), layers.Dense(4, "tanh")])
    x = X.reshape(64, 2, 3)
    flat = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh")])
    flat.set_weights(model.get_weights())
    dy = np.ones((64, 4), np.float32)
    np.testing.assert_array_equal(model.forward(x), flat.forward(X))
    np.testing.assert_array_equal(model.backward(dy).reshape(64, 6), flat.backward(dy))
    shaped = keras.Sequential([layers.Dense(5, "elu", input_shape=(2, 3)), layers.Dense(4)])
    assert shaped.forward(x).shape == (64, 2, 4)
    assert shaped.backward(np.ones((64, 2, 4))).shape == (64, 2, 3)


def test_layers_losses_and_models_inside() -> None:
    class Square(layers.Layer):
        def call(self, inputs: F32) -> F32:
            return inputs * inputs

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            return 2.0 * inputs * dy

    inner = keras.Sequential([layers.Dense(5), Square()])
    model = keras.Sequential([keras.Input((6,)), inner, layers.Dense(3)])
    model.compile("sgd")
    before = step(model)
    for _ in range(30):
        after = step(model)
    assert after < before
    report = utils.check_gradients(model)
    assert report.error < 1e-3


# Order of calls


def test_backward_replaces_or_adds() -> None:
    model = made("plain")
    model.forward(X)
    model.backward(Y)
    once = [g.copy() for g in model.gradients.values()]
    model.backward(Y)
    for g, o in zip(model.gradients.values(), once, strict=True):
        np.testing.assert_array_equal(g, o)
    model.backward(Y, accumulate=True)
    for g, o in zip(model.gradients.values(), once, strict=True):
        np.testing.assert_array_equal(g, 2.0 * o)
    model.optimizer.step()
    model.forward(X)
    model.backward(Y, accumulate=True)  # there has been a step: nothing to add to
    single = made("plain")
    single.set_weights(model.get_weights())
    single.forward(X)
    single.backward(Y)
    for a, b in zip(model.gradients.values(), single.gradients.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_accumulated_over_batches_it_is_one_large_batch() -> None:
    pieces, whole = made("plain", "sgd"), made("plain", "sgd")
    for _ in range(5):
        for part in (slice(0, 20), slice(20, 33), slice(33, 64)):
            y = pieces.forward(X[part])
            pieces.backward((y - Y[part]) / 64.0, accumulate=True)
        pieces.optimizer.step()
        y = whole.forward(X)
        whole.backward((y - Y) / 64.0)
        whole.optimizer.step()
    for a, b in zip(pieces.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_padding_does_not_grow_from_pass_to_pass(training: bool) -> None:
    """Layers in place work on the padding of the inputs, too: exp(exp(exp(...)))."""
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dropout(0.5, seed=1), layers.Activation("exponential"),
         layers.Dense(3)]
    )  # fmt: skip
    for _ in range(20):
        y = model.forward(X, training)
        dx = model.backward(np.ones_like(y))
    assert np.isfinite(dx).all()
    way = model._loop.gone.way
    _, buffer = way._ways[True]
    assert (padding(buffer) == 0.0).all()
    assert np.isfinite(padding(way._x)).all()


def test_the_last_forward_counts() -> None:
    model = made("plain")
    model.forward(X[:10])
    y = model.forward(X[:32])
    assert model.backward(np.ones_like(y)).shape == (32, 6)
    other = made("plain")
    other.forward(X[:32])
    other.backward(np.ones_like(y))
    for a, b in zip(model.gradients.values(), other.gradients.values(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"expected dy of shape \(32, 3\), as the outputs of the "):
        model.backward(np.ones((10, 3)))


def test_one_forward_and_several_backward() -> None:
    """Rows of the Jacobian."""
    model = made("normalized first")
    y = model.forward(X)
    rows = [model.backward(np.eye(3, dtype=np.float32)[[k] * len(y)]) for k in range(3)]
    together = model.backward(np.ones_like(y))
    np.testing.assert_allclose(sum(rows), together, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]


def test_dy_is_left_alone_and_results_are_ones_own() -> None:
    model = made("deep")
    x, dy = X.copy(), Y.copy()
    y = model.forward(x)
    kept = y.copy()
    dx = model.backward(dy)
    first = dx.copy()
    model.forward(-x)
    model.backward(-dy)
    np.testing.assert_array_equal(y, kept)
    np.testing.assert_array_equal(dx, first)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(dy, Y)
    y[...] = dx[...] = 0.0 if y.shape == dx.shape else 1.0


def test_gradients_are_live() -> None:
    model = made("plain", "sgd")
    before = model.get_weights()
    model.forward(X)
    model.backward(Y)
    for gradient in model.gradients.values():
        gradient[...] = 0.0
    model.gradients[model.layers[1].bias][...] = 1.0
    model.optimizer.step()
    after = model.get_weights()
    for a, b in zip(before[:3], after[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(after[3], before[3] - 0.05, rtol=1e-6)


def test_inference_has_a_way_back_to_the_inputs_only() -> None:
    utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dropout(0.3),
         layers.BatchNormalization(), layers.Activation("gelu"), layers.Dense(3)]
    )  # fmt: skip
    model.compile("adam")
    step(model)
    before = state(model)
    y = model.forward(X, training=False)
    np.testing.assert_allclose(y, model.predict(X), rtol=1e-6, atol=1e-6)
    dx = model.backward(Y)
    shift = 1e-2
    for column in range(6):
        moved = X.astype(np.float64)
        moved[:, column] += shift
        other = X.astype(np.float64)
        other[:, column] -= shift
        slope = ((model.predict(moved) - model.predict(other)) * Y).sum(axis=1) / (2.0 * shift)
        np.testing.assert_allclose(dx[:, column], slope, rtol=1e-3, atol=1e-4)
    assert state(model) == before
    with pytest.raises(ValueError, match=r"Adam\.step: there are no gradients that wait for it"):
        model.optimizer.step()
    assert model.backward(Y, need_dx=False) is None


def test_a_pass_without_gradients_keeps_those_that_wait() -> None:
    """As an actor's gradient through a critic needs it."""
    model = made("plain")
    model.forward(X)
    model.backward(Y)
    waiting = [g.copy() for g in model.gradients.values()]
    model.forward(X[:5], training=False)
    model.backward(Y[:5])
    for a, b in zip(model.gradients.values(), waiting, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.step()


def test_through_two_models() -> None:
    """A generator through a discriminator: the gradient of one's inputs is the other's dy."""
    generator, critic = made("plain"), None
    utils.set_random_seed(2)
    critic = keras.Sequential([keras.Input((3,)), layers.Dense(8, "elu"), layers.Dense(1)])
    critic.compile("adam")
    joint = keras.Sequential([generator, critic])
    ones = np.ones((64, 1), np.float32)
    y = joint.forward(X)
    joint.backward(ones)
    right = [joint.gradients[v].copy() for v in generator.trainable_variables]
    np.testing.assert_array_equal(critic.forward(generator.forward(X)), y)
    generator.backward(critic.backward(ones))
    for a, b in zip(generator.gradients.values(), right, strict=True):
        np.testing.assert_array_equal(a, b)
    before = critic.get_weights()
    assert generator.optimizer.step()
    for a, b in zip(critic.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_moving_statistics_move_in_forward() -> None:
    model = made("normalized first")
    layer = model.layers[0]
    before = layer.moving_mean.numpy()
    model.forward(X, training=False)
    np.testing.assert_array_equal(layer.moving_mean.value, before)
    model.forward(X)
    np.testing.assert_allclose(layer.moving_mean.value, X.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert layer._batches[0] == 1
    model.backward(Y)
    model.optimizer.step()
    assert layer._batches[0] == 1


def test_random_numbers_differ_from_pass_to_pass_and_are_those_of_fit() -> None:
    model = made("deep")
    first, second = model.forward(X), model.forward(X)
    assert (first != second).any()
    again = made("deep")
    np.testing.assert_array_equal(again.forward(X), first)
    np.testing.assert_array_equal(again.forward(X), second)


def test_backward_draws_what_forward_drew() -> None:
    utils.set_random_seed(0)
    model = keras.Sequential([layers.Dropout(0.5, input_shape=(50,))])
    x = np.ones((40, 50), np.float32)
    for _ in range(3):
        y = model.forward(x)
        np.testing.assert_array_equal(model.backward(x), y)


# What is wrong


def test_calls_out_of_order() -> None:
    model = made("plain")
    with pytest.raises(ValueError, match="backward needs a forward before it"):
        model.backward(Y)
    with pytest.raises(ValueError, match="there are no gradients of variables"):
        _ = model.gradients
    with pytest.raises(ValueError, match=r"Adam\.step: there are no gradients that wait for it"):
        model.optimizer.step()
    step(model)
    with pytest.raises(ValueError, match=r"Adam\.step: there are no gradients that wait for it"):
        model.optimizer.step()
    with pytest.raises(ValueError, match="the weights have been updated since the last forward"):
        model.backward(Y[:32])
    model.forward(X)
    model.loss = losses.MeanSquaredError()
    model.train_on_batch(X, Y)
    with pytest.raises(ValueError, match="the weights have been updated since the last forward"):
        model.backward(Y)


def test_a_failed_forward_leaves_none() -> None:
    model = made("plain")
    model.forward(X)
    for bad in (X[:, :5], np.full((3, 6), np.nan), "text", np.zeros((0, 6))):
        with pytest.raises((ValueError, TypeError)):
            model.forward(bad)
        with pytest.raises(ValueError, match="needs a forward"):
            model.backward(Y)
    model.forward(X)
    for bad in (Y[:, :2], "text", None, Y[:3]):
        with pytest.raises((ValueError, TypeError), match="dy"):
            model.backward(bad)
    with pytest.raises(TypeError, match="need_dx to be True or False"):
        model.backward(Y, "no")
    with pytest.raises(TypeError, match="accumulate to be True or False"):
        model.backward(Y, accumulate=2)
    with pytest.raises(TypeError, match="training to be True or False"):
        model.forward(X, "yes")
    model.backward(Y)
    assert model.optimizer.step()


def test_an_optimizer_of_two_models() -> None:
    shared = optimizers.SGD(0.1)
    one, two = made("plain", shared), made("plain", shared)
    one.forward(X)
    one.backward(Y)
    assert shared.step()
    one.forward(X)
    one.backward(Y)
    two.forward(X)
    two.backward(Y)
    with pytest.raises(ValueError, match=r"SGD\.step: expected gradients of one model, got th"):
        shared.step()


def test_a_model_that_is_gone_waits_for_nothing() -> None:
    shared = optimizers.SGD(0.1)
    one = made("plain", shared)
    one.forward(X)
    one.backward(Y)
    del one
    gc.collect()
    with pytest.raises(ValueError, match="there are no gradients that wait"):
        shared.step()


def test_without_compile() -> None:
    utils.set_random_seed(0)
    model = keras.Sequential([layers.Dense(3, input_shape=(6,))])
    optimizer = optimizers.SGD(0.1)
    model.forward(X)
    model.backward(Y)
    before = model.get_weights()
    gradients = model.gradients
    optimizer.apply(list(gradients.values()), list(gradients))
    np.testing.assert_allclose(model.get_weights()[1], before[1] - 0.1 * Y.sum(axis=0), rtol=1e-5)
    model.optimizer = optimizer
    model.forward(X)
    model.backward(Y)
    assert optimizer.step()
    assert optimizer.iterations == 2


def test_built_by_the_first_batch() -> None:
    model = keras.Sequential([layers.Dense(3)])
    model.compile("sgd")
    assert model.forward(X).shape == (64, 3)
    assert model.built


@pytest.mark.parametrize("stack", ["deep", "normalized first"])
def test_what_is_not_finite_stops_the_step(stack: str) -> None:
    model = made(stack)
    step(model)
    model.forward(X)
    before = state(model)
    bad = Y.copy()
    bad[[3, 7], 1] = np.nan
    model.backward(bad)
    assert any(np.isnan(g).any() for g in model.gradients.values())
    with pytest.raises(keras.NonFiniteError, match=r"step 2: what backward was given, dy, is") as e:
        model.optimizer.step()
    assert (e.value.tensor, e.value.rows, e.value.step) == ("dy", (3, 7), 1)
    assert state(model) == before
    model.backward(Y)  # the weights are as they were
    assert model.optimizer.step()


def test_outputs_that_overflow_leave_moving_statistics_alone() -> None:
    utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, "exponential", name="grows"),
         layers.BatchNormalization(), layers.Dense(3)]
    )  # fmt: skip
    model.compile("sgd")
    model.forward(X)
    before = state(model)
    y = model.forward(1000.0 * X)
    assert not np.isfinite(y).all()
    assert state(model) == before
    model.backward(Y)
    with pytest.raises(keras.NonFiniteError, match="the output of grows is not finite") as caught:
        model.optimizer.step()
    assert (caught.value.tensor, caught.value.layer) == ("output", "grows")
    assert state(model) == before


def test_a_gradient_that_overflows_is_named() -> None:
    model = made("plain", "sgd")
    model.forward(X)
    model.backward(Y)
    model.gradients[model.layers[0].kernel][0, 0] = np.inf
    with pytest.raises(keras.NonFiniteError, match=r"the gradient of \S+/kernel is not finite"):
        model.optimizer.step()


def test_skip_leaves_steps_out() -> None:
    model = made("plain", on_nonfinite="skip")
    bad = np.full_like(Y, np.nan)
    before = state(model)
    for _ in range(9):
        model.forward(X)
        model.backward(bad)
        assert model.optimizer.step() is False
    assert model.skipped_steps == 9
    assert state(model)[: len(model.live_arrays)] == before[: len(model.live_arrays)]
    model.forward(X)
    model.backward(Y)
    assert model.optimizer.step() is True
    for _ in range(10):
        model.forward(X)
        model.backward(bad)
        try:
            model.optimizer.step()
        except keras.NonFiniteError:
            break
    else:
        pytest.fail("ten in a row were left out")


def test_an_exception_in_a_layer_ends_the_step() -> None:
    class Fails(layers.Layer):
        when = ""

        def call(self, inputs: F32) -> F32:
            if self.when == "call":
                raise KeyError("call")
            return inputs

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            if self.when == "back":
                raise KeyError("back")
            return dy

    layer = Fails()
    utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(3), layers.BatchNormalization(), layer]
    )
    model.compile("adam")
    step(model)
    before = state(model)
    layer.when = "call"
    with pytest.raises(KeyError, match="call"):
        model.forward(X)
    assert state(model) == before
    layer.when = ""
    model.forward(X)
    layer.when = "back"
    with pytest.raises(KeyError, match="back"):
        model.backward(Y)
    with pytest.raises(ValueError, match="no gradients that wait"):
        model.optimizer.step()
    layer.when = ""
    model.backward(Y)
    assert model.optimizer.step()


# Changes in between


def test_what_changes_is_seen() -> None:
    model = made("plain", "sgd")
    step(model)
    model.layers[0].trainable = False
    before = model.get_weights()
    step(model)
    assert list(model.gradients) == model.layers[1].trainable_variables
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    model.layers[0].trainable = True
    model.optimizer.clipvalue = 1e-6
    before = model.get_weights()
    step(model)
    model.compile(optimizers.SGD(0.5))
    step(model)
    model.add(layers.Dense(3))
    y = model.forward(X)
    model.backward(y)
    assert model.optimizer.step()
    assert len(model.gradients) == 6


def test_fit_goes_on_where_a_loop_stopped() -> None:
    def run(loop: bool) -> list[bytes]:
        model = made("deep", "adam", "mse")
        for turn in range(5):
            if loop and turn != 3:
                step(model, need_dx=False)
            else:
                model.train_on_batch(X[:32], Y[:32])
        return state(model)

    assert run(True) == run(False)


def test_other_threads_may_predict() -> None:
    model = made("deep")
    failed: list[BaseException] = []

    def predict() -> None:
        try:
            for _ in range(200):
                assert np.isfinite(model.predict(X)).all()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=predict)
    thread.start()
    for _ in range(200):
        step(model)
    thread.join()
    assert failed == []


def test_a_copy_starts_anew() -> None:
    model = made("plain")
    model.forward(X)
    model.backward(Y)
    optimizer = copy.deepcopy(model.optimizer)
    with pytest.raises(ValueError, match="no gradients that wait"):
        optimizer.step()
    loop = copy.deepcopy(model._loop)
    assert (loop.gone, loop.memory, loop.received) == (None, {}, ())


# Gradients of losses


@pytest.mark.parametrize("name", [n for n in losses.__all__ if n[0].isupper() and n != "Loss"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_value_and_gradient(name: str, reduction: str) -> None:
    loss = getattr(losses, name)(reduction=reduction)
    rng = np.random.default_rng(0)
    y_pred = (0.5 * rng.dirichlet(np.ones(4), 7) + 0.125).astype(np.float32)
    y_true: Any = rng.dirichlet(np.ones(4), 7)
    if loss.sparse:
        y_true = rng.integers(0, 4, 7)
    weight = rng.uniform(0.5, 2.0, 7)
    value, dy = loss.value_and_gradient(y_true, y_pred, weight)
    assert value == pytest.approx(float(loss(y_true, y_pred, weight)), rel=1e-6)
    h = 2.0**-9
    for index in ((0, 0), (3, 2), (6, 3)):
        ends = []
        for sign in (1.0, -1.0):
            moved = y_pred.copy()
            moved[index] += sign * h
            ends.append(float(loss.value_and_gradient(y_true, moved, weight)[0]))
        slope = (ends[0] - ends[1]) / (2.0 * h)
        assert dy[index] == pytest.approx(slope, rel=0.02, abs=2e-3 * max(1.0, abs(value)))


def test_value_and_gradient_needs_one_number() -> None:
    with pytest.raises(ValueError, match="expected a loss that is reduced to one number"):
        losses.Huber(reduction="none").value_and_gradient(Y, Y)
    with pytest.raises(ValueError, match="y_pred"):
        losses.Huber().value_and_gradient(Y, "nonsense" and Y[0])


# Target networks


def test_soft_update() -> None:
    source, target = made("deep"), made("deep")
    for _ in range(3):
        step(source)
    for tau in (0.25, 0.25, 0.01):
        before = [v.value.astype(np.float64) for v in target.variables]
        utils.soft_update(target, source, tau)
        for v, s, b in zip(target.variables, source.variables, before, strict=True):
            right = (1.0 - tau) * b + tau * s.value.astype(np.float64)
            np.testing.assert_allclose(v.value, right, rtol=1e-6, atol=1e-7)
    utils.soft_update(target, source, 1.0)
    for a, b in zip(target.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    before = state(target)
    utils.soft_update(target, source, 0)
    assert state(target) == before
    assert target.layers[2]._batches[0] > 1 << 30
    step(source)
    np.testing.assert_array_equal(target.get_weights()[0] == source.get_weights()[0], False)


def test_soft_update_leaves_padding_alone() -> None:
    source, target = made("plain"), made("plain")
    utils.soft_update(target, source, 0.5)
    y = target.predict(X)
    right = made("plain").predict(X)
    np.testing.assert_array_equal(y, right)


def test_soft_update_refuses() -> None:
    model, other = made("plain"), made("deep")
    with pytest.raises(ValueError, match="models with variables of the same shapes"):
        utils.soft_update(model, other, 0.5)
    with pytest.raises(ValueError, match="got one as target and source"):
        utils.soft_update(model, model, 0.5)
    with pytest.raises(ValueError, match="expected target to be built"):
        utils.soft_update(keras.Sequential([layers.Dense(3)]), model, 0.5)
    with pytest.raises(TypeError, match="expected source to be a Sequential"):
        utils.soft_update(model, layers.Dense(3), 0.5)  # type: ignore[arg-type]
    for tau in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="tau in"):
            utils.soft_update(model, made("plain"), tau)


@pytest.mark.parametrize("own_loop", [True, False])
def test_a_constraint_and_a_regularizer_put_in_place_of_others(own_loop: bool) -> None:
    class Slope(keras.regularizers.Regularizer):
        def __init__(self, slope: float) -> None:
            self.slope = slope

        def __call__(self, values: Any) -> float:
            return float(self.slope * np.sum(values))

        def gradient(self, values: Any) -> Any:
            return np.full_like(values, self.slope)

    one = [[1.0]]
    layer = layers.Dense(
        1, use_bias=False, kernel_initializer="zeros", input_shape=(1,),
        kernel_regularizer=Slope(1.0), kernel_constraint=lambda w: w + 1.0,
    )  # fmt: skip
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(1.0), "mae")
    kernel = layer.kernel
    assert kernel is not None

    def step() -> float:
        if own_loop:
            model.forward(one)
            model.backward([[0.0]])
            model.optimizer.step()
        else:
            model.train_on_batch(one, model.predict(one))
        return float(kernel.value[0, 0])

    assert step() == 0.0  # -1 of the penalty's slope, +1
    kernel.constraint = keras.constraints.get(lambda w: w + 3.0)
    assert step() == 2.0
    kernel.regularizer = Slope(5.0)
    assert step() == 0.0


@pytest.mark.parametrize("when", ["before backward", "before step"])
@pytest.mark.parametrize("what", ["layer", "variable"])
def test_what_is_frozen_in_the_middle_stays(what: str, when: str) -> None:
    model = keras.Sequential([layers.Dense(2, input_shape=(2,), name="a"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1))
    frozen = model.layers[0]
    assert isinstance(frozen, layers.Dense)
    kernel = frozen.kernel
    assert kernel is not None
    for _ in range(2):
        before, other = kernel.numpy(), model.layers[1].get_weights()[0]
        model.forward(np.ones((3, 2)))
        if when == "before step":
            model.backward(np.ones((3, 1)))
        if what == "layer":
            frozen.trainable = False
        else:
            kernel.trainable = False
        if when == "before backward":
            model.backward(np.ones((3, 1)))
        model.optimizer.step()
        np.testing.assert_array_equal(kernel.numpy(), before)
        assert (model.layers[1].get_weights()[0] != other).all()


def test_the_variable_named_is_the_one_whose_gradient_was_not_finite() -> None:
    model = keras.Sequential([layers.Dense(2, input_shape=(2,), name="a")])
    model.compile(keras.optimizers.SGD(0.1))
    model.forward(np.ones((3, 2)))
    model.backward(np.ones((3, 2)))
    dense = model.layers[0]
    assert isinstance(dense, layers.Dense)
    assert dense.kernel is not None
    assert dense.bias is not None
    dense.kernel.trainable = False
    model.gradients[dense.bias][...] = np.inf
    with pytest.raises(keras.NonFiniteError, match=r"a/bias"):
        model.optimizer.step()


def test_what_backward_was_given_is_blamed_though_another_forward_came_after() -> None:
    model = keras.Sequential([layers.Dense(2, input_shape=(2,), kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1))
    model.forward(np.ones((3, 2)))
    model.backward(np.full((3, 2), np.inf))
    model.forward(np.full((3, 2), 3e38))
    with pytest.raises(keras.NonFiniteError, match="what backward was given, dy, is not finite"):
        model.optimizer.step()


def test_ten_left_out_with_a_good_one_between() -> None:
    model = keras.Sequential([layers.Dense(1, input_shape=(1,))])
    model.compile(keras.optimizers.SGD(0.1), on_nonfinite="skip")

    def step(dy: float) -> bool:
        model.forward([[1.0]])
        model.backward([[dy]])
        done: bool = model.optimizer.step()
        return done

    for _ in range(2):
        assert [step(np.inf) for _ in range(9)] == [False] * 9
        assert step(1.0)
    for _ in range(9):
        step(np.inf)
    with pytest.raises(keras.NonFiniteError):
        step(np.inf)


def test_clipping_set_in_the_middle_of_a_loop() -> None:
    model = keras.Sequential([layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.build((None, 1))
    model.compile(keras.optimizers.SGD(1.0))

    def step() -> float:
        model.forward([[1.0]])
        model.backward([[4.0]])
        model.optimizer.step()
        return float(model.get_weights()[0][0, 0])

    assert step() == -4.0
    model.optimizer.clipnorm = 1.0
    assert step() == -5.0


def test_soft_update_of_models_with_a_common_layer() -> None:
    shared = layers.Dense(1, input_shape=(1,), name="shared")
    one, other = keras.Sequential([shared]), keras.Sequential([shared])
    with pytest.raises(ValueError, match=r"without common layers.*shared/kernel.*clone_model"):
        keras.utils.soft_update(one, other, 0.5)
