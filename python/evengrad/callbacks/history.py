"""History: what `fit` returns."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evengrad._watch import Watching
from evengrad.callbacks.base import Callback, Logs

if TYPE_CHECKING:
    from evengrad.doctor.health import Health
    from evengrad.models import Sequential


class History(Callback):
    """What `fit` returns.

    Attributes
    ----------
    history : dict of list of float (of array where a metric has several numbers)
        Loss and metrics by epoch, and what callbacks have added to the logs.
    epoch : list of int
        Their epochs, counted from 0.
    batch_size : int, optional
        Rows of a step, of training on arrays.
    health : doctor.Health
        What training was like from within, step by step: norms of gradients, weights and updates,
        activations, dead units. As a mapping it has lists by epoch: "gradient_norm", the mean over
        the updates of the norm of all gradients before clipping; "clip_rate", the share of updates
        whose gradients clipping changed, 0 without clipping; "skipped_steps", how many steps were
        left out (see `compile`).

    Examples
    --------
    >>> import evengrad as keras
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse", metrics=["mae"])
    >>> history = model.fit([[1.0]], [[1.0]], epochs=2, verbose=0)
    >>> sorted(history.history), sorted(history.health)
    (['loss', 'mae'], ['clip_rate', 'gradient_norm', 'skipped_steps'])
    """

    batch_size: int | None = None

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self._by_epoch: dict[str, list[float]] = {}
        self._watching: Watching | None = None
        self._health: Health | None = None  # once it is a copy

    @property
    def health(self) -> Health:
        """What training was like from within."""
        if self._health is not None:
            return self._health
        return (self._watching or Watching()).health(self._by_epoch)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin a new list of epochs."""
        self.epoch, self._watching, self._health = [], self.model.watching, None

    def on_epoch_health(self, health: Mapping[str, float]) -> None:
        """Append."""
        for name, value in health.items():
            self._by_epoch.setdefault(name, []).append(value)

    @property
    def model(self) -> Sequential:
        """The model at work, which has its history: the two are not to keep each other."""
        model: Sequential = self._model and self._model()
        return model

    def set_model(self, model: Sequential) -> None:
        """Called first."""
        self._model = weakref.ref(model)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name != "_model"}
        return kept | {"_watching": None, "_health": self.health}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append, and be the model's history."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self
