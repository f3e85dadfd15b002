"""What the steps of an epoch read: rows of arrays, or the batches that an object hands out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _data, _dataset
from evengrad._data import Data
from evengrad.errors import warn

if TYPE_CHECKING:
    from evengrad._program import Program

Order = Callable[[int], NDArray[np.int64]]
Prepare = Callable[[str, Any, Any, Any], Data]


class Feed:
    """Steps for epochs."""

    who: str  # what errors begin with
    capacity: int  # samples that a program needs room for, for the steps that are ready

    @property
    def steps(self) -> int | None:
        """What an epoch has, None where nobody knows."""
        raise NotImplementedError

    @property
    def of_batch(self) -> str:
        """Where rows are counted within batches: which one the next step reads."""
        return ""

    def has_more(self) -> bool:
        """Whether another epoch has any step."""
        return True

    def rewind(self) -> None:
        """Begin a pass with the next epoch, where that can be."""

    def begin(self, epoch: int = 0) -> None:
        """Begin an epoch."""
        raise NotImplementedError

    def ready(self) -> int:
        """Steps that can be replayed at once, 0 at the end of the epoch."""
        raise NotImplementedError

    def data(self) -> Data:
        """The data of the next step."""
        raise NotImplementedError

    def replay(self, program: Program, steps: int, **scalars: Any) -> int:
        """Run so many of the steps that are ready; return how many were completed."""
        raise NotImplementedError

    def rows(self) -> NDArray[np.intp]:
        """Rows of the data that the next step reads."""
        raise NotImplementedError

    def skip(self) -> None:
        """Leave a step out."""
        raise NotImplementedError

    def end(self) -> None:
        """End an epoch."""

    @property
    def place(self) -> int:
        """The next batch of the pass."""
        return 0

    def go_to(self, batch: int, step: int) -> None:
        """Go on with this batch of the pass and this step of the epoch, which has begun."""
        raise NotImplementedError


class Arrays(Feed):
    """Passes over arrays, in batches; epochs of fewer steps than a pass go on where one ended."""

    def __init__(
        self, who: str, data: Data, batch: int, steps: int | None = None, order: Order | None = None
    ) -> None:
        self.who, self._data, self._order = who, data, order
        self.capacity = min(batch, len(data.x))
        self._batches = math.ceil(len(data.x) / self.capacity)
        self._steps = steps or self._batches
        self._at, self._left = 0, 0  # next batch of the pass; steps of the epoch
        self._permutation: NDArray[np.int64] | None = None

    @property
    def steps(self) -> int:
        """What an epoch has."""
        return self._steps

    def rewind(self) -> None:
        """Go back to the first row."""
        self._at = 0

    def begin(self, epoch: int = 0) -> None:
        """Begin an epoch."""
        self._left = self.steps
        if self._at == 0 and self._order is not None:
            self._permutation = self._order(len(self._data.x))

    def ready(self) -> int:
        """Steps up to the end of the epoch or of the pass."""
        if self._left and self._at == self._batches:
            _warn_of_end(self.who, self.steps)
            self._left = 0
        return min(self._left, self._batches - self._at)

    def data(self) -> Data:
        """All of it."""
        return self._data

    def replay(self, program: Program, steps: int, **scalars: Any) -> int:
        """Run so many steps."""
        first = self._at * self.capacity
        done = _data.replay(
            program, self._data, self._permutation, first=first, steps=steps, **scalars
        )
        self._go(done)
        return done

    def _go(self, steps: int) -> None:
        self._at += steps
        self._left -= steps

    def rows(self) -> NDArray[np.intp]:
        """Rows of the next step."""
        part = slice(self._at * self.capacity, (self._at + 1) * self.capacity)
        order = self._permutation
        return np.arange(len(self._data.x))[part] if order is None else order[part]

    def skip(self) -> None:
        """Leave a step out."""
        self._go(1)

    def end(self) -> None:
        """End an epoch, and perhaps a pass."""
        if self._at == self._batches:
            self._at = 0

    @property
    def place(self) -> int:
        """The next batch of the pass."""
        return self._at

    def go_to(self, batch: int, step: int) -> None:
        """Go on with this batch of the pass and this step of the epoch, which has begun."""
        self._at, self._left = batch, self.steps - step


class Batches(Feed):
    """What a generator or a data set hands out, made into Data batch by batch.

    Epochs of a given number of steps go on where the last one ended. `prepare` makes Data of (who,
    x, y, sample_weight).
    """

    def __init__(
        self, who: str, source: Any, prepare: Prepare, steps: int | None, order: Order | None = None
    ) -> None:
        self.who, self._prepare, self._limit = who, prepare, steps
        self._passes = _dataset.Passes(who, source, order)
        self._pass: Iterator[Any] | None = None
        self._waiting: list[Any] = []  # a batch that was fetched to see whether there is any
        self._now: Data | None = None
        self._epoch, self._done, self._fetched = 0, 0, 0
        self._warned = False
        self.capacity = 1

    @property
    def steps(self) -> int | None:
        """What an epoch has."""
        return self._limit or self._passes.length

    @property
    def of_batch(self) -> str:
        """Which batch the next step reads."""
        return f" of batch {self._done + 1}"

    def build(self) -> None:
        """Convert the first batch, by which a model learns its shapes."""
        if self._passes.once:
            self.has_more()
            batches = self._waiting
        else:
            batches = self._passes.first()
        if not batches:
            raise ValueError(f"{self.who}: expected at least one batch, got none")
        for batch in batches:
            self._prepare(f"{self.who}, first batch", *_dataset.unpacked(self.who, batch))

    def has_more(self) -> bool:
        """Whether another epoch has any step; warn where it has not."""
        if not self._passes.once:
            return True
        self._pass = self._pass or self._passes.begin()
        self._waiting = self._waiting or self._next()
        if not self._waiting and not self._fetched:
            raise ValueError(f"{self.who}: expected at least one batch, got none")
        if not self._waiting and not self._warned:
            self._warn()
        return bool(self._waiting)

    def rewind(self) -> None:
        """Go back to the first batch."""
        if not self._passes.once:
            self._pass = None

    def begin(self, epoch: int = 0) -> None:
        """Begin an epoch."""
        self._epoch, self._done = epoch, 0
        self._passes.hook("on_epoch_begin")
        if self._pass is None or not (self._limit or self._passes.once):
            self._pass = self._passes.begin()

    def ready(self) -> int:
        """1 while there is a batch, which is fetched."""
        if self._now is None and self._done != self.steps:
            batches = self._waiting or self._next()
            if not batches and not self._done and not self._passes.once:
                self._pass = self._passes.begin()  # the last epoch took the last one
                batches = self._next()
            self._waiting = []
            if batches:
                self._use(batches[0])
            elif not self._done and (self._limit is None or not self._fetched):
                raise ValueError(f"{self.who}: expected at least one batch, got none")
            elif self.steps:
                self._warn()
        return 0 if self._now is None else 1

    def _next(self) -> list[Any]:
        assert self._pass is not None
        found = list(itertools.islice(self._pass, 1))
        self._fetched += len(found)
        return found

    def _use(self, batch: Any) -> None:
        who = f"{self.who}, epoch {self._epoch + 1}, step {self._done + 1}"
        self._now = self._prepare(who, *_dataset.unpacked(who, batch))
        rows = len(self._now.x)
        if rows > self.capacity:  # with room for somewhat larger ones, after the first
            self.capacity = rows if self.capacity == 1 else max(rows, self.capacity * 3 // 2)

    def _warn(self) -> None:
        self._warned = True
        _warn_of_end(self.who, self.steps)

    def data(self) -> Data:
        """The batch."""
        assert self._now is not None
        return self._now

    def replay(self, program: Program, steps: int, **scalars: Any) -> int:
        """Run a step on the batch."""
        done = _data.replay(program, self.data(), None, first=0, steps=1, **scalars)
        if done:
            self.skip()
        return done

    def rows(self) -> NDArray[np.intp]:
        """All rows of the batch."""
        return np.arange(len(self.data().x))

    def skip(self) -> None:
        """Leave a step out."""
        self._now = None
        self._done += 1

    def end(self) -> None:
        """End an epoch."""
        if not (self._limit or self._passes.once):
            self._pass = None
        self._passes.hook("on_epoch_end")


def _warn_of_end(who: str, steps: int | None) -> None:
    needed = "another epoch" if steps is None else f"the {steps} steps of an epoch"
    warn(
        f"{who}: the data ended before {needed}. Pass an array, a PyDataset or another object that "
        "can be gone through again, or a generator without an end."
    )
