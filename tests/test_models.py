"""Sequential: structure, summary, weights, prediction, evaluation, frozen layers, warm-up."""

from __future__ import annotations

import contextlib
import gc
import io
import re
import weakref
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import _arena, layers
from gradcheck import assert_gradients
from numpy.typing import NDArray

F32 = NDArray[np.float32]

PROGRAM = """
import evengrad as keras
model = keras.models.Sequential([
    keras.layers.Flatten(input_shape=[28, 28]),
    keras.layers.BatchNormalization(),
    keras.layers.Dense(300, kernel_initializer="he_normal", use_bias=False),
    keras.layers.BatchNormalization(),
    keras.layers.Activation("elu"),
    keras.layers.Dense(100, kernel_initializer="he_normal", use_bias=False),
    keras.layers.BatchNormalization(),
    keras.layers.Activation("elu"),
    keras.layers.Dense(10, activation="softmax"),
])
model.summary()
[(v.name, v.trainable) for v in model.layers[1].variables]
he_avg = keras.initializers.VarianceScaling(scale=2., mode="fan_avg", distribution="uniform")
optimizer = keras.optimizers.SGD(learning_rate=0.05, CLIPPING)
model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
"""


def draws(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def labels(n: int, classes: int = 3, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, classes, n)


def close(made: Any, right: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(made, right, rtol=tolerance, atol=tolerance)


def same(now: list[F32], then: list[F32]) -> list[bool]:
    """Which weights have the same bits."""
    return [a.tobytes() == b.tobytes() for a, b in zip(now, then, strict=True)]


def classifier(*more: layers.Layer, optimizer: Any = "sgd", **options: Any) -> keras.Sequential:
    """4 features, 3 classes."""
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(8, "tanh"), *more, layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *stack])
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    return model


# The program that Keras users write


@pytest.mark.parametrize("clipping", ["clipnorm=1.0", "clipvalue=1.0"])
def test_the_program_of_a_keras_user(clipping: str, capsys: pytest.CaptureFixture[str]) -> None:
    keras.utils.set_random_seed(1)
    names: dict[str, Any] = {}
    exec(PROGRAM.replace("CLIPPING", clipping), names)
    model = names["model"]
    printed = capsys.readouterr().out
    for count in ("3,136", "235,200", "1,200", "30,000", "400", "1,010"):
        assert f" {count} " in printed
    assert [(v.name, v.trainable) for v in model.layers[1].variables] == [
        ("gamma", True),
        ("beta", True),
        ("moving_mean", False),
        ("moving_variance", False),
    ]
    assert names["he_avg"]((3, 4)).shape == (3, 4)
    (x, y), (x_test, y_test) = keras.datasets.fashion_mnist.load_sample()
    history = model.fit(x, y, epochs=5, validation_data=(x_test, y_test), verbose=0)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.history["loss"][-1] < 0.6 * history.history["loss"][0]
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    assert accuracy > 0.7
    assert [loss, accuracy] == [history.history[k][-1] for k in ("val_loss", "val_accuracy")]


# summary


