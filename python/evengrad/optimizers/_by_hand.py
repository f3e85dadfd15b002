"""The steps that a user asks an optimizer for."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from evengrad.optimizers import _eager
from evengrad.optimizers._rates import Rate
from evengrad.optimizers._state import Stateful
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F64
    from evengrad._own_loop import OwnLoop
    from evengrad._program import Program


class ByHand(Stateful):
    """The part of `Optimizer` for loops of the user's own."""

    def __init__(self, learning_rate: Rate, name: str | None) -> None:
        super().__init__(learning_rate, name)
        self._eager: _eager.Recorded | None = None
        self._expecting: list[weakref.ref[OwnLoop]] = []

    if TYPE_CHECKING:

        @property
        def clip(self) -> tuple[str, float]: ...
        def record(self, program: Program, health: F64 | None = None) -> F64: ...

    def apply(
        self, grads: Sequence[Any], trainable_variables: Iterable[Variable] | None = None
    ) -> None:
        """Do one step with gradients of your own.

        Parameters
        ----------
        grads : sequence of array_like
            One for each variable, of its shape; a variable whose gradient is None is left out.
        trainable_variables : iterable of Variable, optional
            Default: those that the optimizer is built for.

        Raises
        ------
        ValueError, TypeError
            If gradients and variables do not fit; nothing has been updated then.
        NonFiniteError
            If a gradient is not finite; likewise.
        """
        _eager.apply(self, list(grads), trainable_variables)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> int:
        """Do one step with pairs of gradient and variable, see `apply`; return the steps done."""
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])
        return int(self.counter[0])

    def step(self) -> bool:
        """Update the model that was compiled with this optimizer, after `model.backward`.

        What a step of `fit` does with its gradients: penalties of regularizers, clipping, weight
        decay, update, averages, constraints.

        Returns
        -------
        bool
            True, or False where the step was left out: with compile(on_nonfinite="skip").

        Raises
        ------
        ValueError
            If no model waits for it, or more than one does.
        NonFiniteError
            If a gradient is not finite. Weights and the optimizer's state are as before.

        Examples
        --------
        >>> import evengrad as keras
        >>> layer = keras.layers.Dense(1, kernel_initializer="ones", input_shape=(1,))
        >>> model = keras.Sequential([layer])
        >>> model.compile(keras.optimizers.SGD(0.5))
        >>> y = model.forward([[1.0]])
        >>> dx = model.backward([[1.0]])
        >>> model.optimizer.step()
        True
        >>> layer.kernel.numpy(), layer.bias.numpy()
        (array([[0.5]], dtype=float32), array([-0.5], dtype=float32))
        """
        return _eager.waiting(self, [model() for model in self._expecting]).apply_step()

    def expect(self, model: OwnLoop) -> None:
        """Let the next `step` be that model's."""
        if all(known() is not model for known in self._expecting):
            self._expecting = [known for known in self._expecting if known() is not None]
            self._expecting.append(weakref.ref(model))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_eager": None, "_expecting": []}
