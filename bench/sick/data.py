"""Data sets: small, split in three, standardized; and what a fault does to them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Data:
    """Three parts of a data set; `task`: "binary", "classes" or "regression"."""

    name: str
    task: str
    classes: int
    x_train: Array
    y_train: Array
    x_val: Array
    y_val: Array
    x_test: Array
    y_test: Array

    @property
    def parts(self) -> tuple[tuple[Array, Array], ...]:
        """Training, validation and test part."""
        return (
            (self.x_train, self.y_train),
            (self.x_val, self.y_val),
            (self.x_test, self.y_test),
        )

    def with_parts(self, parts: list[tuple[Array, Array]]) -> Data:
        """The same set with other numbers."""
        names = ("train", "val", "test")
        changed = {f"x_{n}": x.astype(np.float32) for n, (x, _) in zip(names, parts, strict=True)}
        changed |= {f"y_{n}": y for n, (_, y) in zip(names, parts, strict=True)}
        return replace(self, **changed)


class Source(NamedTuple):
    """Where rows come from, how many of them train and validate, what is a decent score."""

    make: Callable[[np.random.Generator], tuple[Array, Array]]
    task: str
    train: int
    val: int
    decent: float  # accuracy, or R2


def _circle(rng: np.random.Generator) -> tuple[Array, Array]:
    y = rng.integers(0, 2, 1100)
    angle = rng.uniform(0.0, 2.0 * np.pi, len(y))
    radius = np.where(y == 1, 0.5, 1.0)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return x + rng.normal(0.0, 0.1, x.shape), y


def _moons(rng: np.random.Generator) -> tuple[Array, Array]:
    y = rng.integers(0, 2, 1100)
    angle = rng.uniform(0.0, np.pi, len(y))
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    x = np.where((y == 1)[:, None], lower, upper)
    return x + rng.normal(0.0, 0.15, x.shape), y


def _blobs(rng: np.random.Generator) -> tuple[Array, Array]:
    y = rng.integers(0, 6, 1100)
    angle = 2.0 * np.pi * np.arange(6) / 6.0
    centers = 5.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    labels = np.array([0, 1, 2, 0, 1, 2])  # two blobs a class, so that lines do not part them
    return centers[y] + rng.normal(0.0, 1.2, (len(y), 2)), labels[y]


def _friedman1(rng: np.random.Generator) -> tuple[Array, Array]:
    """Friedman 1991, doi:10.1214/aos/1176347963: five of ten columns count."""
    x = rng.uniform(0.0, 1.0, (1500, 10))
    y = 10.0 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20.0 * (x[:, 2] - 0.5) ** 2
    return x, y + 10.0 * x[:, 3] + 5.0 * x[:, 4] + rng.normal(0.0, 1.0, len(x))


def _digits(rng: np.random.Generator) -> tuple[Array, Array]:
    from evengrad.datasets import digits

    (x, y), _ = digits.load_data(test_split=0.0)
    return _shuffled(rng, x.reshape(len(x), -1).astype(np.float64), y.astype(np.int64))


@functools.cache
def _bundled(name: str) -> tuple[Array, Array]:
    """A data set that scikit-learn carries with it."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    return found.data.astype(np.float64), found.target


def _from_sklearn(name: str) -> Callable[[np.random.Generator], tuple[Array, Array]]:
    return lambda rng: _shuffled(rng, *_bundled(name))


def _shuffled(rng: np.random.Generator, x: Array, y: Array) -> tuple[Array, Array]:
    order = rng.permutation(len(x))
    return x[order], y[order]


SOURCES = {
    "circle": Source(_circle, "binary", 300, 200, 0.93),
    "moons": Source(_moons, "binary", 300, 200, 0.93),
    "blobs": Source(_blobs, "classes", 300, 200, 0.93),
    "digits": Source(_digits, "classes", 600, 400, 0.9),
    "breast_cancer": Source(_from_sklearn("breast_cancer"), "binary", 300, 110, 0.92),
    "wine": Source(_from_sklearn("wine"), "classes", 80, 40, 0.92),
    "diabetes": Source(_from_sklearn("diabetes"), "regression", 240, 90, 0.4),
    "friedman1": Source(_friedman1, "regression", 500, 250, 0.75),
}
HALVES = {
    "design": ("circle", "moons", "wine", "friedman1"),
    "held-out": ("blobs", "digits", "breast_cancer", "diabetes"),
}


