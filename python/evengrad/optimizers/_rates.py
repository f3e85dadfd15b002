"""The learning rate of an optimizer, and the steps that it depends on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad._names import Versioned, snake_case
from evengrad.optimizers.schedules.base import Formula, LearningRateSchedule
from evengrad.variable import Variable

F64 = NDArray[np.float64]
Function = Callable[..., Any]
Rate = float | LearningRateSchedule | Function


def check_rate(who: str, name: str, value: Any) -> float:
    """Return a finite number of at least 0."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return _validation.check_number(who, name, value, 0.0, open_high=True)


def _is_formula(function: Any) -> bool:
    """Whether it is one of the package's schedules, which takes many steps at once."""
    return isinstance(function, Formula) and type(function).__call__ is Formula.__call__


def rates_of(owner: str, function: Function, first: int, steps: int) -> F64:
    """Values of a schedule or function for the steps first, first + 1, ..., counted from 0."""
    who = f"{owner}'s schedule"
    if _is_formula(function):
        made: F64 = function(np.arange(first, first + steps, dtype=np.float64))
        bad = ~((made >= 0.0) & (made < np.inf))
        if bad.any():
            check_rate(who, "its value", float(made[bad][0]))
        return made
    takes_step = isinstance(function, LearningRateSchedule) or _takes_step(function)
    values = (function(first + i) if takes_step else function() for i in range(steps))
    return np.array([check_rate(who, "its value", value) for value in values])


def _takes_step(function: Function) -> bool:
    """Whether it has to be given the step; Keras calls plain functions without."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:  # no signature to be had
        return False
    return False


class Count(Variable):
    """A number of steps, which a replay advances."""

    dtype = "int64"

    def _allocate(self) -> None:
        self.storage: NDArray[Any] = np.zeros(1, np.int64)

    def numpy(self) -> NDArray[Any]:
        """Return a copy."""
        return np.array(self.value)

    def assign(self, value: ArrayLike) -> None:
        """Overwrite with an integer of at least 0."""
        self.storage[0] = _validation.check_count(self.path, "value", np.asarray(value)[()], 0)

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return self.numpy().astype(dtype or np.int64, copy=False)


class Rated(Versioned):
    """The part of `Optimizer` that counts steps and knows their learning rates."""

    read_at_replay: ClassVar[frozenset[str]] = frozenset({"learning_rate", "iterations"})
    gradient_accumulation_steps: int | None = None

    def __init__(self, learning_rate: Rate, name: str | None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self._count = Count(0, name="iteration", path=f"{self.name}/iteration", trainable=False)
        self._rate: Rate | Variable = 0.0
        self._asked = -1, 0.0  # the last step whose rate a function gave, and that
        self.learning_rate = learning_rate

    @property
    def iterations(self) -> int:
        """Number of updates done."""
        return int(self.counter[0]) // (self.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value: int) -> None:
        count = _validation.check_count(type(self).__name__, "iterations", value, 0)
        self.counter[0] = count * (self.gradient_accumulation_steps or 1)

    @property
    def counter(self) -> NDArray[np.int64]:
        """The live count of steps, which a replay advances; not all of them need be updates."""
        return self._count.storage

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        if isinstance(self._rate, Variable):
            return float(self._rate.storage[0])
        return float(self.rates(1)[0])

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        who = type(self).__name__
        if callable(value):
            self._rate = value
            return
        checked = check_rate(who, "learning_rate", value)
        if isinstance(self._rate, LearningRateSchedule):
            raise TypeError(
                f"{who}: its learning_rate is {type(self._rate).__name__}, which a number cannot "
                "replace; make the optimizer with a number to set it later"
            )
        if not isinstance(self._rate, Variable):
            path = f"{self.name}/learning_rate"
            self._rate = Variable(
                0.0, name="learning_rate", path=path, trainable=False, double=True
            )
        self._rate.storage[0] = checked

    @property
    def rate_is_set(self) -> bool:
        """Whether it is a number, which can be set between steps."""
        return isinstance(self._rate, Variable)

    def check_settable(self, who: str) -> None:
        """Refuse, in the name of `who`, a learning rate that cannot be set."""
        if not self.rate_is_set:
            raise TypeError(
                f"{who}: expected the optimizer's learning_rate to be a number, got {self._rate!r}"
            )

    @property
    def rate_in_python(self) -> bool:
        """Whether a function is asked for the rate, at each step: it may look at anything."""
        return not (isinstance(self._rate, Variable) or _is_formula(self._rate))

    def rates(self, steps: int) -> F64:
        """Learning rates of the next steps."""
        if isinstance(self._rate, Variable):
            return np.full(steps, self._rate.storage[0])
        assert callable(self._rate)
        made = rates_of(type(self).__name__, self._rate, int(self.counter[0]), steps)
        self._asked = int(self.counter[0]), float(made[0])
        return made

    @property
    def rate_of_step(self) -> float:
        """The learning rate of the step that runs, without asking a function once more."""
        step, rate = self._asked
        return rate if self.rate_in_python and step == self.counter[0] else self.learning_rate
