"""What all layers share: names, variables, weights, and running on their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _building, _python, _random, _validation, constraints, regularizers
from evengrad._names import Versioned, unique_name
from evengrad._program import Program
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad import initializers
    from evengrad._core import F32

Shape = tuple[int, ...]


class Layer(Versioned):
    """Base of the layers, and of layers of your own.

    A layer of your own says what it does in Python, with numpy: `call` computes the outputs of a
    batch and `call_backward` the gradients; there is no automatic differentiation. `build` makes
    its variables with `add_weight`, `compute_output_shape` says where shapes differ. Python is
    called at each step between the kernels of the other layers.

    Parameters
    ----------
    name : str, optional
        Default: the class name in snake case, numbered.
    trainable : bool
        Whether optimizers update its trainable variables.
    input_shape : sequence of int, optional
        Shape of one sample, for the first layer of a model.
    input_dim : int, optional
        The same for samples that are vectors.
    dtype : str, optional
        "float32", the only one there is.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

    Notes
    -----
    Shapes in `build` and `compute_output_shape` are those of one sample, without the batch.
    The layers of evengrad record kernel calls instead: `forward` and `backward`. What an exception
    in a layer of your own ends is the step: nothing has been updated then.

    Examples
    --------
    >>> from evengrad import layers
    >>> class Scale(layers.Layer):
    ...     def build(self, input_shape):
    ...         self.scale = self.add_weight(input_shape[-1:], "ones", "scale")
    ...
    ...     def call(self, inputs):
    ...         return inputs * self.scale.value
    ...
    ...     def call_backward(self, inputs, outputs, dy):
    ...         return dy * self.scale.value, {self.scale: (dy * inputs).sum(axis=0)}
    >>> Scale()([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: Sequence[int] | None = None,
        input_dim: int | None = None,
        dtype: str | None = None,
    ) -> None:
        who = type(self).__name__
        _validation.check_dtype(who, dtype)
        self.name = unique_name(who) if name is None else _validation.check_name(who, name)
        self.trainable = _validation.check_flag(str(self), "trainable", trainable)
        self.built = False
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        self._variables: list[Variable] = []
        self._scope = ""
        if input_dim is not None:
            if input_shape is not None:
                raise ValueError(f"{self}: pass input_shape or input_dim, not both")
            input_shape = (input_dim,)
        self.declared_shape: Shape | None = None
        if input_shape is not None:
            self.declared_shape = _validation.check_shape(str(self), "input_shape", input_shape)

    def join(self, model_name: str) -> None:
        """Let the paths of variables made from now on begin with the model's name."""
        self._scope = f"{model_name}/"

    # -- shape and variables

    def compute_output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Shape of one sample of the output, from that of the input, both without the batch."""
        return tuple(input_shape)

    def build(self, input_shape: Sequence[int]) -> None:
        """Make the variables for samples of this shape; once."""
        shape = _validation.check_shape(str(self), "input_shape", input_shape)
        if self.input_shape is not None:
            if shape != self.input_shape:
                raise ValueError(f"{self}: built for samples {self.input_shape}, got {shape}")
            return
        output_shape = self.checked_output_shape(shape)
        self.make_variables(shape)
        self.input_shape, self.output_shape, self.built = shape, output_shape, True

    def build_once(self, input_shape: Sequence[int]) -> None:
        """Call `build`, the subclass' own or this one, unless that has been done."""
        if self.input_shape is None:
            shape = _validation.check_shape(str(self), "input_shape", input_shape)
            self.checked_output_shape(shape)
            self.build(shape)
        Layer.build(self, input_shape)

    def checked_output_shape(self, input_shape: Shape) -> Shape:
        """What compute_output_shape returns, as a tuple of ints."""
        shape = self.compute_output_shape(input_shape)
        return _validation.check_shape(str(self), "what compute_output_shape returns", shape)

    def make_variables(self, input_shape: Shape) -> None:
        """Call add_weight for each variable; for layers that have any."""

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: str | initializers.Initializer = "glorot_uniform",
        name: str | None = None,
        *,
        trainable: bool = True,
        double: bool = False,
        flat: bool = False,
        regularizer: str | regularizers.Regularizer | None = None,
        constraint: str | constraints.Constraint | None = None,
    ) -> Variable:
        """Make a variable of this layer.

        Parameters
        ----------
        shape : sequence of int, default ()
        initializer : str or Initializer, default "glorot_uniform"
        name : str, optional
            Default "variable", numbered.
        trainable : bool
            Whether optimizers update it.
        double, flat : bool
            For layers that record kernel calls, see `Variable`.
        regularizer, constraint : str or object, optional
            See `evengrad.regularizers` and `evengrad.constraints`.
        """
        who = str(self)
        shape = _validation.check_shape(who, "shape", shape) if len(shape) else ()
        if name is None:
            name = f"variable_{len(self._variables)}" if self._variables else "variable"
        name = _validation.check_name(who, name)
        variable = Variable(
            _building.first_value(who, name, shape, initializer),
            shape=shape,
            name=name,
            path=f"{self._scope}{self.name}/{name}",
            trainable=_validation.check_flag(who, "trainable", trainable),
            double=double,
            flat=flat,
            regularizer=regularizers.get(regularizer),
            constraint=constraints.get(constraint),
        )
        self._variables.append(variable)
        return variable

    @property
    def variables(self) -> list[Variable]:
        """All variables, in the order of get_weights."""
        return list(self._variables)

    weights = variables

    @property
    def trainable_variables(self) -> list[Variable]:
        """Those that optimizers update."""
        return [v for v in self._variables if v.trainable] if self.trainable else []

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The others."""
        return [v for v in self._variables if v not in self.trainable_variables]

    non_trainable_weights = non_trainable_variables

    @property
    def losses(self) -> list[float]:
        """Penalties on its trainable variables as they are now."""
        return [v.regularizer(v.value) for v in self.trainable_variables if v.regularizer]

    def count_params(self) -> int:
        """Number of elements of all variables."""
        return sum(v.size for v in self._variables)

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Return a copy of each variable, in order."""
        return [v.numpy() for v in self._variables]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Overwrite all variables; checked before the first is touched.

        Raises
        ------
        ValueError
            If number or shapes do not fit or a number is not finite.
        """
        _validation.check_weights(str(self), weights, self._variables)
        for variable, value in zip(self._variables, weights, strict=True):
            variable.assign(value)
        self.weights_were_set()

    def weights_were_set(self) -> None:
        """Called after set_weights; for layers whose state is more than their weights."""

    def get_extra_state(self) -> dict[str, Any]:
        """Return what it keeps besides arguments and variables; a model's file holds it."""
        return {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_extra_state` returned."""
        raise ValueError(f"{self}: expected no state but variables, got {', '.join(state)}")

    @property
    def live_arrays(self) -> list[NDArray[Any]]:
        """The live arrays of all that training changes."""
        return [v.storage for v in self._variables]

    # -- in Python

    def call(self, inputs: F32, *args: Any, **kwargs: Any) -> NDArray[Any]:
        """Return the outputs for a batch; for layers of your own.

        Parameters
        ----------
        inputs : ndarray (n, ...)
            Read-only, and only for now: a later step has other numbers there.
        training : bool
            Given where the method has an argument of this name.

        Returns
        -------
        ndarray (n, ...)
            As `compute_output_shape` says. It is copied.
        """
        raise NotImplementedError(
            f"{self}: write call(self, inputs, training=False), which returns the outputs"
        )

    def call_backward(self, inputs: F32, outputs: F32, dy: F32) -> Any:
        """Return the gradients for a batch; for layers of your own.

        Parameters
        ----------
        inputs, outputs : ndarray (n, ...)
            Of `call`; read-only.
        dy : ndarray (n, ...)
            Gradient of the loss with respect to the outputs; read-only.

        Returns
        -------
        dx, or (dx, {variable: gradient, ...})
            Gradients with respect to the inputs and to each trainable variable, summed over the
            batch.
        """
        raise NotImplementedError(
            f"{self}: write call_backward(self, inputs, outputs, dy), which returns the gradient "
            "of the inputs, or (dx, {variable: gradient, ...}); it cannot be found automatically"
        )

    @property
    def in_python(self) -> bool:
        """Whether `call` and `call_backward` say what the layer does."""
        own = type(self)
        return own.call is not Layer.call or own.call_backward is not Layer.call_backward

    def recording_reads(self, name: str) -> bool:
        """Of a layer in Python only `trainable`: its other attributes are its own business."""
        return name == "trainable" if self.in_python else super().recording_reads(name)

    # -- recording

    def forward(self, program: Program, x: F32) -> F32:
        """Record the output for a batch x: `call`, or kernels where a layer overrides this."""
        return _python.record_call(self, program, x)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record the gradients of the variables and return that of the input, if needed."""
        return _python.record_call_backward(self, program, dy, need_dx=need_dx)

    def record(self, program: Program, x: F32) -> F32:
        """Record `call` or `forward`, whichever the layer has."""
        own = Layer if self.in_python else type(self)
        return program.made(self, own.forward(self, program, x))

    def record_backward(self, program: Program, dy: F32, *, need_dx: bool) -> F32 | None:
        """Record `call_backward` or `backward`."""
        own = Layer if self.in_python else type(self)
        program.receives(self, dy)
        return program.leaves(self, own.backward(self, program, dy, need_dx=need_dx))

    def gradient(self, program: Program, variable: Variable | None) -> F32 | None:
        """Memory for a variable's gradient, None where none is wanted."""
        return program.gradient(variable) if variable is not None and self.trainable else None

    # -- on its own

    def __call__(self, inputs: ArrayLike, training: bool = False) -> NDArray[np.float32]:
        """Run on a batch at once and return a new array."""
        x = _validation.features(str(self), "inputs", inputs)
        self.build_once(x.shape[1:])
        assert self.output_shape is not None
        program = Program(len(x), training=training)
        source = program.tensor(x.shape[-1], math.prod(x.shape[1:-1]))
        source[...] = x.reshape(source.shape)
        y = self.record(program, source)
        program.commit()
        if len(program):
            program.run(len(x), seed=_random.spawn_seed() if training else 0)
        return np.array(y, order="C").reshape(len(x), *self.output_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {"name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """Make a layer from get_config."""
        return cls(**config)

    def __str__(self) -> str:
        return f'{type(self).__name__} "{self.name}"' if hasattr(self, "name") else "Layer"

    def __repr__(self) -> str:
        return f"<{self}, built={self.built}>"
