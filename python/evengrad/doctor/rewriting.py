"""Configurations of layers rewritten: normalizations put in, activations exchanged, and so on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Config = dict[str, Any]

ACTIVATIONS = {"Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "SELU", "Softmax"}
NORMALIZATIONS = {"BatchNormalization", "LayerNormalization"}
SHAPING = {"Flatten", "InputLayer", "Reshape"}
_NOISE = {"AlphaDropout": "rate", "Dropout": "rate", "GaussianDropout": "rate"} | {
    "GaussianNoise": "stddev"
}
_PLAIN = {"zeros", "Zeros"}


def kind(layer: Config) -> str:
    """Name of its class."""
    return str(layer["class_name"])


def inside(layer: Config) -> list[Config] | None:
    """The layers inside a model or a residual block."""
    found = layer.get("config", {}).get("layers")
    return found if isinstance(found, list) else None


def leaves(layers: Sequence[Config]) -> Iterator[Config]:
    """All layers that have none inside, in order."""
    for layer in layers:
        own = inside(layer)
        if own is None:
            yield layer
        else:
            yield from leaves(own)


def rewritten(
    layers: Sequence[Config], change: Callable[[Config], Sequence[Config]]
) -> list[Config]:
    """Return a copy with what `change` makes of each leaf in its place."""
    found: list[Config] = []
    for layer in layers:
        own = inside(layer)
        if own is None:
            found += copy.deepcopy(list(change(layer)))
        else:
            whole = layer["config"] | {"layers": rewritten(own, change)}
            found.append(layer | {"config": whole})
    return found


def changed(layer: Config, **arguments: Any) -> Config:
    """Return a layer with other arguments."""
    return layer | {"config": layer["config"] | arguments}


def named(class_name: str, name: str, **arguments: Any) -> Config:
    """Return the configuration of a new layer."""
    return {"class_name": class_name, "config": {"name": name, "trainable": True, **arguments}}


class Roles:
    """What the leaves are there for: which Dense is the last, and what follows each."""

    def __init__(self, layers: Sequence[Config]) -> None:
        self.leaves = list(leaves(layers))
        dense = [layer for layer in self.leaves if kind(layer) == "Dense"]
        self.last = dense[-1] if dense else None
        self.hidden = dense[:-1]
        self._places = {id(layer): i for i, layer in enumerate(self.leaves)}

    def is_hidden(self, layer: Config) -> bool:
        """Whether it comes before the last Dense."""
        return self.last is not None and self._places[id(layer)] < self._places[id(self.last)]

    def window(self, layer: Config) -> list[Config]:
        """What follows, up to the next Dense."""
        found: list[Config] = []
        for other in self.leaves[self._places[id(layer)] + 1 :]:
            if kind(other) == "Dense":
                break
            found.append(other)
        return found

    def follows_last(self, layer: Config) -> bool:
        """Whether it comes after the last Dense."""
        return self.last is not None and self._places[id(layer)] > self._places[id(self.last)]


def function_of(layer: Config) -> Any:
    """The activation of a Dense, None for linear."""
    found = layer["config"].get("activation")
    return None if found in (None, "linear") else found


def with_activation(layers: Sequence[Config], name: str) -> list[Config]:
    """Return hidden activations exchanged; where there are none, every hidden Dense gets one."""
    roles = Roles(layers)
    before = [layer for layer in roles.leaves if roles.is_hidden(layer)]
    there = any(
        kind(layer) in ACTIVATIONS or (kind(layer) == "Dense" and function_of(layer))
        for layer in before
    )

    def change(layer: Config) -> list[Config]:
        if not roles.is_hidden(layer):
            return [layer]
        if kind(layer) in ACTIVATIONS and layer["config"].get("activation") != "linear":
            return [named("Activation", layer["config"]["name"], activation=name)]
        if kind(layer) == "Dense" and (function_of(layer) or not there):
            return [changed(layer, activation=name)]
        return [layer]

    return rewritten(layers, change)


def with_initializer(layers: Sequence[Config], name: str) -> list[Config]:
    """Return hidden kernels drawn by an initializer, the last by Glorot's, biases from 0."""
    roles = Roles(layers)

    def change(layer: Config) -> list[Config]:
        if kind(layer) != "Dense":
            return [layer]
        drawn = name if roles.is_hidden(layer) else "glorot_uniform"
        return [changed(layer, kernel_initializer=drawn, bias_initializer="zeros")]

    return rewritten(layers, change)


