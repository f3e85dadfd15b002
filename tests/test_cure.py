"""model.cure: what is sick gets well, what is well stays as it is, and what it says is so."""

from __future__ import annotations

import copy
import math
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, losses
from evengrad.doctor import CureResult, Edit, edits
from evengrad.doctor.candidates import Menu
from evengrad.doctor.heads import fitting
from evengrad.doctor.judging import Held, Judge, Score, classes_of
from evengrad.doctor.plans import Plan
from evengrad.doctor.races import Course, Race
from evengrad.doctor.reachable import predictions
from evengrad.doctor.scaling import Truth
from evengrad.doctor.treatments import Treatment
from harness import F32
from numpy.typing import NDArray

Array = NDArray[Any]


def rings(seed: int = 0, rows: int = 400) -> tuple[F32, F32]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 2)).astype(np.float32)
    return x, (np.hypot(*x.T) > 1.1).astype(np.float32)


X, Y = rings()
HELD = rings(1)


def network(*, start: str = "he_normal", depth: int = 3) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(16, "relu", kernel_initializer=start) for _ in range(depth)]
    return keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(1, "sigmoid")])


def trained(model: keras.Sequential, optimizer: Any = None, **options: Any) -> keras.Sequential:
    fit = {"epochs": 20, "batch_size": 32}
    fit |= {name: options.pop(name) for name in list(options) if name in fit}
    loss = options.pop("loss", "binary_crossentropy")
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss, **options)
    model.fit(X, Y, verbose=0, **fit)
    return model


def accuracy(model: keras.Sequential) -> float:
    return float(((model.predict(HELD[0])[:, 0] > 0.5) == HELD[1]).mean())


def state(model: keras.Sequential) -> list[Array]:
    slots = [v.numpy() for v in model.optimizer.variables]
    return [*model.get_weights(), *slots]


def assert_same(one: list[Array], two: list[Array]) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def cured() -> tuple[keras.Sequential, list[Array], CureResult]:
    model = trained(network(start="zeros"), metrics=["accuracy"])
    before = state(model)
    return model, before, model.cure(X, Y, validation_data=HELD)


# What comes of it


def test_a_network_of_zeros_is_cured_by_its_kernels(cured: Any) -> None:
    model, _, result = cured
    assert result.improved
    assert result.metric == "accuracy"
    assert result.before == pytest.approx(accuracy(model))
    assert result.after == pytest.approx(accuracy(result.model))
    assert result.after > 0.9
    assert result.before < 0.7
    assert [edit.kind for edit in result.edits] == ["initializer"]


def test_the_given_model_stays(cured: Any) -> None:
    model, before, result = cured
    assert result.model is not model
    assert_same(state(model), before)


def test_the_new_model_is_compiled_as_the_given_one(cured: Any) -> None:
    model, _, result = cured
    assert result.model.metrics_names == model.metrics_names
    assert type(result.model) is type(model)
    loss, share = result.model.evaluate(*HELD, verbose=0)
    assert share == pytest.approx(result.after)
    assert loss < 0.4
    copy.deepcopy(result.model).fit(X, Y, epochs=1, verbose=0)


def test_the_edits_can_be_made_again(cured: Any) -> None:
    model, _, result = cured
    again, arguments = edits.apply(model, result.edits, X, Y, epochs=20, batch_size=32, seed=0)
    again.fit(X, Y, verbose=0, **arguments)
    np.testing.assert_array_equal(again.predict(HELD[0]), result.model.predict(HELD[0]))


def test_the_cost_is_what_was_trained(cured: Any) -> None:
    _, _, result = cured
    assert result.cost == pytest.approx(sum(trial.cost for trial in result.trials))
    assert 0.0 < result.cost <= 8.0
    assert any(trial.edits == result.edits for trial in result.trials)


def test_the_same_again(cured: Any) -> None:
    model, _, result = cured
    keras.utils.set_random_seed(123)
    again = model.cure(X, Y, validation_data=HELD)
    assert again.trials == result.trials
    assert_same(again.model.get_weights(), result.model.get_weights())


def test_no_draw_of_the_users_is_used() -> None:
    model = trained(network(start="zeros"))
    keras.utils.set_random_seed(3)
    model.cure(X, Y, validation_data=HELD, budget=2.0)
    kernel = layers.Dense(3)
    kernel.build((2,))
    keras.utils.set_random_seed(3)
    alone = layers.Dense(3)
    alone.build((2,))
    assert_same(kernel.get_weights(), alone.get_weights())


def test_a_healthy_network_is_left_alone() -> None:
    model = trained(network(), epochs=80)
    before = state(model)
    result = model.cure(X, Y, validation_data=HELD)
    assert not result.improved
    assert result.model is model
    assert result.edits == result.trials == ()
    assert result.cost == 0.0
    assert result.after == result.before == pytest.approx(accuracy(model))
    assert_same(state(model), before)


