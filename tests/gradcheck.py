"""Gradients of float32 code against finite differences.

Float32 leaves little room between the error of a long step and the noise of a short one. So the
loss is taken at two steps either side, Richardson's extrapolation removes the error of order h^2,
and the tolerance is the sum of what remains: the noise of the loss over the step, a part of the
term just removed, and the rounding of the gradient itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

UNIT = 2.0**-24  # half an ulp of 1 in float32
STEP = 2.0**-5  # near UNIT^(1/5), where noise / h and h^4 balance
ROUNDINGS = 8  # roundings that a term of the loss has gone through, as a rule
GRADIENT_ROUNDING = 1e-4  # of the largest gradient: about 1,000 roundings


class Difference(NamedTuple):
    value: float
    error: float  # bound on |value - derivative|
    jump: float  # of the slope within the step, above noise: large where the loss has a kink


def difference(
    loss: Callable[[], float], array: F32, index: tuple[int, ...], rounding: float
) -> Difference:
    """Derivative of loss() with respect to array[index], which is moved in place and put back."""
    middle, start = array[index], loss()
    h = STEP * max(1.0, abs(float(middle)))
    slopes, bends = [], []
    for step in (h, 2.0 * h):
        at, values = [], []
        for sign in (1.0, -1.0):
            array[index] = middle + sign * step
            at.append(float(array[index]))  # as rounded
            values.append(loss())
        slopes.append((values[0] - values[1]) / (at[0] - at[1]))
        bends.append((values[0] - 2.0 * start + values[1]) / step)
    array[index] = middle
    near, far = slopes
    # An error of d in each loss moves near by d / h, far by d / 2h, their combination by 1.5 d / h.
    noise = 1.5 * rounding / h
    # What was removed is h^2 times f''' / 6; what remains, of order h^4, is a small part of it.
    removed = abs(near - far) / 3.0
    # A smooth loss bends twice as much over 2h, a kink in the middle as much. Ten losses' noise.
    jump = max(abs(near - far), abs(2.0 * bends[0] - bends[1])) - 10.0 * rounding / h
    return Difference((4.0 * near - far) / 3.0, noise + removed, max(0.0, jump))


def assert_gradients(
    loss: Callable[[], float],
    arrays: Mapping[str, F32],
    gradients: Mapping[str, F32],
    *,
    magnitude: float | None = None,
    elements: int | None = None,
    kinks: float = 0.0,
) -> None:
    """Check analytic gradients of a scalar loss.

    Parameters
    ----------
    loss : callable
        Evaluates the loss on what `arrays` hold now and adds it up in float64.
    arrays, gradients : mappings of name to array
        Where the loss is differentiated, and the gradients to check there.
    magnitude : float, optional
        Sum of the magnitudes of the float32 numbers that the loss adds up; |loss| if not given,
        which is right where they have one sign.
    elements : int, optional
        Check that many elements of each array, the same ones each time, rather than all.
    kinks : float, default 0
        Share of elements that may disagree because the loss is visibly not smooth within the step.
    """
    rounding = ROUNDINGS * UNIT * (abs(loss()) if magnitude is None else magnitude)
    for name, array in arrays.items():
        analytic = gradients[name].astype(np.float64)
        assert analytic.shape == array.shape, name
        assert np.isfinite(analytic).all(), name
        scale = float(np.abs(analytic).max())
        chosen = _choose(array.shape, elements)
        rough = 0
        for index in chosen:
            found = difference(loss, array, index, rounding)
            wrong = abs(analytic[index] - found.value)
            tolerance = found.error + GRADIENT_ROUNDING * scale
            if wrong > tolerance and found.jump > wrong / 2.0:
                rough += 1
                continue
            assert wrong <= tolerance, (
                f"{name}{list(index)}: gradient {analytic[index]:.8g}, "
                f"difference {found.value:.8g} +- {tolerance:.2g}"
            )
        assert rough <= kinks * len(chosen), f"{name}: {rough} of {len(chosen)} not smooth"


def _choose(shape: tuple[int, ...], elements: int | None) -> list[tuple[Any, ...]]:
    every = list(np.ndindex(shape))
    if elements is None or elements >= len(every):
        return every
    rng = np.random.Generator(np.random.PCG64(1))
    return [every[i] for i in sorted(rng.choice(len(every), elements, replace=False))]
