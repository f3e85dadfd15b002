"""Shortcuts around layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad import _building, _stack, _validation, initializers
from evengrad._program import Program
from evengrad.layers.base import Layer, Shape
from evengrad.layers.dense import Dense

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad._stack import Part


class Residual(_stack.Stack, Layer):
    """y = x + f(x), f being layers one after the other.

    Parameters
    ----------
    layers : sequence of Layer or Sequential
        The branch f. It changes the last axis at most.
    kernel_initializer : str or Initializer
        Of the projection, default "glorot_uniform". Where f changes the width, y = x P + f(x) with
        a learned P, a Dense without bias named "projection".
    fixup : int, at least 1, optional
        Number of residual blocks in the network, L. The kernel of the last Dense in the branch then
        starts at 0 and those of the m - 1 before it are multiplied by L^(-1/(2m - 2)), so that deep
        networks train without normalization. Let the network's last layer start at 0 too. Default:
        kernels start as their own initializers say.
    **kwargs
        Of `Layer`: name, trainable, input_shape.

    Raises
    ------
    ValueError
        When it is built, if f changes other axes than the last; with fixup, if f has no Dense.

    Notes
    -----
    Variables: those of the layers, then the projection's. `trainable` is that of all of them.

    References
    ----------
    .. [1] He, Zhang, Ren, Sun 2015, arXiv:1512.03385
    .. [2] Zhang, Dauphin, Ma 2019, "Fixup initialization", arXiv:1901.09321

    Examples
    --------
    >>> from evengrad import layers
    >>> layers.Residual([layers.Dense(2, "relu", kernel_initializer="identity")])([[1.0, -2.0]])
    array([[ 2., -2.]], dtype=float32)
    """

    def __init__(
        self,
        layers: Sequence[Part],
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        fixup: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.layers: list[Part] = []
        self.projection: Dense | None = None
        super().__init__(**kwargs)
        who = str(self)
        self.kernel_initializer = initializers.of_layer(kernel_initializer)
        self.fixup = None if fixup is None else _validation.check_count(who, "fixup", fixup)
        if not isinstance(layers, Sequence) or isinstance(layers, str) or not layers:
            raise TypeError(f"{who}: expected a list of Layer objects, got {layers!r}")
        for layer in layers:
            _stack.check(who, self, self.layers, layer)
            if layer.name == "projection":
                raise ValueError(f'{who}: "projection" is the name of a layer of its own')
            layer.join(self.name)
            self.layers.append(layer)
        if not kwargs.get("trainable", True):
            self.trainable = False

    @property
    def parts(self) -> list[Part]:
        """The layers, and the projection where there is one."""
        return [*self.layers, self.projection] if self.projection else list(self.layers)

    def join(self, model_name: str) -> None:
        """Let the paths of variables made from now on begin with the model's name."""
        super().join(model_name)
        for part in self.parts:
            part.join(f"{model_name}/{self.name}")

    def compute_output_shape(self, input_shape: Sequence[int]) -> Shape:
        """That of the branch."""
        before = tuple(input_shape)
        after = _stack.output_shape(self.layers, before)
        if before[:-1] != after[:-1]:
            raise ValueError(
                f"{self}: expected layers that change the last axis at most, got some that make "
                f"{after} of {before}"
            )
        return after

    def make_variables(self, input_shape: Shape) -> None:
        """Those of the layers, and of the projection where widths differ."""
        from evengrad._auto import settle

        _stack.build(self.layers, input_shape)
        settle(_stack.flat(self.layers))
        units = self.compute_output_shape(input_shape)[-1]
        if units != input_shape[-1]:
            trainable, scope = self.trainable, f"{self._scope}{self.name}"
            initializer = self.kernel_initializer
            projection = Dense(units, None, False, initializer, name="projection")
            projection.trainable = trainable
            projection.join(scope)
            projection.build(input_shape)
            self.projection = projection
        if self.fixup is not None:
            self._scale_kernels(self.fixup)

    def _scale_kernels(self, blocks: int) -> None:
        dense = [part for part in _stack.every(self.layers) if isinstance(part, Dense)]
        if not dense:
            raise ValueError(f"{self}: expected a Dense among its layers for fixup={blocks}")
        if _building.loading():
            return
        for layer in dense[:-1]:
            assert layer.kernel is not None
            factor = blocks ** (-1.0 / (2 * len(dense) - 2))
            layer.kernel.assign(np.float32(factor) * layer.kernel.numpy())
        last = dense[-1].kernel
        assert last is not None
        last.assign(np.zeros(last.shape))

    def forward(self, program: Program, x: F32) -> F32:
        """Record the branch, the projection and their sum."""
        program.keep(x)  # the branch may otherwise run over it
        y = _stack.forward(program, _stack.flat(self.layers), x)
        shortcut = x if self.projection is None else self.projection.record(program, x)
        total = program.over(y)
        program.add(y, shortcut, total)
        return total

    def backward(self, program: Program, dy: F32, *, need_dx: bool = True) -> F32 | None:
        """Record the gradients of the branch and the projection, and dx, the sum of both."""
        program.keep(dy)
        dx = _stack.backward(program, _stack.flat(self.layers), dy, need_dx=need_dx)
        shortcut: F32 | None = dy
        if self.projection is not None:
            shortcut = self.projection.record_backward(program, dy, need_dx=need_dx)
        if not need_dx:
            return None
        assert shortcut is not None
        total = program.over(dx)
        program.add(dx, shortcut, total)
        return total

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        from evengrad.layers.serialization import serialize_inside

        return super().get_config() | {
            "layers": serialize_inside(self.layers),
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "fixup": self.fixup,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Residual:
        """Make a layer from get_config."""
        from evengrad.layers.serialization import deserialize_inside

        return cls(**config | {"layers": deserialize_inside(config["layers"])})
