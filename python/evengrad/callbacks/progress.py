"""ProgbarLogger: how far training has come."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from evengrad.callbacks.base import Callback, Logs, seldom


def _number(value: Any) -> str:
    return " ".join(f"{number:.4g}" for number in np.ravel(value))


def text_of(logs: Logs) -> str:
    """Names and numbers on one line."""
    return " - ".join(f"{name}: {_number(value)}" for name, value in logs.items())


class ProgbarLogger(Callback):
    """Progress: a tqdm bar on a terminal where tqdm is installed, else one line an epoch.

    `fit` and `evaluate` add it unless verbose is 0; with verbose=2 it is always one line.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> progress = keras.callbacks.ProgbarLogger()
    >>> history = model.fit([[1.0]], [[1.0]], verbose=2, callbacks=progress)  # doctest: +ELLIPSIS
    Epoch 1/1 - ...s - loss: ...
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._start = 0.0
        self._in_fit = False

    def _told(self, name: str, default: Any = None) -> Any:
        return (self.params or {}).get(name, default)

    def _begin(self, label: str) -> None:
        self._start = time.perf_counter()
        if self._told("verbose", 1) in ("auto", 1) and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=self._told("steps"), desc=label, unit="step")

    def _label(self, epoch: int) -> str:
        return f"Epoch {epoch + 1}/{self._told('epochs', 1)}"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Leave validation to the line of its epoch."""
        self._in_fit = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock or the bar."""
        self._begin(self._label(epoch))

    @seldom
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar."""
        self._move(batch, logs or {})

    def _move(self, batch: int, logs: Logs) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(text_of(logs), refresh=False)
            self._bar.update(batch + 1 - self._bar.n)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Print or close."""
        seconds = time.perf_counter() - self._start
        self._end(f"{self._label(epoch)} - {seconds:.1f}s - {text_of(logs or {})}", logs or {})

    def _end(self, line: str, logs: Logs) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(text_of(logs), refresh=True)
            self.close()
        elif self._told("verbose", 1):
            print(line, flush=True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Leave no bar open."""
        self._in_fit = False
        self.close()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Start a bar, outside `fit`."""
        if not self._in_fit:
            self._begin("Evaluation")

    @seldom
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move it."""
        if not self._in_fit:
            self._move(batch, logs or {})

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Print or close, outside `fit`."""
        if not self._in_fit:
            self._end(text_of(logs or {}), logs or {})

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Start a bar."""
        self._begin("Prediction")

    @seldom
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move it."""
        self._move(batch, {})

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the bar, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _release(self) -> None:
        self.close()
