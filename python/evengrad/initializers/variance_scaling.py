"""Initializers that keep the variance of the signal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from evengrad._validation import check_choice, check_number
from evengrad.initializers.base import F32, LARGEST
from evengrad.initializers.random import RandomInitializer, normal, truncated_normal, uniform

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("truncated_normal", "normal", "untruncated_normal", "uniform")
# Standard deviation of a standard normal variable truncated at 2.
TRUNCATED_STDDEV = 0.87962566103423978


def compute_fans(
    shape: Sequence[int],
    input_axes: Sequence[int] | None = None,
    output_axes: Sequence[int] | None = None,
) -> tuple[int, int]:
    """Return the number of inputs and of outputs of a unit, for weights of `shape`.

    Parameters
    ----------
    shape : sequence of int
        Of a kernel: `(n_in, n_out)`.
    input_axes, output_axes : sequence of int, optional
        With both given, the products of their sizes.

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from evengrad.initializers import compute_fans
    >>> compute_fans((784, 300)), compute_fans((7,)), compute_fans((3, 3, 16, 32))
    ((784, 300), (7, 7), (144, 288))
    """
    if input_axes is not None and output_axes is not None:
        for axis in (*input_axes, *output_axes):
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"fans: expected axes of shape {tuple(shape)}, got {axis}")
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


class VarianceScaling(RandomInitializer):
    """Zero mean and a variance of `scale / n`, n taken from the shape [2]_.

    n is `fan_in`, `fan_out` or their mean, but at least 1. The distribution is "truncated_normal"
    (or "normal", the same): normal with `stddev = sqrt(scale / n) / 0.8796`, drawn again beyond
    two of them; "untruncated_normal": `stddev = sqrt(scale / n)`; or "uniform" over
    `[-limit, limit]`, `limit = sqrt(3 scale / n)`.

    Parameters
    ----------
    scale : float, more than 0, default 1.0
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
    distribution : {"truncated_normal", "normal", "untruncated_normal", "uniform"}
    seed : int, at least 0, or None
    input_axes, output_axes : sequence of int, or None
        Axes whose product is fan_in and fan_out; both or neither.

    Examples
    --------
    >>> from evengrad.initializers import VarianceScaling
    >>> he_avg = VarianceScaling(scale=2.0, mode="fan_avg", distribution="uniform", seed=1)
    >>> bool(abs(he_avg((784, 300)).var() * (784 + 300) / 2 - 2.0) < 0.02)
    True
    """

    _arguments: ClassVar[tuple[str, ...]] = (
        "scale",
        "mode",
        "distribution",
        "seed",
        "input_axes",
        "output_axes",
    )

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        self.scale = check_number(self._owner, "scale", scale, 0.0, LARGEST, open_low=True)
        self.mode = check_choice(self._owner, "mode", mode, MODES)
        self.distribution = check_choice(self._owner, "distribution", distribution, DISTRIBUTIONS)
        if (input_axes is None) != (output_axes is None):
            raise ValueError(
                f"{self._owner}: expected both input_axes and output_axes or neither, "
                f"got input_axes={input_axes}, output_axes={output_axes}"
            )
        self.input_axes = None if input_axes is None else list(input_axes)
        self.output_axes = None if output_axes is None else list(output_axes)
        super().__init__(seed)

    def _values(self, shape: tuple[int, ...]) -> F32:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, n))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return uniform(self._generator, shape, -limit, limit)
        if self.distribution == "untruncated_normal":
            return normal(self._generator, shape, 0.0, stddev)
        return truncated_normal(self._generator, shape, 0.0, stddev / TRUNCATED_STDDEV)


class _Named(VarianceScaling):
    """A choice of scale, mode and distribution that has a name.

    Parameters
    ----------
    seed : int, optional
        Of a generator of its own; default: the package's.
    input_axes, output_axes : sequence of int, optional
        What the fans are of, see `compute_fans`.
    """

    _arguments = ("seed", "input_axes", "output_axes")
    _choice: ClassVar[tuple[float, str, str]]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._choice, seed, input_axes, output_axes)


class GlorotNormal(_Named):
    """Truncated normal with variance `2 / (fan_in + fan_out)`, also called Xavier [1]_.

    Examples
    --------
    >>> from evengrad.initializers import GlorotNormal
    >>> GlorotNormal(seed=1)((784, 300)).shape
    (784, 300)
    """

    _choice = (1.0, "fan_avg", "truncated_normal")


class GlorotUniform(_Named):
    """Uniform over `[-limit, limit]`, `limit = sqrt(6 / (fan_in + fan_out))` [1]_.

    Examples
    --------
    >>> from evengrad.initializers import GlorotUniform
    >>> bool(abs(GlorotUniform(seed=1)((3, 3))).max() <= 1.0)
    True
    """

    _choice = (1.0, "fan_avg", "uniform")


class HeNormal(_Named):
    """Truncated normal with variance `2 / fan_in`, for ReLU and its relatives [2]_.

    Examples
    --------
    >>> from evengrad.initializers import HeNormal
    >>> HeNormal(seed=1)((784, 300)).shape
    (784, 300)
    """

    _choice = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Named):
    """Uniform over `[-limit, limit]`, `limit = sqrt(6 / fan_in)`, for ReLU and its relatives [2]_.

    Examples
    --------
    >>> from evengrad.initializers import HeUniform
    >>> bool(abs(HeUniform(seed=1)((6, 3))).max() <= 1.0)
    True
    """

    _choice = (2.0, "fan_in", "uniform")


class LecunNormal(_Named):
    """Truncated normal with variance `1 / fan_in` [3]_; the one SELU asks for [4]_.

    Examples
    --------
    >>> from evengrad.initializers import LecunNormal
    >>> LecunNormal(seed=1)((784, 300)).shape
    (784, 300)
    """

    _choice = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform over `[-limit, limit]`, `limit = sqrt(3 / fan_in)` [3]_.

    Examples
    --------
    >>> from evengrad.initializers import LecunUniform
    >>> bool(abs(LecunUniform(seed=1)((3, 3))).max() <= 1.0)
    True
    """

    _choice = (1.0, "fan_in", "uniform")
