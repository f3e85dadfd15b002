"""LambdaCallback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evengrad.callbacks.base import Callback

_HOOKS = [name for name in vars(Callback) if name.startswith("on_")]


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        Called with epoch, logs.
    on_train_begin, on_train_end : callable, optional
        Called with logs.
    on_train_batch_begin, on_train_batch_end : callable, optional
        Called with batch, logs=logs.
    **kwargs : callable
        Any other hook of `Callback` by its name.

    Raises
    ------
    TypeError
        If there is no such hook, or something is no function.

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> say = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, *logs))
    >>> history = model.fit([[1.0]], [[1.0]], epochs=2, verbose=0, callbacks=[say])
    0 loss
    1 loss
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Callable[..., Any],
    ) -> None:
        named = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        for name, function in {**named, **kwargs}.items():
            if name not in _HOOKS:
                raise TypeError(
                    f"LambdaCallback: expected hooks among {', '.join(_HOOKS)}, got {name!r}"
                )
            if function is None:
                continue
            if not callable(function):
                raise TypeError(
                    f"LambdaCallback: expected {name} to be a function, got {function!r}"
                )
            setattr(self, name, function)
