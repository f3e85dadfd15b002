"""LSUV kernels and exact moving statistics, against float64 formulas of the whole stack."""

from __future__ import annotations

from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import initializers, layers
from evengrad._calibration import moments
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def draws(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def same(now: list[F32], then: list[F32]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(now, then, strict=True))


def normalized(x: F64, layer: layers.Layer, statistics: tuple[Any, Any]) -> F64:
    learned = {v.name: v.numpy() for v in layer.variables}
    gamma, beta = learned.get("gamma"), learned.get("beta")
    y = reference.batch_norm_inference(
        x.reshape(-1, x.shape[-1]), gamma, beta, statistics, layer.epsilon
    )
    return y.reshape(x.shape)


def exact(model: keras.Sequential, x: Any) -> tuple[dict[str, tuple[F64, F64]], F64]:
    """Statistics of each normalization's inputs, with those before exact; and the output."""
    y = np.asarray(x, dtype=np.float64)
    found = {}
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            y = reference.dense_forward(y, *layer.get_weights())
            y = reference.activation_forward(layer.activation.name, y)
        elif isinstance(layer, layers.BatchNormalization):
            found[layer.name] = reference.batch_norm_statistics(y.reshape(-1, y.shape[-1]))
            y = normalized(y, layer, found[layer.name])
        elif isinstance(layer, layers.Flatten):
            y = y.reshape(len(y), -1)
        elif isinstance(layer, layers.Activation):
            y = reference.activation_forward(layer.activation.name, y)
        else:
            assert isinstance(layer, layers.Dropout)
    return found, y


def deep(shape: tuple[int, ...] = (3, 4)) -> keras.Sequential:
    """Normalizations first, in the middle, twice in a row, behind the others, over two axes."""
    keras.utils.set_random_seed(0)
    positive = initializers.RandomUniform(0.5, 1.5)
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.BatchNormalization(),
            layers.Dense(7, "tanh"),
            layers.BatchNormalization(gamma_initializer=positive, beta_initializer="ones"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(9, use_bias=False),
            layers.BatchNormalization(scale=False, epsilon=0.1),
            layers.BatchNormalization(center=False),
            layers.Activation("elu"),
            layers.Dense(5, "softplus"),
            layers.BatchNormalization(debias=False),
        ]
    )


# Moments


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 3), (2, 1), (300, 7), (5000, 100), (3, 1 << 18), (3, (1 << 18) + 1)]
)
@pytest.mark.parametrize("ratio", [0.0, 1e3, 1e6])
def test_moments(rows: int, columns: int, ratio: float) -> None:
    x = (draws(rows, columns) + np.float32(ratio)) * np.float32(3.0)
    mean, variance = moments(x)
    shifted = x.astype(np.longdouble) - x[0]
    np.testing.assert_allclose(mean, x[0] + shifted.mean(axis=0), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(variance, shifted.var(axis=0), rtol=1e-13)


def test_moments_of_constants_and_of_large_numbers() -> None:
    mean, variance = moments(np.full((1000, 2), 0.1, np.float32))
    np.testing.assert_allclose(mean, np.float32(0.1), rtol=1e-15)
    assert (variance < 1e-33).all()
    largest = np.finfo(np.float32).max
    mean, variance = moments(np.float32([[largest], [-largest]]))
    assert mean == 0.0
    np.testing.assert_allclose(variance, float(largest) ** 2, rtol=1e-15)


# recalibrate


@pytest.mark.parametrize("batch_size", [None, 1, 7, 100, 1000])
def test_recalibrate_is_exact(batch_size: int | None) -> None:
    model = deep()
    x = draws(100, 3, 4) * np.float32([1.0, 5.0, 0.1, 20.0]) + np.float32([1e3, -3.0, 0.0, 1e4])
    before = {v.path: v.numpy() for v in model.variables}
    model.recalibrate(x, batch_size=batch_size)
    found, y = exact(model, x)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            mean, variance = found[layer.name]
            got_mean, got_variance = layer.moving_mean.storage, layer.moving_variance.storage
            # The first is float64 all the way; into the others go float32 outputs of about 1.
            tolerance = 1e-12 if layer is model.layers[0] else 1e-5
            np.testing.assert_allclose(got_mean, mean, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(got_variance, variance, rtol=tolerance)
    np.testing.assert_allclose(model.predict(x), y, rtol=2e-5, atol=2e-5)
    for variable in model.variables:
        if not variable.name.startswith("moving"):
            np.testing.assert_array_equal(variable.numpy(), before[variable.path])


def test_recalibrate_makes_the_statistics_warm() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(momentum=0.9)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, other = 5.0 + draws(50, 3), draws(20, 3, seed=1)
    model.recalibrate(x)
    model.train_on_batch(other, other)
    mean, variance = reference.batch_norm_statistics(x)
    new_mean, new_variance = reference.batch_norm_statistics(other)
    np.testing.assert_allclose(model.get_weights()[2], 0.9 * mean + 0.1 * new_mean, rtol=1e-6)
    right = 0.9 * variance + 0.1 * new_variance
    np.testing.assert_allclose(model.get_weights()[3], right, rtol=1e-6)


def test_recalibrate_includes_frozen_layers() -> None:
    model = deep()
    model.trainable = False
    model.recalibrate(draws(50, 3, 4))
    found, _ = exact(model, draws(50, 3, 4))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            np.testing.assert_allclose(
                layer.get_weights()[-2], found[layer.name][0], rtol=1e-5, atol=1e-5
            )


def test_recalibrate_builds_and_takes_what_predict_takes() -> None:
    x = [[1, 2], [3, 6], [5, 10]]
    model = keras.Sequential([layers.BatchNormalization(), layers.Dense(2)])
    model.recalibrate(x)
    np.testing.assert_allclose(model.get_weights()[2], [3.0, 6.0])
    np.testing.assert_allclose(model.get_weights()[3], np.var(x, axis=0))
    keras.Sequential([layers.Dense(2)]).recalibrate(x)  # nothing to do
    borrowed = draws(40, 2)
    borrowed.flags.writeable = False
    model.recalibrate(borrowed)
    np.testing.assert_allclose(model.get_weights()[2], borrowed.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_recalibrate_does_what_training_could_not() -> None:
    """Without debiasing the statistics lag; afterwards they are those of the data."""
    x = 100.0 + draws(64, 4)
    y = (x[:, 0] > 100.0).astype(int)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.BatchNormalization(debias=False), layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x, y, epochs=10, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] < 0.7
    model.recalibrate(x)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_recalibrate_refuses_non_finite_samples(bad: float) -> None:
    model = deep()
    before = model.get_weights()
    x = draws(20, 3, 4)
    x[7, 1, 2] = bad
    with pytest.raises(ValueError, match=r"recalibrate: expected x to hold finite numbers.* row 7"):
        model.recalibrate(x)
    assert same(model.get_weights(), before)


def test_recalibrate_leaves_the_model_as_it_was_when_it_fails() -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.BatchNormalization(),
            layers.Dense(3, kernel_initializer=initializers.Constant(1e38)),
            layers.BatchNormalization(name="second"),
        ]
    )
    model.compile("sgd", "mse")
    before, batches = model.get_weights(), model.layers[0].live_arrays[-1].copy()
    with pytest.raises(ValueError, match=r'^recalibrate: .*BatchNormalization "second" are beyond'):
        model.recalibrate(1e3 * draws(20, 4))
    assert same(model.get_weights(), before)
    np.testing.assert_array_equal(model.layers[0].live_arrays[-1], batches)


@pytest.mark.parametrize("method", ["recalibrate", "lsuv"])
@pytest.mark.parametrize(
    ("x", "arguments", "error", "text"),
    [
        (np.zeros((5, 3)), {}, ValueError, r"expected x of shape \(n, 3, 4\), got \(5, 3\)"),
        (np.zeros((0, 3, 4)), {}, ValueError, "at least one row"),
        ("abc", {}, TypeError, "expected x to be"),
        (np.zeros((5, 3, 4)), {"batch_size": 0}, ValueError, "expected batch_size to be at least"),
        (np.zeros((5, 3, 4)), {"batch_size": 1.5}, TypeError, "expected batch_size to be an int"),
    ],
)
def test_bad_arguments(
    method: str, x: Any, arguments: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"^{method}: .*{text}"):
        getattr(deep(), method)(x, **arguments)


# LSUV


def before_activation(model: keras.Sequential, x: Any) -> dict[str, float]:
    """Variance of each Dense's output before its activation, in float64."""
    y = np.asarray(x, dtype=np.float64)
    found = {}
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            y = reference.dense_forward(y, *layer.get_weights())
            found[layer.name] = float(y.var())
            y = reference.activation_forward(layer.activation.name, y)
        elif isinstance(layer, layers.BatchNormalization):
            mean, variance = layer.get_weights()[-2:]
            if layer.trainable:
                mean, variance = reference.batch_norm_statistics(y.reshape(-1, y.shape[-1]))
            y = normalized(y, layer, (mean, variance))
        elif isinstance(layer, layers.Flatten):
            y = y.reshape(len(y), -1)
        elif isinstance(layer, layers.Activation):
            y = reference.activation_forward(layer.activation.name, y)
    return found


