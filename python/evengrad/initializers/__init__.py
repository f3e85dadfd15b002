"""Initial values of weights.

An initializer is called with a shape and returns a new C-contiguous float32 array. One that draws
gives other values at each call: two layers that share it do not share their weights. With `seed`
it has a generator of its own, started when it is made, so that equal initializers agree call by
call; without, it draws from the package's generator (`evengrad.utils.set_random_seed`).

Fans, for a kernel of shape `(n_in, n_out)`: `fan_in = n_in`, `fan_out = n_out`. A vector of n has
both n, a number has both 1, and in more than two dimensions those before the last two multiply
both.

References
----------
.. [1] Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural
   networks", https://proceedings.mlr.press/v9/glorot10a.html
.. [2] He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers", arXiv:1502.01852
.. [3] LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp"
.. [4] Klambauer et al. 2017, "Self-normalizing neural networks", arXiv:1706.02515
.. [5] Saxe, McClelland, Ganguli 2013, "Exact solutions to the nonlinear dynamics of learning in
   deep linear neural networks", arXiv:1312.6120
.. [6] Mezzadri 2006, "How to generate random matrices from the classical compact groups",
   arXiv:math-ph/0609050
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evengrad._names import snake_case
from evengrad.initializers.auto import Auto
from evengrad.initializers.base import Function, Initializer
from evengrad.initializers.constant import Constant, Identity, Ones, Zeros
from evengrad.initializers.gain import calculate_gain
from evengrad.initializers.random import Orthogonal, RandomNormal, RandomUniform, TruncatedNormal
from evengrad.initializers.variance_scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
    compute_fans,
)
from evengrad.saving import _configs, _sharing, registration

__all__ = [
    "Auto", "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity",
    "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "RandomNormal",
    "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "calculate_gain",
    "compute_fans", "deserialize", "get", "serialize",
]  # fmt: skip

_CLASSES: dict[str, type[Initializer]] = {
    snake_case(c.__name__): c
    for c in (
        Zeros, Ones, Constant, Identity, RandomNormal, TruncatedNormal, RandomUniform, Orthogonal,
        VarianceScaling, GlorotNormal, GlorotUniform, HeNormal, HeUniform, LecunNormal,
        LecunUniform, Auto,
    )
}  # fmt: skip
_ALIASES = {
    "zero": "zeros",
    "one": "ones",
    "normal": "random_normal",
    "uniform": "random_uniform",
    "identity_initializer": "identity",
    "orthogonal_initializer": "orthogonal",
}


def get(identifier: object) -> Initializer | None:
    """Make an initializer out of what a layer's argument may hold.

    Parameters
    ----------
    identifier : None, str, dict, Initializer, class or callable
        A name ("he_normal" or "HeNormal"), what `serialize` returned, an initializer (returned as
        it is), a class derived from `Initializer`, or a function that returns an array for
        `(shape, dtype="float32")`. None gives None.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `identifier` is nothing of the above.

    Examples
    --------
    >>> from evengrad import initializers
    >>> initializers.get("he_normal")
    HeNormal(seed=None, input_axes=None, output_axes=None)
    """
    if identifier is None or isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier)()
    if isinstance(identifier, Mapping):
        return _configured(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier) and not isinstance(identifier, type):
        return Function(identifier)
    raise TypeError(
        "initializer: expected None, a name, a config, an Initializer, a class derived from it "
        f"or a function, got {' '.join(repr(identifier).split())[:80]}"
    )


def of_layer(identifier: object) -> Initializer:
    """Return what `get` does, but for None, which is no initial value."""
    found = get(identifier)
    if found is None:
        raise ValueError("initializer: expected a name or an Initializer, got None")
    return found


def _configured(config: Mapping[str, Any]) -> Initializer:
    arguments = config.get("config", {})
    if "class_name" not in config or not isinstance(arguments, Mapping):
        raise ValueError(
            'initializer: expected a dict with "class_name" (a name) and "config" (a dict), '
            f"got {dict(config)}"
        )
    name = config["class_name"]
    found = Function if name == Function.__name__ else _named(name)
    try:
        return _sharing.made(config, lambda: found.from_config(arguments))
    except TypeError as error:
        raise TypeError(f"initializer {found.__name__}: {error}") from None


def _named(name: Any) -> type[Initializer]:
    own: type[Initializer] | None = registration.find(name, "initializer", Initializer)
    if own is not None:
        return own
    key = snake_case(name) if isinstance(name, str) else ""
    key = _ALIASES.get(key, key)
    if key not in _CLASSES:
        raise ValueError(f"initializer: expected one of {', '.join(_CLASSES)}, got {name!r}")
    return _CLASSES[key]


def serialize(initializer: Initializer | None) -> dict[str, Any] | None:
    """Return the class name and arguments of an initializer, fit for JSON; None for None.

    Parameters
    ----------
    initializer : Initializer or None

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> from evengrad import initializers
    >>> initializers.serialize(initializers.Constant(0.5))
    {'class_name': 'Constant', 'config': {'value': 0.5}}
    """
    if initializer is None:
        return None
    if not isinstance(initializer, Initializer):
        raise TypeError(f"serialize: expected an Initializer, got {initializer!r}")
    name = registration.name_of(type(initializer), "initializer")
    config = {"class_name": name, "config": _configs.config_of(initializer)}
    return _sharing.described(initializer, config) if initializer.draws_its_own else config


def deserialize(config: Mapping[str, Any]) -> Initializer:
    """Make an initializer from what `serialize` returned, or Keras' function of that name.

    Parameters
    ----------
    config : mapping
        With "class_name" and "config".

    Raises
    ------
    TypeError, ValueError
        If it is no such configuration.

    Examples
    --------
    >>> from evengrad import initializers
    >>> initializers.deserialize({"class_name": "Constant", "config": {"value": 0.5}})
    Constant(value=0.5)
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"deserialize: expected a dict, got {config!r}")
    return _configured(config)
