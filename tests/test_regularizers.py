"""Regularizers: penalties and slopes against float64 formulas, in training, by name, by hand."""

from __future__ import annotations

import json
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reference
from evengrad import _core, layers, regularizers
from gradcheck import assert_gradients
from harness import (
    F32,
    UNIT,
    Results,
    check,
    check_threads,
    draws,
    matrix,
    number_of_threads,
    parameter_gradient,
    run,
)

SHAPES: list[tuple[int, ...]] = [(33, 17), (17,), (1, 1), (9, 1024), (130, 100)]
FACTORS = [(0.0, 0.0), (0.01, 0.0), (0.0, 0.01), (0.3, 0.2)]


# The kernel


def case(scale: float, l1: float, l2: float, *, threads: int = 1, rows: int = 5) -> Results:
    values = [(w * scale).astype(np.float32) for w in draws(1, *SHAPES)]
    values[0][3] = 0.0
    values[0][4] = -0.0
    gradients = draws(2, *SHAPES)
    arrays, result = [matrix(g) for g in gradients], np.array([7.0])
    n = len(SHAPES)
    factors = [np.linspace(1.0, 2.0, n) * f for f in (l1, l2)]

    def record(p: _core.Program) -> None:
        p.regularize([matrix(w) for w in values], arrays, *factors, 3, result)  # type: ignore[call-arg]

    run(rows, record, threads=threads)
    penalties = [reference.penalty(w, a, b) for w, a, b in zip(values, *factors, strict=True)]
    total = 7.0 + 3 * rows * sum(penalties)
    results: Results = {"penalty": (result, np.array([total]), 1e-11 * total)}
    for i, (w, a, b) in enumerate(zip(values, *factors, strict=True)):
        slope = reference.penalty_slope(w, a, b)
        # Both factors are rounded, as are a product and two sums.
        bound = UNIT * (3 * a + 4 * np.abs(2 * b * w) + 2 * np.abs(gradients[i]))
        results[f"gradient {i}"] = (parameter_gradient(arrays[i]), gradients[i] + slope, bound)
    return results


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e19, 1e37])
@pytest.mark.parametrize(("l1", "l2"), FACTORS)
def test_kernel(scale: float, l1: float, l2: float) -> None:
    check(case(scale, l1, l2))


def test_threads() -> None:
    check_threads(case, 1.0, 0.3, 0.2)


def test_without_gradients_it_is_the_penalty_alone() -> None:
    w, result = matrix(draws(3, (33, 17))[0]), np.zeros(1)
    l1, l2 = np.array([0.5]), np.array([0.25])
    run(4, lambda p: p.regularize([w], None, l1, l2, 1, result))
    np.testing.assert_allclose(result[0], 4 * reference.penalty(w, 0.5, 0.25), rtol=1e-12)


# In training

ARGUMENTS: dict[str, Any] = {
    "kernel_regularizer": regularizers.L1L2(0.02, 0.03),
    "bias_regularizer": regularizers.L2(0.05),
}


def model(**options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((4,)),
            layers.BatchNormalization(
                gamma_regularizer=regularizers.L2(0.1), beta_regularizer=regularizers.L1(0.1)
            ),
            layers.Dense(5, bias_initializer="ones", **ARGUMENTS),
            layers.PReLU(alpha_initializer="ones", alpha_regularizer=regularizers.L2(0.02)),
            layers.Dense(2, kernel_regularizer="l2"),
        ]
    )
    made.compile(keras.optimizers.SGD(options.pop("rate", 0.05)), "mse", **options)
    return made


def data(rows: int = 30) -> tuple[F32, F32]:
    x, y = draws(5, (rows, 4), (rows, 2))
    return x, y


def plain(made: keras.Sequential) -> keras.Sequential:
    """The same weights without regularizers."""
    for variable in made.variables:
        variable.regularizer = None
    return made


def test_model_losses() -> None:
    made = model()
    wanted = [
        reference.penalty(v.value, v.regularizer.l1, v.regularizer.l2)
        for v in made.trainable_variables
        if v.regularizer
    ]
    assert len(wanted) == 6
    np.testing.assert_allclose(made.losses, wanted, rtol=1e-12)
    assert [p for layer in made.layers for p in layer.losses] == made.losses
    made.layers[1].trainable = False
    assert len(made.losses) == 4  # as in Keras, only what is trained


def test_gradients_against_finite_differences() -> None:
    made, (x, y) = model(rate=0.0), data()
    for variable in made.trainable_variables:  # away from the kink of |w|
        w = variable.value
        w[...] = np.where(np.abs(w) < 0.1, 0.1, w)
    made.train_on_batch(x, y)
    gradients = made._step(len(x), train=True).program.gradients
    analytic = {v.path: gradients[v].copy() for v in made.trainable_variables}
    arrays = {v.path: v.storage for v in made.trainable_variables}
    assert_gradients(lambda: made.train_on_batch(x, y), arrays, analytic, kinks=0.2)


def test_the_reported_loss_is_with_penalties() -> None:
    x, y = data()
    for frozen in (False, True):
        regular, bare = model(rate=0.0), plain(model(rate=0.0))
        for one in (regular, bare):
            one.layers[1].trainable = not frozen
        penalty = sum(regular.losses)
        assert penalty > 0.1
        for call in (
            lambda m: m.train_on_batch(x, y),
            lambda m: m.test_on_batch(x, y),
            lambda m: m.evaluate(x, y, 8, verbose=0),
            lambda m: m.fit(x, y, 8, verbose=0, shuffle=False).history["loss"][0],
            lambda m: m.evaluate(x, y, 8, 0, np.linspace(0, 2, len(x))),
        ):
            np.testing.assert_allclose(call(regular), call(bare) + penalty, rtol=2e-6)


