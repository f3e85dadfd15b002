"""Residual blocks and models inside models: structure, gradients, what recording makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import _core, initializers, layers
from evengrad._recording import record_step
from gradcheck import assert_gradients
from numpy.typing import NDArray

F32 = NDArray[np.float32]
SGD = keras.optimizers.SGD


def draws(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def paths(thing: Any) -> list[str]:
    return [v.path for v in thing.variables]


# Structure


def test_paths_and_names() -> None:
    keras.utils.clear_session()
    inner = keras.Sequential([layers.Dense(3), layers.Residual([layers.Dense(3)])])
    block = layers.Residual([layers.Dense(5), inner, layers.BatchNormalization()])
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), block], name="net")
    assert paths(model) == [
        "net/dense_2/kernel",
        "net/dense_2/bias",
        "net/residual_1/dense_3/kernel",
        "net/residual_1/dense_3/bias",
        "net/residual_1/sequential/dense/kernel",
        "net/residual_1/sequential/dense/bias",
        "net/residual_1/sequential/residual/dense_1/kernel",
        "net/residual_1/sequential/residual/dense_1/bias",
        "net/residual_1/batch_normalization/gamma",
        "net/residual_1/batch_normalization/beta",
        "net/residual_1/batch_normalization/moving_mean",
        "net/residual_1/batch_normalization/moving_variance",
        "net/residual_1/projection/kernel",
    ] or paths(model)[0].startswith("net/dense")
    assert len(set(paths(model))) == len(paths(model))
    assert all(path.startswith("net/") for path in paths(model))
    assert paths(block)[-1] == "net/residual_1/projection/kernel"
    assert paths(inner)[-2:] == [
        "net/residual_1/sequential/residual/dense_1/kernel",
        "net/residual_1/sequential/residual/dense_1/bias",
    ]


def test_a_model_built_before_keeps_its_paths() -> None:
    inner = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")], name="inner")
    outer = keras.Sequential([inner, layers.Dense(2, name="e")], name="outer")
    assert outer.built
    assert outer.input_shape == (None, 4)
    assert paths(outer) == ["inner/d/kernel", "inner/d/bias", "outer/e/kernel", "outer/e/bias"]
    assert outer.variables[0] is inner.variables[0]


def test_the_projection_is_there_where_widths_differ() -> None:
    same, other = layers.Residual([layers.Dense(4)]), layers.Residual([layers.Dense(3)])
    for block in (same, other):
        block.build((2, 4))
    assert same.projection is None
    assert other.projection is not None
    assert [v.shape for v in other.variables] == [(4, 3), (3,), (4, 3)]
    assert other.projection.bias is None
    assert other.output_shape == (2, 3)
    given = layers.Residual([layers.Dense(3)], initializers.Constant(2.0))
    given.build((4,))
    np.testing.assert_array_equal(given.get_weights()[-1], np.full((4, 3), 2.0))


def test_bad_branches() -> None:
    for bad in ([], None, "dense", layers.Dense(2), 5):
        with pytest.raises(TypeError, match='Residual "r": expected a list of Layer objects, got'):
            layers.Residual(bad, name="r")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='Residual "r": expected a Layer or a Sequential, got 5'):
        layers.Residual([5], name="r")  # type: ignore[list-item]
    twin = layers.Dense(2, name="twin")
    with pytest.raises(
        ValueError, match='expected layers of different names, got two Dense "twin"'
    ):
        layers.Residual([twin, layers.Dense(2, name="twin")])
    with pytest.raises(ValueError, match='"projection" is the name of a layer of its own'):
        layers.Residual([layers.Dense(2, name="projection")])
    with pytest.raises(ValueError, match=r"expected layers that change the last axis at most.*12"):
        layers.Residual([layers.Flatten()]).build((4, 3))
    with pytest.raises(ValueError, match="expected fixup to be at least 1, got 0"):
        layers.Residual([layers.Dense(2)], fixup=0)
    with pytest.raises(ValueError, match="expected a Dense among its layers for fixup=3"):
        layers.Residual([layers.ReLU()], fixup=3).build((4,))


def test_each_layer_is_there_once() -> None:
    shared = layers.Dense(3, name="shared")
    block = layers.Residual([shared])
    with pytest.raises(ValueError, match="m: expected each layer once, got 'shared' again"):
        keras.Sequential([block, keras.Sequential([shared])], name="m")
    with pytest.raises(ValueError, match="expected each layer once, got 'shared' again"):
        keras.Sequential([layers.Dense(3), block, shared])
    model = keras.Sequential([layers.Dense(3)], name="m")
    with pytest.raises(ValueError, match="m: it cannot be a part of itself"):
        model.add(model)
    with pytest.raises(ValueError, match="m: it cannot be a part of itself"):
        model.add(keras.Sequential([layers.Residual([model])]))
    assert len(model.layers) == 1


def test_trainable_goes_down() -> None:
    block = layers.Residual([layers.Dense(3), keras.Sequential([layers.Dense(5)])])
    model = keras.Sequential([keras.Input((4,)), block])
    assert model.trainable_variables == model.variables
    block.trainable = False
    assert not model.trainable
    assert model.trainable_variables == []
    assert model.non_trainable_variables == model.variables
    block.trainable = True
    assert len(model.trainable_variables) == 5
    frozen = layers.Residual([layers.Dense(3), layers.Dense(3)], trainable=False)
    frozen.build((4,))
    assert frozen.trainable_variables == []
    part = layers.Residual([layers.Dense(3, trainable=False), layers.Dense(3)])
    part.build((3,))
    assert [v.name for v in part.trainable_variables] == ["kernel", "bias"]
    assert layers.Residual.from_config(part.get_config()).layers[0].trainable is False


def build_all() -> keras.Sequential:
    """One of everything that can be inside, with widths that change."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Residual(
                [
                    layers.LayerNormalization(),
                    layers.Dense(8, "elu"),
                    layers.BatchNormalization(),
                    layers.PReLU(initializers.Constant(1.0)),  # no kink
                    layers.Dense(5),
                ]
            ),
            keras.Sequential(
                [
                    layers.Activation("tanh"),
                    layers.Residual([layers.Dense(5, "silu"), layers.Activation("sigmoid")]),
                    keras.Sequential([layers.Dense(4), layers.BatchNormalization()]),
                ]
            ),
            layers.Residual([layers.Residual([layers.Dense(4)]), layers.ELU()]),
            layers.Dense(3, "softmax"),
        ]
    )


