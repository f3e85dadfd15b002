"""What the doctor's rules stand on: mean field, columns, the reference, series of a training."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, losses, optimizers
from evengrad.doctor import DISEASES, Health, Norms, Report
from evengrad.doctor._columns import columns_of
from evengrad.doctor._depth import field_of
from evengrad.doctor._reference import doubt_of, explained, score, task_of, train_reference
from evengrad.doctor._verdict import verdict
from evengrad.doctor.rules import RULES, during
from numpy.typing import NDArray

F64 = NDArray[np.float64]

# Mean field


def ones(z: F64) -> F64:
    return np.ones_like(z)


def relu(z: F64) -> F64:
    return np.maximum(z, 0.0)


def step(z: F64) -> F64:
    return (z > 0.0).astype(np.float64)


def erf(z: F64) -> F64:
    return np.vectorize(math.erf, otypes=[np.float64])(z)


def bell(z: F64) -> F64:
    return 2.0 / math.sqrt(math.pi) * np.exp(-z * z)


@pytest.mark.parametrize("weight", [0.3, 0.8, 1.5])
def test_field_of_a_linear_network(weight: float) -> None:
    field = field_of(lambda z: z, ones, weight)
    assert field.slope == pytest.approx(weight, rel=1e-9)
    assert field.length == pytest.approx(1.0 / abs(math.log(weight)), rel=1e-6)


def test_relu_keeps_gradients_at_the_gain_of_he() -> None:
    assert field_of(relu, step, 2.0).slope == pytest.approx(1.0, rel=1e-9)
    assert field_of(relu, step, 1.0).length == pytest.approx(1.0 / math.log(2.0), rel=1e-6)


def of_erf(weight: float, bias: float) -> tuple[float, float]:
    """Variance and slope where it settles, by the closed forms of Williams 1997."""
    q = 1.0
    for _ in range(5000):
        q = weight * 2.0 / math.pi * math.asin(2.0 * q / (1.0 + 2.0 * q)) + bias
    return q, weight * 4.0 / math.pi / math.sqrt(1.0 + 4.0 * q)


@pytest.mark.parametrize(("weight", "bias"), [(0.5, 0.1), (1.0, 0.3), (2.0, 0.05)])
def test_field_of_an_error_function(weight: float, bias: float) -> None:
    q, slope = of_erf(weight, bias)
    field = field_of(erf, bell, weight, bias)
    assert field.variance == pytest.approx(q, rel=1e-6)
    assert field.slope == pytest.approx(slope, rel=1e-6)
    if slope < 1.0:  # ordered: equal inputs stay equal
        assert field.length == pytest.approx(-1.0 / math.log(slope), rel=1e-5)


def test_length_of_a_chaotic_network() -> None:
    """Where the correlation settles below 1, and at what rate, by the arcsine kernel."""
    weight, bias = 4.0, 0.05
    q, slope = of_erf(weight, bias)
    assert slope > 1.0
    top, c = 1.0 + 2.0 * q, 0.5
    for _ in range(5000):
        c = (weight * 2.0 / math.pi * math.asin(2.0 * q * c / top) + bias) / q
    rate = weight * 4.0 / math.pi / math.sqrt(top * top - (2.0 * q * c) ** 2)
    worst = max(abs(math.log(rate)), math.log(slope))
    # The Gauss-Hermite sum of a function of two variables is good to about 1e-3 here.
    assert field_of(erf, bell, weight, bias).length == pytest.approx(1.0 / worst, rel=5e-3)


# Tasks and scores


@pytest.mark.parametrize(
    ("loss", "y", "classes"),
    [
        (losses.SparseCategoricalCrossentropy(), [0, 2, 1], 3),
        (losses.BinaryCrossentropy(), [0.0, 1.0, 1.0], 2),
        (losses.MeanSquaredError(), [0.0, 1.0, 1.0], 2),
        (losses.Hinge(), [-1.0, 1.0, 1.0], 2),
        (losses.CategoricalCrossentropy(), [[0.0, 1.0], [1.0, 0.0], [0.3, 0.7]], 2),
        (losses.MeanSquaredError(), [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], 2),
        (losses.MeanSquaredError(), [0.0, 1.5, 1.0], 0),
        (losses.MeanSquaredError(), [[0.0, 1.5], [1.0, 2.0], [3.0, 3.0]], 0),
    ],
)
def test_what_targets_mean(loss: losses.Loss, y: Any, classes: int) -> None:
    task = task_of(loss, np.asarray(y), classes or 1)
    assert task is not None
    assert task.classes == classes
    assert (task.labels is None) == (classes == 0)


def test_scores() -> None:
    mse, crossed = losses.MeanSquaredError(), losses.BinaryCrossentropy(from_logits=True)
    two = task_of(crossed, np.array([0.0, 1.0, 1.0, 0.0]), 1)
    assert two is not None
    logits = np.array([[-3.0], [0.2], [-0.1], [0.3]], np.float32)
    assert score(two, crossed, logits) == 0.5
    assert score(two, losses.BinaryCrossentropy(), logits) == 0.5
    assert score(two, mse, np.full((4, 1), np.nan, np.float32)) == -1.0
    truth = np.array([[1.0], [2.0], [4.0]])
    assert explained(truth, truth) == 1.0
    assert explained(truth, np.full((3, 1), truth.mean())) == pytest.approx(0.0)
    assert explained(truth, 100.0 * truth) == -1.0


def test_standard_errors() -> None:
    """Against the spread of scores of many draws."""
    rng = np.random.default_rng(0)
    shares = rng.binomial(200, 0.9, 4000) / 200.0
    assert doubt_of(0.9, 200, 2) == pytest.approx(shares.std(), rel=0.1)
    noise, signal = rng.standard_normal((4000, 100)), rng.standard_normal((4000, 100))
    y = signal + noise
    r2 = 1.0 - (noise**2).sum(1) / ((y - y.mean(1, keepdims=True)) ** 2).sum(1)
    assert doubt_of(0.5, 100, 0) == pytest.approx(r2.std(), rel=0.25)


def test_a_linear_model_stands_in_where_it_does_better() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 30), dtype=np.float32)
    y = x @ rng.standard_normal(30) + 3.0 * rng.standard_normal(150)
    task = task_of(losses.MeanSquaredError(), y, 1)
    assert task is not None
    fitted, rest = np.linalg.lstsq(x[:100], y[:100])[0], slice(100, None)
    least_squares = explained(y[rest, None], (x[rest] @ fitted)[:, None])
    assert train_reference(task, x, 32, 7).unseen > least_squares - 0.05
    assert train_reference(task, x, 32, 7) == train_reference(task, x, 32, 7)


# Columns


def test_constant_columns_and_what_others_tell() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = np.stack([np.full(300, 7.0), y * 2.0 + rng.normal(0.0, 0.01, 300), rng.normal(size=300)], 1)
    columns = columns_of(
        x.astype(np.float32), task_of(losses.get("sparse_categorical_crossentropy"), y, 3)
    )
    assert columns.constant.tolist() == [0]
    assert columns.varying.tolist() == [1, 2]
    assert columns.telling[1] == 1.0
    assert abs(columns.telling[2]) < 0.25
    assert columns.telling[0] == 0.0


def test_a_column_that_is_the_target_in_other_units() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(300)
    x = np.stack([5.0 - 3.0 * y, y + rng.standard_normal(300)], 1).astype(np.float32)
    telling = columns_of(x, task_of(losses.MeanSquaredError(), y, 1)).telling
    assert telling[0] > 0.999
    assert telling[1] < 0.7


# In the middle of a training


def training(gradients: list[float], loss: Any = 1.0, ratio: float = 1e-3, **more: Any) -> Health:
    one = np.ones(40)
    return Health(
        steps=np.arange(1.0, 41.0),
        loss=loss * one,
        clipped=more.pop("clipped", 0.0) * one,
        norms={
            f"net/d{i}/kernel": Norms(g * one, one, ratio * one) for i, g in enumerate(gradients)
        },
        **more,
    )


FALLING = np.linspace(1.0, 0.1, 40)


@pytest.mark.parametrize(
    ("health", "options", "disease"),
    [
        (training([1e-7, 1e-5, 1e-3, 1e-1, 1.0]), {}, "vanishing_gradient"),
        (training([1e7, 1e5, 1e3, 1e1, 1.0]), {}, "exploding_gradient"),
        (training([1.0] * 3, np.linspace(1.0, 50.0, 40)), {}, "learning_rate_too_high"),
        (training([1.0] * 3, ratio=1e-8), {}, "learning_rate_too_low"),
        (training([1.0] * 3, FALLING, clipped=1.0), {"clip": 1e-3}, "over_clipped"),
        (training([1.0] * 3, FALLING, dead={"d1": [3, 14]}), {"units": {"d1": 16}}, "dying_units"),
    ],
)
def test_series_of_a_sick_training(health: Health, options: dict[str, Any], disease: str) -> None:
    assert [verdict.disease for verdict in during(health, **options)] == [disease]


def test_every_disease_has_a_rule_and_a_row_in_the_docs() -> None:
    table = (Path(__file__).parents[1] / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", table.split("## Diseases")[1], re.MULTILINE)
    assert rows[: len(DISEASES)] == list(DISEASES) == list(RULES)


def test_series_of_a_healthy_training_say_nothing() -> None:
    assert during(training([1.0, 0.5, 2.0], FALLING)) == ()
    assert during(training([1.0, 0.5, 2.0], FALLING, clipped=1.0), clip=1.0) == ()
    assert during(training([1.0] * 3, FALLING, dead={"d1": [9, 2]}), units={"d1": 16}) == ()
    assert during(Health()) == ()


@pytest.mark.parametrize(
    ("rate", "kernel", "activation", "depth", "disease"),
    [
        (0.05, "he_normal", "relu", 3, None),
        (1e-9, "he_normal", "relu", 3, "learning_rate_too_low"),
        (0.05, "glorot_uniform", "sigmoid", 10, "vanishing_gradient"),
    ],
)
def test_of_real_trainings(
    rate: float, kernel: str, activation: str, depth: int, disease: str | None
) -> None:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((256, 4), dtype=np.float32)
    hidden = [layers.Dense(16, activation, kernel_initializer=kernel) for _ in range(depth)]
    model = keras.Sequential([*hidden, layers.Dense(1)])
    model.compile(optimizers.SGD(rate), "mse")
    history = model.fit(x, np.sin(x[:, 0]), epochs=8, verbose=0)
    found = [verdict.disease for verdict in during(history.health)]
    assert found[:1] == ([] if disease is None else [disease])


def test_evidence_is_strict_json() -> None:
    evidence = {"nan": math.nan, "inf": np.float32(np.inf), "some": np.array([1.23456, 2.0])}
    made = verdict("saturation", 2.0, "because.", evidence, (), "", "")
    assert made.confidence == 1.0
    assert made.evidence["some"] == [1.235, 2.0]
    written = Report((made,)).to_dict()["verdicts"][0]["evidence"]
    assert written == {"nan": None, "inf": "Infinity", "some": [1.235, 2.0]}
