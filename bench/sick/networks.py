"""A set-up in plain words, the model made of it, its training and its score."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import evengrad
import numpy as np
from evengrad import callbacks, initializers, layers, losses, metrics, optimizers, regularizers

from bench.sick import data as sets
from bench.sick.data import Array, Data


@dataclass(frozen=True)
class Setup:
    """Data, architecture, compile and fit of one training; nothing but JSON's types."""

    data: str
    seed: int
    depth: int
    width: int
    activation: str
    initializer: Any = "he_normal"  # name, or {"class_name", "config"}, of hidden kernels
    bias: float = 0.0
    normalization: str = "none"  # or "before", "after" the activation of hidden layers
    input_normalization: bool = False
    bn_momentum: float = 0.99
    bn_debias: bool = True
    dropout: float = 0.0
    l2: float = 0.0
    output: str | None = None
    loss: Any = None
    units: int = 1
    optimizer: str = "adam"
    learning_rate: float = 0.001
    arguments: dict[str, Any] = field(default_factory=dict)  # of the optimizer
    schedule: str = ""  # "", "warm_up", "drop" or "plateau"
    stale: tuple[tuple[str, float], ...] = ()  # slots of the optimizer that are not 0 at first
    scale_targets: bool = False
    noise: float = 0.0  # on the inputs
    recalibrate: bool = False  # moving statistics, after training
    epochs: int = 40
    batch: int = 32
    changes: tuple[tuple[str, float], ...] = ()  # to the data, see `bench.sick.data`
    draw: int = 0  # of weights and batches, for the same data


class Trained(NamedTuple):
    """A model after fit, what it was trained on and how."""

    model: evengrad.Sequential
    data: Data
    epochs: int
    batch: int


# How the last layer, its size and the loss go together; units None: the number of classes.
HEADS: dict[str, dict[str, Any]] = {
    "binary": {"output": "sigmoid", "loss": "binary_crossentropy", "units": 1},
    "classes": {"output": "softmax", "loss": "sparse_categorical_crossentropy", "units": None},
    "regression": {"output": None, "loss": "mse", "units": 1},
}
MOMENTUM = {"momentum": 0.9}
# By our name: class and arguments.
OPTIMIZERS: dict[str, tuple[type[optimizers.Optimizer], dict[str, Any]]] = {
    "sgd": (optimizers.SGD, {}),
    "momentum": (optimizers.SGD, MOMENTUM),
    "nesterov": (optimizers.SGD, MOMENTUM | {"nesterov": True}),
    "adam": (optimizers.Adam, {}),
    "adamw": (optimizers.AdamW, {}),
    "nadam": (optimizers.Nadam, {}),
    "rmsprop": (optimizers.RMSprop, {}),
}


def data_of(setup: Setup) -> Data:
    """What it is trained and measured on."""
    found = sets.changed(sets.load(setup.data, setup.seed), setup.changes, setup.seed)
    if setup.scale_targets and found.task == "regression":
        mean, spread = found.y_train.mean(), max(float(found.y_train.std()), 1e-30)
        found = found.with_parts(
            [(x, ((y - mean) / spread).astype(np.float32)) for x, y in found.parts]
        )
    return found


def hidden(setup: Setup) -> list[layers.Layer]:
    """The layers of one block."""
    regularizer = regularizers.L2(setup.l2) if setup.l2 else None
    inside = setup.normalization == "before"
    dense = layers.Dense(
        setup.width,
        activation=None if inside else setup.activation,
        kernel_initializer=initializers.get(setup.initializer),
        bias_initializer=initializers.Constant(setup.bias) if setup.bias else "zeros",
        kernel_regularizer=regularizer,
    )
    if setup.normalization == "none":
        made: list[layers.Layer] = [dense]
    else:
        norm = layers.BatchNormalization(momentum=setup.bn_momentum, debias=setup.bn_debias)
        made = [dense, norm, *([layers.Activation(setup.activation)] if inside else [])]
    return made + ([layers.Dropout(setup.dropout)] if setup.dropout else [])


