"""The training loop: epochs, chunks of steps, validation, callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _diagnosis
from evengrad._data import Data
from evengrad._recording import Prediction, Recording
from evengrad.callbacks import CallbackList
from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad._program import Program
    from evengrad._trainer import Trainer

_CHUNK_SECONDS = 0.05  # how long a replay may keep signals and callbacks waiting
MOST_SKIPPED = 10


class Epoch:
    """One pass over the data: replays chunks of steps and keeps the means so far."""

    def __init__(self, model: Trainer, recording: Recording, data: Data, number: int) -> None:
        self.model, self.recording, self.data, self.number = model, recording, data, number
        self.names, self.metrics = model.metrics_names, model.compiled_metrics
        self.order: NDArray[np.int64] | None = None
        self.done = 0  # steps
        self.skipped = 0
        recording.totals[...] = 0.0
        recording.health[...] = 0.0
        for metric in self.metrics:
            metric.begin()

    def use(self, recording: Recording) -> None:
        """Go on with another recording of the same model."""
        if recording is self.recording:
            return
        if self.model.metrics_names != self.names:
            raise ValueError(
                f"fit: expected {', '.join(self.names)} to stay what is reported during an epoch, "
                f"got {', '.join(self.model.metrics_names)}; compile between epochs"
            )
        recording.totals[...] = self.recording.totals
        recording.health[...] = self.recording.health
        self.recording = recording

    def logs(self) -> dict[str, Any]:
        """Return loss and metrics so far."""
        recording = self.recording
        loss, rows = recording.totals[recording.places[0]]
        found: list[Any] = [loss / rows if rows else 0.0]
        for metric, place in zip(self.metrics, recording.places[1:], strict=True):
            value = metric.logged(recording.totals[place])
            found.append(np.asarray(value, np.float32) if np.ndim(value) else value)
        plain = [value if np.ndim(value) else float(value) for value in found]
        return dict(zip(self.names, plain, strict=True))

    def health(self) -> dict[str, float]:
        """Return what gradients were like, see `History.health`."""
        norms, clipped, steps = self.recording.health.tolist()
        of = max(1.0, steps)
        return {
            "gradient_norm": norms / of, "clip_rate": clipped / of, "skipped_steps": self.skipped
        }  # fmt: skip

    def train(self, steps: int) -> None:
        """Replay the next steps, fewer where one fails and is to be skipped."""
        optimizer = self.model.optimizer
        program = self.recording.program
        completed = program.run_batches(
            *self.data,
            self.order,
            first=self.done * program.capacity,
            steps=steps,
            learning_rates=optimizer.rates(steps),
            counter=optimizer.counter,
            clip=optimizer.clip[1],
            seed=self.model.seed,
        )
        self.done += completed
        if completed:
            self.model.skipped_in_a_row = 0
        if completed < steps:
            self._failed()

    def _failed(self) -> None:
        self.recording.totals[...] = self.recording.before
        for metric in self.metrics:
            metric.take_back()
        failure = self.recording.program.failure
        assert failure is not None
        kind, where = failure
        self.skipped += 1
        model = self.model
        if kind in ("label", "index"):
            raise _changed(model.name, kind, where)
        model.skipped_in_a_row += 1
        model.skipped_steps += 1
        if model.on_nonfinite == "skip" and model.skipped_in_a_row < MOST_SKIPPED:
            self.done += 1
            return
        culprit = self._culprit(kind, where)
        raise NonFiniteError(
            f"epoch {self.number + 1}, step {self.done + 1}: {culprit.text} The step was left out; "
            f"the model is as before it. {culprit.cure}",
            epoch=self.number,
            step=self.done,
            tensor=culprit.tensor,
            layer=culprit.layer,
            rows=culprit.rows,
        )

    def _culprit(self, kind: str, where: int) -> _diagnosis.Culprit:
        if kind == "gradient":
            recording = self.recording
            return _diagnosis.of_gradient(
                self.model, recording.variables[where], recording.norms[where]
            )
        capacity = self.recording.program.capacity
        order = np.arange(len(self.data.x)) if self.order is None else self.order
        rows = order[self.done * capacity : (self.done + 1) * capacity]
        return _diagnosis.of_loss(self.model, self.data, rows)


def fit(
    model: Trainer,
    data: Data,
    *,
    record: Callable[[], Recording],
    epochs: range,
    steps: int,
    shuffle: bool,
    callbacks: CallbackList,
    validate: Callable[[], dict[str, Any]] | None,
    validation_freq: int,
) -> None:
    """Train over the epochs, `steps` batches each.

    `record` gives the recording of the model as it is now: callbacks may change its structure.
    """
    model.stop_training = False
    model.skipped_in_a_row = 0
    callbacks.call("on_train_begin")
    try:
        for number in epochs:
            callbacks.call("on_epoch_begin", number)
            epoch = Epoch(model, record(), data, number)
            if shuffle:
                epoch.order = model.drawing().generator.permutation(len(data.x))
            _run_epoch(epoch, steps, record, callbacks)
            logs = epoch.logs()
            if validate is not None and (number + 1) % validation_freq == 0:
                logs |= {f"val_{name}": value for name, value in validate().items()}
            callbacks.call("on_epoch_health", epoch.health())
            callbacks.call("on_epoch_end", number, logs)
            if model.stop_training:
                break
        if epochs.stop > 0:
            model.optimizer.finalize_variable_values(model.trainable_variables)
    finally:
        callbacks.call("on_train_end")


def steps_per_epoch(data: Data, recording: Recording, limit: int | None = None) -> int:
    """Batches that one pass over the data makes, the partial last one included."""
    steps = math.ceil(len(data.x) / recording.program.capacity)
    return steps if limit is None else min(steps, limit)


def _run_epoch(
    epoch: Epoch, steps: int, record: Callable[[], Recording], callbacks: CallbackList
) -> None:
    hooks, chunk = callbacks.each_batch, 1
    while epoch.done < steps and not epoch.model.stop_training:
        if hooks:
            callbacks.call("on_train_batch_begin", epoch.done)
        epoch.use(record())
        in_python = epoch.model.optimizer.rate_in_python or epoch.recording.program.segments > 1
        single = hooks or in_python
        begin, done = time.perf_counter(), epoch.done
        epoch.train(1 if single else min(chunk, steps - done))
        each = (time.perf_counter() - begin) / (epoch.done - done)
        chunk = max(1, min(2 * chunk, int(_CHUNK_SECONDS / max(each, 1e-9))))
        if hooks:
            callbacks.call("on_train_batch_end", epoch.done - 1, epoch.logs())
        callbacks.call("on_progress", epoch.done, epoch.logs())


def evaluate(
    model: Trainer, recording: Recording, data: Data, steps: int | None = None
) -> dict[str, Any]:
    """Loss and metrics over the data in inference mode."""
    epoch = Epoch(model, recording, data, 0)
    total = steps_per_epoch(data, recording, steps)
    program = recording.program
    for first, count in chunks(total):
        done = program.run_batches(*data, first=first * program.capacity, steps=count)
        _check_complete(model.name, program, done, count)
    return epoch.logs()


def _changed(who: str, kind: str, where: int) -> ValueError:
    return ValueError(
        f"{who}: expected the data to stay as they were checked, but {kind} {where} is not legal"
    )


def _check_complete(who: str, program: Program, done: int, steps: int) -> None:
    if done < steps:
        assert program.failure is not None
        raise _changed(who, *program.failure)


def predict(who: str, recorded: Prediction, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs for samples."""
    program = recorded.program
    output = np.empty((len(samples), *recorded.shape), np.float32)
    for first, count in chunks(-(-len(samples) // program.capacity)):
        start = first * program.capacity
        done = program.run_batches(samples, output=output, first=start, steps=count)
        _check_complete(who, program, done, count)
    return output


def chunks(steps: int, size: int = 64) -> Sequence[tuple[int, int]]:
    """(first, count) of pieces of a pass, between which signals are heard."""
    if steps <= size:
        return [(0, steps)]
    return [(first, min(size, steps - first)) for first in range(0, steps, size)]
