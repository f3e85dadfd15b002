"""Edits of the doctor: what each makes of a plan, against models written by hand."""

from __future__ import annotations

import copy
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers
from evengrad.doctor import Edit, edits
from evengrad.doctor.edits import all_edited, in_order
from evengrad.doctor.plans import Plan
from evengrad.doctor.scaling import Truth
from harness import F32, draws

KINDS = {
    "learning_rate": 0.125,
    "clipping": {"global_clipnorm": 0.5},
    "initializer": "he_normal",
    "activation": "elu",
    "batch_normalization": "before",
    "optimizer": {"name": "adam", "learning_rate": 0.002},
    "output": {"activation": "tanh", "loss": "mae"},
    "scale_inputs": True,
    "scale_targets": True,
    "regularization": 0.5,
    "epochs": 2.5,
    "batch_size": 5,
    "moving_average": 0.75,
    "recalibrate": True,
    "drop_columns": [1],
}


class Twice(layers.Layer):
    """A layer of one's own."""

    def call(self, inputs: F32) -> F32:
        return 2.0 * inputs

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
        return 2.0 * dy


def data() -> tuple[F32, F32]:
    x, y = draws(3, (60, 4), (60,))
    return x * np.float32(5.0) + np.float32(2.0), y * np.float32(30.0) - np.float32(7.0)


def rich() -> keras.Sequential:
    """Layers of all sorts, some inside others."""
    made = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, "sigmoid", kernel_regularizer="l2", name="first"),
            layers.Dropout(0.5),
            Twice(),
            layers.Residual(
                [layers.Dense(6, "relu"), layers.BatchNormalization(), layers.Dense(6)]
            ),
            keras.Sequential([layers.Dense(5), layers.LeakyReLU()]),
            layers.Dense(1, name="last"),
        ]
    )
    made.compile(keras.optimizers.SGD(0.01, weight_decay=0.1, clipnorm=2.0), "mse", metrics=["mae"])
    return made


def leaves(model: keras.Sequential) -> list[Any]:
    found = []
    for part in model.layers:
        inside = getattr(part, "layers", None)
        found += [part] if inside is None else leaves(part)  # type: ignore[arg-type]
    return found


def applied(model: keras.Sequential, *several: Edit, **options: Any) -> keras.Sequential:
    return edits.apply(model, several, *data(), seed=1, **options)[0]


def test_every_kind_is_here() -> None:
    assert set(KINDS) == set(edits.ORDER) == set(edits._KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_model_trains_and_the_given_one_stays(kind: str) -> None:
    model, (x, y) = rich(), data()
    before = model.get_weights()
    made, arguments = edits.apply(model, [Edit(kind, KINDS[kind])], x, y, epochs=2, seed=3)
    with np.errstate(all="ignore"):
        made.compile(keras.optimizers.SGD(1e-9), made.loss, metrics=["mae"])
        history = made.fit(x, y, verbose=0, **arguments)
    assert np.isfinite(history.history["loss"]).all()
    for weight, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert model.optimizer.learning_rate == 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_as_code(kind: str) -> None:
    text = edits.code(Edit(kind, KINDS[kind]))
    assert text
    assert "\n" not in text


def test_activation() -> None:
    made = applied(rich(), Edit("activation", "elu"))
    names = [getattr(layer, "activation", None) for layer in leaves(made)]
    assert [a.name for a in names if a is not None] == [
        "elu", "elu", "linear", "linear", "elu", "linear"
    ]  # fmt: skip


def test_activation_of_a_linear_network() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])
    model.compile("sgd", "mse")
    made = applied(model, Edit("activation", "relu"))
    assert [layer.activation.name for layer in made.layers] == ["relu", "linear"]


