"""What watches a training: series of norms, looks at activations, dead units."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, optimizers
from evengrad._watch import POINTS, Watch
from evengrad.doctor.health import joined
from harness import F32, draws

L = layers


def bits(made: keras.Sequential) -> list[bytes]:
    return [w.tobytes() for w in made.get_weights()]


def data(rows: int = 40) -> tuple[F32, F32]:
    x, y = draws(3, (rows, 6), (rows, 3))
    return x, y


def model(optimizer: Any = "sgd", *stack: layers.Layer, **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    parts = stack or (L.Dense(8, "tanh"), L.BatchNormalization(), L.Dense(5), L.ReLU(), L.Dense(3))
    made = keras.Sequential([keras.Input((6,)), *parts])
    made.compile(optimizer, "mse", **options)
    return made


def norm(array: Any) -> float:
    return float(np.linalg.norm(np.asarray(array, np.float64)))


# -- norms of each step

RULES = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, global_clipnorm=0.5),
    "adam": lambda: optimizers.Adam(0.01, weight_decay=0.1),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "nadam": lambda: optimizers.Nadam(0.01),
    "adamax": lambda: optimizers.Adamax(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01, clipvalue=0.1),
    "adagrad": lambda: optimizers.Adagrad(0.1),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "lion": lambda: optimizers.Lion(0.01),
}


@pytest.mark.parametrize("name", RULES)
def test_norms_are_those_of_the_variables(name: str) -> None:
    x, y = data(12)
    made, twin = model(RULES[name]()), model(RULES[name]())
    wanted: dict[str, list[tuple[float, float, float]]] = {}
    losses = []
    for i in range(0, 12, 4):
        before = {v.path: v.numpy() for v in made.trainable_variables}
        out = twin.forward(x[i : i + 4])
        losses.append(float(np.mean((out.astype(np.float64) - y[i : i + 4]) ** 2)))
        twin.backward(2.0 * (out - y[i : i + 4]) / out.size)
        seen = {v: norm(g) for v, g in twin.gradients.items()}
        gradients = [seen[v] for v in twin.trainable_variables]
        twin.optimizer.step()
        made.train_on_batch(x[i : i + 4], y[i : i + 4])
        for v, gradient in zip(made.trainable_variables, gradients, strict=True):
            figures = gradient, norm(v.numpy()), norm(v.numpy() - before[v.path])
            wanted.setdefault(v.path, []).append(figures)
    health = made.watching.health({})
    assert health.steps.tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(health.loss, losses, rtol=1e-6)
    assert list(health.norms) == [v.path for v in made.trainable_variables]
    for path, series in health.norms.items():
        got = np.stack(series, axis=1)
        np.testing.assert_allclose(got, wanted[path], rtol=2e-5, atol=1e-7, err_msg=path)


def test_clipped_steps() -> None:
    x, y = data()
    made = model(optimizers.SGD(0.05, global_clipnorm=1.5))
    health = made.fit(x, y, 4, 3, verbose=0, shuffle=False).health
    np.testing.assert_allclose(health.clipped.reshape(3, 10).mean(axis=1), health["clip_rate"])
    assert 0.0 < health.clipped.mean() < 1.0
    assert set(health.clipped) == {0.0, 1.0}


def test_loss_is_that_of_each_batch() -> None:
    x, y = data(10)
    history = model().fit(x, y, 4, 2, verbose=0)
    means = history.health.loss.reshape(2, 3) @ np.array([4, 4, 2]) / 10
    np.testing.assert_allclose(means, history.history["loss"], rtol=1e-6)


def test_training_is_the_same_unwatched() -> None:
    x, y = data()
    histories, weights = [], []
    for watched in (True, False):
        made = model("adam", health=watched)
        histories.append(made.fit(x, y, 4, 3, verbose=0))
        weights.append(bits(made))
    assert weights[0] == weights[1]
    assert histories[0].history == histories[1].history
    assert histories[0].health == histories[1].health  # by epoch
    assert len(histories[1].health.steps) == 0
    assert histories[1].health.norms == {}


@pytest.mark.parametrize("rows", [3, 33, 200])
def test_figures_do_not_depend_on_the_number_of_threads(rows: int) -> None:
    def run(threads: int) -> Any:
        keras.set_num_threads(threads)
        made = model("adam", *[L.Dense(160, "elu") for _ in range(4)], L.Dense(3, "gelu"))
        return made.fit(*data(rows), rows, 1100, verbose=0).health

    before = keras.get_num_threads()
    try:
        one, two = run(1), run(2)
    finally:
        keras.set_num_threads(before)
    assert len(one.looks) > 1
    for a, b in ((one.norms, two.norms), (one.activity, two.activity)):
        for series, other in zip(a.values(), b.values(), strict=True):
            np.testing.assert_array_equal(np.stack(series), np.stack(other))


def test_accumulated_gradients_make_one_entry() -> None:
    x, y = data(8)
    whole, parts = (
        model(optimizers.SGD(0.1, gradient_accumulation_steps=steps), L.Dense(3))
        for steps in (None, 4)
    )
    one = whole.fit(x, y, 8, 2, verbose=0, shuffle=False).health
    other = parts.fit(x, y, 2, 2, verbose=0, shuffle=False).health
    assert other.steps.tolist() == [1.0, 2.0]
    for path, rest in zip(one.norms, other.norms.values(), strict=True):
        np.testing.assert_allclose(np.stack(one.norms[path]), np.stack(rest), rtol=1e-5)


class Signs(optimizers.Optimizer):
    def update_step(self, gradient: F32, variable: Any, learning_rate: float) -> None:
        variable.value[...] -= learning_rate * np.sign(gradient)


def test_no_update_is_seen_of_an_optimizer_in_python() -> None:
    health = model(Signs(0.01)).fit(*data(), verbose=0).health
    for gradient, weight, update in health.norms.values():
        assert np.isfinite(gradient).all()
        assert np.isnan(weight).all()
        assert np.isnan(update).all()


def test_steps_that_are_left_out_are_not_seen() -> None:
    x, y = data()
    y[4] = 1e30
    made = model(optimizers.SGD(0.05, clipnorm=1e-9), on_nonfinite="skip")
    health = made.fit(x, y, 4, 2, verbose=0, shuffle=False).health
    assert health["skipped_steps"] == [1, 1]
    assert health.steps[-1] == 18.0


# -- series of bounded length


def test_neighbours_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(8)
    long = model().fit(x, y, 4, 50, verbose=0).health
    monkeypatch.setattr("evengrad._watch.POINTS", 16)
    short = model().fit(x, y, 4, 50, verbose=0).health
    each = 8  # 100 steps in at most 16 rows
    assert short.steps.tolist() == [*range(each, 100, each), 100.0]
    means = [long.loss[i : i + each].mean() for i in range(0, 100, each)]
    np.testing.assert_allclose(short.loss, means, rtol=1e-12)
    for of_long, of_short in zip(long.norms.values(), short.norms.values(), strict=True):
        means = [of_long.gradient[i : i + each].mean() for i in range(0, 100, each)]
        np.testing.assert_allclose(of_short.gradient, means, rtol=1e-12)


def test_there_are_at_most_4096_points() -> None:
    x, y = data(8)
    made = model("sgd", L.Dense(3))
    health = made.fit(x, y, 2, 1100, verbose=0).health
    assert POINTS == 4096
    assert len(health.steps) == 2200
    assert health.steps[-1] == 4400.0
    np.testing.assert_allclose(
        np.diff(health.steps, prepend=0) @ health.loss / 4400,
        np.mean(made.history.history["loss"]),
        rtol=1e-6,
    )


def test_what_several_watches_saw_is_joined_and_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evengrad.doctor.health.POINTS", 8)
    x, y = data(8)
    made = model()
    made.fit(x, y, 4, 5, verbose=0)
    figures = [watch.figures() for watch in made.watching._watches]
    health = joined([figures[0], figures[0]], {}, {}, {})
    assert len(health.steps) == 7  # of 20, three of them make one
    assert health.steps[-1] == 20.0
    losses = np.tile(figures[0].steps[:, 0], 2)
    np.testing.assert_allclose(health.loss[0], losses[:3].mean())
    np.testing.assert_allclose(health.loss[-1], losses[18:].mean())


# -- structure that changes, other trainings


class Freeze(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.layers[0].trainable = epoch % 2 == 0


def test_layers_that_are_frozen_for_a_while() -> None:
    made = model()
    health = made.fit(*data(8), 4, 4, verbose=0, callbacks=Freeze()).health
    assert health.steps.tolist() == [*range(1, 9)]
    kernel = health.norms[made.layers[0].kernel.path].gradient
    assert np.isfinite(kernel).tolist() == [True, True, False, False] * 2
    assert np.isfinite(health.norms[made.layers[2].kernel.path].gradient).all()


def test_each_history_keeps_its_own() -> None:
    x, y = data(8)
    made = model()
    first = made.fit(x, y, 4, 2, verbose=0)
    seen = first.health.loss.copy()
    second = made.fit(x, y, 4, 3, verbose=0)
    np.testing.assert_array_equal(first.health.loss, seen)
    assert len(first.health.steps) == 4
    assert len(second.health.steps) == 6
    for again in (pickle.loads(pickle.dumps(second)), copy.deepcopy(second)):
        np.testing.assert_array_equal(again.health.loss, second.health.loss)
        assert again.health == second.health
    del made
    assert len(second.health.steps) == 6


def test_memory_does_not_grow_with_structures() -> None:
    x, y = data(8)
    made = model()
    for i in range(12):
        made.layers[0].trainable = i % 2 == 0
        made.compile("sgd", "mse")
        made.train_on_batch(x, y)
    assert len(made.watching._watches) <= made.watching.most
    assert made.watching.health({}).steps[-1] == 12.0


class Batch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.train_on_batch(*data(3))


def test_steps_of_callbacks_are_not_those_of_fit() -> None:
    health = model().fit(*data(8), 4, 2, verbose=0, callbacks=Batch()).health
    assert health.steps.tolist() == [1.0, 2.0, 3.0, 4.0]


# -- looks at activations


def look(*stack: layers.Layer, rows: int = 20, epochs: int = 1) -> tuple[Any, Any, F32]:
    """Figures of one step whose learning rate is 0, the model and its inputs."""
    made = model(optimizers.SGD(0.0), *stack)
    x, y = data(rows)
    y = np.zeros((rows, *made.sample_output_shape()), np.float32) if stack else y
    return made.fit(x, y, rows, epochs, verbose=0, shuffle=False).health, made, x


def check(seen: Any, y: F32, slopes: Any, largest: float) -> None:
    y64, slopes = y.astype(np.float64), np.broadcast_to(np.abs(slopes), y.shape)
    flat = slopes < 0.01 * largest
    wanted = y64.mean(), y64.std(), (y == 0.0).mean(), flat.mean()
    np.testing.assert_allclose([s[0] for s in seen], wanted, rtol=1e-5, atol=1e-7)


def test_looks_at_each_kind_of_activation() -> None:
    stack = (
        L.Dense(40, "relu"), L.Dense(33), L.Activation("tanh"), L.Dense(50, "sigmoid"),
        L.Dense(30, "gelu"), L.ReLU(0.5, negative_slope=0.25), L.Dense(17),
    )  # fmt: skip
    health, made, x = look(*stack)
    names = [made.layers[i].name for i in (0, 2, 3, 4, 5, 6)]
    assert list(health.activity) == names
    assert health.looks.tolist() == [1.0]
    outputs = {}
    for layer in made.layers:
        x = outputs[layer.name] = layer(x)
    relu, tanh, sigmoid, _, bounded, linear = (outputs[name] for name in names)
    check(health.activity[names[0]], relu, relu > 0, 1.0)
    check(health.activity[names[1]], tanh, 1.0 - tanh.astype(np.float64) ** 2, 1.0)
    s = sigmoid.astype(np.float64)
    check(health.activity[names[2]], sigmoid, s * (1.0 - s), 0.25)
    assert health.activity[names[3]].saturated[0] < 0.2
    check(health.activity[names[4]], bounded, np.where(bounded >= 0.5, 0.0, 1.0), 1.0)
    check(health.activity[names[5]], linear, np.ones(linear.shape), 1.0)


def test_means_far_from_zero() -> None:
    far = keras.initializers.Constant(1e4)
    made = model(optimizers.SGD(0.0), L.Dense(64, bias_initializer=far, name="far"))
    x, _ = data(20)
    seen = made.fit(x, np.zeros((20, 64)), 20, verbose=0).health.activity["far"]
    y = made.predict(x, verbose=0).astype(np.float64)
    np.testing.assert_allclose(seen.mean, y.mean(), rtol=1e-7)
    np.testing.assert_allclose(seen.spread, y.std(), rtol=1e-4)


def test_outputs_that_are_gone_are_not_looked_at() -> None:
    health, _, _ = look(
        L.Dense(8, name="kept"), L.BatchNormalization(), L.ELU(name="elu"), L.Dropout(0.5),
        L.Dense(4), L.GaussianDropout(0.5), L.Reshape((2, 2)),
    )  # fmt: skip
    assert list(health.activity) == ["kept", "elu"]


def test_parts_inside_have_names() -> None:
    inner = keras.Sequential([L.Dense(6, "relu", name="same")], name="inner")
    block = L.Residual([L.Dense(6, "tanh", name="within"), L.Dense(6)], name="block")
    health, _, _ = look(inner, block, L.Dense(6, "relu", name="same"))
    assert set(health.activity) >= {"within", "block"}
    assert sum(name.endswith("same") for name in health.activity) == 2


def test_samples_of_many_rows() -> None:
    made = model(optimizers.SGD(0.0), L.Reshape((2, 3)), L.Dense(5, "relu", name="rows"))
    x, _ = data(10)
    seen = made.fit(x, np.zeros((10, 2, 5)), 10, verbose=0).health.activity["rows"]
    y = made.predict(x, verbose=0).reshape(20, 5)
    np.testing.assert_allclose(seen.zeros, (y == 0.0).mean())


def test_looks_are_seldom_and_counted_from_the_first_step() -> None:
    made = model()
    made.fit(*data(40), 4, 40, verbose=0)
    pause = made.watching._watches[0].pause
    health = made.fit(*data(40), 4, 40, verbose=0).health
    assert pause >= 8
    assert health.looks.tolist() == [*range(1, 401, pause)]


def test_dead_units() -> None:
    bias = np.array([0.0, -100.0, 0.0, -100.0, 0.0], np.float32)
    stack = L.Dense(5, "relu", name="half"), L.Dense(3, "tanh", name="other")
    made = model(optimizers.SGD(0.0), *stack)
    made.layers[0].bias.assign(bias)
    health = made.fit(*data(), 4, 40, verbose=0).health
    assert health.dead["half"] == [2] * 40
    assert health.dead_units["half"].tolist() == [1, 3]
    assert health.dead["other"] == [0] * 40


@pytest.mark.parametrize(("first", "then"), [(-100.0, 100.0), (100.0, -100.0)])
def test_units_that_come_to_life_or_die_later(first: float, then: float) -> None:
    class Move(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.layers[0].bias.assign(np.full(5, then if epoch >= 3 else first))

    made = model(optimizers.SGD(0.0), L.Dense(5, "relu", name="first"), L.Dense(3))
    watch = made._step(40, train=True).watch
    assert isinstance(watch, Watch)
    x, y = data(4 * watch.pause)
    health = made.fit(x, y, 4, 6, verbose=0, callbacks=Move()).health
    dead = [5 if bias < 0.0 else 0 for bias in (first, then)]
    assert health.dead["first"] == [dead[0]] * 3 + [dead[1]] * 3
    assert health.dead_units["first"].tolist() == list(range(dead[1]))


def test_health_prints_the_last_figures(capsys: pytest.CaptureFixture[str]) -> None:
    made = model("adam", L.Dense(8, "relu", name="hidden"), L.Dense(3, name="out"))
    made.health()
    assert capsys.readouterr().out == "No step of a training has been watched yet.\n"
    x, y = data()
    made.fit(x, y, 4, verbose=0)
    health = made.watching.health({})
    made.health()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Step 10: loss {health.loss[-1]:.4g}; norms:"
    path, *figures = lines[2].split()
    assert path.endswith("/hidden/kernel")
    gradient, weight, update = (float(s[-1]) for s in health.norms[path])
    wanted = [gradient, weight, update, update / weight]
    np.testing.assert_allclose([float(f) for f in figures], wanted, rtol=5e-3)
    assert lines[-2].split()[0] == "hidden"
    assert len(lines[-2].split()) == 6
    assert lines[-1].split()[0] == "out"
