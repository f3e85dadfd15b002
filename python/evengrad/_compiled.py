"""compile: optimizer, loss and metrics of a stack of layers, and the programs made of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any

from evengrad import _random, _recording, _validation, losses, metrics, optimizers
from evengrad.metrics import Metric

if TYPE_CHECKING:
    from evengrad._stack import Part
    from evengrad.layers.base import Shape
    from evengrad.variable import Variable

_MetricLike = str | Metric | Callable[..., Any]


class Compiled:
    """What `Sequential` knows of training; of its layers and shapes it knows the rest itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.layers: list[Part] = []
        self._scope = ""
        self.shaped_outside = False  # by a model that this one is a part of
        self.stop_training = False
        self.skipped_steps = 0
        self.skipped_in_a_row = 0
        self.compiled = False
        self._shape: Shape | None = None
        self._lock = threading.RLock()
        self._programs = _recording.Programs()
        self.draws: _random.Draws | None = None

    @property
    def has_shape(self) -> bool:
        """Whether the shape of a sample is known."""
        return self._shape is not None

    if TYPE_CHECKING:

        def build(self, input_shape: Sequence[int | None]) -> None: ...
        @property
        def built(self) -> bool: ...
        @property
        def variables(self) -> list[Variable]: ...
        @property
        def trainable_variables(self) -> list[Variable]: ...
        def sample_shape(self) -> Shape: ...
        def sample_output_shape(self) -> Shape: ...

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: str | losses.Loss | None = None,
        metrics: Sequence[_MetricLike] | _MetricLike | None = None,
        weighted_metrics: Sequence[_MetricLike] | _MetricLike | None = None,
        *,
        on_nonfinite: str = "raise",
        run_eagerly: bool = False,
        steps_per_execution: int | str = 1,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Say how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
            Default "rmsprop".
        loss : str or Loss
            For instance "mse", or one of your own, see `losses.Loss`. Not needed for loops of your
            own, see `Sequential.forward`.
        metrics : sequence of str, Metric or callable, optional
            "accuracy" resolves to the one that fits loss and outputs. A function of your own,
            fn(y_true, y_pred), returns one value a sample; its mean is reported by its name.
            sample_weight and class_weight are not theirs.
        weighted_metrics : likewise, optional
            Those that weigh samples.
        on_nonfinite : {"raise", "skip"}
            What a step does that meets NaN or infinity in the loss or a gradient. It is left out in
            any case. "raise" stops with NonFiniteError; "skip" goes on, counts it in
            `model.skipped_steps`, and raises after 10 in a row.
        run_eagerly, steps_per_execution, jit_compile
            Accepted, without effect.
        """
        _validation.check_choice("compile", "on_nonfinite", on_nonfinite, ("raise", "skip"))
        found = optimizers.get(optimizer), None if loss is None else losses.get(loss)
        if found[1] is not None and found[1].reduction in (None, "none"):
            raise ValueError(
                f"compile: expected a loss that is reduced to one number, got {found[1].name} with "
                f"reduction={found[1].reduction!r}; use 'sum_over_batch_size' or 'sum'"
            )
        self._metrics = _named_metrics("metrics", metrics)
        self._weighted_metrics = _named_metrics("weighted_metrics", weighted_metrics)
        self.optimizer, self.loss = found
        self._options = {
            "on_nonfinite": on_nonfinite,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
        }
        self._resolved: dict[tuple[bool, int], tuple[list[Metric], list[Metric]]] = {}
        self.on_nonfinite = on_nonfinite
        self.compiled = True
        self._programs.clear()

    def _resolve(self) -> tuple[list[Metric], list[Metric]]:
        """The metrics, resolved by the shapes of the model, and the weighted ones."""
        fit = self.compiled_loss("metrics").sparse, self.sample_output_shape()[-1]
        if fit not in self._resolved:
            sparse, outputs = fit
            plain, weighted = (
                [metrics.get(m, sparse=sparse, outputs=outputs) for m in given]
                for given in (self._metrics, self._weighted_metrics)
            )
            self._resolved = {fit: (plain, weighted)}
        return self._resolved[fit]

    @property
    def compiled_metrics(self) -> list[Metric]:
        """The metrics, resolved by the shapes of the model; the weighted ones last."""
        return [metric for several in self._resolve() for metric in several]

    @property
    def metrics_names(self) -> list[str]:
        """Names of what evaluate returns."""
        names = ["loss"]
        plain, weighted = self._resolve()
        for metric in plain:
            names.append(free_name(metric.name, names))
        for metric in weighted:
            taken = metric.name in names
            names.append(free_name(f"weighted_{metric.name}" if taken else metric.name, names))
        return names

    def compiled_loss(self, who: str) -> losses.Loss:
        """Return the loss, or say that there is none yet."""
        if not self.compiled or self.loss is None:
            raise ValueError(f"{who}: call model.compile(optimizer, loss) first")
        return self.loss

    # -- training and use

    def drawing(self) -> _random.Draws:
        """What it draws from in training, begun when first needed and by `set_random_seed`."""
        if self.draws is None or not self.draws.good:
            self.draws = _random.spawn_draws()
        return self.draws

    @property
    def seed(self) -> int:
        """Seed of what layers draw in training."""
        return self.drawing().seed

    def _prediction(self, rows: int) -> _recording.Prediction:
        return self._programs.get(
            ("predict", rows),
            self.layers,
            lambda: _recording.record_prediction(self.layers, self.sample_shape(), rows),
        )

    def _step(self, rows: int, *, train: bool) -> _recording.Recording:
        optimizer = self.optimizer if train else None
        loss = self.compiled_loss("fit")

        def more() -> list[object]:
            shaped = [v for v in self.variables if v.regularizer or v.constraint]
            judges = [loss, *itertools.chain(*self._resolve())]
            versions = [judge.version for judge in judges]
            shaping = [v.shaping for v in shaped]
            return [optimizer and optimizer.version, *shaped, *shaping, *judges[1:], *versions]

        return self._programs.get(
            ("train" if train else "evaluate", rows, optimizer, loss),
            self.layers,
            lambda: _recording.record_step(
                self.layers, self.sample_shape(), rows, loss, *self._resolve(), optimizer
            ),
            more,
        )


def free_name(name: str, taken: Container[str]) -> str:
    """The name, numbered where it is taken."""
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _named_metrics(what: str, given: Any) -> list[str | Metric]:
    several = [given] if isinstance(given, str) or callable(given) else given or ()
    if not isinstance(several, Sequence) or not all(map(_may_be_metric, several)):
        raise TypeError(
            f"compile: expected {what} to be names, Metric objects or functions of "
            f"(y_true, y_pred), got {given!r}"
        )
    found = [metrics.get(metric) for metric in several]
    return [m if isinstance(m, str) else known for m, known in zip(several, found, strict=True)]


def _may_be_metric(given: Any) -> bool:
    return isinstance(given, str) or (callable(given) and not isinstance(given, type))
