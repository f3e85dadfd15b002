"""History.health, and what NonFiniteError says of a step."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers
from evengrad.optimizers import SGD
from harness import F32, draws


def model(optimizer: Any, *stack: layers.Layer, **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [keras.Input((6,)), *(stack or (layers.Dense(8, "tanh"), layers.Dense(3)))]
    )
    made.compile(optimizer, "mse", **options)
    return made


def data(rows: int = 40) -> tuple[F32, F32]:
    x, y = draws(3, (rows, 6), (rows, 3))
    return x, y


# Health


class Norms(keras.callbacks.Callback):
    """Gradients after each step, as the program has left them; the update does not change them."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.steps: list[list[F32]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        gradients = self.model._step(self.batch, train=True).program.gradients
        self.steps.append([g.copy() for g in gradients.values()])


def norm(gradients: list[F32]) -> float:
    return float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients)))


ACTS: dict[str, tuple[dict[str, float], Callable[[list[F32]], bool]]] = {
    "none": ({}, lambda g: False),
    "clipvalue": ({"clipvalue": 0.5}, lambda g: max(np.abs(a).max() for a in g) > 0.5),
    "clipnorm": ({"clipnorm": 1.0}, lambda g: max(norm([a]) for a in g) > 1.0),
    "global_clipnorm": ({"global_clipnorm": 1.5}, lambda g: norm(g) > 1.5),
}


@pytest.mark.parametrize("name", ACTS)
def test_norms_and_clip_rates(name: str) -> None:
    arguments, acts = ACTS[name]
    x, y = data()
    made, seen = model(SGD(0.05, **arguments)), Norms(4)
    health = made.fit(x, y, 4, 3, 0, shuffle=False, callbacks=seen).health
    epochs = [seen.steps[i : i + 10] for i in (0, 10, 20)]
    norms = [np.mean([norm(g) for g in steps]) for steps in epochs]
    np.testing.assert_allclose(health["gradient_norm"], norms, rtol=1e-10)
    rates = [float(np.mean([acts(g) for g in steps])) for steps in epochs]
    np.testing.assert_allclose(health["clip_rate"], rates, rtol=1e-12)
    assert name == "none" or 0.0 < sum(rates) < 3.0, rates
    assert health["skipped_steps"] == [0, 0, 0]
    # The same where many steps are one replay.
    again = model(SGD(0.05, **arguments)).fit(x, y, 4, 3, 0, shuffle=False).health
    assert again == health


def test_skipped_steps_are_counted_apart() -> None:
    x, y = data()
    y[[4, 20, 21]] = 1e30
    made = model(SGD(0.05, clipnorm=1e-9), on_nonfinite="skip")
    history = made.fit(x, y, 4, 2, verbose=0, shuffle=False)
    assert history.health["skipped_steps"] == [2, 2]
    assert history.health["clip_rate"] == [1.0, 1.0]
    good = np.r_[0:4, 8:20, 24:40]
    right = model(SGD(0.05, clipnorm=1e-9)).fit(x[good], y[good], 4, 2, 0, shuffle=False)
    assert history.health["gradient_norm"] == right.health["gradient_norm"]


def test_only_skipped_steps() -> None:
    x, y = data(8)
    y[...] = 1e30
    health = model(SGD(), on_nonfinite="skip").fit(x, y, 4, verbose=0).health
    assert health == {"gradient_norm": [0.0], "clip_rate": [0.0], "skipped_steps": [2]}


def test_nothing_to_train() -> None:
    made = model(SGD())
    made.trainable = False
    health = made.fit(*data(8), verbose=0).health
    assert health == {"gradient_norm": [0.0], "clip_rate": [0.0], "skipped_steps": [0]}


def test_norms_are_those_before_clipping_and_with_penalties() -> None:
    x, y = data(8)
    free = model(SGD(0.0)).fit(x, y, 8, verbose=0).health["gradient_norm"]
    clipped = model(SGD(0.0, global_clipnorm=1e-3)).fit(x, y, 8, verbose=0).health["gradient_norm"]
    assert free == clipped
    penalized = model(SGD(0.0), layers.Dense(3, kernel_regularizer=keras.regularizers.L2(5.0)))
    assert penalized.fit(x, y, 8, verbose=0).health["gradient_norm"][0] > 5.0


# Non-finite numbers


def error_of(made: keras.Sequential, x: F32, y: Any, **options: Any) -> keras.NonFiniteError:
    before = [w.tobytes() for w in made.get_weights()]
    with pytest.raises(keras.NonFiniteError) as caught:
        made.fit(x, y, 4, verbose=0, shuffle=False, **options)
    if caught.value.step == 0:
        assert [w.tobytes() for w in made.get_weights()] == before
    assert "\n" not in str(caught.value)
    return caught.value


def change_at_epoch_1(change: Callable[[], None]) -> keras.callbacks.Callback:
    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                change()

    return Change()