def test_initializer_and_biases() -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, "relu", kernel_initializer="ones", bias_initializer="ones"),
            layers.Dense(2, kernel_initializer="ones"),
        ]
    )
    model.compile("sgd", "mse")
    made = applied(model, Edit("initializer", "he_normal"))
    kinds = [type(layer.kernel_initializer).__name__ for layer in made.layers]
    assert kinds == ["HeNormal", "GlorotUniform"]
    assert not made.layers[0].bias.numpy().any()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("before", ["Dense", "BatchNormalization", "Activation", "Dense", "BatchNormalization",
                    "ReLU", "Dense"]),
        ("after", ["Dense", "BatchNormalization", "Dense", "ReLU", "BatchNormalization", "Dense"]),
        ("input", ["BatchNormalization", "Dense", "Dense", "ReLU", "Dense"]),
        ("none", ["Dense", "Dense", "ReLU", "Dense"]),
    ],
)  # fmt: skip
def test_batch_normalization(where: str, expected: list[str]) -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, "tanh"),
            layers.Dense(3),
            layers.ReLU(),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    made = applied(model, Edit("batch_normalization", where))
    assert [type(layer).__name__ for layer in made.layers] == expected
    again = applied(made, Edit("batch_normalization", where))
    count = expected.count("BatchNormalization") + (where == "input")
    kinds = [type(layer).__name__ for layer in again.layers]
    assert kinds.count("BatchNormalization") == count


def test_normalizations_go() -> None:
    made = applied(rich(), Edit("batch_normalization", "none"))
    assert not [x for x in leaves(made) if isinstance(x, layers.BatchNormalization)]


def test_output() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Softmax()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    value = {"activation": "sigmoid", "loss": "binary_crossentropy", "units": 1}
    made = applied(model, Edit("output", value))
    assert made.output_shape == (None, 1)
    assert [layer.activation.name for layer in made.layers] == ["sigmoid"]
    assert made.loss.name == "binary_crossentropy"


def test_scaled_inputs_are_those_of_numpy() -> None:
    x, _ = data()
    x = x.copy()
    x[:, 3] = 7.0  # constant
    model = rich()
    made, _ = edits.apply(model, [Edit("scale_inputs")], x, None, seed=0)
    expected = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0.0, x.std(axis=0), 1.0)
    np.testing.assert_allclose(made.layers[0](x), expected, atol=2e-6)


def test_scaled_inputs_of_images() -> None:
    (x,) = draws(1, (30, 2, 3))
    model = keras.Sequential([keras.Input((2, 3)), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    made, _ = edits.apply(model, [Edit("scale_inputs")], 9.0 * x + 5.0)
    assert [type(layer).__name__ for layer in made.layers] == ["Flatten", "Normalization", "Dense"]
    rows = made.layers[1](made.layers[0](9.0 * x + 5.0))
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(rows.std(axis=0), 1.0, atol=1e-6)


def test_no_number_is_far_from_the_others_where_a_column_is_almost_constant() -> None:
    x = np.zeros((1000, 4), np.float32)
    x[0] = 1.0
    made, _ = edits.apply(rich(), [Edit("scale_inputs")], x)
    assert np.abs(made.layers[0](x)).max() <= 20.0


@pytest.mark.parametrize("loss", ["mse", "mae"])
@pytest.mark.parametrize("bound", [None, 0.05])
def test_scaled_targets_train_as_targets_that_were_scaled(loss: str, bound: float | None) -> None:
    """With plain descent step by step the same, up to rounding."""
    x, y = data()
    spread, center = float(y.astype(np.float64).std()), float(y.astype(np.float64).mean())

    def made() -> keras.Sequential:
        model = keras.Sequential([keras.Input((4,)), layers.Dense(5, "tanh"), layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.02, momentum=0.5, global_clipnorm=bound), loss)
        return model

    plan = Plan.of(made(), 3, 16)
    scaled = all_edited(plan, [Edit("scale_targets")], Truth(x, y)).build(seed=4)
    plain = plan.build(seed=4)
    arguments = {"epochs": 3, "batch_size": 16, "verbose": 0}
    scaled.fit(x, y, **arguments)
    plain.fit(x, (y.astype(np.float64) - center) / spread, **arguments)
    for a, b in zip(scaled.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=2e-5)


def test_scaled_targets_leave_the_rate_of_adam() -> None:
    model = rich()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    made = applied(model, Edit("scale_targets"))
    assert made.optimizer.learning_rate == pytest.approx(0.01)
    assert isinstance(made.layers[-1], layers.Rescaling)


def test_scaled_targets_and_a_schedule() -> None:
    model, (x, y) = rich(), data()
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model.compile(keras.optimizers.SGD(rate), "mse")
    made, _ = edits.apply(model, [Edit("scale_targets")], x, y)
    variance = float(y.astype(np.float64).var())
    assert made.optimizer.rates(11)[10] == pytest.approx(0.05 / variance, rel=1e-6)


def test_regularization() -> None:
    half = applied(rich(), Edit("regularization", 0.5))
    assert half.layers[0].kernel_regularizer.l2 == pytest.approx(0.005)
    assert half.layers[1].rate == 0.25
    assert half.optimizer.weight_decay == pytest.approx(0.05)
    none = applied(rich(), Edit("regularization", 0.0))
    assert none.layers[0].kernel_regularizer is None
    assert none.layers[1].rate == none.optimizer.weight_decay == 0.0


def test_training() -> None:
    made, arguments = edits.apply(
        rich(),
        [
            Edit("epochs", 2.5),
            Edit("batch_size", 5),
            Edit("learning_rate", 0.5),
            Edit("clipping", {}),
        ],
        epochs=3,
    )
    assert arguments == {"epochs": 8, "batch_size": 5}
    assert made.optimizer.learning_rate == 0.5
    assert made.optimizer.clip[0] == "none"


def test_dropped_columns_say_nothing() -> None:
    model, (x, _) = rich(), data()
    made = applied(model, Edit("drop_columns", [1, 3]))
    other = x.copy()
    other[:, [1, 3]] += 100.0
    np.testing.assert_array_equal(made.predict(x), made.predict(other))
    assert (made.predict(x) != made.predict(x + 1.0)).any()


def test_moving_average() -> None:
    made = applied(rich(), Edit("moving_average", 0.75))
    assert [b.momentum for b in leaves(made) if isinstance(b, layers.BatchNormalization)] == [0.75]


def test_the_last_of_a_kind_counts() -> None:
    several = Edit("epochs", 2.0), Edit("activation", "elu"), Edit("epochs", 3.0)
    assert in_order(several) == (Edit("activation", "elu"), Edit("epochs", 3.0))


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match="expected an edit of learning_rate, clipping"):
        edits.apply(rich(), [Edit("prayer")])
    with pytest.raises(ValueError, match="'scale_inputs', got none; pass x"):
        edits.apply(rich(), [Edit("scale_inputs")])
    with pytest.raises(ValueError, match="'scale_targets', got none; pass y"):
        edits.apply(rich(), [Edit("scale_targets")])


# Plans


def test_equal_seeds_give_equal_models_and_no_draw_of_the_users_is_used() -> None:
    plan = Plan.of(rich())
    keras.utils.set_random_seed(5)
    one, two = plan.build(seed=2), plan.build(seed=2)
    after = layers.Dense(3)
    after.build((4,))
    keras.utils.set_random_seed(5)
    alone = layers.Dense(3)
    alone.build((4,))
    np.testing.assert_array_equal(after.get_weights()[0], alone.get_weights()[0])
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        (a != b).any() for a, b in zip(one.get_weights(), plan.build(3).get_weights(), strict=True)
    )


def test_what_is_not_trained_stays() -> None:
    x, _ = data()
    scaling = layers.Normalization()
    scaling.adapt(x)
    frozen = layers.Dense(3, trainable=False, name="frozen")
    model = keras.Sequential([scaling, frozen, layers.Dense(1)])
    model.build((None, 4))
    model.compile("sgd", "mse")
    made = applied(model, Edit("activation", "relu"))
    for old, new in zip(model.layers[:2], made.layers[:2], strict=True):
        for a, b in zip(old.get_weights(), new.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (model.layers[2].get_weights()[0] != made.layers[2].get_weights()[0]).any()


def test_a_plan_is_not_changed_by_edits() -> None:
    plan, (x, y) = Plan.of(rich()), data()
    before = copy.deepcopy((plan.config, plan.compiled))
    for kind, value in KINDS.items():
        all_edited(plan, [Edit(kind, value)], Truth(x, y)).build(0)
    assert (plan.config, plan.compiled) == before
