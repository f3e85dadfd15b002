"""Small things around training."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _core, _names, _random, _validation
from evengrad._check_gradients import check_gradients
from evengrad._dataset import PyDataset
from evengrad._gradient_report import GradientReport, TensorReport
from evengrad._soft_update import soft_update
from evengrad.errors import GradientError
from evengrad.saving.registration import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)

__all__ = [
    "CustomObjectScope", "GradientError", "GradientReport", "PyDataset", "Sequence", "TensorReport",
    "check_gradients", "clear_session", "custom_object_scope", "get_custom_objects",
    "get_registered_name", "get_registered_object", "register_keras_serializable",
    "set_num_threads", "set_random_seed", "show_config", "soft_update", "to_categorical",
]  # fmt: skip

Sequence = PyDataset  # Keras' other name of it

_MOST_THREADS = 1 << 16

__version__ = str(_core.config()["version"])


def set_random_seed(seed: int) -> None:
    """Seed Python's, numpy's and this package's random numbers.

    Equal seeds give equal weights, batches and dropout from here on, for any number of threads.

    Parameters
    ----------
    seed : int
        From 0 to 2^32 - 1.

    Raises
    ------
    ValueError, TypeError
        If it is no such number.

    Examples
    --------
    >>> import evengrad
    >>> evengrad.utils.set_random_seed(0)
    """
    checked = _random.check_seed("set_random_seed", seed)
    if checked >= 1 << 32:
        raise ValueError(f"set_random_seed: expected seed to be below 2^32, got {seed}")
    _random.set_seed(checked)
    random.seed(checked)
    np.random.seed(checked)


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float32]:
    """One-hot rows of class numbers: (...) or (..., 1) to (..., num_classes).

    Parameters
    ----------
    x : array_like of int
        Class numbers from 0.
    num_classes : int, optional
        Default: the largest plus one.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

    Examples
    --------
    >>> from evengrad import utils
    >>> utils.to_categorical([1, 0])
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    array = _validation.as_array("to_categorical", "x", x)
    if array.ndim > 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if num_classes is None:
        largest = array.max() if array.size else 0
        num_classes = int(largest) + 1 if 0 <= largest < 1 << 31 else 1
    classes = _validation.check_count("to_categorical", "num_classes", num_classes)
    labels = _validation.labels("to_categorical", "x", array.reshape(-1), array.size, classes)
    return np.eye(classes, dtype=np.float32)[labels].reshape(*array.shape, classes)


def clear_session() -> None:
    """Start the automatic names of layers again.

    Examples
    --------
    >>> import evengrad as keras
    >>> keras.utils.clear_session()
    >>> keras.layers.Dense(1).name, keras.layers.Dense(1).name
    ('dense', 'dense_1')
    """
    _names.reset_names()


def set_num_threads(threads: int) -> None:
    """Use at most this many threads from now on.

    A model trains and predicts on as many of them as it sees to be fastest, which it finds out
    while it runs. Results do not depend on it, to the bit.

    Parameters
    ----------
    threads : int, from 1 to 65,536
        Also held down by OMP_NUM_THREADS and threadpoolctl. At first as many as there are cores
        for this process.

    Raises
    ------
    ValueError, TypeError
        If it is no such number.

    Examples
    --------
    >>> import evengrad
    >>> before = evengrad.get_num_threads()
    >>> evengrad.set_num_threads(1)
    >>> evengrad.get_num_threads()
    1
    >>> evengrad.set_num_threads(before)
    """
    checked = _validation.check_count("set_num_threads", "threads", threads)
    if checked > _MOST_THREADS:
        raise ValueError(
            f"set_num_threads: expected threads to be at most {_MOST_THREADS}, got {threads}"
        )
    _core.set_num_threads(checked)


def show_config() -> None:
    """Print version, instruction set, threads, their backend and the compiler.

    Examples
    --------
    >>> import evengrad
    >>> evengrad.show_config()  # doctest: +ELLIPSIS
    version ...
    """
    for name, value in _core.config().items():
        print(f"{name:10}{value}")
