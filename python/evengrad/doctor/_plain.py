"""What the doctor says as JSON: strict, with the same keys each time."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evengrad.doctor.report import Report

FORMAT = 1  # goes up when a key changes its meaning or goes


def plain(value: Any) -> Any:
    """Return a value as what JSON has.

    NaN, which stands for what was not measured, is null; infinities, for which JSON has no token,
    are the strings "Infinity" and "-Infinity", which Python's float and JavaScript's Number read.

    Parameters
    ----------
    value : object
        A dataclass, a mapping, a sequence, an array or a scalar, one in another.

    Raises
    ------
    TypeError
        If there is something else in it.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple | range) and not hasattr(value, "_asdict"):
        return [plain(one) for one in value]
    return {str(name): plain(one) for name, one in _named(value)}


def _named(value: Any) -> Iterable[tuple[Any, Any]]:
    if dataclasses.is_dataclass(value):  # first: a Health is a mapping, too
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return value.items()
    if hasattr(value, "_asdict"):
        named: dict[str, Any] = value._asdict()
        return named.items()
    raise TypeError(f"expected what JSON has, arrays or dataclasses, got {value!r}")


def _number(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"


def of(said: object) -> dict[str, Any]:
    """Return all of a report, a cure or a health but models, which are no text."""
    made: dict[str, Any] = {"format": FORMAT}
    if isinstance(said, Report):
        made["healthy"] = said.healthy
    for name, value in _named(said):
        if name != "model":
            made[name] = of(value) if isinstance(value, Report) else plain(value)
    return made


def text(content: Mapping[str, Any], path: str | os.PathLike[str] | None) -> str:
    """Return the JSON of what `plain` has made, and write it where there is a path."""
    made = json.dumps(content, allow_nan=False)
    if path is not None:
        Path(path).write_text(made + "\n", encoding="utf-8")
    return made
