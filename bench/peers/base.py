"""What every peer offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workloads import F32, Weights, Workload

Predictor = Callable[[F32], NDArray[np.float32]]


class Peer(ABC):
    """One way to train and use a workload; lives in a process of its own."""

    workload: Workload
    batch: int

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.rng = np.random.default_rng(3)

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what does the work."""

    @abstractmethod
    def build(self, workload: Workload, batch: int, x: F32, y: Any, weights: Weights) -> None:
        """Make the network with these weights, ready to train on these data."""

    @abstractmethod
    def predictors(self) -> dict[str, Predictor]:
        """Ways to predict with the network as it is now: numpy in, numpy out."""

    def train(self, epochs: int, *, shuffle: bool) -> tuple[float, float | None]:
        """Train; return the last epoch's mean loss and accuracy, None where there is none."""
        raise NotImplementedError

    def orders(self, epochs: int, rows: int, *, shuffle: bool) -> Iterator[NDArray[np.int32]]:
        """Yield the order of the rows of each epoch."""
        rising = np.arange(rows, dtype=np.int32)
        for _ in range(epochs):
            yield self.rng.permutation(rising) if shuffle else rising
