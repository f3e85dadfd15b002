"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad._program import Program
from evengrad.optimizers._rates import Rate
from evengrad.optimizers.base import Lists, Optimizer

if TYPE_CHECKING:
    from evengrad._core import F64


class SGD(Optimizer):
    """w -= rate g; with momentum m = momentum m - rate g, w += m.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.01.
    momentum : float in [0, 1]
        Default 0.
    nesterov : bool
        With momentum: w += momentum m - rate g, for the new m.
    **kwargs
        Of `Optimizer`, as clipnorm or weight_decay.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.SGD(learning_rate=0.05, clipnorm=1.0)
    SGD(learning_rate=0.05, clipnorm=1.0, momentum=0.0, nesterov=False)
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.momentum = self._check("momentum", momentum, high=1.0)
        self.nesterov = _validation.check_flag(type(self).__name__, "nesterov", nesterov)

    @property
    def slot_names(self) -> tuple[tuple[str, ...], ...]:  # type: ignore[override]
        """One momentum a variable, if any."""
        return (("momentum",),) if self.momentum > 0.0 else ()

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        values, gradients, slots, norms, clip = lists
        momenta = slots[0] if slots else None
        program.sgd(values, gradients, momenta, norms, clip, self.momentum, self.nesterov, decays)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}
