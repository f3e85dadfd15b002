"""What callbacks that watch one number of the logs have in common: which way is better."""

from __future__ import annotations

from typing import Any

import numpy as np

from evengrad import _validation
from evengrad.callbacks.base import UNLIMITED, Callback


def check_verbose(who: str, verbose: Any) -> int:
    """Return 0 for silence, or another number."""
    number = int(verbose) if isinstance(verbose, bool) else verbose
    return _validation.check_count(who, "verbose", number, 0)


def check_frequency(who: str, save_freq: Any, name: str = "save_freq") -> str | int:
    """Return "epoch", or the number of batches from one time to the next."""
    if isinstance(save_freq, str) and save_freq == "epoch":
        return save_freq
    if isinstance(save_freq, bool) or not isinstance(save_freq, int | np.integer) or save_freq < 1:
        raise ValueError(
            f'{who}: expected {name} to be "epoch" or a number of batches, got {save_freq!r}'
        )
    return int(save_freq)


class EverySoOften(Callback):
    """Base of the callbacks that save after epochs, or after batches, counted through epochs."""

    save_freq: str | int
    _seen = 0  # batches since the last time
    _last_batch = -1

    def _is_time(self, batch: int) -> bool:
        """Count up to this batch, which is done."""
        if self.save_freq == "epoch":
            return False
        self._seen += batch - self._last_batch
        self._last_batch = batch
        if self._batches_to_pass() > 0:
            return False
        self._seen = 0
        return True

    def _batches_to_pass(self) -> int:
        return UNLIMITED if isinstance(self.save_freq, str) else self.save_freq - self._seen


class Monitor(Callback):
    """Base of the callbacks that compare a number of the logs with the best so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        who = type(self).__name__
        if not isinstance(monitor, str):
            raise TypeError(f"{who}: expected monitor to be a name in the logs, got {monitor!r}")
        self.monitor = monitor
        self.mode = _validation.check_choice(who, "mode", mode, ("auto", "min", "max"))
        self.best: Any = None
        self.min_delta = abs(_validation.check_number(who, "min_delta", min_delta))

    def _rises(self) -> bool:
        """Whether larger is better."""
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return False
        names, metrics = self.model.metrics_names[1:], self.model.compiled_metrics
        for reported, metric in zip(names, metrics, strict=True):
            if name in (reported, metric.name) and metric._direction:
                return metric._direction == "up"
        raise ValueError(
            f"{type(self).__name__}: expected a metric of which it is known whether larger is "
            f"better, got monitor={self.monitor!r}; pass mode='max' or mode='min'"
        )

    def _improved(self, value: Any, reference: Any) -> bool:
        """Whether value is better than reference by min_delta, in float32, as metrics are."""
        if np.ndim(value):
            raise ValueError(
                f"{type(self).__name__}: expected {self.monitor!r} to be one number, got {value!r}"
            )
        if reference is None:
            return True
        with np.errstate(over="ignore"):
            if self._rises():
                return bool(np.float32(value - self.min_delta) > np.float32(reference))
            return bool(np.float32(value + self.min_delta) < np.float32(reference))