@pytest.mark.parametrize("seed", range(4))
def test_where_there_is_nothing_to_learn_nothing_is_changed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, held = (rng.integers(0, 2, 400).astype(np.float32) for _ in range(2))
    model = network(start="zeros")
    model.compile("adam", "binary_crossentropy")
    model.fit(X, y, epochs=5, verbose=0)
    before = state(model)
    result = model.cure(X, y, validation_data=(HELD[0], held), budget=4.0)
    assert result.model is model
    assert_same(state(model), before)


def test_steps_that_are_too_long() -> None:
    model = network()
    model.compile(keras.optimizers.SGD(30.0, global_clipnorm=1.0), "binary_crossentropy")
    model.fit(X, Y, epochs=20, verbose=0)
    result = model.cure(X, Y, validation_data=HELD)
    assert result.improved
    assert accuracy(result.model) > 0.9
    assert len(result.edits) <= 2


def test_a_training_that_broke_off() -> None:
    model = network()
    model.compile(keras.optimizers.SGD(1e30), "binary_crossentropy")
    with pytest.raises(keras.NonFiniteError):
        model.fit(1e5 * X, Y, epochs=20, verbose=0)
    result = model.cure(1e5 * X, Y, validation_data=(1e5 * HELD[0], HELD[1]))
    assert result.improved
    assert result.after > 0.9


def test_one_that_was_never_trained_is_compared_with_its_twin() -> None:
    model = network(start="zeros")
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    before = model.get_weights()
    result = model.cure(X, Y, validation_data=HELD, epochs=20, batch_size=32)
    assert result.improved
    assert result.trials[0].edits == ()
    assert result.before == result.trials[0].score
    assert_same(model.get_weights(), before)


def test_rows_are_held_out_where_none_are_given() -> None:
    result = trained(network(start="zeros")).cure(X, Y)
    assert result.improved
    assert accuracy(result.model) > 0.88


def test_a_regression_by_any_metric() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 3)).astype(np.float32)
    y = 1000.0 * (np.sin(x[:, 0]) + x[:, 1]) + 5000.0
    for metric, better in (("mae", -1.0), (None, 1.0), ("loss", -1.0)):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), layers.Dense(16, "tanh"), layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(x[:200], y[:200], epochs=20, verbose=0)
        result = model.cure(x[:200], y[:200], validation_data=(x[200:], y[200:]), metric=metric)
        assert result.metric == (metric or "r2_score")
        assert better * (result.after - result.before) > 0.0
        assert "scale_targets" in [edit.kind for edit in result.edits]
        spread = y[200:].var()
        assert np.square(result.model.predict(x[200:])[:, 0] - y[200:]).mean() < 0.1 * spread


def test_layers_of_all_sorts() -> None:
    class Half(layers.Layer):
        def call(self, inputs: F32) -> F32:
            return 0.5 * inputs

        def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
            return 0.5 * dy

    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(8, "relu", kernel_initializer="zeros"),
            layers.Residual([layers.Dense(8, "relu", kernel_initializer="zeros")]),
            Half(),
            keras.Sequential([layers.Dense(8, "relu", kernel_initializer="zeros")]),
            layers.Dense(2, "softmax"),
        ]
    )
    result = trained(model, loss="sparse_categorical_crossentropy", metrics=["accuracy"]).cure(
        X, Y.astype(int), validation_data=(HELD[0], HELD[1].astype(int))
    )
    assert result.improved
    assert result.after > 0.9


def test_weights_of_samples_count() -> None:
    model = trained(network(start="zeros"))
    weight = np.where(Y == 1.0, 1e-6, 1.0)
    held = (*HELD, np.where(HELD[1] == 1.0, 1e-6, 1.0))
    result = model.cure(X, Y, validation_data=held, sample_weight=weight, budget=3.0)
    right = (result.model.predict(HELD[0])[:, 0] > 0.5) == HELD[1]
    assert result.after == pytest.approx(np.average(right, weights=held[2]))


@pytest.mark.parametrize("budget", [1.0, 2.5, 4.0])
def test_no_more_is_spent_than_may_be(budget: float) -> None:
    model = trained(network(start="zeros"), keras.optimizers.SGD(1e-5))
    result = model.cure(X, Y, validation_data=HELD, budget=budget)
    assert result.cost <= budget + 1e-9


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"budget": 0.5}, "budget"),
        ({"budget": math.inf}, "budget"),
        ({"epochs": 0}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"metric": "mean"}, "metrics: expected names"),
        ({"validation_data": 3}, "expected validation_data"),
        ({"validation_data": (X,)}, "expected validation_data"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], text: str) -> None:
    model = trained(network(), epochs=1)
    with pytest.raises((ValueError, TypeError), match=text):
        model.cure(X, Y, **arguments)


