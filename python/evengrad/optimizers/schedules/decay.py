"""Schedules that go down and stay down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evengrad import _validation
from evengrad.optimizers.schedules.base import F64, Formula


class _Decay(Formula):
    arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = self._check("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._check("decay_steps", decay_steps, positive=True)
        self.decay_rate = self._check("decay_rate", decay_rate)
        self.staircase = _validation.check_flag(type(self).__name__, "staircase", staircase)
        self.name = name or type(self).__name__

    def _done(self, step: F64) -> F64:
        part = step / self.decay_steps
        return np.floor(part) if self.staircase else part


class ExponentialDecay(_Decay):
    """rate = initial_learning_rate decay_rate^(step / decay_steps).

    Parameters
    ----------
    initial_learning_rate : float, at least 0
        Rate of step 0.
    decay_steps : number, above 0
        Steps in which the rate is multiplied by decay_rate.
    decay_rate : float, at least 0
        Usually below 1.
    staircase : bool, default False
        Round step / decay_steps down.
    name : str, default "ExponentialDecay"
        Kept for Keras' sake.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
    0.025
    """

    def rates(self, step: F64) -> F64:
        """Evaluate the formula in float64."""
        return np.asarray(self.initial_learning_rate * self.decay_rate ** self._done(step))


class InverseTimeDecay(_Decay):
    """rate = initial_learning_rate / (1 + decay_rate step / decay_steps).

    Parameters
    ----------
    initial_learning_rate : float, at least 0
        Rate of step 0.
    decay_steps : number, above 0
        Steps that count as one.
    decay_rate : float, at least 0
        Weight of the steps done.
    staircase : bool, default False
        Round step / decay_steps down.
    name : str, default "InverseTimeDecay"
        Kept for Keras' sake.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> schedules.InverseTimeDecay(0.1, decay_steps=1, decay_rate=0.5)(2)
    0.05
    """

    def rates(self, step: F64) -> F64:
        """Evaluate the formula in float64."""
        divisor = 1.0 + self.decay_rate * self._done(step)
        return np.asarray(self.initial_learning_rate / divisor)


class PolynomialDecay(Formula):
    """rate = (initial_learning_rate - end_learning_rate) (1 - step / decay_steps)^power + end.

    Parameters
    ----------
    initial_learning_rate : float, at least 0
        Rate of step 0.
    decay_steps : number, above 0
        Steps until the rate is end_learning_rate, where it stays.
    end_learning_rate : float, at least 0, default 0.0001
        Last rate.
    power : float, at least 0, default 1
        1 is a straight line.
    cycle : bool, default False
        Begin anew instead, each time from a lower rate: decay_steps is then the next multiple of
        itself that is not below step.
    name : str, default "PolynomialDecay"
        Kept for Keras' sake.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> schedules.PolynomialDecay(0.1, decay_steps=100, end_learning_rate=0.0)(75)
    0.025
    """

    arguments = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = self._check("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._check("decay_steps", decay_steps, positive=True)
        self.end_learning_rate = self._check("end_learning_rate", end_learning_rate)
        self.power = self._check("power", power)
        self.cycle = _validation.check_flag(type(self).__name__, "cycle", cycle)
        self.name = name

    def rates(self, step: F64) -> F64:
        """Evaluate the formula in float64."""
        part = step / self.decay_steps
        part = part / np.maximum(np.ceil(part), 1.0) if self.cycle else np.minimum(part, 1.0)
        height = self.initial_learning_rate - self.end_learning_rate
        return np.asarray(height * (1.0 - part) ** self.power + self.end_learning_rate)


class PiecewiseConstantDecay(Formula):
    """rate = values[i] for the i boundaries that are below step.

    Parameters
    ----------
    boundaries : sequence of numbers, increasing
        Last steps of all values but the last.
    values : sequence of float, at least 0
        One more than boundaries.
    name : str, default "PiecewiseConstant"
        Kept for Keras' sake.

    Raises
    ------
    ValueError, TypeError
        If the numbers of both do not fit, boundaries do not increase or values are negative.

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> schedule = schedules.PiecewiseConstantDecay([10, 20], [0.1, 0.05, 0.01])
    >>> schedule(10), schedule(11), schedule(500)
    (0.1, 0.05, 0.01)
    """

    arguments = ("boundaries", "values")

    def __init__(
        self,
        boundaries: Sequence[float],
        values: Sequence[float],
        name: str = "PiecewiseConstant",
    ) -> None:
        who = type(self).__name__
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                f"{who}: expected one boundary fewer than values, got {len(boundaries)} and "
                f"{len(values)}"
            )
        self.boundaries = [_checked_boundary(who, b) for b in boundaries]
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"{who}: expected boundaries to increase, got {self.boundaries}")
        self.values = [self._check("each of values", value) for value in values]
        self.name = name

    def rates(self, step: F64) -> F64:
        """Evaluate the formula in float64."""
        return np.asarray(np.array(self.values)[np.searchsorted(self.boundaries, step)])


def _checked_boundary(who: str, boundary: float) -> float:
    _validation.check_number(who, "each of boundaries", boundary)
    return boundary
