"""Formulas of the kernels in float64: naive, obviously right, written apart from what they test.

Inputs may be of any float dtype; all is computed and returned in float64. Gradients carry the
names of what they are gradients of, with a d in front. `labels` are integers, `target` is dense.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]


def f64(x: ArrayLike) -> F64:
    return np.asarray(x, dtype=np.float64)


# Dense


def dense_forward(x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None) -> F64:
    y = f64(x) @ f64(kernel)
    return y if bias is None else y + f64(bias)


def dense_backward(x: ArrayLike, kernel: ArrayLike, dy: ArrayLike) -> tuple[F64, F64, F64]:
    """dx, dkernel, dbias."""
    return f64(dy) @ f64(kernel).T, f64(x).T @ f64(dy), f64(dy).sum(axis=0)


# Batch normalization (Ioffe, Szegedy 2015, arXiv:1502.03167)


def batch_norm_statistics(x: ArrayLike) -> tuple[F64, F64]:
    """Mean and biased variance of each column, in two passes."""
    x = f64(x)
    mean = x.mean(axis=0)
    return mean, ((x - mean) ** 2).mean(axis=0)


def batch_norm_inference(
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    statistics: tuple[ArrayLike, ArrayLike],
    epsilon: float,
) -> F64:
    """Normalize with (mean, variance)."""
    mean, variance = statistics
    y = (f64(x) - f64(mean)) / np.sqrt(f64(variance) + epsilon)
    if gamma is not None:
        y = y * f64(gamma)
    return y if beta is None else y + f64(beta)


def batch_norm_forward(
    x: ArrayLike, gamma: ArrayLike | None, beta: ArrayLike | None, epsilon: float
) -> tuple[F64, F64, F64]:
    """y, mean, variance."""
    mean, variance = batch_norm_statistics(x)
    return batch_norm_inference(x, gamma, beta, (mean, variance), epsilon), mean, variance


def batch_norm_backward(
    x: ArrayLike, gamma: ArrayLike | None, dy: ArrayLike, epsilon: float
) -> tuple[F64, F64, F64]:
    """dx, dgamma, dbeta: the paper's chain of derivatives, step by step."""
    x, dy = f64(x), f64(dy)
    rows = len(x)
    mean, variance = batch_norm_statistics(x)
    inverse = 1.0 / np.sqrt(variance + epsilon)
    xhat = (x - mean) * inverse
    dxhat = dy if gamma is None else dy * f64(gamma)
    dvariance = (dxhat * (x - mean)).sum(axis=0) * -0.5 * inverse**3
    dmean = -(dxhat * inverse).sum(axis=0)
    dx = dxhat * inverse + dvariance * 2.0 * (x - mean) / rows + dmean / rows
    return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def batch_norm_moving(
    moving: ArrayLike, batches: Sequence[ArrayLike], momentum: float, debias: bool
) -> F64:
    """A moving statistic after some batches.

    Debiased it is the mean of the batches with weights momentum^age, whatever it started from.
    """
    value = f64(moving)
    if not debias:
        for batch in batches:
            value = momentum * value + (1.0 - momentum) * f64(batch)
        return value
    weights = [momentum ** (len(batches) - 1 - i) for i in range(len(batches))]
    total = np.zeros_like(value)
    for weight, batch in zip(weights, batches, strict=True):
        total = total + weight * f64(batch)
    return total / sum(weights)


# Layer normalization (Ba, Kiros, Hinton 2016, arXiv:1607.06450): that of the transposed batch.


def layer_norm_forward(
    x: ArrayLike, gamma: ArrayLike | None, beta: ArrayLike | None, epsilon: float
) -> F64:
    xhat = batch_norm_forward(f64(x).T, None, None, epsilon)[0].T
    return xhat * (1.0 if gamma is None else f64(gamma)) + (0.0 if beta is None else f64(beta))


def layer_norm_backward(
    x: ArrayLike, gamma: ArrayLike | None, dy: ArrayLike, epsilon: float
) -> tuple[F64, F64, F64]:
    """dx, dgamma, dbeta."""
    xhat = layer_norm_forward(x, None, None, epsilon)
    inner = f64(dy) * (1.0 if gamma is None else f64(gamma))
    dx = batch_norm_backward(f64(x).T, None, inner.T, epsilon)[0].T
    return dx, (f64(dy) * xhat).sum(axis=0), f64(dy).sum(axis=0)


