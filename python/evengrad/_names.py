"""Automatic names, and the counts of changes that tell a model when to record anew."""

import itertools
import re
from collections import Counter
from typing import Any, ClassVar

_used: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """BatchNormalization -> batch_normalization, ReLU -> re_lu, as Keras does."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(class_name: str) -> str:
    """dense, dense_1, dense_2, ..."""
    base = snake_case(class_name)
    number = _used[base]
    _used[base] += 1
    return f"{base}_{number}" if number else base


def reset_names() -> None:
    """Start the numbers again."""
    _used.clear()


class Changes:
    """When anything that any recording looks at was last changed, in this process.

    As long as `latest` stays, no model needs to look which of its parts has changed.
    """

    latest = 0
    _numbers = itertools.count(1)  # each once, whichever thread asks

    @classmethod
    def note(cls) -> None:
        """Say that something has changed; after it has."""
        cls.latest = next(cls._numbers)


class Versioned:
    """Counts the changes of its public attributes, so that recordings know they are stale."""

    read_at_replay: ClassVar[frozenset[str]] = frozenset()

    version: int = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        super().__setattr__(name, value)
        if name != "version" and self.recording_reads(name):
            super().__setattr__("version", self.version + 1)
            Changes.note()

    def recording_reads(self, name: str) -> bool:
        """Whether a recording depends on this public attribute."""
        return name not in self.read_at_replay
