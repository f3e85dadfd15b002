"""Real data: two small sets inside the wheel, two large ones found on this machine or fetched.

========================================  =======================================  ===========
function                                  data                                     comes from
========================================  =======================================  ===========
:func:`digits.load_data`                  1,797 images 8x8 of digits               the wheel
:func:`fashion_mnist.load_sample`         1,500 + 400 images 28x28 of clothes      the wheel
:func:`fashion_mnist.load_data`           60,000 + 10,000 images 28x28 of clothes  see below
:func:`mnist.load_data`                   60,000 + 10,000 images 28x28 of digits   see below
========================================  =======================================  ===========

The large sets are read from their four original IDX files, ``train-images-idx3-ubyte``,
``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each as it
is or with ``.gz``. With ``path=`` only that folder is looked at. Without it, these are, in turn:

1. ``$EVENGRAD_DATA/fashion-mnist`` or ``$EVENGRAD_DATA/mnist``, then ``$EVENGRAD_DATA`` itself;
2. ``/usr/share/datasets/fashion-mnist``, of Debian's package ``dataset-fashion-mnist``;
3. Keras' cache, ``datasets/fashion-mnist/`` or ``datasets/mnist.npz`` in ``$KERAS_HOME`` or
   ``~/.keras``;
4. evengrad's cache, ``evengrad/fashion-mnist`` or ``evengrad/mnist`` in ``$XDG_CACHE_HOME`` or
   ``~/.cache``.

If none has them they are fetched, each file checked by its sha256, into the first place of 1.
where ``EVENGRAD_DATA`` is set and into 4. otherwise. ``EVENGRAD_DATA_URL`` names another server:
``http://host/data`` stands for ``http://host/data/fashion-mnist/train-images-idx3-ubyte.gz`` and
its like.
"""

from . import digits, fashion_mnist, mnist

__all__ = ["digits", "fashion_mnist", "mnist"]