# Activations


class Activation(NamedTuple):
    value: Callable[..., F64]
    slope: Callable[..., F64]
    defaults: dict[str, float]
    kinks: Callable[..., tuple[float, ...]] = lambda **parameters: ()


def _sigmoid(x: F64) -> F64:
    small = np.exp(-np.abs(x))
    return np.where(x < 0.0, small, 1.0) / (1.0 + small)


def _times(x: F64, factor: F64) -> F64:
    """The product where the factor falls to 0 faster than x grows."""
    return np.where(factor == 0.0, 0.0, x * factor)


def _normal(x: F64) -> F64:
    """The standard normal distribution."""
    return f64(np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2.0)) / 2.0)


def _gelu_tanh_argument(x: F64) -> F64:
    return 2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)


def _gelu_tanh_slope(x: F64) -> F64:
    v = _gelu_tanh_argument(x)
    rise = 2.0 * math.sqrt(2.0 / math.pi) * (x + 0.134145 * x**3)
    return _sigmoid(v) * (1.0 + _times(rise, _sigmoid(-v)))


def _mish_factor(x: F64) -> F64:
    """tanh(ln(1 + e^x)) without cancellation far out."""
    e = np.exp(-np.abs(x))
    over, under = (1.0 + 2.0 * e, 2.0 * e**2), (e**2 + 2.0 * e, 2.0)
    return np.where(x < 0.0, under[0] / (under[0] + under[1]), over[0] / (over[0] + over[1]))


def _mish_slope(x: F64) -> F64:
    t = _mish_factor(x)
    return t + _times(x, (1.0 - t) * (1.0 + t) * _sigmoid(x))


def _softplus(x: F64) -> F64:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _relu_general(x: F64, max_value: float, negative_slope: float, threshold: float) -> F64:
    below = negative_slope * (x - threshold) if negative_slope else 0.0
    return np.where(x < threshold, below, np.minimum(x, max_value))


def _relu_general_slope(x: F64, max_value: float, negative_slope: float, threshold: float) -> F64:
    return np.where(x < threshold, negative_slope, np.where(x < max_value, 1.0, 0.0))


def _hard_sigmoid(x: F64) -> F64:
    return np.clip(x + 3.0, 0.0, 6.0) / 6.0


def _tanh_shrink(x: F64) -> F64:
    """Near 0 its series, where the difference would cancel."""
    series = x**3 / 3.0 - 2.0 * x**5 / 15.0 + 17.0 * x**7 / 315.0 - 62.0 * x**9 / 2835.0
    return np.where(np.abs(x) < 0.05, series, x - np.tanh(x))


def _squareplus(x: F64, b: float) -> F64:
    """(x + s) / 2, below 0 as (b / (s - x)) / 2."""
    s = np.sqrt(x**2 + b)
    return np.where(x > 0.0, (x + s) / 2.0, b / (2.0 * (s - x)))


def _squareplus_slope(x: F64, b: float) -> F64:
    s = np.sqrt(x**2 + b)
    small = b / (2.0 * s * (s + np.abs(x)))
    return np.where(x > 0.0, 1.0 - small, small)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934


def _elu(x: F64, alpha: float) -> F64:
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _elu_slope(x: F64, alpha: float) -> F64:
    return np.where(x > 0.0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))


