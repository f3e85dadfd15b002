"""Objects that hand out batches: PyDataset, and passes over whatever users have."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from evengrad import _validation


class PyDataset:
    """Base of data sets that load or make their batches: override `__getitem__`, `__len__`.

    `fit`, `evaluate`, `predict` and `validation_data` take one in the place of x; each epoch asks
    for the batches 0 to len - 1, in a new order where `fit` shuffles.

    Parameters
    ----------
    workers : int, at least 0
        Threads that load batches ahead of their use; with 0 or 1, the default, the training thread
        does it itself. `__getitem__` has to bear being called by several threads at once then.
    use_multiprocessing : bool
        False. Batches are loaded in this process; numpy and files let threads run side by side.
    max_queue_size : int, at least 1
        Batches that wait at most where there are several workers, default 10.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

    Notes
    -----
    For an endless data set override `num_batches` to return None, and say `steps_per_epoch`.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> import evengrad as keras
    >>> class Squares(keras.utils.PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...
    ...     def __getitem__(self, index):
    ...         x = np.linspace(0.0, 1.0, 8)[:, None] + index
    ...         return x, x**2
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(Squares(), epochs=2, verbose=0)
    >>> history.params["steps"], model.predict(Squares(), verbose=0).shape
    (3, (24, 1))
    """

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ) -> None:
        who = type(self).__name__
        self.workers = _validation.check_count(who, "workers", workers, 0)
        self.use_multiprocessing = check_threads(who, use_multiprocessing)
        self.max_queue_size = _validation.check_count(who, "max_queue_size", max_queue_size)

    def __getitem__(self, index: int) -> Any:
        """Return a batch: (x,), (x, y) or (x, y, sample_weight)."""
        raise NotImplementedError(f"{type(self).__name__}.__getitem__")

    @property
    def num_batches(self) -> int | None:
        """Number of batches, None where there is no end; by default what `len` says."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(f"{type(self).__name__}.__len__")

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches in order."""
        count = self.num_batches
        yield from map(self.__getitem__, itertools.count() if count is None else range(count))

    def on_epoch_begin(self) -> None:
        """Called before the first batch of an epoch."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch."""


def check_threads(who: str, use_multiprocessing: Any) -> bool:
    """Refuse processes."""
    if _validation.check_flag(who, "use_multiprocessing", use_multiprocessing):
        raise ValueError(
            f"{who}: expected use_multiprocessing=False; batches are loaded by threads of this "
            "process, as many as workers says"
        )
    return False


def hands_out_batches(x: Any) -> bool:
    """Whether x is a generator or the like, not an array or what becomes one."""
    if type(x) is np.ndarray or isinstance(
        x, Sequence | Mapping | Set | np.ndarray | str | bytes | bytearray | memoryview
    ):
        return False
    if any(hasattr(x, name) for name in ("__array__", "__array_interface__", "to_numpy", "nnz")):
        return False
    indexed = hasattr(x, "__getitem__") and (hasattr(x, "__len__") or hasattr(x, "num_batches"))
    return hasattr(x, "__next__") or hasattr(x, "__iter__") or indexed


class Passes:
    """Passes over the batches of an object: an iterator has one, others begin anew."""

    def __init__(
        self, who: str, source: Any, order: Callable[[int], Iterable[int]] | None = None
    ) -> None:
        self.source = source
        self.once = hasattr(source, "__next__")
        self._order = order
        self._indexed = not self.once and hasattr(source, "__getitem__")
        self._who = who
        if self._indexed:
            check_threads(who, getattr(source, "use_multiprocessing", False))
        self.length = self._length()
        if self.length == 0:
            raise ValueError(f"{who}: expected at least one batch, got an empty {self.kind}")

    @property
    def kind(self) -> str:
        """What users call it."""
        return type(self.source).__name__

    def _length(self) -> int | None:
        """Batches of a pass, None where nobody knows."""
        if self.once:
            return None
        try:
            if hasattr(self.source, "num_batches"):
                count = self.source.num_batches
                return None if count is None else int(count)
            return len(self.source)
        except (TypeError, NotImplementedError):
            return None

    def begin(self) -> Iterator[Any]:
        """Return the batches of a pass."""
        if not self._indexed:
            return iter(self.source)
        self.length = self._length()
        if self.length is None:
            indices: Iterable[int] = itertools.count()
        else:
            indices = [int(i) for i in (self._order or range)(self.length)]
        workers, most = (
            getattr(self.source, "workers", 1),
            getattr(self.source, "max_queue_size", 10),
        )
        if workers > 1:
            return _loaded_ahead(self.source.__getitem__, indices, workers, most)
        return _loaded(self.source.__getitem__, indices)

    def first(self) -> list[Any]:
        """The batch by which a model learns its shapes, of a pass that is not begun."""
        if self._indexed:
            return [self.source[0]]
        return list(itertools.islice(iter(self.source), 1))

    def hook(self, name: str) -> None:
        """Call a method of the source if it has it."""
        method = getattr(self.source, name, None)
        if callable(method):
            method()


def _loaded(load: Callable[[int], Any], indices: Iterable[int]) -> Iterator[Any]:
    """Batches in order. Unlike with map, a StopIteration in `load` is an error, not the end."""
    for index in indices:
        yield load(index)


def _loaded_ahead(
    load: Callable[[int], Any], indices: Iterable[int], workers: int, most: int
) -> Iterator[Any]:
    """Batches in order, loaded by threads before they are asked for."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="evengrad-data") as pool:
        try:
            for index in indices:
                waiting.append(pool.submit(load, index))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def unpacked(who: str, batch: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight of a batch, None for what is not there."""
    if isinstance(batch, tuple | list):
        if not 1 <= len(batch) <= 3:
            raise ValueError(
                f"{who}: expected (x,), (x, y) or (x, y, sample_weight), got {len(batch)} items"
            )
        x, y, weight = (*batch, None, None)[:3]
        return x, y, weight
    if batch is None or isinstance(batch, Mapping):
        raise TypeError(f"{who}: expected a tuple (x, y), got a {type(batch).__name__}")
    return batch, None, None
