"""ModelCheckpoint."""

from __future__ import annotations

import os
import warnings
from typing import Any, ClassVar

import numpy as np

from evengrad import _validation
from evengrad.callbacks.base import Logs, seldom
from evengrad.callbacks.monitor import EverySoOften, Monitor, check_frequency, check_verbose

_SUFFIXES = {False: (".evengrad",), True: (".npz", ".safetensors")}  # by save_weights_only
_OF_KERAS = (".weights.h5", ".keras", ".hdf5", ".h5")


class _Number(float):
    """Stands for one number of the logs, or several, before there are any."""

    def __getitem__(self, index: Any) -> _Number:
        return self


class _Anything:
    """Stands for what another callback may add to the logs."""

    def __format__(self, spec: str) -> str:
        return ""

    def __getattr__(self, name: str) -> _Anything:
        return self

    def __getitem__(self, index: Any) -> _Anything:
        return self


class _Expected(dict[str, Any]):
    """Fields of filepath as far as they are known before training."""

    def __missing__(self, name: str) -> _Anything:
        return _Anything()


def _checked_path(filepath: str | os.PathLike[str], weights_only: bool) -> str:
    path = os.fspath(filepath)
    suffixes = _SUFFIXES[weights_only]
    if not isinstance(path, str) or not path.endswith(suffixes):
        bare = str(path)
        for suffix in (*_OF_KERAS, *_SUFFIXES[not weights_only]):
            bare = bare.removesuffix(suffix)
        better = bare.removesuffix(".weights") + (".weights.npz" if weights_only else ".evengrad")
        raise ValueError(
            f"ModelCheckpoint: expected filepath to end in {' or '.join(suffixes)}, got "
            f"{path!r}; write filepath={better!r}"
        )
    return path


class ModelCheckpoint(EverySoOften, Monitor):
    """Save the model, or its weights, after epochs or batches.

    Parameters
    ----------
    filepath : str or path
        Ends in ".evengrad", with `save_weights_only` in ".npz" (such as ".weights.npz") or
        ".safetensors". Its fields in braces are filled in: {epoch}, counted from 1, {batch} where
        `save_freq` is a number, and what is in the logs, as in
        "{epoch:02d}-{val_loss:.2f}.evengrad". Folders that are not there are made.
    monitor : str, default "val_loss"
        Name in the logs of the number that says which is the best.
    verbose : int, default 0
        1: say what is saved.
    save_best_only : bool, default False
        Save only what is better than all so far.
    save_weights_only : bool, default False
        `model.save_weights` instead of `model.save`.
    mode : {"auto", "min", "max"}
        What is better. "auto": smaller for the loss, for metrics as they say themselves.
    save_freq : "epoch" or int, at least 1
        Save after each epoch, or after so many batches, which are counted on from epoch to epoch.
    initial_value_threshold : float, optional
        With `save_best_only`: save only what is better than this, too.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; before the first epoch if "auto" does not know what is
        better.
    ValueError
        Before the first epoch, if the fields of `filepath` cannot be filled in.
    KeyError
        When it is to save, if `filepath` has a field that is not in the logs.
    OSError
        When it is to save, if that cannot be done.

    Examples
    --------
    >>> import evengrad as keras
    >>> import os, tempfile
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save = keras.callbacks.ModelCheckpoint(os.path.join(folder, "epoch{epoch}.evengrad"))
    ...     history = model.fit([[1.0]], [[1.0]], epochs=2, verbose=0, callbacks=[save])
    ...     sorted(os.listdir(folder))
    ['epoch1.evengrad', 'epoch2.evengrad']
    """

    _kept: ClassVar[tuple[str, ...]] = ("best", "_seen", "_last_batch")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        who = "ModelCheckpoint"
        super().__init__(monitor, mode)
        if initial_value_threshold is not None:
            self.best = _validation.check_number(
                who, "initial_value_threshold", initial_value_threshold
            )
        self.verbose = check_verbose(who, verbose)
        self.save_best_only = _validation.check_flag(who, "save_best_only", save_best_only)
        self.save_weights_only = _validation.check_flag(who, "save_weights_only", save_weights_only)
        self.filepath = _checked_path(filepath, self.save_weights_only)
        self.save_freq = check_frequency(who, save_freq)
        self._epoch = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """See that filepath can be filled in, and that it is known what is better."""
        names = self.model.metrics_names
        known = dict.fromkeys([*names, *(f"val_{name}" for name in names)], _Number(1.0))
        self._filled(_Expected(known | {"epoch": 1, "batch": 1}))
        if self.save_best_only:
            self._rises()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin to count its batches."""
        self._epoch, self._last_batch = epoch, -1

    @seldom
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save, if it is time."""
        if self._is_time(batch):
            self._save(self._epoch, {"batch": batch + 1, **(logs or {})}, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if it is time."""
        if self.save_freq == "epoch":
            self._save(epoch, logs or {}, logs or {})

    def _save(self, epoch: int, fields: Logs, logs: Logs) -> None:
        path = self._filled({"epoch": epoch + 1, **fields})
        if not self._is_wanted(epoch, logs, path):
            return
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        if os.path.isdir(path):
            raise IsADirectoryError(
                f"ModelCheckpoint: expected filepath to be a file's, got {path!r}, a folder"
            )
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path, overwrite=True)
        self._say(epoch, f"finished saving model to {path}")

    def _say(self, epoch: int, text: str) -> None:
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: {text}", flush=True)

    def _filled(self, fields: Logs) -> str:
        try:
            return self.filepath.format_map(fields)
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: expected the fields of filepath={self.filepath!r} to be "
                f"{', '.join(fields)}, got {error}"
            ) from None
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"ModelCheckpoint: expected filepath to have fields such as {{epoch:02d}} and "
                f"{{loss:.2f}}, got {self.filepath!r}: {error}; write {{{{ and }}}} for braces"
            ) from None

    def _is_wanted(self, epoch: int, logs: Logs, path: str) -> bool:
        if not self.save_best_only:
            self._say(epoch, f"saving model to {path}")
            return True
        current: Any = logs.get(self.monitor)
        if current is None or np.ndim(current):
            warnings.warn(
                f"ModelCheckpoint: expected one number as {self.monitor!r} in the logs, got "
                f"{', '.join(logs) if current is None else current}; it saves in any case",
                stacklevel=2,
            )
            return True
        before = "None" if self.best is None else f"{self.best:.5f}"
        if not self._improved(current, self.best):
            self._say(epoch, f"{self.monitor} did not improve from {before}")
            return False
        self._say(
            epoch,
            f"{self.monitor} improved from {before} to {current:.5f}, saving model to {path}",
        )
        self.best = current
        return True