def test_one_that_is_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"cure: call model\.compile"):
        network().cure(X, Y)


# Judging


def judge(y: Array, loss: str = "mse", units: int = 1, metric: Any = None) -> Judge:
    model = keras.Sequential([keras.Input((1,)), layers.Dense(units)])
    model.compile("sgd", loss)
    return Judge(model, Held(np.zeros((len(y), 1), np.float32), y), metric)


def test_what_targets_stand_for() -> None:
    mse, sparse = losses.get("mse"), losses.get("sparse_categorical_crossentropy")
    two, one_hot = np.array([0.0, 1.0, 1.0]), np.eye(3)[[2, 0, 1]]
    assert classes_of(mse, two, 1).tolist() == [0, 1, 1]  # type: ignore[union-attr]
    assert classes_of(mse, 2.0 * two - 1.0, 1).tolist() == [0, 1, 1]  # type: ignore[union-attr]
    assert classes_of(mse, one_hot, 3).tolist() == [2, 0, 1]  # type: ignore[union-attr]
    assert classes_of(sparse, np.array([2, 0]), 3).tolist() == [2, 0]  # type: ignore[union-attr]
    assert classes_of(mse, np.array([0.0, 1.0, 2.0]), 1) is None
    assert classes_of(mse, np.array([[0.0, 1.0], [1.0, 1.0]]), 2) is None


@pytest.mark.parametrize(("gained", "lost", "sure"), [(3, 0, True), (2, 0, False), (9, 4, False),
                                                      (12, 4, True), (0, 9, False)])  # fmt: skip
def test_a_difference_by_luck(gained: int, lost: int, sure: bool) -> None:
    """(b - c) / sqrt(b + c) against 1.64."""
    y = np.tile([0.0, 1.0], 20)
    before = np.concatenate([np.zeros(gained), np.ones(40 - gained)])
    after = np.concatenate([np.ones(40 - lost), np.zeros(lost)])
    of = judge(y, "binary_crossentropy")
    scores = [Score(float(merits.mean()), merits) for merits in (after, before)]
    assert of.certain(*scores) is sure
    assert ((gained - lost) / math.sqrt(gained + lost) >= 1.64) is sure


def test_one_row_does_not_hide_that_all_others_are_better() -> None:
    y = np.random.default_rng(0).standard_normal(50)
    of = judge(y)
    before = -np.square(y + 1.0)
    before[0] = -1e12
    after = Score(0.9, -np.square(0.1 * y))
    assert of.certain(after, Score(-1e9, before))
    assert not of.certain(Score(-1e9, before), after)
    assert not of.certain(Score(math.nan, before), after)


def test_scores_are_those_of_numpy() -> None:
    x, y = HELD[0], HELD[0][:, 0] * 2.0
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    error = model.predict(x)[:, 0].astype(np.float64) - y
    held = Held(x, y)
    assert Judge(model, held)(model).value == pytest.approx(np.abs(error).mean(), rel=1e-6)
    assert not Judge(model, held).higher
    r2 = Judge(model, held, "r2_score")(model).value
    assert r2 == pytest.approx(1.0 - np.square(error).mean() / y.var(), rel=1e-6)
    loss = Judge(model, held, "loss")(model).value
    assert loss == pytest.approx(np.square(error).mean(), rel=1e-6)


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_what_needs_no_network(far: float) -> None:
    """Of a smooth function almost all; of noise nothing; of some noise most."""
    rng = np.random.default_rng(4)
    x, asked = (far + rng.uniform(-2.0, 2.0, (rows, 2)) for rows in (400, 100))
    np.testing.assert_allclose(predictions(x, np.sin(x), asked), np.sin(asked), atol=0.05)
    noise, wide = rng.standard_normal((400, 2)), far + rng.standard_normal((500, 8))
    assert predictions(wide[:400], noise, wide[400:]).std() < 0.3
    assert predictions(x, noise, asked).std() < 0.3
    assert np.abs(predictions(x, np.sin(x) + 0.5 * noise, asked) - np.sin(asked)).mean() < 0.15


# Races


def race(budget: float) -> Race:
    model = trained(network(), epochs=8)
    of = Judge(model, Held(*HELD), "accuracy")
    course = Course(Plan.of(model, 8, 32), Truth(X, Y), {}, of, 0)
    return Race(course, budget)


def test_a_race_goes_on_where_it_was() -> None:
    """In two parts the same as in one, bit for bit."""
    first, second = race(4.0), race(4.0)
    in_parts, at_once = (each.runner([Edit("activation", "elu")]) for each in (first, second))
    assert in_parts is not None
    assert at_once is not None
    assert first.run(in_parts, 0.25)
    assert in_parts.epochs == 2
    assert first.run(in_parts)
    assert second.run(at_once)
    assert first.spent == second.spent == 1.0
    assert_same(in_parts.model.get_weights(), at_once.model.get_weights())
    assert in_parts.finished


