"""Which axes of a sample a layer takes together."""

from __future__ import annotations

from collections.abc import Sequence

from evengrad import _validation
from evengrad.layers.base import Shape


def checked_axis(who: str, axis: int | Sequence[int]) -> int | list[int]:
    """Return an axis, or several as a list."""
    if isinstance(axis, Sequence) and not isinstance(axis, str):
        return [_validation.check_count(who, "each of axis", a, -(1 << 31)) for a in axis]
    return _validation.check_count(who, "axis", axis, -(1 << 31))


def last_axes(who: str, axis: int | Sequence[int], sample: Shape) -> Shape:
    """Sizes of the axes, which are the last ones of a sample; counted with the batch as axis 0."""
    rank = len(sample) + 1
    given = list(axis) if isinstance(axis, Sequence) else [axis]
    axes = sorted(a + rank if a < 0 else a for a in given)
    if not axes or axes[0] < 1 or axes != list(range(rank - len(axes), rank)):
        raise ValueError(
            f"{who}: expected axis -1, the last of samples {sample}, or several up to the last, "
            f"got {axis}"
        )
    return sample[axes[0] - 1 :]
