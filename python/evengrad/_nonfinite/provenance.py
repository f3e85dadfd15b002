"""NonFiniteError, made once a step has failed: what was not finite first, where, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _sources, _stack
from evengrad._nonfinite import trace
from evengrad._nonfinite.case import Case
from evengrad._nonfinite.trace import NONE, Finding, Traced, columns, largest, look_at
from evengrad._nonfinite.words import Where, error_of
from evengrad.errors import NonFiniteError
from evengrad.layers.base import Layer
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.optimizers._state import ACCUMULATOR

if TYPE_CHECKING:
    from evengrad._compiled import Compiled
    from evengrad._core import F32
    from evengrad._feed import Feed
    from evengrad._own_loop import OwnLoop
    from evengrad._program import Program
    from evengrad._recording import Recording
    from evengrad._stack import Part
    from evengrad.doctor.health import Health
    from evengrad.optimizers import Optimizer
    from evengrad.training import Epoch
    from evengrad.variable import Variable

_LARGEST_MOVE = 1e37  # that the check of a step lets pass


# -- the three ways to fail


def of_step(epoch: Epoch, recording: Recording) -> NonFiniteError:
    """Return the error for the step that an epoch has failed in."""
    model, feed = epoch.model, epoch.feed
    assert recording.program.failure is not None
    kind, number = recording.program.failure
    case = _given(feed) or _variables(model.layers)
    if case is None:
        case = _rerun_step(epoch, recording, number if kind == "gradient" else None)
    watched = model.watching.health({})
    case = case._replace(
        optimizer=model.optimizer, loss=model.loss, sizes=_sizes(feed),
        losses=_losses(epoch, recording, watched), moves=_moves(watched),
    )  # fmt: skip
    where = Where(
        f"epoch {epoch.number + 1}, step {epoch.done + 1}: ",
        "The step was left out; the model is as before it.",
        epoch.number, epoch.done, feed.rows(), feed.of_batch,
    )  # fmt: skip
    return error_of(model.layers, case, where, of_loss=kind != "gradient")


def of_own_step(model: OwnLoop, variable: Variable, norm: float, count: int) -> NonFiniteError:
    """Return the error for the step of a loop of the user's that has failed for a variable."""
    case = _variables(model.layers) or _rerun_pass(model, variable, norm)
    of = model._loop.of
    sizes = {} if of is None else {"inputs": largest(of.x)}
    case = case._replace(optimizer=model.optimizer, sizes=sizes)
    rows = NONE if of is None else np.arange(len(of.x))
    tail = "The step was left out; the weights are as before it."
    return error_of(model.layers, case, Where(f"step {count + 1}: ", tail, 0, count, rows))


def of_apply(
    who: str, optimizer: Optimizer, given: dict[Variable, F32], program: Program
) -> NonFiniteError:
    """Return the error for gradients that a program has failed to apply."""
    assert program.failure is not None
    variable = list(given)[program.failure[1]]
    summed = program.gradients[variable]
    looks = (
        *(look_at("variable", v, v.value) for v in given),
        *(look_at("gradient", v, gradient) for v, gradient in given.items()),
        _summed(optimizer, summed, variable),
    )
    found = next(look for look in looks if look)
    norm = float(np.sqrt((summed.astype(np.float64) ** 2).sum()))
    case = Case(found, optimizer=optimizer, given="apply", norm=norm)
    count = int(optimizer.counter[0])
    return error_of((), case, Where(f"{who}: ", "Nothing was updated.", 0, count))


# -- what is first


def _given(feed: Feed) -> Case | None:
    """What is not finite in the data of the next step."""
    data, rows = feed.data(), feed.rows()
    for name, array in (("inputs", data.x), ("targets", data.y), ("weights", data.weight)):
        bad = NONE if array is None else _sources.illegal_rows(array, rows)
        if array is None or not bad.size:
            continue
        numbers = _sources.converted(array[bad])
        units = columns(~np.isfinite(numbers)) if array.ndim > 1 else ()
        nan = bool(np.isnan(numbers).any())
        samples = np.flatnonzero(np.isin(rows, bad))
        checked = "checked" if data.legal is None else ""
        return Case(Finding(name, samples=samples, units=units, nan=nan), given=checked)
    return None


def _variables(parts: Sequence[Part]) -> Case | None:
    """What is not finite of what a step reads of the model."""
    for layer, variable in _owned(parts):
        if variable in _only_written(layer):
            continue
        found = look_at("variable", variable, variable.value, layer=layer)
        if found:
            return Case(found)
    return None


def _only_written(layer: Layer) -> tuple[object, ...]:
    """Moving statistics, where the step takes those of the batch."""
    if isinstance(layer, BatchNormalization) and layer.trainable:
        return layer.moving_mean, layer.moving_variance
    return ()


def _owned(parts: Sequence[Part]) -> Iterator[tuple[Layer, Variable]]:
    """All variables with the innermost layers that have them."""
    for part in _stack.every(parts):
        if isinstance(part, Layer) and not isinstance(part, _stack.Stack):
            for variable in part.variables:
                yield part, variable


def _owner(parts: Sequence[Part], variable: Variable) -> Layer | None:
    return next((layer for layer, v in _owned(parts) if v is variable), None)


