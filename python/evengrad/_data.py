"""What a model trains on: the user's arrays, checked and converted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation

if TYPE_CHECKING:
    from evengrad._trainer import Trainer


class Data(NamedTuple):
    """Samples, labels or targets, weights."""

    x: NDArray[np.float32]
    y: NDArray[np.int32] | NDArray[np.float32]
    weight: NDArray[np.float32] | None = None

    def rows(self, part: slice) -> Data:
        """Return some of the rows, as views."""
        weight = None if self.weight is None else self.weight[part]
        return Data(self.x[part], self.y[part], weight)


def samples(model: Trainer, who: str, x: Any) -> NDArray[np.float32]:
    """Return samples for the model, which is built for them if it was not."""
    array = _validation.features(who, "x", x, model.sample_shape() if model.has_shape else None)
    if not model.built:
        model.build((None, *array.shape[1:]))
    return array


def prepare(
    model: Trainer, who: str, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
) -> Data:
    """Return the data as the model's loss reads them."""
    loss = model.compiled_loss(who)
    if y is None:
        raise ValueError(f"{who}: expected y, the labels or targets of x, got None")
    check_one_weighing(who, sample_weight, class_weight)
    array = samples(model, who, x)
    truth = loss.convert(who, y, len(array), model.sample_output_shape())
    weight = None
    if sample_weight is not None:
        weight = _validation.sample_weights(who, sample_weight, len(array))
    return weighed(who, Data(array, truth, weight), class_weight)


def check_one_weighing(who: str, sample_weight: Any, class_weight: Any) -> None:
    """Refuse weights of samples together with those of classes."""
    if sample_weight is not None and class_weight is not None:
        raise ValueError(f"{who}: expected sample_weight or class_weight, not both")


def weighed(who: str, data: Data, class_weight: Any) -> Data:
    """Return the data with the weights of their classes, if any."""
    if class_weight is None:
        return data
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


def split(model: Trainer, data: Data, share: float, held_out: Any) -> tuple[Data, Data | None]:
    """Return what to train on and what to validate with: given data, or the last rows."""
    share = _validation.check_number("fit", "validation_split", share, 0.0, 1.0, open_high=True)
    if held_out is not None:
        if not isinstance(held_out, tuple | list) or len(held_out) not in (2, 3):
            raise ValueError(
                "fit: expected validation_data (x, y) or (x, y, sample_weight), got "
                f"{type(held_out).__name__}"
            )
        return data, prepare(model, "fit: validation_data", *held_out)
    if not share:
        return data, None
    kept = int(len(data.x) * (1.0 - share))
    if not 0 < kept < len(data.x):
        raise ValueError(
            f"fit: expected validation_split to leave rows on both sides, got {share} of "
            f"{len(data.x)} rows"
        )
    return data.rows(slice(kept)), data.rows(slice(kept, None))