ACTIVATIONS = {
    "linear": Activation(lambda x: x, np.ones_like, {}),
    "relu": Activation(
        lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0.0, 1.0, 0.0), {}, lambda: (0.0,)
    ),
    "relu6": Activation(
        lambda x: np.clip(x, 0.0, 6.0),
        lambda x: np.where((x > 0.0) & (x < 6.0), 1.0, 0.0),
        {},
        lambda: (0.0, 6.0),
    ),
    "relu_general": Activation(
        _relu_general,
        _relu_general_slope,
        {"max_value": np.inf, "negative_slope": 0.0, "threshold": 0.0},
        lambda max_value, negative_slope, threshold: (max_value, threshold),
    ),
    "leaky_relu": Activation(
        lambda x, negative_slope: np.where(x < 0.0, negative_slope * x if negative_slope else 0, x),
        lambda x, negative_slope: np.where(x < 0.0, negative_slope, 1.0),
        {"negative_slope": 0.2},
        lambda negative_slope: (0.0,),
    ),
    "elu": Activation(_elu, _elu_slope, {"alpha": 1.0}, lambda alpha: (0.0,)),
    "selu": Activation(
        lambda x: SELU_SCALE * _elu(x, SELU_ALPHA),
        lambda x: SELU_SCALE * _elu_slope(x, SELU_ALPHA),
        {},
        lambda: (0.0,),
    ),
    "celu": Activation(
        lambda x, alpha: np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha)),
        lambda x, alpha: np.exp(np.minimum(x, 0.0) / alpha),
        {"alpha": 1.0},
        lambda alpha: (0.0,),
    ),
    "softplus": Activation(_softplus, _sigmoid, {}),
    "squareplus": Activation(_squareplus, _squareplus_slope, {"b": 4.0}),
    "softsign": Activation(
        lambda x: np.sign(x) / (1.0 + 1.0 / np.abs(x)), lambda x: 1.0 / (1.0 + np.abs(x)) ** 2, {}
    ),
    "silu": Activation(
        lambda x: _times(x, _sigmoid(x)),
        lambda x: _sigmoid(x) * (1.0 + _times(x, _sigmoid(-x))),
        {},
    ),
    "mish": Activation(lambda x: _times(x, _mish_factor(x)), _mish_slope, {}),
    "gelu": Activation(
        lambda x: _times(x, _normal(x)),
        lambda x: _normal(x) + _times(x, np.exp(-(x**2) / 2.0)) / math.sqrt(2.0 * math.pi),
        {},
    ),
    "gelu_tanh": Activation(  # (1 + tanh(v / 2)) / 2 is sigmoid(v)
        lambda x: _times(x, _sigmoid(_gelu_tanh_argument(x))), _gelu_tanh_slope, {}
    ),
    "tanh": Activation(np.tanh, lambda x: 1.0 / np.cosh(np.clip(x, -700.0, 700.0)) ** 2, {}),
    "tanh_shrink": Activation(_tanh_shrink, lambda x: np.tanh(x) ** 2, {}),
    "sigmoid": Activation(_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x), {}),
    "log_sigmoid": Activation(lambda x: -_softplus(-x), lambda x: _sigmoid(-x), {}),
    "hard_sigmoid": Activation(
        _hard_sigmoid,
        lambda x: np.where(np.abs(x) < 3.0, 1.0 / 6.0, 0.0),
        {},
        lambda: (-3.0, 3.0),
    ),
    "hard_silu": Activation(
        lambda x: _times(x, _hard_sigmoid(x)),
        lambda x: np.where(np.abs(x) < 3.0, (2.0 * x + 3.0) / 6.0, np.where(x < 0.0, 0.0, 1.0)),
        {},
        lambda: (-3.0, 3.0),
    ),
    "hard_tanh": Activation(
        lambda x: np.clip(x, -1.0, 1.0),
        lambda x: np.where(np.abs(x) < 1.0, 1.0, 0.0),
        {},
        lambda: (-1.0, 1.0),
    ),
    "hard_shrink": Activation(
        lambda x, threshold: np.where(np.abs(x) <= threshold, 0.0, x),
        lambda x, threshold: np.where(np.abs(x) <= threshold, 0.0, 1.0),
        {"threshold": 0.5},
        lambda threshold: (-threshold, threshold),
    ),
    "soft_shrink": Activation(
        lambda x, threshold: x - np.clip(x, -threshold, threshold),
        lambda x, threshold: np.where(np.abs(x) <= threshold, 0.0, 1.0),
        {"threshold": 0.5},
        lambda threshold: (-threshold, threshold),
    ),
    "threshold": Activation(
        lambda x, threshold, default_value: np.where(x <= threshold, default_value, x),
        lambda x, threshold, default_value: np.where(x <= threshold, 0.0, 1.0),
        {"threshold": 0.0, "default_value": 0.0},
        lambda threshold, default_value: (threshold,),
    ),
    "sparse_plus": Activation(
        lambda x: np.where(np.abs(x) < 1.0, (x + 1.0) ** 2 / 4.0, np.maximum(x, 0.0)),
        lambda x: np.clip((x + 1.0) / 2.0, 0.0, 1.0),
        {},
        lambda: (-1.0, 1.0),
    ),
    "sparse_sigmoid": Activation(
        lambda x: np.clip((x + 1.0) / 2.0, 0.0, 1.0),
        lambda x: np.where(np.abs(x) < 1.0, 0.5, 0.0),
        {},
        lambda: (-1.0, 1.0),
    ),
    "exponential": Activation(np.exp, np.exp, {}),
}


