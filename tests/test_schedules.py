"""Schedules: values by hand, restarts at the right step, arguments that are refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from evengrad.optimizers import schedules

SCHEDULES: dict[str, dict[str, Any]] = {
    "ExponentialDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5},
    "InverseTimeDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5},
    "PolynomialDecay": {"initial_learning_rate": 0.1, "decay_steps": 10},
    "PiecewiseConstantDecay": {"boundaries": [5, 9], "values": [0.1, 0.05, 0.01]},
    "CosineDecay": {"initial_learning_rate": 0.1, "decay_steps": 10},
    "CosineDecayRestarts": {"initial_learning_rate": 0.1, "first_decay_steps": 10},
}
each = pytest.mark.parametrize("name", SCHEDULES)


def make(name: str, **more: Any) -> Any:
    return getattr(schedules, name)(**SCHEDULES[name] | more)


@pytest.mark.parametrize(
    ("name", "more", "step", "rate"),
    [
        ("ExponentialDecay", {}, 0, 0.1),
        ("ExponentialDecay", {}, 5, 0.1 * 0.5**0.5),
        ("ExponentialDecay", {"staircase": True}, 9, 0.1),
        ("ExponentialDecay", {"staircase": True}, 10, 0.05),
        ("ExponentialDecay", {"decay_rate": 0.0}, 3, 0.0),
        ("InverseTimeDecay", {}, 20, 0.05),
        ("InverseTimeDecay", {"staircase": True}, 19, 0.1 / 1.5),
        ("PolynomialDecay", {"end_learning_rate": 0.02}, 5, 0.06),
        ("PolynomialDecay", {"power": 2.0, "end_learning_rate": 0.0}, 5, 0.025),
        ("PolynomialDecay", {"end_learning_rate": 0.02}, 500, 0.02),
        ("PolynomialDecay", {"cycle": True, "end_learning_rate": 0.0}, 0, 0.1),
        ("PolynomialDecay", {"cycle": True, "end_learning_rate": 0.0}, 10, 0.0),
        ("PolynomialDecay", {"cycle": True, "end_learning_rate": 0.0}, 15, 0.025),
        ("PiecewiseConstantDecay", {}, 5, 0.1),
        ("PiecewiseConstantDecay", {}, 6, 0.05),
        ("PiecewiseConstantDecay", {}, 10, 0.01),
        ("PiecewiseConstantDecay", {"boundaries": [], "values": [0.3]}, 7, 0.3),
        ("CosineDecay", {}, 5, 0.05),
        ("CosineDecay", {"alpha": 0.2}, 50, 0.02),
        ("CosineDecay", {"warmup_target": 0.3, "warmup_steps": 4}, 0, 0.1),
        ("CosineDecay", {"warmup_target": 0.3, "warmup_steps": 4}, 2, 0.2),
        ("CosineDecay", {"warmup_target": 0.3, "warmup_steps": 4}, 9, 0.15),
        ("CosineDecay", {"warmup_target": 0.3}, 0, 0.3),
        ("CosineDecayRestarts", {}, 10, 0.1),
        ("CosineDecayRestarts", {"m_mul": 0.5}, 10, 0.05),
        ("CosineDecayRestarts", {"m_mul": 0.5, "alpha": 0.1}, 20, 0.1 * (0.9 * 0.25 + 0.1)),
        ("CosineDecayRestarts", {"t_mul": 1.0}, 25, 0.05),
    ],
)
def test_by_hand(name: str, more: dict[str, Any], step: int, rate: float) -> None:
    assert make(name, **more)(step) == pytest.approx(rate, rel=1e-14, abs=1e-17)


@pytest.mark.parametrize("t_mul", [1.0, 2.0, 3.0, 5.0, 10.0])
@pytest.mark.parametrize("first", [1, 3, 7, 10])
def test_each_restart_is_at_its_step(t_mul: float, first: int) -> None:
    """Where log(243) / log(3) is a little less than 5, too."""
    schedule = schedules.CosineDecayRestarts(0.1, first, t_mul)
    begin = 0
    for period in range(1, 8):
        length = first * int(t_mul) ** (period - 1)
        assert schedule(begin) == pytest.approx(0.1, rel=1e-9)
        lowest = schedule(begin + length - 1)
        assert lowest == pytest.approx(0.05 * (1 + np.cos(np.pi * (length - 1) / length)))
        begin += length


def test_shorter_and_shorter_periods_come_to_an_end() -> None:
    schedule = make("CosineDecayRestarts", t_mul=0.5)
    assert schedule(10) == pytest.approx(0.1)
    assert schedule(15) == pytest.approx(0.1)
    assert np.isnan(schedule(20))


@each
def test_many_steps_at_once(name: str) -> None:
    schedule = make(name)
    steps = np.arange(40)
    rates = schedule(steps)
    assert rates.dtype == np.float64
    assert rates.tolist() == [schedule(int(step)) for step in steps]
    assert isinstance(schedule(np.int64(3)), float)
    assert schedule(3.0) == schedule(3)


@each
def test_configuration(name: str) -> None:
    schedule = make(name)
    config = schedule.get_config()
    assert SCHEDULES[name].items() <= config.items()
    assert type(schedule).from_config(config).get_config() == config
    saved = schedules.serialize(schedule)
    assert saved == {"class_name": name, "config": config}
    for other in (schedules.deserialize(saved), copy.deepcopy(schedule)):
        assert (type(other), other.get_config()) == (type(schedule), config)
    assert pickle.loads(pickle.dumps(schedule))(7) == schedule(7)
    assert eval(repr(schedule), vars(schedules))(7) == schedule(7)


POSITIVE = ("decay_steps", "first_decay_steps", "t_mul")


@each
def test_bad_arguments(name: str) -> None:
    numbers = {k for k, v in make(name).get_config().items() if isinstance(v, int | float)}
    for argument in numbers - {"staircase", "cycle"}:
        for bad in (-1.0, np.nan, np.inf, *([0] if argument in POSITIVE else [])):
            with pytest.raises(ValueError, match=f"{name}: expected {argument} in "):
                make(name, **{argument: bad})
        with pytest.raises(TypeError, match=f"{name}: expected {argument} to be a number"):
            make(name, **{argument: "0.1"})


def test_bad_pieces() -> None:
    with pytest.raises(ValueError, match="one boundary fewer than values, got 2 and 2"):
        make("PiecewiseConstantDecay", values=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"expected boundaries to increase, got \[5, 5\]"):
        make("PiecewiseConstantDecay", boundaries=[5, 5])
    with pytest.raises(ValueError, match="expected each of values in "):
        make("PiecewiseConstantDecay", values=[0.1, -0.2, 0.3])
    with pytest.raises(TypeError, match="expected each of boundaries to be a number"):
        make("PiecewiseConstantDecay", boundaries=[1, "2"])


class Own(schedules.LearningRateSchedule):
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: int) -> float:
        return self.rate / (step + 1)

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate}


def test_a_schedule_of_ones_own() -> None:
    saved = schedules.serialize(Own(0.5))
    assert saved == {"class_name": "Own", "config": {"rate": 0.5}}
    with pytest.raises(ValueError, match=r"schedule: expected one of CosineDecay, .*got 'Own'"):
        schedules.deserialize(saved)
    back: Any = schedules.deserialize(saved, {"Own": Own})
    assert back(4) == 0.1


def test_what_a_schedule_of_ones_own_has_to_define() -> None:
    with pytest.raises(NotImplementedError, match=r"LearningRateSchedule: expected .* __call__"):
        schedules.LearningRateSchedule()(0)
    with pytest.raises(NotImplementedError, match=r"LearningRateSchedule: expected .* get_config"):
        schedules.LearningRateSchedule().get_config()
    with pytest.raises(TypeError, match="expected a LearningRateSchedule"):
        schedules.serialize(0.1)  # type: ignore[arg-type]
