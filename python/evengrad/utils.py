"""Small things around training."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _core, _names, _random, _validation

__version__ = str(_core.config()["version"])


def set_random_seed(seed: int) -> None:
    """Seed Python's, numpy's and this package's random numbers.

    Equal seeds give equal weights, batches and dropout from here on, for any number of threads.

    Parameters
    ----------
    seed : int
        From 0 to 2^32 - 1.

    Examples
    --------
    >>> import evengrad
    >>> evengrad.utils.set_random_seed(0)
    """
    _random.set_seed(seed)
    random.seed(int(seed))
    np.random.seed(int(seed) % (1 << 32))


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float32]:
    """One-hot rows of class numbers: (n,) or (n, 1) to (n, num_classes).

    Parameters
    ----------
    x : array_like of int
        Class numbers from 0.
    num_classes : int, optional
        Default: the largest plus one.

    Examples
    --------
    >>> from evengrad import utils
    >>> utils.to_categorical([1, 0])
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    array = _validation.as_array("to_categorical", "x", x).reshape(-1)
    if num_classes is None:
        num_classes = int(array.max()) + 1 if array.size else 1
    labels = _validation.labels("to_categorical", "x", array, len(array), num_classes)
    return np.eye(num_classes, dtype=np.float32)[labels]


def clear_session() -> None:
    """Start the automatic names of layers again."""
    _names.reset_names()


def set_num_threads(threads: int) -> None:
    """Use at most this many threads from now on.

    Parameters
    ----------
    threads : int, at least 1
        Also held down by OMP_NUM_THREADS and threadpoolctl.
    """
    _core.set_num_threads(_validation.check_count("set_num_threads", "threads", threads))


def show_config() -> None:
    """Print version, instruction set, threads, their backend and the compiler."""
    for name, value in _core.config().items():
        print(f"{name:10}{value}")
