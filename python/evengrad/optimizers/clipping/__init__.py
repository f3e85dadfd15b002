"""Ways to keep gradients from becoming too large, for `clipping=` of an optimizer.

`Adam(clipping=ZClip())`. The arguments clipvalue, clipnorm and global_clipnorm stand for the first
three. Norms are sums in float64, exact for every finite gradient. What a way of clipping remembers
of the steps belongs to its object, moves with each update that is done, and with none that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evengrad._family import Family
from evengrad.optimizers.clipping.adaptive import AdaptiveGradientClipping, AutoClip, ZClip
from evengrad.optimizers.clipping.base import Clipping
from evengrad.optimizers.clipping.fixed import ByGlobalNorm, ByNorm, ByValue

__all__ = [
    "AdaptiveGradientClipping", "AutoClip", "ByGlobalNorm", "ByNorm", "ByValue", "Clipping",
    "ZClip", "deserialize", "get", "serialize",
]  # fmt: skip

_FAMILY = Family(
    "clipping", Clipping, ByValue, ByNorm, ByGlobalNorm, AdaptiveGradientClipping, AutoClip, ZClip
)


def get(identifier: Any) -> Clipping | None:
    """Make a way of clipping out of what an optimizer's argument may hold.

    Parameters
    ----------
    identifier : None, str, dict, Clipping or class
        A name ("auto_clip" or "AutoClip"), what `serialize` returned, an object (returned as it
        is) or a class derived from `Clipping`. None gives None.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is nothing of the above, or the class has arguments without a default.

    Examples
    --------
    >>> from evengrad.optimizers import clipping
    >>> clipping.get("z_clip")
    ZClip(alpha=0.97, z_threshold=2.5, warm_up=25)
    """
    return _FAMILY.get(identifier)


def serialize(clipping: Clipping | None) -> dict[str, Any] | None:
    """Return the class name and arguments, fit for JSON; None for None. `get_state` has the rest.

    Parameters
    ----------
    clipping : Clipping or None

    Examples
    --------
    >>> from evengrad.optimizers import clipping
    >>> clipping.serialize(clipping.ByNorm(1))
    {'class_name': 'ByNorm', 'config': {'threshold': 1.0}}
    """
    return _FAMILY.serialize(clipping)


def deserialize(config: Mapping[str, Any]) -> Clipping:
    """Make a way of clipping from what `serialize` returned.

    Parameters
    ----------
    config : mapping
        With "class_name" and "config".

    Examples
    --------
    >>> from evengrad.optimizers import clipping
    >>> clipping.deserialize({"class_name": "AutoClip", "config": {"percentile": 50}})
    AutoClip(percentile=50.0, history=10000)
    """
    return _FAMILY.deserialize(config)
