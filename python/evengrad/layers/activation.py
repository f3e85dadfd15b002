"""Activations as layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evengrad import _validation, activations, constraints, initializers, regularizers
from evengrad._program import Program
from evengrad.activations.piecewise import relu_spec
from evengrad.layers.base import Layer, Shape
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F32


class Activation(Layer):
    """y = f(x), element by element (softmax and log_softmax: row by row).

    Parameters
    ----------
    activation : str, function or partial of evengrad.activations, or Activation
        For instance "elu", `activations.elu` or `partial(activations.elu, alpha=0.5)`; or one of
        your own, see `activations.Activation`.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.Activation("relu")([[-1.0, 2.0]])
    array([[0., 2.]], dtype=float32)
    """

    def __init__(self, activation: activations.Identifier, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation: activations.Spec | activations.Activation = activations.get(activation)

    def forward(self, program: Program, x: F32) -> F32:
        """Record f, over x where nothing else needs x."""
        return self.activation.record(program, x, self)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record dy f'(x)."""
        return self.activation.record_backward(program, dy, self) if need_dx else None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return super().get_config() | {"activation": activations.serialize(self.activation)}


class _Fixed(Activation):
    """An activation with a class and arguments of its own."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        config = Layer.get_config(self)
        return config | {name: getattr(self, name) for name in self._arguments}

    _arguments: tuple[str, ...] = ()


class ReLU(_Fixed):
    """y = max_value where x >= max_value; x where x >= threshold; else slope (x - threshold).

    Parameters
    ----------
    max_value : float, at least 0, optional
        Default: none.
    negative_slope : float, at least 0
        Default 0.
    threshold : float, at least 0
        Default 0.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Nair, Hinton 2010, https://icml.cc/Conferences/2010/papers/432.pdf

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.ReLU(6.0, negative_slope=0.5)([[-1.0, 2.0, 9.0]])
    array([[-0.5,  2. ,  6. ]], dtype=float32)
    """

    _arguments = ("max_value", "negative_slope", "threshold")

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__("linear", **kwargs)
        who = str(self)
        if max_value is not None:
            max_value = _validation.check_number(who, "max_value", max_value, 0.0)
        self.max_value = max_value
        self.negative_slope = _validation.check_number(who, "negative_slope", negative_slope, 0.0)
        self.threshold = _validation.check_number(who, "threshold", threshold, 0.0)
        self.activation = relu_spec(self.negative_slope, max_value, self.threshold)


class LeakyReLU(_Fixed):
    """y = x where x >= 0, else negative_slope x.

    Parameters
    ----------
    negative_slope : float, at least 0
        Default 0.3 (that of the string "leaky_relu" is 0.2, as in Keras).
    alpha : float, optional
        Older name of negative_slope.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Maas, Hannun, Ng 2013,
       https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.LeakyReLU()([[-1.0, 2.0]])
    array([[-0.3,  2. ]], dtype=float32)
    """

    _arguments = ("negative_slope",)

    def __init__(
        self, negative_slope: float = 0.3, *, alpha: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__("linear", **kwargs)
        slope = negative_slope if alpha is None else alpha
        self.negative_slope = _validation.check_number(str(self), "negative_slope", slope, 0.0)
        self.activation = activations.Spec("leaky_relu", (self.negative_slope,))


class ELU(_Fixed):
    """y = x where x > 0, else alpha (e^x - 1).

    Parameters
    ----------
    alpha : float, at least 0
        Default 1.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.ELU(0.5)([[-100.0, 2.0]])
    array([[-0.5,  2. ]], dtype=float32)
    """

    _arguments = ("alpha",)

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__("linear", **kwargs)
        self.alpha = _validation.check_number(str(self), "alpha", alpha, 0.0)
        self.activation = activations.Spec("elu", (self.alpha,))


class SELU(_Fixed):
    """y = 1.0507 (x where x > 0, else 1.6733 (e^x - 1)); wants "lecun_normal" kernels.

    Parameters
    ----------
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Klambauer et al. 2017, arXiv:1706.02515

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.SELU()([[-100.0, 1.0]])
    array([[-1.7580993,  1.050701 ]], dtype=float32)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("selu", **kwargs)


