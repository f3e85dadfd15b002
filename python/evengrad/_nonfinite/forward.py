"""Causes of outputs and losses that are not finite."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evengrad._nonfinite import magnitudes
from evengrad._nonfinite.case import (
    CHECK,
    EXPONENT,
    GUARD,
    INITIALIZE,
    LARGEST,
    Case,
    Verdict,
    blames_rate,
    kind_of,
    moved,
    remarkable,
    risen,
    short,
    slower,
)
from evengrad._nonfinite.trace import largest
from evengrad.activations import Activation
from evengrad.layers.base import Layer
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.losses import Loss

_ENOUGH_LAYERS = 4  # to speak of growth from layer to layer


def of_output(case: Case) -> Verdict:
    layer, program = case.finding.layer, case.program
    assert layer is not None
    assert program is not None
    before = magnitudes.inputs_of(program, layer, case.finding.samples)
    if layer.in_python:
        return f"call of {layer} returned {kind_of(case)}{remarkable(before, case)}", GUARD
    activation = getattr(layer, "activation", None)
    z = magnitudes.activated(program, layer, case.finding.samples)
    if z is not None and largest(z) <= LARGEST:
        if isinstance(activation, Activation):
            return f"call of {activation!r} returned {kind_of(case)}{remarkable(z, case)}", GUARD
        if activation is not None and activation.name != "linear":
            return of_activation(activation.name, z)
    if isinstance(layer, BatchNormalization) and _below_zero(layer):
        return f"moving_variance of {layer.name} is below 0, where the root of it is NaN", (
            "Set it anew with model.recalibrate(x)."
        )
    return of_overflow(case, layer, LARGEST)


def _below_zero(layer: BatchNormalization) -> bool:
    assert layer.moving_variance is not None
    return bool((layer.moving_variance.storage < 0.0).any())


def of_activation(name: str, z: NDArray[Any]) -> Verdict:
    most = float(z.max()) if name == "exponential" else largest(z)
    limit = f": e^x overflows above {EXPONENT}" if name == "exponential" else ""
    return (
        f"{name} of {most:.4g} is beyond float32{limit}",
        "Use softplus or elu instead, or put a BatchNormalization before it; scale the inputs.",
    )


def of_overflow(case: Case, layer: Layer | None, limit: float, what: str = "") -> Verdict:
    """Why outputs are as large as they are: inputs, weights of a layer, or growth layer by layer.

    `layer` is the one whose output is beyond the limit; None where the last one is near it.
    """
    program = case.program
    assert program is not None
    chain = [("the inputs", case.sizes.get("inputs", 1.0), None), *magnitudes.chain(program, layer)]
    if layer is not None:
        chain.append((layer.name, limit, layer))
    logs = [math.log10(max(size, 1.0)) for _, size, _ in chain]
    all_of_it = math.log10(limit)
    if logs[0] >= 0.5 * all_of_it:
        return (
            f"{what}the inputs reach {short(chain[0][1])}",
            "Scale the inputs, with an adapted Normalization as first layer for instance.",
        )
    jumps = [b - a for a, b in itertools.pairwise(logs)]
    if not jumps:
        return f"{what}nothing that is known explains it", INITIALIZE
    most = max(range(len(jumps)), key=jumps.__getitem__)
    few = sum(bool(at is not None and at.variables) for _, _, at in chain) < _ENOUGH_LAYERS
    if few or jumps[most] >= 0.5 * (all_of_it - logs[0]):
        return of_weights(case, chain[most + 1][2], what, chain[most][1])
    return of_growth(case, chain, layer, what)


def of_weights(case: Case, layer: Layer | None, what: str, given: float) -> Verdict:
    heavy = magnitudes.heaviest(layer)
    if layer is None or heavy is None:
        return (
            f"{what}what {layer and layer.name} makes of inputs of up to {short(given)}",
            INITIALIZE,
        )
    path, weight, gain = heavy
    if blames_rate(case) and gain > 3.0:
        return (
            f"{what}the learning rate is too high: the weights of {path} have become as large as "
            f"{short(weight)} by now{moved(case, path)}{risen(case)}",
            slower(case),
        )
    known = f"the weights of {path} are as large as {short(weight)}, its inputs {short(given)}"
    if case.steps and gain > 3.0:
        return f"{what}{known}, though the loss had not risen", (
            f"Look whether anything but training writes into {path}."
        )
    return f"{what}{known}", INITIALIZE


def of_growth(
    case: Case, chain: list[tuple[str, float, Layer | None]], layer: Layer | None, what: str
) -> Verdict:
    own = [link for link in chain if link[2] is not None and link[2].variables]
    own = own if len(own) > 1 else chain
    (first, low, _), (last, high, _) = own[0], own[-1]
    fold = (high / max(low, 1e-37)) ** (1.0 / (len(own) - 1))
    heavy = [magnitudes.heaviest(at) for _, _, at in own]
    gains = [found[2] for found in heavy if found is not None]
    end = f"beyond {short(high)}" if layer is not None else f"{short(high)}"
    way = f"from {short(low)} in {first} to {end} in {last}"
    text = f"{what}outputs grow {short(fold)}-fold a layer, {way}"
    if blames_rate(case) and (risen(case) or (gains and np.median(gains) > 3.0)):
        return f"{text}: the learning rate is too high{risen(case)}", slower(case)
    return text, INITIALIZE


# -- the loss


def of_loss(case: Case) -> Verdict:
    loss, program, samples = case.loss, case.program, case.finding.samples
    assert loss is not None
    assert program is not None
    if loss.in_python:
        seen = magnitudes.compared(program, samples)
        return (
            f"call of {magnitudes.name_of(loss)} returned {kind_of(case)}{remarkable(seen, case)}",
            (GUARD),
        )
    return of_sizes(case, f"{loss.name} is beyond float32: ", 1e15)


def of_sizes(case: Case, what: str, much: float) -> Verdict:
    """Which of the things that a loss is made of is the largest."""
    program = case.program
    assert program is not None
    outputs = program.sizes[-1].largest if program.sizes else case.sizes.get("inputs", 0.0)
    targets, weights = (case.sizes.get(name, 0.0) for name in ("targets", "weights"))
    most = max(outputs, targets, weights)
    if most == weights and most > much:
        return f"{what}the weights of samples reach {short(weights)}", (
            "Scale the weights of samples, to a mean of 1 for instance."
        )
    if most == targets and most > much:
        return f"{what}the targets reach {short(targets)}", (
            "Scale the targets, by their standard deviation for instance."
        )
    if case.finding.nan and case.loss is not None and most <= much:
        return _of_kinds(case.loss)
    return of_overflow(case, None, max(most, 10.0), f"{what}the outputs reach {short(outputs)}; ")


def _of_kinds(loss: Loss) -> Verdict:
    """What outputs of usual size may not be."""
    activation = getattr(loss, "activation", None)
    if activation is not None:
        return f"{loss.name} divides by the sum of the outputs of a sample, a division by 0 here", (
            f'End with the activation "{activation}"; for logits say from_logits=True.'
        )
    return f"{loss.name} takes a logarithm of outputs, some of which are below 0", (
        'End with an activation that keeps outputs above 0, such as "softplus".'
    )


def of_penalty(case: Case) -> Verdict:
    variable = case.finding.variable
    assert variable is not None
    size = largest(variable.value)
    kind = "a call" if case.finding.kind == "penalty" else "gradient"
    text = f"{kind} of {variable.regularizer!r} is not finite for weights of up to {short(size)}"
    if variable.regularizer is not None and variable.regularizer.in_python:
        return text, CHECK
    return text, "Lower the factors of the regularizer."
