"""Adam, with coupled or decoupled weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad._program import Program
from evengrad.optimizers._rates import Rate
from evengrad.optimizers.base import Lists, Optimizer

if TYPE_CHECKING:
    from evengrad._core import F64


class Adam(Optimizer):
    """m += (1 - b1)(g - m), v += (1 - b2)(g^2 - v), w -= rate' m / (sqrt(v) + epsilon).

    With rate' = rate sqrt(1 - b2^t) / (1 - b1^t) at the t-th update.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.001.
    beta_1, beta_2 : float in [0, 1)
        Defaults 0.9 and 0.999.
    epsilon : float in [1.2e-38, 1e38]
        Default 1e-7, outside the bias correction, as in Keras.
    amsgrad : bool
        Divide by the largest v so far (arXiv:1904.09237).
    **kwargs
        Of `Optimizer`, as clipnorm or weight_decay.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Kingma, Ba 2014, arXiv:1412.6980

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.Adam(0.01)
    Adam(learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-07, amsgrad=False)
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
        self.beta_1 = self._check("beta_1", beta_1, high=1.0, open_high=True)
        self.beta_2 = self._check("beta_2", beta_2, high=1.0, open_high=True)
        self.epsilon = self._epsilon(epsilon)
        self.amsgrad = _validation.check_flag(type(self).__name__, "amsgrad", amsgrad)

    @property
    def slot_names(self) -> tuple[tuple[str, ...], ...]:  # type: ignore[override]
        """First and second moments, and the largest second one for AMSGrad."""
        return (("momentum", "velocity"), *((("velocity_hat",),) if self.amsgrad else ()))

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        program.adam(*lists, self.beta_1, self.beta_2, self.epsilon, self.amsgrad, decays)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        names = ("beta_1", "beta_2", "epsilon", "amsgrad")
        return super().get_config() | {name: getattr(self, name) for name in names}


class AdamW(Adam):
    """Adam with decoupled weight decay: w -= rate weight_decay w before each update.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        Default 0.001.
    weight_decay : float, at least 0
        Default 0.004.
    beta_1, beta_2, epsilon, amsgrad
        See `Adam`.
    **kwargs
        Of `Optimizer`, as clipnorm or weight_decay.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Loshchilov, Hutter 2019, arXiv:1711.05101

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizer = optimizers.AdamW(0.01, weight_decay=0.1)
    >>> optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError(f"{type(self).__name__}: expected weight_decay, got None; use Adam")
        kwargs["weight_decay"] = weight_decay
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **kwargs)