def _rerun_step(epoch: Epoch, recording: Recording, number: int | None) -> Case:
    model = epoch.model
    program: Traced | None = None
    penalty: Finding | None = None
    with contextlib.suppress(Exception):  # of parts in Python: they have not failed so before
        program = trace.of_fit(model, epoch.feed, recording)
        penalty = _bad_penalty(model.layers) if program.done else None
    found = None if program is None else program.found
    if number is None:
        found = penalty if found and found.kind == "penalty" else found
        if found and (penalty or found.kind in ("output", "loss")):
            return Case(found, program)
        return Case(Finding("loss"), program, repeated=False)
    variable, norm = recording.variables[number], float(np.sqrt(recording.norms[number]))
    if found and found.kind not in ("loss", "penalty"):
        return Case(_with_owner(model, found), program, norm=norm)
    if program is not None:  # a loss that is not finite only now does not count
        found = None if found else _accumulated(model, program, variable, norm)
    owner = _owner(model.layers, variable)
    again = found is not None
    found = found or Finding("gradient", owner, variable)
    return Case(found._replace(layer=owner), program, norm=norm, repeated=again)


def _accumulated(
    model: Compiled, program: Traced, variable: Variable, norm: float
) -> Finding | None:
    """What fails though the gradients are finite; None where it does not again."""
    optimizer, gradient = model.optimizer, program.gradients[variable]
    sums = optimizer.kept().get(variable, {}).get(ACCUMULATOR)
    steps = optimizer.gradient_accumulation_steps
    if steps and sums is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = sums.storage + np.float32(1.0 / steps) * gradient
    found = _summed(optimizer, gradient, variable)
    return None if found.kind == "move" and not np.isfinite(norm) else found


def _summed(optimizer: Optimizer, gradient: F32, variable: Variable) -> Finding:
    """The gradient with what has been accumulated, or else the move."""
    found = look_at("accumulated", variable, gradient)
    if found:
        return found
    moves = np.abs(gradient.reshape(variable.shape).astype(np.float64)) * optimizer.rate_of_step
    far = moves >= min(_LARGEST_MOVE, float(moves.max()))
    return Finding("move", variable=variable, units=columns(far))


def _bad_penalty(parts: Sequence[Part]) -> Finding | None:
    for layer, variable in _owned(parts):
        own = variable.regularizer
        if own is not None and own.in_python and variable.trainable and layer.trainable:
            with np.errstate(all="ignore"):
                penalty = float(own(variable.numpy()))
            if not np.isfinite(penalty):
                return Finding("penalty", layer, variable, nan=bool(np.isnan(penalty)))
    return None


def _with_owner(model: Compiled, found: Finding) -> Finding:
    if found.layer is None and found.variable is not None:
        return found._replace(layer=_owner(model.layers, found.variable))
    return found


def _rerun_pass(model: OwnLoop, variable: Variable, norm: float) -> Case:
    loop, number = model._loop, float(np.sqrt(norm))
    program: Traced | None = None
    gradients = {v: loop.memory[v] for v in loop.received}
    if loop.of is not None and loop.dy is not None:
        with contextlib.suppress(Exception):  # of parts in Python: they have not failed so before
            program = trace.of_pass(model, loop.of, loop.dy, need_dx=loop.need_dx)
    found = None if program is None else program.found
    fine = all(np.isfinite(largest(g)) for g in gradients.values())
    if found and not (fine and found.kind in ("dy", "gradient")):
        return Case(_with_owner(model, found), program, norm=number)
    owner = _owner(model.layers, variable)
    found = look_at("gradient", variable, gradients[variable], layer=owner)
    if found is None:
        found = _summed(model.optimizer, gradients[variable], variable)._replace(layer=owner)
        return Case(found, program, norm=number)
    slope = _slope(variable)
    if slope is not None:
        return Case(slope._replace(layer=owner), program, norm=number)
    if program is not None and not loop.added and variable in program.gradients:
        summed = _accumulated(model, program, variable, number)
        if summed is not None:
            return Case(summed._replace(layer=owner), program, norm=number)
    random = not loop.added and any(layer.in_python for layer, _ in _owned(model.layers))
    return Case(found, program, given="added", norm=number, repeated=not random)


def _slope(variable: Variable) -> Finding | None:
    own = variable.regularizer
    if own is None:
        return None
    slope = np.zeros(variable.shape, np.float32)
    with np.errstate(all="ignore"), contextlib.suppress(Exception):  # it has not failed before
        slope = np.asarray(own.gradient(variable.numpy()), np.float32)
    return look_at("slope", variable, slope)


# -- what is known besides


def _losses(epoch: Epoch, recording: Recording, watched: Health) -> tuple[float, ...]:
    """Losses of the steps before; or means of the epochs, and of the steps of this one."""
    if len(watched.loss) > 1:
        return tuple(watched.loss.tolist())
    everyone = epoch.model._watching
    history = everyone.history if everyone is not None else None
    known = [float(loss) for loss in history.history.get("loss", ())] if history else []
    total, rows = recording.before[:2].tolist()
    return (*known, total / rows) if rows else tuple(known)


def _moves(watched: Health) -> dict[str, tuple[float, float]]:
    """Norms of the last updates, and of what they made, by path."""
    seen = {path: norms for path, norms in watched.norms.items() if len(norms.update)}
    return {path: (float(n.update[-1]), float(n.weight[-1])) for path, n in seen.items()}


def _sizes(feed: Feed) -> dict[str, float]:
    data, rows = feed.data(), feed.rows()
    arrays = {"inputs": data.x, "targets": data.y, "weights": data.weight}
    return {name: largest(_float32(a[rows])) for name, a in arrays.items() if a is not None}


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    return _sources.converted(array)