def test_inputs_that_changed_are_named_with_their_rows() -> None:
    x, y = data()

    def change() -> None:
        x[9] = np.inf
        x[11, 2] = np.nan

    error = error_of(model(SGD()), x, y, epochs=3, callbacks=change_at_epoch_1(change))
    assert (error.epoch, error.step, error.tensor, error.layer) == (1, 2, "inputs", None)
    assert error.rows == (9, 11)
    assert "epoch 2, step 3: the loss is not finite, nor are the inputs in row 9, 11." in str(error)
    assert "the model is as before it" in str(error)


@pytest.mark.parametrize("tensor", ["targets", "weights"])
def test_targets_and_weights_that_changed(tensor: str) -> None:
    x, y = data()
    weight = np.ones(40, np.float32)
    changed = y if tensor == "targets" else weight

    def change() -> None:
        changed[13] = np.nan

    callback = change_at_epoch_1(change)
    error = error_of(model(SGD()), x, y, epochs=3, callbacks=callback, sample_weight=weight)
    assert (error.epoch, error.step, error.tensor, error.rows) == (1, 3, tensor, (13,))


def test_rows_are_those_of_the_data_when_shuffled() -> None:
    x, y = data()
    y[7] = 1e30
    with pytest.raises(keras.NonFiniteError):
        model(SGD()).fit(x, y, 4, verbose=0)
    x[7] = 3e38
    keras.utils.set_random_seed(5)
    with pytest.raises(keras.NonFiniteError) as caught:
        model(SGD(), layers.Dense(3, kernel_initializer="ones")).fit(x, y, 4, verbose=0)
    assert caught.value.rows == (7,)


def test_the_first_layer_whose_output_overflows_is_named() -> None:
    x, y = data()
    made = model(
        SGD(),
        layers.Dense(4, kernel_initializer="ones", name="wide"),
        layers.Dropout(0.25),
        layers.Dense(4, kernel_initializer="ones", name="tall"),
        layers.Dense(3, name="last"),
    )
    x[5:7] = 2e37  # 1.2e38 after the first, times 1/(1 - rate), too much after the second
    error = error_of(made, x, y)
    assert (error.step, error.tensor, error.layer) == (1, "output", "tall")
    assert set(error.rows) == {5, 6}
    assert "nor is the output of tall in row 5, 6." in str(error)
    x[5:7] = 3e38
    assert error_of(made, x, y).layer == "wide"


def test_samples_of_several_rows() -> None:
    x, y = draws(3, (8, 2, 6), (8, 2, 3))
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [keras.Input((2, 6)), layers.Dense(3, kernel_initializer="ones", name="d")]
    )
    made.compile(SGD(), "mse")
    x[6, 1] = 3e38
    error = error_of(made, x, y)
    assert (error.layer, error.rows) == ("d", (6,))


def test_a_loss_of_finite_outputs() -> None:
    x, y = data()
    y[2] = 1e30
    error = error_of(model(SGD()), x, y)
    assert (error.tensor, error.layer, error.rows) == ("loss", None, (2,))
    assert "step 1: the loss is not finite in row 2. The step was left out" in str(error)


def test_a_gradient_names_its_layer() -> None:
    x, y = data()
    weight = np.ones(40, np.float32)
    x[...], weight[...] = 1e38, 1e3
    made = model(SGD(), layers.Dense(3, kernel_initializer="zeros", name="d"))
    error = error_of(made, x, y, sample_weight=weight)
    assert (error.layer, error.rows) == ("d", ())
    assert error.tensor == made.layers[0].kernel.path
    assert f"the gradient of {error.tensor} is not finite" in str(error)


def test_a_learning_rate_that_is_too_large() -> None:
    x, y = data()
    made = model(SGD(3e38), layers.Dense(3, name="d"))
    error = error_of(made, x, y)
    assert error.layer == "d"
    assert f"the learning rate times the gradient of {error.tensor} is not finite" in str(error)


def test_the_search_leaves_random_numbers_and_statistics_alone() -> None:
    x, y = data()
    y[20] = 1e30
    stack = layers.Dense, layers.BatchNormalization, layers.Dropout, layers.Dense
    arguments: tuple[Any, ...] = (4,), (), (0.5,), (3,)

    def make() -> keras.Sequential:
        parts = [cls(*args) for cls, args in zip(stack, arguments, strict=True)]
        return model(keras.optimizers.Adam(), *parts)

    made = make()
    with pytest.raises(keras.NonFiniteError):
        made.fit(x, y, 4, verbose=0, shuffle=False)
    made.fit(x[20:] * 0.5, y[:20], 4, verbose=0, shuffle=False)
    right = make()
    right.fit(x[:20], y[:20], 4, verbose=0, shuffle=False)
    right.fit(x[20:] * 0.5, y[:20], 4, verbose=0, shuffle=False)
    for a, b in zip(made.get_weights(), right.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_the_error_can_be_pickled() -> None:
    error = keras.NonFiniteError("text", epoch=1, step=2, tensor="output", layer="d", rows=(3, 4))
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.epoch, twin.step, twin.tensor, twin.layer, twin.rows) == (
        1,
        2,
        "output",
        "d",
        (3, 4),
    )
