"""The lab: short trainings of copies that tell causes apart."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad import _names, _random, _stack, optimizers
from evengrad._cloning import clone_model
from evengrad.errors import NonFiniteError
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dropout import AlphaDropout, Dropout, GaussianDropout, GaussianNoise
from evengrad.layers.preprocessing import Normalization

if TYPE_CHECKING:
    from evengrad._data import Data
    from evengrad.models import Sequential

SEED = 20_231_116


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """Leave the package's random numbers and automatic names as they are found."""
    used = _names._used.copy()
    try:
        with _random.seeded(np.random.default_rng(SEED)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _names._used.clear()
        _names._used.update(used)


def draws(seed: int = SEED) -> _random.Draws:
    """Return draws that are always the same."""
    return _random.draws_of(seed, np.random.Generator(np.random.PCG64(seed)))


def copy_of(model: Sequential) -> Sequential:
    """Return a copy with weights, optimizer and statistics, that draws from a stream of its own."""
    twin = copy.deepcopy(model)
    twin.draws = draws()
    return twin


def reborn(model: Sequential) -> Sequential | None:
    """Return a model of the same layers with weights drawn anew; None where that fails.

    What training does not change stays: frozen layers, adapted normalizations.
    """
    try:
        made = clone_model(model)
    except Exception:  # of a layer of the user's own: it says nothing of the model
        return None
    with contextlib.suppress(ValueError):
        made.build()
    pairs = zip(_stack.flat(model.layers), _stack.flat(made.layers), strict=True)
    for old, new in pairs:
        if isinstance(old, Normalization) or not old.trainable:
            new.set_weights(old.get_weights())
    made.draws = draws()
    return made


@dataclass(frozen=True)
class Setting:
    """What is different in a short training."""

    fresh: bool = True  # weights drawn anew
    rate: float = 1.0  # times the learning rate
    optimizer: str = "same"  # "fresh": the same without its state; "adam": another one
    free: bool = False  # no penalties, decay, dropout
    unclipped: bool = False
    times: int = 1  # as many epochs


@dataclass(frozen=True)
class Outcome:
    """What became of it: data loss and score with exact statistics; NaN where it broke."""

    loss: float
    score: float
    curve: tuple[float, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether it ended in numbers that are not finite."""
        return not np.isfinite(self.loss)


Judge = Callable[["Sequential"], tuple[float, float]]


class Lab:
    """Runs each setting once, all on the same rows in the same order.

    Parameters
    ----------
    model : Sequential
        Only copied.
    data : Data
        The rows.
    batch, steps : int
    judge : callable
        From a model to data loss and score.
    """

    def __init__(self, model: Sequential, data: Data, batch: int, steps: int, judge: Judge) -> None:
        self.model, self.data, self.judge = model, data, judge
        self.batch = min(batch, len(data.x))
        each = -(-len(data.x) // self.batch)
        self.epochs = max(1, steps // each)
        self.rows = min(len(data.x), steps * self.batch) if steps < each else len(data.x)
        self.steps = self.epochs * -(-self.rows // self.batch)
        self._known: dict[Setting, Outcome] = {}
        self.ran = 0

    def run(self, setting: Setting | None = None, **different: Any) -> Outcome:
        """Return the outcome of a setting."""
        setting = setting or Setting(**different)
        if setting not in self._known:
            self._known[setting] = self._run(setting)
        return self._known[setting]

    def _run(self, setting: Setting) -> Outcome:
        model = reborn(self.model) if setting.fresh else copy_of(self.model)
        if model is None:
            return Outcome(float("nan"), float("nan"))
        self.ran += 1
        model.optimizer = changed_optimizer(model.optimizer, setting)
        if setting.free:
            unburden(model)
        curve: list[float] = []
        rows = slice(0, self.rows)
        x, y, weight = self.data.x[rows], self.data.y, self.data.weight
        assert y is not None
        try:
            history = model.fit(
                x,
                y[rows],
                self.batch,
                self.epochs * setting.times,
                verbose=0,
                sample_weight=None if weight is None else weight[rows],
            )
            curve = history.history.get("loss", [])
        except NonFiniteError:
            return Outcome(float("nan"), -1.0)
        with contextlib.suppress(ValueError):
            model.recalibrate(x)
        return Outcome(*self.judge(model), tuple(map(float, curve)))


def changed_optimizer(optimizer: Any, setting: Setting) -> Any:
    """Return what the setting says; the optimizer of a copy, which may be changed."""
    if setting.optimizer == "adam":
        return optimizers.Adam(0.003)
    if setting.optimizer == "fresh":
        with contextlib.suppress(Exception):  # one of the user's own
            optimizer = optimizers.get(optimizers.serialize(optimizer))
    if setting.rate != 1.0:
        rate = optimizer._rate
        if callable(rate):
            optimizer.learning_rate = _times(setting.rate, optimizer)
        else:
            optimizer.learning_rate = setting.rate * optimizer.learning_rate
    if setting.unclipped:
        optimizer.clipnorm = optimizer.clipvalue = optimizer.global_clipnorm = None
        optimizer.clipping = None
    if setting.free and optimizer.weight_decay:
        optimizer.weight_decay = 0.0
    return optimizer


def _times(factor: float, optimizer: Any) -> Callable[[int], float]:
    """Return a schedule times a factor."""
    before = copy.deepcopy(optimizer)

    def rate(step: int) -> float:
        before.iterations = int(step)
        return factor * float(before.learning_rate)

    return rate


def unburden(model: Sequential) -> None:
    """Take penalties and noise from a copy."""
    for variable in model.variables:
        if variable.regularizer is not None:
            variable.regularizer = None
    for layer in _stack.every(model.layers):
        if isinstance(layer, Dropout | AlphaDropout | GaussianDropout):
            layer.rate = 0.0
        elif isinstance(layer, GaussianNoise):
            layer.stddev = 0.0


def leaves(model: Sequential) -> list[Any]:
    """Return all layers, those inside of others too."""
    return list(_stack.every(model.layers))


def normalizations(model: Sequential) -> list[BatchNormalization]:
    """Return all batch normalizations."""
    return [p for p in _stack.every(model.layers) if isinstance(p, BatchNormalization)]
