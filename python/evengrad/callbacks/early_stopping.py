"""EarlyStopping."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation
from evengrad.callbacks.base import Logs
from evengrad.callbacks.monitor import Monitor, check_verbose


class EarlyStopping(Monitor):
    """Stop training when a number of the logs has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Its name in the logs.
    min_delta : float, default 0
        An improvement is a change of more than its absolute value.
    patience : int, at least 0, default 0
        Stop after so many epochs without improvement.
    verbose : int, default 0
        1: say so.
    mode : {"auto", "min", "max"}
        What is better. "auto": smaller for the loss, for metrics as they say themselves.
    baseline : float, optional
        Only what is better than this, too, starts the patience again.
    restore_best_weights : bool, default False
        Whether the model ends with the weights and statistics of its best epoch.
    start_from_epoch : int, at least 0, default 0
        Epochs before it are not looked at.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; before the first epoch if "auto" does not know what is
        better.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile(keras.optimizers.SGD(0.0), "mse")
    >>> stop = keras.callbacks.EarlyStopping("loss", patience=3)
    >>> len(model.fit([[1.0]], [[2.0]], epochs=10, verbose=0, callbacks=[stop]).epoch)
    4
    """

    _kept: ClassVar[tuple[str, ...]] = (
        "wait", "stopped_epoch", "best", "best_epoch", "best_weights", "_statistics",
    )  # fmt: skip

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        who = "EarlyStopping"
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = _validation.check_count(who, "patience", patience, 0)
        self.verbose = check_verbose(who, verbose)
        self.baseline = baseline
        if baseline is not None:
            self.baseline = _validation.check_number(who, "baseline", baseline)
        self.restore_best_weights = _validation.check_flag(
            who, "restore_best_weights", restore_best_weights
        )
        self.start_from_epoch = _validation.check_count(
            who, "start_from_epoch", start_from_epoch, 0
        )
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best: Any = None
        self.best_epoch = 0
        self.best_weights: list[NDArray[np.float32]] | None = None
        self._statistics: list[NDArray[Any]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the last training."""
        self._reset()
        self._rises()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, and stop if it is time."""
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep_weights(epoch)
        self.wait += 1
        if self._improved(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self._keep_weights(epoch)
            if self.baseline is None or self._improved(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep_weights(self, epoch: int) -> None:
        self.best_epoch = epoch
        self.best_weights = self.model.get_weights()
        self._statistics = [np.array(array) for array in self._wide()]

    def _wide(self) -> list[NDArray[Any]]:
        """Live arrays that get_weights rounds or leaves out: moving statistics, their counts."""
        return [array for array in self.model.live_arrays if array.dtype != np.float32]

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the weights, if wanted."""
        if self.stopped_epoch > 0 and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping", flush=True)
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}.",
                    flush=True,
                )
            self.model.set_weights(self.best_weights)
            for array, best in zip(self._wide(), self._statistics, strict=True):
                array[...] = best

    def get_monitor_value(self, logs: Logs | None) -> Any:
        """Return the number in the logs; None, and a warning, where it is not there."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"EarlyStopping: expected {self.monitor!r} in the logs, got "
                f"{', '.join(logs or ()) or 'none'}; it does nothing",
                stacklevel=2,
            )
        return value