def test_a_longer_way_is_the_same_as_from_the_beginning() -> None:
    one, two = race(9.0), race(9.0)
    short = one.runner([Edit("activation", "elu")])
    assert short is not None
    assert one.run(short)
    before = short.model.get_weights()
    long = one.longer(short, 2.0)
    assert long is not None
    assert one.run(long)
    assert one.spent == 2.0
    other = two.runner([Edit("activation", "elu"), Edit("epochs", 2.0)])
    assert other is not None
    assert two.run(other)
    assert_same(long.model.get_weights(), other.model.get_weights())
    assert long.edits == other.edits
    assert_same(short.model.get_weights(), before)


def test_who_changes_nothing_does_not_run() -> None:
    of = race(1.0)
    assert of.runner([Edit("activation", "relu")]) is None
    assert of.runner([Edit("batch_normalization", "sideways")]) is None or of.spent == 0.0
    assert of.runner([Edit("activation", "no such")]) is None
    twin = of.runner([])
    assert twin is not None
    assert of.run(twin)
    assert not of.run(of.runner([Edit("activation", "elu")]))  # nothing is left
    assert of.spent == 1.0


def test_what_is_not_needed_is_left_out() -> None:
    """Of five edits the one that the network of zeros needs."""
    model = trained(network(start="zeros"))
    of = Judge(model, Held(*HELD))
    truth = Truth(X, Y)
    tried = Race(Course(Plan.of(model, 20, 32), truth, {}, of, 0), 20.0)
    menu = Menu(tried.course.plan, truth, of, [], 5.0)
    treatment = Treatment(tried, menu, of(model), None)
    several = Edit("initializer", "he_normal"), Edit("regularization", 0.0)
    more = Edit("learning_rate", 0.011), Edit("batch_size", 31)
    for edit in (*several, *more):
        if runner := tried.runner([edit]):
            tried.run(runner, 0.25)
    full = tried.runner([*several, *more, Edit("clipping", {"global_clipnorm": 50.0})])
    assert full is not None
    assert tried.run(full)
    left = treatment._pruned(full)
    assert [edit.kind for edit in left.edits] == ["initializer"]
    assert left.finished


def test_elimination_keeps_the_best() -> None:
    of = race(4.0)
    names = "elu", "tanh", "gelu", "linear"
    runners = [r for name in names if (r := of.runner([Edit("activation", name)]))]
    left = of.eliminate(runners, [0.25, 1.0], [2, 1])
    assert len(left) == 1
    assert left[0].finished
    assert sorted(r.epochs for r in runners) == [2, 2, 8, 8]
    assert of.spent == pytest.approx(sum(r.epochs for r in runners) / 8)


# Heads


@pytest.mark.parametrize(
    ("activation", "units", "loss", "y", "expected"),
    [
        ("sigmoid", 1, "mse", [3.0, 9.0, 4.0], (None, "MeanSquaredError", 1)),
        (None, 1, "mse", [3.0, 9.0, 4.0], None),
        (None, 1, "mae", [3.0, 9.0, 4.0], None),
        ("exponential", 1, "poisson", [3.0, 9.0, 4.0], None),
        (None, 1, "binary_crossentropy", [0.0, 1.0, 1.0], ("sigmoid", "BinaryCrossentropy", 1)),
        ("sigmoid", 1, "mse", [0.0, 1.0, 1.0], ("sigmoid", "BinaryCrossentropy", 1)),
        ("sigmoid", 1, "binary_crossentropy", [0.0, 1.0, 1.0], None),
        (None, 1, losses.BinaryCrossentropy(from_logits=True), [0.0, 1.0, 1.0], None),
        (None, 1, "hinge", [-1.0, 1.0, 1.0], None),
        ("relu", 3, "sparse_categorical_crossentropy", [0, 2, 1],
         ("softmax", "SparseCategoricalCrossentropy", 3)),
        ("softmax", 3, "sparse_categorical_crossentropy", [0, 2, 1], None),
        ("softmax", 2, "mse", [[0.0, 1.0], [1.0, 0.0]], ("softmax", "CategoricalCrossentropy", 2)),
        ("softmax", 2, "kl_divergence", [[0.1, 0.9], [0.7, 0.3]], None),
    ],
)  # fmt: skip
def test_the_head_that_fits(
    activation: str | None, units: int, loss: Any, y: Any, expected: Any
) -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(units, activation)])
    model.compile("sgd", loss)
    truth = np.array(y)
    assert model.loss is not None
    found = fitting(Plan.of(model), truth, classes_of(model.loss, truth, units))
    wanted = expected and dict(zip(("activation", "loss", "units"), expected, strict=True))
    assert found == wanted
