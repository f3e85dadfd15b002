"""Real data: what the reference networks reach on held-out rows, as the mean of three seeds."""

from collections.abc import Callable

import evengrad as keras
import numpy as np
import pytest

SEEDS = (0, 1, 2)


def network(*front: keras.layers.Layer) -> keras.Sequential:
    """A batch normalization on the input and two hidden layers of 300 and 100 ELU."""
    layers = keras.layers
    hidden = [
        layer
        for units in (300, 100)
        for layer in (
            layers.Dense(units, kernel_initializer="he_normal", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("elu"),
        )
    ]
    last = layers.Dense(10, activation="softmax")
    return keras.Sequential([*front, layers.BatchNormalization(), *hidden, last])


def accuracy(make: Callable[[], keras.Sequential], data, rate: float, epochs: int) -> float:
    (x, y), (x_test, y_test) = data
    reached = []
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        model = make()
        model.compile(
            keras.optimizers.SGD(rate, clipnorm=1.0),
            "sparse_categorical_crossentropy",
            ["accuracy"],
        )
        model.fit(x, y, epochs=epochs, verbose=0)
        reached.append(model.evaluate(x_test, y_test, verbose=0)[1])
    print(f"rate {rate}, {epochs} epochs, seeds {SEEDS}: {np.round(reached, 4)}")
    return float(np.mean(reached))


def test_reference_network_on_all_of_fashion_mnist() -> None:
    try:
        data = keras.datasets.fashion_mnist.load_data("/usr/share/datasets/fashion-mnist")
    except OSError as error:
        pytest.skip(f"Debian's package dataset-fashion-mnist is not installed: {error}")
    flatten = keras.layers.Flatten
    assert accuracy(lambda: network(flatten(input_shape=[28, 28])), data, 0.1, 10) >= 0.88


def test_digits() -> None:
    data = keras.datasets.digits.load_data()
    flatten = keras.layers.Flatten
    assert accuracy(lambda: network(flatten(input_shape=[8, 8])), data, 0.05, 20) >= 0.97
