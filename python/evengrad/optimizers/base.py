"""What all optimizers share: learning rate, clipping, slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation
from evengrad._arena import tensor, vector
from evengrad._names import Versioned, snake_case
from evengrad._program import Program
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32, F64

Rate = float | Callable[[int], float]


class Optimizer(Versioned):
    """Base of the optimizers.

    Parameters
    ----------
    learning_rate : float or callable
        A number of at least 0, or a function of the number of updates done so far. May be set
        between epochs or batches: `model.optimizer.learning_rate = 0.01`.
    name : str, optional
        Default: the class name in snake case.
    clipnorm : float, above 0, optional
        Scales each variable's gradient g to g c / max(norm(g), c).
    clipvalue : float, above 0, optional
        Holds each element inside [-c, c].
    global_clipnorm : float, above 0, optional
        Scales all gradients together to g c / max(norm of all, c).

    Notes
    -----
    At most one of the three. Norms are summed in float64: exact for every finite gradient.
    """

    read_at_replay: ClassVar[frozenset[str]] = frozenset({"learning_rate", "iterations"})

    def __init__(
        self,
        learning_rate: Rate,
        *,
        name: str | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        self.name = name or snake_case(type(self).__name__)
        self._counter = np.zeros(1, np.int64)
        self.learning_rate = learning_rate
        self.clipnorm = self._threshold("clipnorm", clipnorm)
        self.clipvalue = self._threshold("clipvalue", clipvalue)
        self.global_clipnorm = self._threshold("global_clipnorm", global_clipnorm)
        given = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, n)]
        if len(given) > 1:
            raise ValueError(f"{type(self).__name__}: expected one of {' and '.join(given)}")
        self._slots: dict[Variable, list[F32]] = {}

    def _threshold(self, name: str, value: float | None) -> float | None:
        if value is None:
            return None
        who = type(self).__name__
        return _validation.check_number(who, name, value, 0.0, open_low=True)

    @property
    def iterations(self) -> int:
        """Number of updates done."""
        return int(self._counter[0])

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._counter[0] = _validation.check_count(type(self).__name__, "iterations", value, 0)

    @property
    def counter(self) -> NDArray[np.int64]:
        """The live count, which a replay advances."""
        return self._counter

    # -- learning rate

    @property
    def learning_rate(self) -> Any:
        """The number, or the schedule."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        if not callable(value):
            value = self._rate(type(self).__name__, "learning_rate", value)
        self._learning_rate: Rate = value

    def rates(self, first: int, steps: int) -> F64:
        """Learning rates of the updates first, first + 1, ..., counted from 0."""
        rate = self._learning_rate
        if not callable(rate):
            return np.full(steps, rate)
        who = f"{type(self).__name__}'s schedule"
        return np.array([self._rate(who, "its value", rate(first + i)) for i in range(steps)])

    @staticmethod
    def _rate(who: str, name: str, value: Any) -> float:
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        return _validation.check_number(who, name, value, 0.0, open_high=True)

    # -- clipping

    @property
    def clip(self) -> tuple[str, float]:
        """Kind of clipping, as the kernels name it, and its threshold."""
        if self.clipvalue is not None:
            return "value", self.clipvalue
        if self.clipnorm is not None:
            return "norm", self.clipnorm
        if self.global_clipnorm is not None:
            return "global_norm", self.global_clipnorm
        return "none", float("inf")

    # -- slots and recording

    slot_count = 0

    def slots(self, variables: Sequence[Variable]) -> list[list[F32]]:
        """State kept for each variable, as one list a slot; made of zeros when first asked for."""
        for variable in variables:
            have = self._slots.setdefault(variable, [])
            shape = variable.storage.shape
            while len(have) < self.slot_count:
                have.append(vector(*shape) if len(shape) == 1 else tensor(*shape))
        return [[self._slots[v][i] for v in variables] for i in range(self.slot_count)]

    def count_params(self) -> int:
        """Numbers of its state: slots, learning rate and count of updates; 0 before the first."""
        state = sum(v.size * len(slots) for v, slots in self._slots.items())
        return state + 2 if self.iterations or self._slots else 0

    def record(self, program: Program, norms: NDArray[np.float64]) -> None:
        """Record clipping and update of the variables in program.gradients."""
        variables = list(program.gradients)
        values = [v.storage for v in variables]
        gradients = list(program.gradients.values())
        self.record_update(program, values, gradients, self.slots(variables), norms)

    def record_update(
        self,
        program: Program,
        values: list[F32],
        gradients: list[F32],
        slots: list[list[F32]],
        norms: F64,
    ) -> None:
        """Record the kernel."""
        raise NotImplementedError(f"{type(self).__name__}.record_update")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        names = ("name", "learning_rate", "clipnorm", "clipvalue", "global_clipnorm")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """Make an optimizer from get_config."""
        return cls(**config)

    def __repr__(self) -> str:
        config = {k: v for k, v in self.get_config().items() if k != "name" and v is not None}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in config.items())})"
