"""Finite differences, what they are compared with, and what may be the cause where they differ."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad._cause import cause_of_shape, cause_of_values
from evengrad._check_parts import MisfitError, Subject
from evengrad._gradient_report import GradientReport, TensorReport
from evengrad.errors import GradientError

if TYPE_CHECKING:
    F64 = NDArray[np.float64]

_ROUNDINGS = 8  # that a number has gone through, as a rule
_FLOOR = 0.05  # of the largest gradient of all tensors: what the gradients of one count as at least


class Precision(NamedTuple):
    """Of the numbers that a part computes."""

    name: str
    unit: float  # half an ulp of 1
    step: float  # the longest; halved until noise is all that is left of the error
    halvings: int
    tolerance: float


FLOAT64 = Precision("float64", 2.0**-53, 2.0**-8, 18, 1e-6)
FLOAT32 = Precision("float32", 2.0**-24, 2.0**-4, 8, 1e-4)


@dataclasses.dataclass
class Check:
    """How to check: draws, elements of a tensor, tolerance."""

    rng: np.random.Generator
    elements: int
    tolerance: float | None


class _Slopes(NamedTuple):
    """Over a step to both sides, to the left, to the right; bounds on their errors by rounding."""

    both: float
    left: float
    right: float
    noise: float

    @property
    def bend(self) -> float:
        """Of a smooth function it halves with the step; a kink in the middle leaves it."""
        return self.right - self.left


class _Difference(NamedTuple):
    value: float
    error: float  # bound on |value - derivative|, where the function is smooth


def compare(subject: Subject, check: Check) -> GradientReport:
    """Check all arrays of a subject."""
    restart = _Restarted(subject)
    y = restart.outputs()
    drawn = check.rng.uniform(0.5, 1.5, y.shape)
    dy = drawn if subject.positive else drawn * check.rng.choice((-1.0, 1.0), y.shape)
    dy = dy.astype(np.float32).astype(np.float64)
    try:
        made = restart.gradients(dy)
    except MisfitError as misfit:
        raise _misfit(subject, misfit) from None
    tensors = [
        _Tensor(subject, restart, check, name, array, made[name], dy, y)
        for name, array in subject.arrays.items()
        if name in made
    ]
    # Where terms cancel, as before a normalization, only rounding errors are left of a gradient.
    floor = _FLOOR * max((tensor.scale for tensor in tensors), default=0.0)
    return GradientReport(subject.who, {t.name: t.report(floor) for t in tensors})


class _Restarted:
    """A subject that draws the same random numbers at each call."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._states: list[tuple[np.random.Generator, Any]] = []
        self._legacy: Any = None
        first, second = self.outputs(), self.outputs()
        if np.array_equal(first, second, equal_nan=True):
            self._refuse_nonfinite(first)
            return
        self._legacy = np.random.get_state()
        self._states = [(g, g.bit_generator.state) for g in subject.generators()]
        if not np.array_equal(self.outputs(), self.outputs(), equal_nan=True):
            raise ValueError(
                f"check_gradients: the outputs of {subject.who} differ from call to call, for the "
                "same inputs: it draws random numbers. Draw them from numpy.random or from a "
                "numpy.random.Generator that is an attribute of the layer, which are restarted"
            )
        self._refuse_nonfinite(self.outputs())

    def _refuse_nonfinite(self, y: F64) -> None:
        if not np.isfinite(y).all():
            raise ValueError(
                f"check_gradients: the outputs of {self.subject.who} are not finite for these "
                "inputs; pass x (and y_true) of your own"
            )

    def _restart(self) -> None:
        if self._legacy is not None:
            np.random.set_state(self._legacy)
            for generator, state in self._states:
                generator.bit_generator.state = state

    def outputs(self) -> F64:
        self._restart()
        return self.subject.outputs()

    def gradients(self, dy: F64) -> dict[str, F64]:
        self._restart()
        return self.subject.gradients(dy)


