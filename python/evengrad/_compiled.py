"""compile: optimizer, loss and metrics of a stack of layers, and the programs made of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _random, _recording, _validation, losses, metrics, optimizers
from evengrad._names import Changes
from evengrad._watch import Watch, Watching
from evengrad.metrics import Mean, Metric

if TYPE_CHECKING:
    from evengrad._core import F64
    from evengrad._position import Position
    from evengrad._stack import Part
    from evengrad.callbacks import CallbackList, History
    from evengrad.layers.base import Shape
    from evengrad.training import Epoch
    from evengrad.variable import Variable

# With these a subclass of a model of Keras says how it computes and trains.
_NEVER_CALLED = (
    "call", "train_step", "test_step", "predict_step", "compute_loss", "compute_metrics",
    "make_train_function", "make_test_function", "make_predict_function",
)  # fmt: skip


class Compiled:
    """What `Sequential` knows of training; of its layers and shapes it knows the rest itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.layers: list[Part] = []
        self._scope = ""
        self.shaped_outside = False  # by a model that this one is a part of
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.history: History | None = None  # of the last fit
        self.running: Epoch | None = None
        self.position: Position | None = None  # where the next fit is to go on
        self.unshuffled: Mapping[str, Any] | None = None  # draws before the order of rows
        self.passes = 0  # over data, one begun inside the other
        self._fitting = False
        self._watching: CallbackList | None = None  # of the fit there is
        self.skipped_steps = 0
        self.skipped_in_a_row = 0
        self.compiled = False
        self._shape: Shape | None = None
        self._lock = threading.RLock()
        self._programs = _recording.Programs()
        self.draws: _random.Draws | None = None
        self.totals: F64 | None = None  # of loss and metrics, of the epoch there is
        self.watching = Watching()  # the training there is or was last

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _NEVER_CALLED:
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__}: expected no method {name}, which would never be called; "
                    "write a Layer, a Loss or a Callback of your own, or a loop with forward, "
                    "backward and optimizer.step"
                )

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
        metrics: Any = None,
        *,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int | str = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        on_nonfinite: str = "raise",
        health: bool = True,
    ) -> None:
        """Say how to train; weights stay as they are.

        An optimizer given by name starts anew; one given as an object goes on from its state, if it
        has any. Called by a callback in the middle of an epoch, it holds from the next step on, and
        the epoch's loss and metrics are means since then.

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
        loss_weights : None or 1
            There is one output, and its loss counts once.
        weighted_metrics : likewise, optional
            Those that weigh samples.
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted, without effect.
        on_nonfinite : {"raise", "skip"}
            What a step does that meets NaN or infinity in the loss or a gradient. It is left out in
            any case. "raise" stops with NonFiniteError; "skip" goes on, counts it in
            `model.skipped_steps`, and raises after 10 in a row.
        health : bool
            Whether training is watched, at about a hundredth of its time; see `doctor.Health`.

        Raises
        ------
        ValueError, TypeError
            If an argument is out of its range, or something else than what is expected; the model
            is compiled as before then.

        Notes
        -----
        In Keras the third argument by position is loss_weights, not metrics; programs that name
        their arguments run with both.
        """
        _validation.check_choice("compile", "on_nonfinite", on_nonfinite, ("raise", "skip"))
        flag, count = _validation.check_flag, _validation.check_count
        eagerly = flag("compile", "run_eagerly", run_eagerly)
        if jit_compile != "auto":
            flag("compile", "jit_compile", jit_compile)
        if steps_per_execution != "auto":
            count("compile", "steps_per_execution", steps_per_execution)
        flag("compile", "auto_scale_loss", auto_scale_loss)
        self.watched = flag("compile", "health", health)
        _check_loss_weights(loss_weights)
        found = optimizers.get(optimizer), _checked_loss(loss)
        plain = _named_metrics("metrics", metrics)
        self._weighted_metrics = _named_metrics("weighted_metrics", weighted_metrics)
        self._metrics = plain
        self.optimizer, self.loss = found
        self._resolved: dict[tuple[bool, int], tuple[list[Metric], list[Metric]]] = {}
        self._reported: tuple[Any, dict[str, Metric]] | None = None
        self._tracker = Mean("loss")
        self.totals = None
        self.on_nonfinite, self.run_eagerly = on_nonfinite, eagerly
        self.steps_per_execution, self.jit_compile = steps_per_execution, jit_compile
        self.compiled, self.stop_training = True, False
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

    def reported(self) -> dict[str, Metric]:
        """The mean of the loss and the metrics, by the names they are reported by."""
        now = Changes.latest, self.loss
        if self._reported is None or self._reported[0] != now:
            self._reported = now, self._named()
        return self._reported[1]

    def _named(self) -> dict[str, Metric]:
        found: dict[str, Metric] = {"loss": self._tracker}
        plain, weighted = self._resolve()
        for metric in plain:
            found[free_name(metric.name, found)] = metric
        for metric in weighted:
            taken = metric.name in found
            found[free_name(f"weighted_{metric.name}" if taken else metric.name, found)] = metric
        return found

    @property
    def metrics_names(self) -> list[str]:
        """Names of what evaluate returns."""
        return list(self.reported())

    @property
    def metrics(self) -> list[Metric]:
        """The mean of the loss and the metrics, with what they are of the data seen last."""
        known = self.compiled and self.loss is not None and self.has_shape
        return list(self.reported().values()) if known else []

    def reset_metrics(self) -> None:
        """Start the means of loss and metrics again, in the middle of an epoch too."""
        if self.totals is not None:
            self.totals[...] = 0.0
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """Return loss and metrics of the data seen last: what `fit` or `evaluate` saw so far."""
        self.compiled_loss("get_metrics_result")
        self.sample_output_shape()  # or say that it is not known
        values = {name: metric.result() for name, metric in self.reported().items()}
        return {name: v if np.ndim(v) else float(v) for name, v in values.items()}

    def compiled_loss(self, who: str) -> losses.Loss:
        """Return the loss, or say that there is none yet."""
        if not self.compiled:
            raise ValueError(f"{who}: call model.compile(optimizer, loss) first")
        if self.loss is None:
            raise ValueError(
                f"{who}: the model was compiled without a loss; call model.compile(optimizer, "
                "loss='mse') or with another one"
            )
        return self.loss

    # -- training and use

    def _permutation(self, n: int) -> NDArray[np.int64]:
        """An order of so many rows, from the model's draws."""
        draws = self.drawing()
        self.unshuffled = draws.state
        return draws.generator.permutation(n)

    def drawing(self) -> _random.Draws:
        """What it draws from in training, begun when first needed and by `set_random_seed`."""
        if self.draws is None or not self.draws.good:
            self.draws = _random.spawn_draws()
        return self.draws

    @property
    def seed(self) -> int:
        """Seed of what layers draw in training."""
        return self.drawing().seed

    def _prediction(self, rows: int, *, reuse: bool = False) -> _recording.Prediction:
        if reuse:
            rows = self._programs.room("predict", rows)
        return self._programs.get(
            ("predict", rows),
            self.layers,
            lambda: _recording.record_prediction(self.layers, self.sample_shape(), rows),
        )

    def _step(self, rows: int, *, train: bool, reuse: bool = False) -> _recording.Recording:
        """A recording for so many rows; to `reuse` it, for the most that were asked for so."""
        if reuse:
            rows = self._programs.room("train" if train else "evaluate", rows)
        optimizer = self.optimizer if train else None
        loss = self.compiled_loss("fit")

        def more() -> list[object]:
            shaped = [v for v in self.variables if v.regularizer or v.constraint]
            judges = [loss, *itertools.chain(*self._resolve())]
            versions = [judge.version for judge in judges]
            shaping = [v.shaping for v in shaped]
            return [optimizer and optimizer.version, *shaped, *shaping, *judges[1:], *versions]

        def record() -> _recording.Recording:
            of = self.layers, self.sample_shape(), rows, loss, *self._resolve(), optimizer
            made = _recording.record_step(*of)
            if optimizer is None or not (self.watched and made.variables):
                return made
            seen = Watch(made, self.trainable_variables, moved=not optimizer.in_python)
            return made._replace(watch=seen)

        key = "train" if train else "evaluate", rows, optimizer, loss
        return self._programs.get(key, self.layers, record, more)


