"""Saving and loading a model beside Keras and PyTorch: seconds and sizes, from one run.

python bench/saving.py                          1e6 and 1e8 parameters, about two minutes
python bench/saving.py --parameters 1e6 --training --markdown

A network of four square Dense layers, weights drawn once. evengrad and Keras write their whole
model and make it anew, PyTorch writes its state_dict and reads the tensors alone. With --training
the state of Adam after a step is in the file. Files are read from the page cache. One round saves
and loads once in each library, another first each time; what is printed are medians and the worst.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from numpy.typing import NDArray
from tables import Rows, render

F32 = NDArray[np.float32]
LAYERS = 4


class Library(ABC):
    """One library with a model of given kernels."""

    name: str
    suffix: str

    @abstractmethod
    def __init__(self, kernels: list[F32], *, training: bool) -> None: ...

    @abstractmethod
    def save(self, path: Path) -> None: ...

    @abstractmethod
    def load(self, path: Path) -> Any: ...

    @abstractmethod
    def kernel(self, loaded: Any) -> F32:
        """The last kernel of what was loaded."""


class OfKeras(Library):
    """evengrad or Keras: the same words."""

    def __init__(self, kernels: list[F32], *, training: bool) -> None:
        self.library = __import__(self.name)
        layers, width = self.library.layers, len(kernels[0])
        self.model = self.library.Sequential(
            [self.library.Input((width,))]
            + [layers.Dense(width, kernel_initializer="zeros") for _ in kernels]
        )
        self.model.set_weights([w for kernel in kernels for w in (kernel, np.zeros(width))])
        if training:
            self.model.compile("adam", "mse")
            one = np.zeros((1, width), np.float32)
            self.model.fit(one, one, verbose=0)

    def save(self, path: Path) -> None:
        self.model.save(path)

    def load(self, path: Path) -> Any:
        return self.library.saving.load_model(path)

    def kernel(self, loaded: Any) -> F32:
        return np.asarray(loaded.get_weights()[-2])


class Evengrad(OfKeras):
    name, suffix = "evengrad", ".evengrad"


class Keras(OfKeras):
    name, suffix = "keras", ".keras"


class Torch(Library):
    name, suffix = "torch", ".pt"

    def __init__(self, kernels: list[F32], *, training: bool) -> None:
        import torch

        self.torch = torch
        self.state: dict[str, Any] = {}
        for i, kernel in enumerate(kernels):
            self.state[f"{i}.weight"] = torch.from_numpy(kernel.T.copy())
            self.state[f"{i}.bias"] = torch.zeros(len(kernel))
        if training:
            for name in list(self.state):
                for slot in ("exp_avg", "exp_avg_sq"):
                    self.state[f"{name}.{slot}"] = torch.zeros_like(self.state[name])

    def save(self, path: Path) -> None:
        self.torch.save(self.state, path)

    def load(self, path: Path) -> Any:
        return self.torch.load(path, weights_only=True)

    def kernel(self, loaded: Any) -> F32:
        return loaded[f"{LAYERS - 1}.weight"].numpy().T


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def touch_memory() -> None:
    """A virtual machine may have to ask for pages that nobody used before: not to be measured."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    np.ones(free // 3, np.uint8)


def measure(parameters: float, rounds: int, folder: Path, *, training: bool) -> Rows:
    width = round((parameters / LAYERS) ** 0.5)
    rng = np.random.Generator(np.random.PCG64(0))
    kernels = [rng.standard_normal((width, width), np.float32) for _ in range(LAYERS)]
    touch_memory()
    kinds = [kind for kind in (Evengrad, Keras, Torch) if util.find_spec(kind.name)]
    libraries = [kind(kernels, training=training) for kind in kinds]
    times: dict[str, tuple[list[float], list[float]]] = {each.name: ([], []) for each in libraries}
    sizes: dict[str, int] = {}
    for number in range(-1, rounds):
        for i in range(len(libraries)):
            each = libraries[(i + number) % len(libraries)]
            path = folder / f"m{each.suffix}"
            saving, _ = seconds(lambda each=each, path=path: each.save(path))
            loading, loaded = seconds(lambda each=each, path=path: each.load(path))
            if number >= 0:  # the round before is not counted
                times[each.name][0].append(saving)
                times[each.name][1].append(loading)
            sizes[each.name] = path.stat().st_size
            if not np.array_equal(each.kernel(loaded), kernels[-1]):
                raise SystemExit(f"{each.name} does not load what it saved")
            del loaded
    rows = []
    for each in libraries:
        save, load = times[each.name]
        numbers = [f"{f(t):.4g}" for t in (save, load) for f in (statistics.median, max)]
        size = f"{sizes[each.name] / 1e6:,.2f}"
        rows.append([f"{each.name} {__import__(each.name).__version__}", *numbers, size])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", default="1e6,1e8")
    parser.add_argument("--rounds", type=int, default=0, help="default: 15, of 1e8 and more 5")
    parser.add_argument("--training", action="store_true", help="with the state of Adam")
    parser.add_argument("--folder", default=None, help="where to write, default: as tempfile")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    head = ["", "save s", "worst", "load s", "worst", "MB"]
    for text in options.parameters.split(","):
        parameters = float(text)
        rounds = options.rounds or (5 if parameters >= 1e8 else 15)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows = measure(parameters, rounds, Path(folder), training=options.training)
        print(f"\n{parameters:.0e} parameters, {'with' if options.training else 'without'} Adam\n")
        print(render(head, rows, markdown=options.markdown), flush=True)
    print("\n" + ", ".join(f"{name}: {value}" for name, value in describe().items()))


if __name__ == "__main__":
    main()
