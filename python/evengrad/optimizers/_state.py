"""What an optimizer keeps: the number of steps, the learning rate, slots beside each variable."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from evengrad import _building
from evengrad.optimizers._rates import Rate, Rated
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32

AVERAGE, ACCUMULATOR = "average", "gradient_accumulator"


def _beside(
    variable: Variable, owner: str, name: str, initial: Callable[[], ArrayLike]
) -> Variable:
    """Make a variable of the same shape and layout for an optimizer to keep with it."""
    full = f"{variable.path.replace('/', '_')}_{name}"
    if _building.loading():
        start = None
    else:
        start = np.broadcast_to(np.asarray(initial(), dtype=np.float32), variable.shape)
    return Variable(
        start,
        shape=variable.shape,
        name=full,
        path=f"{owner}/{full}",
        trainable=False,
        flat=variable.storage.ndim == 1,
    )


class Stateful(Rated):
    """The half of `Optimizer` that keeps state for variables."""

    use_ema: bool

    def __init__(self, learning_rate: Rate, name: str | None) -> None:
        super().__init__(learning_rate, name)
        self._built = False
        self._slots: dict[Variable, dict[str, Variable]] = {}

    slot_names: tuple[tuple[str, ...], ...] = ()  # in groups whose variables alternate, as Keras'

    def initial(self, name: str, variable: Variable) -> ArrayLike:
        """Return what a slot of a variable begins with."""
        return variable.numpy() if name == AVERAGE else 0.0

    @property
    def built(self) -> bool:
        """Whether there is state for the variables."""
        return self._built

    def kept(self) -> dict[Variable, dict[str, Variable]]:
        """Return the live state for each variable, by name."""
        return self._slots

    @property
    def built_for(self) -> list[Variable]:
        """The variables that there is state for."""
        return list(self._slots)

    def build(self, variables: Iterable[Variable]) -> None:
        """Make what is kept for each variable; the first step does so, too."""
        for variable in variables:
            have = self._slots.setdefault(variable, {})
            for name in (name for group in self._groups() for name in group):
                if name not in have:
                    start = functools.partial(self.initial, name, variable)
                    have[name] = _beside(variable, self.name, name, start)
        self._built = True

    def _groups(self) -> list[tuple[str, ...]]:
        groups = [(AVERAGE,)] if self.use_ema else []
        groups += [(ACCUMULATOR,)] if self.gradient_accumulation_steps else []
        return [*groups, *self.slot_names]

    @property
    def variables(self) -> list[Variable]:
        """Its state in Keras' order: steps done, learning rate if a number, slots."""
        scalars = [self._count, *([self._rate] if isinstance(self._rate, Variable) else [])]
        return scalars + [
            slots[name]
            for group in self._groups()
            for slots in self._slots.values()
            for name in group
            if name in slots
        ]

    def slots(self, variables: Sequence[Variable]) -> list[list[F32]]:
        """State that the update keeps for each variable, as one list a slot."""
        self.build(variables)
        return [self._slot(name, variables) for group in self.slot_names for name in group]

    def slot(self, name: str, variable: Variable) -> F32:
        """Return the live array that is kept for a variable under one of `slot_names`."""
        return self._slots[variable][name].value

    def _slot(self, name: str, variables: Sequence[Variable]) -> list[F32]:
        return [self._slots[v][name].storage for v in variables]

    def count_params(self) -> int:
        """Numbers of its state: slots, learning rate and count of steps; 0 before the first."""
        if not self._built:
            return 0
        return 2 + sum(v.size for slots in self._slots.values() for v in slots.values())

    def swap_averages(self) -> None:
        """Let variables and their moving averages change places; before the first step, not.

        Raises
        ------
        ValueError
            Without `use_ema`.
        """
        if not self.use_ema:
            raise ValueError(
                f"{type(self).__name__}: expected use_ema=True for averages to be there, got False"
            )
        for variable, slots in self._slots.items():
            if self.counter[0] and AVERAGE in slots:
                values, averages = variable.storage, slots[AVERAGE].storage
                kept = np.array(values)
                values[...] = averages
                averages[...] = kept

    def finalize_variable_values(self, var_list: Iterable[Variable]) -> None:
        """Make variables their moving averages, where there are any; `fit` ends with this."""
        if not (self.use_ema and self.counter[0]):
            return
        for variable in var_list:
            average = self._slots.get(variable, {}).get(AVERAGE)
            if average is not None:
                variable.value[...] = average.value
