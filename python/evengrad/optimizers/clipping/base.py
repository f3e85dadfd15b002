"""What all ways of clipping share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad._family import Configured
from evengrad._program import Program

if TYPE_CHECKING:
    from evengrad._core import F64


class Clipping(Configured):
    """Base class: no clipping.

    Attributes
    ----------
    kind : str
        What the kernel of an update does, see `_core.Program.clip`.

    Examples
    --------
    >>> from evengrad.optimizers import clipping
    >>> clipping.Clipping().threshold
    inf
    """

    kind = "none"

    @property
    def threshold(self) -> float:
        """The number that goes with `kind`."""
        return float("inf")

    def record(self, program: Program, health: F64 | None = None) -> F64:
        """Record norms and checks of program.gradients; return what the update is to be given.

        Parameters
        ----------
        program : Program
            With all gradients in it.
        health : array (3,), optional
            Receives sums: norms of all gradients before clipping, updates for which clipping
            changed any, updates.
        """
        gradients = list(program.gradients.values())
        norms = np.zeros(len(gradients))
        program.gradient_norms(gradients, norms, self.kind, health)
        return norms

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what it remembers, by name."""
        return {}

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over what `get_state` returned.

        Raises
        ------
        ValueError
            If names, shapes or numbers are not those of a state; nothing is changed then.
        """
        self._check_names(state)

    def _check_names(self, state: Mapping[str, ArrayLike]) -> None:
        want = set(self.get_state())
        if set(state) != want:
            raise ValueError(
                f"{type(self).__name__}: expected a state of {', '.join(sorted(want)) or 'nothing'}"
                f", got {', '.join(map(str, state)) or 'nothing'}"
            )

    def _number(self, name: str, value: float, low: float, high: float, **ends: bool) -> float:
        return _validation.check_number(type(self).__name__, name, value, low, high, **ends)