def with_batch_normalization(layers: Sequence[Config], where: str) -> list[Config]:
    """Return batch normalizations "before" or "after" hidden activations, "input", or "none"."""
    if where == "none":
        return rewritten(layers, lambda x: [] if kind(x) == "BatchNormalization" else [x])
    if where == "input":
        return at_input(layers, named("BatchNormalization", "input_normalization"))
    roles = Roles(layers)
    after_layers = _activations_followed_by_none(roles) if where == "after" else set()

    def change(layer: Config) -> list[Config]:
        if kind(layer) == "Dense" and roles.is_hidden(layer):
            return _normalized(roles, layer, where)
        if id(layer) in after_layers:
            return [layer, _normalization(layer)]
        return [layer]

    return rewritten(layers, change)


def _normalization(layer: Config) -> Config:
    return named("BatchNormalization", f"{layer['config']['name']}_normalization")


def _activations_followed_by_none(roles: Roles) -> set[int]:
    found = set()
    for dense in roles.hidden:
        window = roles.window(dense)
        kinds = {kind(layer) for layer in window}
        if not function_of(dense) and not kinds & NORMALIZATIONS:
            found |= {id(layer) for layer in window if kind(layer) in ACTIVATIONS}
    return found


def _normalized(roles: Roles, layer: Config, where: str) -> list[Config]:
    window = roles.window(layer)
    kinds = {kind(other) for other in window}
    if kinds & NORMALIZATIONS:
        return [layer]
    function, name = function_of(layer), layer["config"]["name"]
    if function is None:
        return (
            [layer] if where == "after" and kinds & ACTIVATIONS else [layer, _normalization(layer)]
        )
    if where == "after":
        return [layer, _normalization(layer)]
    plain = changed(layer, activation="linear", use_bias=False)
    act = named("Activation", f"{name}_activation", activation=function)
    return [plain, _normalization(layer), act]


def at_input(layers: Sequence[Config], *new: Config) -> list[Config]:
    """Return layers put in front, behind those that only say or change the shape."""
    place = 0
    while place < len(layers) and kind(layers[place]) in SHAPING:
        place += 1
    return [*layers[:place], *new, *layers[place:]]


def flattens(layers: Sequence[Config]) -> bool:
    """Whether samples are vectors where `at_input` puts layers, whatever they were."""
    for layer in layers:
        if kind(layer) not in SHAPING:
            return False
        if kind(layer) == "Flatten":
            return True
    return False


def with_output(
    layers: Sequence[Config], activation: str | None, units: int | None
) -> list[Config]:
    """Return the last Dense with another activation and size, and no activation behind it."""
    roles = Roles(layers)

    def change(layer: Config) -> list[Config]:
        if layer is roles.last:
            count = layer["config"]["units"] if units is None else units
            return [changed(layer, activation=activation or "linear", units=count)]
        gone = kind(layer) in ACTIVATIONS and roles.follows_last(layer)
        return [] if gone else [layer]

    return rewritten(layers, change)


def with_regularization(layers: Sequence[Config], factor: float) -> list[Config]:
    """Return penalties, dropout and noise times a factor; with 0 bounds on norms go, too."""

    def change(layer: Config) -> list[Config]:
        arguments = dict(layer["config"])
        for name, value in arguments.items():
            if name.endswith("_regularizer") and value is not None:
                arguments[name] = _weaker(value, factor)
            elif name.endswith("_constraint") and isinstance(value, dict) and factor == 0.0:
                bound = value.get("class_name") in ("MaxNorm", "MinMaxNorm", "UnitNorm")
                arguments[name] = None if bound else value
        if (rate := _NOISE.get(kind(layer))) is not None:
            arguments[rate] = min(arguments[rate] * factor, 0.9)
        return [layer | {"config": arguments}]

    return rewritten(layers, change)


def _weaker(penalty: Any, factor: float) -> Any:
    if factor == 0.0:
        return None
    if not isinstance(penalty, dict):
        return penalty
    own = penalty.get("config", {})
    return penalty | {"config": own | {k: own[k] * factor for k in ("l1", "l2") if k in own}}


def with_momentum(layers: Sequence[Config], momentum: float) -> list[Config]:
    """Return batch normalizations whose statistics move by another momentum, without a bias."""

    def change(layer: Config) -> list[Config]:
        if kind(layer) != "BatchNormalization":
            return [layer]
        return [changed(layer, momentum=momentum, debias=True)]

    return rewritten(layers, change)


def names_made_unique(layers: Sequence[Config], taken: set[str] | None = None) -> list[Config]:
    """Return layers of which no two in one place have one name: new ones are numbered."""
    known, found = set() if taken is None else taken, []
    for layer in layers:
        own, arguments = inside(layer), dict(layer["config"])
        name, number = arguments.get("name"), 0
        while name in known:
            number += 1
            name = f"{arguments['name']}_{number}"
        known.add(str(name))
        if own is not None:
            arguments["layers"] = names_made_unique(own, set())
        found.append(layer | {"config": arguments | ({"name": name} if name else {})})
    return found
