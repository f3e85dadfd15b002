"""Causes of gradients and moves that are not finite."""

from __future__ import annotations

import math

import numpy as np

from evengrad._nonfinite import magnitudes
from evengrad._nonfinite.case import (
    CHECK,
    GUARD,
    INITIALIZE,
    LARGEST,
    Case,
    Verdict,
    kind_of,
    remarkable,
    short,
    slower,
)
from evengrad._nonfinite.forward import of_overflow, of_sizes
from evengrad._nonfinite.trace import largest
from evengrad.activations import Activation
from evengrad.layers.base import Layer
from evengrad.optimizers._state import ACCUMULATOR


def of_dy(case: Case) -> Verdict:
    maker, loss, program = case.finding.maker, case.loss, case.program
    if maker is None and (case.given or loss is None):
        return "backward was given it so", (
            "Look at how it is computed: a division by 0, a logarithm of 0, an overflow."
        )
    assert program is not None
    if maker is None and loss is not None:
        if loss.in_python:
            seen = magnitudes.compared(program, case.finding.samples)
            name = magnitudes.name_of(loss)
            return f"gradient of {name} returned {kind_of(case)}{remarkable(seen, case)}", GUARD
        return of_sizes(case, f"the gradient of {loss.name} is beyond float32: ", 1e15)
    assert maker is not None
    if maker.in_python:
        return f"call_backward of {maker} returned {kind_of(case)} for finite dy", CHECK
    return of_slope(case, maker) or of_shrinking(case, maker)


def of_slope(case: Case, layer: Layer) -> Verdict | None:
    """The slope of an activation of the user's."""
    activation = getattr(layer, "activation", None)
    if not isinstance(activation, Activation) or case.program is None:
        return None
    bad = magnitudes.bad_slope(case.program, layer, activation)
    if bad is None:
        return None
    x, nan = bad
    case = case._replace(finding=case.finding._replace(nan=nan))
    return f"slope of {activation!r} returned {kind_of(case)}{remarkable(x, case)}", CHECK


def of_shrinking(case: Case, maker: Layer) -> Verdict:
    """Gradients that grow on their way back."""
    program = case.program
    assert program is not None
    slopes = program.slopes
    if not slopes:
        return f"the gradient of its inputs overflows in {maker.name}", slower(case)
    top, last = slopes[0], slopes[-1]
    logs = math.log10(max(top.largest, 1e-37)), math.log10(LARGEST)
    if logs[0] > 0.5 * logs[1]:
        return of_large_dy(case)
    heavy = magnitudes.heaviest(maker)
    fold = (LARGEST / max(top.largest, 1e-37)) ** (1.0 / len(slopes))
    if len(slopes) < 3 and heavy is not None:
        text = f"the weights of {heavy[0]} are as large as {short(heavy[1])}"
        return text, slower(case) if case.steps and heavy[2] > 3.0 else INITIALIZE
    text = (
        f"gradients grow {short(fold)}-fold a layer on the way back, from {short(top.largest)} in "
        f"{top.layer.name} to {short(last.largest)} in {last.layer.name}"
    )
    return text, INITIALIZE if not case.steps else f"{slower(case)} {INITIALIZE}"


def of_large_dy(case: Case) -> Verdict:
    assert case.program is not None
    top = case.program.slopes[0]
    what = f"the gradient of the loss is as large as {short(top.largest)} already: "
    if case.given or case.loss is None:
        return f"backward was given numbers of up to {short(top.largest)}", (
            "Divide dy by the number of samples, or scale what it is made of."
        )
    return of_sizes(case, what, 1e10)


def of_gradient(case: Case) -> Verdict:
    layer, variable, program = case.finding.layer, case.finding.variable, case.program
    assert variable is not None
    if case.given == "apply":
        return f"apply was given {kind_of(case)}", "Look at how it is computed."
    if case.given == "added":
        return "gradients were added up over several calls of backward, or changed by hand", (
            "Look at what is added up, and at what writes into model.gradients."
        )
    assert layer is not None
    assert program is not None
    if layer.in_python:
        text = f"call_backward of {layer} returned {kind_of(case)} for {variable.name}"
        return text, CHECK
    own = of_slope(case, layer)
    if own is not None:
        return own
    before = magnitudes.inputs_of(program, layer, None)
    x = case.sizes.get("inputs", 0.0) if before is None else largest(before)
    dy = program.slopes[-1].largest if program.slopes else 0.0
    what = f"its factors reach {short(x)} (inputs of {layer.name}) and {short(dy)} (dy); "
    if x >= dy:
        return of_overflow(case, None, max(x, 10.0), what)
    if len(program.slopes) > 1 and dy > 1e3 * program.slopes[0].largest:
        cause, cure = of_shrinking(case, layer)
    else:
        cause, cure = of_large_dy(case)
    return f"{what}{cause}", cure


# -- update


def of_accumulated(case: Case) -> Verdict:
    """Gradients that are finite, but not their sum."""
    variable, optimizer = case.finding.variable, case.optimizer
    assert variable is not None
    assert optimizer is not None
    sums = optimizer.kept()[variable][ACCUMULATOR].storage
    if not np.isfinite(sums).all():
        return "what was accumulated before the step was not finite", (
            "Give the optimizer's state finite numbers, or compile with a new optimizer."
        )
    return "the gradients of this step and those before it add up to more than float32 holds", (
        f"{slower(case)} Scale targets and inputs, so that gradients are smaller."
    )


def of_move(case: Case) -> Verdict:
    """A finite gradient times the learning rate."""
    variable, optimizer = case.finding.variable, case.optimizer
    assert variable is not None
    assert optimizer is not None
    rate, norm = optimizer.rate_of_step, case.norm
    kind, threshold = optimizer.clip
    clips = kind != "none" and norm > threshold
    moved = min(norm, threshold) if clips else norm
    weight = float(np.sqrt((variable.value.astype(np.float64) ** 2).sum()))
    text = (
        f"the learning rate is too high: {short(rate)} times a gradient of norm {short(norm)}"
        f"{f', clipped to {short(threshold)},' if clips else ''} would move weights of norm "
        f"{short(weight)} by {short(rate * moved)}"
    )
    enough = 0.01 * max(weight, 0.1) / moved
    if enough < 1e-8:
        return text, (
            "Scale targets and inputs, or clip gradients (clipnorm=1.0), and lower the learning "
            f"rate of {short(rate)}."
        )
    digit = 10.0 ** math.floor(math.log10(enough))
    clip = ", or clip gradients (clipnorm=1.0)" if kind == "none" and rate <= weight else ""
    return text, f"Lower the learning rate from {short(rate)} to about {digit:.0e}{clip}."
