"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad import _building, _validation, activations, constraints, initializers, regularizers
from evengrad._program import Program
from evengrad.layers.base import Layer, Shape
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad.layers.batch_normalization import BatchNormalization


class Dense(Layer):
    """y = activation(x kernel + bias) on the last axis.

    Parameters
    ----------
    units : int, at least 1
        Size of the output's last axis.
    activation : str, function or partial of evengrad.activations, or Activation, optional
        Default: linear.
    use_bias : bool
        Leave it out before a batch normalization, which subtracts it anyway.
    kernel_initializer : str or Initializer
        Default "glorot_uniform"; "he_normal" suits ReLU and its kin, "lecun_normal" SELU, "auto"
        any activation.
    bias_initializer : str or Initializer
        Default "zeros".
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties in training, see `evengrad.regularizers`.
    activity_regularizer : None
        There is none; penalize kernels.
    kernel_constraint, bias_constraint : str or Constraint, optional
        Applied after each update, see `evengrad.constraints`.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Notes
    -----
    Variables: kernel (n_in, units), bias (units,). Input (..., n_in), output (..., units).

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.Dense(3, kernel_initializer="ones")([[1.0, 2.0]])
    array([[3., 3., 3.]], dtype=float32)
    """

    def __init__(
        self,
        units: int,
        activation: activations.Identifier = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: str | regularizers.Regularizer | None = None,
        bias_regularizer: str | regularizers.Regularizer | None = None,
        activity_regularizer: None = None,
        kernel_constraint: str | constraints.Constraint | None = None,
        bias_constraint: str | constraints.Constraint | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = _validation.check_count(str(self), "units", units)
        self.activation = activations.get(activation)
        self.use_bias = _validation.check_flag(str(self), "use_bias", use_bias)
        self.kernel_initializer = initializers.of_layer(kernel_initializer)
        self.bias_initializer = initializers.of_layer(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        if activity_regularizer is not None:
            raise ValueError(
                f"{self}: activity_regularizer is not here; penalize weights with "
                "kernel_regularizer"
            )
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.kernel: Variable | None = None
        self.bias: Variable | None = None
        self._drawn = b""  # digest of the kernel as "auto" made it
        self._gain = 1.0

    def compute_output_shape(self, input_shape: Sequence[int]) -> Shape:
        """(..., n_in) -> (..., units)."""
        return (*input_shape[:-1], self.units)

    def make_variables(self, input_shape: Shape) -> None:
        """Kernel and bias."""
        shape, start = (input_shape[-1], self.units), self.kernel_initializer
        if isinstance(start, initializers.Auto):
            start = start.suited_to(self.activation)
            self._gain = start.gain
        self.kernel = self.add_weight(
            shape,
            start,
            "kernel",
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self._drawn = b"" if _building.loading() else self._digest()
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,),
                self.bias_initializer,
                "bias",
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    @property
    def draws_for_activation(self) -> bool:
        """Whether the kernel is there and its initializer "auto"."""
        return self.kernel is not None and isinstance(self.kernel_initializer, initializers.Auto)

    def suit(self, follower: activations.Spec | activations.Activation) -> None:
        """Scale the kernel, if it is as "auto" drew it, to the activation of the layer behind."""
        assert self.kernel is not None
        assert isinstance(self.kernel_initializer, initializers.Auto)
        activation = follower if self.activation.name == "linear" else self.activation
        if not self._drawn:  # it comes from a file
            return
        gain = self.kernel_initializer.suited_to(activation).gain
        if gain == self._gain or self._digest() != self._drawn:
            return
        self.kernel.value[...] = self.kernel.value * np.float64(gain / self._gain)
        self._gain, self._drawn = gain, self._digest()

    def _digest(self) -> bytes:
        if not self.draws_for_activation:
            return b""
        assert self.kernel is not None
        import hashlib  # brings OpenSSL along

        return hashlib.sha256(self.kernel.numpy().tobytes()).digest()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the gain of a kernel that is as "auto" drew it."""
        return {"gain": self._gain} if self._drawn and self._digest() == self._drawn else {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over that gain."""
        if state.keys() != {"gain"} or not self.draws_for_activation:
            raise ValueError(f"{self}: expected the gain of 'auto', got {', '.join(state)}")
        self._gain = _validation.check_number(str(self), "gain", state["gain"], 0.0, open_low=True)
        self._drawn = self._digest()

    def forward(self, program: Program, x: F32) -> F32:
        """Record x kernel + bias, then the activation over it."""
        assert self.kernel is not None
        y = program.tensor(self.units, len(x) // program.capacity)
        bias = None if self.bias is None else self.bias.storage
        program.dense_forward(x, self.kernel.storage, bias, y)
        if program.differentiable:
            program.keep(x)
            program.saved[self] = x
        return self.activation.record(program, y, self)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record dkernel = x' dy, dbias = column sums of dy, dx = dy kernel'."""
        assert self.kernel is not None
        dy = self.activation.record_backward(program, dy, self)
        x = program.saved[self]
        dx = program.like(x) if need_dx else None
        dkernel = self.gradient(program, self.kernel)
        dbias = self.gradient(program, self.bias)
        program.dense_backward(x, self.kernel.storage, dy, dkernel, dbias, dx)
        return dx

    def backward_folded(self, program: Program, dy: F32, before: BatchNormalization) -> None:
        """Record the gradients of this layer and of the normalization before it in one product."""
        assert self.kernel is not None
        dy = self.activation.record_backward(program, dy, self)
        dkernel = self.gradient(program, self.kernel)
        assert dkernel is not None
        program.dense_backward_folded(
            program.saved[self],
            self.kernel.storage,
            dy,
            dkernel,
            self.gradient(program, self.bias),
            program.saved[before, "xhat"],
            None if before.gamma is None else before.gamma.storage,
            None if before.beta is None else before.beta.storage,
            before.gradient(program, before.gamma),
            before.gradient(program, before.beta),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return super().get_config() | {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": None,
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }
