"""check_gradients: it passes what is right, and accuses what is wrong, of the right thing."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import activations, layers, losses, regularizers, utils
from evengrad.utils import GradientError, check_gradients
from numpy.typing import NDArray

Array = NDArray[Any]


# What is right

LAYERS: dict[str, Callable[[], Any]] = {
    "dense": lambda: layers.Dense(4),
    "dense_tanh": lambda: layers.Dense(4, "tanh"),
    "dense_relu": lambda: layers.Dense(7, "relu", use_bias=False),
    "dense_softmax": lambda: layers.Dense(4, "softmax"),
    "batch_normalization": layers.BatchNormalization,
    "batch_normalization_plain": lambda: layers.BatchNormalization(center=False, scale=False),
    "batch_normalization_frozen": lambda: layers.BatchNormalization(trainable=False),
    "layer_normalization": layers.LayerNormalization,
    "activation": lambda: layers.Activation("gelu"),
    "relu": lambda: layers.ReLU(1.0, 0.1, 0.25),
    "leaky_relu": layers.LeakyReLU,
    "elu": layers.ELU,
    "selu": layers.SELU,
    "softmax": layers.Softmax,
    "prelu": lambda: layers.PReLU("uniform"),
    "dropout": lambda: layers.Dropout(0.4),
    "alpha_dropout": lambda: layers.AlphaDropout(0.3),
    "gaussian_noise": lambda: layers.GaussianNoise(0.5),
    "gaussian_dropout": lambda: layers.GaussianDropout(0.3),
    "flatten": layers.Flatten,
    "reshape": lambda: layers.Reshape((3, 2)),
    "rescaling": lambda: layers.Rescaling(0.5, 1.0),
    "normalization": lambda: layers.Normalization(mean=1.0, variance=4.0),
    "residual": lambda: layers.Residual([layers.Dense(6, "tanh"), layers.BatchNormalization()]),
    "residual_projected": lambda: layers.Residual([layers.Dense(3, "elu")], fixup=3),
    "sequential": lambda: keras.Sequential(
        [layers.BatchNormalization(), layers.Dense(5, "relu"), layers.Dropout(0.2), layers.Dense(2)]
    ),
}


def test_all_layers_are_here() -> None:
    made = {type(make()).__name__ for make in LAYERS.values()} | {"Sequential"}
    rest = {"Input", "InputLayer", "Layer"}
    public = {n for n in layers.__all__ if isinstance(getattr(layers, n), type)}
    assert public - rest <= made


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("seed", range(3))
def test_layers(name: str, seed: int) -> None:
    report = check_gradients(LAYERS[name](), seed=seed)
    assert report.error < 2e-3
    assert report.tensors["inputs"].precision == "float32"
    part = LAYERS[name]()
    part.build((6,))
    assert {"inputs"} | {v.path.split("/")[-1] for v in part.trainable_variables} == {
        n.split("/")[-1] for n in report.tensors
    }


@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_inference(name: str) -> None:
    report = check_gradients(LAYERS[name](), training=False)
    assert list(report.tensors) == ["inputs"]


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", ["dense_tanh", "batch_normalization", "layer_normalization"])
def test_samples_of_several_axes(name: str, shape: tuple[int, ...]) -> None:
    report = check_gradients(LAYERS[name](), input_shape=shape)
    assert report.tensors["inputs"].shape == (5, *shape)


@pytest.mark.parametrize("name", sorted(activations.FUNCTIONS))
@pytest.mark.parametrize("seed", range(5))
def test_activations(name: str, seed: int) -> None:
    function = activations.FUNCTIONS[name]
    given = functools.partial(function, theta=0.3) if name == "threshold" else name
    if name == "threshold":
        given = functools.partial(function, threshold=0.3, default_value=0.1)
    assert check_gradients(given, seed=seed).error < 2e-3


@pytest.mark.parametrize("name", [n for n in losses.__all__ if n[0].isupper() and n != "Loss"])
@pytest.mark.parametrize("seed", range(3))
def test_losses(name: str, seed: int) -> None:
    assert check_gradients(getattr(losses, name)(), seed=seed).error < 2e-3


def test_regularizers() -> None:
    assert check_gradients(regularizers.L1L2(0.1, 0.2)).error < 1e-6


def test_kinks_are_no_false_alarm() -> None:
    """On the kink, beside it within a step, and far away."""
    x = np.array([[0.0, 1e-6, -1e-3, 0.01, -0.03, 0.06, 2.0, -2.0]])
    for name in ("relu", "leaky_relu", "hard_tanh", "relu6", "elu", "hard_sigmoid"):
        check_gradients(name, x - 1.0)
        report = check_gradients(name, x)
        assert report.tensors["inputs"].checked == 8
    assert check_gradients("relu", x).tensors["inputs"].kinks == 2


def test_seldom_a_false_alarm() -> None:
    """Thousands of elements, most of them behind kinks."""
    for seed in range(10):
        model = keras.Sequential(
            [layers.Dense(16, "relu"), layers.Dense(16, "hard_shrink"), layers.Dense(4, "relu")]
        )
        check_gradients(model, seed=seed, elements=300)


# Parts in Python: float64


class Scale(layers.Layer):
    """Right, or wrong in some way."""

    wrong = ""

    def build(self, input_shape: Any) -> None:
        n = input_shape[-1]
        self.scale = self.add_weight((n,), "ones", "scale")
        self.mix = self.add_weight((n, n), "identity", "mix")

    def call(self, inputs: Array) -> Any:
        return (inputs * self.scale.value) @ self.mix.value

    def call_backward(self, inputs: Array, outputs: Array, dy: Array) -> Any:
        scaled = inputs * self.scale.value
        inner = dy @ self.mix.value.T
        gradients: dict[Any, Any] = {
            self.scale: (inner * inputs).sum(axis=0), self.mix: scaled.T @ dy
        }  # fmt: skip
        return self.spoilt(inner * self.scale.value, gradients, inner * inputs, len(inputs))

    def spoilt(self, dx: Array, found: dict[Any, Any], each: Array, n: int) -> Any:  # noqa: PLR0912
        match self.wrong:
            case "sign":
                found[self.scale] = -found[self.scale]
            case "mean":
                found[self.scale] = each.mean(axis=0)
            case "rows":
                found[self.mix] = found[self.mix] * n
            case "factor":
                dx = 0.5 * dx
            case "no sum":
                found[self.scale] = each
            case "transposed":
                found[self.mix] = found[self.mix].T
            case "missing":
                del found[self.mix]
            case "zero":
                found[self.mix] = 0.0 * found[self.mix]
            case "one row":
                found[self.scale] = each[0]
            case "one element":
                found[self.mix][1, 2] += 1.0
            case "slightly":
                found[self.mix][1, 2] *= 1.0001
            case "nan":
                dx = dx + np.nan
            case "shape":
                dx = dx[:, :1]
        return dx, found


def test_a_layer_in_python_is_checked_in_float64() -> None:
    report = check_gradients(Scale(name="s"))
    assert set(report.tensors) == {"inputs", "s/scale", "s/mix"}
    assert report.error < 1e-9
    assert {t.precision for t in report.tensors.values()} == {"float64"}


CAUSES = {
    "sign": ("s/scale", "Likely cause: the sign."),
    "mean": ("s/scale", "Likely cause: it is divided by 5, the number of rows: gradients are sums"),
    "rows": ("s/mix", "Likely cause: it is multiplied by 5, the number of rows."),
    "factor": ("inputs", "Likely cause: it is 0.5 times the right one."),
    "no sum": ("s/scale", "Likely cause: the sum over the batch, axis 0, is missing."),
    "transposed": ("s/mix", "Likely cause: it is transposed."),
    "missing": ("s/mix", "Likely cause: it is left out of what is returned."),
    "zero": ("s/mix", "Likely cause: it is 0 everywhere."),
    "one row": ("s/scale", "is wrong at"),
    "one element": ("s/mix", "is wrong at [1, 2]: expected"),
    "slightly": ("s/mix", "is wrong at [1, 2]: expected"),
    "nan": ("inputs", "Likely cause: an overflow, a division by 0 or a logarithm of 0."),
    "shape": ("inputs", "to have shape (5, 6), got (5, 1)"),
}


@pytest.mark.parametrize("wrong", CAUSES)
def test_what_is_wrong_is_named(wrong: str) -> None:
    layer = Scale(name="s")
    layer.wrong = wrong
    tensor, text = CAUSES[wrong]
    with pytest.raises(GradientError) as caught:
        check_gradients(layer)
    assert text in str(caught.value)
    assert caught.value.tensor == tensor
    assert str(caught.value).startswith('Scale "s": ')
    assert isinstance(caught.value, AssertionError)


def test_the_error_says_where_and_how_much() -> None:
    layer = Scale(name="s")
    layer.wrong = "one element"
    with pytest.raises(GradientError) as caught:
        check_gradients(layer)
    error = caught.value
    assert error.index == (1, 2)
    assert error.expected is not None
    assert error.got == pytest.approx(error.expected + 1.0)
    assert "(1 of 36 elements differ)" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.args, again.tensor, again.index) == (error.args, error.tensor, error.index)
    assert copy.copy(error).got == error.got


def test_the_slope_on_one_side() -> None:
    class Leaky(activations.Activation):
        def call(self, x: Array) -> Any:
            return np.where(x > 0.0, x, 0.1 * x)

        def slope(self, x: Array, y: Array) -> Any:
            return np.where(x > 0.0, 1.0, 0.2)

    with pytest.raises(GradientError, match="Likely cause: the slope below 0"):
        check_gradients(Leaky())


@pytest.mark.parametrize("wrong", ["mean", "sign", ""])
def test_losses_in_python(wrong: str) -> None:
    class Cube(losses.Loss):
        def call(self, y_true: Array, y_pred: Array) -> Any:
            return (np.abs(y_pred - y_true) ** 3).mean(axis=-1)

        def gradient(self, y_true: Array, y_pred: Array) -> Any:
            d = y_pred - y_true
            slope = 3.0 * d * np.abs(d) / d.shape[-1]
            return {"mean": slope / len(slope), "sign": -slope, "": slope}[wrong]

    if not wrong:
        assert check_gradients(Cube()).error < 1e-8
        return
    text = "divided by 5, the number of rows" if wrong == "mean" else "the sign"
    with pytest.raises(GradientError, match=text):
        check_gradients(Cube())


def test_a_sparse_loss_in_python() -> None:
    class Surprise(losses.Loss):
        sparse = True

        def call(self, y_true: Array, y_pred: Array) -> Any:
            return -np.log(y_pred[np.arange(len(y_true)), y_true])

        def gradient(self, y_true: Array, y_pred: Array) -> Any:
            hit = np.eye(y_pred.shape[1])[y_true]
            return -hit / y_pred

    report = check_gradients(Surprise())
    assert report.tensors["y_pred"].precision == "float64"
    assert report.error < 1e-6
    check_gradients(Surprise(), [[0.25, 0.75]], [1])


def test_float32_inside_is_noticed() -> None:
    """No false alarm where a part rounds, and what is wrong is still found."""

    class Rounds(layers.Layer):
        factor = 1.0

        def call(self, inputs: Array) -> Any:
            return np.tanh(inputs.astype(np.float32))

        def call_backward(self, inputs: Array, outputs: Array, dy: Array) -> Any:
            return self.factor * dy * (1.0 - outputs * outputs)

    assert check_gradients(Rounds()).tensors["inputs"].precision == "float32"
    layer = Rounds()
    layer.factor = 1.01
    with pytest.raises(GradientError, match=r"it is 1\.01 times the right one"):
        check_gradients(layer)


class Noise(layers.Layer):
    def __init__(self, source: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.rng = np.random.default_rng(0)

    def call(self, inputs: Array, training: bool = False) -> Any:
        self.mask = np.ones(inputs.shape)
        if training and self.source == "own":
            self.mask = self.rng.integers(0, 2, inputs.shape)
        elif training and self.source == "numpy":
            self.mask = np.random.randint(0, 2, inputs.shape)
        elif training:
            self.mask = np.random.default_rng().integers(0, 2, inputs.shape)
        return inputs * self.mask

    def call_backward(self, inputs: Array, outputs: Array, dy: Array) -> Any:
        return dy * self.mask


@pytest.mark.parametrize("source", ["own", "numpy"])
def test_random_numbers_are_the_same_at_each_call(source: str) -> None:
    assert check_gradients(Noise(source)).error < 1e-9
    check_gradients(keras.Sequential([Noise(source), layers.Dense(2), layers.Dropout(0.5)]))


def test_random_numbers_from_elsewhere_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"differ from call to call.*numpy\.random\.Generator that is"
    ):
        check_gradients(Noise("other"))
    check_gradients(Noise("other"), training=False)


# What runs in the core


@pytest.mark.parametrize(("factor", "text"), [(0.5, "0.5 times"), (-1.0, "the sign")])
def test_a_wrong_layer_of_kernels(factor: float, text: str) -> None:
    class Broken(layers.Dense):
        def backward(self, program: Any, dy: Any, *, need_dx: bool = True) -> Any:
            dx = super().backward(program, dy, need_dx=need_dx)
            gradient = program.gradients[self.bias]
            program.python(lambda rows: gradient.__imul__(np.float32(factor)))
            return dx

    with pytest.raises(GradientError, match=rf"gradient of b/bias is wrong.*\n.*{text}"):
        check_gradients(Broken(3, "tanh", name="b"))


def test_a_small_error_in_float32_is_no_kink() -> None:
    """Over the shortest steps it would drown in noise."""

    class Broken(layers.Dense):
        def backward(self, program: Any, dy: Any, *, need_dx: bool = True) -> Any:
            dx = super().backward(program, dy, need_dx=need_dx)
            program.python(lambda rows: dx.__imul__(np.float32(1.002)))
            return dx

    with pytest.raises(GradientError, match=r"it is 1\.002 times the right one"):
        check_gradients(Broken(200, name="b"))


def test_padding_must_be_0() -> None:
    class Spills(layers.Dense):
        def backward(self, program: Any, dy: Any, *, need_dx: bool = True) -> Any:
            dx = super().backward(program, dy, need_dx=need_dx)
            whole = np.lib.stride_tricks.as_strided(program.gradients[self.bias], (16,), (4,))

            def spill(rows: int) -> None:
                whole[-1] = 1.0

            program.python(spill)
            return dx

    with pytest.raises(AssertionError, match=r"the padding of the gradient of spills\S*/bias is n"):
        check_gradients(Spills(3))


def test_a_wrong_layer_in_a_model() -> None:
    layer = Scale(name="s")
    layer.wrong = "sign"
    with pytest.raises(GradientError, match=r"gradient of m/s/scale is wrong"):
        check_gradients(keras.Sequential([layers.Dense(6), layer], name="m"))


def test_wrong_activations_and_regularizers() -> None:
    class Sine(activations.Activation):
        def call(self, x: Array) -> Any:
            return np.sin(x)

        def slope(self, x: Array, y: Array) -> Any:
            return 1.0 - y * y

    class Cubes(regularizers.Regularizer):
        def __call__(self, x: Any) -> Any:
            return (np.abs(x) ** 3).sum()

        def gradient(self, x: Array) -> Any:
            return 3.0 * x**2

    with pytest.raises(GradientError, match=r"Sine\(\): the gradient of inputs is wrong at"):
        check_gradients(Sine())
    with pytest.raises(GradientError, match="Likely cause: the slope below 0"):
        check_gradients(Cubes())


# Around it


def test_the_layer_is_as_before() -> None:
    layer = Scale()
    check_gradients(layer)
    assert not layer.built
    layer(np.ones((1, 6)))
    storage = [v.storage for v in layer.variables]
    before = layer.get_weights()
    layer.wrong = "sign"
    with pytest.raises(GradientError):
        check_gradients(layer)
    assert all(v.storage is s for v, s in zip(layer.variables, storage, strict=True))
    for v, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(v.value, value)
    model = keras.Sequential([layers.BatchNormalization(), layers.Dense(2)])
    model.build((6,))
    arrays = [a.copy() for a in model.live_arrays]
    check_gradients(model)
    for now, then in zip(model.live_arrays, arrays, strict=True):
        np.testing.assert_array_equal(now, then)


def test_random_state_is_left_alone() -> None:
    utils.set_random_seed(0)
    np.random.seed(3)
    first = np.random.rand()
    np.random.seed(3)
    check_gradients(Scale())
    assert np.random.rand() == first


def test_the_report_reads_well() -> None:
    text = repr(check_gradients(layers.Dense(3, "relu", name="hidden"), seed=1))
    lines = text.splitlines()
    assert lines[0] == 'Dense "hidden": the gradients are those of finite differences'
    assert lines[1].split() == ["tensor", "shape", "checked", "largest", "relative", "error", "at"]
    assert [line.split()[0] for line in lines[2:]] == ["inputs", "hidden/kernel", "hidden/bias"]
    assert "in float32" in lines[2]


def test_only_some_elements_of_large_tensors() -> None:
    report = check_gradients(layers.Dense(40), input_shape=(30,), elements=20)
    assert [t.checked for t in report.tensors.values()] == [20, 20, 20]


def test_own_inputs() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    assert check_gradients(layers.Dense(2), x).tensors["inputs"].shape == (3, 4)
    check_gradients(losses.Hinge(), [[0.5, 2.0]], [[1.0, -1.0]])
    layer = layers.Dense(2)
    layer.build((6,))
    with pytest.raises(ValueError, match=r"expected x of shape \(n, 6\) for Dense"):
        check_gradients(layer, x)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: check_gradients(3), "expected a Layer, a Sequential, a Loss"),
        (lambda: check_gradients(keras.metrics.AUC()), "expected a Layer, a Sequential, a Loss"),
        (lambda: check_gradients("nonsense"), "loss: expected one of"),
        (lambda: check_gradients("elu", elements=0), "elements to be at least 1"),
        (lambda: check_gradients("elu", tolerance=0.0), "tolerance in"),
        (lambda: check_gradients("elu", training="yes"), "training to be True or False"),
        (
            lambda: check_gradients("log_softmax", [[np.inf, 1.0]]),
            "are not finite for these inputs",
        ),
        (lambda: check_gradients(layers.Layer()), "write call"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=text):
        call()
