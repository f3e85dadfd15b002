"""Layers: names, shapes, variables, weights, configurations, and what each computes on its own."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import activations, constraints, initializers, layers, regularizers
from evengrad._program import Program
from numpy.typing import NDArray

F32 = NDArray[np.float32]

CLASSES: list[type[layers.Layer]] = [
    layers.Activation,
    layers.AlphaDropout,
    layers.BatchNormalization,
    layers.Dense,
    layers.Dropout,
    layers.ELU,
    layers.Flatten,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.InputLayer,
    layers.LayerNormalization,
    layers.LeakyReLU,
    layers.Normalization,
    layers.PReLU,
    layers.ReLU,
    layers.Rescaling,
    layers.Reshape,
    layers.Residual,
    layers.SELU,
    layers.Softmax,
]


class Fresh:
    """An argument made anew for each layer."""

    def __init__(self, new: Callable[[], Any]) -> None:
        self.new = new


def branch() -> list[Any]:
    return [layers.Dense(6, "elu", name="a"), layers.Dense(3, name="b")]


# One with every argument away from its default; what `Layer` takes comes on top.
OTHERWISE: dict[type[layers.Layer], dict[str, Any]] = {
    layers.Activation: {"activation": "softplus"},
    layers.AlphaDropout: {"rate": 0.25, "seed": 7},
    layers.BatchNormalization: {
        "axis": 2,
        "momentum": 0.5,
        "epsilon": 0.1,
        "center": False,
        "scale": False,
        "beta_initializer": "ones",
        "gamma_initializer": initializers.Constant(2.0),
        "moving_mean_initializer": "ones",
        "moving_variance_initializer": initializers.Constant(3.0),
        "beta_regularizer": regularizers.L1(0.5),
        "gamma_regularizer": regularizers.L2(0.5),
        "beta_constraint": constraints.NonNeg(),
        "gamma_constraint": constraints.MaxNorm(3.0),
        "debias": False,
    },
    layers.Dense: {
        "units": 3,
        "activation": "elu",
        "use_bias": False,
        "kernel_initializer": initializers.VarianceScaling(2.0, "fan_avg", "uniform"),
        "bias_initializer": "ones",
        "kernel_regularizer": regularizers.L1L2(0.5, 0.25),
        "bias_regularizer": regularizers.L2(0.5),
        "activity_regularizer": None,
        "kernel_constraint": constraints.MinMaxNorm(0.5, 2.0, 0.5, 1),
        "bias_constraint": constraints.UnitNorm(),
    },
    layers.Dropout: {"rate": 0.25, "seed": 7},
    layers.ELU: {"alpha": 0.5},
    layers.Flatten: {},
    layers.GaussianDropout: {"rate": 0.25, "seed": 7},
    layers.GaussianNoise: {"stddev": 0.25, "seed": 7},
    layers.InputLayer: {"shape": (4,)},
    layers.LayerNormalization: {
        "axis": [1, 2],
        "epsilon": 0.1,
        "center": False,
        "scale": False,
        "beta_initializer": "ones",
        "gamma_initializer": initializers.Constant(2.0),
        "beta_regularizer": regularizers.L2(0.5),
        "gamma_regularizer": "l1",
        "beta_constraint": constraints.NonNeg(),
        "gamma_constraint": "unit_norm",
        "rms_scaling": False,
    },
    layers.LeakyReLU: {"negative_slope": 0.125},
    layers.Normalization: {"axis": [1, 2], "mean": 2.0, "variance": 4.0, "invert": True},
    layers.PReLU: {
        "alpha_initializer": initializers.Constant(0.25),
        "alpha_regularizer": regularizers.L2(0.5),
        "alpha_constraint": constraints.NonNeg(),
        "shared_axes": [1],
    },
    layers.ReLU: {"max_value": 2.0, "negative_slope": 0.25, "threshold": 0.5},
    layers.Rescaling: {"scale": 0.5, "offset": [1.0, 2.0, 3.0, 4.0]},
    layers.Reshape: {"target_shape": [4, -1]},
    layers.Residual: {
        "layers": Fresh(branch),
        "kernel_initializer": initializers.VarianceScaling(2.0, "fan_avg", "uniform"),
        "fixup": 3,
    },
    layers.SELU: {},
    layers.Softmax: {"axis": -1},
}

# Arguments that layers accept for Keras' sake and do not keep.
NOT_KEPT = {
    layers.LeakyReLU: {"alpha"},
    layers.BatchNormalization: {"renorm", "renorm_clipping", "renorm_momentum", "synchronized"},
}

each_class = pytest.mark.parametrize("cls", CLASSES)


def make(cls: type[layers.Layer], **more: Any) -> layers.Layer:
    arguments = {k: v.new() if isinstance(v, Fresh) else v for k, v in OTHERWISE[cls].items()}
    return cls(**arguments, **more)


def draws(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


class Passes(NamedTuple):
    y: F32
    dx: F32
    gradients: dict[str, F32]


def passes(layer: layers.Layer, x: F32, dy: F32, *, seed: int = 0, iteration: int = 1) -> Passes:
    """Forward and backward in training mode, as a step of a model would replay them."""
    layer.build(x.shape[1:])
    program = Program(len(x), training=True)
    source = program.tensor(x.shape[-1], math.prod(x.shape[1:-1]))
    source[...] = x.reshape(source.shape)
    y = layer.forward(program, source)
    upstream = program.like(y)
    upstream[...] = dy.reshape(y.shape)
    dx = layer.backward(program, upstream)
    assert dx is not None
    program.run(len(x), seed=seed, iteration=iteration)
    return Passes(
        np.array(y).reshape(dy.shape),
        np.array(dx).reshape(x.shape),
        {v.name: np.array(g).reshape(v.shape) for v, g in program.gradients.items()},
    )


def close(made: Any, right: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(made, right, rtol=tolerance, atol=tolerance)


def test_the_table_above_has_every_layer_and_argument() -> None:
    named = {getattr(layers, name) for name in layers.__all__}
    public = {thing for thing in named if isinstance(thing, type)} - {layers.Layer}
    assert public == set(CLASSES) == set(OTHERWISE)
    for cls, arguments in OTHERWISE.items():
        own = set(inspect.signature(cls).parameters) - {"kwargs"} - NOT_KEPT.get(cls, set())
        base = set(inspect.signature(layers.Layer).parameters)
        assert own - base == set(arguments), cls


# Names


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (layers.Activation, "activation"),
        (layers.AlphaDropout, "alpha_dropout"),
        (layers.BatchNormalization, "batch_normalization"),
        (layers.Dense, "dense"),
        (layers.Dropout, "dropout"),
        (layers.ELU, "elu"),
        (layers.Flatten, "flatten"),
        (layers.GaussianDropout, "gaussian_dropout"),
        (layers.GaussianNoise, "gaussian_noise"),
        (layers.InputLayer, "input_layer"),
        (layers.LayerNormalization, "layer_normalization"),
        (layers.LeakyReLU, "leaky_re_lu"),
        (layers.Normalization, "normalization"),
        (layers.PReLU, "p_re_lu"),
        (layers.ReLU, "re_lu"),
        (layers.Rescaling, "rescaling"),
        (layers.Reshape, "reshape"),
        (layers.Residual, "residual"),
        (layers.SELU, "selu"),
        (layers.Softmax, "softmax"),
    ],
)
def test_automatic_names_are_keras_and_numbered(cls: type[layers.Layer], name: str) -> None:
    keras.utils.clear_session()
    assert [make(cls).name for _ in range(3)] == [name, f"{name}_1", f"{name}_2"]
    keras.utils.clear_session()
    assert make(cls).name == name


def test_names_count_by_class() -> None:
    keras.utils.clear_session()
    names = [layers.Dense(1).name, layers.Flatten().name, layers.Dense(1).name]
    assert names == ["dense", "flatten", "dense_1"]


@each_class
def test_given_names_are_kept(cls: type[layers.Layer]) -> None:
    layer = make(cls, name="hidden 1")
    assert layer.name == "hidden 1"
    assert str(layer) == f'{cls.__name__} "hidden 1"'
    assert "hidden 1" in repr(layer)


@pytest.mark.parametrize("bad", ["", "a/b", 5, b"dense", ["dense"]])
def test_bad_names(bad: Any) -> None:
    with pytest.raises(ValueError, match="Dense: expected name to be a string without '/', got"):
        layers.Dense(1, name=bad)


def test_a_model_refuses_two_layers_of_one_name() -> None:
    first = layers.Dense(2, name="twin")
    model = keras.Sequential([keras.Input((3,)), first])
    with pytest.raises(ValueError, match='two Dense "twin"'):
        model.add(layers.Dense(4, name="twin"))
    with pytest.raises(ValueError, match='two Dense "twin"'):
        model.add(first)
    assert model.layers == [first]
    assert model.output_shape == (None, 2)


# Shapes and building

SHAPES: list[tuple[Callable[[], layers.Layer], tuple[int, ...], tuple[int, ...]]] = [
    (lambda: layers.Dense(5), (3,), (5,)),
    (lambda: layers.Dense(5), (4, 3), (4, 5)),
    (lambda: layers.Dense(5, "softmax"), (2, 4, 3), (2, 4, 5)),
    (layers.BatchNormalization, (3,), (3,)),
    (layers.BatchNormalization, (2, 4, 3), (2, 4, 3)),
    (layers.Flatten, (3,), (3,)),
    (layers.Flatten, (2, 4, 3), (24,)),
    (layers.Flatten, (1, 1), (1,)),
    (layers.PReLU, (4, 3), (4, 3)),
    (lambda: layers.PReLU(shared_axes=[1, 2]), (2, 4, 3), (2, 4, 3)),
    (lambda: layers.Activation("tanh"), (4, 3), (4, 3)),
    (lambda: layers.Dropout(0.5), (4, 3), (4, 3)),
    (layers.Softmax, (4, 3), (4, 3)),
    (layers.LayerNormalization, (4, 3), (4, 3)),
    (layers.Normalization, (4, 3), (4, 3)),
    (lambda: layers.Rescaling(0.5), (4, 3), (4, 3)),
    (lambda: layers.Reshape((-1, 2)), (4, 3), (6, 2)),
    (lambda: layers.GaussianNoise(0.5), (4, 3), (4, 3)),
    (lambda: layers.Residual([layers.Dense(3)]), (4, 3), (4, 3)),
    (lambda: layers.Residual([layers.Dense(5)]), (4, 3), (4, 5)),
    (lambda: layers.InputLayer((4, 3)), (4, 3), (4, 3)),
]


@pytest.mark.parametrize(("new", "shape", "expected"), SHAPES)
def test_shapes(
    new: Callable[[], layers.Layer], shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    layer = new()
    assert layer.compute_output_shape(shape) == expected
    assert not layer.built
    assert layer.output_shape is None
    layer.build(list(shape))
    assert layer.built
    assert (layer.input_shape, layer.output_shape) == (shape, expected)
    for n in (1, 7):
        for training in (False, True):
            assert layer(draws(n, *shape), training=training).shape == (n, *expected)


@each_class
def test_building_is_done_once(cls: type[layers.Layer]) -> None:
    layer = make(cls)
    layer.build((2, 4))
    made = layer.variables
    before = layer.get_weights()
    layer.build((2, 4))
    assert all(a is b for a, b in zip(layer.variables, made, strict=True))
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"built for samples \(2, 4\), got \(2, 5\)"):
        layer.build((2, 5))
    assert layer.input_shape == (2, 4)


@pytest.mark.parametrize("bad", [(), (0,), (3, -1), (3.0,), "abc", None, (None, 3), {3}])
def test_bad_input_shapes(bad: Any) -> None:
    layer = layers.Dense(2, name="d")
    with pytest.raises((ValueError, TypeError), match=r'Dense "d": expected .*input_shape.*, got'):
        layer.build(bad)
    assert not layer.built
    assert layer.variables == []
    if bad is not None:
        with pytest.raises((ValueError, TypeError), match="input_shape"):
            layers.Dense(2, input_shape=bad)


def test_declared_shapes() -> None:
    assert layers.Dense(2, input_shape=[28, 28]).declared_shape == (28, 28)
    assert layers.Dense(2, input_shape=(np.int64(3),)).declared_shape == (3,)
    assert layers.Dense(2, input_dim=3).declared_shape == (3,)
    assert layers.Dense(2).declared_shape is None
    assert keras.Input((3,)).declared_shape == keras.Input(3).declared_shape == (3,)
    assert keras.Input(shape=(3,), name="pixels").name == "pixels"
    with pytest.raises(ValueError, match="input_shape or input_dim, not both"):
        layers.Dense(2, input_shape=(3,), input_dim=3)
    with pytest.raises(ValueError, match="expected shape"):
        layers.InputLayer()


@pytest.mark.parametrize("dtype", ["float64", "float16", np.int32, "float23", "mixed_bfloat16"])
def test_float32_is_the_only_dtype(dtype: Any) -> None:
    with pytest.raises(ValueError, match="Dense: expected dtype float32, the only one there is"):
        layers.Dense(2, dtype=dtype)
    assert layers.Dense(2, dtype="float32").get_config() is not None


@pytest.mark.parametrize(("axis", "shape"), [(0, (3,)), (2, (3,)), (1, (4, 3)), (-2, (4, 3))])
def test_batch_normalization_acts_on_the_last_axis(axis: int, shape: tuple[int, ...]) -> None:
    layer = layers.BatchNormalization(axis=axis)
    with pytest.raises(ValueError, match=f"expected axis -1.*, got {axis}"):
        layer.build(shape)
    assert layer.variables == []
    layers.BatchNormalization(axis=len(shape)).build(shape)


@pytest.mark.parametrize(
    ("name", "instead"), [("renorm", "debias=True"), ("synchronized", "one machine")]
)
def test_batch_normalization_refuses_by_name(name: str, instead: str) -> None:
    text = f'^BatchNormalization "b": expected {name}=False, got True; .*{instead}'
    with pytest.raises(ValueError, match=text) as caught:
        layers.BatchNormalization(name="b", **{name: True})
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=f"expected {name} to be True or False"):
        layers.BatchNormalization(**{name: "yes"})


def test_batch_normalization_takes_what_keras_writes() -> None:
    layer = layers.BatchNormalization(
        synchronized=False, renorm=False, renorm_clipping=None, renorm_momentum=0.99
    )
    assert not {"renorm", "synchronized"} & layer.get_config().keys()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_go_on_counting_batches(how: Callable[[Any], Any]) -> None:
    layer = layers.BatchNormalization(momentum=0.9)
    batches = [1.0 + draws(20, 3, seed=seed) for seed in range(5)]
    for x in batches[:3]:
        layer(x, training=True)
    twin = how(layer)
    for x in batches[3:]:
        layer(x, training=True)
        twin(x, training=True)
    means = [reference.batch_norm_statistics(x)[0] for x in batches]
    right = reference.batch_norm_moving(np.zeros(3), means, 0.9, True)
    close(twin.get_weights()[2], right)
    np.testing.assert_array_equal(twin.get_weights()[2], layer.get_weights()[2])


# Variables

VARIABLES: list[tuple[Callable[..., layers.Layer], list[tuple[str, tuple[int, ...], bool]]]] = [
    (
        lambda **k: layers.Dense(5, **k),
        [("kernel", (3, 5), True), ("bias", (5,), True)],
    ),
    (lambda **k: layers.Dense(5, use_bias=False, **k), [("kernel", (3, 5), True)]),
    (
        layers.BatchNormalization,
        [
            ("gamma", (3,), True),
            ("beta", (3,), True),
            ("moving_mean", (3,), False),
            ("moving_variance", (3,), False),
        ],
    ),
    (
        lambda **k: layers.BatchNormalization(center=False, **k),
        [("gamma", (3,), True), ("moving_mean", (3,), False), ("moving_variance", (3,), False)],
    ),
    (
        lambda **k: layers.BatchNormalization(scale=False, **k),
        [("beta", (3,), True), ("moving_mean", (3,), False), ("moving_variance", (3,), False)],
    ),
    (layers.PReLU, [("alpha", (4, 3), True)]),
    (lambda **k: layers.PReLU(shared_axes=[1], **k), [("alpha", (1, 3), True)]),
    (layers.Flatten, []),
    (lambda **k: layers.Dropout(0.5, **k), []),
    (layers.ELU, []),
    (layers.LayerNormalization, [("gamma", (3,), True), ("beta", (3,), True)]),
    (lambda **k: layers.LayerNormalization(center=False, **k), [("gamma", (3,), True)]),
    (lambda **k: layers.LayerNormalization(scale=False, **k), [("beta", (3,), True)]),
]


@pytest.mark.parametrize(("new", "expected"), VARIABLES)
def test_variables(
    new: Callable[..., layers.Layer], expected: list[tuple[str, tuple[int, ...], bool]]
) -> None:
    layer = new(name="mine")
    layer.build((4, 3))
    assert [(v.name, v.shape, v.trainable) for v in layer.variables] == expected
    assert [v.path for v in layer.variables] == [f"mine/{name}" for name, _, _ in expected]
    assert all(getattr(layer, v.name) is v for v in layer.variables)
    assert layer.weights == layer.variables
    assert layer.trainable_weights == layer.trainable_variables
    assert [v.name for v in layer.trainable_variables] == [n for n, _, t in expected if t]
    assert [v.name for v in layer.non_trainable_variables] == [n for n, _, t in expected if not t]
    assert layer.count_params() == sum(math.prod(shape) for _, shape, _ in expected)
    assert layer.count_params() == sum(w.size for w in layer.get_weights())


def test_trainable_switch() -> None:
    for layer in (layers.BatchNormalization(), layers.Dense(2), layers.PReLU()):
        layer.build((3,))
        trainable = layer.trainable_variables
        assert trainable
        layer.trainable = False
        assert layer.trainable_variables == []
        assert layer.non_trainable_variables == layer.variables
        layer.trainable = True
        assert layer.trainable_variables == trainable
    assert layers.Dense(2, trainable=False).trainable_variables == []


def test_one_variable_can_be_frozen() -> None:
    layer = layers.Dense(2)
    layer.build((3,))
    assert layer.kernel is not None
    layer.kernel.trainable = False
    assert layer.trainable_variables == [layer.bias]
    assert layer.non_trainable_variables == [layer.kernel]
    assert list(passes(layer, draws(4, 3), draws(4, 2)).gradients) == ["bias"]


@pytest.mark.parametrize("given", ["ones", "Ones", initializers.Ones(), initializers.Ones])
def test_initializers_in_any_form(given: Any) -> None:
    layer = layers.Dense(2, kernel_initializer=given, bias_initializer=given)
    layer.build((3,))
    for weight in layer.get_weights():
        np.testing.assert_array_equal(weight, np.ones_like(weight))
    layer = layers.Dense(2, kernel_initializer=lambda shape, dtype: np.full(shape, 0.5))
    layer.build((3,))
    np.testing.assert_array_equal(layer.get_weights()[0], np.full((3, 2), 0.5))


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (layers.Dense, "kernel_initializer"),
        (layers.Dense, "bias_initializer"),
        (layers.PReLU, "alpha_initializer"),
        (layers.LayerNormalization, "beta_initializer"),
        (layers.LayerNormalization, "gamma_initializer"),
        (layers.BatchNormalization, "beta_initializer"),
        (layers.BatchNormalization, "gamma_initializer"),
        (layers.BatchNormalization, "moving_mean_initializer"),
        (layers.BatchNormalization, "moving_variance_initializer"),
    ],
)
@pytest.mark.parametrize("bad", [None, "nope", 5, np.zeros(3)])
def test_bad_initializers(cls: type[layers.Layer], name: str, bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="initializer: expected"):
        cls(**OTHERWISE[cls] | {name: bad})


# get_weights, set_weights


@each_class
def test_weights_go_out_and_in(cls: type[layers.Layer]) -> None:
    layer, other = make(cls), make(cls)
    layer.build((2, 4))
    other.build((2, 4))
    weights = [draws(*w.shape, seed=i) for i, w in enumerate(layer.get_weights())]
    layer.set_weights(weights)
    for given, got in zip(weights, layer.get_weights(), strict=True):
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, given)
        got[...] = 0.0
    other.set_weights(layer.get_weights())
    for given, got in zip(weights, other.get_weights(), strict=True):
        np.testing.assert_array_equal(got, given)


def test_weights_are_converted() -> None:
    layer = layers.Dense(2)
    layer.build((3,))
    layer.set_weights([[[1, 2], [3, 4], [5, 6]], np.array([True, False])])
    np.testing.assert_array_equal(layer.get_weights()[0], [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(layer.get_weights()[1], [1, 0])
    kernel = np.asfortranarray(draws(3, 2), dtype=np.float64)
    layer.set_weights((kernel, np.array([0.5, 2.0**-140])))
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)
    np.testing.assert_array_equal(layer.get_weights()[1], np.float32([0.5, 2.0**-140]))


GOOD_KERNEL, GOOD_BIAS = np.ones((3, 2)), np.ones(2)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param([], id="none of two"),
        pytest.param([GOOD_KERNEL], id="one of two"),
        pytest.param([GOOD_KERNEL, GOOD_BIAS, GOOD_BIAS], id="three of two"),
        pytest.param([GOOD_KERNEL, np.ones(3)], id="shape"),
        pytest.param([GOOD_KERNEL.T, GOOD_BIAS], id="transposed"),
        pytest.param([GOOD_KERNEL, np.ones((1, 2))], id="rank"),
        pytest.param([GOOD_KERNEL, 1.0], id="a number"),
        pytest.param([GOOD_KERNEL, np.array([1.0, np.nan])], id="NaN"),
        pytest.param([GOOD_KERNEL, np.array([1.0, -np.inf])], id="infinity"),
        pytest.param([GOOD_KERNEL, np.array([1.0, 1e300])], id="beyond float32"),
        pytest.param([GOOD_KERNEL, ["a", "b"]], id="strings"),
        pytest.param([GOOD_KERNEL, np.ones(2, complex)], id="complex"),
        pytest.param([GOOD_KERNEL, [None, None]], id="None in it"),
        pytest.param([GOOD_KERNEL, [[1.0], [1.0, 2.0]]], id="ragged"),
        pytest.param(None, id="None"),
        pytest.param(5, id="no sequence"),
    ],
)
def test_bad_weights_change_nothing(bad: Any) -> None:
    layer = layers.Dense(2, bias_initializer="ones", name="d")
    layer.build((3,))
    before = layer.get_weights()
    with pytest.raises((ValueError, TypeError), match=r"d.*: expected") as caught:
        layer.set_weights(bad)
    assert "\n" not in str(caught.value)
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


# Configurations


@each_class
def test_configuration_round_trip(cls: type[layers.Layer]) -> None:
    layer = make(cls, name="mine")
    if cls is not layers.InputLayer:
        layer.trainable = False
    config = layer.get_config()
    other = cls.from_config(json.loads(json.dumps(config)))
    assert type(other) is cls
    assert (other.name, other.trainable) == ("mine", layer.trainable)
    assert json.dumps(other.get_config()) == json.dumps(config)
    assert set(OTHERWISE[cls]) <= set(config)

    layer.build((2, 4))
    other.build((2, 4))
    other.set_weights(layer.get_weights())
    x = draws(5, 2, 4)
    np.testing.assert_array_equal(other(x), layer(x))
    outputs = []
    for one in (other, layer):
        keras.utils.set_random_seed(1)  # of dropout
        outputs.append(one(x, training=True))
    np.testing.assert_array_equal(*outputs)


@each_class
def test_configuration_holds_every_argument(cls: type[layers.Layer]) -> None:
    config = make(cls).get_config()
    for name, value in OTHERWISE[cls].items():
        kinds = {"initializer": initializers, "regularizer": regularizers}
        kind: Any = (kinds | {"constraint": constraints}).get(name.rsplit("_")[-1])
        if isinstance(value, Fresh):
            assert [part["config"]["name"] for part in config[name]] == ["a", "b"]
        else:
            assert config[name] == (kind.serialize(kind.get(value)) if kind else value), name


def test_copies_share_no_initial_values_by_accident() -> None:
    layer = layers.Dense(8)
    other = layers.Dense.from_config(layer.get_config() | {"name": "other"})
    layer.build((8,))
    other.build((8,))
    assert not np.array_equal(layer.get_weights()[0], other.get_weights()[0])


@each_class
@pytest.mark.parametrize("how", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_work_on_their_own(cls: type[layers.Layer], how: Callable[[Any], Any]) -> None:
    layer = make(cls)
    layer.build((2, 4))
    other = how(layer)
    x = draws(5, 2, 4)
    np.testing.assert_array_equal(other(x), layer(x))
    other.set_weights([w + 1.0 for w in other.get_weights()])
    for now, then in zip(other.get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then + np.float32(1.0))


# On arrays


def test_a_layer_is_called_on_what_users_call_arrays() -> None:
    layer = layers.Dense(2, kernel_initializer="ones")
    right = np.float32([[3, 3], [7, 7]])
    for x in ([[1, 2], [3, 4]], ((1.0, 2.0), (3.0, 4.0)), np.array([[1, 2], [3, 4]], np.uint8)):
        y = layer(x)
        assert y.dtype == np.float32
        assert y.flags.c_contiguous
        np.testing.assert_array_equal(y, right)


@each_class
def test_a_call_never_writes_to_its_input(cls: type[layers.Layer]) -> None:
    layer = make(cls)
    x = draws(6, 2, 4)
    before = x.copy()
    for training in (False, True):
        y = layer(x, training=training)
        y[...] = 0.0
        np.testing.assert_array_equal(x, before)


def test_a_call_on_other_samples_names_both_shapes() -> None:
    layer = layers.Dense(2, name="d")
    layer(draws(5, 4))
    with pytest.raises(ValueError, match=r'Dense "d": built for samples \(4,\), got \(3,\)'):
        layer(draws(5, 3))


def test_a_call_is_inference_unless_told() -> None:
    layer = layers.BatchNormalization()
    x = 10.0 + draws(50, 3)
    np.testing.assert_allclose(layer(x), x / np.sqrt(1.0 + 1e-3), rtol=1e-6)
    assert abs(layer(x, training=True).mean()) < 1e-5


def test_written_weights_take_effect_at_once() -> None:
    layer = layers.Dense(2)
    x = draws(4, 3)
    layer(x)
    assert layer.kernel is not None
    kernel = draws(3, 2, seed=1)
    layer.kernel.value[...] = kernel
    close(layer(x), x @ kernel)
    layer.kernel.value[1, 0] = 5.0
    kernel[1, 0] = 5.0
    close(layer(x), x @ kernel)
    layer.kernel.assign(np.zeros((3, 2)))
    np.testing.assert_array_equal(layer(x), np.zeros((4, 2)))


def test_the_base_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match=r"write call\(self, inputs"):
        layers.Layer()(draws(2, 3))


def test_a_layer_of_the_users_own() -> None:
    class Centred(layers.Dense):
        def make_variables(self, input_shape: tuple[int, ...]) -> None:
            super().make_variables(input_shape)
            assert self.kernel is not None
            self.kernel.value[...] -= self.kernel.value.mean(axis=0)

    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((3,)), Centred(4), layers.Dense(1)])
    assert model.layers[0].name == "centred"
    model.compile("sgd", "mse")
    model.fit(draws(8, 3), draws(8, 1), verbose=0)
    assert np.isfinite(model.predict(draws(2, 3))).all()


# Each layer's mathematics on samples of several axes


@pytest.mark.parametrize("inner", [(), (4,), (2, 4)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_acts_on_the_last_axis(inner: tuple[int, ...], use_bias: bool) -> None:
    layer = layers.Dense(5, use_bias=use_bias, bias_initializer="random_normal")
    x, dy = draws(6, *inner, 3), draws(6, *inner, 5, seed=1)
    made = passes(layer, x, dy)
    weights = layer.get_weights()
    rows, upstream = x.reshape(-1, 3), dy.reshape(-1, 5)
    right = reference.dense_forward(rows, weights[0], weights[1] if use_bias else None)
    close(made.y, right.reshape(dy.shape))
    dx, dkernel, dbias = reference.dense_backward(rows, weights[0], upstream)
    close(made.dx, dx.reshape(x.shape))
    close(made.gradients["kernel"], dkernel)
    if use_bias:
        close(made.gradients["bias"], dbias)
    close(layer(x), right.reshape(dy.shape))


def test_dense_with_activation_is_dense_then_activation() -> None:
    fused = layers.Dense(5, "tanh")
    x, dy = draws(6, 3), draws(6, 5, seed=1)
    made = passes(fused, x, dy)
    y = np.tanh(reference.dense_forward(x, *fused.get_weights()))
    close(made.y, y)
    dx, dkernel, dbias = reference.dense_backward(x, fused.get_weights()[0], dy * (1.0 - y**2))
    close(made.dx, dx)
    close(made.gradients["kernel"], dkernel)
    close(made.gradients["bias"], dbias)


@pytest.mark.parametrize("inner", [(), (4,), (2, 4)])
def test_batch_normalization_of_several_axes(inner: tuple[int, ...]) -> None:
    layer = layers.BatchNormalization(
        gamma_initializer="random_normal", beta_initializer="random_normal", epsilon=0.01
    )
    x, dy = 3.0 + draws(16, *inner, 3), draws(16, *inner, 3, seed=1)
    rows, upstream = x.reshape(-1, 3), dy.reshape(-1, 3)
    made = passes(layer, x, dy)
    gamma, beta, moving_mean, moving_variance = layer.get_weights()
    y, _, _ = reference.batch_norm_forward(rows, gamma, beta, 0.01)
    close(made.y, y.reshape(x.shape))
    dx, dgamma, dbeta = reference.batch_norm_backward(rows, gamma, upstream, 0.01)
    close(made.dx, dx.reshape(x.shape))
    close(made.gradients["gamma"], dgamma, 1e-4)
    close(made.gradients["beta"], dbeta, 1e-4)
    right = reference.batch_norm_inference(rows, gamma, beta, (moving_mean, moving_variance), 0.01)
    close(layer(x), right.reshape(x.shape))


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_moving_statistics_of_calls_in_training_mode(debias: bool, momentum: float) -> None:
    layer = layers.BatchNormalization(momentum=momentum, debias=debias)
    means, variances = [], []
    for seed in range(4):
        x = 5.0 + 2.0 * draws(20, 3, seed=seed)
        layer(x, training=True)
        mean, variance = reference.batch_norm_statistics(x)
        means.append(mean)
        variances.append(variance)
    _, _, moving_mean, moving_variance = layer.get_weights()
    close(moving_mean, reference.batch_norm_moving(np.zeros(3), means, momentum, debias))
    close(moving_variance, reference.batch_norm_moving(np.ones(3), variances, momentum, debias))


def test_one_row_has_no_variance() -> None:
    layer = layers.BatchNormalization(beta_initializer="ones")
    np.testing.assert_array_equal(layer(draws(1, 3), training=True), np.ones((1, 3)))


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (28, 28)])
def test_flatten_keeps_the_order(shape: tuple[int, ...]) -> None:
    layer = layers.Flatten()
    x = draws(5, *shape)
    dy = draws(5, math.prod(shape), seed=1)
    np.testing.assert_array_equal(layer(x), x.reshape(5, -1))
    made = passes(layer, x, dy)
    np.testing.assert_array_equal(made.y, x.reshape(5, -1))
    np.testing.assert_array_equal(made.dx, dy.reshape(x.shape))


def test_flatten_in_the_middle_of_a_model() -> None:
    model = keras.Sequential(
        [keras.Input((2, 4, 3)), layers.Dense(5), layers.Flatten(), layers.Dense(2)]
    )
    assert model.output_shape == (None, 2)
    x = draws(7, 2, 4, 3)
    first, bias, second, _ = model.get_weights()
    close(model.predict(x), (x @ first + bias).reshape(7, -1) @ second)


@pytest.mark.parametrize(
    ("shape", "shared", "alpha_shape"),
    [
        ((3,), None, (3,)),
        ((4, 3), None, (4, 3)),
        ((4, 3), 1, (1, 3)),
        ((2, 4, 3), [1, 2], (1, 1, 3)),
        ((2, 4, 3), [2, 1], (1, 1, 3)),
        ((3,), [], (3,)),
    ],
)
def test_prelu(shape: tuple[int, ...], shared: Any, alpha_shape: tuple[int, ...]) -> None:
    layer = layers.PReLU("random_normal", shared_axes=shared)
    x, dy = draws(6, *shape), draws(6, *shape, seed=1)
    made = passes(layer, x, dy)
    (alpha,) = layer.get_weights()
    assert alpha.shape == alpha_shape
    close(made.y, np.maximum(x, 0.0) + alpha * np.minimum(x, 0.0))
    close(made.dx, dy * np.where(x > 0.0, 1.0, alpha))
    axes = tuple(i for i, n in enumerate((1, *alpha_shape)) if n == 1)
    dalpha = (dy * np.minimum(x, 0.0)).astype(np.float64).sum(axis=axes, keepdims=True)
    close(made.gradients["alpha"], dalpha.reshape(alpha_shape))
    close(layer(x), made.y)


def test_prelu_starts_as_relu() -> None:
    x = draws(6, 3)
    np.testing.assert_array_equal(layers.PReLU()(x), np.maximum(x, 0.0))


@pytest.mark.parametrize("axes", [[0], [2], [1, 2], [3], [-1], [1, 1]])
def test_prelu_shares_all_axes_but_the_last(axes: list[int]) -> None:
    layer = layers.PReLU(shared_axes=axes)
    with pytest.raises(ValueError, match="expected shared_axes to be all but the last"):
        layer.build((4, 3))
    assert layer.variables == []


# Activations as layers

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def elu(x: NDArray[np.float64], alpha: float = 1.0) -> NDArray[np.float64]:
    return np.where(x > 0.0, x, alpha * np.expm1(x))


ACTIVATIONS: dict[str, tuple[layers.Layer, Callable[[Any], Any]]] = {
    "ReLU()": (layers.ReLU(), lambda x: np.maximum(x, 0.0)),
    "ReLU(6)": (layers.ReLU(6.0), lambda x: np.clip(x, 0.0, 6.0)),
    "ReLU(2)": (layers.ReLU(max_value=2.0), lambda x: np.clip(x, 0.0, 2.0)),
    "ReLU(negative_slope)": (
        layers.ReLU(negative_slope=0.25),
        lambda x: np.where(x >= 0.0, x, 0.25 * x),
    ),
    "ReLU(all)": (
        layers.ReLU(2.0, 0.25, 0.5),
        lambda x: np.where(x >= 2.0, 2.0, np.where(x >= 0.5, x, 0.25 * (x - 0.5))),
    ),
    "LeakyReLU()": (layers.LeakyReLU(), lambda x: np.where(x >= 0.0, x, 0.3 * x)),
    "LeakyReLU(.1)": (layers.LeakyReLU(0.1), lambda x: np.where(x >= 0.0, x, 0.1 * x)),
    "LeakyReLU(alpha)": (layers.LeakyReLU(alpha=0.4), lambda x: np.where(x >= 0.0, x, 0.4 * x)),
    "ELU()": (layers.ELU(), elu),
    "ELU(.5)": (layers.ELU(0.5), lambda x: elu(x, 0.5)),
    "SELU()": (layers.SELU(), lambda x: SELU_SCALE * elu(x, SELU_ALPHA)),
    "Softmax()": (layers.Softmax(), softmax),
    "leaky_relu": (layers.Activation("leaky_relu"), lambda x: np.where(x >= 0.0, x, 0.2 * x)),
    "linear": (layers.Activation("linear"), lambda x: x),
    "swish": (layers.Activation("swish"), lambda x: x / (1.0 + np.exp(-x))),
    "function": (layers.Activation(activations.tanh), np.tanh),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_layers(name: str) -> None:
    layer, function = ACTIVATIONS[name]
    # None of these is within the step below of a kink.
    x = np.linspace(-7.93, 7.93, 122, dtype=np.float32).reshape(1, 2, 61)
    dy = draws(*x.shape)
    made = passes(type(layer).from_config(layer.get_config()), x, dy)
    wide, h = x.astype(np.float64), 1e-5
    close(made.y, function(wide))
    np.testing.assert_array_equal(layer(x), made.y)
    if "oftmax" in name:
        p = function(wide)
        right = p * (dy - (p * dy).sum(axis=-1, keepdims=True))
    else:
        right = dy * (function(wide + h) - function(wide - h)) / (2.0 * h)
    close(made.dx, right)


def test_activation_functions_take_any_shape() -> None:
    for shape in ((), (5,), (2, 3), (2, 3, 4), (0,), (0, 3)):
        x = draws(*shape)
        x = np.asarray(x)
        for function in (activations.relu, activations.tanh, activations.linear):
            y = function(x)
            assert y.shape == shape
            assert y.dtype == np.float32
        close(activations.tanh(x), np.tanh(x.astype(np.float64)))
    x = draws(3, 4)
    before = x.copy()
    activations.relu(x)[...] = 7.0
    activations.linear(x)[...] = 7.0
    np.testing.assert_array_equal(x, before)


def test_activation_functions_have_keras_arguments() -> None:
    x = np.linspace(-8.0, 8.0, 33)
    close(activations.relu(x, negative_slope=0.1), np.where(x > 0, x, 0.1 * x))
    close(activations.relu(x, max_value=3.0), np.clip(x, 0.0, 3.0))
    close(activations.relu(x, 0.5, 3.0, 1.0), relu_general(x))
    close(activations.leaky_relu(x), np.where(x > 0, x, 0.2 * x))
    close(activations.leaky_relu(x, negative_slope=0.3), np.where(x > 0, x, 0.3 * x))
    close(activations.elu(x, alpha=2.0), elu(x, 2.0))
    close(activations.softmax(x), softmax(x))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_activation_functions_take_an_axis(name: str) -> None:
    x = draws(2, 3, 4)
    for axis in range(-3, 3):
        made = getattr(activations, name)(x, axis=axis)
        assert made.shape == x.shape
        assert made.flags.c_contiguous
        right = np.exp(made.astype(np.float64)) if name == "log_softmax" else made
        close(right, np.moveaxis(softmax(np.moveaxis(x.astype(np.float64), axis, -1)), -1, axis))
    for axis in (3, -4):
        with pytest.raises(ValueError, match=rf"^{name}: expected axis .*got {axis}"):
            getattr(activations, name)(x, axis=axis)
    with pytest.raises(
        ValueError, match=rf"^{name}: expected axis -1, the last, in a layer, got 1"
    ):
        layers.Activation(partial(getattr(activations, name), axis=1))


# A function with arguments, what serializes it, and what it makes of x.
PARTIALS: list[tuple[Any, Any, Callable[[Any], Any]]] = [
    (activations.elu, "elu", elu),
    (partial(activations.elu), "elu", elu),
    (partial(activations.elu, alpha=1), "elu", elu),
    (
        partial(activations.elu, alpha=0.5),
        {"class_name": "elu", "config": {"alpha": 0.5}},
        lambda x: elu(x, 0.5),
    ),
    (
        partial(partial(activations.threshold, threshold=0.5), default_value=-2.0),
        {"class_name": "threshold", "config": {"threshold": 0.5, "default_value": -2.0}},
        lambda x: np.where(x > 0.5, x, -2.0),
    ),
    (
        partial(activations.relu, negative_slope=0.5, max_value=3.0, threshold=1.0),
        {
            "class_name": "relu",
            "config": {"negative_slope": 0.5, "max_value": 3.0, "threshold": 1.0},
        },
        lambda x: np.where(x >= 3.0, 3.0, np.where(x >= 1.0, x, 0.5 * (x - 1.0))),
    ),
    (
        partial(activations.relu, threshold=1.0),
        {"class_name": "relu", "config": {"threshold": 1.0}},
        lambda x: np.where(x >= 1.0, x, 0.0),
    ),
    (partial(activations.relu, max_value=6), "relu6", lambda x: np.clip(x, 0.0, 6.0)),
    (activations.hard_swish, "hard_silu", lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0),
    (partial(activations.gelu, approximate=True), "gelu_tanh", None),
    (activations.log_softmax, "log_softmax", lambda x: np.log(softmax(x))),
]


@pytest.mark.parametrize(("function", "config", "right"), PARTIALS)
def test_activations_with_arguments(
    function: Any, config: Any, right: Callable[[Any], Any] | None
) -> None:
    spec = activations.get(function)
    assert activations.serialize(function) == activations.serialize(spec) == config
    assert activations.deserialize(json.loads(json.dumps(config))) == spec
    x = np.linspace(-8.03, 8.0, 33, dtype=np.float32).reshape(3, 11)
    for layer in (layers.Activation(function), layers.Activation(config)):
        assert layer.get_config()["activation"] == config
        copy = layers.Activation.from_config(layer.get_config())
        np.testing.assert_array_equal(copy(x), layer(x))
        np.testing.assert_array_equal(layer(x), function(x))
        if right:
            close(layer(x), right(x.astype(np.float64)))
    dense = layers.Dense(3, function)
    assert dense.get_config()["activation"] == config
    assert layers.Dense.from_config(dense.get_config()).activation == spec


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (partial(activations.elu, 0.5), TypeError, "expected arguments by name"),
        (partial(activations.elu, beta=0.5), TypeError, "elu: got an unexpected keyword"),
        ("threshold", TypeError, "threshold: missing a required argument: 'threshold'; pass func"),
        ({"class_name": "nope"}, ValueError, "expected one of celu, .*got 'nope'"),
        ({"config": {}}, ValueError, "expected one of celu, .*got None"),
    ],
)
def test_bad_arguments_of_activations(bad: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^activation:? {text}"):
        layers.Activation(bad)


@pytest.mark.parametrize(
    ("function", "argument", "bad"),
    [
        ("elu", "alpha", -1.0),
        ("celu", "alpha", 0.0),
        ("squareplus", "b", -1.0),
        ("squareplus", "b", np.inf),
        ("leaky_relu", "negative_slope", -0.1),
        ("hard_shrink", "threshold", -0.5),
        ("soft_shrink", "threshold", np.nan),
        ("relu", "max_value", -1.0),
        ("relu", "negative_slope", np.inf),
        ("relu", "threshold", np.nan),
    ],
)
def test_arguments_of_activations_have_limits(function: str, argument: str, bad: float) -> None:
    limited = partial(getattr(activations, function), **{argument: bad})
    for use in (layers.Activation, limited):
        with pytest.raises(ValueError, match=f"^{function}: expected {argument} in .*, got"):
            use(limited if use is layers.Activation else [1.0])
    for wrong in ("1", None, True):
        if (wrong, argument) == (None, "max_value"):
            continue
        with pytest.raises(TypeError, match=f"^{function}: expected {argument} to be a number"):
            layers.Activation(partial(getattr(activations, function), **{argument: wrong}))


def relu_general(x: Any) -> Any:
    return np.where(x >= 3.0, 3.0, np.where(x >= 1.0, x, 0.5 * (x - 1.0)))


@pytest.mark.parametrize("bad", [len, np.tanh, partial(np.tanh, x=1)])
def test_functions_without_a_known_derivative(bad: Any) -> None:
    for use in (layers.Activation, lambda a: layers.Dense(1, a), activations.get):
        with pytest.raises(
            TypeError, match=r"derivative cannot be found automatically\. Write a cl"
        ):
            use(bad)


@pytest.mark.parametrize("bad", ["nope", 5, "", ["relu"]])
def test_unknown_activations_list_what_there_is(bad: Any) -> None:
    for use in (layers.Activation, lambda a: layers.Dense(1, a), activations.get):
        with pytest.raises(
            (ValueError, TypeError),
            match=r"activation: expected one of celu, .*tanh_shrink, threshold, got",
        ):
            use(bad)


# Dropout


def test_dropout_does_nothing_in_inference() -> None:
    x = draws(20, 7)
    for layer in (layers.Dropout(0.9), layers.Dropout(0.9, seed=3)):
        np.testing.assert_array_equal(layer(x), x)
        model = keras.Sequential([keras.Input((7,)), layer])
        np.testing.assert_array_equal(model.predict(x), x)
    np.testing.assert_array_equal(layers.Dropout(0.0)(x, training=True), x)


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.9])
def test_dropout_drops_its_share_and_scales_the_rest(rate: float) -> None:
    x = 1.0 + np.abs(draws(300, 101))
    dy = draws(300, 101, seed=1)
    made = passes(layers.Dropout(rate), x, dy, seed=5)
    kept = made.y != 0.0
    scale = 1.0 / (1.0 - rate)
    close(made.y, np.where(kept, x * scale, 0.0), 1e-6)
    np.testing.assert_array_equal(made.dx != 0.0, kept)
    close(made.dx, np.where(kept, dy * scale, 0.0), 1e-6)

    deviation = math.sqrt(rate * (1.0 - rate))
    assert abs(kept.mean() - (1.0 - rate)) < 5.0 * deviation / math.sqrt(kept.size)
    # Neighbours in a row, in a column and eight columns apart are independent.
    centred = (kept - (1.0 - rate)) / deviation
    for a, b in (
        (centred[:, 1:], centred[:, :-1]),
        (centred[1:], centred[:-1]),
        (centred[:, 8:], centred[:, :-8]),
    ):
        assert abs((a * b).mean()) < 5.0 / math.sqrt(a.size)


def test_dropout_of_several_axes_drops_elements() -> None:
    kept = passes(layers.Dropout(0.5), np.ones((40, 5, 8), "f"), np.ones((40, 5, 8), "f")).y != 0.0
    assert 0.4 < kept.mean() < 0.6
    assert 0 < kept.any(axis=(0, 1)).sum() == 8
    assert not (kept == kept[:, :1]).all()


def test_dropout_masks_follow_seed_and_update() -> None:
    x = np.ones((20, 30), np.float32)

    def mask(**scalars: int) -> NDArray[np.bool_]:
        return passes(layers.Dropout(0.5), x, x, **scalars).y != 0.0

    first = mask(seed=1, iteration=1)
    np.testing.assert_array_equal(mask(seed=1, iteration=1), first)
    others = [mask(seed=2), mask(seed=1 + 2**40), mask(seed=1, iteration=2)]
    for other in others:
        assert 0.35 < (other == first).mean() < 0.65


def masks_of(*stack: layers.Dropout) -> list[NDArray[np.bool_]]:
    """What each of some layers in one model keeps in one step."""
    program = Program(40, training=True)
    outputs = []
    for layer in stack:
        x = program.tensor(50)
        x[...] = 1.0
        outputs.append(layer.forward(program, x))
    program.run(40, seed=1)
    return [np.array(y) != 0.0 for y in outputs]


@pytest.mark.parametrize("seeds", [(None, None), (3, 4), (None, 4), (1, None), (None, 1)])
def test_dropout_layers_draw_differently(seeds: tuple[int | None, int | None]) -> None:
    a, b = masks_of(*(layers.Dropout(0.5, seed=seed) for seed in seeds))
    assert 0.4 < (a == b).mean() < 0.6


def test_dropout_of_one_seed_draws_the_same() -> None:
    a, b = masks_of(layers.Dropout(0.5, seed=9), layers.Dropout(0.5, seed=9))
    np.testing.assert_array_equal(a, b)


def test_dropout_called_on_its_own_draws_anew() -> None:
    x = np.ones((20, 30), np.float32)
    layer = layers.Dropout(0.5)
    keras.utils.set_random_seed(4)
    first, second = layer(x, training=True), layer(x, training=True)
    assert not np.array_equal(first, second)
    assert not np.array_equal(layers.Dropout(0.5)(x, training=True), second)
    keras.utils.set_random_seed(4)
    np.testing.assert_array_equal(layer(x, training=True), first)


def test_dropout_in_training_drops_anew_at_each_update() -> None:
    keras.utils.set_random_seed(0)
    n = 400
    model = keras.Sequential(
        [keras.Input((n,)), layers.Dropout(0.5), layers.Dense(1, kernel_initializer="zeros")]
    )
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    patterns = []
    before = model.get_weights()[0]
    for _ in range(3):
        model.train_on_batch(np.ones((1, n)), [1.0])  # only what was kept has a gradient
        after = model.get_weights()[0]
        patterns.append(after[:, 0] != before[:, 0])
        before = after
    for pattern in patterns:
        assert 0.35 < pattern.mean() < 0.65
    assert 0.35 < (patterns[0] == patterns[1]).mean() < 0.65
    assert 0.35 < (patterns[1] == patterns[2]).mean() < 0.65
