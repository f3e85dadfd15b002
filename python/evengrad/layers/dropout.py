"""Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evengrad import _random, _validation
from evengrad._program import Program
from evengrad.layers.base import Layer

if TYPE_CHECKING:
    from evengrad._core import F32


class Dropout(Layer):
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
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = _validation.check_number(str(self), "rate", rate, 0.0, 1.0, open_high=True)
        self.seed = None if seed is None else _random.check_seed(str(self), seed)

    def forward(self, program: Program, x: F32) -> F32:
        """Record the drop in training, nothing otherwise."""
        if not program.training or self.rate == 0.0:
            program.saved[self] = None
            return x
        key = program.next_draw() if self.seed is None else program.draw_of(self.seed)
        y = program.over(x)
        program.dropout(x, y, self.rate, key)
        program.saved[self] = key
        return y

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record the same drop of dy."""
        key = program.saved[self]
        if key is not None and need_dx:
            program.dropout(dy, dy, self.rate, key)
        return dy

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return super().get_config() | {"rate": self.rate, "seed": self.seed}
