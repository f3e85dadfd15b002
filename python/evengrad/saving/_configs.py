"""Configurations of objects, from which equal ones can be made."""

from __future__ import annotations

import inspect
from typing import Any

from evengrad.saving import registration

# Arguments that all layers have: a configuration says them in another way, or need not.
_OF_ALL = {"dtype", "input_dim", "input_shape", "name", "trainable"}


def config_of(thing: Any) -> dict[str, Any]:
    """Return what `get_config` does.

    Raises
    ------
    TypeError
        If a model is being saved or copied and the class, one of one's own, would not make the same
        again from it.
    """
    config: dict[str, Any] = thing.get_config()
    kind = type(thing)
    own = [c for c in kind.__mro__ if c is not object and not registration.is_ours(c)]
    if not registration.naming() or any("from_config" in vars(c) for c in own):
        return config
    if any("__init__" in vars(c) for c in own):
        _check(kind, config)
    return config


def _check(kind: type, config: dict[str, Any]) -> None:
    parameters = inspect.signature(kind).parameters
    for name, parameter in parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and name not in config and name not in _OF_ALL:
            raise TypeError(
                f"{kind.__name__}: expected its argument {name!r} in what get_config returns, "
                f"by which it is made again: return super().get_config() | {{{name!r}: ...}}"
            )
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        unknown = ", ".join(sorted(config.keys() - parameters.keys()))
        if unknown:
            raise TypeError(
                f"{kind.__name__}: expected __init__ to take {unknown}, which get_config returns; "
                "add **kwargs to it and pass them to super().__init__"
            )
