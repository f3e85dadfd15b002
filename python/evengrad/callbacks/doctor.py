"""Doctor: watches training, warns of what makes it sick, and may treat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _validation
from evengrad.callbacks.base import Callback, Logs
from evengrad.callbacks.monitor import check_verbose
from evengrad.errors import warn

if TYPE_CHECKING:
    from evengrad.doctor.bedside import Bedside
    from evengrad.doctor.verdicts import Verdict


class Doctor(Callback):
    """Watch what training is like from within, warn once of each disease, and treat it if wanted.

    Parameters
    ----------
    cure : bool, default False
        Whether to treat. Copies of the model train on for some epochs, each with one small change
        that can be made in its place: another learning rate, clipping, kernels drawn anew at the
        right gain, exact statistics of batch normalizations. The change that is better on rows
        that the copies did not train on, by more than luck, is made. Where the model does not keep
        what it promised, all is put back. Not for data that an object hands out in batches.
    every : int, at least 1, default 1
        Look after so many epochs.
    patience : int, at least 1, default 3
        For so many epochs the copies train on, and the model after a change until it is judged.
    validation_data : (x, y) or (x, y, sample_weight), optional
        Rows to judge by. Default: a fifth of the rows, drawn; the copies do not train on them.
    verbose : int, default 1
        1: say what was changed and put back. Warnings are given in any case.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

    Attributes
    ----------
    verdicts : list of Verdict
        What was found, each disease once.
    edits : list of Edit
        What was changed, and kept.

    Notes
    -----
    Whole networks are treated by `model.cure`, after training.

    Examples
    --------
    >>> import numpy as np
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> doctor = keras.callbacks.Doctor()
    >>> history = model.fit([[1.0], [2.0]], [1.0, 2.0], epochs=3, verbose=0, callbacks=[doctor])
    >>> doctor.verdicts
    []
    """

    def __init__(
        self,
        cure: bool = False,
        every: int = 1,
        patience: int = 3,
        validation_data: tuple[Any, ...] | None = None,
        verbose: int = 1,
    ) -> None:
        self.cure = _validation.check_flag("Doctor", "cure", cure)
        self.every = _validation.check_count("Doctor", "every", every)
        self.patience = _validation.check_count("Doctor", "patience", patience)
        self.verbose = check_verbose("Doctor", verbose)
        if validation_data is not None and not isinstance(validation_data, tuple | list):
            raise TypeError(
                "Doctor: expected validation_data (x, y) or (x, y, sample_weight), got "
                f"{type(validation_data).__name__}"
            )
        self.validation_data = validation_data
        self._begin()

    def _begin(self) -> None:
        self.verdicts: list[Verdict] = []
        self.edits: list[Any] = []
        self._bedside: Bedside | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the last training."""
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look, if it is time; judge what was changed before."""
        if self._bedside is not None and self._bedside.is_waiting:
            self._tell(self._bedside.judge())
            self.edits = self._bedside.kept
        if (epoch + 1) % self.every:
            return
        new = [v for v in self._found() if v.disease not in {w.disease for w in self.verdicts}]
        self.verdicts += new
        for verdict in new:
            layers = f" in {', '.join(verdict.layers)}" if verdict.layers else ""
            warn(f"Doctor, epoch {epoch + 1}: {verdict.disease}{layers}. {verdict.cause}")
        if new and self.cure:
            self._treat(new)

    def _found(self) -> list[Verdict]:
        from evengrad.doctor import bedside

        return bedside.verdicts_of(self.model)

    def _treat(self, verdicts: list[Verdict]) -> None:
        from evengrad.doctor.bedside import Bedside

        if self._bedside is None:
            self._bedside = Bedside(self.model, self.validation_data, self.patience)
        if not self._bedside.is_waiting:
            self._tell(self._bedside.treat(verdicts))
            self.edits = self._bedside.kept

    def _tell(self, text: str) -> None:
        if text and self.verbose:
            print(f"Doctor: {text}", flush=True)
