"""Adadelta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad._program import Program
from evengrad.optimizers._rates import Rate
from evengrad.optimizers.base import Lists, Optimizer

if TYPE_CHECKING:
    from evengrad._core import F64


class Adadelta(Optimizer):
    """v = rho v + (1 - rho) g^2, d = g sqrt(s + epsilon) / sqrt(v + epsilon), w -= rate d.

    Then s = rho s + (1 - rho) d^2.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.001, as in Keras; the paper's is 1.
    rho : float in [0, 1)
        Default 0.95.
    epsilon : float in [1.2e-38, 1e38]
        Default 1e-7.
    **kwargs
        Of `Optimizer`, as clipnorm or weight_decay.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Zeiler 2012, arXiv:1212.5701

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.Adadelta(1.0)
    Adadelta(learning_rate=1.0, rho=0.95, epsilon=1e-07)
    """

    slot_names = (("accumulated_grad", "accumulated_delta_var"),)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.rho = self._check("rho", rho, high=1.0, open_high=True)
        self.epsilon = self._epsilon(epsilon)

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        program.adadelta(*lists, self.rho, self.epsilon, decays)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        return super().get_config() | {"rho": self.rho, "epsilon": self.epsilon}
