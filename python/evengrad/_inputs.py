"""From the arguments of fit, evaluate and predict to what their steps read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _arguments, _data, _dataset, _sources
from evengrad._data import Data
from evengrad._feed import Arrays, Batches, Feed, Order

if TYPE_CHECKING:
    from evengrad._trainer import Trainer


def feed_of(
    model: Trainer,
    who: str,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    *,
    batch_size: int | None,
    steps: int | None = None,
    default: int = _arguments.ROWS,
    order: Order | None = None,
    split: float = 0.0,
    warn: bool = False,
) -> tuple[Feed, Data | None]:
    """Return what to read from x, y and weights, and the rows that a split holds out.

    Without a batch_size it follows from the steps, or is the default.
    """
    if _dataset.hands_out_batches(x):
        given = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
        kind = type(x).__name__
        for name, value in (given | {"validation_split": split or None}).items():
            if value is not None:
                raise ValueError(
                    f"{who}: expected x alone, got {name} beside a {kind}, whose batches say it "
                    "all: (x, y) or (x, y, sample_weight)"
                )
        first = [warn]

        def prepare(who: str, x: Any, y: Any, weight: Any) -> Data:
            warned = bool(first and first.pop())
            return _data.prepare(model, who, x, y, weight, class_weight, defer=True, warn=warned)

        batches = Batches(who, x, prepare, steps, order)
        if not model.built:
            batches.build()
        return batches, None
    _data.check_one_weighing(who, sample_weight, class_weight)
    data, held_out = _data.split(_data.prepare(model, who, x, y, sample_weight, warn=warn), split)
    data = _data.weighed(who, data, class_weight)
    return Arrays(
        who, data, batch_size or _arguments.default_rows(len(data.x), steps, default), steps, order
    ), held_out


def held_out_of(
    model: Trainer, data: Data | None, given: Any, batch_size: int | None, steps: int | None
) -> Feed | None:
    """Return what to validate with: the rows that a split held out, or validation_data."""
    who = "fit: validation_data"
    if given is None:
        if data is None:
            return None
        return Arrays(who, data, batch_size or _arguments.default_rows(len(data.x), steps), steps)
    if not _dataset.hands_out_batches(given):
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError(
                "fit: expected validation_data (x, y) or (x, y, sample_weight), or an object that "
                f"hands out such batches, got {type(given).__name__}"
            )
        return feed_of(model, who, *given, batch_size=batch_size, steps=steps)[0]
    return feed_of(model, who, given, batch_size=None, steps=steps)[0]


def rows_of(who: str, samples: _sources.Source, batch_size: int, steps: int | None) -> Feed:
    """Return what to read from samples alone."""
    legal = None if samples.checked else _sources.FINITE
    return Arrays(who, Data(samples.array, legal=legal), batch_size, steps)


def inputs_of(
    model: Trainer, who: str, source: Any, batch_size: int | None, steps: int | None
) -> Feed:
    """Return what to read from an array, or from the batches that an object hands out."""
    if not _dataset.hands_out_batches(source):
        given = _data.samples(model, who, source)
        each = batch_size or _arguments.default_rows(len(given.array), steps)
        return rows_of(who, given, each, steps)
    if batch_size is not None:
        raise ValueError(
            f"{who}: expected x alone, got batch_size beside a {type(source).__name__}, whose "
            "batches have one"
        )

    def prepare(who: str, x: Any, y: Any, weight: Any) -> Data:
        return Data(_data.samples(model, who, x, defer=True).array, legal=_sources.FINITE)

    batches = Batches(who, source, prepare, steps)
    if not model.built:
        batches.build()
    return batches