def test_configuration_round_trip() -> None:
    keras.utils.set_random_seed(0)
    model = build_all()
    config = json.loads(json.dumps(model.get_config()))
    other = keras.Sequential.from_config(config)
    assert json.dumps(other.get_config()) == json.dumps(config)
    assert paths(other) == paths(model)
    part = model.layers[1]
    again = keras.Sequential.from_config(part.get_config())
    assert [v.shape for v in again.variables] == [v.shape for v in part.variables]
    other.set_weights(model.get_weights())
    x = draws(9, 6)
    np.testing.assert_array_equal(other.predict(x), model.predict(x))
    part = layers.deserialize(layers.serialize(model.layers[1]))
    assert isinstance(part, keras.Sequential)
    with pytest.raises(ValueError, match=r"layer: expected one of ELU, .*Sequential, got 'nope'"):
        layers.deserialize({"class_name": "nope", "config": {}})
    with pytest.raises(ValueError, match='layer: expected a dict with "class_name"'):
        layers.deserialize(["Dense"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="serialize: expected a Layer or a Sequential, got 5"):
        layers.serialize(5)  # type: ignore[arg-type]


class Twice(layers.Layer):
    """In Python."""

    def call(self, inputs: F32) -> F32:
        return inputs * 2.0

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> F32:
        return dy * 2.0


def test_layers_of_ones_own_by_name() -> None:
    config = layers.serialize(Twice(name="t"))
    made = layers.deserialize(config, custom_objects={"Twice": Twice})
    assert isinstance(made, Twice)
    assert made.name == "t"
    assert layers.deserialize({"class_name": "layer_normalization"}).axis == -1


def test_weights_go_out_and_in() -> None:
    model = build_all()
    weights = [draws(*w.shape, seed=i) for i, w in enumerate(model.get_weights())]
    weights = [np.abs(w) for w in weights]
    model.set_weights(weights)
    for given, got in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, given)
    before = model.get_weights()
    with pytest.raises(ValueError, match="expected"):
        model.set_weights([*weights[:-1], np.full(3, np.nan)])
    for then, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def test_summary() -> None:
    said: list[str] = []
    keras.utils.clear_session()
    model = build_all()
    model.summary(print_fn=said.append)
    text = said[0]
    assert "residual (Residual, projected)" in text or "Residual, projected" in text
    assert "(Sequential)" in text
    assert "LayerNormalization" not in text
    counts = [line.split("│")[3].strip() for line in text.splitlines() if line.startswith("│")]
    assert [int(n.replace(",", "")) for n in counts] == [
        part.count_params() for part in model.layers
    ]
    assert f"Total params: {model.count_params():,}" in text
    model.summary(said.append, expand_nested=True)
    lines = said[1].splitlines()
    (line,) = [line for line in lines if "(LayerNormalization)" in line]
    assert line.startswith("│   layer_normalization ")
    assert sum("projection (Dense)" in line for line in lines) == 1
    assert sum("    batch_normalization" in line for line in lines) == 1


