"""Evidence: what rules look at."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _data, _stack
from evengrad.activations.base import Spec
from evengrad.doctor import _lab, _looks, _reference, _slopes
from evengrad.layers.dense import Dense

if TYPE_CHECKING:
    from evengrad.doctor._columns import Columns
    from evengrad.doctor._reference import Reference, Task
    from evengrad.doctor.health import Health
    from evengrad.models import Sequential

SHORT = 150  # steps of a short training
_LONG = 450  # of going on
_PROBE = 20  # of a model that was never trained
LOOKED_AT = 512  # rows that gradients are of
SEED = 7


@dataclass
class Evidence:
    """What rules look at.

    Parameters
    ----------
    model : Sequential
        A copy.
    data : Data
        At most 1,000 rows.
    now : Looked
        The model as it is.
    task : Task or None
    columns : Columns
    score, loss : float
        Of the model in inference mode, penalties left out.
    reference : Reference or None
        Of a trained model.
    steps, planned, epochs, batch : int
        Of its training, and how many steps it should have had; 0 where there was none.
    curve : ndarray
        Losses of its training, by step where they are known, else by epoch.
    health : Health or None
    ratio : dict of float
        Norm of an update over that of the kernel, by path.
    by_epoch : mapping of list of float
        Of the history's health: "clip_rate" and others.
    held_out : float
        Score on rows that it was not trained on; NaN where there are none.
    exact : (float, float)
        Loss and score with exact statistics of batch normalization.
    """

    model: Sequential
    data: _data.Data
    now: _looks.Looked
    task: Task | None
    columns: Columns
    score: float
    loss: float
    reference: Reference | None = None
    steps: int = 0
    planned: int = 0
    epochs: int = 0
    batch: int = 32
    curve: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    health: Health | None = None
    ratio: dict[str, float] = field(default_factory=dict)
    exact: tuple[float, float] = (float("nan"), float("nan"))
    held_out: float = float("nan")
    by_epoch: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether there were any steps."""
        return self.steps > 0

    @functools.cached_property
    def fresh(self) -> _looks.Looked:
        """The model with weights drawn anew; as it is where that cannot be, or before training."""
        made = _lab.reborn(self.model) if self.trained else None
        return self.now if made is None else _looks.look(made, self.looked_at)

    @property
    def looked_at(self) -> _data.Data:
        """The rows that are looked at."""
        return self.data.rows(slice(0, LOOKED_AT))

    @functools.cached_property
    def lab(self) -> _lab.Lab:
        """Where short trainings are run."""
        steps = min(SHORT, self.planned) if self.trained else _PROBE
        return _lab.Lab(self.model, self.data, self.batch, steps, self.judge)

    def judge(self, model: Sequential) -> tuple[float, float]:
        """Loss and score of a copy on the rows."""
        return judged(model, self.data, self.task)

    @functools.cached_property
    def longer(self) -> _lab.Outcome:
        """What becomes of going on for some more steps."""
        times = min(4, max(1, round(_LONG / max(1, self.lab.steps))))
        return self.lab.run(fresh=False, times=times)

    @property
    def fits(self) -> bool:
        """Whether it does well on the rows it was trained on: then more training is no cure."""
        reference = self.reference
        if reference is None:
            return False
        return bool(self.score >= 0.99 * (reference.seen + reference.unseen) / 2.0)

    @functools.cached_property
    def learns_anew(self) -> float:
        """How much of its shortfall a short training of a model drawn anew makes good, 0 to 1.

        Where it is much, neither the architecture nor the learning rate keep it from learning.
        """
        gap = self.goal - self.reached
        if not gap > 0.0:
            return 0.0
        return float(np.clip((self.lab.run().score - self.reached) / gap, 0.0, 1.0))

    @property
    def as_outcome(self) -> _lab.Outcome:
        """The model as it is, with exact statistics."""
        loss, score = self.exact if np.isfinite(self.exact[0]) else (self.loss, self.score)
        return _lab.Outcome(loss, score)

    def without(self, columns: tuple[int, ...]) -> float:
        """Score of a small healthy network that does not see some columns of the inputs."""
        assert self.task is not None
        flat = self.data.x.reshape(len(self.data.x), -1)
        rest = np.delete(flat, columns, axis=1)
        if not rest.shape[1]:
            return self.task.chance
        return _reference.train_reference(self.task, rest, 32, SEED).unseen

    @property
    def last(self) -> Dense | None:
        """The last Dense."""
        return _looks._last_dense(self.model)

    @property
    def head(self) -> str:
        """Name of the activation of the outputs."""
        for layer in reversed(_stack.flat(self.model.layers)):
            activation = _slopes.activation_of(layer) or getattr(layer, "activation", None)
            if activation is not None:
                return activation.name if isinstance(activation, Spec) else "own"
        return "linear"

    @property
    def optimizer(self) -> Any:
        """The optimizer of the copy."""
        return self.model.optimizer

    @property
    def goal(self) -> float:
        """The score that a healthy network reaches on rows that it has not seen."""
        return float("nan") if self.reference is None else self.reference.unseen

    @property
    def shortfall(self) -> float:
        """How much of what can be reached above chance is missing: 0 nothing, 1 all of it."""
        if self.reference is None or self.task is None:
            return float("nan")
        chance = self.reference.chance
        above = self.reference.unseen - chance
        return float((self.reference.unseen - self.reached) / above) if above > 0.0 else 0.0

    @property
    def reached(self) -> float:
        """The lower one of the scores on the rows and on held-out ones, where they are known."""
        return self.score if np.isnan(self.held_out) else min(self.score, self.held_out)


def judged(model: Sequential, data: _data.Data, task: Task | None) -> tuple[float, float]:
    """Loss in inference mode, without penalties, and score."""
    loss = model.loss
    assert loss is not None
    assert data.y is not None
    outputs = model.predict(data.x)
    if not np.isfinite(outputs).all():
        return float("nan"), -1.0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        value = float(np.mean(loss(data.y, outputs, data.weight)))
    return value, float("nan") if task is None else _reference.score(task, loss, outputs)
