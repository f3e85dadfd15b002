"""Sequential: a stack of layers and what one does with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _auto, _stack, _summary, _validation
from evengrad._calibration import Calibrated
from evengrad._cloning import clone_model, model_from_json
from evengrad._examined import Examined
from evengrad._names import Changes, unique_name
from evengrad._own_loop import OwnLoop
from evengrad._saved import Saved
from evengrad.layers.base import Layer, Shape
from evengrad.layers.input import InputLayer
from evengrad.layers.serialization import deserialize_inside, serialize, serialize_inside
from evengrad.saving import load_model, registration, save_model

if TYPE_CHECKING:
    from evengrad._stack import Part

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


_NOT_BUILT = "not built; start with Input(shape) or call build"


class Sequential(Saved, Examined, Calibrated, OwnLoop, _stack.Stack):
    """A stack of layers, trained and used as one.

    Parameters
    ----------
    layers : sequence of Layer, optional
        More can be added later. The shape of one sample comes from an `Input` first, from the first
        layer's `input_shape`, or from the first data it sees.
    trainable : bool
        False: layers are frozen when they are added, see the attribute of that name.
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

    def __init__(
        self,
        layers: Sequence[Part] | None = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        known = None if name is None else _validation.check_name("Sequential", name)
        super().__init__(known or unique_name("Sequential"))
        self._known_built = -1  # at that point of `Changes`
        self._trainable = _validation.check_flag(self.name, "trainable", trainable)
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Sequence)):
            raise TypeError(f"{self.name}: expected a list of Layer objects, got {layers!r}")
        for layer in layers or ():
            self.add(layer)

    # -- structure

    def add(self, layer: Part, rebuild: bool = True) -> None:
        """Append a layer, or a model that becomes a part of this one.

        Parameters
        ----------
        layer : Layer or Sequential
            Its variables are made at once where the shape of a sample is known.
        rebuild : bool
            Accepted, without effect: what is built already stays.
        """
        _validation.check_flag(self.name, "rebuild", rebuild)
        _stack.check(self.name, self, self.layers, layer)
        if isinstance(layer, InputLayer):
            if self.layers or self._shape is not None:
                raise ValueError(
                    f"{self.name}: expected an Input as the first item only, got {layer}"
                )
            self._shape = layer.declared_shape
            return
        shape = self._shape
        if not self.layers and shape is None:
            shape = layer.declared_shape
        layer.join(self._scope + self.name)
        if shape is not None:
            layer.build_once(self.sample_output_shape() if self.layers else shape)
        self._shape = shape
        if not self._trainable:
            layer.trainable = False
        self.layers.append(layer)
        Changes.note()
        _auto.settle(_stack.flat(self.layers))

    def pop(self, rebuild: bool = True) -> Part:
        """Remove the last layer and return it; `rebuild` is accepted, without effect."""
        _validation.check_flag(self.name, "rebuild", rebuild)
        if not self.layers:
            raise ValueError(f"{self.name}: there is no layer to remove")
        Changes.note()
        return self.layers.pop()

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Make all variables.

        Parameters
        ----------
        input_shape : (batch, ...), optional
            Shape of the data, for instance (None, 784) or x.shape; the first number does not count.
            One number alone is the number of features. Default: what `Input` or the first layer
            said.

        Raises
        ------
        ValueError, TypeError
            If it is no shape, or another one than the model has.
        """
        if input_shape is None:
            self._build_for(self.sample_shape())
            return
        shape = input_shape
        if isinstance(shape, list | tuple) and (len(shape) > 1 or shape[:1] in ([None], (None,))):
            shape = shape[1:]
        self._build_for(_validation.check_shape(self.name, "input_shape", shape))

    def _build_for(self, shape: Shape) -> None:
        if self._shape is not None and shape != self._shape:
            raise ValueError(f"{self.name}: expected samples {self._shape}, got {shape}")
        _stack.output_shape(self.layers, shape)  # refused before anything is made
        self._shape = shape
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
    def trainable(self) -> bool:
        """Whether any layer is; setting it sets all layers, those that are added later too."""
        return super().trainable if self.layers else self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = _validation.check_flag(self.name, "trainable", value)
        for layer in self.layers:
            layer.trainable = self._trainable

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, ...) with the shape of a sample."""
        self._check_shape_is_known()
        return (None, *self.sample_shape())

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """(None, ...) with the shape of a sample's output."""
        self._check_shape_is_known()
        return (None, *self.sample_output_shape())

    def _check_shape_is_known(self) -> None:
        if self._shape is None:  # as an attribute that there is not yet
            raise AttributeError(f"{self.name}: {_NOT_BUILT}")

    def _no_graph(self) -> Any:
        """AttributeError: there are no symbolic inputs and outputs."""
        raise AttributeError(
            f"{self.name}: layers do not make graphs, there are no symbolic inputs and outputs; "
            "see input_shape and output_shape, and for the outputs of some of the layers give "
            "those to a Sequential of their own"
        )

    input = output = inputs = outputs = property(_no_graph)

    def sample_shape(self) -> Shape:
        """Shape of one sample."""
        if self._shape is None:
            raise ValueError(f"{self.name}: {_NOT_BUILT}")
        return self._shape

    def sample_output_shape(self) -> Shape:
        """Shape of one sample's output."""
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Layer) and last.output_shape is not None:
            return last.output_shape
        return _stack.output_shape(self.layers, self.sample_shape())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Part:
        """Return a layer by name or by index."""
        if (name is None) == (index is None):
            raise ValueError(
                f"{self.name}: expected a layer's name or its index, got name={name!r} and "
                f"index={index!r}"
            )
        if index is not None:
            count = len(self.layers)
            number = _validation.check_count(self.name, "index", index, -count)
            if number >= count:
                raise ValueError(f"{self.name}: expected index to be below {count}, got {index}")
            return self.layers[number]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"{self.name}: expected name to be that of a layer, {known}, got {name!r}")

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print layers, output shapes and numbers of parameters.

        Parameters
        ----------
        line_length : int, optional
            Number of characters of a line of the table; cells are wrapped. Default: what the cells
            need.
        positions : sequence of three float, optional
            Where the columns end: shares of the line, or characters where the last is above 1.
            Default, with a line_length: 0.45, 0.8, 1.
        print_fn : callable, optional
            Gets the text, instead of print.
        expand_nested : bool
            Whether what is inside models and residual blocks has lines of its own.
        show_trainable : bool
            One more column: Y or N for layers with weights.
        layer_range : (str, str), optional
            Names, or patterns (`re`) of names, of the first and the last layer to be shown.

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, or something else than what is expected.
        """
        if print_fn is not None and not callable(print_fn):
            raise TypeError(f"summary: expected print_fn to be a function, got {print_fn!r}")
        text = _summary.text(
            self,
            line_length=line_length,
            positions=positions,
            expand_nested=expand_nested,
            show_trainable=_validation.check_flag("summary", "show_trainable", show_trainable),
            layer_range=layer_range,
        )
        (print_fn or _summary.show)(text)

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
        self._build_for(_validation.check_shape(self.name, "input_shape", input_shape))

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
