"""Batch normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _validation, constraints, initializers, regularizers
from evengrad._program import Program
from evengrad.layers.base import Layer, Shape
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32

_WARM = 1 << 40  # a count of batches at which debiasing has long ended


class BatchNormalization(Layer):
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, feature by feature.

    In training, mean and (biased) variance are the batch's, and the moving ones follow:
    moving += w (batch - moving). In inference, and where `trainable` is False, they are the
    moving ones.

    Parameters
    ----------
    axis : int
        -1, the last, or its number with the batch counted as 0; there is no other.
    momentum : float in [0, 1]
        Weight of the old moving value, default 0.99.
    epsilon : float, above 0
        Added to the variance, default 1e-3.
    center, scale : bool
        Whether there is a beta, a gamma.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer
        Defaults "zeros", "ones", "zeros", "ones".
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
        Penalties in training, see `evengrad.regularizers`.
    beta_constraint, gamma_constraint : str or Constraint, optional
        Applied after each update, see `evengrad.constraints`.
    debias : bool
        With True, the default, the t-th batch weighs w = (1 - m) / (1 - m^t): the moving values
        are right from the first batch on. With False w = 1 - m, as in Keras, which lags for some
        hundred steps. `set_weights` makes the given values count as old: w = 1 - m from there.
    renorm, synchronized : bool
        False, the only value there is, for configurations of Keras.
    renorm_clipping, renorm_momentum
        Accepted, without effect.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Notes
    -----
    Variables, all of the size of the last axis: gamma, beta (trainable), moving_mean,
    moving_variance. As the first layer it normalizes raw inputs; before or after an activation it
    keeps the scale of the signal, and the bias of the Dense before it can be left out.

    References
    ----------
    .. [1] Ioffe, Szegedy 2015, arXiv:1502.03167

    Examples
    --------
    >>> from evengrad import layers
    >>> y = layers.BatchNormalization()([[1.0], [3.0]], training=True)
    >>> y.round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        moving_mean_initializer: str | initializers.Initializer = "zeros",
        moving_variance_initializer: str | initializers.Initializer = "ones",
        beta_regularizer: str | regularizers.Regularizer | None = None,
        gamma_regularizer: str | regularizers.Regularizer | None = None,
        beta_constraint: str | constraints.Constraint | None = None,
        gamma_constraint: str | constraints.Constraint | None = None,
        *,
        debias: bool = True,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        who = str(self)
        self.axis = axis
        self.momentum = _validation.check_number(who, "momentum", momentum, 0.0, 1.0)
        self.epsilon = _validation.check_number(who, "epsilon", epsilon, 0.0, open_low=True)
        self.center = _validation.check_flag(who, "center", center)
        self.scale = _validation.check_flag(who, "scale", scale)
        self.beta_initializer = initializers.of_layer(beta_initializer)
        self.gamma_initializer = initializers.of_layer(gamma_initializer)
        self.moving_mean_initializer = initializers.of_layer(moving_mean_initializer)
        self.moving_variance_initializer = initializers.of_layer(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.debias = _validation.check_flag(who, "debias", debias)
        if _validation.check_flag(who, "renorm", renorm):
            raise ValueError(
                f"{who}: expected renorm=False, got True; use debias=True, the default, and larger "
                "batches, or model.recalibrate(x) after training"
            )
        if _validation.check_flag(who, "synchronized", synchronized):
            raise ValueError(
                f"{who}: expected synchronized=False, got True; a batch is on one machine, whose "
                "threads share its statistics"
            )
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.moving_mean: Variable | None = None
        self.moving_variance: Variable | None = None
        self._batches = np.zeros(1, np.int64)

    def make_variables(self, input_shape: Shape) -> None:
        """Gamma, beta and the moving statistics."""
        if self.axis not in (-1, len(input_shape)):
            raise ValueError(
                f"{self}: expected axis -1, the last of samples {input_shape}, got {self.axis}"
            )
        shape = input_shape[-1:]
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                "gamma",
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                "beta",
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )
        self.moving_mean = self.add_weight(
            shape, self.moving_mean_initializer, "moving_mean", trainable=False, double=True
        )
        self.moving_variance = self.add_weight(
            shape, self.moving_variance_initializer, "moving_variance", trainable=False, double=True
        )

    def weights_were_set(self) -> None:
        """Let the given moving statistics count as old."""
        self._batches[0] = _WARM

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of batches that the moving statistics are of."""
        return {"batches": int(self._batches[0])}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over that number."""
        if state.keys() != {"batches"}:
            raise ValueError(f"{self}: expected the number of batches, got {', '.join(state)}")
        self._batches[0] = _validation.check_count(str(self), "batches", state["batches"], 0)

    def set_moving(self, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
        """Overwrite the moving statistics; they count as old from here on."""
        assert self.moving_mean is not None
        assert self.moving_variance is not None
        self.moving_mean.assign(mean)
        self.moving_variance.assign(variance)
        self.weights_were_set()

    @property
    def live_arrays(self) -> list[NDArray[Any]]:
        """The live arrays of all that training changes, the count of batches among them."""
        return [*super().live_arrays, self._batches]

    def forward(self, program: Program, x: F32) -> F32:
        """Record the normalization, in training also the update of the moving statistics."""
        assert self.moving_mean is not None
        assert self.moving_variance is not None
        gamma = None if self.gamma is None else self.gamma.storage
        beta = None if self.beta is None else self.beta.storage
        moving = self.moving_mean.storage, self.moving_variance.storage
        if not (program.training and self.trainable):
            y = program.over(x)
            program.batch_norm_inference(x, gamma, beta, *moving, y, self.epsilon)
            program.saved[self] = None
            return y
        y = program.like(x)
        batch = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        xhat = program.like(x) if program.folded is self else None
        handle = program.batch_norm_forward(x, gamma, beta, y, *batch, self.epsilon, xhat)
        program.saved[self] = handle
        program.saved[self, "xhat"] = xhat
        program.keep(x)
        program.commits.append(
            lambda: program.batch_norm_moving(
                *batch, *moving, self._batches, self.momentum, self.debias
            )
        )
        return y

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record dgamma = sum dy xhat, dbeta = sum dy and dx."""
        assert self.moving_variance is not None
        handle = program.saved[self]
        gamma = None if self.gamma is None else self.gamma.storage
        dx = program.over(dy) if need_dx else None
        if handle is None:
            if dx is not None:
                variance = self.moving_variance.storage
                program.batch_norm_frozen_backward(gamma, variance, dy, dx, self.epsilon)
            return dx
        dgamma = self.gradient(program, self.gamma)
        dbeta = self.gradient(program, self.beta)
        program.batch_norm_backward(handle, gamma, dy, dgamma, dbeta, dx)
        return dx

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        own = ("axis", "momentum", "epsilon", "center", "scale", "debias")
        parts = ("beta", "gamma", "moving_mean", "moving_variance")
        names = [f"{part}_initializer" for part in parts]
        return (
            super().get_config()
            | {name: getattr(self, name) for name in own}
            | {name: initializers.serialize(getattr(self, name)) for name in names}
            | {
                "beta_regularizer": regularizers.serialize(self.beta_regularizer),
                "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
                "beta_constraint": constraints.serialize(self.beta_constraint),
                "gamma_constraint": constraints.serialize(self.gamma_constraint),
            }
        )
