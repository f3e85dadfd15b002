"""Arguments that fit, evaluate and predict share, checked; and the form of what they return."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from evengrad import _validation

if TYPE_CHECKING:
    from evengrad.callbacks.base import Logs

ROWS = 32  # of a batch, as in Keras
PREDICTION_ROWS = 256  # where nothing depends on it


def check_counts(who: str, **given: int | None) -> None:
    """Refuse what is no positive integer; None passes."""
    for name, value in given.items():
        if value is not None:
            _validation.check_count(who, name, value)


def batch_rows(who: str, batch_size: int | None) -> int:
    """Samples at a time where no result depends on it."""
    check_counts(who, batch_size=batch_size)
    return batch_size or PREDICTION_ROWS


def default_rows(rows: int, steps: int | None, default: int = ROWS) -> int:
    """Samples at a time where no number is given: all rows in so many steps, as in Keras."""
    return default if steps is None else math.ceil(rows / steps)


def epochs_of(initial_epoch: int, epochs: int) -> range:
    """Numbers of the epochs to come."""
    first = _validation.check_count("fit", "initial_epoch", initial_epoch, 0)
    return range(first, _validation.check_count("fit", "epochs", epochs, 0))


def schedule_of(validation_freq: int | Sequence[int]) -> Callable[[int], bool]:
    """Whether to validate after so many epochs."""
    if isinstance(validation_freq, list | tuple):
        for number in validation_freq:
            _validation.check_count("fit", "each of validation_freq", number)
        return lambda done: done in validation_freq
    every = _validation.check_count("fit", "validation_freq", validation_freq)
    return lambda done: done % every == 0


def verbosity(who: str, verbose: str | int) -> bool:
    """Whether to show anything."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"{who}: expected verbose 'auto', 0, 1 or 2, got {verbose!r}")
    return verbose != 0


def results(logs: Logs, return_dict: bool) -> Any:
    """Return the values by name, or as a list, or the only one."""
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
