"""Adam with Nesterov momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad._program import Program
from evengrad.optimizers._rates import Rate
from evengrad.optimizers.base import Lists, Optimizer

if TYPE_CHECKING:
    from evengrad._core import F64


class Nadam(Optimizer):
    """m, v as Adam's; w -= rate n / (sqrt(v / (1 - b2^t)) + epsilon) at the t-th update.

    With n = u' m / (1 - U u') + (1 - u) g / (1 - U), where u = b1 (1 - 0.96^t / 2), u' is that of
    t + 1 and U the product of u for all updates so far.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.001.
    beta_1, beta_2 : float in [0, 1)
        Defaults 0.9 and 0.999.
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
    .. [1] Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.Nadam(0.01)
    Nadam(learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-07)
    """

    slot_names = (("momentum", "velocity"),)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.beta_1 = self._check("beta_1", beta_1, high=1.0, open_high=True)
        self.beta_2 = self._check("beta_2", beta_2, high=1.0, open_high=True)
        self.epsilon = self._epsilon(epsilon)

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        program.nadam(*lists, self.beta_1, self.beta_2, self.epsilon, decays)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        names = ("beta_1", "beta_2", "epsilon")
        return super().get_config() | {name: getattr(self, name) for name in names}
