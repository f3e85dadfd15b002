"""Schedules point by point, here and in Keras, with any arguments."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import keras

pytestmark = helpers.quiet

STEPS = np.array([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987])


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


RATE, DECAY_STEPS = floats(1e-4, 1.0), st.integers(1, 300)
DECAY: dict[str, st.SearchStrategy[Any]] = {
    "initial_learning_rate": RATE, "decay_steps": DECAY_STEPS, "decay_rate": floats(0.01, 1.0),
    "staircase": st.booleans(),
}  # fmt: skip
ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ExponentialDecay": DECAY,
    "InverseTimeDecay": DECAY,
    "PolynomialDecay": {
        "initial_learning_rate": RATE, "decay_steps": DECAY_STEPS,
        "end_learning_rate": floats(0.0, 0.1), "power": floats(0.5, 3.0), "cycle": st.booleans(),
    },
    "CosineDecay": {
        "initial_learning_rate": RATE, "decay_steps": DECAY_STEPS, "alpha": floats(0.0, 1.0),
        "warmup_target": st.none() | RATE, "warmup_steps": st.integers(0, 50),
    },
    # Not where Keras, in float32, takes a step to be in the period before.
    "CosineDecayRestarts": {
        "initial_learning_rate": RATE, "first_decay_steps": st.sampled_from([97.5, 131.3, 200.7]),
        "t_mul": st.sampled_from([1.0, 1.3, 2.0, 2.9]), "m_mul": floats(0.5, 1.2),
        "alpha": floats(0.0, 0.5),
    },
}  # fmt: skip


def compare(name: str, arguments: dict[str, Any], steps: Sequence[int]) -> None:
    ours, theirs = (
        getattr(library.optimizers.schedules, name)(**arguments) for library in (evengrad, keras)
    )
    made = [ours(int(step)) for step in steps]
    expected = [float(theirs(int(step))) for step in steps]
    errors.compare(name, made, expected)
    errors.compare(name, ours(np.asarray(steps)), expected)
    assert ours.get_config() == theirs.get_config()
    serialized = keras.optimizers.schedules.serialize(theirs)
    back = evengrad.optimizers.schedules.deserialize(serialized)
    assert back.get_config() == ours.get_config()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_any_arguments(name: str) -> None:
    @settings(helpers.fixed, max_examples=20)
    @given(st.fixed_dictionaries(ARGUMENTS[name]))
    def run(arguments: dict[str, Any]) -> None:
        compare(name, arguments, list(STEPS))

    run()


@pytest.mark.parametrize("boundaries", [[10], [10, 20], [1, 5, 100]])
def test_piecewise(boundaries: list[int]) -> None:
    values = [0.5 / (i + 1) for i in range(len(boundaries) + 1)]
    near = sorted({max(0, b + d) for b in boundaries for d in (-1, 0, 1)})
    compare("PiecewiseConstantDecay", {"boundaries": boundaries, "values": values}, near)


def test_restarts_begin_in_the_step_that_keras_gives_them() -> None:
    arguments = {"initial_learning_rate": 0.1, "first_decay_steps": 8}
    compare("CosineDecayRestarts", arguments, range(60))


@pytest.mark.parametrize("name", [*ARGUMENTS, "PiecewiseConstantDecay"])
def test_same_arguments(name: str) -> None:
    ours, theirs = (
        inspect.signature(getattr(library.optimizers.schedules, name)).parameters
        for library in (evengrad, keras)
    )
    assert list(ours) == list(theirs)
    for key in ours.keys() - {"name"}:
        assert ours[key].default == theirs[key].default, key
