"""MNIST: 70,000 handwritten digits in 28x28 grey levels, found on this machine or fetched."""

from __future__ import annotations

import os

from . import _idx

__all__ = ["load_data"]

SOURCE = _idx.Source(
    title="MNIST",
    module="mnist",
    name="mnist",
    url="https://storage.googleapis.com/cvdf-datasets/mnist",
    sha256={
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    keras="mnist.npz",
)


def load_data(path: str | os.PathLike[str] | None = None) -> _idx.Data:
    """Return MNIST as Keras does.

    Parameters
    ----------
    path : str or path-like, optional
        Folder with the four original IDX files, or an ``.npz`` file like Keras' ``mnist.npz``
        (unlike Keras, relative to the current folder). Default: the places which
        :mod:`evengrad.datasets` lists, then a download of 11 MB.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of ndarray of uint8
        Images of shapes (60000, 28, 28) and (10000, 28, 28), 0 for paper to 255 for ink, and
        labels 0..9 of shapes (60000,) and (10000,).

    Raises
    ------
    FileNotFoundError
        ``path`` lacks the files, or no place has them and the download failed.
    ValueError
        A file is damaged, is not what its name says, or arrives with the wrong sha256.

    Notes
    -----
    Licence: CC BY-SA 3.0, Yann LeCun and Corinna Cortes, from NIST's Special Databases 1 and 3.

    References
    ----------
    LeCun, Y., Bottou, L., Bengio, Y. & Haffner, P. (1998), Gradient-based learning applied to
    document recognition, Proceedings of the IEEE 86(11), doi 10.1109/5.726791.

    Examples
    --------
    An archive made elsewhere, here with blank images:

    >>> import os, tempfile
    >>> import numpy as np
    >>> from evengrad.datasets import mnist
    >>> images, labels = np.zeros((10, 28, 28), np.uint8), np.arange(10, dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "mnist.npz")
    ...     np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    ...     (x_train, y_train), (x_test, y_test) = mnist.load_data(file)
    >>> x_train.shape, y_train.shape
    ((10, 28, 28), (10,))
    """
    return _idx.load(SOURCE, path)
