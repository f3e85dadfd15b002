"""Optimizers as objects: arguments, learning rates, state, accumulation, averages, use by hand."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import layers, optimizers
from evengrad.optimizers import schedules
from harness import F32, draws, number_of_threads

CLASSES = ["SGD", "Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Lion"]
each = pytest.mark.parametrize("name", CLASSES)
# Arguments with slots for all of an optimizer's state.
FULL: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "RMSprop": {"momentum": 0.5, "centered": True},
}
SHARED: dict[str, Any] = {
    "weight_decay": 0.01, "clipnorm": 0.5, "use_ema": True, "ema_momentum": 0.8,
    "ema_overwrite_frequency": 5, "gradient_accumulation_steps": 3,
}  # fmt: skip


def make(kind: str, *given: Any, **more: Any) -> Any:
    return getattr(optimizers, kind)(*given, **FULL.get(kind, {}) | more)


def model(optimizer: Any, **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [keras.Input((3,)), layers.Dense(5, "tanh"), layers.BatchNormalization(), layers.Dense(2)]
    )
    made.compile(optimizer, "mse", **options)
    return made


def data(n: int) -> tuple[F32, F32]:
    x, y = draws(7, (n, 3), (n, 2))
    return x, y


def everything(made: keras.Sequential) -> list[bytes]:
    return [v.storage.tobytes() for v in (*made.variables, *made.optimizer.variables)]


# Arguments


@each
def test_configuration(name: str) -> None:
    optimizer = make(name, 0.5, name="mine", **SHARED)
    config = optimizer.get_config()
    assert SHARED.items() <= config.items()
    for back in (
        type(optimizer).from_config(config),
        optimizers.deserialize(optimizers.serialize(optimizer)),
        optimizers.get({"class_name": name.lower(), "config": config}),
        copy.deepcopy(optimizer),
        pickle.loads(pickle.dumps(optimizer)),
    ):
        assert type(back) is type(optimizer)
        assert back.get_config() == config
        assert repr(back) == repr(optimizer)


@each
def test_by_name(name: str) -> None:
    for text in (name, name.lower(), name.upper()):
        assert type(optimizers.get(text)) is getattr(optimizers, name)
    optimizer = make(name)
    assert optimizers.get(optimizer) is optimizer


def test_unknown_names() -> None:
    for bad in ("adamz", {"class_name": "adamz", "config": {}}, None, 3):
        with pytest.raises(ValueError, match=r"optimizer: expected one of sgd, adam, .*, got "):
            optimizers.get(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an Optimizer"):
        optimizers.serialize("sgd")  # type: ignore[arg-type]


@each
def test_a_schedule_is_saved_with_its_optimizer(name: str) -> None:
    optimizer = make(name, schedules.CosineDecay(0.1, 10, warmup_target=0.2, warmup_steps=3))
    saved = optimizers.serialize(optimizer)
    assert saved["config"]["learning_rate"]["class_name"] == "CosineDecay"
    back = optimizers.deserialize(saved)
    assert optimizers.serialize(back) == saved
    assert back.rates(20).tolist() == optimizer.rates(20).tolist()
    assert "learning_rate=CosineDecay(" in repr(back)


class OwnRate(schedules.LearningRateSchedule):
    def __call__(self, step: int) -> float:
        return 0.1 / (step + 1)

    def get_config(self) -> dict[str, Any]:
        return {}


class OwnOptimizer(optimizers.SGD):
    pass


def test_custom_objects() -> None:
    saved = optimizers.serialize(OwnOptimizer(OwnRate()))
    own: dict[str, type[Any]] = {"OwnRate": OwnRate, "OwnOptimizer": OwnOptimizer}
    back = optimizers.deserialize(saved, own)
    assert type(back) is OwnOptimizer
    assert back.learning_rate == 0.1
    with pytest.raises(ValueError, match="got 'OwnOptimizer'"):
        optimizers.deserialize(saved)


ADAMS = ["Adam", "AdamW", "Nadam", "Adamax"]
WITH_EPSILON = [*ADAMS, "RMSprop", "Adagrad", "Adadelta"]
BAD: list[tuple[str, str, list[Any]]] = [
    *((name, "weight_decay", [-0.1, np.nan, np.inf]) for name in CLASSES),
    *((name, "learning_rate", [-0.1, np.nan, np.inf]) for name in CLASSES),
    *((name, "ema_momentum", [-0.1, 1.1, np.nan]) for name in CLASSES),
    *((name, "beta_1", [-0.1, 1.0]) for name in ADAMS),
    *((name, "beta_2", [-0.1, 1.0]) for name in ADAMS),
    *((name, "epsilon", [0.0, 1e-50, -1.0, np.inf, 1e39]) for name in WITH_EPSILON),
    ("SGD", "momentum", [-0.1, 1.1]),
    ("RMSprop", "momentum", [-0.1, 1.1]),
    ("RMSprop", "rho", [-0.1, 1.0]),
    ("Adadelta", "rho", [-0.1, 1.0]),
    ("Adagrad", "initial_accumulator_value", [-0.1, np.inf]),
    ("Lion", "beta_1", [0.0, 1.1]),
    ("Lion", "beta_2", [-0.1, 1.1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "argument", "values"), BAD)
def test_bad_arguments(name: str, argument: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=f"^{name}: expected {argument} in "):
            getattr(optimizers, name)(**{argument: value})
    for value in ("0.1", [0.1], True):
        with pytest.raises(TypeError, match=f"^{name}: expected {argument} to be a number"):
            getattr(optimizers, name)(**{argument: value})


@each
def test_bad_shared_arguments(name: str) -> None:
    cls = getattr(optimizers, name)
    for one, other in (("clipnorm", "clipvalue"), ("clipvalue", "global_clipnorm")):
        with pytest.raises(ValueError, match=f"^{name}: expected one of {one} and {other}"):
            cls(**{one: 1.0, other: 1.0})
    for argument, least in (("gradient_accumulation_steps", 2), ("ema_overwrite_frequency", 1)):
        with pytest.raises(
            ValueError, match=f"^{name}: expected {argument} to be at least {least}"
        ):
            cls(**{argument: least - 1})
        with pytest.raises(TypeError, match=f"^{name}: expected {argument} to be an integer"):
            cls(**{argument: 2.5})
    with pytest.raises(ValueError, match=f"^{name}: expected loss_scale_factor to be None, got 2"):
        cls(loss_scale_factor=2.0)
    with pytest.raises(TypeError, match=f"^{name}: expected use_ema to be True or False"):
        cls(use_ema="yes")
    with pytest.raises(TypeError, match="decay"):
        cls(decay=0.1)


def test_adamw_has_a_decay() -> None:
    assert optimizers.AdamW().weight_decay == 0.004
    with pytest.raises(ValueError, match=r"^AdamW: expected weight_decay, got None; use Adam"):
        optimizers.AdamW(weight_decay=None)  # type: ignore[arg-type]


# Learning rates


def test_the_learning_rate_is_that_of_the_next_step() -> None:
    x, y = data(8)
    calls = []
    for rate in (
        lambda step: 0.5 / (step + 1),
        lambda: 0.5 / (len(calls) + 1),
        schedules.InverseTimeDecay(0.5, 1, 1.0),
        OwnRate(),
    ):
        made = model(optimizers.SGD(rate))
        calls.clear()
        first = made.optimizer.learning_rate
        for i in range(3):
            assert made.optimizer.learning_rate == pytest.approx(first / (i + 1))
            made.train_on_batch(x, y)
            calls.append(i)
    assert optimizers.SGD(0.3).learning_rate == 0.3


@pytest.mark.parametrize("steps", [None, 3])
def test_a_schedule_gives_the_bits_of_its_rates(steps: int | None) -> None:
    """It counts the steps that only accumulate, as Keras' does."""
    schedule = schedules.ExponentialDecay(0.1, 4, 0.5)
    x, y = data(40)
    more = {"gradient_accumulation_steps": steps}
    made = model(optimizers.Adam(schedule, **more))
    made.fit(x, y, 8, epochs=3, shuffle=False, verbose=0)
    hand = model(optimizers.Adam(0.0, **more))
    for step in range(15):
        hand.optimizer.learning_rate = schedule(step)
        begin = step % 5 * 8
        hand.train_on_batch(x[begin : begin + 8], y[begin : begin + 8])
    for a, b in zip(made.variables, hand.variables, strict=True):
        assert a.storage.tobytes() == b.storage.tobytes()


