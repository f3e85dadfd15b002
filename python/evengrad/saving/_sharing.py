"""Objects that layers share, in configurations: what is one before is one again after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_T = TypeVar("_T")

_KEY = "shared_object_id"  # Keras' name

_seen: ContextVar[dict[int, list[dict[str, Any]]] | None] = ContextVar("seen", default=None)
_made: ContextVar[dict[Any, Any] | None] = ContextVar("made", default=None)


@contextmanager
def describing() -> Iterator[None]:
    """Mark the configurations made inside that are of one object."""
    if _seen.get() is not None:  # of a model inside another
        yield
        return
    seen: dict[int, list[dict[str, Any]]] = {}
    token = _seen.set(seen)
    try:
        yield
    finally:
        _seen.reset(token)
    several = [configs for configs in seen.values() if len(configs) > 1]
    for number, configs in enumerate(several):
        for config in configs:
            config[_KEY] = number


def described(thing: object, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of an object, which others may share."""
    seen = _seen.get()
    if seen is not None:
        seen.setdefault(id(thing), []).append(config)
    return config


@contextmanager
def making() -> Iterator[None]:
    """Make one object of configurations that are marked as of one."""
    if _made.get() is not None:
        yield
        return
    token = _made.set({})
    try:
        yield
    finally:
        _made.reset(token)


def made(config: Any, make: Callable[[], _T]) -> _T:
    """Return the object of a configuration, made at its first occurrence."""
    known, number = _made.get(), config.get(_KEY)
    if known is None or not isinstance(number, int):
        return make()
    if number not in known:
        known[number] = make()
    found: _T = known[number]
    return found
