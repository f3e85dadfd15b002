"""Adagrad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from evengrad._program import Program
from evengrad.optimizers._rates import Rate
from evengrad.optimizers.base import Lists, Optimizer
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F64


class Adagrad(Optimizer):
    """v += g^2, w -= rate g / sqrt(v + epsilon).

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.001.
    initial_accumulator_value : float in [0, 1e38]
        What v begins with, default 0.1.
    epsilon : float in [1.2e-38, 1e38]
        Default 1e-7, inside the root.
    **kwargs
        Of `Optimizer`, as clipnorm or weight_decay.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Duchi, Hazan, Singer 2011, https://jmlr.org/papers/v12/duchi11a.html

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.Adagrad(0.1)
    Adagrad(learning_rate=0.1, initial_accumulator_value=0.1, epsilon=1e-07)
    """

    slot_names = (("accumulator",),)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.initial_accumulator_value = self._check(
            "initial_accumulator_value", initial_accumulator_value, high=1e38
        )
        self.epsilon = self._epsilon(epsilon)

    def initial(self, name: str, variable: Variable) -> ArrayLike:
        """Return what a slot of a variable begins with."""
        own = name == "accumulator"
        return self.initial_accumulator_value if own else super().initial(name, variable)

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        program.adagrad(*lists, self.epsilon, decays)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        names = ("initial_accumulator_value", "epsilon")
        return super().get_config() | {name: getattr(self, name) for name in names}