# What it computes


def residual_by_hand(x: F32, *functions: Callable[[F32], F32]) -> F32:
    y = x
    for function in functions:
        y = function(y)
    return y


def test_forward_is_the_sum() -> None:
    branch = [layers.Dense(4, "elu"), layers.LayerNormalization(), layers.Dense(4)]
    block = layers.Residual(branch)
    x = draws(7, 4)
    y = block(x)
    np.testing.assert_array_equal(y, x + residual_by_hand(x, *branch))  # type: ignore[arg-type]
    projected = layers.Residual([layers.Dense(3)], name="p")
    y = projected(x)
    kernel = projected.get_weights()[-1]
    np.testing.assert_allclose(y, x @ kernel + projected.layers[0](x), atol=1e-6)


@pytest.mark.parametrize("name", ["tanh", "silu", "elu", "softmax", "gelu", "relu", "sigmoid"])
@pytest.mark.parametrize("before", [True, False])
def test_activations_around_a_shortcut_leave_its_input_alone(name: str, before: bool) -> None:
    """Activations run in place: not over the x that the sum or a slope still reads."""
    block = layers.Residual([layers.Activation(name), layers.Dropout(0.0), layers.Activation(name)])
    stack: list[Any] = [layers.Activation(name)] if before else []
    model = keras.Sequential([keras.Input((5,)), *stack, block, layers.Activation(name)])
    f = getattr(keras.activations, name)
    x = draws(9, 5)
    inner = f(x) if before else x
    right = f(inner + f(f(inner)))
    np.testing.assert_allclose(model.predict(x), right, atol=1e-6)
    np.testing.assert_allclose(model(x, training=True), right, atol=1e-6)


def check_gradients(model: keras.Sequential, x: F32, y: Any, loss: str, **options: Any) -> None:
    """All gradients of a training step, by finite differences of the loss of the same step."""
    model.compile(SGD(0.0), loss)
    model.train_on_batch(x, y)
    recording = model._step(len(x), train=True)
    gradients = {v.path: g.copy() for v, g in recording.program.gradients.items()}
    arrays = {v.path: v.storage for v in recording.program.gradients}
    assert set(arrays) == {v.path for v in model.trainable_variables}

    def value() -> float:
        recording.totals[...] = 0.0
        recording.program.run_batches(x, y, first=0, steps=1, seed=model.seed)
        return float(recording.totals[0]) / len(x)

    assert_gradients(value, arrays, gradients, **options)


def test_gradients_by_finite_differences() -> None:
    keras.utils.set_random_seed(1)
    model = build_all()
    labels = np.arange(12, dtype=np.int32) % 3
    x = draws(12, 6)
    check_gradients(model, x, labels, "sparse_categorical_crossentropy", elements=12, kinks=0.1)


@pytest.mark.parametrize("name", ["tanh", "silu", "softmax", "gelu_tanh", "softplus"])
@pytest.mark.parametrize(
    "last", ["dense", "activation", "layer_norm", "batch_norm", "prelu", "rescaling", "residual"]
)
def test_gradients_of_blocks_that_end_in_any_way(name: str, last: str) -> None:
    """The sum's dy is read by the branch, in place, and once more by the shortcut."""
    keras.utils.set_random_seed(2)
    ends: dict[str, list[Any]] = {
        "dense": [layers.Dense(4)],
        "activation": [layers.Dense(4, name), layers.Activation(name)],
        "layer_norm": [layers.LayerNormalization()],
        "batch_norm": [layers.BatchNormalization()],
        "prelu": [  # on both sides of its kink and far from it
            layers.Rescaling(1.0, [5.0, -5.0, 5.0, -5.0]),
            layers.PReLU(initializers.Constant(0.5)),
        ],
        "rescaling": [layers.Rescaling(-2.0, 1.0)],
        "residual": [layers.Residual([layers.Activation(name)])],
    }
    block = layers.Residual([layers.Dense(4, name), *ends[last]])
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), block, layers.Activation(name)])
    check_gradients(model, draws(8, 4), draws(8, 4, seed=1), "mse")


