"""Small classes with a few arguments, known by name: regularizers, constraints, clipping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from evengrad._names import Changes, snake_case
from evengrad.saving import _configs, registration


class Configured:
    """An object that is its arguments."""

    _arguments: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if not name.startswith("_"):
            Changes.note()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, by name."""
        return {name: getattr(self, name) for name in self._arguments}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make an object from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


_T = TypeVar("_T", bound=Configured)


class Family(Generic[_T]):
    """The classes of a kind, by name.

    Parameters
    ----------
    kind : str
        What one is called in errors.
    base : type
        Class of all of them.
    classes : type
        Those with a name.
    """

    def __init__(self, kind: str, base: type[_T], *classes: type[_T]) -> None:
        self.kind, self.base = kind, base
        self.classes = {snake_case(c.__name__): c for c in classes}

    def get(self, identifier: Any) -> _T | None:
        """Return what an argument stands for."""
        if identifier is None or isinstance(identifier, self.base):
            return identifier
        if isinstance(identifier, str):
            return self._made(self._named(identifier), {})
        if isinstance(identifier, Mapping):
            return self.deserialize(identifier)
        if isinstance(identifier, type) and issubclass(identifier, self.base):
            return self._made(identifier, {})
        raise TypeError(
            f"{self.kind}: expected None, a name, a config or a {self.base.__name__}, "
            f"got {' '.join(repr(identifier).split())[:80]}"
        )

    def serialize(self, value: _T | None) -> dict[str, Any] | None:
        """Return class name and arguments, fit for JSON; None for None."""
        if value is None:
            return None
        if not isinstance(value, self.base):
            raise TypeError(f"serialize: expected a {self.base.__name__}, got {value!r}")
        name = registration.name_of(type(value), self.kind)
        return {"class_name": name, "config": _configs.config_of(value)}

    def deserialize(self, config: Mapping[str, Any]) -> _T:
        """Make an object from what `serialize` returned."""
        arguments = config.get("config", {})
        if "class_name" not in config or not isinstance(arguments, Mapping):
            raise ValueError(
                f'{self.kind}: expected a dict with "class_name" (a name) and "config" (a dict), '
                f"got {dict(config)}"
            )
        return self._made(self._named(config["class_name"]), arguments)

    def _made(self, found: type[_T], arguments: Mapping[str, Any]) -> _T:
        try:
            return found.from_config(arguments)
        except TypeError as error:
            raise TypeError(f"{self.kind} {found.__name__}: {error}") from None

    def _named(self, name: Any) -> type[_T]:
        own: type[_T] | None = registration.find(name, self.kind, self.base)
        if own is not None:
            return own
        key = snake_case(name) if isinstance(name, str) else ""
        if key not in self.classes:
            raise ValueError(
                f"{self.kind}: expected one of {', '.join(self.classes)}, got {name!r}"
            )
        return self.classes[key]