def reference_network() -> keras.Sequential:
    keras.utils.clear_session()
    hidden = {"activation": "elu", "kernel_initializer": "he_normal"}
    return keras.Sequential(
        [
            layers.Flatten(input_shape=[28, 28]),
            layers.BatchNormalization(),
            layers.Dense(300, **hidden),
            layers.BatchNormalization(),
            layers.Dense(100, **hidden),
            layers.BatchNormalization(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def table(text: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith(("┃", "│"))]
    return [[cell.strip() for cell in re.split("[┃│]", row)[1:-1]] for row in rows]


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    model = reference_network()
    model.summary()
    text = capsys.readouterr().out
    assert table(text) == [
        ["Layer (type)", "Output Shape", "Param #"],
        ["flatten (Flatten)", "(None, 784)", "0"],
        ["batch_normalization (BatchNormalization)", "(None, 784)", "3,136"],
        ["dense (Dense)", "(None, 300)", "235,500"],
        ["batch_normalization_1 (BatchNormalization)", "(None, 300)", "1,200"],
        ["dense_1 (Dense)", "(None, 100)", "30,100"],
        ["batch_normalization_2 (BatchNormalization)", "(None, 100)", "400"],
        ["dense_2 (Dense)", "(None, 10)", "1,010"],
    ]
    assert text.splitlines()[0] == 'Model: "sequential"'
    footer = [line.strip() for line in text.splitlines()[-3:]]
    assert footer == [
        "Total params: 271,346 (1.04 MB)",
        "Trainable params: 268,978 (1.03 MB)",
        "Non-trainable params: 2,368 (9.25 KB)",
    ]
    assert len({len(line) for line in text.splitlines()[1:-3]}) == 1
    assert model.count_params() == 271_346
    assert sum(v.size for v in model.non_trainable_variables) == 2_368


def test_summary_to_a_function() -> None:
    lines: list[str] = []
    classifier().summary(print_fn=lines.append)
    assert "Param #" in "\n".join(lines)


def test_summary_counts_the_optimizers_state_once_there_is_any() -> None:
    model = classifier(optimizer=keras.optimizers.Adam())
    texts: list[str] = []
    model.summary(print_fn=texts.append)
    assert "Optimizer params" not in texts[0]
    model.train_on_batch(draws(5, 4), labels(5))
    model.summary(print_fn=texts.append)
    own = model.count_params()
    assert f"Optimizer params: {2 * own + 2:,} " in texts[1]
    assert f"Total params: {3 * own + 2:,} " in texts[1]
    assert f"Trainable params: {own:,} " in texts[1]


def test_summary_before_the_shape_is_known() -> None:
    texts: list[str] = []
    keras.Sequential([layers.Dense(2, name="d")]).summary(print_fn=texts.append)
    assert table(texts[0])[1] == ["d (Dense)", "?", "0 (unbuilt)"]


# Structure


def test_names() -> None:
    keras.utils.clear_session()
    assert [keras.Sequential().name for _ in range(2)] == ["sequential", "sequential_1"]
    assert keras.Sequential(name="mine").name == "mine"
    assert keras.models.Sequential is keras.Sequential


def test_paths_begin_with_the_models_name() -> None:
    keras.utils.clear_session()
    model = keras.Sequential([layers.Flatten(input_shape=[2, 2]), layers.BatchNormalization()])
    assert [v.path for v in model.variables] == [
        f"sequential/batch_normalization/{name}"
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]


def test_shapes_from_an_input() -> None:
    model = keras.Sequential([keras.Input((3, 4)), layers.Dense(5)])
    assert model.built
    assert (model.input_shape, model.output_shape) == ((None, 3, 4), (None, 3, 5))
    assert [type(layer) for layer in model.layers] == [layers.Dense]
    assert "built=True" in repr(model)


def test_an_input_comes_first() -> None:
    model = keras.Sequential([layers.Dense(5)])
    with pytest.raises(ValueError, match="expected an Input as the first item only"):
        model.add(keras.Input((3,)))
    model = keras.Sequential([keras.Input((3,))])
    with pytest.raises(ValueError, match="expected an Input as the first item only"):
        model.add(keras.Input((3,)))
    assert model.input_shape == (None, 3)


def test_shapes_from_the_first_data() -> None:
    x, y = draws(12, 6), labels(12)
    for use in ("fit", "predict", "build", "call"):
        model = keras.Sequential([layers.Dense(5, "relu"), layers.Dense(3, "softmax")])
        assert not model.built
        assert model.variables == []
        with pytest.raises(AttributeError, match="not built"):
            _ = model.output_shape
        if use == "fit":
            model.compile("sgd", "sparse_categorical_crossentropy")
            model.fit(x, y, verbose=0)
        elif use == "predict":
            model.predict(x)
        elif use == "build":
            model.build((None, 6))
        else:
            model(x)
        assert model.built
        assert (model.input_shape, model.output_shape) == ((None, 6), (None, 3))
        assert len(model.variables) == 4
        with pytest.raises(ValueError, match=r"expected x of shape \(n, 6\), got \(12, 5\)"):
            model.predict(x[:, :5])


def test_build_without_the_batch() -> None:
    model = keras.Sequential([layers.Dense(5)])
    model.build((6,))
    model.build((None, 6))
    assert model.input_shape == (None, 6)
    with pytest.raises(ValueError, match=r"expected samples \(6,\), got \(7,\)"):
        model.build((None, 7))


def test_add_and_pop() -> None:
    x = draws(10, 4)
    model = classifier()
    before = model.predict(x)
    last = model.layers[-1]
    assert model.pop() is last
    assert model.output_shape == (None, 8)
    hidden = model.predict(x)
    assert hidden.shape == (10, 8)
    model.add(layers.Dense(2))
    assert model.output_shape == (None, 2)
    first, second = model.layers
    close(model.predict(x), reference.dense_forward(hidden, *second.get_weights()))
    model.pop()
    model.add(last)
    np.testing.assert_array_equal(model.predict(x), before)
    assert model.layers == [first, last]


def in_place_of(address: int) -> layers.Layer:
    """A new layer, if it can be had where another was."""
    gc.collect()
    others = []
    for _ in range(20_000):
        others.append(layers.Dense.__new__(layers.Dense))
        if id(others[-1]) == address:
            break
    others[-1].__init__(2)
    return others[-1]


@pytest.mark.parametrize("use", ["predict", "evaluate", "train_on_batch"])
def test_layers_are_told_apart_though_their_memory_is_used_again(use: str) -> None:
    x, y = draws(10, 4), np.ones((10, 2))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    for _ in range(3):
        right = reference.dense_forward(x, *model.layers[0].get_weights())
        before = model.get_weights()
        if use == "predict":
            close(model.predict(x), right)
        elif use == "evaluate":
            close(model.evaluate(x, y, verbose=0), ((right - y) ** 2).mean())
        else:
            close(model.train_on_batch(x, y), ((right - y) ** 2).mean())
            assert same(model.get_weights(), before) == [False] * 2
        address = id(model.pop())
        model.add(in_place_of(address))


def test_pop_of_nothing_and_add_of_no_layer() -> None:
    model = keras.Sequential(name="m")
    with pytest.raises(ValueError, match="m: there is no layer to remove"):
        model.pop()
    for bad in (5, "dense", None, layers.Dense, keras.Sequential):
        with pytest.raises(TypeError, match="m: expected a Layer or a Sequential, got"):
            model.add(bad)  # type: ignore[arg-type]
    assert model.layers == []


def test_layers_that_do_not_fit_each_other() -> None:
    dense = layers.Dense(3)
    keras.Sequential([keras.Input((4,)), dense])
    other = keras.Sequential([keras.Input((5,))])
    with pytest.raises(ValueError, match=r"built for samples \(4,\), got \(5,\)"):
        other.add(dense)
    assert other.layers == []


def test_a_layer_may_serve_two_models() -> None:
    shared = layers.Dense(3)
    one = keras.Sequential([keras.Input((4,)), shared])
    two = keras.Sequential([keras.Input((4,)), shared, layers.Activation("relu")])
    one.compile(keras.optimizers.SGD(0.1), "mse")
    x = draws(6, 4)
    before = two.predict(x)
    one.fit(x, draws(6, 3), verbose=0)
    np.testing.assert_array_equal(two.predict(x), np.maximum(one.predict(x), 0.0))
    assert not np.array_equal(two.predict(x), before)


def test_get_layer() -> None:
    model = classifier()
    first, last = model.layers
    assert model.get_layer(first.name) is first
    assert model.get_layer(index=1) is last
    assert model.get_layer(index=-1) is last
    for arguments in ({"name": "nope"}, {"index": 7}, {}):
        with pytest.raises(ValueError, match="expected"):
            model.get_layer(**arguments)


def test_variables_in_order() -> None:
    model = classifier(layers.BatchNormalization())
    names = [v.name for v in model.variables]
    assert names == [
        "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias",
    ]  # fmt: skip
    assert model.weights == model.variables
    assert [v.name for v in model.non_trainable_variables] == ["moving_mean", "moving_variance"]
    assert len(model.trainable_variables) == 6
    assert model.count_params() == sum(v.size for v in model.variables)


# Weights


def test_weights_go_from_model_to_model() -> None:
    x = draws(20, 4)
    model, other = classifier(layers.BatchNormalization()), classifier(layers.BatchNormalization())
    model.fit(x, labels(20), verbose=0)
    other.set_weights(model.get_weights())
    assert all(same(other.get_weights(), model.get_weights()))
    close(other.predict(x), model.predict(x))
    copies = model.get_weights()
    for copy in copies:
        copy[...] = 0.0
    assert not all(same(copies, model.get_weights()))


def test_bad_weights_change_nothing() -> None:
    model = classifier(layers.BatchNormalization())
    model.fit(draws(20, 4), labels(20), verbose=0)
    before = model.get_weights()
    good = [w + 1.0 for w in before]
    for i, w in enumerate(good):
        for bad in (
            w[..., None],
            np.full_like(w, np.nan),
            w.astype(complex),
            w + np.float64(1e300),
        ):
            with pytest.raises((ValueError, TypeError), match="expected"):
                model.set_weights([*good[:i], bad, *good[i + 1 :]])
            assert all(same(model.get_weights(), before))
    for bad_list in (good[:-1], [*good, good[0]], []):
        with pytest.raises(ValueError, match=f"expected 8 weights, got {len(bad_list)}"):
            model.set_weights(bad_list)
    assert all(same(model.get_weights(), before))


def test_written_weights_take_effect_at_once() -> None:
    model = classifier()
    x, y = draws(20, 4), labels(20)
    model.fit(x, y, verbose=0)
    model.predict(x)
    first, last = model.layers
    first.kernel.value[...] = 0.0
    first.bias.value[...] = 0.0
    p = reference.softmax_forward(np.tile(last.bias.numpy(), (20, 1)))
    close(model.predict(x), p)
    close(model.evaluate(x, y, verbose=0), -np.log(p[np.arange(20), y]).mean())
    before = last.kernel.numpy()
    model.train_on_batch(x, y)
    np.testing.assert_array_equal(last.kernel.numpy(), before)  # its input is 0 now


def test_set_weights_then_predict() -> None:
    model = classifier()
    x = draws(20, 4)
    model.predict(x)
    weights = [draws(*w.shape, seed=i) for i, w in enumerate(model.get_weights())]
    model.set_weights(weights)
    hidden = np.tanh(x @ weights[0] + weights[1])
    close(model.predict(x), reference.softmax_forward(hidden @ weights[2] + weights[3]))


# predict


def test_predict_in_batches_of_any_size() -> None:
    model = classifier(layers.BatchNormalization(), layers.PReLU())
    x = draws(301, 4)
    model.fit(x, labels(301), verbose=0)
    before = x.copy()
    whole = model.predict(x, batch_size=301)
    assert whole.shape == (301, 3)
    assert whole.dtype == np.float32
    assert whole.flags.c_contiguous
    close(whole.sum(axis=1), np.ones(301), 1e-6)
    for batch in (None, 1, 2, 7, 32, 64, 256, 300, 1000):
        np.testing.assert_allclose(model.predict(x, batch_size=batch), whole, rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(x, before)


def test_predict_one_row() -> None:
    model = classifier()
    x = draws(9, 4)
    whole = model.predict(x)
    for i in range(9):
        one = model.predict(x[i : i + 1])
        assert one.shape == (1, 3)
        close(one, whole[i : i + 1], 1e-6)
        close(model.predict_on_batch(x[i : i + 1]), one, 1e-6)


def test_predict_is_repeatable_and_leaves_the_model_alone() -> None:
    model = classifier(layers.BatchNormalization(), layers.Dropout(0.5))
    x = draws(40, 4)
    before = model.get_weights()
    first = model.predict(x)
    np.testing.assert_array_equal(model.predict(x), first)
    np.testing.assert_array_equal(model(x), first)
    np.testing.assert_array_equal(model.predict_on_batch(x), first)
    assert all(same(model.get_weights(), before))
    first[...] = 0.0
    assert model.predict(x).any()


def test_predict_samples_of_several_axes() -> None:
    model = keras.Sequential([keras.Input((5, 4)), layers.Dense(3, "softmax")])
    x = draws(11, 5, 4)
    y = model.predict(x, batch_size=4)
    assert y.shape == (11, 5, 3)
    right = reference.softmax_forward((x @ model.get_weights()[0]).reshape(-1, 3))
    close(y, right.reshape(y.shape))


def test_predict_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier()
    for verbose in ("auto", 0, 1, 2):
        model.predict(draws(3, 4), verbose=verbose)
    assert capsys.readouterr() == ("", "")


def test_a_model_without_layers_is_the_identity() -> None:
    x = draws(3, 4)
    np.testing.assert_array_equal(keras.Sequential([keras.Input((4,))]).predict(x), x)


def test_a_call_in_training_mode() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), layers.Dropout(0.5), layers.Dropout(0.5)])
    kept = model(np.ones((100, 64)), training=True) != 0.0
    assert 0.2 < kept.mean() < 0.3  # both layers drop a half, each of its own
    normalized = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    y = normalized(7.0 + draws(50, 4), training=True)
    assert abs(y.mean()) < 1e-5


# evaluate and single batches


def test_evaluate_returns_what_keras_returns(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = draws(70, 4), labels(70)
    model = classifier()
    p = model.predict(x).astype(np.float64)
    loss = -np.log(p[np.arange(70), y]).mean()
    alone = model.evaluate(x, y, verbose=0)
    assert isinstance(alone, float)
    close(alone, loss)
    assert model.metrics_names == ["loss"]
    assert list(model.evaluate(x, y, verbose=0, return_dict=True)) == ["loss"]

    model = classifier(metrics=["accuracy"])
    accuracy = (p.argmax(axis=1) == y).mean()
    for batch in (None, 1, 16, 70, 100):
        made = model.evaluate(x, y, batch_size=batch, verbose=0)
        assert isinstance(made, list)
        close(made, [loss, accuracy])
    named = model.evaluate(x, y, verbose=0, return_dict=True)
    assert list(named) == ["loss", "accuracy"] == model.metrics_names
    close(list(named.values()), [loss, accuracy])
    assert capsys.readouterr().out == ""
    model.evaluate(x, y)
    assert capsys.readouterr().out.count("\n") == 1


def test_evaluate_weighs_samples() -> None:
    x, y = draws(70, 4), labels(70)
    weight = np.random.default_rng(5).uniform(0.0, 3.0, 70)
    model = classifier()
    p = model.predict(x).astype(np.float64)
    each = -np.log(p[np.arange(70), y])
    made = model.evaluate(x, y, sample_weight=weight, batch_size=16, verbose=0)
    close(made, (weight * each).mean())


def test_evaluate_some_steps() -> None:
    x, y = draws(70, 4), labels(70)
    model = classifier()
    first = model.evaluate(x[:32], y[:32], verbose=0)
    close(model.evaluate(x, y, batch_size=16, steps=2, verbose=0), first)


def test_evaluate_tells_of_numbers_that_are_none() -> None:
    model = classifier(metrics=["accuracy"])
    model.layers[0].kernel.value[...] = np.nan
    assert np.isnan(model.evaluate(draws(20, 4), labels(20), batch_size=8, verbose=0)[0])
    assert np.isnan(model.predict(draws(20, 4))).all()


def test_evaluate_changes_nothing() -> None:
    model = classifier(layers.BatchNormalization(), layers.Dropout(0.5))
    x, y = draws(40, 4), labels(40)
    before, iterations = model.get_weights(), model.optimizer.iterations
    first = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0) == first == model.test_on_batch(x, y)
    assert all(same(model.get_weights(), before))
    assert model.optimizer.iterations == iterations


def test_train_on_batch_forms() -> None:
    x, y = draws(20, 4), labels(20)
    model = classifier(metrics=["accuracy"])
    p = model.predict(x).astype(np.float64)
    right = [-np.log(p[np.arange(20), y]).mean(), (p.argmax(axis=1) == y).mean()]
    made = model.train_on_batch(x, y)  # as it was before the update
    assert isinstance(made, list)
    close(made, right)
    assert model.optimizer.iterations == 1
    named = model.train_on_batch(x, y, return_dict=True)
    assert list(named) == ["loss", "accuracy"]
    assert named["loss"] < made[0]
    assert isinstance(classifier().train_on_batch(x, y), float)
    assert list(model.test_on_batch(x, y, return_dict=True)) == ["loss", "accuracy"]


def test_train_on_batch_weighs_samples() -> None:
    x, y = draws(20, 4), labels(20)
    weight = np.random.default_rng(5).uniform(0.0, 3.0, 20)
    by_class = {0: 0.5, 2: 3.0}
    one, two = classifier(), classifier()
    p = one.predict(x).astype(np.float64)
    each = -np.log(p[np.arange(20), y])
    close(one.train_on_batch(x, y, sample_weight=weight), (weight * each).mean())
    weight = np.array([by_class.get(int(c), 1.0) for c in y])
    close(two.train_on_batch(x, y, class_weight=by_class), (weight * each).mean())
    with pytest.raises(ValueError, match="sample_weight or class_weight, not both"):
        two.train_on_batch(x, y, sample_weight=weight, class_weight=by_class)


def test_train_on_batch_is_a_step_of_fit() -> None:
    x, y = draws(48, 4), labels(48)
    one, two = (classifier(optimizer=keras.optimizers.Adam(0.01)) for _ in range(2))
    one.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for i in range(0, 48, 16):
        two.train_on_batch(x[i : i + 16], y[i : i + 16])
    assert all(same(one.get_weights(), two.get_weights()))


def test_batches_of_changing_size() -> None:
    model = classifier(optimizer=keras.optimizers.SGD(0.5))
    x, y = draws(64, 4), labels(64)
    start = model.evaluate(x, y, verbose=0)
    for n in (64, 1, 33, 2, 64, 17, 40, 5, 63, 64) * 3:
        assert np.isfinite(model.train_on_batch(x[:n], y[:n]))
    assert model.optimizer.iterations == 30
    assert model.evaluate(x, y, verbose=0) < start


# compile


def test_what_needs_compiling_says_so() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    x, y = draws(5, 4), draws(5, 3)
    for who in ("fit", "evaluate", "train_on_batch"):
        with pytest.raises(ValueError, match=rf"{who}: call model\.compile"):
            getattr(model, who)(x, y)
    model.compile("sgd")
    with pytest.raises(ValueError, match="fit: the model was compiled without a loss"):
        model.fit(x, y)
    model.predict(x)


def test_compiling_again_in_mid_life() -> None:
    x, y = draws(40, 4), labels(40)
    model = classifier(optimizer=keras.optimizers.SGD(0.5), metrics=["accuracy"])
    model.fit(x, y, epochs=3, verbose=0)
    trained = model.get_weights()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    assert all(same(model.get_weights(), trained))
    assert model.optimizer.iterations == 0
    assert isinstance(model.evaluate(x, y, verbose=0), float)
    history = model.fit(x, y, epochs=3, verbose=0).history
    assert list(history) == ["loss"]
    assert history["loss"][-1] < history["loss"][0]
    model.compile("sgd", "mse", ["mae"])
    one_hot = keras.utils.to_categorical(y, 3)
    error = model.predict(x).astype(np.float64) - one_hot
    close(model.evaluate(x, one_hot, verbose=0), [(error**2).mean(), np.abs(error).mean()])


@pytest.mark.parametrize(
    ("loss", "outputs", "sparse", "expected"),
    [
        ("sparse_categorical_crossentropy", 3, True, "SparseCategoricalAccuracy"),
        ("categorical_crossentropy", 3, False, "CategoricalAccuracy"),
        ("binary_crossentropy", 1, False, "BinaryAccuracy"),
    ],
)
def test_accuracy_by_shapes(loss: str, outputs: int, sparse: bool, expected: str) -> None:
    last = layers.Dense(outputs, "softmax" if outputs > 1 else "sigmoid")
    model = keras.Sequential([keras.Input((4,)), last])
    model.compile("sgd", loss, ["accuracy"])
    assert [type(m).__name__ for m in model.compiled_metrics] == [expected]
    x, truth = draws(50, 4), labels(50, max(2, outputs))
    y = truth if sparse or outputs == 1 else keras.utils.to_categorical(truth)
    p = model.predict(x)
    guess = p.argmax(axis=1) if outputs > 1 else (p[:, 0] > 0.5).astype(int)
    close(model.evaluate(x, y, verbose=0)[1], (guess == truth).mean())


def test_accuracy_follows_a_change_of_the_last_layer() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, "sigmoid")])
    model.compile("sgd", "mse", ["accuracy"])
    model.evaluate(draws(5, 4), np.ones(5), verbose=0)
    model.pop()
    model.add(layers.Dense(3, "softmax"))
    x, truth = draws(50, 4), labels(50)
    made = model.evaluate(x, keras.utils.to_categorical(truth, 3), verbose=0)[1]
    close(made, (model.predict(x).argmax(axis=1) == truth).mean())


