"""The work that is timed: networks, data, initial weights, and what a network must answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Weights = list[list[F32]]

BN_EPSILON = 1e-3
BN_MOMENTUM = 0.99
LEAKY_SLOPE = 0.01
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True)
class Layer:
    """kind: "dense", "bn", or an activation: "elu", "relu", "selu", "tanh", "leaky_relu"."""

    kind: str
    units: int = 0
    bias: bool = False


@dataclass(frozen=True)
class Optimizer:
    """kind: "sgd" or "adam"; thresholds as Keras defines them."""

    kind: str
    rate: float
    momentum: float = 0.0
    clipnorm: float | None = None
    global_clipnorm: float | None = None


@dataclass(frozen=True)
class Workload:
    """A network and how it is trained. The last Dense is followed by a softmax if loss is "ce"."""

    name: str
    title: str
    inputs: int
    hidden: tuple[Layer, ...]
    outputs: int
    loss: str
    optimizer: Optimizer
    rows: int
    quick_rows: int
    gain: float = 2.0  # variance of a hidden kernel times its inputs: 2 he_normal, 1 lecun_normal
    layers: tuple[Layer, ...] = field(init=False)

    def __post_init__(self) -> None:
        output = Layer("dense", self.outputs, bias=True)
        object.__setattr__(self, "layers", (*self.hidden, output))


def _blocks(units: tuple[int, ...], activation: str) -> tuple[Layer, ...]:
    """Dense without the bias that a batch normalization would subtract, BN, activation."""
    return tuple(
        layer for n in units for layer in (Layer("dense", n), Layer("bn"), Layer(activation))
    )


def _plain(units: tuple[int, ...], activation: str) -> tuple[Layer, ...]:
    return tuple(
        layer for n in units for layer in (Layer("dense", n, bias=True), Layer(activation))
    )


WORKLOADS = {
    w.name: w
    for w in (
        Workload(
            "reference",
            "784-BN-300-BN-ELU-100-BN-ELU-10, SGD, clipnorm 1",
            784,
            (Layer("bn"), *_blocks((300, 100), "elu")),
            10,
            "ce",
            Optimizer("sgd", 0.05, clipnorm=1.0),
            rows=20_000,
            quick_rows=5_000,
        ),
        Workload(
            "tiny",
            "8-64-64-2 tanh, mse, Adam",
            8,
            _plain((64, 64), "tanh"),
            2,
            "mse",
            Optimizer("adam", 1e-3),
            rows=20_000,
            quick_rows=5_000,
            gain=1.0,
        ),
        Workload(
            "tabular",
            "54 - 4 x [256, BN, ReLU] - 7, Adam",
            54,
            _blocks((256,) * 4, "relu"),
            7,
            "ce",
            Optimizer("adam", 1e-3),
            rows=100_000,
            quick_rows=5_000,
        ),
        Workload(
            "deep",
            "100 - 50 x [100, SELU] - 10, SGD momentum .9, global_clipnorm 1",
            100,
            _plain((100,) * 50, "selu"),
            10,
            "ce",
            Optimizer("sgd", 1e-3, momentum=0.9, global_clipnorm=1.0),
            rows=4_096,
            quick_rows=2_048,
            gain=1.0,
        ),
        Workload(
            "wide",
            "1024 - 3 x [1024, BN, LeakyReLU] - 10, SGD momentum .9",
            1024,
            _blocks((1024,) * 3, "leaky_relu"),
            10,
            "ce",
            Optimizer("sgd", 0.01, momentum=0.9),
            rows=2_048,
            quick_rows=1_024,
        ),
    )
}
BATCHES = (32, 128, 1024)
PREDICTION_ROWS = (1, 1024)


def make_data(workload: Workload, rows: int) -> tuple[F32, NDArray[np.int32] | F32]:
    """Samples with a truth that a linear teacher gives: every peer makes the same ones."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, workload.inputs), np.float32)
    teacher = rng.standard_normal((workload.inputs, workload.outputs), np.float32)
    signal = x @ (teacher / np.float32(np.sqrt(workload.inputs)))
    if workload.loss == "mse":
        return x, np.tanh(signal)
    signal += 0.3 * rng.standard_normal(signal.shape, np.float32)
    return x, signal.argmax(axis=1).astype(np.int32)


def make_weights(workload: Workload, *, settled: bool = False) -> Weights:
    """Initial weights layer by layer, in Keras' order; settled: with BN as if after training."""
    rng = np.random.default_rng(2)
    n_in, weights = workload.inputs, []
    for layer in workload.layers:
        if layer.kind == "dense":
            gain = 1.0 if layer is workload.layers[-1] else workload.gain
            kernel = rng.standard_normal((n_in, layer.units), np.float32)
            kernel *= np.float32(np.sqrt(gain / n_in))
            n_in = layer.units
            weights.append([kernel, np.zeros(n_in, np.float32)] if layer.bias else [kernel])
        elif layer.kind == "bn":
            rows = [np.ones(n_in), np.zeros(n_in), np.zeros(n_in), np.ones(n_in)]
            if settled:
                rows = [rng.uniform(0.5, 1.5, n_in) for _ in rows]
            weights.append([row.astype(np.float32) for row in rows])
        else:
            weights.append([])
    return weights


def expected_output(workload: Workload, weights: Weights, x: F32) -> NDArray[np.float64]:
    """What inference must answer, in float64, written apart from every peer."""
    y = x.astype(np.float64)
    for layer, arrays in zip(workload.layers, weights, strict=True):
        if layer.kind == "dense":
            y = y @ arrays[0] + (arrays[1] if layer.bias else 0.0)
        elif layer.kind == "bn":
            gamma, beta, mean, variance = arrays
            y = (y - mean) / np.sqrt(variance + BN_EPSILON) * gamma + beta
        elif layer.kind == "elu":
            y = np.where(y > 0, y, np.expm1(np.minimum(y, 0)))
        elif layer.kind == "selu":
            y = SELU_SCALE * np.where(y > 0, y, SELU_ALPHA * np.expm1(np.minimum(y, 0)))
        elif layer.kind == "tanh":
            y = np.tanh(y)
        else:
            y = np.where(y > 0, y, y * (LEAKY_SLOPE if layer.kind == "leaky_relu" else 0.0))
    if workload.loss == "mse":
        return y
    y = np.exp(y - y.max(axis=1, keepdims=True))
    return y / y.sum(axis=1, keepdims=True)


def loss_of(workload: Workload, output: NDArray[np.floating], y: NDArray[np.generic]) -> float:
    """Loss of a network's answers."""
    output = output.astype(np.float64)
    if workload.loss == "mse":
        return float(np.mean((output - y) ** 2))
    return float(-np.log(np.maximum(output[np.arange(len(y)), y], 1e-12)).mean())
