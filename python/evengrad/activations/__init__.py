"""Activation functions: called on arrays, or given to layers by name.

Each function takes a float array of any shape and returns float32. The formulas, with parameters
and their defaults, are those of the kernels: `evengrad._core.activations`. A layer takes a name
("elu"), a function (`activations.elu`), a function with arguments
(`functools.partial(activations.elu, alpha=0.5)`), or an `Activation` of your own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from evengrad.activations.base import F32, Spec, spec
from evengrad.activations.normalized import (
    log_softmax,
    log_softmax_spec,
    softmax,
    softmax_spec,
)
from evengrad.activations.own import Activation, complete
from evengrad.activations.piecewise import (
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    linear,
    relu,
    relu6,
    relu_spec,
    soft_shrink,
    sparse_plus,
    sparse_sigmoid,
    threshold,
)
from evengrad.activations.smooth import (
    celu,
    elu,
    exponential,
    gelu,
    gelu_spec,
    gelu_tanh,
    log_sigmoid,
    mish,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    squareplus,
    tanh,
    tanh_shrink,
)
from evengrad.saving import _configs, registration

__all__ = [
    "Activation", "Spec", "celu", "deserialize", "elu", "exponential", "gelu", "gelu_tanh", "get",
    "hard_shrink",
    "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid",
    "log_softmax", "mish", "relu", "relu6", "selu", "serialize", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish",
    "tanh", "tanh_shrink", "threshold",
]  # fmt: skip

hard_swish, swish = hard_silu, silu
ALIASES = {"hard_swish": "hard_silu", "swish": "silu"}
FUNCTIONS: dict[str, Callable[..., F32]] = {
    f.__name__: f
    for f in (
        linear, relu, relu6, leaky_relu, hard_sigmoid, hard_silu, hard_tanh, hard_shrink,
        soft_shrink, threshold, sparse_plus, sparse_sigmoid, elu, selu, celu, softplus, squareplus,
        softsign, silu, mish, gelu, gelu_tanh, tanh, tanh_shrink, sigmoid, log_sigmoid,
        exponential, softmax, log_softmax,
    )
}  # fmt: skip
# Those whose arguments are not the parameters of a kernel of the same name.
_SPECS: dict[str, Callable[..., Spec]] = {
    "relu": relu_spec,
    "gelu": gelu_spec,
    "softmax": softmax_spec,
    "log_softmax": log_softmax_spec,
}

Identifier = str | Callable[..., Any] | Mapping[str, Any] | Spec | Activation | None


def get(identifier: Identifier) -> Spec | Activation:
    """Return what a layer records for an activation.

    Parameters
    ----------
    identifier : str, function, functools.partial, dict, Activation or None
        A name, a function from here, one with arguments by name, what `serialize` returned, or one
        of your own, which is returned as it is. None stands for linear.

    Raises
    ------
    ValueError
        If there is none of that name, the message lists them; or if an argument is out of range.
    TypeError
        If an argument is missing or unknown, or it is a function whose derivative is not known.

    Examples
    --------
    >>> from functools import partial
    >>> from evengrad import activations
    >>> activations.get("elu")
    Spec(name='elu', parameters=(1.0,))
    >>> activations.get(partial(activations.elu, alpha=0.5))
    Spec(name='elu', parameters=(0.5,))
    """
    if identifier is None:
        return Spec("linear")
    if isinstance(identifier, type) and issubclass(identifier, Activation):
        identifier = identifier()
    if isinstance(identifier, Spec | Activation):
        return identifier if isinstance(identifier, Spec) else complete(identifier)
    if isinstance(identifier, Mapping):
        return _with_arguments(identifier.get("class_name"), identifier.get("config", {}))
    if isinstance(identifier, functools.partial):
        if identifier.args:
            raise TypeError(f"activation: expected arguments by name, got {identifier!r}")
        return _with_arguments(identifier.func, identifier.keywords)
    return _with_arguments(identifier, {})


def _with_arguments(function: Any, arguments: Mapping[str, Any]) -> Spec | Activation:
    own: type[Activation] | None = registration.find(function, "activation", Activation)
    if own is not None:
        return complete(own.from_config(arguments))
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    name = ALIASES.get(name, name)
    if callable(function) and FUNCTIONS.get(name) is not function:
        raise TypeError(
            f"activation: expected a name, a function of evengrad.activations or an Activation, "
            f"got {function!r}, whose derivative cannot be found automatically. Write a class "
            "derived from evengrad.activations.Activation with call(self, x) and slope(self, x, y)"
        )
    if name not in FUNCTIONS:
        names = ", ".join(sorted([*FUNCTIONS, *ALIASES]))
        raise ValueError(f"activation: expected one of {names}, got {function!r}")
    try:
        bound = inspect.signature(FUNCTIONS[name]).bind(None, **arguments)
    except TypeError as error:
        raise TypeError(
            f"activation {name}: {error}; pass functools.partial(activations.{name}, argument=...)"
        ) from None
    bound.apply_defaults()
    return _SPECS.get(name, functools.partial(spec, name))(*bound.args[1:])


def serialize(activation: Identifier) -> str | dict[str, Any]:
    """Return an activation's name, or its name and arguments where they are not the defaults.

    Parameters
    ----------
    activation : str, function, partial, Spec or Activation
        What `get` takes.

    Examples
    --------
    >>> from functools import partial
    >>> from evengrad import activations
    >>> activations.serialize(activations.tanh)
    'tanh'
    >>> activations.serialize(partial(activations.elu, alpha=0.5))
    {'class_name': 'elu', 'config': {'alpha': 0.5}}
    """
    found = get(activation)
    if isinstance(found, Activation):
        name = registration.name_of(type(found), "activation")
        return {"class_name": name, "config": _configs.config_of(found)}
    name, values = found
    if name == "relu_general":
        name = "relu"
        ceiling, slope, start = values
        values = (slope, None if ceiling == float("inf") else ceiling, start)  # type: ignore
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())[1:]
    given = {
        p.name: value
        for p, value in zip(parameters, values, strict=False)  # the rest has its default
        if value != p.default
    }
    return {"class_name": name, "config": given} if given else name


def deserialize(config: str | Mapping[str, Any]) -> Spec | Activation:
    """Return what `serialize` was given, as `get` does.

    Parameters
    ----------
    config : str or mapping
        A name, or "class_name" and "config".

    Examples
    --------
    >>> from evengrad import activations
    >>> activations.deserialize({"class_name": "elu", "config": {"alpha": 0.5}})
    Spec(name='elu', parameters=(0.5,))
    """
    return get(config)