@pytest.mark.parametrize(
    ("loss", "activation"),
    [("categorical_crossentropy", "softmax"), ("binary_crossentropy", "sigmoid"), ("mse", "tanh")],
)
def test_losses_of_outputs_of_several_axes(loss: str, activation: str) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 4)), layers.Dense(3, activation)])
    model.compile(keras.optimizers.SGD(0.5), loss, ["mae"])
    x = draws(20, 5, 4)
    y = keras.utils.to_categorical(labels(100)).reshape(20, 5, 3)
    weight = np.random.default_rng(5).uniform(0.0, 3.0, 20)
    p = model.predict(x).astype(np.float64)
    each = {
        "categorical_crossentropy": lambda: -(y * np.log(p)).sum(axis=-1),
        "binary_crossentropy": lambda: -np.log(np.where(y > 0, p, 1.0 - p)).mean(axis=-1),
        "mse": lambda: ((p - y) ** 2).mean(axis=-1),
    }[loss]()
    made = model.evaluate(x, y, batch_size=8, sample_weight=weight, verbose=0)
    close(made, [(weight[:, None] * each).mean(), np.abs(p - y).mean()])
    history = model.fit(x, y, epochs=20, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.98 * history[0]


# Frozen layers


def test_trainable_switched_between_fits() -> None:
    x, y = draws(60, 4), labels(60)
    model = classifier(layers.BatchNormalization(), optimizer=keras.optimizers.Adam(0.01))
    model.fit(x, y, verbose=0)
    dense, normalization, last = model.layers

    def changed() -> list[bool]:
        before = model.get_weights()
        model.fit(x, y, verbose=0)
        return [not equal for equal in same(model.get_weights(), before)]

    assert changed() == [True] * 8
    dense.trainable = False
    assert changed() == [False] * 2 + [True] * 6
    normalization.trainable = False  # and with it the moving statistics
    assert changed() == [False] * 6 + [True] * 2
    dense.trainable = True
    assert changed() == [True] * 2 + [False] * 4 + [True] * 2
    last.trainable = False
    assert changed() == [True] * 2 + [False] * 6
    last.trainable = True
    assert changed() == [True] * 2 + [False] * 4 + [True] * 2
    last.kernel.trainable = False
    assert changed() == [True] * 2 + [False] * 5 + [True]
    model.trainable = False
    assert not model.trainable
    assert changed() == [False] * 8
    assert np.isfinite(model.evaluate(x, y, verbose=0))
    model.trainable = True
    last.kernel.trainable = True
    assert changed() == [True] * 8


def test_a_frozen_layer_below_changes_no_gradient_above() -> None:
    x, y = draws(60, 4), labels(60)
    free, frozen = (classifier(optimizer=keras.optimizers.SGD(0.1)) for _ in range(2))
    frozen.layers[0].trainable = False
    free.train_on_batch(x, y)
    frozen.train_on_batch(x, y)
    assert same(free.get_weights(), frozen.get_weights()) == [False, False, True, True]


def test_frozen_normalization_uses_moving_statistics() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = 5.0 + 2.0 * draws(40, 4)
    model.fit(x, x, epochs=3, verbose=0)
    model.layers[0].trainable = False
    other = 20.0 * draws(30, 4, seed=1)
    gamma, beta, mean, variance = model.get_weights()
    y = reference.batch_norm_inference(other, gamma, beta, (mean, variance), 1e-3)
    close(model.predict(other), y)
    close(model.train_on_batch(other, np.zeros((30, 4))), (y**2).mean())
    close(model.layers[0](other, training=True), y)
    assert all(same(model.get_weights(), [gamma, beta, mean, variance]))


def gradients_of_a_step(model: keras.Sequential, x: Any, y: Any) -> dict[str, F32]:
    """What an update at learning rate 1 takes away; the model is left as it was."""
    before = model.get_weights()
    model.optimizer.learning_rate = 1.0
    model.train_on_batch(x, y)
    model.optimizer.learning_rate = 0.0
    gradients = {
        v.path: w - v.numpy()
        for v, w in zip(model.variables, before, strict=True)
        if v in model.trainable_variables
    }
    model.set_weights(before)
    return gradients


def test_gradient_through_frozen_normalization_by_finite_differences() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, "tanh"),
            layers.BatchNormalization(gamma_initializer="random_uniform"),
            layers.Dense(5, "softplus"),
            layers.BatchNormalization(scale=False),
            layers.Dense(3, "softmax"),
        ]
    )
    x, y = draws(20, 4), labels(20)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, verbose=0)
    weights = model.get_weights()
    weights[2] += 1.5  # gamma: as it starts the layer would pass next to nothing
    model.set_weights(weights)
    model.layers[1].trainable = False
    model.layers[3].trainable = False
    gradients = gradients_of_a_step(model, x, y)
    assert len(gradients) == 6
    arrays = {v.path: v.value for v in model.trainable_variables}
    assert_gradients(lambda: model.train_on_batch(x, y), arrays, gradients)