@functools.lru_cache(maxsize=8)
def load(name: str, seed: int) -> Data:
    """Rows drawn or split by the seed, columns and targets of regressions standardized."""
    source = SOURCES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    x, y = source.make(rng)
    ends = source.train, source.train + source.val
    mean, spread = x[: ends[0]].mean(axis=0), x[: ends[0]].std(axis=0)
    if name == "digits":  # pixels that are nearly always 0 are not blown up
        spread = np.maximum(spread, 0.1 * spread.max())
    x = (x - mean) / np.where(spread > 0.0, spread, 1.0)
    classes = 0 if source.task == "regression" else int(y.max()) + 1
    if source.task == "regression":
        y = (y - y[: ends[0]].mean()) / y[: ends[0]].std()
    y = y.astype(np.float32 if source.task != "classes" else np.int64)
    x = x.astype(np.float32)
    return Data(
        name, source.task, classes,
        x[: ends[0]], y[: ends[0]],
        x[ends[0] : ends[1]], y[ends[0] : ends[1]],
        x[ends[1] :], y[ends[1] :],
    )  # fmt: skip


# What faults and look-alikes do to data: functions of (data, level, rng)


def _scale_column(data: Data, level: float, rng: np.random.Generator) -> Data:
    column = int(rng.integers(data.x_train.shape[1]))
    factors = np.ones(data.x_train.shape[1])
    factors[column] = level
    return data.with_parts([(x * factors, y) for x, y in data.parts])


def _mixed_scales(data: Data, level: float, rng: np.random.Generator) -> Data:
    """Columns in units of their own: factors from 1/level to level."""
    factors = level ** rng.uniform(-1.0, 1.0, data.x_train.shape[1])
    return data.with_parts([(x * factors, y) for x, y in data.parts])


def _scale_inputs(data: Data, level: float, rng: np.random.Generator) -> Data:
    return data.with_parts([(x * level, y) for x, y in data.parts])


def _shift_inputs(data: Data, level: float, rng: np.random.Generator) -> Data:
    return data.with_parts([(x + level, y) for x, y in data.parts])


def _scale_targets(data: Data, level: float, rng: np.random.Generator) -> Data:
    return data.with_parts([(x, y * np.float32(level)) for x, y in data.parts])


def _shift_targets(data: Data, level: float, rng: np.random.Generator) -> Data:
    return data.with_parts([(x, y + np.float32(level)) for x, y in data.parts])


def _constant_columns(data: Data, level: float, rng: np.random.Generator) -> Data:
    """Fifty columns that are the same number in all rows."""
    values = level * rng.choice([-1.0, 1.0], 50) * rng.uniform(0.5, 1.5, 50)
    return data.with_parts([(_beside(x, np.tile(values, (len(x), 1))), y) for x, y in data.parts])


def _zero_columns(data: Data, level: float, rng: np.random.Generator) -> Data:
    return data.with_parts([(_beside(x, np.zeros((len(x), int(level)))), y) for x, y in data.parts])


def _leak(data: Data, level: float, rng: np.random.Generator) -> Data:
    """A column that is the target in training, and chance elsewhere; level: how large it is."""
    parts = []
    for number, (x, y) in enumerate(data.parts):
        y_known = y if number == 0 else rng.permutation(y)
        column = (y_known - data.y_train.mean()) / data.y_train.std()
        column = level * (column + rng.normal(0.0, 0.02, len(y)))
        parts.append((_beside(x, column[:, None]), y))
    return data.with_parts(parts)


def _permute_labels(data: Data, level: float, rng: np.random.Generator) -> Data:
    """Targets of that share of the rows, given to each other."""
    parts = []
    for x, y in data.parts:
        rows = rng.permutation(len(y))[: round(level * len(y))]
        mixed = y.copy()
        mixed[rows] = y[rng.permutation(rows)]
        parts.append((x, mixed))
    return data.with_parts(parts)


def _drop_column(data: Data, level: float, rng: np.random.Generator) -> Data:
    column = int(level) % data.x_train.shape[1]
    return data.with_parts([(np.delete(x, column, axis=1), y) for x, y in data.parts])


def _drop_constant(data: Data, level: float, rng: np.random.Generator) -> Data:
    varies = data.x_train.max(axis=0) > data.x_train.min(axis=0)
    return data.with_parts([(x[:, varies], y) for x, y in data.parts])


def _beside(x: Array, more: Array) -> Array:
    return np.concatenate([x, more.astype(np.float32)], axis=1)


CHANGES: dict[str, Callable[[Data, float, np.random.Generator], Data]] = {
    "scale_column": _scale_column,
    "mixed_scales": _mixed_scales,
    "scale_inputs": _scale_inputs,
    "shift_inputs": _shift_inputs,
    "scale_targets": _scale_targets,
    "shift_targets": _shift_targets,
    "constant_columns": _constant_columns,
    "zero_columns": _zero_columns,
    "leak": _leak,
    "permute_labels": _permute_labels,
    "drop_column": _drop_column,
    "drop_constant": _drop_constant,
}


def changed(data: Data, changes: tuple[tuple[str, float], ...], seed: int) -> Data:
    """Apply changes by name and level."""
    for name, level in changes:
        data = CHANGES[name](data, level, np.random.default_rng([seed, *name.encode()]))
    return data