def test_gradients_with_draws() -> None:
    """Dropout of every kind inside, drawn alike each time."""
    keras.utils.set_random_seed(3)
    block = layers.Residual(
        [
            layers.Dropout(0.3),
            layers.Dense(4, "tanh"),
            layers.GaussianDropout(0.2),
            layers.AlphaDropout(0.2),
            layers.GaussianNoise(0.1),
            layers.Dense(4),
            layers.Dropout(0.3),
        ]
    )
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), block])
    check_gradients(model, draws(8, 4), draws(8, 4, seed=1), "mse")


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_gradients_of_samples_of_several_axes(shape: tuple[int, ...]) -> None:
    keras.utils.set_random_seed(4)
    axes = list(range(1, len(shape) + 1))
    model = keras.Sequential(
        [
            keras.Input(shape),
            layers.Residual([layers.Dense(5, "tanh"), layers.PReLU(), layers.Dense(4)]),
            layers.Residual([layers.LayerNormalization(axes), layers.Dense(6)]),
            layers.Reshape((-1, 2)),
            layers.Rescaling(0.5, 1.0),
            layers.Flatten(),
        ]
    )
    x = draws(5, *shape)
    y = draws(5, *model.output_shape[1:], seed=1)  # type: ignore[arg-type]
    check_gradients(model, x, y, "mse", elements=12, kinks=0.1)


@pytest.mark.parametrize("frozen", range(6))
def test_gradients_with_frozen_parts(frozen: int) -> None:
    """No gradient is computed below the lowest trainable layer, all above are right."""
    keras.utils.set_random_seed(5)
    a, b, c = (layers.Dense(4, "tanh") for _ in range(3))
    block = layers.Residual([a, layers.BatchNormalization(), b, layers.Dense(5)])
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([c]), block, layers.Dense(2)])
    sets: list[list[Any]] = [
        [c],
        [c, a, block.layers[1]],
        [block],
        [c, block],
        [c, a, b, block.layers[1], block.layers[3]],  # the projection alone
        [a, b],
    ]
    for layer in sets[frozen]:
        layer.trainable = False
    check_gradients(model, draws(8, 4), draws(8, 2, seed=1), "mse")


class Spy(layers.Dense):
    """Notes whether the gradient of its input was asked for."""

    asked: list[bool]

    def backward(self, program: Any, dy: F32, *, need_dx: bool = True) -> F32 | None:
        self.asked = [need_dx]
        return super().backward(program, dy, need_dx=need_dx)


def test_no_gradient_is_computed_that_nobody_needs() -> None:
    below, a, b = Spy(4), Spy(4), Spy(5)
    block = layers.Residual([a, b])
    model = keras.Sequential([keras.Input((4,)), below, block])
    x, y = draws(8, 4), draws(8, 5)
    model.compile(SGD(0.1), "mse")

    def asked() -> list[Any]:
        for spy in (below, a, b):
            spy.asked = []
        model.train_on_batch(x, y)
        return [spy.asked for spy in (below, a, b)]

    assert asked() == [[False], [True], [True]]
    below.trainable = False
    assert asked() == [[], [False], [True]]
    a.trainable = False
    assert asked() == [[], [], [False]]
    block.trainable = False
    assert asked() == [[], [], []]


def test_a_layer_in_python_inside() -> None:
    keras.utils.set_random_seed(6)
    block = layers.Residual([layers.Dense(4, "tanh"), Twice(), layers.Activation("sigmoid")])
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), block, Twice()])
    check_gradients(model, draws(8, 4), draws(8, 4, seed=1), "mse")
    for other in (layers.Rescaling(2.0), layers.Normalization(mean=0.0, variance=0.25)):
        alone = keras.Sequential([keras.Input((4,)), layers.Residual([other])])
        np.testing.assert_array_equal(alone.predict(draws(3, 4)), 3.0 * draws(3, 4))
    alone = keras.Sequential([keras.Input((4,)), layers.Residual([Twice()])])
    np.testing.assert_array_equal(alone.predict(draws(3, 4)), 3.0 * draws(3, 4))


