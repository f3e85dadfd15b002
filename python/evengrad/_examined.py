"""What a model has for the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from evengrad._compiled import Compiled

if TYPE_CHECKING:
    from evengrad.models import Sequential


class Examined(Compiled):
    """The part of `Sequential` that the doctor asks and treats."""

    @property
    def _patient(self) -> Sequential:
        return cast("Sequential", self)

    def health(self) -> None:
        """Print what was watched last in training: norms of each variable, outputs of each layer.

        Series over all steps are in `history.health`, see `doctor.Health`. Of steps since the last
        `fit`, by `train_on_batch`, the figures are seen here too.

        Examples
        --------
        >>> import evengrad as keras
        >>> layer = keras.layers.Dense(1, kernel_initializer="ones", input_shape=(1,), name="dense")
        >>> model = keras.Sequential([layer], name="line")
        >>> model.compile(keras.optimizers.SGD(0.25), "mse")
        >>> history = model.fit([[1.0]], [[2.0]], verbose=0)
        >>> model.health()
        Step 1: loss 1; norms:
        variable           gradient  weight  update  update/weight
        line/dense/kernel         2     1.5     0.5          0.333
        line/dense/bias           2     0.5     0.5              1
        Outputs at step 1:
        layer  mean  spread  zeros  saturated  dead
        dense     1       0   0.0%
        """
        from evengrad.doctor import _health_table

        with self._lock:
            print(_health_table.text(self.watching.health({})))