@pytest.mark.parametrize("batch_size", [None, 7])
def test_lsuv_gives_variance_one(batch_size: int | None) -> None:
    model = deep()
    x = 3.0 * draws(200, 3, 4) + 5.0
    others = {v.path: v.numpy() for v in model.variables if v.name != "kernel"}
    reached = model.lsuv(x, batch_size=batch_size)
    right = before_activation(model, x)
    assert list(reached) == [layer.name for layer in model.layers if type(layer) is layers.Dense]
    for name, variance in right.items():
        # There are no biases: one division does it, but for roundings of float32.
        assert variance == pytest.approx(1.0, abs=0.1)
        assert reached[name] == pytest.approx(variance, rel=1e-4)
    for path, value in others.items():
        (variable,) = (v for v in model.variables if v.path == path)
        np.testing.assert_array_equal(variable.numpy(), value)


def test_lsuv_within_the_tolerance_is_left_alone() -> None:
    """Divided only where the variance is off by more: kernels stay orthonormal else."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((50,)), layers.Dense(50, use_bias=False)])
    x = draws(500, 50)
    reached = model.lsuv(x)
    (kernel,) = model.get_weights()
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(50), atol=1e-5)
    (variance,) = reached.values()
    assert 0.9 < variance < 1.1
    assert abs(variance - 1.0) > 1e-4
    (variance,) = model.lsuv(x, tolerance=1e-5).values()
    assert abs(variance - 1.0) < 1e-5


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh", "sigmoid"])
def test_lsuv_of_fifty_layers(activation: str) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((30,))])
    for _ in range(50):
        model.add(layers.Dense(40, activation))
    x = draws(100, 30)
    model.lsuv(x)
    for variance in before_activation(model, x).values():
        assert variance == pytest.approx(1.0, abs=0.101)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (20, 20)])
def test_lsuv_kernels_are_orthogonal(shape: tuple[int, int]) -> None:
    model = keras.Sequential([keras.Input(shape[:1]), layers.Dense(shape[1])])
    model.lsuv(7.0 * draws(100, shape[0]))
    kernel = model.get_weights()[0].astype(np.float64)
    gram = kernel.T @ kernel if shape[0] >= shape[1] else kernel @ kernel.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(len(gram)), atol=1e-6 * gram[0, 0])


def test_lsuv_is_reproducible_and_draws_anew() -> None:
    kernels = []
    for seed in (1, 1, 2):
        model = deep()
        keras.utils.set_random_seed(seed)
        model.lsuv(draws(50, 3, 4))
        kernels.append(model.get_weights())
    assert same(kernels[0], kernels[1])
    assert not same(kernels[0], kernels[2])


def test_lsuv_leaves_frozen_kernels_and_uses_frozen_statistics() -> None:
    model = deep()
    model.layers[1].trainable = False
    model.layers[2].trainable = False
    model.layers[5].kernel.trainable = False
    before = [layer.get_weights() for layer in (model.layers[1], model.layers[5])]
    x = draws(50, 3, 4)
    reached = model.lsuv(x)
    assert list(reached) == [model.layers[9].name]
    assert all(
        same(layer.get_weights(), weights)
        for layer, weights in zip((model.layers[1], model.layers[5]), before, strict=True)
    )
    assert before_activation(model, x)[model.layers[9].name] == pytest.approx(1.0, abs=0.1)


def test_lsuv_behind_a_frozen_normalization() -> None:
    """Which in training, too, uses its moving statistics, here still 0 and 1."""
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(3)])
    x = 5.0 * draws(50, 4)
    model.layers[0].trainable = False
    model.lsuv(x)
    assert list(before_activation(model, x).values()) == pytest.approx([1.0], abs=0.1)
    assert model.layers[1].kernel.numpy().std() < 0.3


def test_lsuv_with_biases_takes_several_divisions() -> None:
    keras.utils.set_random_seed(0)
    bias = initializers.RandomUniform(-1.0, 1.0)
    model = keras.Sequential([keras.Input((30,)), layers.Dense(40, bias_initializer=bias)])
    x = 100.0 * draws(200, 30)
    with pytest.raises(ValueError, match=r"after 1 divisions, expected within 0.01 of 1"):
        model.lsuv(x, tolerance=0.01, max_iterations=1)
    reached = model.lsuv(x, tolerance=0.01)
    assert before_activation(model, x) == pytest.approx(reached, rel=1e-4)
    assert list(reached.values()) == pytest.approx([1.0], abs=0.01)


FAILING: dict[str, tuple[Any, Any, str]] = {
    "all samples 0": (
        lambda: [layers.Dense(3, name="d")],
        np.zeros((9, 4)),
        r'the outputs of Dense "d" are all equal',
    ),
    "nothing gets through": (
        lambda: [layers.Dense(3), layers.ReLU(threshold=1e6), layers.Dense(3, name="d")],
        draws(9, 4),
        r'the outputs of Dense "d" are all equal',
    ),
    "constant features and a bias": (
        lambda: [layers.Dense(1, name="d", bias_initializer="ones")],
        np.full((9, 4), 0.1),
        r'the outputs of Dense "d" are all equal',
    ),
    "overflow": (
        lambda: [layers.Dense(3, name="d")],
        np.full((9, 4), 3e38) * np.sign(draws(9, 4)),
        r'the outputs of Dense "d" are not finite',
    ),
    "too small": (
        lambda: [layers.Dense(3, name="d")],
        1e-43 * draws(9, 4).astype(np.float64),
        r'Dense "d" cannot be scaled',
    ),
    "a wide bias": (
        lambda: [layers.Dense(8, name="d", bias_initializer=initializers.RandomNormal(0.0, 9.0))],
        draws(9, 4),
        r'the outputs of Dense "d" have variance .* after 10 divisions',
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_lsuv_says_what_is_wrong_and_changes_nothing(case: str) -> None:
    make, x, text = FAILING[case]
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), *make()])
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"^lsuv: {text}") as caught:
        model.lsuv(x)
    assert "\n" not in str(caught.value)
    assert same(model.get_weights(), before)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"tolerance": 0.0}, ValueError),
        ({"tolerance": 1.0}, ValueError),
        ({"tolerance": float("nan")}, ValueError),
        ({"tolerance": "0.1"}, TypeError),
        ({"max_iterations": 0}, ValueError),
        ({"max_iterations": 2.5}, TypeError),
    ],
)
def test_bad_arguments_of_lsuv(arguments: dict[str, Any], error: type[Exception]) -> None:
    (name,) = arguments
    with pytest.raises(error, match=f"^lsuv: expected {name} "):
        deep().lsuv(draws(5, 3, 4), **arguments)


def test_lsuv_leaves_the_count_of_batches() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(), layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = 5.0 + draws(50, 3)
    model.lsuv(x)
    model.train_on_batch(x, draws(50, 2))
    # The first batch, debiased, is the statistic.
    mean, variance = reference.batch_norm_statistics(x)
    np.testing.assert_allclose(model.get_weights()[2], mean, rtol=1e-6)
    np.testing.assert_allclose(model.get_weights()[3], variance, rtol=1e-6)


def test_lsuv_trains_what_would_not_train() -> None:
    """Twenty layers of SiLU: as drawn by default no signal comes through."""
    losses = []
    x = draws(256, 10)
    y = (x[:, 0] > 0).astype(int)
    for prepared in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((10,))])
        for _ in range(20):
            model.add(layers.Dense(30, "silu"))
        model.add(layers.Dense(2, "softmax"))
        if prepared:
            model.lsuv(x)
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=1.0)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        losses.append(model.fit(x, y, epochs=30, verbose=0).history["loss"][-1])
    assert losses[0] > 0.68
    assert losses[1] < 0.2


class Twice(layers.Layer):
    """A layer in Python; from its third call on it fails, if told so."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.calls, self.fails = 0, fails

    def call(self, inputs: F32) -> F32:
        self.calls += 1
        if self.fails and self.calls > 2:
            raise ArithmeticError("out of order")
        return 2.0 * inputs


@pytest.mark.parametrize("method", ["recalibrate", "lsuv"])
def test_layers_in_python(method: str) -> None:
    for fails in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(5)])
        for layer in (Twice(fails), layers.Dense(3), layers.BatchNormalization(epsilon=1e-6)):
            model.add(layer)
        before, x = model.get_weights(), 3.0 + draws(100, 4)
        if fails:
            with pytest.raises(ArithmeticError, match="out of order"):
                getattr(model, method)(x, batch_size=20)
            assert same(model.get_weights(), before)
            continue
        getattr(model, method)(x, batch_size=20)
        outputs = model.predict(x)
        if method == "recalibrate":
            np.testing.assert_allclose(outputs.mean(axis=0), 0.0, atol=1e-5)
            np.testing.assert_allclose(outputs.var(axis=0), 1.0, atol=1e-4)
        else:
            model.recalibrate(x)
            kept = keras.Sequential(model.layers[:-1])
            assert kept.predict(x).var() == pytest.approx(1.0, abs=0.1)
