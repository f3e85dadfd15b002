"""Callback: what `fit`, `evaluate` and `predict` call at the start and end of what they do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from evengrad.errors import NonFiniteError
    from evengrad.models import Sequential

Logs = Mapping[str, Any]  # numbers; arrays where a metric has several
_Hook = TypeVar("_Hook", bound=Callable[..., None])

UNLIMITED = sys.maxsize  # batches


def seldom(hook: _Hook) -> _Hook:
    """Mark a batch hook that one call of is enough for up to `_batches_to_pass` batches."""
    hook.__dict__["seldom"] = True
    return hook


class Callback:
    """Base of the callbacks: override what you need.

    Attributes
    ----------
    model : Sequential
        The model at work. Setting `model.stop_training = True` ends `fit` after the batch,
        `stop_evaluating` and `stop_predicting` end `evaluate` and `predict`.
    params : dict
        "verbose", "epochs", "steps".

    Notes
    -----
    `logs` are of one call of a hook: what one callback adds, those after it see, `History` among
    them. A hook for batches makes that part of the work return to Python after each batch: one of
    training does not slow down validation, nor the other way round. Hooks may evaluate, predict,
    save, change weights, learning rate and `trainable`, and train on other batches
    (`train_on_batch`); `fit` inside `fit` is refused.

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

    # Of the class, so that a subclass need not call super().__init__().
    params: Any = None
    _model: Any = None

    @property
    def model(self) -> Sequential:
        """The model at work."""
        model: Sequential = self._model
        return model

    def set_model(self, model: Sequential) -> None:
        """Called first."""
        self._model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called second."""
        self.params = params

    # -- training

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last, also when training was stopped; not after an error. Logs: the last."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After it; logs: loss, metrics and, with validation, val_ of each."""

    def on_epoch_health(self, health: Mapping[str, float]) -> None:
        """Called before on_epoch_end with what `History.health` keeps."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of training, counted from 0."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After it; logs: means of the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of on_train_batch_begin."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of on_train_batch_end."""

    # -- evaluation, in validation too

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before `evaluate` and before each validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After it; logs: loss and metrics."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of it, counted from 0."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After it; logs: means so far."""

    # -- prediction

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After it."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of it, counted from 0."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After it; logs: "outputs" (rows, ...) of the batch."""

    # -- what the package's own callbacks have besides

    _last: ClassVar[bool] = False  # called after all others
    _kept: ClassVar[tuple[str, ...]] = ()  # attributes that a resumed run needs

    def _meet(self, others: Sequence[Callback]) -> None:
        """Called with all callbacks of a list."""

    def _batches_to_pass(self) -> int:
        """How many batches may go by before the next call of a hook that is marked `seldom`."""
        return UNLIMITED

    def _accepts(self, error: NonFiniteError) -> bool:
        """Whether training ends without the error."""
        del error
        return False

    def _before_averages(self) -> None:
        """Called before the variables become their moving averages at the end of training."""

    def _release(self) -> None:
        """Close what is open; called last, also after an error."""
