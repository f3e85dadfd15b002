"""Layers that draw random numbers in training and do nothing otherwise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from evengrad import _random, _validation
from evengrad._program import Program
from evengrad.layers.base import Layer

if TYPE_CHECKING:
    from evengrad._core import F32


class _Drawing(Layer):
    """A layer whose output in training depends on draws, made again on the way back.

    They come from Philox4x32-10 counted by update and element: the same for any number of threads.
    """

    _argument: str  # the only one besides seed; 0 turns the layer off

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else _random.check_seed(str(self), seed)

    def _draw(self, program: Program, x: F32, y: F32, key: int, *, gradient: bool) -> None:
        raise NotImplementedError(f"{type(self).__name__}._draw")

    def forward(self, program: Program, x: F32) -> F32:
        """Record the draw in training, nothing otherwise."""
        if not program.training or getattr(self, self._argument) == 0.0:
            program.saved[self] = None
            return x
        key = program.next_draw() if self.seed is None else program.draw_of(self.seed)
        y = program.over(x)
        self._draw(program, x, y, key, gradient=False)
        program.saved[self] = key
        return y

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record dx with the same draws."""
        key = program.saved[self]
        if key is None or not need_dx:
            return dy
        dx = program.over(dy)
        self._draw(program, dy, dx, key, gradient=True)
        return dx

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return super().get_config() | {
            self._argument: getattr(self, self._argument),
            "seed": self.seed,
        }


class _Rate(_Drawing):
    _argument = "rate"

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.rate = _validation.check_number(str(self), "rate", rate, 0.0, 1.0, open_high=True)


class Dropout(_Rate):
    """y = x / (1 - rate) with probability 1 - rate, else 0; in inference y = x.

    Parameters
    ----------
    rate : float in [0, 1)
        Share of the inputs that are set to 0.
    seed : int, optional
        Key of its draws; default: its place in the model, with the model's seed.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Notes
    -----
    Draws come from Philox4x32-10 counted by update and element: the same for any number of
    threads. `evengrad.utils.set_random_seed` makes them repeatable.

    References
    ----------
    .. [1] Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html

    Examples
    --------
    >>> from evengrad import layers
    >>> dropout = layers.Dropout(0.5, seed=1)
    >>> sorted(set(dropout([[1.0] * 64], training=True)[0].tolist()))
    [0.0, 2.0]
    """

    def _draw(self, program: Program, x: F32, y: F32, key: int, *, gradient: bool) -> None:
        program.dropout(x, y, self.rate, key)


class AlphaDropout(_Rate):
    """Dropout for SELU networks: inputs of mean 0 and variance 1 keep both.

    y = a x + b with probability 1 - rate, else a p + b, p = -1.7581 being where SELU saturates,
    a = ((1 - rate) (1 + rate p^2))^(-1/2) and b = -a p rate; in inference y = x.

    Parameters
    ----------
    rate : float in [0, 1)
        Share of the inputs that are set to p.
    seed : int, optional
        As of `Dropout`.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Klambauer et al. 2017, "Self-normalizing neural networks", arXiv:1706.02515

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.AlphaDropout(0.5, seed=1)([[1.0, 2.0]])  # inference
    array([[1., 2.]], dtype=float32)
    """

    def _draw(self, program: Program, x: F32, y: F32, key: int, *, gradient: bool) -> None:
        program.alpha_dropout(x, y, self.rate, key, gradient)


class GaussianNoise(_Drawing):
    """y = x + stddev z, z normal; in inference y = x.

    Parameters
    ----------
    stddev : float, at least 0
        Standard deviation of what is added.
    seed : int, optional
        As of `Dropout`.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Bishop 1995, "Training with noise is equivalent to Tikhonov regularization",
       https://doi.org/10.1162/neco.1995.7.1.108

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.GaussianNoise(0.5, seed=1)([[1.0, 2.0]])  # inference
    array([[1., 2.]], dtype=float32)
    """

    _argument = "stddev"

    def __init__(self, stddev: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.stddev = _validation.check_number(str(self), "stddev", stddev, 0.0)

    def _draw(self, program: Program, x: F32, y: F32, key: int, *, gradient: bool) -> None:
        program.noise(x, y, self.stddev, 0.0, key)

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record nothing: dx is dy."""
        return dy


class GaussianDropout(_Rate):
    """y = x (1 + sqrt(rate / (1 - rate)) z), z normal; in inference y = x.

    Parameters
    ----------
    rate : float in [0, 1)
        The factor has the variance that it has in `Dropout` of this rate.
    seed : int, optional
        As of `Dropout`.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    References
    ----------
    .. [1] Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.GaussianDropout(0.5, seed=1)([[1.0, 2.0]])  # inference
    array([[1., 2.]], dtype=float32)
    """

    def _draw(self, program: Program, x: F32, y: F32, key: int, *, gradient: bool) -> None:
        program.noise(x, y, 0.0, math.sqrt(self.rate / (1.0 - self.rate)), key)
