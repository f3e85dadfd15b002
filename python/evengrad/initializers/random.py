"""Initializers that draw from a distribution of their own."""

from __future__ import annotations

import math

import numpy as np

from evengrad import _random
from evengrad._validation import check_number
from evengrad.initializers.base import F32, F64, LARGEST, Initializer


def normal(
    generator: np.random.Generator, shape: tuple[int, ...], mean: float, stddev: float
) -> F32:
    """Draw from the normal distribution."""
    return _rounded(mean + stddev * generator.standard_normal(shape), -LARGEST, LARGEST)


def truncated_normal(
    generator: np.random.Generator, shape: tuple[int, ...], mean: float, stddev: float
) -> F32:
    """Draw from the normal distribution, again where beyond two standard deviations."""
    z = generator.standard_normal(math.prod(shape))
    (outside,) = np.nonzero(np.abs(z) > 2.0)
    while outside.size:
        z[outside] = generator.standard_normal(outside.size)
        outside = outside[np.abs(z[outside]) > 2.0]
    return _rounded(mean + stddev * z.reshape(shape), mean - 2 * stddev, mean + 2 * stddev)


def uniform(generator: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> F32:
    """Draw from [low, high]."""
    return _rounded(low + (high - low) * generator.random(shape), low, high)


def _rounded(values: F64, low: float, high: float) -> F32:
    """Round to float32 without leaving [low, high]; to its middle if no float32 lies within."""
    low, high = max(low, -LARGEST), min(high, LARGEST)
    bottom, top = np.float32(low), np.float32(high)
    if float(bottom) < low:
        bottom = np.nextafter(bottom, np.float32(np.inf))
    if float(top) > high:
        top = np.nextafter(top, np.float32(-np.inf))
    if bottom > top:
        bottom = top = np.float32(low / 2 + high / 2)
    # Clipped before rounding: what is rounded then lies between two float32 numbers.
    return np.clip(values, float(bottom), float(top)).astype(np.float32)


class RandomInitializer(Initializer):
    """Base class of those that draw: holds `seed` and the generator it starts."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = None if seed is None else _random.check_seed(self._owner, seed)
        self._own = None if self.seed is None else np.random.Generator(np.random.PCG64(self.seed))

    @property
    def draws_its_own(self) -> bool:
        """Whether it has a generator of its own, which those that share it take turns with."""
        return self._own is not None

    @property
    def _generator(self) -> np.random.Generator:
        return _random.generator() if self._own is None else self._own


class _Normal(RandomInitializer):
    _arguments = ("mean", "stddev", "seed")

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = check_number(self._owner, "mean", mean, -LARGEST, LARGEST)
        self.stddev = check_number(self._owner, "stddev", stddev, 0.0, LARGEST)
        super().__init__(seed)


class RandomNormal(_Normal):
    """Normal distribution.

    Parameters
    ----------
    mean : float, default 0.0
    stddev : float, at least 0, default 0.05
    seed : int, at least 0, or None

    Examples
    --------
    >>> from evengrad.initializers import RandomNormal
    >>> RandomNormal(stddev=1.0, seed=1)((784, 300)).shape
    (784, 300)
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return normal(self._generator, shape, self.mean, self.stddev)


class TruncatedNormal(_Normal):
    """Normal distribution; values beyond two standard deviations are drawn again.

    `stddev` is that of the normal distribution before truncation; that of the values is
    0.8796 times as large.

    Parameters
    ----------
    mean : float, default 0.0
    stddev : float, at least 0, default 0.05
    seed : int, at least 0, or None

    Examples
    --------
    >>> from evengrad.initializers import TruncatedNormal
    >>> bool(abs(TruncatedNormal(stddev=0.5, seed=1)((784, 300))).max() <= 1.0)
    True
    """

    def _values(self, shape: tuple[int, ...]) -> F32:
        return truncated_normal(self._generator, shape, self.mean, self.stddev)


class RandomUniform(RandomInitializer):
    """Uniform distribution over [minval, maxval].

    Parameters
    ----------
    minval : float, default -0.05
    maxval : float, at least minval, default 0.05
    seed : int, at least 0, or None

    Examples
    --------
    >>> from evengrad.initializers import RandomUniform
    >>> bool(RandomUniform(0.0, 1.0, seed=1)((784, 300)).min() >= 0.0)
    True
    """

    _arguments = ("minval", "maxval", "seed")

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = check_number(self._owner, "minval", minval, -LARGEST, LARGEST)
        self.maxval = check_number(self._owner, "maxval", maxval, -LARGEST, LARGEST)
        if self.minval > self.maxval:
            raise ValueError(
                f"{self._owner}: expected minval <= maxval, got minval={minval}, maxval={maxval}."
            )
        super().__init__(seed)

    def _values(self, shape: tuple[int, ...]) -> F32:
        return uniform(self._generator, shape, self.minval, self.maxval)


class Orthogonal(RandomInitializer):
    """Random matrix with orthonormal columns (rows if it is wider than tall), times `gain`.

    `Q` of the decomposition `A = Q R` of a normal matrix, the diagonal of `R` taken positive,
    which makes all orthogonal matrices equally likely [5]_ [6]_. A shape of higher rank stands
    for a matrix with its last dimension as columns.

    Parameters
    ----------
    gain : float, default 1.0
    seed : int, at least 0, or None

    Raises
    ------
    ValueError
        When called with a shape of rank less than 2.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad.initializers import Orthogonal
    >>> q = Orthogonal(seed=1)((100, 10))
    >>> bool(np.allclose(q.T @ q, np.eye(10), atol=1e-6))
    True
    """

    _arguments = ("gain", "seed")

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = check_number(self._owner, "gain", gain, -LARGEST, LARGEST)
        super().__init__(seed)

    def _values(self, shape: tuple[int, ...]) -> F32:
        if len(shape) < 2:
            raise ValueError(f"{self._owner}: expected a shape of rank 2 or more, got {shape}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(self._generator.standard_normal(tall))
        q *= np.where(np.diagonal(r) < 0, -self.gain, self.gain)
        bound = abs(self.gain)
        return _rounded(q if rows >= columns else q.T, -bound, bound).reshape(shape)
