"""Sequential: a stack of layers and what one does with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _auto, _stack, _summary, _validation
from evengrad._calibration import Calibrated
from evengrad._cloning import clone_model, model_from_json
from evengrad._names import Changes, unique_name
from evengrad._own_loop import OwnLoop
from evengrad._saved import Saved
from evengrad.layers.base import Shape
from evengrad.layers.input import InputLayer
from evengrad.layers.serialization import deserialize_inside, serialize, serialize_inside
from evengrad.saving import load_model, registration, save_model

if TYPE_CHECKING:
    from evengrad._stack import Part

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


class Sequential(Saved, Calibrated, OwnLoop, _stack.Stack):
    """A stack of layers, trained and used as one.

    Parameters
    ----------
    layers : sequence of Layer, optional
        More can be added later. The shape of one sample comes from an `Input` first, from the first
        layer's `input_shape`, or from the first data it sees.
    name : str, optional
        Default: "sequential", numbered.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

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

    def __init__(self, layers: Sequence[Part] | None = None, name: str | None = None) -> None:
        super().__init__(name or unique_name("Sequential"))
        self._known_built = -1  # at that point of `Changes`
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Sequence)):
            raise TypeError(f"{self.name}: expected a list of Layer objects, got {layers!r}")
        for layer in layers or ():
            self.add(layer)

    # -- structure

    def add(self, layer: Part) -> None:
        """Append a layer, or a model that becomes a part of this one."""
        _stack.check(self.name, self, self.layers, layer)
        if isinstance(layer, InputLayer):
            if self.layers or self._shape is not None:
                raise ValueError(f"{self.name}: expected an Input as the first item only")
            self._shape = layer.declared_shape
            return
        shape = self._shape
        if not self.layers and shape is None:
            shape = layer.declared_shape
        layer.join(self._scope + self.name)
        if shape is not None:
            layer.build_once(self.sample_output_shape() if self.layers else shape)
        self._shape = shape
        self.layers.append(layer)
        Changes.note()
        _auto.settle(_stack.flat(self.layers))

    def pop(self) -> Part:
        """Remove the last layer and return it."""
        if not self.layers:
            raise ValueError(f"{self.name}: there is no layer to remove")
        Changes.note()
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
        _stack.build(self.layers, shape)
        _auto.settle(_stack.flat(self.layers))

    @property
    def built(self) -> bool:
        """Whether all variables are made."""
        if self._known_built != Changes.latest:
            if self._shape is None or not all(layer.built for layer in self.layers):
                return False
            self._known_built = Changes.latest
        return True

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
        layers = _stack.flat(self.layers)
        shape = layers[-1].output_shape if layers else None
        return _stack.output_shape(layers, self.sample_shape()) if shape is None else shape

    def get_layer(self, name: str | None = None, index: int | None = None) -> Part:
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

    def summary(
        self, print_fn: Callable[[str], Any] | None = None, *, expand_nested: bool = False
    ) -> None:
        """Print layers, output shapes and numbers of parameters.

        Parameters
        ----------
        print_fn : callable, optional
            Gets the text, instead of print.
        expand_nested : bool
            Whether what is inside models and residual blocks has lines of its own.
        """
        (print_fn or print)(_summary.text(self, expand_nested=expand_nested))

    # -- variables

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Return a copy of each variable, in order."""
        with self._lock:
            return super().get_weights()

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Overwrite all variables; checked before the first is touched."""
        with self._lock:
            super().set_weights(weights)

    # -- as a part of another model

    @property
    def parts(self) -> list[Part]:
        """The layers."""
        return self.layers

    @property
    def declared_shape(self) -> Shape | None:
        """Shape of one sample, where it is known."""
        return self._shape

    def join(self, model_name: str) -> None:
        """Let the paths of variables made from now on begin with the name of the outer model."""
        self._scope = f"{model_name}/"
        for layer in self.layers:
            layer.join(self._scope + self.name)

    def build_once(self, input_shape: Sequence[int]) -> None:
        """Build, or compare the shape with the one it was built for."""
        self.shaped_outside = self.shaped_outside or self._shape is None
        self.build(input_shape)

    def checked_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one sample of the output for one of the input."""
        return _stack.output_shape(self.layers, input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return what makes an equal model: its layers, and the shape of a sample if it is known.

        Examples
        --------
        >>> import evengrad
        >>> model = evengrad.Sequential([evengrad.layers.ReLU(input_shape=(3,))], name="small")
        >>> evengrad.Sequential.from_config(model.get_config())
        <Sequential name=small, built=True>
        """
        layers = serialize_inside(self.layers)
        if self._shape is not None:
            layers.insert(0, serialize(InputLayer(self._shape, name="input_layer")))
        return {"name": self.name, "layers": layers}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """Make a model from get_config."""
        with registration.custom_object_scope(custom_objects):
            layers = deserialize_inside(config["layers"])
        return cls(layers, name=config.get("name"))

    def __repr__(self) -> str:
        return f"<Sequential name={self.name}, built={self.built}>"


def __getattr__(name: str) -> object:
    from evengrad.errors import explain_missing

    raise AttributeError(explain_missing(name, __name__))
