"""Compiled models of random depth, widths and parts, for tests of whole training runs."""

from __future__ import annotations

from typing import Any

import evengrad as keras
import numpy as np
from evengrad import constraints, layers, losses, metrics, optimizers, regularizers
from evengrad.optimizers import clipping, schedules
from numpy.typing import NDArray

F32 = NDArray[np.float32]

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "nesterov": True}, "Adam": {"amsgrad": True}, "AdamW": {},
    "Nadam": {}, "Adamax": {}, "RMSprop": {"momentum": 0.5, "centered": True}, "Adagrad": {},
    "Adadelta": {}, "Lion": {},
}  # fmt: skip
ACTIVATIONS = ["elu", "selu", "relu", "leaky_relu", "gelu", "tanh", "silu", None]
FEATURES, CLASSES, ROWS, BATCH = 6, 4, 83, 16


def _clipping(i: int) -> dict[str, Any]:
    return [
        {}, {"clipnorm": 0.1}, {"clipvalue": 0.01}, {"global_clipnorm": 0.2},
        {"clipping": clipping.AdaptiveGradientClipping(0.05, exclude=["last/"])},
        {"clipping": clipping.AutoClip(40.0, history=7)},
        {"clipping": clipping.ZClip(z_threshold=0.8, warm_up=5)},
    ][i % 7]  # fmt: skip


def _rate(rng: np.random.Generator) -> Any:
    return [
        0.01,
        schedules.ExponentialDecay(0.02, 10, 0.9),
        schedules.CosineDecay(0.001, 25, warmup_target=0.02, warmup_steps=6),
        schedules.PiecewiseConstantDecay([9, 20], [0.02, 0.005, 0.001]),
    ][rng.integers(4)]


def optimizer(seed: int, rng: np.random.Generator) -> optimizers.Optimizer:
    """All nine for nine seeds, all ways of clipping for seven."""
    name = list(OPTIMIZERS)[seed % 9]
    options = OPTIMIZERS[name] | _clipping(seed)
    if rng.random() < 0.4:
        options |= {"use_ema": True, "ema_momentum": 0.7}
        options |= {"ema_overwrite_frequency": 7} if rng.random() < 0.5 else {}
    if rng.random() < 0.4:
        options |= {"gradient_accumulation_steps": int(rng.integers(2, 5))}
    if rng.random() < 0.5:
        options |= {"weight_decay": 0.01}
    made: optimizers.Optimizer = getattr(optimizers, name)(_rate(rng), **options)
    if rng.random() < 0.5:
        made.exclude_from_weight_decay(var_names=["bias", "gamma"])
    return made


def _dense(rng: np.random.Generator) -> layers.Layer:
    options: dict[str, Any] = {}
    if rng.random() < 0.4:
        options["kernel_regularizer"] = regularizers.L1L2(1e-3, 1e-3)
    if rng.random() < 0.3:
        options["kernel_constraint"] = constraints.MaxNorm(1.5)
    start = ["glorot_uniform", "auto", "he_normal"][rng.integers(3)]
    activation = ACTIVATIONS[rng.integers(len(ACTIVATIONS))]
    return layers.Dense(int(rng.integers(3, 20)), activation, kernel_initializer=start, **options)


def _parts(rng: np.random.Generator, depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(rng.integers(1, 4)):
        found.append(_dense(rng))
        kinds = [
            layers.BatchNormalization,
            lambda: layers.BatchNormalization(momentum=0.9, debias=False, scale=False),
            layers.LayerNormalization,
            lambda: layers.Dropout(0.3),
            lambda: layers.Dropout(0.2, seed=5),
            lambda: layers.AlphaDropout(0.1),
            lambda: layers.GaussianNoise(0.1),
            lambda: layers.GaussianDropout(0.1),
            layers.PReLU,
            lambda: layers.Activation("elu"),
        ]
        found += [kinds[i]() for i in rng.integers(len(kinds), size=2)]
        if depth and rng.random() < 0.5:
            found.append(layers.Residual(_parts(rng, depth - 1)))
        if depth and rng.random() < 0.3:
            found.append(keras.Sequential(_parts(rng, depth - 1)))
    return found


def data() -> tuple[F32, NDArray[np.int64]]:
    """Samples and class numbers."""
    rng = np.random.Generator(np.random.PCG64(1))
    x = rng.standard_normal((ROWS, FEATURES), np.float32)
    return x, np.argmax(x[:, :CLASSES] + 0.3 * rng.standard_normal((ROWS, CLASSES)), axis=1)


def targets(model: keras.Sequential) -> Any:
    """The truth as the loss of a model reads it."""
    _, labels = data()
    return labels if model.loss.sparse else keras.utils.to_categorical(labels, CLASSES)


def model(seed: int) -> keras.Sequential:
    """The model of a seed: equal seeds give equal models, weights and draws included."""
    keras.utils.set_random_seed(seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    first: list[Any] = [keras.Input((FEATURES,))]
    if rng.random() < 0.3:
        normalization = layers.Normalization()
        normalization.adapt(data()[0])
        first.append(normalization)
    first += [layers.BatchNormalization()] if rng.random() < 0.5 else []
    last = layers.Dense(CLASSES, "softmax", name="last")
    made = keras.Sequential([*first, *_parts(rng, 2), last])
    if rng.random() < 0.3:
        made.layers[-2].trainable = False
    smoothed = losses.CategoricalCrossentropy(label_smoothing=0.1)
    loss: Any = ["sparse_categorical_crossentropy", smoothed, "mse"][rng.integers(3)]
    made.compile(optimizer(seed, rng), loss, ["accuracy", metrics.AUC(num_thresholds=20)])
    return made


def state(made: keras.Sequential) -> list[Any]:
    """All that training changes, to the bit."""
    arrays = [*made.live_arrays, *(v.storage for v in made.optimizer.variables)]
    draws = made.drawing()
    kept = made.optimizer.clipping
    remembered = [] if kept is None else [a.tobytes() for a in kept.get_state().values()]
    return [
        *(array.tobytes() for array in arrays),
        *remembered, draws.seed, draws.generator.bit_generator.state,
    ]  # fmt: skip