class Softmax(_Fixed):
    """e^x / sum e^x over the last axis.

    Parameters
    ----------
    axis : int
        -1, the only one there is.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Bridle 1990, doi:10.1007/978-3-642-76153-9_28

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.Softmax()([[1.0, 1.0], [0.0, 1000.0]])
    array([[0.5, 0.5],
           [0. , 1. ]], dtype=float32)
    """

    _arguments = ("axis",)

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__("softmax", **kwargs)
        if axis != -1:
            raise ValueError(f"{self}: expected axis -1, the last, got {axis}")
        self.axis = axis


class PReLU(Layer):
    """y = x where x > 0, else alpha x, with a learned alpha for each feature.

    Where alpha is 0, so is y below 0, at -inf too.

    Parameters
    ----------
    alpha_initializer : str or Initializer
        Default "zeros".
    alpha_regularizer : str or Regularizer, optional
        Penalty in training, see `evengrad.regularizers`.
    alpha_constraint : str or Constraint, optional
        Applied after each update, see `evengrad.constraints`.
    shared_axes : sequence of int, optional
        For samples of several axes: all but the last, counted from 1, so that alpha has the size
        of the last axis. Default: an alpha for each element of a sample.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] He, Zhang, Ren, Sun 2015, arXiv:1502.01852

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.PReLU("ones")([[-1.0, 2.0]])
    array([[-1.,  2.]], dtype=float32)
    """

    def __init__(
        self,
        alpha_initializer: str | initializers.Initializer = "zeros",
        alpha_regularizer: str | regularizers.Regularizer | None = None,
        alpha_constraint: str | constraints.Constraint | None = None,
        shared_axes: Sequence[int] | int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.of_layer(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes: list[int] | None = None
        if shared_axes is not None:
            axes = shared_axes if isinstance(shared_axes, Sequence) else [shared_axes]
            who = str(self)
            self.shared_axes = [
                int(_validation.check_number(who, "each of shared_axes", axis)) for axis in axes
            ]
            if self.shared_axes != list(axes):
                raise TypeError(f"{who}: expected shared_axes to be integers, got {shared_axes}")
        self.alpha: Variable | None = None

    def make_variables(self, input_shape: Shape) -> None:
        """One alpha for each element, or for each of the last axis."""
        shape = input_shape
        if self.shared_axes:
            if sorted(self.shared_axes) != list(range(1, len(input_shape))):
                raise ValueError(
                    f"{self}: expected shared_axes to be all but the last of samples "
                    f"{input_shape}, got {self.shared_axes}"
                )
            shape = (1,) * (len(input_shape) - 1) + input_shape[-1:]
        self.alpha = self.add_weight(
            shape,
            self.alpha_initializer,
            "alpha",
            flat=True,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )

    def forward(self, program: Program, x: F32) -> F32:
        """Record y; where alpha goes over several axes, on rows of whole samples."""
        assert self.alpha is not None
        source = program.in_rows_of(self.alpha.size, x)
        y = program.like(source)
        program.prelu_forward(source, self.alpha.storage, y)
        program.keep(source)
        program.saved[self] = source
        return program.in_rows_of(x.shape[1], y)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record dalpha = sum dy min(x, 0) and dx = dy (1 or alpha)."""
        assert self.alpha is not None
        source = program.saved[self]
        inner = program.in_rows_of(source.shape[1], dy)
        dx = program.over(inner) if need_dx else None
        dalpha = self.gradient(program, self.alpha)
        program.prelu_backward(source, self.alpha.storage, inner, dalpha, dx)
        return None if dx is None else program.in_rows_of(dy.shape[1], dx)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return super().get_config() | {
            "alpha_initializer": initializers.serialize(self.alpha_initializer),
            "alpha_regularizer": regularizers.serialize(self.alpha_regularizer),
            "alpha_constraint": constraints.serialize(self.alpha_constraint),
            "shared_axes": self.shared_axes,
        }
