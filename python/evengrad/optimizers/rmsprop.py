"""RMSprop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad._program import Program
from evengrad.optimizers.base import Optimizer, Rate

if TYPE_CHECKING:
    from evengrad._core import F32, F64


class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2, w -= rate g / sqrt(v + epsilon).

    Parameters
    ----------
    learning_rate : float or callable
        Default 0.001.
    rho : float in [0, 1)
        Default 0.9.
    momentum : float in [0, 1]
        Default 0; else m = momentum m + rate g / sqrt(v + epsilon), w -= m.
    epsilon : float, above 0
        Default 1e-7, inside the root, as in Keras.
    centered : bool
        Take the square of the moving mean of g from v.
    **kwargs
        Of `Optimizer`: name, clipnorm, clipvalue, global_clipnorm.

    References
    ----------
    .. [1] Hinton 2012, Neural networks for machine learning, lecture 6
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        check = _validation.check_number
        self.rho = check("RMSprop", "rho", rho, 0.0, 1.0, open_high=True)
        self.momentum = check("RMSprop", "momentum", momentum, 0.0, 1.0)
        self.epsilon = check("RMSprop", "epsilon", epsilon, 0.0, open_low=True)
        self.centered = _validation.check_flag("RMSprop", "centered", centered)

    @property
    def slot_count(self) -> int:  # type: ignore[override]
        """Mean square, then momentum and mean, where wanted."""
        return 1 + (self.momentum > 0.0) + self.centered

    def record_update(
        self,
        program: Program,
        values: list[F32],
        gradients: list[F32],
        slots: list[list[F32]],
        norms: F64,
    ) -> None:
        """Record the kernel."""
        momenta = slots[1] if self.momentum > 0.0 else None
        means = slots[-1] if self.centered else None
        program.rmsprop(
            values, gradients, slots[0], momenta, means, norms, self.clip[0],
            self.rho, self.momentum, self.epsilon,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        names = ("rho", "momentum", "epsilon", "centered")
        return super().get_config() | {name: getattr(self, name) for name in names}
