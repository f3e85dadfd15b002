"""Sequential: a stack of layers and what one does with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _auto, _summary, _validation
from evengrad._calibration import Calibrated
from evengrad._names import unique_name
from evengrad.layers.base import Layer, Shape
from evengrad.layers.input import InputLayer

if TYPE_CHECKING:
    from evengrad.variable import Variable


class Sequential(Calibrated):
    """A stack of layers, trained and used as one.

    Parameters
    ----------
    layers : sequence of Layer, optional
        More can be added later. The shape of one sample comes from an `Input` first, from the first
        layer's `input_shape`, or from the first data it sees.
    name : str, optional
        Default: "sequential", numbered.

    Examples
    --------
    >>> import evengrad as keras
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> history = model.fit(x, [1.0, 3.0, 5.0, 7.0], epochs=200, verbose=0)
    >>> model.predict([[10.0]]).round(2)
    array([[21.]], dtype=float32)
    """

    def __init__(self, layers: Sequence[Layer] | None = None, name: str | None = None) -> None:
        super().__init__(name or unique_name("Sequential"))
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Sequence)):
            raise TypeError(f"{self.name}: expected a list of Layer objects, got {layers!r}")
        for layer in layers or ():
            self.add(layer)

    # -- structure

    def add(self, layer: Layer) -> None:
        """Append a layer."""
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.name}: expected a Layer, got {layer!r}")
        if not hasattr(layer, "name"):
            who = type(layer).__name__
            raise TypeError(f"{who}: call super().__init__(**kwargs) first in {who}.__init__")
        if any(layer.name == other.name for other in self.layers):
            raise ValueError(f"{self.name}: expected layers of different names, got two {layer}")
        if isinstance(layer, InputLayer):
            if self.layers or self._shape is not None:
                raise ValueError(f"{self.name}: expected an Input as the first item only")
            self._shape = layer.declared_shape
            return
        shape = self._shape
        if not self.layers and shape is None:
            shape = layer.declared_shape
        layer.join(self.name)
        if shape is not None:
            layer.build_once(self.sample_output_shape() if self.layers else shape)
        self._shape = shape
        self.layers.append(layer)
        _auto.settle(self.layers)

    def pop(self) -> Layer:
        """Remove the last layer and return it."""
        if not self.layers:
            raise ValueError(f"{self.name}: there is no layer to remove")
        return self.layers.pop()

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make all variables for samples of this shape; a first None stands for the batch."""
        shape = tuple(input_shape)
        if shape and shape[0] is None:
            shape = shape[1:]
        checked = _validation.check_shape(self.name, "input_shape", shape)
        if self._shape is not None and checked != self._shape:
            raise ValueError(f"{self.name}: expected samples {self._shape}, got {checked}")
        self._shape = checked
        self._build_layers()

    def _build_layers(self) -> None:
        shape = self._shape
        assert shape is not None
        for layer in self.layers:
            layer.build_once(shape)
            assert layer.output_shape is not None
            shape = layer.output_shape
        _auto.settle(self.layers)

    @property
    def built(self) -> bool:
        """Whether all variables are made."""
        return self._shape is not None and all(layer.built for layer in self.layers)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, ...) with the shape of a sample."""
        return (None, *self.sample_shape())

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """(None, ...) with the shape of a sample's output."""
        return (None, *self.sample_output_shape())

    def sample_shape(self) -> Shape:
        """Shape of one sample."""
        if self._shape is None:
            raise ValueError(f"{self.name}: not built; start with Input(shape) or call build")
        return self._shape

    def sample_output_shape(self) -> Shape:
        """Shape of one sample's output."""
        shape = self.layers[-1].output_shape if self.layers else None
        if shape is None:  # not yet built
            shape = self.sample_shape()
            for layer in self.layers:
                shape = layer.checked_output_shape(shape)
        return shape

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer by name or by index."""
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(
                    f"{self.name}: expected a layer's index below {len(self.layers)}, got {index}"
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"{self.name}: expected a layer among {known}, got {name!r}")

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print layers, output shapes and numbers of parameters."""
        (print_fn or print)(_summary.text(self))

    # -- variables

    @property
    def variables(self) -> list[Variable]:
        """All variables, layer by layer."""
        return [v for layer in self.layers for v in layer.variables]

    weights = variables

    @property
    def trainable_variables(self) -> list[Variable]:
        """Those that the optimizer updates."""
        return [v for layer in self.layers for v in layer.trainable_variables]

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The others."""
        return [v for layer in self.layers for v in layer.non_trainable_variables]

    non_trainable_weights = non_trainable_variables

    @property
    def losses(self) -> list[float]:
        """Penalties of regularizers on the variables as they are now, layer by layer."""
        return [penalty for layer in self.layers for penalty in layer.losses]

    @property
    def trainable(self) -> bool:
        """Whether any layer is; setting it sets all layers."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def count_params(self) -> int:
        """Number of elements of all variables."""
        return sum(layer.count_params() for layer in self.layers)

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Return a copy of each variable, in order."""
        with self._lock:
            return [v.numpy() for v in self.variables]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Overwrite all variables; checked before the first is touched."""
        _validation.check_weights(self.name, weights, self.variables)
        with self._lock:
            rest = list(weights)
            for layer in self.layers:
                count = len(layer.variables)
                layer.set_weights(rest[:count])
                del rest[:count]

    def __repr__(self) -> str:
        return f"<Sequential name={self.name}, built={self.built}>"