# Recording


def sizes(parts: Any, shape: tuple[int, ...], loss: str) -> int:
    """Number of kernels of a training step."""
    return len(record_step(parts, shape, 8, keras.losses.get(loss), [], [], SGD(0.1)).program)


def nested(parts: list[Any]) -> list[Any]:
    return [keras.Sequential([keras.Sequential(parts[:2]), *parts[2:4]]), *parts[4:]]


@pytest.mark.parametrize("last", ["softmax", "layer", "nested"])
def test_a_nested_model_is_recorded_like_a_flat_one(last: str) -> None:
    """Folded normalization, fused loss, and the same bits."""

    def parts() -> list[Any]:
        keras.utils.set_random_seed(7)
        end = (
            [layers.Dense(3), layers.Softmax()] if last == "layer" else [layers.Dense(3, "softmax")]
        )
        return [
            layers.BatchNormalization(),
            layers.Dense(16, "elu"),
            layers.BatchNormalization(),
            layers.Dense(16, "elu"),
            *end,
        ]

    def wrapped() -> list[Any]:
        made = nested(parts())
        return [made[0], keras.Sequential(made[1:])] if last == "nested" else made

    x, y = draws(32, 10), np.arange(32) % 3
    results, counts = [], []
    for make in (parts, wrapped):
        model = keras.Sequential([keras.Input((10,)), *make()])
        model.compile(SGD(0.1, clipnorm=1.0), "sparse_categorical_crossentropy", ["accuracy"])
        keras.utils.set_random_seed(8)
        model.fit(x, y, epochs=3, batch_size=8, verbose=0)
        counts.append(sizes(model.layers, (10,), "sparse_categorical_crossentropy"))
        results.append([w.tobytes() for w in model.get_weights()] + [model.predict(x).tobytes()])
    assert counts[0] == counts[1]
    assert results[0] == results[1]


def test_flatten_first_in_a_nested_model_costs_nothing() -> None:
    flat = keras.Sequential([layers.Flatten(input_shape=(4, 5)), layers.Dense(3)])
    inside = keras.Sequential(
        [keras.Sequential([layers.Flatten(input_shape=(4, 5))]), layers.Dense(3)]
    )
    assert sizes(flat.layers, (4, 5), "mse") == sizes(inside.layers, (4, 5), "mse")


def test_a_last_block_is_not_fused() -> None:
    """x + softmax(x) is no softmax, whatever ends the branch."""
    keras.utils.set_random_seed(9)
    block = layers.Residual([layers.Dense(3, "softmax")])
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3, "sigmoid"), block])
    x = draws(8, 3)
    labels = np.arange(8, dtype=np.int32) % 3
    model.compile(SGD(0.0), "sparse_categorical_crossentropy")
    p = model.predict(x).astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    right = -np.log(p[np.arange(8), labels]).mean()
    assert model.evaluate(x, labels, verbose=0) == pytest.approx(right, rel=1e-5)
    check_gradients(model, x, labels, "sparse_categorical_crossentropy")


def test_changes_inside_take_effect_at_the_next_step() -> None:
    dense, act = layers.Dense(4), layers.LeakyReLU(0.5)
    block = layers.Residual([dense, keras.Sequential([act])])
    model = keras.Sequential([keras.Input((4,)), block, layers.Dense(4)])
    x = draws(8, 4)
    model.compile(SGD(0.1), "mse")
    model.train_on_batch(x, x)
    before = dense.get_weights()
    dense.trainable = False
    model.train_on_batch(x, x)
    np.testing.assert_array_equal(dense.get_weights()[0], before[0])
    dense.trainable = True
    model.train_on_batch(x, x)
    assert not np.array_equal(dense.get_weights()[0], before[0])
    y = model.predict(x)
    act.activation = layers.LeakyReLU(0.1).activation
    assert not np.array_equal(model.predict(x), y)


def test_what_is_where_counts_too() -> None:
    """Moving a layer out of a nested block, with the same layers in the same order."""
    model = keras.Sequential([keras.Input((4,)), layers.Residual([layers.Dense(4)])])
    last = layers.Dense(4)
    block = model.layers[0]
    assert isinstance(block, layers.Residual)
    block.layers.append(last)
    last.build((4,))
    x = draws(3, 4)
    first, second = (part for part in block.layers)
    np.testing.assert_allclose(model.predict(x), x + second(first(x)), atol=1e-6)  # type: ignore[arg-type]
    model.layers.append(block.layers.pop())
    np.testing.assert_allclose(model.predict(x), second(x + first(x)), atol=1e-6)  # type: ignore[arg-type]