def activation_forward(name: str, x: ArrayLike, **parameters: float) -> F64:
    entry = ACTIVATIONS[name]
    with np.errstate(all="ignore"):
        return entry.value(f64(x), **(entry.defaults | parameters))


def activation_slope(name: str, x: ArrayLike, **parameters: float) -> F64:
    entry = ACTIVATIONS[name]
    with np.errstate(all="ignore"):
        return entry.slope(f64(x), **(entry.defaults | parameters))


def activation_kinks(name: str, **parameters: float) -> tuple[float, ...]:
    """Where the slope jumps, or its own slope does."""
    entry = ACTIVATIONS[name]
    return entry.kinks(**(entry.defaults | parameters))


# PReLU (He et al. 2015, arXiv:1502.01852)


def prelu_forward(x: ArrayLike, alpha: ArrayLike) -> F64:
    return np.maximum(f64(x), 0.0) + f64(alpha) * np.minimum(f64(x), 0.0)  # finite x


def prelu_backward(x: ArrayLike, alpha: ArrayLike, dy: ArrayLike) -> tuple[F64, F64]:
    """dx, dalpha."""
    x, dy = f64(x), f64(dy)
    return dy * np.where(x > 0.0, 1.0, f64(alpha)), (dy * np.minimum(x, 0.0)).sum(axis=0)


# Softmax


def softmax_forward(x: ArrayLike) -> F64:
    e = np.exp(f64(x) - f64(x).max(axis=1, keepdims=True))
    return f64(e / e.sum(axis=1, keepdims=True))


def softmax_backward(y: ArrayLike, dy: ArrayLike) -> F64:
    """dx: row by row, the Jacobian diag(y) - y y' times dy."""
    rows = zip(f64(y), f64(dy), strict=True)
    return f64([(np.diag(p) - np.outer(p, p)) @ d for p, d in rows])


def log_softmax_forward(x: ArrayLike) -> F64:
    """The logarithm of the sum of 1, which is the largest's, and of the others."""
    shifted = f64(x) - f64(x).max(axis=1, keepdims=True)
    largest = shifted.argmax(axis=1)[:, None] == np.arange(shifted.shape[1])
    others = np.where(largest, 0.0, np.exp(shifted)).sum(axis=1, keepdims=True)
    return f64(shifted - np.log1p(others))


def log_softmax_backward(y: ArrayLike, dy: ArrayLike) -> F64:
    """dx: row by row, the Jacobian 1 - (row of p) transposed, times dy."""
    rows = zip(np.exp(f64(y)), f64(dy), strict=True)
    return f64([(np.eye(p.size) - np.outer(p, np.ones(p.size))) @ d for p, d in rows])


# Losses. Each returns one loss a row and the gradient of the mean over rows of weight * loss.

EPSILON = 1e-7  # Keras holds probabilities inside [EPSILON, 1 - EPSILON]


def one_hot(labels: ArrayLike, columns: int) -> F64:
    return f64(np.asarray(labels)[:, None] == np.arange(columns))


def _mean_gradient(gradient: F64, weight: ArrayLike | None) -> F64:
    rows = len(gradient)
    weights = np.ones(rows) if weight is None else f64(weight)
    return gradient * weights[:, None] / rows


def softmax_cross_entropy(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[F64, F64]:
    """-sum t log softmax(x), and its gradient with respect to the logits x."""
    x, target = f64(x), f64(target)
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_p) * target.sum(axis=1, keepdims=True) - target
    return -(target * log_p).sum(axis=1), _mean_gradient(gradient, weight)