def test_a_number_does_not_replace_a_schedule() -> None:
    optimizer = optimizers.SGD(schedules.CosineDecay(0.1, 10))
    with pytest.raises(TypeError, match="SGD: its learning_rate is CosineDecay, which a number"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = schedules.CosineDecay(0.2, 10)
    assert optimizer.learning_rate == 0.2
    optimizer = optimizers.SGD(lambda: 0.1)
    optimizer.learning_rate = 0.2
    assert optimizer.learning_rate == 0.2
    for bad in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected learning_rate in"):
            optimizer.learning_rate = bad
    assert optimizer.learning_rate == 0.2


def test_a_schedule_that_ends() -> None:
    made = model(optimizers.SGD(schedules.CosineDecayRestarts(0.1, 2, t_mul=0.5)))
    x, y = data(8)
    with pytest.raises(ValueError, match=r"SGD's schedule: expected its value in .*, got nan"):
        made.fit(x, y, 1, verbose=0)


# State


@each
def test_state(name: str) -> None:
    made = model(make(name, 0.01, **SHARED))
    optimizer = made.optimizer
    assert [v.name for v in optimizer.variables] == ["iteration", "learning_rate"]
    assert not optimizer.built
    made.fit(*data(56), 8, verbose=0)
    assert optimizer.built
    variables = made.trainable_variables
    assert (optimizer.iterations, optimizer.variables[0].numpy()) == (2, 7)
    paths = [v.path.replace("/", "_") for v in variables]
    names = [v.name for v in optimizer.variables[2:]]
    assert names[: 2 * len(paths)] == [
        *(f"{path}_average" for path in paths),
        *(f"{path}_gradient_accumulator" for path in paths),
    ]
    for slot in optimizer.variables[2:]:
        (owner,) = [v for v in variables if slot.name.startswith(v.path.replace("/", "_") + "_")]
        assert slot.shape == owner.shape
        assert slot.path == f"{optimizer.name}/{slot.name}"
        assert not slot.trainable
    assert optimizer.count_params() == sum(v.size for v in optimizer.variables)


@each
def test_a_copy_goes_on_as_the_original(name: str) -> None:
    made = model(make(name, 0.01, **SHARED))
    x, y = data(56)
    made.fit(x, y, 8, shuffle=False, verbose=0)
    weights, copied = made.get_weights(), copy.deepcopy((made.layers, made.optimizer))
    state = [np.array(v.value) for v in made.optimizer.variables]
    made.fit(x, y, 8, shuffle=False, verbose=0)

    again = model(make(name, 0.01, **SHARED))
    again.optimizer.build(again.trainable_variables)
    again.set_weights(weights)
    for variable, value in zip(again.optimizer.variables, state, strict=True):
        variable.assign(value)
    plain = [layer._batches for layer in again.layers if hasattr(layer, "_batches")]
    for count, source in zip(plain, copied[0][1:2], strict=True):
        count[...] = source._batches
    again.fit(x, y, 8, shuffle=False, verbose=0)
    for a, b in zip(made.optimizer.variables, again.optimizer.variables, strict=True):
        assert a.storage.tobytes() == b.storage.tobytes(), a.name


def test_build_twice_and_for_more() -> None:
    one, two = keras.Variable(np.ones((2, 3)), path="a"), keras.Variable(np.ones(3), path="b")
    optimizer = optimizers.Adam()
    optimizer.build([one])
    kept = optimizer.variables[2]
    optimizer.build([one, two])
    assert [v.name for v in optimizer.variables[2:]] == [
        "a_momentum", "a_velocity", "b_momentum", "b_velocity",
    ]  # fmt: skip
    assert optimizer.variables[2] is kept


def test_the_count_of_steps() -> None:
    optimizer = optimizers.SGD(gradient_accumulation_steps=3)
    count = optimizer.variables[0]
    count.assign(8)
    assert (optimizer.iterations, optimizer.counter[0], int(np.asarray(count))) == (2, 8, 8)
    optimizer.iterations = 5
    assert optimizer.counter[0] == 15
    for bad in (-1, 1.5):
        with pytest.raises((ValueError, TypeError), match="iteration: expected value to be"):
            count.assign(bad)


# Weight decay


def test_excluded_from_weight_decay() -> None:
    optimizer = optimizers.SGD(0.1, weight_decay=0.5)
    a, b, c = (keras.Variable(np.ones(3), name=name, path=name) for name in ("kernel", "bias", "x"))
    optimizer.exclude_from_weight_decay(var_list=[c], var_names=["bi", "gamma"])
    optimizer.apply([np.zeros(3)] * 3, [a, b, c])
    np.testing.assert_allclose(a.numpy(), 0.95, rtol=1e-6)
    assert (b.numpy() == 1.0).all()
    assert (c.numpy() == 1.0).all()
    who = "SGD.exclude_from_weight_decay: expected"
    with pytest.raises(ValueError, match=f"{who} it to be called before the first step"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])
    with pytest.raises(TypeError, match=f"{who} var_names to be a list, got 'bias'"):
        optimizers.SGD().exclude_from_weight_decay(var_names="bias")
    with pytest.raises(ValueError, match=f"{who} regular expressions, got \\("):
        optimizers.SGD().exclude_from_weight_decay(var_names=["("])


