"""Layer normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad import _validation, constraints, initializers, regularizers
from evengrad._program import Program
from evengrad.layers._axes import checked_axis, last_axes
from evengrad.layers.base import Layer, Shape
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32


class LayerNormalization(Layer):
    """y = (x - mean) / sqrt(variance + epsilon) * gamma + beta, mean and variance of each sample.

    Parameters
    ----------
    axis : int or sequence of int
        -1, or several up to the last: what is normalized together. With the batch as axis 0.
    epsilon : float, above 0
        Default 1e-3.
    center, scale : bool
        Whether there is a beta, a gamma.
    beta_initializer, gamma_initializer : str or Initializer
        Defaults "zeros" and "ones".
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
        Penalty in training, see `evengrad.regularizers`.
    beta_constraint, gamma_constraint : str or Constraint, optional
        Applied after each update, see `evengrad.constraints`.
    rms_scaling : bool
        False; Keras' formula for True, deprecated there, is not here.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Raises
    ------
    ValueError
        For other axes, when it is built.

    Notes
    -----
    Variables: gamma, beta, of the sizes of the axes. The same in training and in inference, and
    exact where |mean| >> std: deviations are taken from the float32 nearest to the mean.

    References
    ----------
    .. [1] Ba, Kiros, Hinton 2016, arXiv:1607.06450

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.LayerNormalization(epsilon=1e-9)([[1.0, 3.0]])
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: str | regularizers.Regularizer | None = None,
        gamma_regularizer: str | regularizers.Regularizer | None = None,
        beta_constraint: str | constraints.Constraint | None = None,
        gamma_constraint: str | constraints.Constraint | None = None,
        *,
        rms_scaling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        who = str(self)
        self.axis = checked_axis(who, axis)
        self.epsilon = _validation.check_number(who, "epsilon", epsilon, 0.0, open_low=True)
        self.center = _validation.check_flag(who, "center", center)
        self.scale = _validation.check_flag(who, "scale", scale)
        self.beta_initializer = initializers.of_layer(beta_initializer)
        self.gamma_initializer = initializers.of_layer(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.rms_scaling = _validation.check_flag(who, "rms_scaling", rms_scaling)
        if self.rms_scaling:
            raise ValueError(
                f"{who}: expected rms_scaling=False, got True, which Keras has deprecated because "
                "it divides by the deviation without subtracting the mean"
            )
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    def make_variables(self, input_shape: Shape) -> None:
        """Gamma and beta."""
        shape = last_axes(str(self), self.axis, input_shape)
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                "gamma",
                flat=True,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                "beta",
                flat=True,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )

    def forward(self, program: Program, x: F32) -> F32:
        """Record the normalization of rows as long as what is normalized together."""
        assert self.input_shape is not None
        source = program.in_rows_of(math.prod(last_axes(str(self), self.axis, self.input_shape)), x)
        if program.differentiable:
            program.keep(source)
        y = program.over(source)
        mean, inverse = np.zeros(len(source)), np.zeros(len(source))
        gamma = None if self.gamma is None else self.gamma.storage
        beta = None if self.beta is None else self.beta.storage
        program.layer_norm_forward(source, gamma, beta, y, mean, inverse, self.epsilon)
        program.saved[self] = source, mean, inverse
        return program.in_rows_of(x.shape[1], y)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record dgamma = sum dy xhat, dbeta = sum dy and dx."""
        source, mean, inverse = program.saved[self]
        inner = program.in_rows_of(source.shape[1], dy)
        dx = program.over(inner) if need_dx else None
        gamma = None if self.gamma is None else self.gamma.storage
        dgamma = self.gradient(program, self.gamma)
        dbeta = self.gradient(program, self.beta)
        program.layer_norm_backward(source, gamma, mean, inverse, inner, dgamma, dbeta, dx)
        return None if dx is None else program.in_rows_of(dy.shape[1], dx)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        own = ("axis", "epsilon", "center", "scale", "rms_scaling")
        kinds: dict[str, Any] = {
            "initializer": initializers,
            "regularizer": regularizers,
            "constraint": constraints,
        }
        return (
            super().get_config()
            | {name: getattr(self, name) for name in own}
            | {
                f"{part}_{kind}": module.serialize(getattr(self, f"{part}_{kind}"))
                for kind, module in kinds.items()
                for part in ("beta", "gamma")
            }
        )
