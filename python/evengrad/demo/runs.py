"""The sick networks, their remedies, and what training them shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import evengrad as keras
from evengrad.datasets import digits, fashion_mnist

RATE, BATCH, EPOCHS = 0.05, 32, 20
HIDDEN_LAYERS, UNITS = 20, 64
CLIP = 1.0
REFERENCE_EPOCHS = 10

F64 = NDArray[np.float64]

# Sigmoid's slope is 1/4 at 0: kernels of four times LeCun's deviation carry gradients through it.
VARIANCE_PRESERVING: dict[str, str | keras.initializers.Initializer] = {
    "elu": "he_normal",
    "sigmoid": keras.initializers.VarianceScaling(scale=16.0),
}


class Data(NamedTuple):
    """Samples and classes, to train on and held out."""

    x: NDArray[Any]
    y: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]


@dataclass(frozen=True)
class Network:
    """Twenty hidden layers and how to train them.

    Attributes
    ----------
    activation : str
        Of the hidden layers.
    initializer : str or Initializer, optional
        Of their kernels; None is the one that preserves the variance through the activation.
    normalized : bool
        Batch normalization before each activation, in place of the bias.
    clipnorm : float, optional
        Of the optimizer.
    """

    activation: str
    initializer: str | keras.initializers.Initializer | None
    normalized: bool = False
    clipnorm: float | None = None

    @property
    def kernel_initializer(self) -> str | keras.initializers.Initializer:
        """The initializer, found by the activation where there is none."""
        return self.initializer or VARIANCE_PRESERVING[self.activation]

    def build(self) -> keras.Sequential:
        """Return a new compiled model."""
        initializer = self.kernel_initializer
        model = keras.Sequential([keras.Input((64,))])
        for _ in range(HIDDEN_LAYERS):
            bias = not self.normalized
            model.add(keras.layers.Dense(UNITS, None, bias, kernel_initializer=initializer))
            if self.normalized:
                model.add(keras.layers.BatchNormalization())
            model.add(keras.layers.Activation(self.activation))
        model.add(keras.layers.Dense(10, "softmax"))
        optimizer = keras.optimizers.SGD(RATE, clipnorm=self.clipnorm)
        model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
        return model


SICK = {
    "vanishing": Network("sigmoid", "glorot_uniform"),
    "exploding": Network("elu", keras.initializers.RandomNormal(stddev=1.0)),
}
REMEDIES: dict[str, Callable[[Network], Network]] = {
    "initialization": lambda network: replace(network, initializer=None),
    "activation": lambda network: replace(network, activation="elu"),
    "batch norm": lambda network: replace(network, normalized=True),
    "clipping": lambda network: replace(network, clipnorm=CLIP),
}
UNTREATED, ALL = "untreated", "all four"


def treatments(sick: Network) -> dict[str, Network]:
    """Return the network untreated, with each remedy alone and with all of them."""
    alone = {name: remedy(sick) for name, remedy in REMEDIES.items()}
    everything = reduce(lambda network, remedy: remedy(network), REMEDIES.values(), sick)
    return {UNTREATED: sick, **alone, ALL: everything}


@dataclass(frozen=True)
class Run:
    """One training from one seed.

    Attributes
    ----------
    accuracy : float
        On the held-out part, of the model as training left it.
    seconds : float
        Of training.
    start, end : ndarray (HIDDEN_LAYERS,)
        Root-mean-square gradient of each hidden layer's kernel, before clipping, in the first and
        the last step.
    failure : NonFiniteError, optional
        What ended training early.
    """

    seed: int
    accuracy: float
    seconds: float
    start: F64
    end: F64
    failure: keras.NonFiniteError | None = None


@dataclass(frozen=True)
class Result:
    """The runs of one network over the seeds: means, for gradients medians."""

    sickness: str
    treatment: str
    runs: Sequence[Run]

    @property
    def accuracy(self) -> float:
        """Mean test accuracy."""
        return float(np.mean([run.accuracy for run in self.runs]))

    @property
    def seconds(self) -> float:
        """Mean time of a training."""
        return float(np.mean([run.seconds for run in self.runs]))

    @property
    def start(self) -> F64:
        """Gradients of the first step."""
        return _median([run.start for run in self.runs])

    @property
    def end(self) -> F64:
        """Gradients of the last step."""
        return _median([run.end for run in self.runs])

    @property
    def failures(self) -> str:
        """Where and from which seeds training ended early, empty where it did not."""
        seeds: dict[str, list[int]] = {}
        for run in self.runs:
            if run.failure is not None:
                where = f"step {run.failure.step + 1} of epoch {run.failure.epoch + 1}"
                seeds.setdefault(where, []).append(run.seed)
        places = [f"{where} ({listed(found)})" for where, found in seeds.items()]
        return f"not finite in {', in '.join(places)}" if places else ""


def listed(seeds: Sequence[int]) -> str:
    """Return "seed 0", "seeds 0, 1, 2" or, where there are many, "7 seeds"."""
    if len(seeds) > 5:
        return f"{len(seeds)} seeds"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _median(values: Sequence[F64]) -> F64:
    """Median by layer, on the logarithmic scale that gradients of many magnitudes ask for."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        median: F64 = 10.0 ** np.median(np.log10(values), axis=0)
    return median


