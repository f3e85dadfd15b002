"""What all schedules share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation

F64 = NDArray[np.float64]


class LearningRateSchedule:
    """Base of the schedules; derive from it and define `__call__(self, step)` for one of your own.

    Define `get_config` too, returning the arguments, where it is to be saved.

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> class Hyperbola(schedules.LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 / (step + 1)
    >>> Hyperbola()(4)
    0.02
    """

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__}: expected it to define __call__")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal schedule."""
        raise NotImplementedError(f"{type(self).__name__}: expected it to define get_config")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LearningRateSchedule:
        """Make a schedule from get_config."""
        return cls(**config)


class Formula(LearningRateSchedule):
    """Base of the schedules below: one formula for a step or for many."""

    arguments: tuple[str, ...]

    def __call__(self, step: ArrayLike) -> Any:
        """Return the rate of a step as a float, or an array of those of many."""
        with np.errstate(over="ignore"):  # an infinite rate is refused where it is used
            rates = self.rates(np.asarray(step, dtype=np.float64))
        return float(rates) if rates.ndim == 0 else rates

    def rates(self, step: F64) -> F64:
        """Evaluate the formula in float64."""
        raise NotImplementedError(f"{type(self).__name__}.rates")

    def _check(self, name: str, value: float, *, positive: bool = False) -> float:
        number = _validation.check_number(
            type(self).__name__, name, value, 0.0, open_low=positive, open_high=True
        )
        return value if isinstance(value, int) else number

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal schedule."""
        return {name: getattr(self, name) for name in (*self.arguments, "name")}

    def __repr__(self) -> str:
        arguments = (f"{name}={getattr(self, name)!r}" for name in self.arguments)
        return f"{type(self).__name__}({', '.join(arguments)})"