FIRST: dict[str, tuple[dict[str, bool], list[str], dict[str, Any]]] = {
    "all of it": ({}, [], {}),
    "no gamma": ({"scale": False}, [], {}),
    "no beta": ({"center": False}, [], {}),
    "neither": ({"scale": False, "center": False}, [], {}),
    "gamma frozen": ({}, ["gamma"], {}),
    "beta frozen": ({}, ["beta"], {}),
    "no bias": ({}, [], {"use_bias": False}),
    "bias frozen": ({}, ["bias"], {}),
    "kernel frozen": ({}, ["kernel"], {}),
    "activation": ({}, [], {"activation": "tanh"}),
}


@pytest.mark.parametrize("case", FIRST)
@pytest.mark.parametrize("flatten", [True, False])
def test_gradient_of_a_first_normalization_by_finite_differences(case: str, flatten: bool) -> None:
    normal, frozen, dense = FIRST[case]
    keras.utils.set_random_seed(0)
    gamma = keras.initializers.RandomUniform(0.5, 2.0)
    model = keras.Sequential([layers.Flatten(input_shape=(3, 2))] if flatten else [])
    model.add(layers.BatchNormalization(gamma_initializer=gamma, **normal))
    model.add(layers.Dense(5, **dense))
    model.add(layers.Activation("softplus"))
    model.add(layers.Dense(3, "softmax"))
    shape = (3, 2) if flatten else (6,)
    model.build((None, *shape))
    for variable in (v for layer in model.layers[:-1] for v in layer.variables):
        variable.trainable = variable.trainable and variable.name not in frozen
    x, y = 2.0 + draws(20, *shape), labels(20)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    gradients = gradients_of_a_step(model, x, y)
    arrays = {v.path: v.value for v in model.trainable_variables}
    assert set(gradients) == set(arrays)
    assert_gradients(lambda: model.train_on_batch(x, y), arrays, gradients, elements=12)


