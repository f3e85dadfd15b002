"""Optical digits: 1,797 handwritten digits in 8x8 grey levels, in the wheel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._idx import Data

__all__ = ["load_data"]


def load_data(test_split: float = 0.2, seed: int = 113) -> Data:
    """Return the test part of UCI's optical digits, shuffled and split in two.

    The order is ``argsort(PCG64(seed).random_raw(1797))``, without stratification: the same on
    every machine and for every version of numpy.

    Parameters
    ----------
    test_split : float in [0, 1), default 0.2
        Share of the images that is held out; the number of the others is rounded down.
    seed : int >= 0, default 113
        Seed of the shuffle; the default is that of Keras' data sets.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of ndarray of uint8
        Images of shapes (1437, 8, 8) and (360, 8, 8) by default, 0 for paper to 16 for ink, and
        labels 0..9 of shapes (1437,) and (360,).

    Raises
    ------
    ValueError
        ``test_split`` lies outside [0, 1) or ``seed`` is negative.

    Notes
    -----
    Licence: CC BY 4.0; entry ``license`` of ``digits.npz`` says it again. The images are those
    that ``sklearn.datasets.load_digits`` returns, stored as uint8.

    References
    ----------
    Alpaydin, E. & Kaynak, C. (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, doi 10.24432/C50P49.

    Examples
    --------
    >>> from evengrad.datasets import digits
    >>> (x_train, y_train), (x_test, y_test) = digits.load_data()
    >>> x_train.shape, x_test.shape
    ((1437, 8, 8), (360, 8, 8))
    >>> x_train.dtype, int(x_train.max())
    (dtype('uint8'), 16)
    """
    if not 0 <= test_split < 1:
        raise ValueError(f"digits.load_data: test_split must lie in [0, 1), got {test_split!r}.")
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        x, y = archive["x"], archive["y"]
    # Generator.permutation may change with numpy's version; the raw stream may not.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(x)), kind="stable")
    x, y = x[order], y[order]
    n_train = int(len(x) * (1 - test_split))
    return (x[:n_train], y[:n_train]), (x[n_train:], y[n_train:])
