"""Fashion-MNIST: 70,000 articles of clothing in 28x28 grey levels; a sample is in the wheel."""

from __future__ import annotations

import os
from pathlib import Path

from . import _idx

__all__ = ["load_data", "load_sample"]

SOURCE = _idx.Source(
    title="Fashion-MNIST",
    module="fashion_mnist",
    name="fashion-mnist",
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    sha256={
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
    keras="fashion-mnist",
    system="/usr/share/datasets/fashion-mnist",
)


def load_data(path: str | os.PathLike[str] | None = None) -> _idx.Data:
    """Return Fashion-MNIST as Keras does.

    Parameters
    ----------
    path : str or path-like, optional
        Folder with the four original IDX files. Default: the places which
        :mod:`evengrad.datasets` lists, then a download of 31 MB.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of ndarray of uint8
        Images of shapes (60000, 28, 28) and (10000, 28, 28), 0 for the ground to 255, and labels
        of shapes (60000,) and (10000,): 0 T-shirt/top, 1 trouser, 2 pullover, 3 dress, 4 coat,
        5 sandal, 6 shirt, 7 sneaker, 8 bag, 9 ankle boot.

    Raises
    ------
    FileNotFoundError
        ``path`` lacks the files, or no place has them and the download failed.
    ValueError
        A file is damaged, is not what its name says, or arrives with the wrong sha256.

    Notes
    -----
    Licence: MIT, copyright 2017 Zalando SE, https://github.com/zalandoresearch/fashion-mnist.

    References
    ----------
    Xiao, H., Rasul, K. & Vollgraf, R. (2017), Fashion-MNIST: a novel image dataset for
    benchmarking machine learning algorithms, arXiv:1708.07747.

    Examples
    --------
    >>> from evengrad.datasets import fashion_mnist
    >>> try:
    ...     train, test = fashion_mnist.load_data("my/fashion-mnist")
    ... except FileNotFoundError:
    ...     train, test = fashion_mnist.load_sample()
    >>> train[0].dtype, train[0].shape[1:]
    (dtype('uint8'), (28, 28))
    """
    return _idx.load(SOURCE, path)


def load_sample() -> _idx.Data:
    """Return the first 1,500 training and 400 test images of Fashion-MNIST, from the wheel.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuples of ndarray of uint8
        Images of shapes (1500, 28, 28) and (400, 28, 28) and labels of shapes (1500,) and (400,),
        as :func:`load_data` describes them.

    Notes
    -----
    Licence and source: those of :func:`load_data`; the MIT notice is entry ``license`` of
    ``fashion_mnist_sample.npz``.

    Examples
    --------
    >>> from evengrad.datasets import fashion_mnist
    >>> (x_train, y_train), (x_test, y_test) = fashion_mnist.load_sample()
    >>> x_train.shape, x_test.shape
    ((1500, 28, 28), (400, 28, 28))
    """
    return _idx.read_npz(Path(__file__).with_name("fashion_mnist_sample.npz"))
