"""Callbacks: what `fit` calls at the start and the end of training, epochs and batches."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from evengrad._trainer import Trainer

__all__ = ["Callback", "History", "ProgbarLogger"]

Logs = Mapping[str, Any]  # numbers; arrays where a metric has several


class Callback:
    """Base of the callbacks: override what you need.

    Attributes
    ----------
    model : Sequential
        The model in training. Setting `model.stop_training = True` ends it.
    params : dict
        "verbose", "epochs", "steps".

    Examples
    --------
    >>> import evengrad as keras
    >>> class Patience(keras.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.model.stop_training = epoch == 1
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> model.fit([[1.0]], [[1.0]], epochs=9, verbose=0, callbacks=[Patience()]).epoch
    [0, 1]
    """

    model: Trainer
    params: dict[str, Any]

    def set_model(self, model: Trainer) -> None:
        """Called first."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called second."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last, also when training was stopped."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After it; logs: loss, metrics and, with validation, val_ of each."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch. Overriding a batch hook makes `fit` return to Python each step."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch; logs: means of the epoch so far."""


class History(Callback):
    """What `fit` returns.

    Attributes
    ----------
    history : dict of list of float (of array where a metric has several numbers)
        Loss and metrics by epoch.
    epoch : list of int
        Their epochs, counted from 0.
    health : dict of list of float
        What gradients were like, by epoch: "gradient_norm", the mean over the updates of the norm
        of all gradients before clipping; "clip_rate", the share of updates whose gradients clipping
        changed, 0 without clipping; "skipped_steps", how many steps were left out (see `compile`).

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse", metrics=["mae"])
    >>> history = model.fit([[1.0]], [[1.0]], epochs=2, verbose=0)
    >>> sorted(history.history), sorted(history.health)
    (['loss', 'mae'], ['clip_rate', 'gradient_norm', 'skipped_steps'])
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.health: dict[str, list[float]] = {}

    def on_epoch_health(self, health: Mapping[str, float]) -> None:
        """Append; called before on_epoch_end."""
        for name, value in health.items():
            self.health.setdefault(name, []).append(value)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


def _number(value: Any) -> str:
    return " ".join(f"{number:.4g}" for number in np.ravel(value))


def text_of(logs: Logs) -> str:
    """Names and numbers on one line."""
    return " - ".join(f"{name}: {_number(value)}" for name, value in logs.items())


class ProgbarLogger(Callback):
    """Progress: a tqdm bar on a terminal where tqdm is installed, else one line an epoch.

    Parameters
    ----------
    bar : bool
        False: always one line an epoch.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> progress = keras.callbacks.ProgbarLogger(bar=False)
    >>> history = model.fit([[1.0]], [[1.0]], verbose=0, callbacks=progress)  # doctest: +ELLIPSIS
    Epoch 1/1 - ...s - loss: ...
    """

    def __init__(self, bar: bool = True) -> None:
        self._tqdm: Any = None
        if bar and sys.stderr.isatty():
            try:
                from tqdm import tqdm

                self._tqdm = tqdm
            except ImportError:
                pass
        self._bar: Any = None
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock or the bar."""
        self._start = time.perf_counter()
        if self._tqdm:
            label = f"Epoch {epoch + 1}/{self.params['epochs']}"
            self._bar = self._tqdm(total=self.params["steps"], desc=label, unit="step")

    def on_progress(self, steps: int, logs: Logs) -> None:
        """After some steps, a few times a second."""
        if self._bar is not None:
            self._bar.set_postfix_str(text_of(logs), refresh=False)
            self._bar.update(steps - self._bar.n)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Print or close."""
        if self._bar is not None:
            self._bar.set_postfix_str(text_of(logs or {}), refresh=True)
            self.close()
            return
        seconds = time.perf_counter() - self._start
        label = f"Epoch {epoch + 1}/{self.params['epochs']}"
        print(f"{label} - {seconds:.1f}s - {text_of(logs or {})}", flush=True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Leave no bar open."""
        self.close()

    def close(self) -> None:
        """Close the bar, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """Return one callback or several as a list."""
    if callbacks is None:
        return []
    several = [callbacks] if isinstance(callbacks, Callback) else callbacks
    if isinstance(several, Sequence) and all(isinstance(c, Callback) for c in several):
        return list(several)
    raise TypeError(f"callbacks: expected Callback objects, got {callbacks!r}")


class CallbackList:
    """Calls the same hook of several callbacks, in order."""

    def __init__(
        self, callbacks: Sequence[Callback], model: Trainer, params: dict[str, Any]
    ) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

    @property
    def each_batch(self) -> bool:
        """Whether any of them overrides a batch hook."""
        hooks = ("on_train_batch_begin", "on_train_batch_end")
        return any(
            getattr(type(c), hook) is not getattr(Callback, hook)
            for c in self.callbacks
            for hook in hooks
        )

    def call(self, hook: str, *args: Any) -> None:
        """Call the hook where a callback has it."""
        for callback in self.callbacks:
            function = getattr(callback, hook, None)
            if function is not None:
                function(*args)