def test_a_part_trains_on_its_own() -> None:
    inner = keras.Sequential([layers.Dense(4, "tanh", input_shape=(4,)), layers.Dense(2)])
    outer = keras.Sequential([inner, layers.Dense(1)])
    x = draws(32, 4)
    for model, width in ((inner, 2), (outer, 1), (inner, 2), (outer, 1)):
        model.compile(SGD(0.05), "mse")
        before = inner.get_weights()
        model.fit(x, draws(32, width, seed=1), epochs=2, verbose=0)
        assert not np.array_equal(before[0], inner.get_weights()[0])
    np.testing.assert_allclose(outer.predict(x), outer.layers[1](inner.predict(x)), atol=1e-6)


def test_training_mode_called_at_once() -> None:
    model = keras.Sequential(
        [keras.Sequential([layers.Dropout(0.5)]), layers.Residual([layers.Dropout(0.5)])]
    )
    x = np.ones((50, 20), np.float32)
    np.testing.assert_array_equal(model(x), 2.0 * x)
    values = set(np.unique(model(x, training=True)).tolist())
    assert values == {0.0, 2.0, 6.0}


@pytest.mark.parametrize("rows", [5, 33, 200])
def test_the_same_bits_for_any_number_of_threads(rows: int) -> None:
    results = []
    before = keras.get_num_threads()
    try:
        for threads in (1, 2, 2, 2):
            _core.set_num_threads(threads)
            keras.utils.set_random_seed(10)
            wide = [layers.LayerNormalization(), layers.Dense(64, "gelu"), layers.Dropout(0.1)]
            model = keras.Sequential(
                [
                    keras.Input((64,)),
                    layers.GaussianNoise(0.1),
                    layers.Residual([*wide, layers.Dense(64), layers.AlphaDropout(0.1)]),
                    keras.Sequential([layers.Residual([layers.Dense(48, "elu")])]),
                    layers.Dense(3, "softmax"),
                ]
            )
            model.compile("adam", "sparse_categorical_crossentropy")
            keras.utils.set_random_seed(11)
            model.fit(draws(2 * rows, 64), np.arange(2 * rows) % 3, batch_size=rows, verbose=0)
            results.append([w.tobytes() for w in model.get_weights()])
    finally:
        _core.set_num_threads(before)
    assert all(result == results[0] for result in results)


# What goes through the layers with data


def normalized_inside() -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Residual(
                [layers.Dense(8, "elu"), layers.BatchNormalization(name="one"), layers.Dense(5)]
            ),
            keras.Sequential(
                [
                    layers.BatchNormalization(name="two"),
                    layers.Residual([layers.BatchNormalization(name="three"), layers.Dense(5)]),
                ]
            ),
        ]
    )


def test_recalibrate_goes_inside() -> None:
    keras.utils.set_random_seed(15)
    model = normalized_inside()
    x = 3.0 * draws(500, 6) + 2.0
    model.recalibrate(x)
    first, nested = model.layers
    assert isinstance(first, layers.Residual)
    assert isinstance(nested, keras.Sequential)
    two, second = nested.layers
    assert isinstance(second, layers.Residual)
    seen = {"one": first.layers[0](x), "two": first(x), "three": two(first(x))}
    for layer in (first.layers[1], two, second.layers[0]):
        mean, variance = layer.get_weights()[2:]
        inputs = seen[layer.name].astype(np.float64)
        np.testing.assert_allclose(mean, inputs.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(variance, inputs.var(axis=0), rtol=1e-5)


def test_lsuv_goes_inside() -> None:
    keras.utils.set_random_seed(16)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(16, "relu", name="first"),
            layers.Residual([layers.Dense(16, "relu", name="a"), layers.Dense(8)], name="r"),
            layers.Residual([keras.Sequential([layers.Dense(4, name="a")])], name="s"),
        ],
        name="m",
    )
    x = 5.0 * draws(300, 6)
    reached = model.lsuv(x)
    assert len(reached) == 6  # with two projections, the second by its path
    assert {"first", "a", "projection", "m/s/projection"} < set(reached)
    assert all(abs(variance - 1.0) < 0.1 for variance in reached.values())
    block = model.layers[1]
    assert isinstance(block, layers.Residual)
    assert block.projection is not None
    inputs = model.layers[0](x)
    assert abs(block.projection(inputs).var() - 1.0) < 0.15


