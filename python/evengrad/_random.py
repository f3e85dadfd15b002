"""The package's random state: one PCG64 generator, from which all other randomness starts."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

_lock = threading.Lock()
_restarts = 0  # how often set_seed was called


def generator() -> np.random.Generator:
    """Return the package's generator, seeded by the operating system until `set_seed` is called.

    Threads may share it: each draw takes the generator's own lock.
    """
    with _lock:
        return _first_and_only()


# Made when first asked for: numpy.random takes half the time that importing us may take.
@functools.cache
def _first_and_only() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64())


def set_seed(seed: int) -> None:
    """Restart the package's generator.

    Parameters
    ----------
    seed : int, at least 0
        Equal seeds give equal draws from here on.

    Raises
    ------
    TypeError, ValueError
        If `seed` is no integer, or negative.
    """
    global _restarts  # noqa: PLW0603
    fresh = np.random.PCG64(check_seed("set_seed", seed))
    # In place: whoever holds the generator follows.
    generator().bit_generator.state = fresh.state
    with _lock:
        _restarts += 1


@contextlib.contextmanager
def seeded(source: np.random.Generator) -> Iterator[None]:
    """Let the package's generator start from another for a while."""
    ours = generator().bit_generator
    before = ours.state
    try:
        ours.state = np.random.PCG64(int(source.integers(2**63))).state
        yield
    finally:
        ours.state = before


def spawn_seed() -> int:
    """Draw a seed below 2**63 for a random stream of its own, such as dropout or shuffling."""
    return int(generator().integers(2**63, dtype=np.uint64))


class Draws(NamedTuple):
    """What a model draws from in training, good until `set_seed` is called."""

    seed: int  # of what layers draw, which depends on the step besides
    generator: np.random.Generator  # of the order of samples
    restarts: int

    @property
    def state(self) -> Mapping[str, Any]:
        """A copy of the generator's state."""
        return self.generator.bit_generator.state

    def at(self, state: Mapping[str, Any]) -> Draws:
        """Return draws that stand where these stood then."""
        own = np.random.PCG64(0)
        own.state = dict(state)  # type: ignore[assignment]
        return self._replace(generator=np.random.Generator(own))

    @property
    def good(self) -> bool:
        """Whether `set_seed` has not been called since they were made."""
        return self.restarts == _restarts


def spawn_draws() -> Draws:
    """Start a model's draws, from two numbers of the package's generator."""
    return draws_of(spawn_seed(), np.random.Generator(np.random.PCG64(spawn_seed())))


def draws_of(seed: int, own: np.random.Generator) -> Draws:
    """Return draws that go on from a state, as one begun in this process."""
    return Draws(seed, own, _restarts)


def check_seed(owner: str, seed: object) -> int:
    """Return `seed` as an int, or raise an error in the name of `owner`."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"{owner}: expected seed to be an integer, got {seed!r}.")
    if seed < 0:
        raise ValueError(f"{owner}: expected seed to be at least 0, got {seed}.")
    return int(seed)