def load_digits() -> Data:
    """Return the digits, pixel by pixel less the training part's mean, over its deviation."""
    (x, y), (x_test, y_test) = digits.load_data()
    x, x_test = x.reshape(-1, 64), x_test.reshape(-1, 64)
    # Pixels that are almost always blank keep their scale: at least one of the 16 grey levels.
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), 1.0)
    x, x_test = (((part - mean) / deviation).astype(np.float32) for part in (x, x_test))
    return Data(x, y, x_test, y_test)


def load_fashion() -> Data:
    """Return the sample of Fashion-MNIST in its grey levels of 0 to 255."""
    (x, y), (x_test, y_test) = fashion_mnist.load_sample()
    return Data(x, y, x_test, y_test)


def gradients(model: keras.Sequential) -> F64:
    """Return the RMS gradient of each hidden layer's kernel in the step that was last trained."""
    recording = model._step(BATCH, train=True)
    squares = dict(zip(recording.variables, recording.norms, strict=True))
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    return np.sqrt([squares[kernel] / kernel.size for kernel in kernels[:-1]])


def _fit(
    network: Network, data: Data, seed: int, **options: Any
) -> tuple[keras.Sequential, keras.NonFiniteError | None]:
    keras.utils.set_random_seed(seed)
    model = network.build()
    try:
        model.fit(data.x, data.y, batch_size=BATCH, verbose=0, **options)
    except keras.NonFiniteError as error:
        return model, error
    return model, None


def train(network: Network, data: Data, seed: int, epochs: int = EPOCHS) -> Run:
    """Train from a seed and look at the gradients of the first and the last step."""
    # Equal seeds give equal steps: an equal model shows the first one without a stop in the other.
    probe, _ = _fit(network, data, seed, epochs=1, steps_per_epoch=1)
    begin = time.perf_counter()
    model, failure = _fit(network, data, seed, epochs=epochs)
    seconds = time.perf_counter() - begin
    accuracy = model.evaluate(data.x_test, data.y_test, verbose=0)[1]
    return Run(seed, accuracy, seconds, gradients(probe), gradients(model), failure)


def run_sickness(
    name: str, data: Data, seeds: Sequence[int], epochs: int = EPOCHS
) -> Iterator[Result]:
    """Train a sick network and its treatments, and yield each as it is done."""
    for treatment, network in treatments(SICK[name]).items():
        yield Result(name, treatment, [train(network, data, seed, epochs) for seed in seeds])


def reference_program(**clipping: Any) -> keras.Sequential:
    """Return the compiled network of 300 and 100 ELU units for images of 28x28."""
    model = keras.models.Sequential(
        [
            keras.layers.Flatten(input_shape=[28, 28]),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(300, kernel_initializer="he_normal", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("elu"),
            keras.layers.Dense(100, kernel_initializer="he_normal", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("elu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(learning_rate=RATE, **clipping)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


def train_reference(
    clipping: str, data: Data, seeds: Sequence[int], epochs: int = REFERENCE_EPOCHS
) -> tuple[float, float]:
    """Return mean test accuracy and mean seconds of training of the reference program.

    Parameters
    ----------
    clipping : {"clipnorm", "clipvalue"}
        Kind of clipping, at 1.
    data : Data
        Images of 28x28 and their classes.
    seeds : sequence of int
        Trainings.
    epochs : int
        Of each.
    """
    accuracies, seconds = [], []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model = reference_program(**{clipping: CLIP})
        begin = time.perf_counter()
        model.fit(data.x, data.y, batch_size=BATCH, epochs=epochs, verbose=0)
        seconds.append(time.perf_counter() - begin)
        accuracies.append(model.evaluate(data.x_test, data.y_test, verbose=0)[1])
    return float(np.mean(accuracies)), float(np.mean(seconds))
