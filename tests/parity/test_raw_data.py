"""Batch normalization as the first layer on raw data: good from the first epochs on."""

import evengrad as keras
import numpy as np
import pytest

datasets = pytest.importorskip(
    "sklearn.datasets", reason="scikit-learn is not installed (pip install .[parity])"
)


def accuracy(name: str, seed: int, epochs: int, debias: bool = True) -> float:
    """On a quarter of the rows, held out; features from 1e-3 to 1e3 as they are."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order], y[order]
    held_out = len(x) // 4
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential([layers.BatchNormalization(debias=debias)])
    for _ in range(2):
        model.add(layers.Dense(64, kernel_initializer="he_normal", use_bias=False))
        model.add(layers.BatchNormalization(debias=debias))
        model.add(layers.Activation("elu"))
    model.add(layers.Dense(len(set(y)), "softmax"))
    optimizer = keras.optimizers.Adam(1e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x[held_out:], y[held_out:], batch_size=32, epochs=epochs, verbose=0)
    return float(model.evaluate(x[:held_out], y[:held_out], verbose=0)[1])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wine_after_twenty_epochs(seed: int) -> None:
    assert accuracy("wine", seed, 20) >= 0.94


def test_without_debiasing_it_lags() -> None:
    assert np.mean([accuracy("wine", seed, 20, debias=False) for seed in range(3)]) < 0.8


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_breast_cancer_after_ten_epochs(seed: int) -> None:
    assert accuracy("breast_cancer", seed, 10) >= 0.94