# Warm-up of batch normalization


@pytest.mark.parametrize("momentum", [0.99, 0.5])
@pytest.mark.parametrize("debias", [True, False])
def test_moving_statistics_follow_the_formula(momentum: float, debias: bool) -> None:
    normalization = layers.BatchNormalization(momentum=momentum, debias=debias)
    model = keras.Sequential([keras.Input((3,)), normalization, layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    x = np.float32([1e3, -5.0, 0.0]) + np.float32([1.0, 3.0, 0.01]) * draws(57, 3)
    y = draws(57, 2)
    means, variances = [], []
    for epoch in range(3):
        model.fit(x, y, batch_size=10, shuffle=False, epochs=1, verbose=0)
        for i in range(0, 57, 10):  # the last has 7 rows and counts as much
            mean, variance = reference.batch_norm_statistics(x[i : i + 10])
            means.append(mean)
            variances.append(variance)
        _, _, moving_mean, moving_variance = normalization.get_weights()
        right = reference.batch_norm_moving(np.zeros(3), means, momentum, debias)
        np.testing.assert_allclose(moving_mean, right, rtol=1e-6, atol=1e-6)
        right = reference.batch_norm_moving(np.ones(3), variances, momentum, debias)
        np.testing.assert_allclose(moving_variance, right, rtol=1e-5)
        assert model.optimizer.iterations == 6 * (epoch + 1)


def raw_data() -> tuple[F32, NDArray[np.int64]]:
    """Two classes that one feature tells apart, beside others of quite different scale."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 600)
    scale = np.array([1e3, 1.0, 1e-2, 50.0])
    x = rng.standard_normal((600, 4)) * scale + np.array([3e4, -7.0, 0.5, 900.0])
    x[:, 0] += 3e3 * y
    return x.astype(np.float32), y


def accuracy_after_one_epoch(debias: bool) -> float:
    keras.utils.set_random_seed(0)
    x, y = raw_data()
    model = keras.Sequential(
        [
            layers.BatchNormalization(debias=debias),
            layers.Dense(16, "elu"),
            layers.Dense(2, "softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.2), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x, y, epochs=1, verbose=0)
    return float(model.evaluate(x, y, verbose=0)[1])


def test_evaluation_is_good_after_one_epoch_on_raw_data() -> None:
    assert accuracy_after_one_epoch(debias=True) > 0.85
    assert accuracy_after_one_epoch(debias=False) < 0.65  # what debiasing is for


@pytest.mark.parametrize("through", ["layer", "model"])
def test_set_weights_makes_the_statistics_warm(through: str) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(momentum=0.9)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    weights = [np.ones(3), np.zeros(3), np.full(3, 100.0), np.full(3, 9.0)]
    (model if through == "model" else model.layers[0]).set_weights(weights)
    x = draws(30, 3)
    mean, variance = np.full(3, 100.0), np.full(3, 9.0)
    for _ in range(3):
        model.train_on_batch(x, x)
        mean = 0.9 * mean + 0.1 * x.mean(axis=0, dtype=np.float64)
        variance = 0.9 * variance + 0.1 * x.var(axis=0, dtype=np.float64)
        close(model.get_weights()[2], mean)
        close(model.get_weights()[3], variance)


@pytest.mark.parametrize(("ratio", "bound"), [(1e2, 1e-5), (1e4, 2e-5), (1e6, 1e-4)])
@pytest.mark.parametrize("rows", [32, 500])
@pytest.mark.parametrize("through", ["training", "recalibrate"])
def test_inference_is_exact_far_from_zero(
    ratio: float, bound: float, rows: int, through: str
) -> None:
    """With moving statistics of its own making, whose first batch counts in full."""
    model = keras.Sequential([keras.Input((20,)), layers.BatchNormalization()])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = draws(rows, 20) + np.float32(ratio)
    if through == "training":
        model.train_on_batch(x, x)
    else:
        model.recalibrate(x)
    expected = reference.batch_norm_forward(x, None, None, 1e-3)[0]
    assert np.abs(model.predict(x) - expected).max() <= bound


# Names of Keras that are not here


@pytest.mark.parametrize("name", ["Model", "GradientTape", "backend", "ops", "mixed_precision"])
def test_missing_names_say_what_to_use(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'evengrad' has no attribute '{name}': ") as caught:
        getattr(keras, name)
    assert "\n" not in str(caught.value)
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        _ = keras.nonsense


def test_padding_stays_finite_from_step_to_step() -> None:
    """Layers in place run over the padding of the batch, too: exp(exp(exp(...)))."""
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dropout(0.5, seed=1), layers.Activation("exponential"),
         layers.Dense(3)]
    )  # fmt: skip
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    x = np.random.default_rng(0).standard_normal((64, 6), dtype=np.float32)
    model.fit(x, np.zeros((64, 3)), 16, epochs=10, verbose=0)
    program = model._step(16, train=True).program
    kept = [t for pair in program.saved.values() if isinstance(pair, tuple) for t in pair]
    assert kept
    for t in kept:
        assert np.isfinite(_arena.padding(t)).all()


def test_a_subclass_that_says_how_it_trains() -> None:
    with pytest.raises(TypeError, match="Mine: expected no method train_step"):

        class Mine(keras.Sequential):
            def train_step(self, data: Any) -> Any:
                return data


def test_a_trained_model_is_freed_at_once() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit([[1.0, 2.0]], [1.0], verbose=0)
    assert history.model is model
    gone = weakref.ref(model)
    del model
    assert gone() is None
    assert history.epoch == [0]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_summary_where_lines_cannot_be_printed(encoding: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with contextlib.redirect_stdout(out):
        keras.Sequential([keras.Input((2,)), layers.Dense(1, name="größe \u03b1")]).summary()
    out.seek(0)
    text = out.read()
    assert "+" + "-" * 10 in text
    assert "| Layer (type)" in text
    assert " ?" in text  # alpha
