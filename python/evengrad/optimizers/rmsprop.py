"""RMSprop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad._program import Program
from evengrad.optimizers._rates import Rate
from evengrad.optimizers.base import Lists, Optimizer

if TYPE_CHECKING:
    from evengrad._core import F64


class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2, w -= rate g / sqrt(v + epsilon).

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.001.
    rho : float in [0, 1)
        Default 0.9.
    momentum : float in [0, 1]
        Default 0; else m = momentum m + rate g / sqrt(v + epsilon), w -= m.
    epsilon : float in [1.2e-38, 1e38]
        Default 1e-7, inside the root, as in Keras.
    centered : bool
        Take the square of the moving mean of g from v.
    **kwargs
        Of `Optimizer`, as clipnorm or weight_decay.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Hinton 2012, Neural networks for machine learning, lecture 6

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.RMSprop(momentum=0.9)
    RMSprop(learning_rate=0.001, rho=0.9, momentum=0.9, epsilon=1e-07, centered=False)
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
        self.rho = self._check("rho", rho, high=1.0, open_high=True)
        self.momentum = self._check("momentum", momentum, high=1.0)
        self.epsilon = self._epsilon(epsilon)
        self.centered = _validation.check_flag(type(self).__name__, "centered", centered)

    @property
    def slot_names(self) -> tuple[tuple[str, ...], ...]:  # type: ignore[override]
        """Mean square, then momentum and mean, where wanted."""
        names = ["velocity"]
        names += ["momentum"] if self.momentum > 0.0 else []
        names += ["average_gradient"] if self.centered else []
        return tuple((name,) for name in names)

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        values, gradients, slots, norms, clip = lists
        momenta = slots[1] if self.momentum > 0.0 else None
        means = slots[-1] if self.centered else None
        program.rmsprop(
            values, gradients, slots[0], momenta, means, norms, clip,
            self.rho, self.momentum, self.epsilon, decays,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        names = ("rho", "momentum", "epsilon", "centered")
        return super().get_config() | {name: getattr(self, name) for name in names}
