"""What was not finite first in a step that failed: looked for once training has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _recording, _sources, _stack
from evengrad._program import Program
from evengrad.errors import rows_text

if TYPE_CHECKING:
    from evengrad._feed import Feed
    from evengrad._recording import Recording
    from evengrad._trainer import Trainer

Rows = NDArray[np.intp]

_CLEAN = "Look into the data: they changed after fit had checked them."
_TAME = (
    "Lower the learning rate, clip gradients (clipnorm=1.0), scale the inputs or initialize with "
    "the variance of the activation."
)


class Culprit(NamedTuple):
    """Attributes of a NonFiniteError, and its words."""

    tensor: str
    layer: str | None
    rows: tuple[int, ...]
    text: str
    cure: str


def of_gradient(model: Trainer, recording: Recording, number: int) -> Culprit:
    """Name a variable, by its number in the recording."""
    variable = recording.variables[number]
    owners = [p.name for p in _stack.every(model.layers) if variable in p.variables]
    what = f"the gradient of {variable.path}"
    if np.isfinite(recording.norms[number]):
        what = f"the learning rate times {what}"
    return Culprit(variable.path, owners[-1], (), f"{what} is not finite.", _TAME)


def of_loss(model: Trainer, feed: Feed) -> Culprit:
    """Name what made the loss of the next step not finite: data, a layer's output, or itself."""
    data, rows = feed.data(), feed.rows()
    for name, array in (("inputs", data.x), ("targets", data.y), ("weights", data.weight)):
        bad = rows[:0] if array is None else _sources.illegal_rows(array, rows)
        if bad.size:
            where = f"the {name} in row {rows_text(bad)}{feed.of_batch}"
            if data.legal is None:
                text, cure = f"the loss is not finite, nor are {where}.", _CLEAN
            else:
                text, cure = f"{where} are not finite, as float32.", "Look into the data."
            return Culprit(name, None, tuple(bad.tolist()), text, cure)
    for layer, y in _outputs(model, _sources.converted(data.x[rows])):
        bad = rows[_sources.illegal_rows(y.reshape(len(rows), -1), np.arange(len(rows)))]
        if bad.size:
            text = (
                f"the loss is not finite, nor is the output of {layer} in row {rows_text(bad)}"
                f"{feed.of_batch}."
            )
            return Culprit("output", layer, tuple(bad.tolist()), text, _TAME)
    return Culprit("loss", None, (), "the loss is not finite.", _TAME)


def check_targets(who: str, feed: Feed) -> None:
    """Raise where targets of the next step are finite, but not what the loss wants."""
    data, rows = feed.data(), feed.rows()
    assert data.y is not None
    if data.legal is not None and not _sources.illegal_rows(data.y, rows).size:
        raise of_sources(who, feed)


def of_sources(who: str, feed: Feed) -> ValueError:
    """Say which rows of the next step are not legal."""
    data, rows = feed.data(), feed.rows()
    finite = _sources.FINITE
    for name, array, legal in (("x", data.x, finite), ("y", data.y, data.legal or finite)):
        if array is None:
            continue
        bad = _sources.illegal_rows(array, rows, legal)
        if bad.size:
            text = _sources.explain(array, bad, legal)
            return ValueError(f"{who}: expected {name} {text}{feed.of_batch}")
    return ValueError(f"{who}: expected the data not to change while they are read")


def _outputs(model: Trainer, x: NDArray[np.float32]) -> list[tuple[str, NDArray[np.float32]]]:
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
            iteration = model.optimizer.iterations + 1
            program.run(program.capacity, iteration=iteration, seed=model.seed)
        draws, x = program.draws, np.array(y)
        found.append((layer.name, x))
    return found