def test_auto_kernels_inside() -> None:
    """The activation behind a kernel is found within its branch, through nested models."""

    def spread(stack: list[Any], shape: tuple[int, ...] = (400,)) -> list[float]:
        keras.utils.set_random_seed(17)
        model = keras.Sequential([keras.Input(shape), *stack])
        kernels = [v.numpy() for v in model.variables if v.name == "kernel"]
        return [float(kernel.var() * 400) for kernel in kernels]

    def auto(activation: str | None = None) -> layers.Layer:
        return layers.Dense(400, activation, kernel_initializer="auto")

    (linear,), (relu,) = spread([auto()]), spread([auto("relu")])
    assert relu == pytest.approx(2.0 * linear, rel=0.05)
    inside = spread([layers.Residual([auto(), layers.LayerNormalization(), layers.ReLU(), auto()])])
    assert inside == pytest.approx([relu, linear], rel=0.05)
    nested = spread([keras.Sequential([auto()]), keras.Sequential([layers.ReLU()])])
    assert nested == pytest.approx([relu], rel=0.05)
    before = spread([auto(), layers.Residual([layers.ReLU()])])
    assert before == pytest.approx([linear], rel=0.05)


def test_penalties_and_constraints_inside() -> None:
    keras.utils.set_random_seed(18)
    norm = layers.LayerNormalization(gamma_regularizer="l2", gamma_constraint="non_neg")
    block = layers.Residual([norm, layers.Dense(4, kernel_regularizer="l1")])
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([block])])
    x = draws(16, 4)
    assert norm.gamma is not None
    norm.set_weights([[1.0, -1.0, 2.0, 0.5], np.zeros(4)])
    kernel = block.layers[1].get_weights()[0].astype(np.float64)
    right = [0.01 * 6.25, 0.01 * np.abs(kernel).sum()]
    assert model.losses == pytest.approx(right, rel=1e-6)
    model.compile(SGD(0.0), "mse")
    plain = float(np.mean((model.predict(x).astype(np.float64) - x) ** 2))
    assert model.evaluate(x, x, verbose=0) == pytest.approx(plain + sum(right), rel=1e-5)
    model.train_on_batch(x, x)
    np.testing.assert_array_equal(norm.gamma.numpy(), [1.0, 0.0, 2.0, 0.5])


def test_what_is_not_finite_is_named_inside() -> None:
    block = layers.Residual([layers.Dense(4, name="inner")], name="block")
    inside = keras.Sequential([layers.Dense(4), layers.Activation("exponential", name="e")])
    model = keras.Sequential([keras.Input((4,)), inside, block])
    model.compile(SGD(0.1), "mse")
    x = draws(8, 4)
    x[3] = 1e4
    with pytest.raises(keras.NonFiniteError, match="nor is the output of e in row 3") as caught:
        model.train_on_batch(x, x)
    assert caught.value.layer == "e"
    tiny = layers.Dense(4, kernel_initializer=initializers.Constant(1e-12), name="tiny")
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([tiny], name="around")])
    model.compile(SGD(0.1), "mse")
    with pytest.raises(
        keras.NonFiniteError, match=r"the gradient of .*around/tiny/kernel"
    ) as caught:
        model.train_on_batch(np.full((8, 4), 1e26), np.zeros((8, 4)))
    assert caught.value.layer == "tiny"


# Fixup


def test_fixup_scales_the_kernels_of_the_branch() -> None:
    def block(fixup: int | None, dense: int) -> list[F32]:
        keras.utils.set_random_seed(12)
        stack = [layers.Dense(4, "relu", bias_initializer="ones") for _ in range(dense)]
        inner = keras.Sequential(stack[1:])
        made = layers.Residual([stack[0], inner] if dense > 1 else stack, fixup=fixup)
        made.build((4,))
        return made.get_weights()

    for dense in (1, 2, 3, 4):
        plain, scaled = block(None, dense), block(16, dense)
        for i in range(0, 2 * dense - 2, 2):  # kernels but for the last
            factor = 16.0 ** (-1.0 / (2 * dense - 2))
            np.testing.assert_allclose(scaled[i], factor * plain[i], rtol=1e-6)
        np.testing.assert_array_equal(scaled[-2], 0.0)
        for i in range(1, 2 * dense, 2):
            np.testing.assert_array_equal(scaled[i], 1.0)


