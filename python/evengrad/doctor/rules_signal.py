"""Diseases of the signal: gradients and activations on their way through the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor import _slopes
from evengrad.doctor._depth import field_of
from evengrad.doctor._verdict import some, verdict
from evengrad.doctor.verdicts import Edit, Verdict

if TYPE_CHECKING:
    from evengrad.doctor._evidence import Evidence
    from evengrad.doctor._looks import Look, Looked

F64 = NDArray[np.float64]

# Activations whose slope is below 1 everywhere or far below it: no scale of kernels helps for long.
SQUASHING = {"sigmoid", "hard_sigmoid", "tanh", "softsign", "hard_tanh"}
_SMALL = 1e-30


def chain(looked: Looked) -> list[Look]:
    """Hidden layers whose gradients depend on each other: no branches, nothing frozen."""
    return [look for look in looked.hidden if not look.skipped and look.trainable]


def fall(looked: Looked) -> tuple[float, float]:
    """Decades that gradients lose from the last hidden layer to the first, and that per layer.

    A straight line through log10 of the root mean squares, by least squares.
    """
    layers = chain(looked)
    logs = np.log10([max(look.gradient, _SMALL) for look in layers])
    if len(layers) < 2 or not np.isfinite(logs).all():
        return 0.0, 0.0
    slope = float(np.polyfit(np.arange(len(logs)), logs, 1)[0])
    return slope * (len(logs) - 1), slope


def compounded(looked: Looked) -> float:
    """Decades by which kernels without a normalization behind them change the signal."""
    layers = [look for look in looked.hidden if not look.normalized and not look.skipped]
    return float(sum(np.log10(max(look.scale, _SMALL)) for look in layers))


def depth_limit(looked: Looked) -> float:
    """Layers up to which a network of such kernels and activations trains, by its mean field.

    Infinity where normalizations or branches keep the signal, or there is no field.
    """
    layers = chain(looked)
    inner = layers[1:] or layers
    if len(layers) < 3 or any(look.normalized for look in layers):
        return float("inf")
    weight = float(np.median([(look.scale * look.gain) ** 2 for look in inner]))
    bias = float(np.median([look.bias for look in inner]))
    applied = inner[0].applied
    if any(look.applied != applied for look in inner):
        return float("inf")

    def function(z: F64) -> F64:
        return _slopes.values(applied, z.astype(np.float32)).astype(np.float64)

    def slope(z: F64) -> F64:
        found = _slopes.slopes(applied, z.astype(np.float32))
        return np.ones_like(z) if found is None else found.astype(np.float64)

    return field_of(function, slope, weight, bias).depth


def vanishing_gradient(e: Evidence) -> Verdict | None:
    """Hochreiter 1998; Glorot, Bengio 2010: gradients fade on their way to the first layers."""
    total, slope = fall(e.fresh)
    now, _ = fall(e.now)
    layers = chain(e.fresh)
    if len(layers) < 2:
        return None
    lost = layers[-1].signal
    decades = total
    faint = lost < 0.03 and not layers[-1].normalized
    if decades < 1.0 and not faint:
        return None
    limit = depth_limit(e.fresh)
    confidence = 0.25 + 0.15 * max(decades, 0.0) + (0.2 if faint else 0.0)
    confidence += 0.1 * (len(layers) > 1.5 * limit)
    if abs(compounded(e.fresh)) > 1.0 and not squashes(e.fresh):
        confidence *= 0.85  # the cause is another
    names = [look.name for look in layers]
    trainable = ""
    if limit < len(layers):
        trainable = f"; trainable to about {limit:.0f} layers, this has {len(layers)}"
    return verdict(
        "vanishing_gradient",
        min(confidence, 0.96),
        f"Gradients lose {decades:.1f} decades on the way from {names[-1]} to {names[0]}, "
        f"{slope:.2f} at each layer{trainable}.",
        {
            "decades": decades,
            "decades_per_layer": slope,
            "decades_now": now,
            "signal_of_last_hidden": lost,
            "depth": len(layers),
            "trainable_depth": limit,
        },
        (
            Edit("initializer", "auto"),
            Edit("activation", "elu"),
            Edit("batch_normalization", "before"),
        ),
        'Dense(units, "elu", kernel_initializer="he_normal") and BatchNormalization() behind each',
        "Glorot, Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html",
        names,
    )


def squashes(looked: Looked) -> bool:
    """Whether most hidden activations are flat on both sides, with slopes far below 1."""
    names = [look.activation for look in looked.hidden]
    return sum(name in ("sigmoid", "hard_sigmoid") for name in names) > len(names) / 2


def exploding_gradient(e: Evidence) -> Verdict | None:
    """Pascanu et al. 2013: gradients or activations grow from layer to layer."""
    total, slope = fall(e.fresh)
    layers = chain(e.fresh)
    broken = e.fresh.broken
    growth = 0.0
    if len(layers) > 1:
        first, last = (max(layers[i].before[1], _SMALL) for i in (0, -1))
        growth = float(np.log10(last / first)) if np.isfinite(last / first) else 40.0
    decades = max(-total, growth)
    if decades < 1.5 and not broken:
        return None
    confidence = 0.95 if broken else min(0.9, 0.2 + 0.15 * decades)
    names = [look.name for look in layers]
    where = f"{names[0]} to {names[-1]}" if names else broken
    return verdict(
        "exploding_gradient",
        confidence,
        f"What passes {where} grows by {decades:.1f} decades"
        + (f", and {broken} is not finite." if broken else "."),
        {
            "decades": decades,
            "decades_per_layer": -slope,
            "growth_of_activations": growth,
            "not_finite": broken,
            "depth": len(layers),
        },
        (
            Edit("clipping", {"global_clipnorm": 1.0}),
            Edit("initializer", "auto"),
            Edit("batch_normalization", "before"),
        ),
        'optimizer=Adam(0.001, global_clipnorm=1.0), kernel_initializer="auto"',
        "Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063",
        names,
    )


def initialization_scale(e: Evidence) -> Verdict | None:
    """He et al. 2015: the variance of kernels is not the one that keeps that of the signal."""
    layers = [look for look in e.fresh.hidden if not look.skipped]
    if not layers or any(look.copies == look.units for look in layers):
        return None
    inner = layers[1:] or layers  # that of the first depends on the columns that there are
    scales = np.array([look.scale for look in inner])
    middle = float(np.exp(np.mean(np.log(np.maximum(scales, _SMALL)))))
    off = float(np.median([misfit(look) for look in inner]))
    bare = [look for look in inner if not look.normalized]
    decades = float(sum(misfit(look) for look in bare))
    if bare and bare[0].activation not in SQUASHING:
        decades = max(decades, abs(compounded(e.fresh)), key=abs)
    if abs(off) < np.log10(1.2) and abs(decades) < 1.2:
        return None
    confidence = 0.4 + 0.6 * abs(off) + 0.1 * abs(decades)
    if not bare:
        confidence = 0.2 + 0.3 * abs(off)
    names = [look.name for look in layers]
    word = "small" if middle < 1.0 else "large"
    return verdict(
        "initialization_scale",
        min(confidence, 0.97),
        f"Kernels of {some(names)} are too {word} at first: {middle:.3g} times what keeps the "
        f"variance through {layers[0].activation}.",
        {
            "scale": middle,
            "decades_over_depth": decades,
            "gain": layers[0].gain,
            "smallest": float(scales.min()),
            "largest": float(scales.max()),
        },
        (Edit("initializer", "auto"), Edit("batch_normalization", "before")),
        'Dense(units, activation, kernel_initializer="auto")',
        "He, Zhang, Ren, Sun 2015, arXiv:1502.01852",
        names,
    )


def misfit(look: Look) -> float:
    """Decades by which kernels are outside of what suits their activation; below 0: too small.

    Around 0 a function like tanh has a slope of 1 and needs no gain; a sigmoid has one of 1/4, and
    the usual kernels.
    """
    low, high = 0.7, 1.15
    if look.activation in ("sigmoid", "hard_sigmoid"):
        low, high = 0.18, 1.0
    elif look.activation in SQUASHING:
        low, high = 0.9 / look.gain, 1.15
    scale = max(look.scale, _SMALL)
    return float(min(0.0, np.log10(scale / low)) + max(0.0, np.log10(scale / high)))


def symmetric_initialization(e: Evidence) -> Verdict | None:
    """Goodfellow et al. 2016, 8.4: units that are equal at first stay equal."""
    sick = [
        look
        for look in e.fresh.hidden
        if look.units > 1 and look.fan_in > 1 and look.copies > look.units / 2
    ]
    if not sick:
        sick = [
            look
            for look in e.now.hidden
            if look.units > 1 and look.fan_in > 1 and look.copies > look.units / 2
            and look.weight > 0.0 and not e.trained
        ]  # fmt: skip
    if not sick:
        return None
    names = [look.name for look in sick]
    share = float(np.mean([look.copies / look.units for look in sick]))
    return verdict(
        "symmetric_initialization",
        0.97,
        f"{share:.0%} of the units of {some(names)} begin as copies of another one and get the "
        "same gradient.",
        {"share_of_copies": share, "units": sum(look.units for look in sick)},
        (Edit("initializer", "auto"),),
        'kernel_initializer="he_normal"',
        "Goodfellow, Bengio, Courville 2016, https://www.deeplearningbook.org, section 8.4",
        names,
    )


def dead_on_arrival(e: Evidence) -> Verdict | None:
    """Lu et al. 2019: networks that are born dead, no gradient reaches some layers."""
    layers = [look for look in e.fresh.hidden if look.trainable and not look.skipped]
    sick = [look for look in layers if look.gradient == 0.0 or len(look.dead) == look.units]
    if not sick or e.fresh.broken:
        return None
    zero = all(look.weight == 0.0 for look in layers)
    names = [look.name for look in sick]
    return verdict(
        "dead_on_arrival",
        0.8 if zero else 0.98,
        f"No gradient reaches {some(names)} before the first step.",
        {
            "layers_without_gradient": len(sick),
            "dead_units": sum(len(look.dead) for look in sick),
            "share_of_zeros": float(np.mean([look.zeros for look in sick])),
        },
        (Edit("initializer", "auto"), Edit("activation", "elu")),
        'Dense(units, "elu", kernel_initializer="he_normal", bias_initializer="zeros")',
        "Lu, Shin, Su, Karniadakis 2019, arXiv:1903.06733",
        names,
    )


def dying_units(e: Evidence) -> Verdict | None:
    """Lu et al. 2019: units that are zero, with a slope of zero, for every sample."""
    layers = [look for look in e.now.hidden if look.activation not in SQUASHING]
    shares = {look.name: idle(look) for look in layers}
    names = [name for name, share in shares.items() if share > 0.3]
    worst = max(shares.values(), default=0.0)
    if not names:
        return None
    mean = float(np.mean(list(shares.values())))
    born = float(np.mean([idle(look) for look in e.fresh.hidden]))
    return verdict(
        "dying_units",
        min(0.95, 0.2 + 0.75 * worst * (0.5 + 0.5 * mean) + 0.3 * (born > 0.2)),
        f"{worst:.0%} of the units of a layer among {some(names)} are flat for every one of the "
        "rows.",
        {
            "largest_share": worst,
            "mean_share": mean,
            "dead_units": sum(len(look.dead) for look in layers),
            "dead_at_first": sum(len(look.dead) for look in e.fresh.hidden),
        },
        (
            Edit("learning_rate", 0.1 * rate_of(e)),
            Edit("activation", "elu"),
            Edit("batch_normalization", "before"),
        ),
        'Dense(units, "elu")',
        "Lu, Shin, Su, Karniadakis 2019, arXiv:1903.06733",
        names,
    )


def idle(look: Look) -> float:
    """Share of units that are flat for all rows, or nearly: 85% of zeros begin to count."""
    return max(len(look.dead) / look.units, (look.zeros - 0.85) / 0.15)


def saturation(e: Evidence) -> Verdict | None:
    """Glorot, Bengio 2010: units that are where their activation is flat."""
    found = []
    for looked in (e.fresh, e.now):
        layers = [look for look in looked.hidden if look.activation in SQUASHING]
        found.append(float(np.mean([look.saturated for look in layers])) if layers else 0.0)
    first, now = found
    if max(first, now) < 0.25:
        return None
    sick = [
        look.name
        for look in (e.now if now > first else e.fresh).hidden
        if look.activation in SQUASHING and look.saturated > 0.25
    ]
    return verdict(
        "saturation",
        min(0.95, 0.3 + 0.7 * max(first, now)),
        f"{max(first, now):.0%} of the outputs of {some(sick)} are where the slope is below a "
        "hundredth of the steepest.",
        {"share_now": now, "share_at_first": first},
        (
            Edit("initializer", "auto"),
            Edit("batch_normalization", "before"),
            Edit("activation", "elu"),
        ),
        'Dense(units, kernel_initializer="auto"), BatchNormalization(), Activation("tanh")',
        "Glorot, Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html",
        sick,
    )


def rate_of(e: Evidence) -> float:
    """The learning rate."""
    return float(e.optimizer.learning_rate)