def sigmoid_cross_entropy(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[F64, F64]:
    """Mean over columns of -t log p - (1 - t) log(1 - p), p = sigmoid(x); gradient for x."""
    x, target = f64(x), f64(target)
    loss = target * _softplus(-x) + (1.0 - target) * _softplus(x)
    gradient = (_sigmoid(x) - target) / x.shape[1]
    return loss.mean(axis=1), _mean_gradient(gradient, weight)


def categorical_cross_entropy(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[F64, F64]:
    """-sum t log p, p = x / sum x held inside [e, 1 - e]; gradient 0 through what is held."""
    x, target = f64(x), f64(target)
    total = x.sum(axis=1, keepdims=True)
    p = x / total
    inside = (p >= EPSILON) & (p <= 1.0 - EPSILON)
    loss = -(target * np.log(np.clip(p, EPSILON, 1.0 - EPSILON))).sum(axis=1)
    dp = np.where(inside, -target / np.where(inside, p, 1.0), 0.0)
    gradient = (dp - (dp * p).sum(axis=1, keepdims=True)) / total
    return loss, _mean_gradient(gradient, weight)


def binary_cross_entropy(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[F64, F64]:
    """Mean over columns of -t log p - (1 - t) log(1 - p), p = x held inside [e, 1 - e]."""
    x, target = f64(x), f64(target)
    p = np.clip(x, EPSILON, 1.0 - EPSILON)
    loss = -(target * np.log(p) + (1.0 - target) * np.log(1.0 - p))
    inside = (x >= EPSILON) & (x <= 1.0 - EPSILON)
    gradient = np.where(inside, (1.0 - target) / (1.0 - p) - target / p, 0.0) / x.shape[1]
    return loss.mean(axis=1), _mean_gradient(gradient, weight)


def _mean_loss(
    formula: Callable[[F64, F64], tuple[F64, F64]],
) -> Callable[..., tuple[F64, F64]]:
    """Mean over columns of a formula of x and t, which returns value and slope in x."""

    def made(x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None) -> tuple[F64, F64]:
        value, slope = formula(f64(x), f64(target))
        return value.mean(axis=1), _mean_gradient(slope / value.shape[1], weight)

    return made


def _percentage(x: F64, t: F64) -> tuple[F64, F64]:
    scale = 100.0 / np.maximum(np.abs(t), EPSILON)
    return scale * np.abs(x - t), scale * np.sign(x - t)


def _squared_logarithmic(x: F64, t: F64) -> tuple[F64, F64]:
    d = np.log1p(np.maximum(x, EPSILON)) - np.log1p(np.maximum(t, EPSILON))
    return d * d, np.where(x > EPSILON, 2.0 * d / (1.0 + x), 0.0)


def _huber(x: F64, t: F64) -> tuple[F64, F64]:
    d = x - t
    return np.where(np.abs(d) <= 1.0, d * d / 2.0, np.abs(d) - 0.5), np.clip(d, -1.0, 1.0)


def _log_cosh(x: F64, t: F64) -> tuple[F64, F64]:
    return np.logaddexp(x - t, t - x) - np.log(2.0), np.tanh(x - t)


def _hinge(x: F64, t: F64) -> tuple[F64, F64]:
    side = np.where(t == 0.0, -1.0, t)
    return np.maximum(1.0 - side * x, 0.0), np.where(side * x < 1.0, -side, 0.0)


def _squared_hinge(x: F64, t: F64) -> tuple[F64, F64]:
    value, slope = _hinge(x, t)
    return value * value, 2.0 * value * slope


def _poisson(x: F64, t: F64) -> tuple[F64, F64]:
    return x - t * np.log(x + EPSILON), 1.0 - t / (x + EPSILON)


def kl_divergence(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[F64, F64]:
    """Sum of t ln(t / x), both held inside [e, 1]; gradient 0 through what is held."""
    x = f64(x)
    p, t = np.clip(x, EPSILON, 1.0), np.clip(f64(target), EPSILON, 1.0)
    slope = np.where((x >= EPSILON) & (x <= 1.0), -t / p, 0.0)
    return (t * np.log(t / p)).sum(axis=1), _mean_gradient(slope, weight)


def cosine_similarity(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[F64, F64]:
    """Minus the product of unit vectors."""
    x, t = f64(x), f64(target)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    u, v = x / length, t / np.linalg.norm(t, axis=1, keepdims=True)
    cosine = (u * v).sum(axis=1, keepdims=True)
    return -cosine[:, 0], _mean_gradient((cosine * u - v) / length, weight)


def categorical_hinge(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[F64, F64]:
    """max(0, 1 + max of (1 - t) x - sum of t x); no ties."""
    x, t = f64(x), f64(target)
    others = (1.0 - t) * x
    margin = 1.0 + others.max(axis=1) - (t * x).sum(axis=1)
    slope = (1.0 - t) * one_hot(others.argmax(axis=1), x.shape[1]) - t
    return np.maximum(margin, 0.0), _mean_gradient(slope * (margin > 0.0)[:, None], weight)


LOSSES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "categorical_cross_entropy": categorical_cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mean_squared_error": _mean_loss(lambda x, t: ((x - t) ** 2, 2.0 * (x - t))),
    "mean_absolute_error": _mean_loss(lambda x, t: (np.abs(x - t), np.sign(x - t))),
    "mean_absolute_percentage_error": _mean_loss(_percentage),
    "mean_squared_logarithmic_error": _mean_loss(_squared_logarithmic),
    "huber": _mean_loss(_huber),
    "log_cosh": _mean_loss(_log_cosh),
    "hinge": _mean_loss(_hinge),
    "squared_hinge": _mean_loss(_squared_hinge),
    "categorical_hinge": categorical_hinge,
    "kl_divergence": kl_divergence,
    "poisson": _mean_loss(_poisson),
    "cosine_similarity": cosine_similarity,
}


def loss(
    kind: str, x: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None
) -> tuple[float, F64, F64]:
    """Sum over rows of weight * loss, the gradient of their mean, and the losses of the rows."""
    losses, gradient = LOSSES[kind](x, target, weight)
    weights: Any = 1.0 if weight is None else f64(weight)
    return float((weights * losses).sum()), gradient, losses


# Metrics: one value a row.


def _categorical_accuracy(x: F64, target: F64) -> F64:
    return f64(x.argmax(axis=1) == target.argmax(axis=1))


def _top_k_accuracy(x: F64, target: F64) -> F64:
    at = x[np.arange(len(x)), target.argmax(axis=1)]
    return f64((x > at[:, None]).sum(axis=1) < 5)


METRICS: dict[str, Callable[[F64, F64], F64]] = {
    "categorical_accuracy": _categorical_accuracy,
    "top_k_accuracy": _top_k_accuracy,
    "binary_accuracy": lambda x, target: f64((x > 0.5) == (target == 1.0)).mean(axis=1),
}


def confusion(
    x: ArrayLike, target: ArrayLike, weight: ArrayLike, thresholds: Sequence[float]
) -> F64:
    """Weights [column][false, true][number of thresholds below x], element by element."""
    x, target = f64(x), f64(target)
    sums = np.zeros((x.shape[1], 2, len(thresholds) + 1))
    for r, c in np.ndindex(*x.shape):
        below = sum(x[r, c] > threshold for threshold in thresholds)
        sums[c, int(target[r, c] != 0.0), below] += f64(weight)[r]
    return sums


# Clipping


def norm(gradient: ArrayLike) -> float:
    """Root of the sum of squares; float64 holds the squares of all float32 numbers."""
    return float(np.sqrt((f64(gradient) ** 2).sum()))


def clip_by_value(gradients: Sequence[ArrayLike], limit: float) -> list[F64]:
    return [np.clip(f64(g), -limit, limit) for g in gradients]


def clip_by_norm(gradients: Sequence[ArrayLike], limit: float) -> list[F64]:
    return [f64(g) * (limit / max(norm(g), limit)) for g in gradients]


def clip_by_global_norm(gradients: Sequence[ArrayLike], limit: float) -> list[F64]:
    total = norm([norm(g) for g in gradients])
    return [f64(g) * (limit / max(total, limit)) for g in gradients]


CLIPS = {"value": clip_by_value, "norm": clip_by_norm, "global_norm": clip_by_global_norm}


def unit_clip(value: ArrayLike, gradient: ArrayLike, lambda_: float, epsilon: float) -> F64:
    """Brock et al. 2021, equation 3: columns of a matrix (inputs, outputs), or a vector."""
    g, w = f64(gradient).copy(), f64(value)
    if g.ndim == 1:
        g, w = g[:, None], w[:, None]
    for unit in range(g.shape[1]):
        ratio = norm(g[:, unit]) / max(norm(w[:, unit]), epsilon)
        if ratio > lambda_:
            g[:, unit] *= lambda_ / ratio
    return g.reshape(np.shape(gradient))


def auto_clip(norms: Sequence[float], percentile: float, history: int) -> list[float]:
    """Seetharaman et al. 2020, algorithm 1, of the last norms only: the threshold at each step."""
    return [
        float(np.percentile(norms[max(0, i + 1 - history) : i + 1], percentile))
        for i in range(len(norms))
    ]


def z_clip(norms: Sequence[float], alpha: float, threshold: float, warm_up: int) -> list[float]:
    """Kumar et al. 2025, algorithm 1: the norm after clipping at each step."""
    after = list(norms[:warm_up])
    mean, variance = float(np.mean(after)), float(np.var(after))
    for norm in norms[warm_up:]:
        deviation = math.sqrt(variance)
        if norm - mean > threshold * deviation:
            z = (norm - mean) / deviation if deviation else math.inf
            norm = mean + threshold**2 / z * deviation  # noqa: PLW2901
        mean = alpha * mean + (1 - alpha) * norm
        variance = alpha * variance + (1 - alpha) * (norm - mean) ** 2
        after.append(norm)
    return after


# Regularizers and constraints


def penalty(w: ArrayLike, l1: float, l2: float) -> float:
    return float(l1 * np.abs(f64(w)).sum() + l2 * (f64(w) ** 2).sum())


def penalty_slope(w: ArrayLike, l1: float, l2: float) -> F64:
    return l1 * np.sign(f64(w)) + 2.0 * l2 * f64(w)


def min_max_norm(
    w: ArrayLike, low: float, high: float, rate: float, axis: int | tuple[int, ...]
) -> F64:
    """MaxNorm is (0, max, 1), UnitNorm (1, 1, 1)."""
    norms = np.sqrt((f64(w) ** 2).sum(axis=axis, keepdims=True))
    desired = rate * np.clip(norms, low, high) + (1.0 - rate) * norms
    return f64(w) * (desired / (1e-7 + norms))


# Optimizers, as Keras 3 writes them. Each takes a variable, its gradients step by step, and
# returns the variable after the last. Weight decay is decoupled and comes before the update.


def sgd(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> F64:
    value = f64(variable)
    m = np.zeros_like(value)
    for gradient in gradients:
        value = value - learning_rate * weight_decay * value
        m = momentum * m - learning_rate * f64(gradient)
        step = momentum * m - learning_rate * f64(gradient) if nesterov else m
        value = value + step
    return value


def adam(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
) -> F64:
    """Kingma, Ba 2014, arXiv:1412.6980, with epsilon outside the correction ("epsilon hat")."""
    value = f64(variable)
    m, v, largest = np.zeros_like(value), np.zeros_like(value), np.zeros_like(value)
    for t, gradient in enumerate(gradients, start=1):
        value = value - learning_rate * weight_decay * value
        m = beta_1 * m + (1.0 - beta_1) * f64(gradient)
        v = beta_2 * v + (1.0 - beta_2) * f64(gradient) ** 2
        largest = np.maximum(largest, v)
        rate = learning_rate * np.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
        value = value - rate * m / (np.sqrt(largest if amsgrad else v) + epsilon)
    return value


def nadam(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> F64:
    """Dozat 2016; the weight of the momentum goes up to beta_1."""
    value = f64(variable)
    m, v, product = np.zeros_like(value), np.zeros_like(value), 1.0
    for t, gradient in enumerate(gradients, start=1):
        value = value - learning_rate * weight_decay * value
        now = beta_1 * (1.0 - 0.5 * 0.96**t)
        after = beta_1 * (1.0 - 0.5 * 0.96 ** (t + 1))
        product *= now
        m = beta_1 * m + (1.0 - beta_1) * f64(gradient)
        v = beta_2 * v + (1.0 - beta_2) * f64(gradient) ** 2
        ahead = after * m / (1.0 - product * after) + (1.0 - now) * f64(gradient) / (1.0 - product)
        value = value - learning_rate * ahead / (np.sqrt(v / (1.0 - beta_2**t)) + epsilon)
    return value


def adamax(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> F64:
    """Kingma, Ba 2014, arXiv:1412.6980, section 7."""
    value = f64(variable)
    m, u = np.zeros_like(value), np.zeros_like(value)
    for t, gradient in enumerate(gradients, start=1):
        value = value - learning_rate * weight_decay * value
        m = beta_1 * m + (1.0 - beta_1) * f64(gradient)
        u = np.maximum(beta_2 * u, np.abs(f64(gradient)))
        value = value - learning_rate / (1.0 - beta_1**t) * m / (u + epsilon)
    return value


def rmsprop(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> F64:
    value = f64(variable)
    square, mean, m = np.zeros_like(value), np.zeros_like(value), np.zeros_like(value)
    for gradient in gradients:
        value = value - learning_rate * weight_decay * value
        square = rho * square + (1.0 - rho) * f64(gradient) ** 2
        mean = rho * mean + (1.0 - rho) * f64(gradient)
        variance = square - mean**2 if centered else square
        m = momentum * m + learning_rate * f64(gradient) / np.sqrt(variance + epsilon)
        value = value - m
    return value


def adagrad(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    initial_accumulator_value: float = 0.1,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> F64:
    value = f64(variable)
    square = np.full_like(value, initial_accumulator_value)
    for gradient in gradients:
        value = value - learning_rate * weight_decay * value
        square = square + f64(gradient) ** 2
        value = value - learning_rate * f64(gradient) / np.sqrt(square + epsilon)
    return value


def adadelta(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    rho: float = 0.95,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> F64:
    """Zeiler 2012, arXiv:1212.5701, with a learning rate."""
    value = f64(variable)
    square, moves = np.zeros_like(value), np.zeros_like(value)
    for gradient in gradients:
        value = value - learning_rate * weight_decay * value
        square = rho * square + (1.0 - rho) * f64(gradient) ** 2
        move = -np.sqrt(moves + epsilon) / np.sqrt(square + epsilon) * f64(gradient)
        moves = rho * moves + (1.0 - rho) * move**2
        value = value + learning_rate * move
    return value


def lion(
    variable: ArrayLike,
    gradients: Sequence[ArrayLike],
    learning_rate: float,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    weight_decay: float = 0.0,
) -> F64:
    """Chen et al. 2023, arXiv:2302.06675."""
    value = f64(variable)
    m = np.zeros_like(value)
    for gradient in gradients:
        value = value - learning_rate * weight_decay * value
        value = value - learning_rate * np.sign(beta_1 * m + (1.0 - beta_1) * f64(gradient))
        m = beta_2 * m + (1.0 - beta_2) * f64(gradient)
    return value


# Random bits (Salmon et al. 2011, doi:10.1145/2063384.2063405)


def philox4x32(counter: Sequence[int], key: Sequence[int], rounds: int = 10) -> list[int]:
    """Four 32-bit numbers, in Python's integers."""
    word = 0xFFFFFFFF
    c, k = list(counter), list(key)
    for _ in range(rounds):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & word, (first >> 32) ^ c[3] ^ k[1], first & word]
        k = [(k[0] + 0x9E3779B9) & word, (k[1] + 0xBB67AE85) & word]
    return c


def random_bits_at(row: int, column: int, seed: int, layer: int, iteration: int) -> int:
    """A number below 2^32. The four of a call of Philox are 16 columns apart."""
    word = 0xFFFFFFFF
    key = ((seed & word) ^ (layer * 0x9E3779B9 & word), seed >> 32)
    counter = (column // 64 * 16 + column % 16, row, iteration & word, 0)
    return philox4x32(counter, key)[column % 64 // 16]


def random_bits(
    shape: tuple[int, int], seed: int, layer: int, iteration: int
) -> NDArray[np.uint64]:
    """One for each element."""
    rows, columns = shape
    bits = [
        [random_bits_at(r, c, seed, layer, iteration) for c in range(columns)] for r in range(rows)
    ]
    return np.array(bits, dtype=np.uint64)


def dropout_mask(
    shape: tuple[int, int], rate: float, seed: int, layer: int, iteration: int
) -> NDArray[np.bool_]:
    """What dropout keeps: below rate dropped."""
    return random_bits(shape, seed, layer, iteration) >= int(rate * 2**32)


def normal_draws(shape: tuple[int, int], seed: int, layer: int, iteration: int) -> F64:
    """The quantile of the middle of each of 2^32 equal parts."""
    bits = f64(random_bits(shape, seed, layer, iteration))
    return f64(np.vectorize(statistics.NormalDist().inv_cdf)((bits + 0.5) / 2.0**32))


SELU_SATURATION = -SELU_SCALE * SELU_ALPHA


def alpha_dropout(x: ArrayLike, kept: NDArray[np.bool_], rate: float) -> F64:
    """Klambauer et al. 2017, arXiv:1706.02515, as Keras writes it."""
    p = SELU_SATURATION
    a = ((1.0 - rate) * (1.0 + rate * p**2)) ** -0.5
    return a * np.where(kept, f64(x), p) - a * p * rate
