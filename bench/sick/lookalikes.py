"""Healthy networks that look sick at a glance: what they show is no reason to change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.sick.faults import bare, plain_steps, task_of
from bench.sick.networks import Setup


@dataclass(frozen=True)
class Lookalike:
    """A change to a healthy set-up that leaves it healthy."""

    name: str
    applies: Callable[[Setup], bool]
    change: Callable[[Setup], Setup]


def _summed(setup: Setup) -> Setup:
    """Gradients as many times as large as a batch has rows, learning rate as many times smaller."""
    name = {
        "binary": "BinaryCrossentropy",
        "classes": "SparseCategoricalCrossentropy",
        "regression": "MeanSquaredError",
    }[task_of(setup)]
    loss = {"class_name": name, "config": {"reduction": "sum"}}
    rate = setup.learning_rate / setup.batch if plain_steps(setup) else setup.learning_rate
    return replace(setup, loss=loss, learning_rate=rate)


LOOKALIKES: tuple[Lookalike, ...] = (
    Lookalike("noisy_small_batches", bare,
              lambda s: replace(s, batch=4, learning_rate=s.learning_rate * 0.5)),
    Lookalike("sparse_relu", lambda s: bare(s) and s.activation in ("relu", "elu", "leaky_relu"),
              lambda s: replace(s, activation="relu", initializer="he_normal", bias=-0.05)),
    Lookalike("plateau_then_drop", lambda s: True,
              lambda s: replace(s, schedule="warm_up", epochs=s.epochs * 3 // 2)),
    Lookalike("drop_of_the_rate", lambda s: True,
              lambda s: replace(s, schedule="drop", epochs=s.epochs * 3 // 2)),
    Lookalike("always_zero_columns", lambda s: True,
              lambda s: replace(s, changes=(("zero_columns", 20),))),
    Lookalike("converged", lambda s: s.data != "diabetes",
              lambda s: replace(s, epochs=6 * s.epochs)),
    Lookalike("large_steady_gradients", lambda s: s.l2 == 0.0, _summed),
    Lookalike("clipped_at_times", plain_steps,
              lambda s: replace(s, arguments={"global_clipnorm": 1.0})),
)  # fmt: skip
