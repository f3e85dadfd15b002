"""SwapEMAWeights."""

from __future__ import annotations

from typing import ClassVar

from evengrad import _validation
from evengrad.callbacks.base import Callback, Logs


class SwapEMAWeights(Callback):
    """Evaluate, predict and save with the moving averages of the weights.

    The weights change places with their averages, which an optimizer with `use_ema=True` keeps,
    before evaluation, validation and prediction, and back after it.

    Parameters
    ----------
    swap_on_epoch : bool, default False
        Change places at the end of each epoch, too, and back at the beginning of the next, so that
        callbacks that come after this one, such as `ModelCheckpoint`, see the averages.

    Raises
    ------
    ValueError, TypeError
        If the argument is no bool; if the optimizer keeps no averages, or none yet.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    >>> swap = keras.callbacks.SwapEMAWeights()
    >>> data = {"x": [[1.0]], "y": [[1.0]], "validation_data": ([[1.0]], [[1.0]])}
    >>> history = model.fit(**data, epochs=3, verbose=0, callbacks=[swap])
    """

    _kept: ClassVar[tuple[str, ...]] = ("_swapped",)

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = _validation.check_flag(
            "SwapEMAWeights", "swap_on_epoch", swap_on_epoch
        )
        self._swapped = False

    def _make(self, swapped: bool) -> None:
        if self._swapped != swapped:
            self.model.optimizer.swap_averages()
            self._swapped = swapped

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Back to the weights."""
        if self.swap_on_epoch:
            self._make(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """To the averages, if wanted."""
        if self.swap_on_epoch:
            self._make(True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """To the averages."""
        self._make(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Back to the weights."""
        self._make(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """To the averages."""
        self._make(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Back to the weights."""
        self._make(False)

    def _before_averages(self) -> None:
        # At the end of training the weights become their averages, which they are already; what
        # stands in their place is not to come back.
        self._make(False)

    def _release(self) -> None:
        self._make(False)
