"""What a step has changed, put back where Python fails behind the update."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad._program import Program
    from evengrad.variable import Variable


class Undo:
    """Keeps what an update changes, for the case that Python fails behind it.

    Parameters
    ----------
    arrays : sequence of ndarray
        Variables and the optimizer's state.
    """

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        self._arrays = arrays
        self._before: list[NDArray[Any]] = []

    def record(self, program: Program) -> None:
        """Record that they are kept."""
        program.python(self._keep)

    def _keep(self, rows: int) -> None:
        del rows
        if not self._before:
            self._before = [np.empty_like(array) for array in self._arrays]
        for array, before in zip(self._arrays, self._before, strict=True):
            before[...] = array

    @contextlib.contextmanager
    def on_error(self) -> Iterator[None]:
        """Put them back where there is an exception."""
        try:
            yield
        except BaseException:
            for array, before in zip(self._arrays, self._before, strict=True):
                array[...] = before
            raise


def check_finite(who: str, variable: Variable) -> None:
    """Raise where an update in Python has made a variable not finite."""
    fine = np.isfinite(variable.value)
    if not fine.all():
        columns = fine.reshape(-1, fine.shape[-1] if fine.ndim else 1).all(axis=0)
        raise NonFiniteError(
            f"{who}: expected it to leave {variable.path} finite; nothing has been updated",
            epoch=0,
            step=0,
            tensor=variable.path,
            layer="/".join(variable.path.split("/")[-2:-1]) or None,
            units=np.flatnonzero(~columns).tolist(),
            cause=f"{who} made it so, of finite numbers",
        )
