"""The same model in evengrad and in Keras, with the same weights, and what the same call does."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import evengrad
import numpy as np

from parity import errors
from parity.helpers import keras

ROWS, FEATURES, CLASSES = 40, 4, 3

_rng = np.random.default_rng(0)
X = _rng.standard_normal((ROWS, FEATURES), dtype=np.float32)
Y = (np.argmax(X[:, :CLASSES], axis=1) + _rng.integers(0, 2, ROWS)) % CLASSES
WEIGHT = _rng.uniform(0.0, 2.0, ROWS).astype(np.float32)
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[Y]


def network(library: ModuleType, outputs: int = CLASSES, last: str | None = "softmax") -> Any:
    return library.Sequential(
        [
            library.Input((FEATURES,)),
            library.layers.Dense(5, "tanh"),
            library.layers.Dense(outputs, last),
        ]
    )


class Twins:
    """Two models that start from the same weights each time `again` is called."""

    def __init__(
        self,
        build: Callable[[ModuleType], Any] = network,
        compiled: Callable[[ModuleType], dict[str, Any]] | None = None,
    ) -> None:
        self.libraries = evengrad, keras
        keras.utils.set_random_seed(0)
        for library in self.libraries:
            library.utils.clear_session()
        self.models = [build(library) for library in self.libraries]
        self.start = self.theirs.get_weights()
        if compiled is not None:
            self.compile(compiled)
        self.again()

    @property
    def ours(self) -> Any:
        return self.models[0]

    @property
    def theirs(self) -> Any:
        return self.models[1]

    def compile(self, options: Callable[[ModuleType], dict[str, Any]]) -> None:
        for library, model in zip(self.libraries, self.models, strict=True):
            model.compile(**options(library))

    def again(self) -> None:
        for model in self.models:
            model.set_weights(self.start)

    def both(self, call: Callable[[Any], Any]) -> tuple[Any, Any]:
        """What a call does with ours and with theirs."""
        ours, theirs = (call(model) for model in self.models)
        return ours, theirs

    def same_results(self, name: str, call: Callable[[Any], Any]) -> None:
        """Numbers, lists of them and dicts of them."""
        ours, theirs = self.both(call)
        assert type(ours) is type(theirs)
        if isinstance(ours, dict):
            assert sorted(ours) == sorted(theirs)
            ours, theirs = ([logs[name] for name in sorted(logs)] for logs in (ours, theirs))
        errors.compare(name, ours, theirs, allowed=1e-5)

    def same_weights(self, name: str) -> None:
        for a, b in zip(self.ours.get_weights(), self.theirs.get_weights(), strict=True):
            errors.compare_variable(name, a, b)

    def same_history(self, name: str, *data: Any, **options: Any) -> tuple[Any, Any]:
        """`fit` in both: keys, epochs, numbers, weights. Returns what they return.

        Keys of Keras are in alphabetic order, ours as they were given, the loss first.
        """
        ours, theirs = self.both(lambda model: model.fit(*data, **{"verbose": 0} | options))
        assert sorted(ours.history) == sorted(theirs.history)
        assert ours.epoch == theirs.epoch
        for key, values in theirs.history.items():
            errors.compare(name, ours.history[key], values, allowed=1e-5)
        self.same_weights(f"{name}: weights")
        return ours, theirs


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or that it is refused; warnings of Keras are of no interest here."""
    try:
        return call()
    except (ValueError, TypeError, AttributeError) as error:
        return type(error)