def test_the_mean_over_an_epoch_is_weighted_by_rows() -> None:
    """Penalties change from step to step; a batch of 2 counts a quarter of one of 8."""
    x, y = data(10)
    made, each = model(), model()
    loss = made.fit(x, y, 8, verbose=0, shuffle=False).history["loss"][0]
    first, last = each.train_on_batch(x[:8], y[:8]), each.train_on_batch(x[8:], y[8:])
    np.testing.assert_allclose(loss, (8 * first + 2 * last) / 10, rtol=1e-12)


def test_samples_of_several_rows() -> None:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((3, 4)), layers.Dense(2, kernel_regularizer="l2")])
    made.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = draws(1, (10, 3, 4), (10, 3, 2))
    with_penalty = made.evaluate(x, y, verbose=0)
    penalty = made.losses[0]
    np.testing.assert_allclose(with_penalty - penalty, plain(made).evaluate(x, y, verbose=0), 1e-6)


def test_same_bits_for_any_number_of_threads() -> None:
    x, y = draws(5, (256, 4), (256, 2))
    made = []
    for threads in (1, 2):
        with number_of_threads(threads):
            one = model()
            loss = one.fit(x, y, 128, 3, verbose=0).history["loss"]
            made.append((loss, b"".join(w.tobytes() for w in one.get_weights())))
    assert made[0] == made[1]


def test_a_skipped_step_counts_no_penalty() -> None:
    x, y = data(8)
    made = model(on_nonfinite="skip")
    y[:4] = 1e30
    right = model()
    a = made.fit(x, y, 4, verbose=0, shuffle=False).history["loss"]
    b = right.fit(x[4:], y[4:], 4, verbose=0, shuffle=False).history["loss"]
    assert a == b


def test_a_change_takes_effect_at_the_next_step() -> None:
    x, y = data()
    made = model(rate=0.0)
    before = made.evaluate(x, y, verbose=0)
    made.layers[1].kernel.regularizer.l2 *= 2.0
    assert made.evaluate(x, y, verbose=0) > before
    plain(made)
    assert made.evaluate(x, y, verbose=0) < before


# By hand, by name


def test_by_hand() -> None:
    w = draws(1, (3, 4, 5))[0]
    for regularizer in (regularizers.L1(0.3), regularizers.L2(0.2), regularizers.L1L2(0.3, 0.2)):
        made = regularizer(w)
        np.testing.assert_allclose(
            made, reference.penalty(w, regularizer.l1, regularizer.l2), rtol=1e-12
        )
    assert regularizers.L2(1.0)(np.full(3, 1e30, np.float32)) == pytest.approx(3e60)
    assert regularizers.L1(1.0)([np.inf]) == np.inf


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("l1", "L1(l1=0.01)"),
        ("L1", "L1(l1=0.01)"),
        ("l2", "L2(l2=0.01)"),
        ("L2", "L2(l2=0.01)"),
        ("l1_l2", "L1L2(l1=0.01, l2=0.01)"),
        ("l1l2", "L1L2(l1=0.0, l2=0.0)"),
        ("L1L2", "L1L2(l1=0.0, l2=0.0)"),
        (regularizers.L2, "L2(l2=0.01)"),
        (regularizers.l1(0.5), "L1(l1=0.5)"),
        ({"class_name": "L1L2", "config": {"l1": 0.5, "l2": None}}, "L1L2(l1=0.5, l2=0.0)"),
        (None, "None"),
    ],
)
def test_get(identifier: Any, text: str) -> None:
    made = regularizers.get(identifier)
    assert repr(made) == text
    config = json.loads(json.dumps(regularizers.serialize(made)))
    assert repr(None if config is None else regularizers.deserialize(config)) == text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: regularizers.L1(-1.0), "L1: expected l1 in [0, 1e+38], got -1.0"),
        (lambda: regularizers.L2(np.nan), "L2: expected l2 in [0, 1e+38], got nan"),
        (lambda: regularizers.L1L2(1, "x"), "L1L2: expected l2 to be a number, got 'x'"),
        (lambda: regularizers.L2(np.inf), "L2: expected l2 in [0, 1e+38], got inf"),
        (lambda: regularizers.get("l3"), "regularizer: expected one of l1, l2, l1_l2, got 'l3'"),
        (lambda: regularizers.get(np.sum), "regularizer: expected None, a name, a config or a Reg"),
        (lambda: regularizers.get("orthogonal_regularizer"), "regularizer: OrthogonalRegularizer"),
        (lambda: regularizers.get("OrthogonalRegularizer"), "regularizer: OrthogonalRegularizer"),
        (lambda: regularizers.deserialize({"class_name": "L1", "config": {"l2": 1}}), "regularize"),
        (lambda: regularizers.deserialize({}), 'regularizer: expected a dict with "class_name"'),
        (lambda: regularizers.serialize(5), "serialize: expected a Regularizer, got 5"),
        (lambda: layers.Dense(2, kernel_regularizer="l3"), "regularizer: expected one of l1, l2"),
        (
            lambda: layers.Dense(2, activity_regularizer="l2", name="d"),
            'Dense "d": activity_regularizer is not here; penalize weights with kernel_regularizer',
        ),
    ],
)
def test_bad_arguments(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)
