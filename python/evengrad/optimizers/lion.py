"""Lion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad._program import Program
from evengrad.optimizers._rates import Rate
from evengrad.optimizers.base import Lists, Optimizer

if TYPE_CHECKING:
    from evengrad._core import F64


class Lion(Optimizer):
    """w -= rate sign(b1 m + (1 - b1) g), then m = b2 m + (1 - b2) g.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.001; a third to a tenth of Adam's suits it.
    beta_1 : float in (0, 1]
        Default 0.9.
    beta_2 : float in [0, 1]
        Default 0.99.
    **kwargs
        Of `Optimizer`, as clipnorm or weight_decay.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Chen et al. 2023, arXiv:2302.06675

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.Lion(1e-4, weight_decay=0.1)
    Lion(learning_rate=0.0001, weight_decay=0.1, beta_1=0.9, beta_2=0.99)
    """

    slot_names = (("momentum",),)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1 = self._check("beta_1", beta_1, high=1.0, open_low=True)
        self.beta_2 = self._check("beta_2", beta_2, high=1.0)

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        program.lion(*lists, self.beta_1, self.beta_2, decays)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2}
