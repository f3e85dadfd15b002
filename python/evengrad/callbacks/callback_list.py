"""CallbackList: several callbacks as one, and what loops ask of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evengrad.callbacks.base import UNLIMITED, Callback, Logs
from evengrad.callbacks.history import History
from evengrad.callbacks.progress import ProgbarLogger

if TYPE_CHECKING:
    from evengrad.errors import NonFiniteError
    from evengrad.models import Sequential

_BATCH_HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}


def checked(callbacks: Any) -> list[Callback]:
    """Return one callback or several, in lists or not, as one list."""
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback):
        return [callbacks]
    try:
        return list(_flat(callbacks))
    except TypeError:
        raise TypeError(f"callbacks: expected Callback objects, got {callbacks!r}") from None


def _flat(callbacks: Any) -> Iterator[Callback]:
    if isinstance(callbacks, Callback):
        yield callbacks
        return
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise TypeError
    for one in callbacks:
        yield from _flat(one)


class Watchers:
    """Who wants to be called for the batches of one kind of work, and how often."""

    def __init__(self, callbacks: Sequence[Callback], kind: str) -> None:
        self._each, self._some = False, list[Callback]()
        for callback in _members(callbacks):
            for hook in _BATCH_HOOKS[kind]:
                function = getattr(callback, hook)
                if getattr(function, "__func__", None) is getattr(Callback, hook):
                    continue
                if getattr(function, "seldom", False):
                    self._some.append(callback)
                else:
                    self._each = True

    @property
    def most(self) -> int:
        """How many batches may pass before the next call; 0: there is no one to be called."""
        if self._each:
            return 1
        return min((c._batches_to_pass() for c in self._some), default=0)


def _members(callbacks: Sequence[Callback]) -> Iterator[Callback]:
    for callback in callbacks:
        if isinstance(callback, CallbackList):
            yield from _members(callback.callbacks)
        else:
            yield callback


class CallbackList(Callback):
    """Several callbacks as one: calls the same hook of each, in order.

    Parameters
    ----------
    callbacks : Callback or sequence of them, optional
        `BackupAndRestore` is called after all others.
    add_history : bool
        Whether to add a `History` where there is none.
    add_progbar : bool
        Whether to add a `ProgbarLogger` where there is none.
    model : Sequential, optional
        Their model.
    **params
        Their parameters: verbose, epochs, steps.

    Raises
    ------
    TypeError
        If one of them is no callback.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> several = keras.callbacks.CallbackList(add_history=True, model=model, epochs=2)
    >>> several.on_train_begin()
    >>> for epoch in range(2):  # a loop of one's own
    ...     several.on_epoch_begin(epoch)
    ...     loss = model.train_on_batch([[1.0]], [[1.0]])
    ...     several.on_epoch_end(epoch, {"loss": loss})
    >>> several.on_train_end()
    >>> model.history.epoch
    [0, 1]
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Sequential | None = None,
        **params: Any,
    ) -> None:
        self.callbacks = checked(callbacks)
        if add_history and self.history is None:
            self.callbacks.append(History())
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self.callbacks.sort(key=lambda callback: any(one._last for one in _members([callback])))
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    @classmethod
    def of(
        cls,
        callbacks: Any,
        model: Sequential,
        *,
        add_history: bool,
        add_progbar: bool,
        **params: Any,
    ) -> CallbackList:
        """Return what a user has given as a list for a model; a list stays the one it is."""
        if not isinstance(callbacks, CallbackList):
            return cls(callbacks, add_history, add_progbar, model, **params)
        if add_history and callbacks.history is None:
            callbacks.callbacks.append(History())
        callbacks.set_model(model)
        # The list keeps what its user said of it: the next call has other parameters.
        told = params | (callbacks.params or {})
        for callback in callbacks.callbacks:
            callback.set_params(told)
        return callbacks

    @property
    def history(self) -> History | None:
        """The last `History` among them."""
        found = [c for c in self.callbacks if isinstance(c, History)]
        return found[-1] if found else None

    def set_model(self, model: Sequential) -> None:
        """Tell all of them, and the model its history."""
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        everyone = list(_members(self.callbacks))
        for callback in self.callbacks:
            callback.set_model(model)
            callback._meet(everyone)

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell all of them, where there are any."""
        self.params = params
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    # -- hooks; logs are theirs: what one adds, those after it see and the caller does not

    def _call(self, hook: str, logs: Logs | None, *number: int) -> None:
        told = dict(logs or {})
        for callback in self.callbacks:
            getattr(callback, hook)(*number, told)

    def _call_batch(self, hook: str, batch: int, logs: Logs | None) -> None:
        told = dict(logs or {})
        for callback in self.callbacks:
            getattr(callback, hook)(batch, logs=told)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_train_begin", logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_epoch_begin", logs, epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_epoch_end", logs, epoch)

    def on_epoch_health(self, health: Mapping[str, float]) -> None:
        """Call it of each."""
        for callback in self.callbacks:
            callback.on_epoch_health(health)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_train_batch_end", batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_batch_begin", batch, logs)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_batch_end", batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_test_begin", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_test_end", logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_test_batch_end", batch, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_predict_begin", logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call("on_predict_end", logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_predict_batch_begin", batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Call it of each."""
        self._call_batch("on_predict_batch_end", batch, logs)

    # -- what the loops ask

    def watchers(self, kind: str) -> Watchers:
        """Who wants to be called for batches of "train", "test" or "predict"."""
        return Watchers(self.callbacks, kind)

    def _batches_to_pass(self) -> int:
        return min((c._batches_to_pass() for c in self.callbacks), default=UNLIMITED)

    def _accepts(self, error: NonFiniteError) -> bool:
        return sum(callback._accepts(error) for callback in self.callbacks) > 0

    def _before_averages(self) -> None:
        for callback in self.callbacks:
            callback._before_averages()

    def _release(self) -> None:
        for callback in self.callbacks:
            callback._release()

    def _release_all_but(self, others: CallbackList | None) -> None:
        kept = set() if others is None else set(map(id, _members([others])))
        for callback in _members(self.callbacks):
            if id(callback) not in kept:
                callback._release()