def built(setup: Setup, data: Data) -> evengrad.Sequential:
    """The compiled model before its training."""
    evengrad.utils.set_random_seed(setup.seed + 1_000_003 * setup.draw)
    parts: list[Any] = [layers.Input((data.x_train.shape[1],))]
    if setup.input_normalization:
        parts.append(layers.Normalization())
        parts[-1].adapt(data.x_train)
    if setup.noise:
        parts.append(layers.GaussianNoise(setup.noise))
    for _ in range(setup.depth):
        parts += hidden(setup)
    parts.append(layers.Dense(setup.units, activation=setup.output))
    model = evengrad.Sequential(parts)
    model.compile(
        optimizer=_optimizer(setup, data),
        loss=losses.get(setup.loss),
        metrics=[metrics.R2Score() if data.task == "regression" else "accuracy"],
    )
    _make_stale(model, setup)
    return model


def _optimizer(setup: Setup, data: Data) -> optimizers.Optimizer:
    kind, arguments = OPTIMIZERS[setup.optimizer]
    rate: Any = setup.learning_rate
    steps = setup.epochs * -(-len(data.x_train) // setup.batch)
    if setup.schedule == "warm_up":
        rate = optimizers.schedules.PiecewiseConstantDecay([steps // 4], [rate / 300.0, rate])
    elif setup.schedule == "drop":
        rate = optimizers.schedules.PiecewiseConstantDecay([steps // 2], [rate, rate / 10.0])
    return kind(rate, **(arguments | setup.arguments))


def _make_stale(model: evengrad.Sequential, setup: Setup) -> None:
    """Let the optimizer come from another task: steps done, and slots of that size."""
    if not setup.stale:
        return
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    optimizer.variables[0].assign(10_000)
    rng = np.random.default_rng(setup.seed)
    for name, level in setup.stale:
        for slots in optimizer.kept().values():
            if name in slots:
                drawn = rng.normal(size=slots[name].shape) * level
                slots[name].assign(drawn if name.startswith("momentum") else np.abs(drawn))


def fit(
    setup: Setup, data: Data | None = None, watchers: Sequence[callbacks.Callback] = ()
) -> Trained:
    """Train; a training that meets NaN ends there, the model as before that step."""
    data = data_of(setup) if data is None else data
    model = built(setup, data)
    plateau = setup.schedule == "plateau"
    if plateau:
        watchers = [*watchers, callbacks.ReduceLROnPlateau(factor=0.2, patience=5, min_lr=0.001)]
    with contextlib.suppress(evengrad.NonFiniteError):
        model.fit(
            data.x_train,
            data.y_train,
            epochs=setup.epochs,
            batch_size=setup.batch,
            validation_data=(data.x_val, data.y_val),
            validation_freq=1 if watchers else max(1, setup.epochs // 8),
            callbacks=list(watchers),
            verbose=0,
        )
        if setup.recalibrate:
            model.recalibrate(data.x_train)
    return Trained(model, data, setup.epochs, setup.batch)


def score(model: evengrad.Sequential, x: Array, y: Array, task: str) -> float:
    """Accuracy, or R2 and 0 at least; 0 where outputs are not finite."""
    try:
        outputs = np.asarray(model.predict(x, verbose=0), np.float64)
    except evengrad.NonFiniteError:
        return 0.0
    if not np.isfinite(outputs).all():
        return 0.0
    if task == "regression":
        y64 = np.asarray(y, np.float64)
        unexplained = ((outputs.reshape(len(y), -1)[:, 0] - y64) ** 2).sum()
        return max(0.0, float(1.0 - unexplained / ((y64 - y64.mean()) ** 2).sum()))
    if outputs.shape[-1] > 1:
        return float((outputs.argmax(axis=-1) == y).mean())
    threshold = 0.0 if getattr(model.loss, "from_logits", False) else 0.5
    return float(((outputs[:, 0] > threshold) == (np.asarray(y) > 0.5)).mean())


class Result(NamedTuple):
    """Scores on validation and test rows, and seconds."""

    val: float
    test: float
    seconds: float


def result_of(trained: Trained, seconds: float = 0.0) -> Result:
    """Score a model on the held-out parts of its data."""
    model, data = trained.model, trained.data
    return Result(
        score(model, data.x_val, data.y_val, data.task),
        score(model, data.x_test, data.y_test, data.task),
        seconds,
    )


def measured(setup: Setup) -> Result:
    """Train and score."""
    begin = time.perf_counter()
    trained = fit(setup)
    return result_of(trained, time.perf_counter() - begin)
