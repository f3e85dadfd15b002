"""At the bedside: what can be changed in the middle of a training, and taken back."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _data, _feed, _stack, initializers
from evengrad.doctor.edits import code
from evengrad.doctor.judging import Held, Judge, Score
from evengrad.doctor.verdicts import Edit, Verdict
from evengrad.errors import NonFiniteError
from evengrad.layers.activation import Activation
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dense import Dense

if TYPE_CHECKING:
    from evengrad.models import Sequential

IN_PLACE = "learning_rate", "clipping", "initializer", "recalibrate"
_FASTER = 0.1, 10.0
_CLIPPING = "clipnorm", "clipvalue", "global_clipnorm", "clipping"
_HELD_OUT = 5  # one row in so many
_MOST = 6  # copies, beside the one that stays as it is


def verdicts_of(model: Sequential) -> list[Verdict]:
    """Return what the rules for a training under way say of it so far."""
    from evengrad.doctor.health import Health

    health = None if model.history is None else model.history.health
    if not isinstance(health, Health):
        return []
    from evengrad.doctor.rules import during

    return list(during(health, model.optimizer.clip[1] or None, _units(model)))


def _units(model: Sequential) -> dict[str, int]:
    shapes = {layer.name: layer.output_shape for layer in _stack.flat(model.layers)}
    return {name: shape[-1] for name, shape in shapes.items() if shape}


class Snapshot:
    """All that training changes in a model, and what `change` may."""

    def __init__(self, model: Sequential) -> None:
        self.model, optimizer = model, model.optimizer
        self._arrays = [(array, array.copy()) for array in _live(model)]
        self._bounds = {name: getattr(optimizer, name) for name in _CLIPPING}

    def put_back(self) -> None:
        """Make the model what it was."""
        for array, values in self._arrays:
            array[...] = values
        _clip(self.model, self._bounds)


def _live(model: Sequential) -> list[NDArray[Any]]:
    state = [variable.storage for variable in model.optimizer.variables]
    return [*model.live_arrays, *state]


def _clip(model: Sequential, bounds: dict[str, Any]) -> None:
    optimizer = model.optimizer
    for name in _CLIPPING:
        if getattr(optimizer, name) != bounds.get(name):
            setattr(optimizer, name, bounds.get(name))


def change(model: Sequential, edit: Edit, x: NDArray[Any]) -> None:
    """Make an edit of the kinds `IN_PLACE` in a model, between two steps of its training."""
    if edit.kind == "learning_rate":
        model.optimizer.learning_rate = edit.value
    elif edit.kind == "clipping":
        _clip(model, edit.value)
    elif edit.kind == "initializer":
        _draw_anew(model, edit.value)
    else:
        model.recalibrate(x)


def _draw_anew(model: Sequential, name: str) -> None:
    """Hidden kernels from an initializer, biases 0; what the optimizer gathered of them, too."""
    layers = _stack.flat(model.layers)
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    for layer in dense[:-1]:
        if not layer.trainable or layer.kernel is None:
            continue
        start = initializers.of_layer(name)
        if isinstance(start, initializers.Auto):
            start = start.suited_to(_activation_of(layer, layers))
        layer.kernel.assign(start(layer.kernel.shape))
        if layer.bias is not None:
            layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
    optimizer = model.optimizer
    for variable, slots in optimizer.kept().items():
        for slot, kept in slots.items():
            kept.assign(np.broadcast_to(optimizer.initial(slot, variable), variable.shape))


def _activation_of(layer: Dense, layers: Sequence[Any]) -> Any:
    if layer.activation.name != "linear":
        return layer.activation
    for other in layers[layers.index(layer) + 1 :]:
        if isinstance(other, Dense):
            break
        if isinstance(other, Activation):
            return other.activation
    return layer.activation


class Bedside:
    """Tries small changes on copies of a model in training, and makes the one that is better.

    Parameters
    ----------
    model : Sequential
        One that `fit` is at.
    validation_data : (x, y) or (x, y, sample_weight), optional
    patience : int
        Epochs that copies train, and after which a change is judged.
    """

    def __init__(self, model: Sequential, validation_data: Any, patience: int) -> None:
        self.model, self.patience = model, patience
        self.kept: list[Edit] = []
        self._snapshot: Snapshot | None = None
        self._edit: Edit | None = None
        self._left = 0
        self._before = Score(float("nan"), np.zeros(0))
        data = _data_of(model)
        self._data = data
        self._judge: Judge | None = None
        if data is None:
            return
        if validation_data is not None:
            held = _data.prepare(model, "Doctor: validation_data", *validation_data)
        else:
            order = np.random.default_rng(len(data.x)).permutation(len(data.x))
            out = max(1, len(order) // _HELD_OUT)
            held, self._data = data.rows(order[:out]), data.rows(order[out:])
        assert held.y is not None
        weight = None if held.weight is None else held.weight.astype(np.float64)
        self._judge = Judge(model, Held(held.x, held.y, weight), "loss")

    @property
    def is_waiting(self) -> bool:
        """Whether a change is yet to be judged."""
        return self._snapshot is not None

    def treat(self, verdicts: Sequence[Verdict]) -> str:
        """Make the best change, if one is better than none; return what to say of it."""
        if self._judge is None or self._data is None:
            return "nothing is changed: the rows of training are not at hand in batches"
        judge, untouched = self._judge, self._course(None)
        best, score = None, untouched
        for edit in self._candidates(verdicts):
            tried = self._course(edit)
            if judge.certain(tried, untouched) and judge.rank(tried) > judge.rank(score):
                best, score = edit, tried
        if best is None:
            return "nothing is changed: no small change made copies of the model better"
        self._snapshot, self._edit, self._left = Snapshot(self.model), best, self.patience
        self._before = judge(self.model)
        change(self.model, best, self._data.x)
        return (
            f"{code(best)}: after {self.patience} epochs a copy had {judge.name} "
            f"{score.value:.4g}, without it {untouched.value:.4g}"
        )

    def judge(self) -> str:
        """After the epochs of patience keep the change, or put all back; return what to say."""
        self._left -= 1
        if self._left > 0:
            return ""
        assert self._judge is not None
        assert self._snapshot is not None
        assert self._edit is not None
        snapshot, self._snapshot = self._snapshot, None
        now, name = self._judge(self.model), self._judge.name
        if now.valid and self._judge.gain(now, self._before) > 0.0:
            self.kept.append(self._edit)
            return ""
        if not self._before.valid:
            return ""
        snapshot.put_back()
        return f"put back: {name} is {now.value:.4g}, it was {self._before.value:.4g}"

    def _candidates(self, verdicts: Sequence[Verdict]) -> list[Edit]:
        found = [e for v in verdicts for e in v.edits if e.kind in IN_PLACE]
        found += self._menu()
        if not self.model.optimizer.rate_is_set:
            found = [edit for edit in found if edit.kind != "learning_rate"]
        different = {repr(edit): edit for edit in found}
        return list(different.values())[:_MOST]

    def _menu(self) -> Iterator[Edit]:
        rate = self.model.optimizer.learning_rate
        for factor in _FASTER:
            yield Edit("learning_rate", rate * factor)
        yield Edit("clipping", {"global_clipnorm": 1.0})
        yield Edit("initializer", "auto")
        parts = _stack.every(self.model.layers)
        if any(isinstance(part, BatchNormalization) for part in parts):
            yield Edit("recalibrate", True)

    def _course(self, edit: Edit | None) -> Score:
        """Let a copy train on with an edit; its score."""
        assert self._judge is not None
        data, model = self._data, copy.deepcopy(self.model)
        assert data is not None
        rows = (self.model.history.batch_size if self.model.history else None) or 32
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if edit is not None:
                    change(model, edit, data.x)
                model.fit(data.x, data.y, rows, self.patience, verbose=0, sample_weight=data.weight)
        except (NonFiniteError, ValueError, TypeError):
            return Score(float("nan"), np.zeros(len(self._judge.held.y)))
        return self._judge(model)


def _data_of(model: Sequential) -> _data.Data | None:
    """The rows that `fit` is at; None where an object hands them out."""
    feed = None if model.running is None else model.running.feed
    return feed.data() if isinstance(feed, _feed.Arrays) else None
