"""BackupAndRestore."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from evengrad import _validation
from evengrad._position import Position, position_after, position_of
from evengrad.callbacks import _backup_file
from evengrad.callbacks.base import Callback, Logs, seldom
from evengrad.callbacks.monitor import EverySoOften, check_frequency
from evengrad.errors import ModelFileError


class BackupAndRestore(EverySoOften):
    """Let a run that was interrupted go on where it was, to the bit.

    While `fit` runs, its state is written to `backup_dir`. The same script, started again, takes it
    up there: the run as a whole equals one that was never interrupted.

    Parameters
    ----------
    backup_dir : str or path
        A folder for nothing else; it is made.
    save_freq : "epoch" or int, at least 1
        Write after each epoch, or after so many batches, which are counted on from epoch to epoch.
    double_checkpoint : bool, default False
        Keep the state before the last one, too, which is taken where the last cannot be read.
    delete_checkpoint : bool, default True
        Whether to remove the files when training has ended.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; when training begins, if the backup is of a run with
        other data, batches or metrics and was made in the middle of an epoch.
    ModelFileError
        When training begins, if a backup is damaged or of another model; nothing is changed then.
    OSError
        If the files cannot be written.

    Notes
    -----
    Kept are the weights, moving statistics, what is trainable, the optimizer's state and learning
    rate, the random draws, the epoch and its steps done, the means so far, and what EarlyStopping,
    ModelCheckpoint, ReduceLROnPlateau, SwapEMAWeights and TensorBoard remember. Not kept are what
    callbacks and layers of your own remember, and the history of the epochs before: the `History`
    is that of the process. `CSVLogger` goes on in its file with `append=True`. Generators and data
    sets cannot be taken up in the middle: their epoch begins again, with what was learned in it.

    It is called after all other callbacks, so that what they do at the end of an epoch is part of
    the state. After an error or an interrupt on_train_end is not called and the files stay. A file
    takes the place of the one before as a whole: whenever the process ends, one of them is there.

    Examples
    --------
    >>> import evengrad as keras
    >>> import tempfile
    >>> def train(fail_in):
    ...     keras.utils.set_random_seed(0)
    ...     model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    ...     model.compile("adam", "mse")
    ...     def fail(epoch, logs):
    ...         if epoch == fail_in:
    ...             raise KeyboardInterrupt
    ...     stop = keras.callbacks.LambdaCallback(on_epoch_begin=fail)
    ...     backup = keras.callbacks.BackupAndRestore(folder)
    ...     return model.fit([[1.0]], [[1.0]], epochs=9, verbose=0, callbacks=[backup, stop])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         history = train(fail_in=6)
    ...     except KeyboardInterrupt:
    ...         history = train(fail_in=None)
    >>> history.epoch
    [6, 7, 8]
    """

    _last: ClassVar[bool] = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        who = "BackupAndRestore"
        if not isinstance(backup_dir, str | os.PathLike) or not os.fspath(backup_dir):
            raise ValueError(f"{who}: expected backup_dir to be a folder, got {backup_dir!r}")
        self.backup_dir = backup_dir
        self.save_freq = check_frequency(who, save_freq)
        self.double_checkpoint = _validation.check_flag(who, "double_checkpoint", double_checkpoint)
        self.delete_checkpoint = _validation.check_flag(who, "delete_checkpoint", delete_checkpoint)
        self._latest = Path(backup_dir, "latest.backup")
        self._previous = Path(backup_dir, "previous.backup")
        self._others: Sequence[Callback] = ()
        self._in_middle = False

    def _meet(self, others: Sequence[Callback]) -> None:
        self._others = [callback for callback in others if callback is not self]

    # -- restoring

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take up the state of a run that was interrupted."""
        self._seen, self._last_batch, self._in_middle = 0, -1, False
        paths = [path for path in (self._latest, self._previous) if path.exists()]
        while paths:
            path = paths.pop(0)
            try:
                self._restore(path)
            except (ModelFileError, OSError) as error:
                if not paths:
                    raise
                warnings.warn(f"BackupAndRestore: {error}; it takes {paths[0]}", stacklevel=2)
            else:
                return

    def _restore(self, path: Path) -> None:
        backup = _backup_file.restore(path, self.model)
        self._taken, position = path, backup.position
        self.model.position = position
        self._in_middle = position.step > 0 or position.batch > 0
        self._last_batch = position.step - 1
        for name, callback in _backup_file.named(self._others).items():
            for attribute, value in backup.callbacks.get(name, {}).items():
                if attribute in callback._kept:
                    setattr(callback, attribute, value)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Restore again where an epoch is taken up in its middle: it had begun before."""
        self._last_batch = -1
        if self._in_middle:
            self._restore(self._taken)
            self._in_middle = False

    # -- writing

    @seldom
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write, if it is time."""
        if self._is_time(batch):
            assert self.model.running is not None
            self._write(position_of(self.model.running), in_pass=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write, if it is time."""
        if self.save_freq == "epoch":
            assert self.model.running is not None
            position = position_after(self.model.running)
            self._write(position, in_pass=position.batch > 0)

    def _write(self, position: Position, *, in_pass: bool) -> None:
        draws, before = self.model.draws, self.model.unshuffled
        if in_pass and draws is not None and before is not None:
            draws = draws.at(before)  # so that the same order of rows is drawn again
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint and self._latest.exists():
            os.replace(self._latest, self._previous)
        callbacks = {
            name: {attribute: getattr(callback, attribute) for attribute in callback._kept}
            for name, callback in _backup_file.named(self._others).items()
            if callback._kept
        }
        backup = _backup_file.Backup(position, draws, callbacks)
        _backup_file.write(self._latest, self.model, backup)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the files, if wanted."""
        if self.delete_checkpoint:
            for path in (self._latest, self._previous):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # it holds something else
                os.rmdir(self.backup_dir)
