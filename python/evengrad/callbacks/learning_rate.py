"""Callbacks that set the learning rate between epochs, and report it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from evengrad import _validation
from evengrad.callbacks.base import Callback, Logs
from evengrad.callbacks.monitor import Monitor, check_verbose
from evengrad.optimizers._rates import check_rate

if TYPE_CHECKING:
    from evengrad.models import Sequential


def _report(model: Sequential, logs: Logs | None) -> dict[str, Any]:
    """Add the learning rate to the logs; callbacks to come and History see it."""
    told = cast("dict[str, Any]", logs if logs is not None else {})
    told["learning_rate"] = model.optimizer.learning_rate
    return told


class ReduceLROnPlateau(Monitor):
    """Lower the learning rate when a number of the logs has stopped improving.

    learning_rate = max(factor learning_rate, min_lr)

    Parameters
    ----------
    monitor : str, default "val_loss"
        Its name in the logs.
    factor : float in [0, 1), default 0.1
        What the learning rate is multiplied by.
    patience : int, at least 0, default 10
        Do so after so many epochs without improvement.
    verbose : int, default 0
        1: say so.
    mode : {"auto", "min", "max"}
        What is better. "auto": smaller for the loss, for metrics as they say themselves.
    min_delta : float, default 1e-4
        An improvement is a change of more than its absolute value.
    cooldown : int, at least 0, default 0
        Epochs after that before patience begins again.
    min_lr : float, at least 0, default 0
        Lowest learning rate.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; before the first epoch if "auto" does not know what is
        better, or the optimizer's learning rate is a schedule.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile(keras.optimizers.SGD(0.5), "mse")
    >>> lower = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1)
    >>> data = {"x": [[0.0]], "y": [[1.0]], "validation_data": ([[1.0]], [[1e9]])}
    >>> model.fit(**data, epochs=3, verbose=0, callbacks=[lower]).history["learning_rate"]
    [0.5, 0.5, 0.25]
    """

    _kept: ClassVar[tuple[str, ...]] = ("wait", "cooldown_counter", "best")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        who = "ReduceLROnPlateau"
        super().__init__(monitor, mode, min_delta=min_delta)
        self.factor = _validation.check_number(who, "factor", factor, 0.0, 1.0, open_high=True)
        self.patience = _validation.check_count(who, "patience", patience, 0)
        self.verbose = check_verbose(who, verbose)
        self.cooldown = _validation.check_count(who, "cooldown", cooldown, 0)
        self.min_lr = _validation.check_number(who, "min_lr", min_lr, 0.0, open_high=True)
        self.cooldown_counter = 0
        self.wait = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the last training."""
        self.best = None
        self.cooldown_counter = 0
        self.wait = 0
        self._rises()
        self.model.optimizer.check_settable("ReduceLROnPlateau")

    def in_cooldown(self) -> bool:
        """Whether it waits before its patience begins again."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Report the learning rate in the logs, compare, and lower it if it is time."""
        logs = _report(self.model, logs)
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"ReduceLROnPlateau: expected {self.monitor!r} in the logs, got "
                f"{', '.join(logs)}; it does nothing",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._improved(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._lower(epoch)

    def _lower(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        if optimizer.learning_rate <= self.min_lr:
            return
        rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        optimizer.learning_rate = rate
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose:
            print(
                f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.",
                flush=True,
            )


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of each epoch.

    Parameters
    ----------
    schedule : callable
        schedule(epoch, learning_rate), or schedule(epoch), with epochs counted from 0: returns the
        new learning rate, at least 0.
    verbose : int, default 0
        1: say what it is.

    Raises
    ------
    ValueError, TypeError
        If schedule is no function, or does not return a learning rate; if the optimizer's is a
        schedule already.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile(keras.optimizers.SGD(0.5), "mse")
    >>> halve = keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
    >>> history = model.fit([[1.0]], [[1.0]], epochs=3, verbose=0, callbacks=[halve])
    >>> history.history["learning_rate"]
    [0.5, 0.25, 0.125]
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        who = "LearningRateScheduler"
        if not callable(schedule):
            raise TypeError(f"{who}: expected schedule to be a function, got {schedule!r}")
        self.schedule = schedule
        self.verbose = check_verbose(who, verbose)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set it."""
        optimizer = self.model.optimizer
        arguments = (epoch, optimizer.learning_rate)[: 2 if _takes_two(self.schedule) else 1]
        value = self.schedule(*arguments)
        who = "LearningRateScheduler's schedule"
        optimizer.learning_rate = check_rate(who, "what it returns", value)
        if self.verbose:
            print(
                f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {value}.",
                flush=True,
            )

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Report it in the logs."""
        _report(self.model, logs)


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # no signature to be had
        return True
    return True
