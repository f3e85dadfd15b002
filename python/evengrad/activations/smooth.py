"""Smooth activations."""

from __future__ import annotations

from numpy.typing import ArrayLike

from evengrad import _validation
from evengrad.activations.base import F32, Spec, apply, spec


def elu(x: ArrayLike, alpha: float = 1.0) -> F32:
    """Return x where x > 0, else alpha (e^x - 1).

    Parameters
    ----------
    x : array_like
        Any shape.
    alpha : float, at least 0, default 1

    References
    ----------
    Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.elu([-100.0, 2.0], alpha=0.5)
    array([-0.5,  2. ], dtype=float32)
    """
    return apply(spec("elu", alpha), x)


def selu(x: ArrayLike) -> F32:
    """Return scale elu(x, alpha), scale = 1.0507009873554805, alpha = 1.6732632423543772.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Klambauer et al. 2017, arXiv:1706.02515.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.selu([-100.0, 1.0])
    array([-1.7580993,  1.050701 ], dtype=float32)
    """
    return apply(Spec("selu"), x)


def celu(x: ArrayLike, alpha: float = 1.0) -> F32:
    """Return x where x > 0, else alpha (e^(x / alpha) - 1): an ELU of slope 1 at 0.

    Parameters
    ----------
    x : array_like
        Any shape.
    alpha : float, at least 1.2e-38, default 1
        -alpha is the limit far below 0.

    References
    ----------
    Barron 2017, arXiv:1704.07483.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.celu([-100.0, 2.0], alpha=0.5)
    array([-0.5,  2. ], dtype=float32)
    """
    return apply(spec("celu", alpha), x)


def softplus(x: ArrayLike) -> F32:
    """Return ln(1 + e^x), a smooth ReLU.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing".

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.softplus([0.0, 100.0])
    array([  0.6931472, 100.       ], dtype=float32)
    """
    return apply(Spec("softplus"), x)


def squareplus(x: ArrayLike, b: float = 4.0) -> F32:
    """Return (x + sqrt(x^2 + b)) / 2, a smooth ReLU without an exponential.

    Parameters
    ----------
    x : array_like
        Any shape.
    b : float, at least 0, default 4
        How round the bend at 0 is; f(0) = sqrt(b) / 2.

    References
    ----------
    Barron 2021, arXiv:2112.11687.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.squareplus([-1.5, 0.0, 1.5])
    array([0.5, 1. , 2. ], dtype=float32)
    """
    return apply(spec("squareplus", b), x)


def softsign(x: ArrayLike) -> F32:
    """Return x / (1 + |x|).

    Parameters
    ----------
    x : array_like
        Any shape. Infinities give -1 and 1, the limits.

    References
    ----------
    Glorot, Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.softsign([-1.0, 3.0])
    array([-0.5 ,  0.75], dtype=float32)
    """
    return apply(Spec("softsign"), x)


def silu(x: ArrayLike) -> F32:
    """Return x / (1 + e^-x), also called swish.

    Parameters
    ----------
    x : array_like
        Any shape. -inf gives 0, the limit.

    References
    ----------
    Elfwing, Uchibe, Doya 2017, arXiv:1702.03118.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.silu([0.0, 100.0])
    array([  0., 100.], dtype=float32)
    """
    return apply(Spec("silu"), x)


def mish(x: ArrayLike) -> F32:
    """Return x tanh(ln(1 + e^x)): like SiLU, smooth and not monotonic.

    Parameters
    ----------
    x : array_like
        Any shape. -inf gives 0, the limit.

    References
    ----------
    Misra 2019, arXiv:1908.08681.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.mish([0.0, 20.0])
    array([ 0., 20.], dtype=float32)
    """
    return apply(Spec("mish"), x)


def gelu(x: ArrayLike, approximate: bool = False) -> F32:
    """Return x (1 + erf(x / sqrt(2))) / 2, x times the normal distribution function at x.

    Parameters
    ----------
    x : array_like
        Any shape. -inf gives 0, the limit.
    approximate : bool, default False
        Whether to take x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 instead, which differs by
        less than 5e-4.

    References
    ----------
    Hendrycks, Gimpel 2016, arXiv:1606.08415.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.gelu([0.0, 20.0])
    array([ 0., 20.], dtype=float32)
    """
    return apply(gelu_spec(approximate), x)


def gelu_spec(approximate: bool) -> Spec:
    """Return the kernel of one of the two."""
    tangent = _validation.check_flag("gelu", "approximate", approximate)
    return Spec("gelu_tanh" if tangent else "gelu")


def gelu_tanh(x: ArrayLike) -> F32:
    """Return gelu(x, approximate=True), by a name that layers know.

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Hendrycks, Gimpel 2016, arXiv:1606.08415.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.gelu_tanh([0.0, 20.0])
    array([ 0., 20.], dtype=float32)
    """
    return apply(Spec("gelu_tanh"), x)


def tanh(x: ArrayLike) -> F32:
    """Return the hyperbolic tangent, (e^x - e^-x) / (e^x + e^-x).

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp".

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.tanh([0.0, 20.0])
    array([0., 1.], dtype=float32)
    """
    return apply(Spec("tanh"), x)


def tanh_shrink(x: ArrayLike) -> F32:
    """Return x - tanh(x), near 0 all digits of x^3 / 3.

    Parameters
    ----------
    x : array_like
        Any shape.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.tanh_shrink([0.0, 20.0])
    array([ 0., 19.], dtype=float32)
    """
    return apply(Spec("tanh_shrink"), x)


def sigmoid(x: ArrayLike) -> F32:
    """Return 1 / (1 + e^-x).

    Parameters
    ----------
    x : array_like
        Any shape.

    References
    ----------
    Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.sigmoid([0.0, 100.0])
    array([0.5, 1. ], dtype=float32)
    """
    return apply(Spec("sigmoid"), x)


def log_sigmoid(x: ArrayLike) -> F32:
    """Return ln(1 / (1 + e^-x)) = -ln(1 + e^-x), without the underflow of sigmoid.

    Parameters
    ----------
    x : array_like
        Any shape.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.log_sigmoid([-1000.0, -1.0])
    array([-1000.       ,    -1.3132617], dtype=float32)
    """
    return apply(Spec("log_sigmoid"), x)


def exponential(x: ArrayLike) -> F32:
    """Return e^x.

    Parameters
    ----------
    x : array_like
        Any shape.

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.exponential([0.0, 100.0])
    array([ 1., inf], dtype=float32)
    """
    return apply(Spec("exponential"), x)
