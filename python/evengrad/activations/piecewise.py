"""Activations that are pieces of polynomials.

At a kink the gradient is that of one of its sides, at 0 of the ReLUs 0 or negative_slope.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from evengrad import _validation
from evengrad.activations.base import F32, LARGEST, Spec, apply, spec


def linear(x: ArrayLike) -> F32:
    """Return x.

    Parameters
    ----------
    x : array_like
        Any shape.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.linear([-1.0, 2.0])
    array([-1.,  2.], dtype=float32)
    """
    return apply(Spec("linear"), x)


def relu(
    x: ArrayLike,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> F32:
    """Return max(x, 0), or the general form with a slope below, a ceiling and a threshold.

    y = max_value where x >= max_value; x where x >= threshold; else negative_slope (x - threshold),
    which is 0 for a slope of 0, at -inf too.

    Parameters
    ----------
    x : array_like
        Any shape.
    negative_slope : float, at least 0, default 0
    max_value : float, at least 0, optional
        Default: none.
    threshold : float, default 0

    References
    ----------
    Nair, Hinton 2010, https://icml.cc/Conferences/2010/papers/432.pdf.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.relu([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    >>> activations.relu([-1.0, 2.0, 9.0], negative_slope=0.5, max_value=6.0)
    array([-0.5,  2. ,  6. ], dtype=float32)
    """
    return apply(relu_spec(negative_slope, max_value, threshold), x)


def relu_spec(negative_slope: float, max_value: float | None, threshold: float) -> Spec:
    """Return the simplest kernel that does it."""
    slope = _validation.check_number("relu", "negative_slope", negative_slope, 0.0, LARGEST)
    start = _validation.check_number("relu", "threshold", threshold, -LARGEST, LARGEST)
    ceiling = float("inf")
    if max_value is not None:
        ceiling = _validation.check_number("relu", "max_value", max_value, 0.0)
    if ceiling == float("inf") and start == 0.0:
        return Spec("relu") if slope == 0.0 else Spec("leaky_relu", (slope,))
    if (slope, ceiling, start) == (0.0, 6.0, 0.0):
        return Spec("relu6")
    return Spec("relu_general", (ceiling, slope, start))


def relu6(x: ArrayLike) -> F32:
    """Return min(max(x, 0), 6).

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Howard et al. 2017, arXiv:1704.04861.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.relu6([-1.0, 2.0, 9.0])
    array([0., 2., 6.], dtype=float32)
    """
    return apply(Spec("relu6"), x)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.2) -> F32:
    """Return x where x >= 0, else negative_slope x; 0 for a slope of 0, at -inf too.

    Parameters
    ----------
    x : array_like
        Any shape.
    negative_slope : float, at least 0, default 0.2
        That of the layer LeakyReLU is 0.3, as in Keras.

    References
    ----------
    Maas, Hannun, Ng 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.leaky_relu([-1.0, 2.0], negative_slope=0.5)
    array([-0.5,  2. ], dtype=float32)
    """
    return apply(spec("leaky_relu", negative_slope), x)


def hard_sigmoid(x: ArrayLike) -> F32:
    """Return min(max(x + 3, 0), 6) / 6: a sigmoid of three lines.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Howard et al. 2019, arXiv:1905.02244.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.hard_sigmoid([-4.0, 0.0, 1.5])
    array([0.  , 0.5 , 0.75], dtype=float32)
    """
    return apply(Spec("hard_sigmoid"), x)


def hard_silu(x: ArrayLike) -> F32:
    """Return x min(max(x + 3, 0), 6) / 6, also called hard_swish: 0 up to -3, x from 3 on.

    Parameters
    ----------
    x : array_like
        Any shape. -inf gives 0, the limit.

    References
    ----------
    Howard et al. 2019, arXiv:1905.02244.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.hard_silu([-1.5, 0.0, 3.0])
    array([-0.375,  0.   ,  3.   ], dtype=float32)
    """
    return apply(Spec("hard_silu"), x)


def hard_tanh(x: ArrayLike) -> F32:
    """Return min(max(x, -1), 1): a tanh of three lines.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Collobert et al. 2011, arXiv:1103.0398.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.hard_tanh([-2.0, 0.5, 3.0])
    array([-1. ,  0.5,  1. ], dtype=float32)
    """
    return apply(Spec("hard_tanh"), x)


def hard_shrink(x: ArrayLike, threshold: float = 0.5) -> F32:
    """Return x where |x| > threshold, else 0.

    Parameters
    ----------
    x : array_like
        Any shape. NaN stays NaN.
    threshold : float, at least 0, default 0.5

    References
    ----------
    Donoho, Johnstone 1994, doi:10.1093/biomet/81.3.425.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.hard_shrink([-2.0, 0.5, 1.0])
    array([-2.,  0.,  1.], dtype=float32)
    """
    return apply(spec("hard_shrink", threshold), x)


def soft_shrink(x: ArrayLike, threshold: float = 0.5) -> F32:
    """Return x - threshold above threshold, x + threshold below -threshold, between them 0.

    Parameters
    ----------
    x : array_like
        Any shape. NaN stays NaN.
    threshold : float, at least 0, default 0.5

    References
    ----------
    Donoho 1995, doi:10.1109/18.382009.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.soft_shrink([-2.0, 0.5, 1.0])
    array([-1.5,  0. ,  0.5], dtype=float32)
    """
    return apply(spec("soft_shrink", threshold), x)


def threshold(x: ArrayLike, threshold: float, default_value: float) -> F32:
    """Return x where x > threshold, else default_value.

    Parameters
    ----------
    x : array_like
        Any shape. NaN stays NaN.
    threshold : float
    default_value : float
        Neither has a default: for a layer, give both with functools.partial.

    Examples
    --------
    >>> from functools import partial
    >>> from evengrad import activations, layers
    >>> activations.threshold([-2.0, 0.5, 1.0], 0.5, -3.0)
    array([-3., -3.,  1.], dtype=float32)
    >>> cut = partial(activations.threshold, threshold=0.5, default_value=0.0)
    >>> layers.Activation(cut)([[0.25, 0.75]])
    array([[0.  , 0.75]], dtype=float32)
    """
    return apply(spec("threshold", threshold, default_value), x)


def sparse_plus(x: ArrayLike) -> F32:
    """Return 0 where x <= -1, x where x >= 1, between them (x + 1)^2 / 4.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Blondel, Martins, Niculae 2019, arXiv:1901.02324.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.sparse_plus([-2.0, 0.0, 3.0])
    array([0.  , 0.25, 3.  ], dtype=float32)
    """
    return apply(Spec("sparse_plus"), x)


def sparse_sigmoid(x: ArrayLike) -> F32:
    """Return min(max(x + 1, 0), 2) / 2, the slope of sparse_plus.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Blondel, Martins, Niculae 2019, arXiv:1901.02324.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.sparse_sigmoid([-2.0, 0.0, 0.5])
    array([0.  , 0.5 , 0.75], dtype=float32)
    """
    return apply(Spec("sparse_sigmoid"), x)
