"""Probe: evidence of what a model, its data and its training are like; nothing of it changes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _data, _validation
from evengrad.doctor import _lab, _looks, _reference
from evengrad.doctor._columns import columns_of
from evengrad.doctor._evidence import LOOKED_AT, SEED, SHORT, Evidence, judged
from evengrad.doctor.health import Health
from evengrad.doctor.report import LayerFigures, Report
from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad.doctor._reference import Reference, Task
    from evengrad.models import Sequential

MOST_ROWS = 1000


def examine(
    model: Sequential,
    x: Any,
    y: Any,
    sample_weight: Any = None,
    validation_data: Any = None,
    batch_size: int | None = None,
) -> Evidence:
    """Collect evidence.

    Parameters
    ----------
    model : Sequential
        Compiled; it stays as it is.
    x, y, sample_weight : array_like
        As for `fit`.
    validation_data : (x, y), optional
        Rows that it was not trained on.
    batch_size : int, optional
        Of the training. Default: that of the last `fit`, or 32.

    Raises
    ------
    ValueError, TypeError
        If the data do not fit.
    """
    twin = _lab.copy_of(model)
    data = _data.prepare(twin, "diagnose", x, y, sample_weight)
    training = _training_of(model, batch_size)
    data = _some(data)
    task = _task(twin, data)
    now = _looks.look(_lab.copy_of(twin), data.rows(slice(0, LOOKED_AT)))
    loss, score = judged(_lab.copy_of(twin), data, task)
    flat = data.x.reshape(len(data.x), -1)
    found = Evidence(
        model=twin,
        data=data,
        now=now,
        task=task,
        columns=columns_of(flat, task),
        score=score,
        loss=loss,
        steps=training.steps,
        planned=training.planned,
        epochs=training.epochs,
        batch=training.batch,
        health=_health(model),
        curve=_curve(model),
        by_epoch={} if model.history is None else dict(model.history.health),
    )
    if not found.trained and _knows(found):  # it was loaded, or compiled again
        found.steps = found.planned = SHORT
    found.ratio = _ratios(found)
    if found.trained:
        found.exact = _with_exact_statistics(found)
        if task is not None:
            found.reference = _refer(found, task, flat)
        found.held_out = _watched(model, task)
        if validation_data is not None:
            held = _some(_data.prepare(twin, "diagnose", *validation_data))
            held_task = _task(twin, held)
            found.held_out = judged(_lab.copy_of(twin), held, held_task)[1]
    return found


def report_on(
    model: Sequential,
    x: Any,
    y: Any,
    sample_weight: Any = None,
    validation_data: Any = None,
    batch_size: int | None = None,
) -> Report:
    """Return what `Sequential.diagnose` promises."""
    from evengrad.doctor import rules

    model.compiled_loss("diagnose")
    if batch_size is not None:
        batch_size = _validation.check_count("diagnose", "batch_size", batch_size)
    with _lab.unnoticed():
        evidence = examine(model, x, y, sample_weight, validation_data, batch_size)
        return Report(rules.verdicts(evidence), figures_of(evidence), evidence.health)


def figures_of(evidence: Evidence) -> tuple[LayerFigures, ...]:
    """What a report shows of the layers."""
    return tuple(
        LayerFigures(
            name=look.name,
            kind="Dense",
            units=look.units,
            activation=look.activation,
            gradient=look.gradient,
            ratio=evidence.ratio.get(look.path, float("nan")),
            mean=look.mean,
            spread=look.spread,
            zeros=look.zeros,
            saturated=look.saturated,
            dead=len(look.dead),
            counts=look.counts,
            edges=look.edges,
        )
        for look in evidence.now.layers
    )


def _some(data: _data.Data) -> _data.Data:
    """At most so many rows, drawn evenly, in an order that no label follows."""
    rows = np.random.default_rng(SEED).permutation(len(data.x))[:MOST_ROWS]
    some = data.in_memory(rows)
    return _data.Data(np.asarray(some.x, np.float32), some.y, some.weight, some.legal)


def _task(model: Sequential, data: _data.Data) -> Task | None:
    shape = model.sample_output_shape()
    if len(shape) != 1 or model.loss is None or data.y is None:
        return None
    return _reference.task_of(model.loss, data.y, shape[0])


class _Training(NamedTuple):
    """Steps done and planned, epochs done, rows of a step."""

    steps: int
    planned: int
    epochs: int
    batch: int


def _training_of(model: Sequential, batch: int | None) -> _Training:
    """What the training was like, as far as history and optimizer tell."""
    done, history = int(model.optimizer.iterations), model.history
    broke = model.skipped_steps > 0
    if history is None:
        return _Training(max(done, int(broke)), SHORT if broke else done, 0, batch or 32)
    told = history.params or {}
    epochs, each = len(history.epoch), told.get("steps")
    steps = max(1, min(done, epochs * each) if each else done)
    planned = max(steps, told.get("epochs", 0) * each) if each and broke else steps
    return _Training(steps, planned, epochs, batch or history.batch_size or 32)


def _health(model: Sequential) -> Health | None:
    known = getattr(model.history, "health", None)
    return known if isinstance(known, Health) and len(known.steps) else None


def _curve(model: Sequential) -> NDArray[np.float64]:
    """Losses by epoch."""
    known = [] if model.history is None else model.history.history.get("loss", [])
    return np.asarray(known, np.float64)


def _knows(evidence: Evidence) -> bool:
    """Whether it answers better than any that was drawn."""
    task = evidence.task
    if task is None:
        return False
    doubt = _reference.doubt_of(task.chance, len(evidence.data.x), task.classes)
    return evidence.score > task.chance + 5.0 * doubt


def _watched(model: Sequential, task: Task | None) -> float:
    """The better one of the last two validation scores of the training; NaN without any."""
    history = {} if model.history is None else model.history.history
    wanted = "accuracy" if task is not None and task.classes else "r2_score"
    for name, values in history.items():
        if name.startswith("val_") and name.endswith(wanted) and values:
            return max(-1.0, *(float(np.mean(value)) for value in values[-2:]))
    return float("nan")


def _ratios(evidence: Evidence) -> dict[str, float]:
    """Those of health's second half where there is one, else of one step of a copy."""
    health = evidence.health
    if health is not None and health.norms:
        found = {}
        for path, norms in health.norms.items():
            half = slice(len(norms.update) // 2, None)
            with np.errstate(all="ignore"):
                found[path] = float(np.nanmedian(norms.update[half] / norms.weight[half]))
        return found
    model = _lab.copy_of(evidence.model)
    before = {v.path: v.numpy().astype(np.float64) for v in model.trainable_variables}
    rows = evidence.data.rows(slice(0, evidence.batch))
    with contextlib.suppress(NonFiniteError):
        model.train_on_batch(rows.x, rows.y, rows.weight)
    after = {v.path: v.numpy().astype(np.float64) for v in model.trainable_variables}
    with np.errstate(all="ignore"):
        return {
            path: float(np.linalg.norm(after[path] - w) / np.linalg.norm(w))
            for path, w in before.items()
        }


def _with_exact_statistics(evidence: Evidence) -> tuple[float, float]:
    model = _lab.copy_of(evidence.model)
    if not _lab.normalizations(model):
        return evidence.loss, evidence.score
    with contextlib.suppress(ValueError):
        model.recalibrate(evidence.data.x)
    return evidence.judge(model)


def _refer(evidence: Evidence, task: Task, flat: NDArray[np.float32]) -> Reference | None:
    if len(flat) < 30:
        return None
    widths = [look.units for look in evidence.now.hidden]
    width = int(np.clip(min(widths, default=32), 8, 64))
    return _reference.train_reference(task, flat, width, SEED)