def free_name(name: str, taken: Container[str]) -> str:
    """The name, numbered where it is taken."""
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _checked_loss(loss: Any) -> losses.Loss | None:
    if isinstance(loss, list | tuple) and len(loss) == 1:  # Keras: one for each output
        loss = loss[0]
    if loss is None:
        return None
    found = losses.get(loss)
    if found.reduction in (None, "none"):
        raise ValueError(
            f"compile: expected a loss that is reduced to one number, got {found.name} with "
            f"reduction={found.reduction!r}; use 'sum_over_batch_size' or 'sum'"
        )
    return found


def _check_loss_weights(weights: Any) -> None:
    several = weights.values() if isinstance(weights, Mapping) else weights
    several = list(several) if isinstance(several, Iterable) else [several]
    if several not in ([], [None], [1]):
        raise ValueError(
            "compile: expected loss_weights to be None or 1, as there is one output, got "
            f"{weights!r}; change the learning rate instead"
        )


def _flat(given: Any) -> Iterator[Any]:
    """Names and metrics in lists and dicts, which Keras allows to be nested."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, list | tuple):
        for one in given:
            yield from _flat(one)
    else:
        yield given


def _named_metrics(what: str, given: Any) -> list[str | Metric]:
    several = [] if given is None else list(_flat(given))
    if not all(map(_may_be_metric, several)):
        raise TypeError(
            f"compile: expected {what} to be names, Metric objects or functions of "
            f"(y_true, y_pred), got {given!r}"
        )
    try:
        found = [metrics.get(metric) for metric in several]
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("metrics:", f"compile: {what}:", 1)) from None
    return [m if isinstance(m, str) else known for m, known in zip(several, found, strict=True)]


def _may_be_metric(given: Any) -> bool:
    return isinstance(given, str) or (callable(given) and not isinstance(given, type))