class _Tensor:
    """The gradient of one array."""

    def __init__(
        self,
        subject: Subject,
        restarted: _Restarted,
        check: Check,
        name: str,
        array: NDArray[Any],
        made: F64,
        dy: F64,
        y: F64,
    ) -> None:
        self.subject, self.restarted, self.name, self.array = subject, restarted, name, array
        self.made, self.dy, self.y = made, dy, y
        self.precision = self._precision(check.rng)
        self.tolerance = check.tolerance or self.precision.tolerance
        every = list(np.ndindex(array.shape))
        if len(every) > check.elements:
            chosen = check.rng.choice(len(every), check.elements, replace=False)
            every = [every[i] for i in sorted(chosen)]
        self.chosen: list[tuple[int, ...]] = every
        self.found = [self._best(self._slopes(index)) for index in self.chosen]
        self.right = np.array([d.value for d in self.found])
        self.scale = float(np.abs(self.right).max(initial=0.0))

    def _precision(self, rng: np.random.Generator) -> Precision:
        """float32 where the part rounds to it somewhere: a change of 2^-40 is lost then."""
        if self.subject.compiled:
            return FLOAT32
        before, way = self.array.copy(), rng.uniform(0.5, 1.0, self.array.shape)
        changed = []
        for share in (2.0**-40, 2.0**-10):
            self.array[...] = before + way * share * np.maximum(np.abs(before), 0.5)
            changed.append(self.restarted.outputs() != self.y)
        self.array[...] = before
        lost = changed[1] & ~changed[0]
        return FLOAT32 if 4 * lost.sum() > changed[1].sum() else FLOAT64

    def report(self, floor: float) -> TensorReport:
        """Return what is right, or raise."""
        found, right, scale = self.found, self.right, max(self.scale, floor)
        made = np.array([self.made[index] for index in self.chosen])
        allowed = self.tolerance * scale
        errors = np.where(np.isfinite(made), np.abs(made - right), np.inf)
        wrong = ~(errors <= np.array([d.error for d in found]) + allowed)
        kinks = [
            i for i in np.flatnonzero(wrong).tolist() if self._kink(i, made[i], found[i], allowed)
        ]
        wrong[kinks] = False
        errors[kinks] = 0.0
        worst = int((np.where(wrong, errors, -1.0) if wrong.any() else errors).argmax())
        share = float(errors[worst]) / scale if scale else float(errors[worst])
        report = TensorReport(
            self.array.shape, self.precision.name, len(self.chosen), len(kinks), share,
            self.chosen[worst], float(right[worst]), float(made[worst]),
        )  # fmt: skip
        if wrong.any():
            raise self._error(report, right, made, wrong)
        return report

    def _error(
        self, report: TensorReport, right: F64, made: F64, wrong: NDArray[Any]
    ) -> GradientError:
        where = np.array(self.chosen).T
        full = len(self.chosen) == self.made.size
        text = cause_of_values(
            right, made, wrong,
            inputs=self.array[tuple(where)] if self.made.ndim else None,
            rows=len(self.dy) if self.subject.tells_rows else 1,
            square=self.made.shape if full else None,
        )  # fmt: skip
        message = (
            f"{self.subject.who}: the gradient of {self.name} is wrong at {list(report.index)}: "
            f"expected {report.expected:.6g}, got {report.got:.6g} ({int(wrong.sum())} of "
            f"{report.checked} elements differ).{text}"
        )
        return GradientError(
            message,
            tensor=self.name,
            index=report.index,
            expected=report.expected,
            got=report.got,
        )

    def _slopes(self, index: tuple[int, ...], *, all_steps: bool = False) -> list[_Slopes]:
        """Halve the step until noise, or next to nothing, is all that is left of the error."""
        h = self.precision.step * max(1.0, abs(float(self.array[index])))
        found: list[_Slopes] = []
        for _ in range(self.precision.halvings + 1):
            found.append(self._slopes_over(index, h))
            if len(found) > 2 and not all_steps:
                best, enough = self._best(found), 0.1 * self.tolerance * abs(found[-1].both)
                if best.error <= enough or found[-1].noise > best.error:
                    break
            h /= 2.0
        return found

    def _slopes_over(self, index: tuple[int, ...], h: float) -> _Slopes:
        array, middle = self.array, self.array[index]
        at, outputs = [], []
        for sign in (-1.0, 1.0):
            array[index] = middle + sign * h
            at.append(float(array[index]))  # as rounded
            outputs.append(self.restarted.outputs())
        array[index] = middle
        (a, b), (below, above) = at, outputs
        changed = (above != self.y) | (below != self.y)
        with np.errstate(invalid="ignore", over="ignore"):
            size = np.abs(self.dy) * np.maximum(np.abs(above), np.abs(below)) * changed
            return _Slopes(
                float((self.dy * (above - below)).sum()) / (b - a),
                float((self.dy * (self.y - below)).sum()) / (float(middle) - a),
                float((self.dy * (above - self.y)).sum()) / (b - float(middle)),
                _ROUNDINGS * self.precision.unit * float(size.sum()) / h,
            )

    @staticmethod
    def _best(slopes: list[_Slopes]) -> _Difference:
        """Of all steps, each with one and two halves of it, the one with the least error.

        What Richardson's combination of two removes is h^2 f''' / 6; what remains, of order h^4, is
        a part of that, and about what the next one differs by: both might be 0 by chance. The noise
        is that of the shorter step and half as much of the longer, in thirds.
        """
        values = [
            near.both + (near.both - far.both) / 3.0 for far, near in itertools.pairwise(slopes)
        ]
        found = [
            _Difference(
                values[k],
                1.5 * slopes[k + 1].noise
                + max(
                    abs(slopes[k + 1].both - slopes[k].both) / 3.0, abs(values[k] - values[k - 1])
                ),
            )
            for k in range(1, len(values))
        ]
        return min(found, key=lambda one: one.error if np.isfinite(one.error) else np.inf)

    def _kink(self, number: int, made: float, best: _Difference, allowed: float) -> bool:
        """Whether the function has a kink within the steps, and the shortest ones agree."""
        slopes = self._slopes(self.chosen[number], all_steps=True)
        jumps = (
            abs(far.bend - 2.0 * near.bend) - 4.0 * near.noise
            for far, near in itertools.pairwise(slopes)
        )
        if not max(jumps) > abs(made - best.value) / 2.0:
            return False
        last = self._best(slopes[-3:])
        if abs(made - last.value) <= last.error + allowed:
            return True
        # On the kink any slope between those of the two sides will do.
        low, high = sorted((slopes[-1].left, slopes[-1].right))
        slack = 2.0 * slopes[-1].noise + allowed
        return bool(low - slack <= made <= high + slack)


def _misfit(subject: Subject, misfit: MisfitError) -> GradientError:
    name, expected, got = misfit.name, misfit.expected, misfit.got
    if got is None:
        message = f"{subject.who}: there is no gradient of {name}, of shape {expected}."
    else:
        message = (
            f"{subject.who}: expected the gradient of {name} to have shape {expected}, got {got}."
        )
    return GradientError(f"{message}{cause_of_shape(expected, got)}", tensor=name)
