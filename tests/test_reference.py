"""The reference against finite differences and published values, so that it can be relied on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from reference import ACTIVATIONS, LOSSES

RNG = np.random.Generator(np.random.PCG64(20))
H = 1e-5


def differences(f: Callable[[Any], Any], x: Any) -> Any:
    """Central differences of a scalar function: off by f''' h^2 / 6 and eps f / h, both 1e-10 f."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[i] += sign * H
            ends.append(f(moved))
        gradient[i] = (ends[0] - ends[1]) / (2.0 * H)
    return gradient


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-8)


def draw(*shape: int) -> Any:
    return RNG.standard_normal(shape)


def test_dense() -> None:
    x, kernel, bias, dy = draw(5, 4), draw(4, 3), draw(3), draw(5, 3)
    dx, dkernel, dbias = reference.dense_backward(x, kernel, dy)
    assert_close(dx, differences(lambda v: (reference.dense_forward(v, kernel) * dy).sum(), x))
    assert_close(dkernel, differences(lambda v: (reference.dense_forward(x, v) * dy).sum(), kernel))
    f = lambda v: (reference.dense_forward(x, kernel, v) * dy).sum()  # noqa: E731
    assert_close(dbias, differences(f, bias))


@pytest.mark.parametrize("scaled", [True, False])
def test_batch_norm(scaled: bool) -> None:
    x, beta, dy = draw(6, 3), draw(3), draw(6, 3)
    gamma = draw(3) if scaled else None

    def f(x: Any = x, gamma: Any = gamma, beta: Any = beta) -> Any:
        return (reference.batch_norm_forward(x, gamma, beta, 1e-3)[0] * dy).sum()

    dx, dgamma, dbeta = reference.batch_norm_backward(x, gamma, dy, 1e-3)
    assert_close(dx, differences(lambda v: f(x=v), x))
    assert_close(dbeta, differences(lambda v: f(beta=v), beta))
    ones = np.ones(3) if gamma is None else gamma
    assert_close(dgamma, differences(lambda v: f(gamma=v), ones))


def test_batch_norm_by_hand() -> None:
    # 1, 2, 3, 6: mean 3, biased variance (4 + 1 + 0 + 9) / 4 = 3.5.
    y, mean, variance = reference.batch_norm_forward(
        [[1.0], [2.0], [3.0], [6.0]], [2.0], [1.0], 0.5
    )
    assert (mean[0], variance[0]) == (3.0, 3.5)
    np.testing.assert_array_equal(y.ravel(), [-1.0, 0.0, 1.0, 4.0])


def test_batch_norm_moving_by_hand() -> None:
    batches = [[4.0], [8.0]]
    # .75 (.75 * 0 + .25 * 4) + .25 * 8, and (.75 * 4 + 1 * 8) / 1.75
    np.testing.assert_allclose(reference.batch_norm_moving([0.0], batches, 0.75, False), [2.75])
    np.testing.assert_allclose(reference.batch_norm_moving([9.0], batches, 0.75, True), [11 / 1.75])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_slope(name: str) -> None:
    parameters = {"max_value": 2.0, "negative_slope": 0.3, "threshold": 0.5, "alpha": 1.7}
    parameters = {k: v for k, v in parameters.items() if k in ACTIVATIONS[name].defaults}
    x = np.linspace(-8.01, 8.0, 301)
    for kink in reference.activation_kinks(name, **parameters):
        x = x[np.abs(x - kink) > 2.0 * H]
    ends = [reference.activation_forward(name, x + h, **parameters) for h in (H, -H)]
    slope = reference.activation_slope(name, x, **parameters)
    np.testing.assert_allclose((ends[0] - ends[1]) / (2.0 * H), slope, rtol=1e-7, atol=1e-8)


# From the functions' definitions, in 20 digits of Python's decimal or by hand.
@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("linear", -1.5, -1.5),
        ("relu", -1.0, 0.0),
        ("relu6", 7.0, 6.0),
        ("leaky_relu", -2.0, -0.4),
        ("elu", -1.0, -0.63212055882855767840),
        ("selu", -1.0, -1.1113307378125628),
        ("selu", 1.0, 1.0507009873554804934),
        ("softplus", 0.0, 0.69314718055994530942),
        ("softplus", 800.0, 800.0),
        ("softsign", -3.0, -0.75),
        ("silu", 1.0, 0.73105857863000487926),
        ("tanh", 1.0, 0.76159415595576488812),
        ("sigmoid", -1.0, 0.26894142136999512075),
        ("sigmoid", -800.0, 0.0),
        ("hard_sigmoid", 1.5, 0.75),
        ("hard_sigmoid", -4.0, 0.0),
        ("exponential", 1.0, 2.7182818284590452354),
    ],
)
def test_activation_value(name: str, x: float, y: float) -> None:
    assert float(reference.activation_forward(name, x)) == pytest.approx(y, rel=1e-14, abs=1e-300)


def test_relu_general_value() -> None:
    x = np.array([-1.0, 0.4, 0.5, 1.0, 2.0, 3.0])
    y = reference.activation_forward(
        "relu_general", x, max_value=2.0, negative_slope=0.1, threshold=0.5
    )
    np.testing.assert_allclose(y, [-0.15, -0.01, 0.5, 1.0, 2.0, 2.0], rtol=1e-14)


def test_prelu() -> None:
    x, alpha, dy = draw(5, 3), draw(3), draw(5, 3)
    dx, dalpha = reference.prelu_backward(x, alpha, dy)
    assert_close(dx, differences(lambda v: (reference.prelu_forward(v, alpha) * dy).sum(), x))
    assert_close(dalpha, differences(lambda v: (reference.prelu_forward(x, v) * dy).sum(), alpha))


def test_softmax() -> None:
    x, dy = draw(4, 3), draw(4, 3)
    y = reference.softmax_forward(x)
    np.testing.assert_allclose(y.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(y[:, 0] / y[:, 1], np.exp(x[:, 0] - x[:, 1]), rtol=1e-13)
    dx = reference.softmax_backward(y, dy)
    assert_close(dx, differences(lambda v: (reference.softmax_forward(v) * dy).sum(), x))


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_gradient(kind: str) -> None:
    x = draw(5, 3) if kind.startswith(("softmax", "sigmoid", "mean")) else RNG.random((5, 3))
    target, weight = RNG.random((5, 3)), RNG.random(5)
    _, gradient, _ = reference.loss(kind, x, target, weight)
    f = lambda v: reference.loss(kind, v, target, weight)[0] / 5.0  # noqa: E731
    assert_close(gradient, differences(f, x))


def test_loss_values() -> None:
    labels = reference.one_hot([2, 0], 3)
    np.testing.assert_array_equal(labels, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    x = np.log([[1.0, 2.0, 5.0], [2.0, 1.0, 1.0]])
    expected = -np.log([5.0 / 8.0, 0.5])
    np.testing.assert_allclose(reference.softmax_cross_entropy(x, labels)[0], expected)
    np.testing.assert_allclose(reference.categorical_cross_entropy(np.exp(x), labels)[0], expected)
    p, t = np.array([[0.9, 0.2]]), np.array([[1.0, 0.0]])
    expected = -(np.log(0.9) + np.log(0.8)) / 2.0
    np.testing.assert_allclose(reference.binary_cross_entropy(p, t)[0], [expected])
    logits = np.log(p / (1.0 - p))
    np.testing.assert_allclose(reference.sigmoid_cross_entropy(logits, t)[0], [expected])
    x, t = [[1.0, 3.0]], [[0.0, 1.0]]
    for kind, value, gradient in (
        ("mean_squared_error", 2.5, [1.0, 2.0]),
        ("mean_absolute_error", 1.5, [0.5, 0.5]),
        ("mean_absolute_percentage_error", 50.0 * (1e7 + 2.0), [50.0 / 1e-7, 50.0]),
        ("mean_squared_logarithmic_error", np.log(2.0) ** 2, [np.log(2.0) / 2, np.log(2.0) / 4]),
        ("huber", 1.0, [0.5, 0.5]),
        ("log_cosh", np.log(np.cosh(1.0) * np.cosh(2.0)) / 2, np.tanh([1.0, 2.0]) / 2),
        ("hinge", 1.0, [0.5, 0.0]),
        ("squared_hinge", 2.0, [2.0, 0.0]),
        ("categorical_hinge", 0.0, [0.0, 0.0]),
        ("poisson", 2.0 - np.log(3.0) / 2, [0.5, 1 / 3]),
        ("kl_divergence", 1e-7 * np.log(1e-7), [-1e-7, 0.0]),
        ("cosine_similarity", -3.0 / 10**0.5, np.array([0.3, -0.1]) / 10**0.5),
    ):
        made, slope = LOSSES[kind](x, t)
        np.testing.assert_allclose(made, [value], rtol=1e-6, err_msg=kind)
        np.testing.assert_allclose(slope, [gradient], rtol=1e-6, err_msg=kind)


def test_probabilities_are_held_inside() -> None:
    zero_one, target = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    for kind in ("categorical_cross_entropy", "binary_cross_entropy"):
        losses, gradient = LOSSES[kind](zero_one, target)
        np.testing.assert_allclose(losses, [-np.log(1e-7)], rtol=1e-6)
        np.testing.assert_array_equal(gradient, np.zeros((1, 2)))


def test_metrics() -> None:
    x = np.array([[0.1, 0.7, 0.2], [0.6, 0.1, 0.3]])
    target = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    metrics = {name: f(x, target) for name, f in reference.METRICS.items()}
    np.testing.assert_array_equal(metrics["top_k_accuracy"], [1.0, 1.0])
    np.testing.assert_array_equal(metrics["categorical_accuracy"], [1.0, 0.0])
    np.testing.assert_allclose(metrics["binary_accuracy"], [1.0, 1 / 3])
    counts = reference.confusion(x, target, [1.0, 2.0], [0.2, 0.5])
    np.testing.assert_array_equal(counts[0], [[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(counts[2], [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])


def test_clipping() -> None:
    g = [np.array([3.0, -4.0]), np.array([12.0])]  # norms 5, 12 and together 13
    by_value = reference.clip_by_value(g, 3.5)
    np.testing.assert_array_equal(np.concatenate(by_value), [3.0, -3.5, 3.5])
    by_norm = reference.clip_by_norm(g, 10.0)
    np.testing.assert_allclose(np.concatenate(by_norm), [3.0, -4.0, 10.0])
    by_global_norm = reference.clip_by_global_norm(g, 6.5)
    np.testing.assert_allclose(np.concatenate(by_global_norm), [1.5, -2.0, 6.0])


def test_optimizers_by_hand() -> None:
    # Two steps with gradients 1 and 2 from 0, learning rate 0.1.
    g = [[1.0], [2.0]]
    assert reference.sgd([0.0], g, 0.1) == pytest.approx(-0.3)
    assert reference.sgd([0.0], g, 0.1, momentum=0.5) == pytest.approx(-0.1 - 0.25)
    nesterov = reference.sgd([0.0], g, 0.1, momentum=0.5, nesterov=True)
    assert nesterov == pytest.approx((0.5 * -0.1 - 0.1) + (0.5 * -0.25 - 0.2))
    # Bias correction makes Adam's first step the learning rate, whatever the gradient.
    assert reference.adam([0.0], [[7.0]], 0.1, epsilon=0.0) == pytest.approx(-0.1)
    m, v = 0.5 * 0.5 + 0.5 * 2.0, 0.25 * 0.75 + 0.25 * 4.0
    step = 0.1 * np.sqrt(1 - 0.75**2) / (1 - 0.5**2) * m / np.sqrt(v)
    adam = reference.adam([0.0], g, 0.1, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    assert adam == pytest.approx(-0.1 - step)
    # Keras' documentation: from 10, gradient 10, learning rate 0.1, Adam 9.9, RMSprop 9.683772.
    assert reference.adam([10.0], [[10.0]], 0.1) == pytest.approx(9.9)
    assert reference.rmsprop([10.0], [[10.0]], 0.1) == pytest.approx(9.683772, abs=1e-6)
    # With rho 0.5: squares 0.5, 2.25; means 0.5, 1.25; variances 0.25, 0.6875.
    centered = reference.rmsprop([0.0], g, 0.1, rho=0.5, momentum=0.5, epsilon=0.0, centered=True)
    first, second = 0.1 / np.sqrt(0.25), 0.2 / np.sqrt(0.6875)
    assert centered == pytest.approx(-first - (0.5 * first + second))


def test_more_optimizers_by_hand() -> None:
    g = [[1.0], [2.0]]
    # The first steps of Adamax and Adagrad are the learning rate, of Lion every one.
    assert reference.adamax([0.0], [[-7.0]], 0.1, epsilon=0.0) == pytest.approx(0.1)
    adamax = reference.adamax([0.0], g, 0.1, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    assert adamax == pytest.approx(-0.1 - 0.1 / 0.75 * 1.25 / 2.0)
    options = {"initial_accumulator_value": 0.0, "epsilon": 0.0}
    assert reference.adagrad([0.0], g, 0.1, **options) == pytest.approx(-0.1 - 0.2 / np.sqrt(5.0))
    assert reference.lion([0.0], [[3.0], [-0.1]], 0.1, beta_2=0.5) == pytest.approx(-0.2)
    assert reference.lion([0.0], [[3.0], [-0.1]], 0.1, beta_1=0.1) == pytest.approx(0.0)
    # rho 0.5: squares 0.5, 2.25; the first move is 1 / sqrt(1.5), half of its square is kept.
    adadelta = reference.adadelta([0.0], g, 1.0, rho=0.5, epsilon=1.0)
    assert adadelta == pytest.approx(-1.0 / np.sqrt(1.5) - np.sqrt(4.0 / 3.0) * 2.0 / np.sqrt(3.25))
    # Weights of the momentum: 0.5 (1 - 0.48) = 0.26 and 0.5 (1 - 0.4608) = 0.2696; m is 0.5.
    nadam = reference.nadam([0.0], g[:1], 0.1, beta_1=0.5, epsilon=0.0)
    assert nadam == pytest.approx(-0.1 * (0.2696 * 0.5 / (1 - 0.26 * 0.2696) + 1.0))
    # Half of the variable goes before each step of 0.5.
    decayed = reference.sgd([8.0], g, 0.5, weight_decay=1.0)
    assert decayed == pytest.approx((8.0 / 2 - 0.5) / 2 - 1.0)


def test_amsgrad_remembers_the_largest() -> None:
    g = [[10.0]] + [[0.1]] * 50
    slow = reference.adam([0.0], g, 0.1, beta_2=0.5, amsgrad=True)
    fast = reference.adam([0.0], g, 0.1, beta_2=0.5)
    assert abs(slow) < abs(fast)


# kat_vectors of Random123 (https://github.com/DEShawResearch/random123), philox4x32 10.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_philox(counter: str, key: str, expected: str) -> None:
    words = [[int(word, 16) for word in text.split()] for text in (counter, key, expected)]
    assert reference.philox4x32(words[0], words[1]) == words[2]
