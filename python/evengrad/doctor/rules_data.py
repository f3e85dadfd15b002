"""Diseases of the data: columns, targets, and outputs that do not fit them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evengrad import losses
from evengrad.doctor import _looks
from evengrad.doctor._verdict import verdict
from evengrad.doctor.verdicts import Edit, Verdict

if TYPE_CHECKING:
    from evengrad.doctor._evidence import Evidence

_RANGES = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, np.inf),
    "exponential": (0.0, np.inf),
    "log_softmax": (-np.inf, 0.0),
}
_ENTROPIES = (
    losses.BinaryCrossentropy,
    losses.CategoricalCrossentropy,
    losses.SparseCategoricalCrossentropy,
    losses.KLDivergence,
)


def output_loss_mismatch(e: Evidence) -> Verdict | None:
    """Bishop 1995, ch. 6: activation of the outputs, loss and targets belong together."""
    found = _misfit(e)
    if found is None:
        return None
    confidence, why = found
    output = _fitting(e)
    return verdict(
        "output_loss_mismatch",
        confidence,
        why,
        {
            "activation": e.head,
            "loss": e.model.loss.name if e.model.loss is not None else "",
            "units": e.last.units if e.last is not None else 0,
            "classes": e.task.classes if e.task is not None else 0,
        },
        (Edit("output", output),),
        f"Dense({output['units']}, {output['activation']!r}); compile(loss={output['loss']!r})",
        "Bishop 1995, Neural Networks for Pattern Recognition, chapter 6",
        () if e.last is None else (e.last.name,),
    )


def _fitting(e: Evidence) -> dict[str, object]:
    task = e.task
    loss = e.model.loss
    if task is None or not task.classes:
        units = 1 if task is None or task.values is None else task.values.shape[1]
        return {"activation": "linear", "loss": "mse", "units": units}
    if task.classes == 2 and not (loss is not None and loss.sparse) and _one_column(e):
        return {"activation": "sigmoid", "loss": "binary_crossentropy", "units": 1}
    sparse = loss is not None and (loss.sparse or _one_column(e))
    name = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    return {"activation": "softmax", "loss": name, "units": task.classes}


def _one_column(e: Evidence) -> bool:
    y = e.data.y
    return y is not None and y.size == len(y)


def _misfit(e: Evidence) -> tuple[float, str] | None:
    loss, head, task = e.model.loss, e.head, e.task
    if loss is None or task is None or e.last is None:
        return None
    logits = bool(getattr(loss, "from_logits", False))
    if head == "softmax" and e.last.units == 1:
        return 0.99, "softmax over one unit is 1, whatever the inputs."
    if isinstance(loss, _ENTROPIES):
        return _misfit_of_entropy(head, logits, loss, e)
    low, high = _RANGES.get(head, (-np.inf, np.inf))
    if task.values is not None:
        outside = float(np.mean((task.values < low) | (task.values > high)))
        if outside > 0.0:
            return (
                0.6 + 0.38 * min(1.0, 5.0 * outside),
                f"{outside:.0%} of the targets are outside of what {head} can give, "
                f"{low:g} to {high:g}.",
            )
    elif head == "relu":
        return 0.6, f"{head} outputs with {loss.name} are flat wherever they are 0."
    return None


def _misfit_of_entropy(
    head: str, logits: bool, loss: losses.Loss, e: Evidence
) -> tuple[float, str] | None:
    proper = ("sigmoid", "softmax")
    if logits:
        if head in ("linear", "own"):
            return None
        return 0.7, f"{loss.name} wants logits, and {head} gives {_RANGES.get(head, '')}."
    if head == "own" or head in proper:
        wrong = head == "sigmoid" and loss.sparse
        if wrong:
            return 0.4, f"{loss.name} wants probabilities that add up to 1, sigmoid gives others."
        return None
    return 0.97, f"{loss.name} wants probabilities, and {head} gives numbers that are none."


def unscaled_inputs(e: Evidence) -> Verdict | None:
    """LeCun et al. 1998, 4.3: columns of mean 0 and similar spread train fastest."""
    if _looks.normalizes_inputs(e.model):
        return None
    inputs = e.now.inputs
    if inputs is None:
        return None
    rows = inputs.astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    varying = spread > 1e-7 * (np.abs(mean) + 1e-30)
    if not varying.any():
        return None
    mean, spread = mean[varying], spread[varying]
    size = np.sqrt(mean**2 + spread**2)
    middle = float(np.median(spread))
    range_ = float(np.log10(spread.max() / max(np.median(spread), 1e-30)))
    typical = float(np.log10(np.sqrt(np.mean(size**2))))
    far = float(np.log10(max(1.0, np.median(np.abs(mean) / spread))))
    tilt = float(np.log10(spread.max() / spread.min())) if len(spread) < 20 else range_
    extreme = max(range_, tilt / 1.5, typical - 0.5, -typical - 1.0, far)
    if extreme < 0.75:
        return None
    return verdict(
        "unscaled_inputs",
        min(0.97, 0.75 + 0.08 * extreme),
        f"Columns have spreads from {spread.min():.3g} to {spread.max():.3g} and are up to "
        f"{np.max(np.abs(mean) / spread):.3g} spreads from 0.",
        {
            "smallest_spread": float(spread.min()),
            "median_spread": middle,
            "largest_spread": float(spread.max()),
            "median_distance_from_0": float(np.median(np.abs(mean) / spread)),
            "size": 10.0**typical,
        },
        (Edit("scale_inputs", True),),
        "normalization = layers.Normalization(); normalization.adapt(x)  # as the first layer",
        "LeCun, Bottou, Orr, Muller 1998, doi:10.1007/3-540-49430-8_2",
    )


def unscaled_targets(e: Evidence) -> Verdict | None:
    """LeCun et al. 1998, 4.5: targets in the range that the outputs begin with."""
    if e.task is None or e.task.values is None:
        return None
    values = e.task.values
    mean, spread = float(np.abs(values.mean(axis=0)).max()), float(values.std(axis=0).max())
    if spread == 0.0:
        return None
    size = float(np.sqrt(np.mean(values**2)))
    far = mean / spread
    extreme = max(abs(np.log10(size)) - 0.3, np.log10(max(far, 1.0)))
    if extreme < 0.6:
        return None
    return verdict(
        "unscaled_targets",
        min(0.97, 0.75 + 0.08 * extreme),
        f"Targets have mean {values.mean():.3g} and spread {spread:.3g}; outputs begin around 0 "
        "with a spread of about 1.",
        {"mean": float(values.mean()), "spread": spread},
        (Edit("scale_targets", True),),
        "model.fit(x, (y - y.mean()) / y.std())",
        "LeCun, Bottou, Orr, Muller 1998, doi:10.1007/3-540-49430-8_2",
    )


def constant_columns(e: Evidence) -> Verdict | None:
    """LeCun et al. 1998, 4.3: a column that is the same number in all rows acts as a bias."""
    columns = e.columns
    same = columns.constant
    sizes = np.abs(columns.mean[same])
    loud = same[sizes > 0.0]
    if not len(loud) or not len(columns.varying) or _looks.normalizes_inputs(e.model):
        return None
    noise = float(np.sqrt((columns.mean[loud] ** 2).sum()))
    varying = columns.varying
    signal = float(np.sqrt((columns.spread[varying] ** 2 + columns.mean[varying] ** 2).sum()))
    ratio = noise / max(signal, 1e-30)
    if ratio < 0.3:
        return None
    return verdict(
        "constant_columns",
        min(0.98, 0.8 + 0.1 * np.log10(ratio + 1.0)),
        f"{len(loud)} columns are the same in all rows, together {ratio:.2g} times as large as "
        "those that differ.",
        {"columns": loud[:20].tolist(), "count": len(loud), "relative_size": ratio},
        (Edit("drop_columns", loud.tolist()), Edit("scale_inputs", True)),
        "x = x[:, x.std(axis=0) > 0]",
        "LeCun, Bottou, Orr, Muller 1998, doi:10.1007/3-540-49430-8_2",
    )


def leaking_columns(e: Evidence) -> Verdict | None:
    """Kaufman et al. 2012: a column holds the answer."""
    telling = e.columns.telling
    if not len(telling) or telling.max() < 0.97:
        return None
    sick = np.flatnonzero(telling > 0.97)
    others = np.delete(telling, sick)
    rest = float(others.max()) if len(others) else 0.0
    without = e.without(tuple(sick.tolist()))
    watched = e.held_out
    drop = e.score - watched if np.isfinite(watched) else 0.0
    confidence = 0.6 + 0.3 * min(1.0, max(0.0, (1.0 - without) * 5.0)) + 0.5 * max(drop, 0.0)
    if without > 0.97 and drop < 0.1:
        return None
    return verdict(
        "leaking_columns",
        min(confidence, 0.99),
        f"Column {', '.join(map(str, sick[:5]))} alone tells {telling.max():.1%} of the answer.",
        {
            "columns": sick[:20].tolist(),
            "share_told": float(telling.max()),
            "next_best": rest,
            "score_without": without,
            "held_out": watched,
        },
        (Edit("drop_columns", sick.tolist()),),
        f"x = np.delete(x, {sick[:5].tolist()}, axis=1)",
        "Kaufman, Rosset, Perlich, Stitelman 2012, doi:10.1145/2382577.2382579",
    )


def labels_not_learnable(e: Evidence) -> Verdict | None:
    """Zhang et al. 2017: what a healthy network learns of the rows says nothing of others."""
    reference = e.reference
    if reference is None or e.task is None:
        return None
    above = reference.unseen - reference.chance
    doubt = reference.doubt
    room = max(1.0 - reference.chance, 1e-6)
    if above > max(2.0 * doubt, 0.1 * room):
        return None
    if np.isfinite(e.held_out) and e.held_out - reference.chance > 0.2 * room:
        return None
    return verdict(
        "labels_not_learnable",
        0.97,
        f"A healthy network reaches {reference.unseen:.3g} on rows that it has not seen, where "
        f"knowing nothing gives {reference.chance:.3g}.",
        {
            "score_of_reference": reference.unseen,
            "on_rows_it_saw": reference.seen,
            "chance": reference.chance,
            "rows": reference.rows,
        },
        (),
        "look at how x and y were joined: the order of rows, the column of the labels",
        "Zhang, Bengio, Hardt, Recht, Vinyals 2017, arXiv:1611.03530",
    )
