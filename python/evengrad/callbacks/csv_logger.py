"""CSVLogger."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from evengrad import _validation
from evengrad.callbacks.base import Callback, Logs


def _cell(value: Any) -> Any:
    """What is written for a value: several numbers as one quoted list."""
    if isinstance(value, str) or np.ndim(value) == 0 or not isinstance(value, Iterable):
        return value
    return f'"[{", ".join(map(str, value))}]"'


class CSVLogger(Callback):
    """Write the logs of each epoch as a line of a CSV file.

    Columns are "epoch" and the names in the logs of the first epoch, sorted; where none of them is
    of validation, those with val_ follow, "NA" where there is no value.

    Parameters
    ----------
    filename : str or path
    separator : str, default ","
        One character between the columns.
    append : bool, default False
        Whether to add to a file that is there; the default overwrites it.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Examples
    --------
    >>> import evengrad as keras
    >>> import os, tempfile
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = keras.callbacks.CSVLogger(os.path.join(folder, "log.csv"), separator=";")
    ...     history = model.fit([[1.0]], [[1.0]], epochs=2, verbose=0, callbacks=[log])
    ...     with open(log.filename) as file:
    ...         print(file.readline())
    epoch;loss;val_loss
    <BLANKLINE>
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
            raise ValueError(
                "CSVLogger: expected separator to be a character, no quote nor end of line, got "
                f"{separator!r}"
            )
        self.filename = os.fspath(filename)
        self.sep = separator
        self.append = _validation.check_flag("CSVLogger", "append", append)
        self._file: Any = None
        self._writer: csv.DictWriter[str] | None = None
        self._header = True

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file."""
        self._release()
        self._header = not (
            self.append and os.path.exists(self.filename) and os.path.getsize(self.filename)
        )
        self._file = open(  # noqa: SIM115  (until training ends)
            self.filename, "a" if self.append else "w", newline="", encoding="utf-8"
        )

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a line."""
        logs = logs or {}
        if self._writer is None:
            keys = sorted(logs)
            if not any(key.startswith("val_") for key in keys):
                keys += [f"val_{key}" for key in keys]
            self._writer = csv.DictWriter(self._file, ["epoch", *keys], delimiter=self.sep)
            if self._header:
                self._writer.writeheader()
        names = self._writer.fieldnames
        row = {name: _cell(logs.get(name, "NA")) for name in names}
        self._writer.writerow(row | {"epoch": epoch})
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._writer = None