def test_weight_decay_may_be_changed() -> None:
    made = model(optimizers.SGD(0.0, weight_decay=1.0))
    x, y = data(8)
    before = made.get_weights()[0]
    made.optimizer.learning_rate = 0.5
    made.optimizer.weight_decay = None
    made.train_on_batch(x, 0 * y)
    plain = made.get_weights()[0]
    made = model(optimizers.SGD(0.5, weight_decay=1.0))
    made.train_on_batch(x, 0 * y)
    np.testing.assert_allclose(made.get_weights()[0] - plain, -0.5 * before, rtol=1e-5, atol=1e-7)


# Accumulation


def linear(optimizer: Any, **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    made.compile(optimizer, "mse", **options)
    return made


@each
def test_accumulated_batches_are_as_one(name: str) -> None:
    x, y = data(96)
    one = linear(make(name, 0.01, clipnorm=0.2, weight_decay=0.1))
    many = linear(make(name, 0.01, clipnorm=0.2, weight_decay=0.1, gradient_accumulation_steps=4))
    one.fit(x, y, 32, shuffle=False, verbose=0)
    many.fit(x, y, 8, shuffle=False, verbose=0)
    assert one.optimizer.iterations == many.optimizer.iterations == 3
    for a, b in zip(one.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_part_stays_for_the_next_fit() -> None:
    x, y = data(80)
    options: dict[str, Any] = {"batch_size": 8, "shuffle": False, "verbose": 0}
    one, two = (model(optimizers.Adam(0.01, gradient_accumulation_steps=4)) for _ in range(2))
    one.fit(x, y, **options)
    two.fit(x[:24], y[:24], **options)
    assert two.optimizer.iterations == 0
    two.train_on_batch(x[24:32], y[24:32])
    assert two.optimizer.iterations == 1
    two.evaluate(x, y, verbose=0)
    two.fit(x[32:72], y[32:72], **options)
    two.fit(x[72:], y[72:], **options)
    assert everything(one) == everything(two)


def test_statistics_move_at_each_step() -> None:
    x, y = data(8)
    one, two = model(optimizers.SGD(0.0)), model(optimizers.SGD(0.0, gradient_accumulation_steps=4))
    before = one.get_weights()
    for made in (one, two):
        made.train_on_batch(x, y)
    for a, b, c in zip(one.get_weights(), two.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.tobytes() == c.tobytes() or a.shape == (5,)
    assert one.get_weights()[-4].tobytes() != before[-4].tobytes()


HUGE = np.float32(3e38)


@pytest.mark.parametrize("more", [{}, SHARED])
def test_a_skipped_step_leaves_sums_and_averages(more: dict[str, Any]) -> None:
    x, y = data(96)
    bad = y.copy()
    bad[8:16] = bad[40:48] = HUGE
    good = np.r_[0:8, 16:40, 48:96]
    one, two = (model(optimizers.Adam(0.01, **more), on_nonfinite="skip") for _ in range(2))
    one.fit(x, bad, 8, shuffle=False, verbose=0)
    two.fit(x[good], y[good], 8, shuffle=False, verbose=0)
    assert one.skipped_steps == 2
    assert everything(one) == everything(two)


# Averages


def test_fit_ends_with_the_averages() -> None:
    made = linear(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    plain = linear(optimizers.SGD(0.1))
    x, y = data(24)
    weights = []
    for i in range(3):
        plain.train_on_batch(x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8])
        weights.append(reference.f64(plain.get_weights()[0]))
    made.fit(x, y, 8, shuffle=False, verbose=0)
    expected = 0.25 * weights[0] + 0.25 * weights[1] + 0.5 * weights[2]
    np.testing.assert_allclose(made.get_weights()[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(made.optimizer.variables[2].numpy(), made.get_weights()[0])


def test_train_on_batch_leaves_the_variables() -> None:
    made, plain = (linear(optimizers.SGD(0.1, use_ema=ema)) for ema in (True, False))
    x, y = data(8)
    for _ in range(3):
        made.train_on_batch(x, y)
        plain.train_on_batch(x, y)
    assert made.get_weights()[0].tobytes() == plain.get_weights()[0].tobytes()
    made.optimizer.finalize_variable_values(made.trainable_variables)
    assert made.get_weights()[0].tobytes() != plain.get_weights()[0].tobytes()


def test_the_model_is_as_before_a_failed_step() -> None:
    """Also where that ends fit, which would else end with the averages."""
    x, y = data(32)
    x[16:24] = HUGE
    one, two = (linear(optimizers.SGD(0.1, use_ema=True)) for _ in range(2))
    with pytest.raises(keras.NonFiniteError):
        one.fit(x, y, 8, shuffle=False, verbose=0)
    for i in range(2):
        two.train_on_batch(x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8])
    assert everything(one) == everything(two)


def test_no_averages_no_change() -> None:
    made = linear(optimizers.SGD(0.1, use_ema=True))
    made.optimizer.build(made.trainable_variables)
    made.set_weights([w + 1.0 for w in made.get_weights()])
    before = made.get_weights()[0]
    made.optimizer.finalize_variable_values(made.trainable_variables)
    x, y = data(8)
    made.fit(x, y, epochs=0, verbose=0)
    with pytest.raises(keras.NonFiniteError):
        made.fit(np.full_like(x, HUGE), y, verbose=0)
    made.fit(x, y, epochs=1, initial_epoch=1, verbose=0)
    np.testing.assert_array_equal(made.get_weights()[0], before)


def test_a_layer_unfrozen_later_starts_from_itself() -> None:
    made = model(optimizers.SGD(0.0, use_ema=True))  # an average begun at 0 would be .02 of it
    x, y = data(16)
    made.layers[0].trainable = False
    made.fit(x, y, 8, verbose=0)
    made.layers[0].trainable = True
    before = made.get_weights()[0]
    made.fit(x, y, 8, verbose=0)
    np.testing.assert_allclose(made.get_weights()[0], before, rtol=1e-6)


def test_callbacks_at_the_end_see_the_averages() -> None:
    made, seen = linear(optimizers.SGD(0.1, use_ema=True)), []

    class Look(keras.callbacks.Callback):
        def on_train_end(self, logs: Any = None) -> None:
            seen.append(self.model.get_weights()[0])

    made.fit(*data(16), 8, verbose=0, callbacks=[Look()])
    np.testing.assert_array_equal(seen[0], made.get_weights()[0])


@each
def test_threads(name: str) -> None:
    x, y = draws(3, (96, 64), (96, 200))

    def trained(threads: int) -> list[bytes]:
        keras.utils.set_random_seed(0)
        made = keras.Sequential([keras.Input((64,)), layers.Dense(200, "relu"), layers.Dense(200)])
        made.compile(make(name, 0.01, **SHARED), "mse")
        with number_of_threads(threads):
            made.fit(x, y, 16, epochs=2, shuffle=False, verbose=0)
        return everything(made)

    assert trained(1) == trained(2)


# By hand


@each
@pytest.mark.parametrize("more", [{}, SHARED])
def test_by_hand_the_bits_of_training(name: str, more: dict[str, Any]) -> None:
    x, y = data(8)
    made, source = linear(make(name, 0.01, **more)), linear(optimizers.SGD(0.0))
    own = make(name, 0.01, **more)
    variables = [keras.Variable(w) for w in made.get_weights()]
    for _ in range(7):
        source.set_weights(made.get_weights())
        source.train_on_batch(x, y)
        gradients = source._step(8, train=True).program.gradients
        own.apply([gradients[v] for v in source.trainable_variables], variables)
        made.train_on_batch(x, y)
    for a, b in zip(made.trainable_variables, variables, strict=True):
        assert a.storage.tobytes() == b.storage.tobytes()


def test_apply_without_variables() -> None:
    optimizer = optimizers.SGD(0.5)
    one, two = keras.Variable(np.ones((2, 3))), keras.Variable(np.ones(3))
    gradients = [np.ones((2, 3)), np.ones(3)]
    with pytest.raises(ValueError, match=r"^SGD.apply: expected trainable_variables, for .*built"):
        optimizer.apply(gradients)
    optimizer.build([one, two])
    optimizer.apply(gradients)
    optimizer.apply([])
    assert optimizer.apply_gradients([(gradients[1], two)]) == 2
    assert (one.numpy() == 0.5).all()
    assert (two.numpy() == 0.0).all()
    with pytest.raises(ValueError, match=r"^SGD.apply: expected a gradient for each of 2 .*got 1"):
        optimizer.apply([gradients[0]])


def test_apply_with_arrays_of_any_kind() -> None:
    optimizer, variable = optimizers.SGD(1.0), keras.Variable(np.zeros((2, 3)))
    optimizer.apply([np.arange(6).reshape(3, 2).T], [variable])
    optimizer.apply([[[1.0] * 3] * 2], [variable])
    np.testing.assert_array_equal(variable.numpy(), [[-1, -3, -5], [-2, -4, -6]])


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_apply_leaves_all_as_it_was_where_it_fails(name: str) -> None:
    optimizer = make(name, 0.1, use_ema=True, gradient_accumulation_steps=2)
    one, two = keras.Variable(np.ones((2, 3)), path="a"), keras.Variable(np.ones(3), path="b")
    good = [np.ones((2, 3)), np.ones(3)]
    optimizer.apply(good, [one, two])
    state = [v.storage.tobytes() for v in (one, two, *optimizer.variables)]
    bad: list[tuple[Any, type[Exception], str]] = [
        ([good[0], np.full(3, np.nan)], keras.NonFiniteError, "the gradient of b is not finite"),
        ([good[0], np.full(3, 1e39)], keras.NonFiniteError, "the gradient of b is not finite"),
        ([good[0], np.ones(4)], ValueError, r"shape \(3,\) for b, got \(4,\)"),
        ([good[0], ["x"] * 3], TypeError, "the gradient of b to be numbers"),
        ([None, None], ValueError, "expected gradients, got none for any variable"),
        (good[:1], ValueError, "expected a gradient for each of 2 variables, got 1"),
    ]
    for gradients, error, text in bad:
        with pytest.raises(error, match=text):
            optimizer.apply(gradients, [one, two])
    with pytest.raises(ValueError, match="expected each variable once"):
        optimizer.apply([good[0], good[0]], [one, one])
    frozen = keras.Variable(np.ones(3), path="c", trainable=False)
    with pytest.raises(ValueError, match="expected trainable variables, c is not"):
        optimizer.apply([good[1]], [frozen])
    assert [v.storage.tobytes() for v in (one, two, *optimizer.variables)] == state


def test_a_variable_without_a_gradient_is_left_out() -> None:
    optimizer = optimizers.SGD(0.5)
    one, two = keras.Variable(np.ones((2, 3)), path="a"), keras.Variable(np.ones(3), path="b")
    with pytest.warns(UserWarning, match=r"SGD.apply: there is no gradient for a$") as caught:
        optimizer.apply([None, np.ones(3)], [one, two])
    assert caught[0].filename == __file__
    assert (one.numpy() == 1.0).all()
    assert (two.numpy() == 0.5).all()


def test_what_apply_recorded_is_made_anew_where_arguments_change() -> None:
    optimizer, variable = optimizers.SGD(1.0), keras.Variable(np.zeros(3))
    optimizer.apply([np.ones(3)], [variable])
    optimizer.clipvalue = 0.5
    optimizer.apply([np.ones(3)], [variable])
    optimizer.learning_rate = 2.0
    optimizer.apply([np.ones(3)], [variable])
    np.testing.assert_array_equal(variable.numpy(), -2.5)
    twin = pickle.loads(pickle.dumps(optimizer))
    twin.apply([np.ones(3)], [keras.Variable(np.zeros(3))])
    assert (twin.iterations, optimizer.iterations) == (4, 3)
