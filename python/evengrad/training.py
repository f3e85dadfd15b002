"""The training loop: epochs, chunks of steps, validation, callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _diagnosis
from evengrad._data import Data
from evengrad._position import go_on
from evengrad._recording import Prediction, Recording
from evengrad.callbacks.callback_list import CallbackList, Watchers
from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad._program import Program
    from evengrad._trainer import Trainer

_CHUNK_SECONDS = 0.05  # how long a replay may keep signals and callbacks waiting
_MOST_AT_ONCE = 64  # batches of evaluation and prediction, likewise
MOST_SKIPPED = 10


class Epoch:
    """One pass over the data: replays chunks of steps and keeps the means so far.

    Leaving it puts back the means of the pass that it was begun in: a callback may evaluate, or
    train on a batch, while its model is at it.
    """

    def __init__(self, model: Trainer, recording: Recording, data: Data, number: int) -> None:
        self.model, self.recording, self.data, self.number = model, recording, data, number
        self._put_back = self._outside_of(recording)
        self._report(recording)
        self.order: NDArray[np.int64] | None = None
        self.done = 0  # steps
        self.skipped = 0
        self.unshuffled: Mapping[str, Any] | None = None  # state of the draws before `shuffle`
        self.spoilt = False  # by a loss that was not finite, which ends training without an error
        recording.health[...] = 0.0

    def _outside_of(self, recording: Recording) -> Callable[[], None] | None:
        """What puts back the means of the pass that this one is begun in, if any."""
        model = self.model
        if not model.passes:
            return None
        kept, totals, health = model.totals, recording.totals.copy(), recording.health.copy()
        states = [(m, m.snapshot()) for m in model.reported().values() if m.stateful]

        def put_back() -> None:
            for metric, state in states:
                metric.restore(state)
            recording.totals[...], recording.health[...] = totals, health
            model.totals = kept

        return put_back

    def __enter__(self) -> Epoch:
        self.model.passes += 1
        return self

    def __exit__(self, *error: object) -> None:
        self.model.passes -= 1
        if self._put_back is not None:
            self._put_back()

    def shuffle(self) -> None:
        """Take the rows in a new order."""
        self.unshuffled = self.model.drawing().state
        self.order = self.model.drawing().generator.permutation(len(self.data.x))

    def spoil(self) -> None:
        """Count a step that was left out for good, and with it the loss of the epoch."""
        self.done += 1
        self.spoilt = True

    def _report(self, recording: Recording) -> None:
        """Start the means of loss and metrics as the model is compiled now."""
        model = self.model
        self.recording, self.loss, self.metrics = recording, model.loss, model.reported()
        model.totals = recording.totals
        recording.totals[...] = 0.0
        for metric in self.metrics.values():
            metric.reset_state()

    def use(self, recording: Recording) -> None:
        """Go on with another recording of the same model."""
        if recording is self.recording:
            return
        before = self.recording
        recording.health[...] = before.health
        same = self.loss is self.model.loss and self.metrics == self.model.reported()
        self._report(recording)
        if same:
            recording.totals[...] = before.totals

    def logs(self) -> dict[str, Any]:
        """Return loss and metrics so far."""
        recording, found = self.recording, dict[str, Any]()
        for (name, metric), place in zip(self.metrics.items(), recording.places, strict=True):
            metric.take(recording.totals[place])
            value = metric.logged(recording.totals[place])
            found[name] = np.asarray(value, np.float32) if np.ndim(value) else float(value)
        return found | {"loss": math.nan} if self.spoilt else found

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
        for metric in self.metrics.values():
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
    validates_after: Callable[[int], bool],
) -> None:
    """Train over the epochs, `steps` batches each.

    `record` gives the recording of the model as it is now: callbacks may change its structure.
    `validates_after` says so of the number of epochs done.
    """
    model.stop_training = False
    model.skipped_in_a_row = 0
    model.position = None
    logs: dict[str, Any] = {}
    try:
        callbacks.on_train_begin()
        if model.position is not None:  # of a run that was interrupted
            epochs = range(model.position.epoch, epochs.stop)
        for number in epochs:
            callbacks.on_epoch_begin(number)
            with Epoch(model, record(), data, number) as epoch:
                if shuffle:
                    epoch.shuffle()
                if model.position is not None:
                    go_on(epoch, model.position)
                model.position, model.running = None, epoch
                _run_epoch(epoch, steps, record, callbacks)
                logs, health = epoch.logs(), epoch.health()
            if validate is not None and validates_after(number + 1):
                logs |= {f"val_{name}": value for name, value in validate().items()}
            callbacks.on_epoch_health(health)
            callbacks.on_epoch_end(number, logs)
            if model.stop_training:
                break
        if epochs.stop > 0:
            callbacks._before_averages()
            model.optimizer.finalize_variable_values(model.trainable_variables)
        callbacks.on_train_end(logs)
    finally:
        model.running = None
        callbacks._release()


def steps_per_epoch(data: Data, recording: Recording, limit: int | None = None) -> int:
    """Batches that one pass over the data makes, the partial last one included."""
    steps = math.ceil(len(data.x) / recording.program.capacity)
    return steps if limit is None else min(steps, limit)


def _run_epoch(
    epoch: Epoch, steps: int, record: Callable[[], Recording], callbacks: CallbackList
) -> None:
    watchers, chunk = callbacks.watchers("train"), 1
    while epoch.done < steps and not epoch.model.stop_training:
        most = watchers.most
        if most:
            callbacks.on_train_batch_begin(epoch.done)
        epoch.use(record())
        in_python = epoch.model.optimizer.rate_in_python or epoch.recording.program.segments > 1
        begin, done = time.perf_counter(), epoch.done
        try:
            epoch.train(1 if in_python else min(chunk, steps - done, most or chunk))
        except NonFiniteError as error:
            if not callbacks._accepts(error):
                raise
            epoch.spoil()
        each = (time.perf_counter() - begin) / (epoch.done - done)
        chunk = max(1, min(2 * chunk, int(_CHUNK_SECONDS / max(each, 1e-9))))
        if most:
            callbacks.on_train_batch_end(epoch.done - 1, epoch.logs())


def evaluate(
    model: Trainer,
    recording: Recording,
    data: Data,
    steps: int | None = None,
    callbacks: CallbackList | None = None,
) -> dict[str, Any]:
    """Loss and metrics over the data in inference mode."""
    model.stop_evaluating = False
    total, program = steps_per_epoch(data, recording, steps), recording.program
    with Epoch(model, recording, data, 0) as epoch:
        if callbacks is not None:
            callbacks.on_test_begin()
        for first, count, told in _pieces(total, callbacks, "test"):
            if told and callbacks is not None:
                callbacks.on_test_batch_begin(first)
            done = program.run_batches(*data, first=first * program.capacity, steps=count)
            _check_complete(model.name, program, done, count)
            if told and callbacks is not None:
                callbacks.on_test_batch_end(first + count - 1, epoch.logs())
            if model.stop_evaluating:
                break
        logs = epoch.logs()
    if callbacks is not None:
        callbacks.on_test_end(logs)
    return logs


def _changed(who: str, kind: str, where: int) -> ValueError:
    return ValueError(
        f"{who}: expected the data to stay as they were checked, but {kind} {where} is not legal"
    )


def _check_complete(who: str, program: Program, done: int, steps: int) -> None:
    if done < steps:
        assert program.failure is not None
        raise _changed(who, *program.failure)


def predict(
    who: str,
    recorded: Prediction,
    samples: NDArray[np.float32],
    callbacks: CallbackList | None = None,
) -> NDArray[np.float32]:
    """Outputs for samples."""
    program = recorded.program
    rows, total = program.capacity, -(-len(samples) // program.capacity)
    output = np.empty((len(samples), *recorded.shape), np.float32)
    if callbacks is not None:
        callbacks.on_predict_begin()
    for first, count, told in _pieces(total, callbacks, "predict"):
        if told and callbacks is not None:
            callbacks.on_predict_batch_begin(first)
        part = slice(first * rows, (first + count) * rows)
        done = program.run_batches(samples, output=output, first=part.start, steps=count)
        _check_complete(who, program, done, count)
        if told and callbacks is not None:
            callbacks.on_predict_batch_end(first + count - 1, {"outputs": output[part]})
            if callbacks.model.stop_predicting:
                output = output[: part.stop]
                break
    if callbacks is not None:
        callbacks.on_predict_end()
    return output


def _pieces(
    steps: int, callbacks: CallbackList | None, kind: str
) -> Iterable[tuple[int, int, bool]]:
    """(first, count, whether anyone is told) of parts of a pass; between them signals are heard."""
    if callbacks is None and steps <= _MOST_AT_ONCE:
        return [(0, steps, False)]
    return _watched(steps, None if callbacks is None else callbacks.watchers(kind))


def _watched(steps: int, watchers: Watchers | None) -> Iterator[tuple[int, int, bool]]:
    first = 0
    while first < steps:
        most = 0 if watchers is None else watchers.most
        count = min(_MOST_AT_ONCE, steps - first, most or _MOST_AT_ONCE)
        yield first, count, most > 0
        first += count
