"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad._program import Program
from evengrad.optimizers.base import Optimizer, Rate

if TYPE_CHECKING:
    from evengrad._core import F32, F64


class SGD(Optimizer):
    """w -= rate g; with momentum m = momentum m - rate g, w += m.

    Parameters
    ----------
    learning_rate : float or callable
        Default 0.01.
    momentum : float in [0, 1]
        Default 0.
    nesterov : bool
        With momentum: w += momentum m - rate g, for the new m.
    **kwargs
        Of `Optimizer`: name, clipnorm, clipvalue, global_clipnorm.

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
        self.momentum = _validation.check_number("SGD", "momentum", momentum, 0.0, 1.0)
        self.nesterov = _validation.check_flag("SGD", "nesterov", nesterov)

    @property
    def slot_count(self) -> int:  # type: ignore[override]
        """One momentum a variable, if any."""
        return 1 if self.momentum > 0.0 else 0

    def record_update(
        self,
        program: Program,
        values: list[F32],
        gradients: list[F32],
        slots: list[list[F32]],
        norms: F64,
    ) -> None:
        """Record the kernel."""
        momenta = slots[0] if slots else None
        program.sgd(values, gradients, momenta, norms, self.clip[0], self.momentum, self.nesterov)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}
