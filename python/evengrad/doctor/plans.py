"""Plans: what a model is made of and how it is trained, to be changed and carried out anew."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad import _random, _stack
from evengrad.saving import _configs, registration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from evengrad._stack import Part
    from evengrad.layers.base import Layer
    from evengrad.models import Sequential

Config = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Architecture, arguments of `compile` and of `fit`, all as configurations.

    Parameters
    ----------
    model : Sequential
        Whose plan it was at first: where the weights of layers come from that are not trained.
    config : dict
        As of `model.get_config`.
    compiled : dict
        As of `model.get_compile_config`.
    epochs, batch_size : int
        Of `fit`.
    recalibrate : bool
        Whether `model.recalibrate(x)` follows.
    objects : dict
        The user's own classes by name.
    """

    model: Sequential
    config: Config
    compiled: Config
    epochs: int = 1
    batch_size: int = 32
    recalibrate: bool = False
    objects: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Sequential, epochs: int = 1, batch_size: int = 32) -> Plan:
        """Return the plan of a model that is compiled and whose shape is known.

        Parameters
        ----------
        model : Sequential
        epochs, batch_size : int
            How it is trained.

        Raises
        ------
        TypeError
            If a class of one's own cannot be made again from its configuration.
        """
        with registration.by_reference() as named:
            config, compiled = _configs.config_of(model), model.get_compile_config()
        return cls(model, config, compiled, epochs, batch_size, objects=named)

    @property
    def layers(self) -> list[Config]:
        """Configurations of the layers; none where a class of one's own has others."""
        found: list[Config] = self.config.get("layers", [])
        return found

    def with_layers(self, layers: list[Config]) -> Plan:
        """Return the same with other layers."""
        return replace(self, config=self.config | {"layers": layers})

    @property
    def optimizer(self) -> Config:
        """Configuration of the optimizer."""
        found: Config = self.compiled["optimizer"]
        return found

    def with_optimizer(self, **changes: Any) -> Plan:
        """Return the same with other arguments of the optimizer."""
        made = self.optimizer | {"config": self.optimizer["config"] | changes}
        return replace(self, compiled=self.compiled | {"optimizer": made})

    @property
    def loss(self) -> Config:
        """Configuration of the loss."""
        found: Config = self.compiled["loss"]
        return found

    @property
    def fit_arguments(self) -> Config:
        """Arguments of `fit`."""
        return {"epochs": self.epochs, "batch_size": self.batch_size}

    @property
    def key(self) -> str:
        """The same for plans that are the same."""
        parts = self.config, self.compiled, self.epochs, self.batch_size, self.recalibrate
        return json.dumps(parts, sort_keys=True, default=repr)

    def build(self, seed: int, *, metrics: bool = True) -> Sequential:
        """Return a model made after the plan, compiled and not yet trained.

        Equal seeds give equal kernels to equal layers, and equal batches; the package's generator
        is as before. Layers that nothing in the model trains keep their weights.

        Parameters
        ----------
        seed : int
            Of all draws.
        metrics : bool
            Whether it is compiled with metrics, too.
        """
        compiled = dict(self.compiled)
        if not metrics:
            compiled["metrics"] = compiled["weighted_metrics"] = []
        with (
            _random.seeded(np.random.Generator(np.random.PCG64(seed))),
            registration.custom_object_scope(self.objects),
        ):
            model: Sequential = type(self.model).from_config(copy.deepcopy(self.config))
            if self.model.has_shape and not model.built:
                model.build((None, *self.model.sample_shape()))
            model.compile_from_config(compiled)
        self._carry_over(model)
        model.draws = _random.draws_of(seed, np.random.Generator(np.random.PCG64(seed)))
        return model

    def compile_arguments(self) -> Config:
        """Arguments of `compile` anew."""
        with registration.custom_object_scope(self.objects):
            return self.model.compile_arguments(copy.deepcopy(self.compiled))

    def _carry_over(self, model: Sequential) -> None:
        """Give layers without anything to train the weights that they have."""
        made = dict(_named(model.layers))
        for name, layer in _named(self.model.layers):
            if not layer.variables or layer.trainable_variables:
                continue
            twin = made.get(name)
            shapes = [variable.shape for variable in layer.variables]
            if twin is not None and [v.shape for v in twin.variables] == shapes:
                twin.set_weights(layer.get_weights())


def _named(parts: list[Part], inside: tuple[str, ...] = ()) -> Iterator[tuple[object, Layer]]:
    """Layers, each with its name and the names of those it is inside."""
    for part in parts:
        name = (*inside, part.name)
        if isinstance(part, _stack.Stack):
            yield from _named(list(part.parts), name)
        else:
            yield name, part
