"""TerminateOnNaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evengrad import _validation
from evengrad.callbacks.base import Callback, Logs, seldom

if TYPE_CHECKING:
    from evengrad.errors import NonFiniteError


class TerminateOnNaN(Callback):
    """End training, without an error, at the first step that meets NaN or infinity.

    The step is left out as always (see `on_nonfinite` of `Sequential.compile`): the model is as
    before it. Its epoch ends with a loss of NaN, `fit` returns the history. With
    `on_nonfinite="skip"` training ends only where it would have raised.

    Parameters
    ----------
    raise_error : bool, default False
        Raise a RuntimeError instead; on_train_end of the callbacks is not called then.

    Attributes
    ----------
    error : NonFiniteError or None
        What was not finite, and where, once training has ended so.

    Raises
    ------
    TypeError
        If the argument is no bool.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,), name="output")])
    >>> model.compile(keras.optimizers.SGD(1e30), "mse")
    >>> stop = keras.callbacks.TerminateOnNaN()
    >>> model.fit([[1.0]], [[9.0]], epochs=9, verbose=0, callbacks=[stop]).history["loss"][1:]
    Batch 0: Invalid loss, terminating training
    [nan]
    >>> stop.error.tensor, stop.error.epoch
    ('loss', 1)
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = _validation.check_flag("TerminateOnNaN", "raise_error", raise_error)
        self.error: NonFiniteError | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the last training."""
        self.error = None

    @seldom  # what is not finite ends the batches of one call
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss")
        if loss is None or np.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"TerminateOnNaN: expected a finite loss, got {loss} in batch {batch}"
            ) from self.error
        print(f"Batch {batch}: Invalid loss, terminating training", flush=True)
        self.model.stop_training = True

    def _accepts(self, error: NonFiniteError) -> bool:
        self.error = error
        if not self.raise_error:
            self.model.stop_training = True
        return True
