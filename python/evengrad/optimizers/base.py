"""What all optimizers share: learning rate, weight decay, clipping, state, averages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation
from evengrad._program import Program
from evengrad._python_functions import record_constraint
from evengrad.optimizers import _python
from evengrad.optimizers._by_hand import ByHand
from evengrad.optimizers._rates import Rate
from evengrad.optimizers._state import ACCUMULATOR, AVERAGE
from evengrad.optimizers.clipping import ByGlobalNorm, ByNorm, ByValue, Clipping
from evengrad.optimizers.clipping import get as get_clipping
from evengrad.optimizers.clipping import serialize as serialize_clipping
from evengrad.optimizers.schedules import LearningRateSchedule, deserialize, serialize
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32, F64

# What keeps a quotient finite whatever the gradients: 0 in float32 would not, nor infinity.
_EPSILONS = float(np.finfo(np.float32).tiny), 1e38


class Lists(NamedTuple):
    """What the kernel of an update is given, one entry a variable in each list."""

    values: list[F32]
    gradients: list[F32]
    slots: list[list[F32]]
    norms: F64
    clip: str


class Optimizer(ByHand):
    """Base of the optimizers.

    A step averages the accumulated gradients, clips them, shrinks the variables by weight decay,
    updates them, moves their averages and applies constraints, in this order. An optimizer of your
    own, in Python with numpy, has `slot_names` for what it keeps beside each variable, and
    `update_step`; what it raises takes the step back.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        A number of at least 0, a schedule (see `evengrad.optimizers.schedules`), a function
        without arguments, or one of the number of steps done so far. A number may be set between
        epochs or batches: `model.optimizer.learning_rate = 0.01`.
    name : str, optional
        Default: the class name in snake case.
    weight_decay : float, at least 0, optional
        Decoupled: w -= learning_rate weight_decay w before each update.
    clipnorm : float, above 0, optional
        Scales each variable's gradient g to g c / max(norm(g), c).
    clipvalue : float, above 0, optional
        Holds each element inside [-c, c].
    global_clipnorm : float, above 0, optional
        Scales all gradients together to g c / max(norm of all, c).
    clipping : Clipping, optional
        Another way, see `evengrad.optimizers.clipping`.
    use_ema : bool, default False
        Keep a moving average of each variable: average = m average + (1 - m) w after each step.
        `fit` ends by making the variables their averages.
    ema_momentum : float in [0, 1], default 0.99
        m above; the first average is the variable itself.
    ema_overwrite_frequency : int, at least 1, optional
        Make the variables their averages at each so many updates, too.
    loss_scale_factor : None
        For Keras' sake: all of evengrad computes in float32, which needs none.
    gradient_accumulation_steps : int, at least 2, optional
        Update once in so many steps, with the mean of their gradients. What is not yet used stays
        for the next call of `fit`; batch normalization's statistics move at each step.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or more than one way to clip is given.

    Notes
    -----
    Norms are summed in float64: exact for every finite gradient. Of a step that meets NaN or
    infinity nothing remains, neither in variables nor in their averages or accumulated gradients.

    References
    ----------
    .. [1] Loshchilov, Hutter 2019, arXiv:1711.05101 (decoupled weight decay)
    .. [2] Polyak, Juditsky 1992, doi:10.1137/0330046 (averages)

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import optimizers
    >>> optimizers.get("adam")
    Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-07, amsgrad=False)
    >>> class Signs(optimizers.Optimizer):
    ...     slot_names = (("mean",),)
    ...
    ...     def update_step(self, gradient, variable, learning_rate):
    ...         mean = self.slot("mean", variable)
    ...         mean += 0.1 * (gradient - mean)
    ...         variable.value[...] -= learning_rate * np.sign(mean)
    >>> optimizer = Signs(learning_rate=0.01, clipnorm=1.0)
    """

    def __init__(
        self,
        learning_rate: Rate,
        *,
        name: str | None = None,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        clipping: str | Mapping[str, Any] | Clipping | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: None = None,
        gradient_accumulation_steps: int | None = None,
    ) -> None:
        who = type(self).__name__
        super().__init__(learning_rate, name)
        self.weight_decay = weight_decay
        if weight_decay is not None:
            self.weight_decay = self._check("weight_decay", weight_decay, open_high=True)
        self.clipnorm = self._threshold("clipnorm", clipnorm)
        self.clipvalue = self._threshold("clipvalue", clipvalue)
        self.global_clipnorm = self._threshold("global_clipnorm", global_clipnorm)
        self.clipping = get_clipping(clipping)
        names = ("clipnorm", "clipvalue", "global_clipnorm", "clipping")
        given = [n for n in names if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"{who}: expected one of {' and '.join(given)}")
        self.use_ema = _validation.check_flag(who, "use_ema", use_ema)
        self.ema_momentum = self._check("ema_momentum", ema_momentum, high=1.0)
        self.ema_overwrite_frequency = self._steps(
            "ema_overwrite_frequency", ema_overwrite_frequency, 1
        )
        if loss_scale_factor is not None:
            raise ValueError(
                f"{who}: expected loss_scale_factor to be None, got {loss_scale_factor!r}; all of "
                "evengrad computes in float32, which needs no scaling"
            )
        self.loss_scale_factor = None
        self.gradient_accumulation_steps = self._steps(
            "gradient_accumulation_steps", gradient_accumulation_steps, 2
        )
        self.excluded: tuple[frozenset[Variable], str] = (frozenset(), "")

    def _threshold(self, name: str, value: float | None) -> float | None:
        return None if value is None else self._check(name, value, open_low=True)

    def _check(self, name: str, value: float, *, high: float = np.inf, **ends: bool) -> float:
        return _validation.check_number(type(self).__name__, name, value, 0.0, high, **ends)

    def _epsilon(self, value: float) -> float:
        who, (low, high) = type(self).__name__, _EPSILONS
        return _validation.check_number(who, "epsilon", value, low, high)

    def _steps(self, name: str, value: int | None, least: int) -> int | None:
        if value is None:
            return None
        return _validation.check_count(type(self).__name__, name, value, least)

    # -- clipping and weight decay

    @property
    def clip(self) -> tuple[str, float]:
        """Kind of clipping, as the kernels name it, and its threshold."""
        rule = self._clipping_rule()
        return rule.kind, rule.threshold

    def _clipping_rule(self) -> Clipping:
        if self.clipvalue is not None:
            return ByValue(self.clipvalue)
        if self.clipnorm is not None:
            return ByNorm(self.clipnorm)
        if self.global_clipnorm is not None:
            return ByGlobalNorm(self.global_clipnorm)
        return self.clipping or Clipping()

    def exclude_from_weight_decay(
        self,
        var_list: Iterable[Variable] | None = None,
        var_names: Iterable[str] | None = None,
    ) -> None:
        """Leave variables out of weight decay; before `build` and the first step.

        Parameters
        ----------
        var_list : iterable of Variable, optional
            These.
        var_names : iterable of str, optional
            Those with one of these regular expressions in their name: ["bias", "gamma"].

        Raises
        ------
        ValueError, TypeError
            If the optimizer is built, or a name is no regular expression.
        """
        who = f"{type(self).__name__}.exclude_from_weight_decay"
        if self._built:
            raise ValueError(f"{who}: expected it to be called before the first step")
        if isinstance(var_names, str):
            raise TypeError(f"{who}: expected var_names to be a list, got {var_names!r}")
        pattern = "|".join(var_names or ())
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"{who}: expected regular expressions, got {pattern}: {error}"
            ) from None
        self.excluded = frozenset(var_list or ()), pattern

    def _decays(self, variables: Sequence[Variable]) -> F64 | None:
        if not self.weight_decay:
            return None
        those, pattern = self.excluded
        out = [v in those or bool(pattern and re.search(pattern, v.name)) for v in variables]
        return np.where(out, 0.0, self.weight_decay)

    # -- recording

    def _record_accumulation(self, program: Program) -> None:
        steps, variables = self.gradient_accumulation_steps, list(program.gradients)
        if steps:
            self.build(variables)
            sums = self._slot(ACCUMULATOR, variables)
            program.accumulate(list(program.gradients.values()), sums, steps)

    def record(self, program: Program, health: F64 | None = None) -> F64:
        """Record all that a step does with program.gradients and their variables.

        Returns the sums of squares of the gradients, in their order; `health` is as in
        `Clipping.record`.
        """
        self._record_accumulation(program)
        norms = self._clipping_rule().record(program, health)
        variables = list(program.gradients)
        values, gradients = [v.storage for v in variables], list(program.gradients.values())
        slots, decays = self.slots(variables), self._decays(variables)
        lists = Lists(values, gradients, slots, norms, self.clip[0])
        undo = _python.Undo([s for v in variables for s in self._changed(v)])
        if self.in_python or any(v.constraint and v.constraint.in_python for v in variables):
            undo.record(program)
        if self.gradient_accumulation_steps:
            program.carry(gradients, self._slot(ACCUMULATOR, variables))
        if self.in_python:
            _python.record_update(self, program, lists, decays, variables, undo)
        else:
            self.record_update(program, lists, decays)
        if self.use_ema:
            averages, every = self._slot(AVERAGE, variables), self.ema_overwrite_frequency
            program.average(values, averages, self.ema_momentum, every or 0)
        for variable in variables:
            if variable.constraint is None:
                continue
            if variable.constraint.in_python:
                record_constraint(variable.constraint, variable, program, undo)
            else:
                variable.constraint.record(program, variable.storage)
        return norms

    def _changed(self, variable: Variable) -> list[F32]:
        """What a step changes for a variable: itself and its state."""
        return [variable.storage, *(slot.storage for slot in self._slots[variable].values())]

    def record_update(self, program: Program, lists: Lists, decays: F64 | None) -> None:
        """Record the kernel."""
        raise NotImplementedError(f"{type(self).__name__}.record_update")

    @property
    def in_python(self) -> bool:
        """Whether `update_step` says what it does."""
        return type(self).update_step is not Optimizer.update_step

    def update_step(
        self, gradient: NDArray[np.float32], variable: Variable, learning_rate: float
    ) -> None:
        """Update a variable; for optimizers of your own, in Python.

        Parameters
        ----------
        gradient : ndarray
            In the variable's shape, read-only, clipped; weight decay is done.
        variable : Variable
            Write into `variable.value`.
        learning_rate : float
            Of this step, whose number is `self.iterations`, from 0.
        """
        raise NotImplementedError(
            f"{type(self).__name__}: write update_step(self, gradient, variable, learning_rate)"
        )

    # -- configuration

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        shared = [*inspect.signature(Optimizer.__init__).parameters][1:]
        rate: Any = self.learning_rate if isinstance(self._rate, Variable) else self._rate
        if isinstance(rate, LearningRateSchedule):
            rate = serialize(rate)
        config = {n: rate if n == "learning_rate" else getattr(self, n) for n in shared}
        if self.clipping is not None:  # a name that Keras does not know
            return config | {"clipping": serialize_clipping(self.clipping)}
        del config["clipping"]
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, type[Any]] | None = None
    ) -> Optimizer:
        """Make an optimizer from get_config."""
        rate = config.get("learning_rate")
        if isinstance(rate, Mapping):
            config = {**config, "learning_rate": deserialize(rate, custom_objects)}
        return cls(**config)

    def __repr__(self) -> str:
        shared = inspect.signature(Optimizer.__init__).parameters
        config = self.get_config()
        if not isinstance(self._rate, Variable):
            config["learning_rate"] = self._rate
        said = {
            k: v
            for k, v in config.items()
            if k != "name" and not (k in shared and v == shared[k].default)
        }
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in said.items())})"
