"""What was not finite first in a step that failed: looked for once training has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _recording, _sources, _stack
from evengrad._program import Program
from evengrad.errors import rows_text

if TYPE_CHECKING:
    from evengrad._compiled import Compiled
    from evengrad._feed import Feed
    from evengrad._pass import State
    from evengrad._trainer import Trainer
    from evengrad.variable import Variable

Rows = NDArray[np.intp]

_CLEAN = "Look into the data: they changed after fit had checked them."
_TAME = (
    "Lower the learning rate, clip gradients (clipnorm=1.0), scale the inputs or initialize with "
    "the variance of the activation."
)


_YOURS = "Look at how it is computed: a division by 0, a logarithm of 0, an overflow."


class Culprit(NamedTuple):
    """Attributes of a NonFiniteError, and its words."""

    tensor: str
    layer: str | None
    rows: tuple[int, ...]
    text: str
    cure: str


def of_gradient(model: Compiled, variable: Variable, norm: float) -> Culprit:
    """Name a variable; norm is the sum of squares of its gradient."""
    owners = [p.name for p in _stack.every(model.layers) if variable in p.variables]
    what = f"the gradient of {variable.path}"
    if np.isfinite(norm):
        what = f"the learning rate times {what}"
    return Culprit(variable.path, owners[-1], (), f"{what} is not finite.", _TAME)


def of_backward(model: Compiled, loop: State, variable: Variable, norm: float) -> Culprit:
    """Name what made the gradient of a variable not finite in a loop of the user's own."""
    rows = np.arange(0 if loop.dy is None else len(loop.dy))
    if loop.of is not None and len(loop.of.x) == len(rows):
        for layer, y in _outputs(model, loop.of.x, loop.of.iteration, loop.of.seed):
            bad = _bad(y.reshape(len(rows), -1), rows)
            if bad.size:
                text = f"the output of {layer} is not finite in row {rows_text(bad)}."
                return Culprit("output", layer, tuple(bad.tolist()), text, _TAME)
    bad = _bad(loop.dy, rows)
    if bad.size:
        text = f"what backward was given, dy, is not finite in row {rows_text(bad)}."
        return Culprit("dy", None, tuple(bad.tolist()), text, _YOURS)
    return of_gradient(model, variable, norm)


def of_loss(model: Trainer, feed: Feed) -> Culprit:
    """Name what made the loss of the next step not finite: data, a layer's output, or itself."""
    data, rows = feed.data(), feed.rows()
    for name, array in (("inputs", data.x), ("targets", data.y), ("weights", data.weight)):
        bad = _bad(array, rows)
        if bad.size:
            where = f"the {name} in row {rows_text(bad)}{feed.of_batch}"
            if data.legal is None:
                text, cure = f"the loss is not finite, nor are {where}.", _CLEAN
            else:
                text, cure = f"{where} are not finite, as float32.", "Look into the data."
            return Culprit(name, None, tuple(bad.tolist()), text, cure)
    x, iteration = _sources.converted(data.x[rows]), model.optimizer.iterations + 1
    for layer, y in _outputs(model, x, iteration, model.seed):
        bad = np.sort(rows[_bad(y.reshape(len(rows), -1), np.arange(len(rows)))])
        if bad.size:
            text = (
                f"the loss is not finite, nor is the output of {layer} in row {rows_text(bad)}"
                f"{feed.of_batch}."
            )
            return Culprit("output", layer, tuple(bad.tolist()), text, _TAME)
    return Culprit("loss", None, (), "the loss is not finite.", _TAME)


def _bad(array: NDArray[Any] | None, rows: Rows) -> Rows:
    """Those of the rows that hold what is not finite."""
    return rows[:0] if array is None else _sources.illegal_rows(array, rows)


def check_targets(feed: Feed) -> None:
    """Raise where targets of the next step are finite, but not what the loss wants."""
    data, rows = feed.data(), feed.rows()
    assert data.y is not None
    if data.legal is not None and not _sources.illegal_rows(data.y, rows).size:
        raise of_sources(feed)


def of_sources(feed: Feed) -> ValueError:
    """Say which rows of the next step are not legal."""
    data, rows = feed.data(), feed.rows()
    finite = _sources.FINITE
    for name, array, legal in (("x", data.x, finite), ("y", data.y, data.legal or finite)):
        if array is None:
            continue
        bad = _sources.illegal_rows(array, rows, legal)
        if bad.size:
            text = _sources.explain(array, bad, legal)
            return ValueError(f"{feed.who}: expected {name} {text}{feed.of_batch}")
    return ValueError(f"{feed.who}: expected the data not to change while they are read")


def _outputs(
    model: Compiled, x: NDArray[np.float32], iteration: int, seed: int
) -> list[tuple[str, NDArray[np.float32]]]:
    """Outputs of the layers in training mode, with the random numbers of the failed step."""
    found, draws = [], 0
    shape = model.sample_shape()
    layers = _stack.flat(model.layers)
    for i, layer in enumerate(layers):
        program = Program(len(x), training=True)
        program.skip_draws(draws)
        if i:
            source = program.tensor(x.shape[1], len(x) // program.capacity)
        else:
            source = _recording.batch_input(program, shape, layers)
        source[...] = x.reshape(source.shape)
        y = layer.record(program, source)
        if len(program):
            program.run(program.capacity, iteration=iteration, seed=seed)
        draws, x = program.draws, np.array(y)
        found.append((layer.name, x))
    return found
