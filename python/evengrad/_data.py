"""What a model trains on: the user's arrays, checked, and how programs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _frames, _sources, _validation
from evengrad.losses import Loss

if TYPE_CHECKING:
    from evengrad._program import Program
    from evengrad._trainer import Trainer

_PIECE = 1 << 20  # numbers that are copied at a time where programs cannot read them


class Data(NamedTuple):
    """Samples, labels or targets, weights; samples and targets of any dtype.

    `legal`: what targets may be where that, or whether samples are finite, is to be seen as they
    are read; None where it was seen before and programs can read all of it where it lies.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None
    weight: NDArray[np.float32] | None = None
    legal: tuple[float, float] | None = None

    def rows(self, part: slice | NDArray[np.intp]) -> Data:
        """Return some of the rows; a slice of them as views."""
        y = None if self.y is None else self.y[part]
        weight = None if self.weight is None else self.weight[part]
        return Data(self.x[part], y, weight, self.legal)

    @property
    def readable(self) -> bool:
        """Whether programs can read all of it where it lies."""
        return _sources.readable(self.x) and (self.y is None or _sources.readable(self.y))

    def in_memory(self, part: slice | NDArray[np.intp]) -> Data:
        """Return some rows, converted where programs could not read them."""
        some = self.rows(part)
        x, y = (
            array if array is None or _sources.readable(array) else _sources.converted(array)
            for array in (some.x, some.y)
        )
        assert x is not None
        return Data(x, y, some.weight, self.legal)


def samples(
    model: Trainer, who: str, x: Any, *, defer: bool = False, warn: bool = False
) -> _sources.Source:
    """Return samples for the model, which is built for them if it was not.

    With `defer` they are to be checked as they are read; `warn` of what float32 cannot tell apart.
    """
    shape = model.sample_shape() if model.has_shape else None
    array = _validation.sample_array(who, "x", x, shape)
    source = _sources.borrow(who, "x", array, defer=defer)
    if warn:
        _sources.warn_of_lost_values(who, array, _frames.column_names(x))
    if not model.built:
        model.build((None, *array.shape[1:]))
    return source


def checked_samples(model: Trainer, who: str, x: Any) -> NDArray[Any]:
    """Return samples for the model, all of them checked."""
    array, checked = samples(model, who, x)
    if not checked:
        _sources.check(who, "x", array, array)
    return array


def prepare(
    model: Trainer,
    who: str,
    x: Any,
    y: Any,
    sample_weight: Any = None,
    class_weight: Any = None,
    *,
    defer: bool = False,
    warn: bool = False,
) -> Data:
    """Return the data as the model's loss reads them."""
    if y is None:
        raise ValueError(f"{who}: expected y, the labels or targets of x, got None")
    check_one_weighing(who, sample_weight, class_weight)
    array, checked = samples(model, who, x, defer=defer, warn=warn)
    truth, known, legal = _truth(model, who, y, len(array), defer=defer)
    weight = None
    if sample_weight is not None:
        weight = _validation.sample_weights(who, sample_weight, len(array))
    data = Data(array, truth, weight, None if checked and known else legal)
    return weighed(who, data, class_weight)


def _truth(
    model: Trainer, who: str, y: Any, n: int, *, defer: bool
) -> tuple[NDArray[Any], bool, tuple[float, float]]:
    """Labels or targets, whether they were checked, and what they may be."""
    loss, shape = model.compiled_loss(who), model.sample_output_shape()
    legal = (0.0, 1.0) if loss.of_probabilities else _sources.FINITE
    if loss.sparse or type(loss).convert is not Loss.convert:
        return loss.convert(who, y, n, shape), True, legal
    array = _validation.target_array(who, "y", y, n, shape)
    return *_sources.borrow(who, "y", array, legal, defer=defer), legal


def check_one_weighing(who: str, sample_weight: Any, class_weight: Any) -> None:
    """Refuse weights of samples together with those of classes."""
    if sample_weight is not None and class_weight is not None:
        raise ValueError(f"{who}: expected sample_weight or class_weight, not both")


def weighed(who: str, data: Data, class_weight: Any) -> Data:
    """Return the data with the weights of their classes, if any."""
    if class_weight is None:
        return data
    assert data.y is not None
    classes = _classes(who, data.y)
    return data._replace(weight=_validation.class_weights(who, class_weight, classes))


def _classes(who: str, truth: NDArray[Any]) -> NDArray[Any]:
    """Class numbers of labels, one-hot rows or numbers near them."""
    if truth.ndim > 2:
        raise ValueError(
            f"{who}: expected one class a sample for class_weight, got y of shape {truth.shape}; "
            "use sample_weight"
        )
    rows = truth.reshape(len(truth), -1)
    classes: NDArray[Any] = np.rint(rows[:, 0]) if rows.shape[1] == 1 else rows.argmax(axis=1)
    return classes


def split(data: Data, share: float) -> tuple[Data, Data | None]:
    """Return what to train on and what to validate with: the last rows."""
    if not share:
        return data, None
    kept = int(len(data.x) * (1.0 - share))
    if not 0 < kept < len(data.x):
        raise ValueError(
            f"fit: expected validation_split to leave rows on both sides, got {share} of "
            f"{len(data.x)} rows"
        )
    return data.rows(slice(kept)), data.rows(slice(kept, None))


def replay(
    program: Program,
    data: Data,
    order: NDArray[np.int64] | None,
    output: NDArray[np.float32] | None = None,
    *,
    first: int,
    steps: int,
    learning_rates: NDArray[np.float64] | None = None,
    **scalars: Any,
) -> int:
    """Run `steps` batches from row `first` of the order; return how many were completed."""
    x, y, weight, legal = data
    if legal is None or data.readable:
        return program.run_batches(
            x, y, weight, order, output,
            first=first, steps=steps, learning_rates=learning_rates, legal=legal, **scalars,
        )  # fmt: skip
    done = 0
    each = max(1, _PIECE // (program.capacity * (x.size // len(x))))
    while done < steps:
        count = min(each, steps - done)
        start = first + done * program.capacity
        part = slice(start, start + count * program.capacity)
        piece = data.in_memory(part if order is None else order[part])
        rates = None if learning_rates is None else learning_rates[done : done + count]
        completed = program.run_batches(
            *piece[:3], None, None if output is None else output[part],
            first=0, steps=count, learning_rates=rates, legal=legal, **scalars,
        )  # fmt: skip
        done += completed
        if completed < count:
            break
    return done