def test_a_block_with_fixup_starts_as_the_identity() -> None:
    block = layers.Residual([layers.Dense(4, "elu"), layers.Dense(4)], fixup=10)
    x = draws(5, 4)
    np.testing.assert_array_equal(block(x), x)


def digits() -> tuple[F32, Any]:
    (x, y), _ = keras.datasets.digits.load_data()
    return (x.reshape(len(x), -1) / 16.0 - 0.3).astype(np.float32), y


def trained(stack: list[Any], optimizer: Any) -> tuple[float, float, float]:
    """First and last loss, last accuracy."""
    x, y = digits()
    model = keras.Sequential([keras.Input((x.shape[1],)), *stack])
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, epochs=5, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    return history["loss"][0], history["loss"][-1], history["accuracy"][-1]


def test_fifty_blocks_with_fixup_train_without_normalization() -> None:
    keras.utils.set_random_seed(13)

    def block() -> layers.Layer:
        dense = [layers.Dense(32, "relu", kernel_initializer="he_normal"), layers.Dense(32)]
        return layers.Residual(dense, fixup=50)

    last = layers.Dense(10, "softmax", kernel_initializer="zeros")
    stack = [layers.Dense(32), *(block() for _ in range(50)), last]
    first, end, accuracy = trained(stack, SGD(0.02, momentum=0.9))
    assert end < 0.1 * first
    assert accuracy > 0.95


def test_fifty_layers_with_layer_normalization_train() -> None:
    keras.utils.set_random_seed(12)
    stack: list[Any] = []
    for _ in range(50):
        stack += [
            layers.Dense(32, kernel_initializer="he_normal", use_bias=False),
            layers.LayerNormalization(),
            layers.Activation("elu"),
        ]
    first, end, accuracy = trained([*stack, layers.Dense(10, "softmax")], keras.optimizers.Adam())
    assert end < 0.7 * first
    assert accuracy > 0.5


# What Keras has and evengrad has not


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Embedding", "turn categories into columns first"),
        ("Conv2D", "evengrad has dense layers only"),
        ("SeparableConv1D", "evengrad has dense layers only"),
        ("Conv2DTranspose", "evengrad has dense layers only"),
        ("MaxPooling2D", "evengrad has dense layers only"),
        ("GlobalAveragePooling1D", "evengrad has dense layers only"),
        ("LSTM", "evengrad has dense layers only"),
        ("LSTMCell", "evengrad has dense layers only"),
        ("MultiHeadAttention", "evengrad has dense layers only"),
        ("Masking", "there are no masks"),
        ("Concatenate", "Residual"),
        ("Add", "Residual"),
        ("Lambda", "layers.Layer"),
        ("GroupNormalization", "LayerNormalization"),
    ],
)
def test_layers_that_are_not_here(name: str, text: str) -> None:
    line = f"^module 'evengrad.layers' has no attribute '{name}': .*{text}"
    with pytest.raises(AttributeError, match=line) as caught:
        getattr(layers, name)
    assert "\n" not in str(caught.value)


def test_models_that_are_not_here() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'evengrad' has .*evengrad\.Sequential.*Resid"
    ):
        keras.Model  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(
        AttributeError, match=r"^module 'evengrad\.models' has.*evengrad\.Sequential"
    ):
        keras.models.Model  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"GradientTape.*call model\.fit"):
        keras.GradientTape  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'Flaten'$"):
        layers.Flaten  # type: ignore[attr-defined]  # noqa: B018


def test_a_graph_of_calls_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"layers do not make graphs: give them to an evengrad\.Seq"
    ):
        layers.Dense(3)(keras.Input((4,)))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"layers do not make graphs: give them to an evengrad\.Seq"
    ):
        keras.Sequential([layers.Dense(3)])(keras.Input((4,)))


@pytest.mark.parametrize("cls", ["Dense", "LayerNormalization", "Residual"])
def test_float32_is_the_only_dtype(cls: str) -> None:
    arguments: dict[str, Any] = {"Dense": {"units": 2}, "Residual": {"layers": [layers.ReLU()]}}
    with pytest.raises(ValueError, match=f"{cls}: expected dtype float32, the only one there is"):
        getattr(layers, cls)(**arguments.get(cls, {}), dtype="float16")
