"""Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad._program import Program
from evengrad.optimizers.base import Optimizer, Rate

if TYPE_CHECKING:
    from evengrad._core import F32, F64


class Adam(Optimizer):
    """m += (1 - b1)(g - m), v += (1 - b2)(g^2 - v), w -= rate' m / (sqrt(v) + epsilon).

    With rate' = rate sqrt(1 - b2^t) / (1 - b1^t) at the t-th update.

    Parameters
    ----------
    learning_rate : float or callable
        Default 0.001.
    beta_1, beta_2 : float in [0, 1)
        Defaults 0.9 and 0.999.
    epsilon : float, above 0
        Default 1e-7, outside the bias correction, as in Keras.
    amsgrad : bool
        Divide by the largest v so far (arXiv:1904.09237).
    **kwargs
        Of `Optimizer`: name, clipnorm, clipvalue, global_clipnorm.

    References
    ----------
    .. [1] Kingma, Ba 2014, arXiv:1412.6980
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        check = _validation.check_number
        self.beta_1 = check("Adam", "beta_1", beta_1, 0.0, 1.0, open_high=True)
        self.beta_2 = check("Adam", "beta_2", beta_2, 0.0, 1.0, open_high=True)
        self.epsilon = check("Adam", "epsilon", epsilon, 0.0, open_low=True)
        self.amsgrad = _validation.check_flag("Adam", "amsgrad", amsgrad)

    @property
    def slot_count(self) -> int:  # type: ignore[override]
        """First and second moments, and the largest second one for AMSGrad."""
        return 3 if self.amsgrad else 2

    def record_update(
        self,
        program: Program,
        values: list[F32],
        gradients: list[F32],
        slots: list[list[F32]],
        norms: F64,
    ) -> None:
        """Record the kernel."""
        program.adam(
            values, gradients, slots, norms, self.clip[0],
            self.beta_1, self.beta_2, self.epsilon, self.amsgrad,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        names = ("beta_1", "beta_2", "epsilon", "amsgrad")
        return super().get_config() | {name: getattr(self, name) for name in names}
