"""The training loop: epochs, chunks of steps, validation, callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _diagnosis
from evengrad._feed import Feed
from evengrad._position import go_on
from evengrad._recording import Prediction, Recording
from evengrad._watch import Watching
from evengrad.callbacks.callback_list import CallbackList, Watchers
from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad._core import F64
    from evengrad._program import Program
    from evengrad._trainer import Trainer
    from evengrad.metrics import Metric

_CHUNK_SECONDS = 0.05  # how long a replay may keep signals and callbacks waiting
_MOST_AT_ONCE = 64  # batches of evaluation and prediction, likewise
MOST_SKIPPED = 10

Record = Callable[[int], Recording]


class Epoch:
    """One round of steps: replays chunks of them and keeps the means so far.

    Leaving it puts back the means of the round that it was begun in: a callback may evaluate, or
    train on a batch, while its model is at it.
    """

    def __init__(self, model: Trainer, record: Record, feed: Feed, number: int = 0) -> None:
        self.model, self.feed, self.number = model, feed, number
        self._record = record
        self.recording: Recording | None = None
        self.loss, self.metrics = model.loss, model.reported()
        self.done = 0  # steps
        self.skipped = 0
        self.spoilt = False  # by a loss that was not finite, which ends training without an error
        self._outer: tuple[F64 | None, list[tuple[Metric, dict[str, Any]]]] | None = None
        self._covered: list[tuple[Recording, F64, F64]] = []

    def __enter__(self) -> Epoch:
        model = self.model
        if model.passes:
            states = [(m, m.snapshot()) for m in self.metrics.values() if m.stateful]
            self._outer = model.totals, states
        model.passes += 1
        return self

    def __exit__(self, *error: object) -> None:
        self.model.passes -= 1
        if self._outer is None:
            return
        for recording, totals, health in reversed(self._covered):
            recording.totals[...], recording.health[...] = totals, health
        self.model.totals, states = self._outer
        for metric, state in states:
            metric.restore(state)

    def spoil(self) -> None:
        """Count a step that was left out for good, and with it the loss of the epoch."""
        self._skip()
        self.spoilt = True

    def _skip(self) -> None:
        self.done += 1
        self.feed.skip()

    def _report(self, recording: Recording) -> None:
        """Start the means of loss and metrics as the model is compiled now."""
        model = self.model
        self.recording, self.loss, self.metrics = recording, model.loss, model.reported()
        model.totals = recording.totals
        recording.totals[...] = 0.0
        for metric in self.metrics.values():
            metric.reset_state()

    def use(self) -> Recording:
        """Go on with a recording of the model as it is now."""
        recording, before = self._record(self.feed.capacity), self.recording
        if recording is before:
            return recording
        if self._outer is None:
            self.model.watching.use(recording.watch, self.model.optimizer.iterations)
        if self._outer is not None:
            self._covered.append((recording, recording.totals.copy(), recording.health.copy()))
        recording.health[...] = before.health if before else 0.0
        same = self.loss is self.model.loss and self.metrics == self.model.reported()
        if before and same:
            self.recording, self.model.totals = recording, recording.totals
            recording.totals[...] = before.totals
        else:
            self._report(recording)
        return recording

    def logs(self) -> dict[str, Any]:
        """Return loss and metrics so far."""
        recording, found = self.recording or self.use(), dict[str, Any]()
        for (name, metric), place in zip(self.metrics.items(), recording.places, strict=True):
            metric.take(recording.totals[place])
            value = metric.logged(recording.totals[place])
            found[name] = np.asarray(value, np.float32) if np.ndim(value) else float(value)
        return found | {"loss": math.nan} if self.spoilt else found

    def health(self) -> dict[str, float]:
        """Return what gradients were like, see `History.health`."""
        norms, clipped, steps = (self.recording or self.use()).health.tolist()
        of = max(1.0, steps)
        return {
            "gradient_norm": norms / of, "clip_rate": clipped / of, "skipped_steps": self.skipped
        }  # fmt: skip

    def train(self, steps: int) -> None:
        """Replay the next steps, fewer where one fails and is to be skipped."""
        optimizer = self.model.optimizer
        recording = self.recording or self.use()
        try:
            completed = self.feed.replay(
                recording.program,
                steps,
                learning_rates=optimizer.rates(steps),
                counter=optimizer.counter,
                clip=optimizer.clip[1],
                seed=self.model.seed,
            )
        except NonFiniteError as error:  # of an update in Python, one step at a time
            error.epoch, error.step = self.number, self.done
            raise
        self.done += completed
        if completed:
            self.model.skipped_in_a_row = 0
        if completed < steps:
            self._failed(recording)

    def _failed(self, recording: Recording) -> None:
        recording.totals[...] = recording.before
        for metric in self.metrics.values():
            metric.take_back()
        assert recording.program.failure is not None
        kind, where = recording.program.failure
        self.skipped += 1
        model = self.model
        if kind in ("label", "index"):
            raise _changed(self.feed.who, kind, where)
        if kind == "target":
            _diagnosis.check_targets(self.feed)
        model.skipped_in_a_row += 1
        model.skipped_steps += 1
        if model.on_nonfinite == "skip" and model.skipped_in_a_row < MOST_SKIPPED:
            self._skip()
            return
        from evengrad._nonfinite import provenance  # much that only errors need

        raise provenance.of_step(self, recording)

    def evaluate(self, steps: int) -> None:
        """Replay the next steps in inference mode."""
        program = self.use().program
        done = self.feed.replay(program, steps)
        check_complete(self.feed, program, done, steps)
        self.done += done


def fit(
    model: Trainer,
    feed: Feed,
    *,
    record: Record,
    epochs: range,
    callbacks: CallbackList,
    validate: Callable[[], dict[str, Any]] | None,
    validates_after: Callable[[int], bool],
) -> None:
    """Train over the epochs.

    `record` gives the recording of the model as it is now: callbacks may change its structure.
    `validates_after` says so of the number of epochs done.
    """
    model.stop_training = False
    model.skipped_in_a_row = 0
    model.position = model.unshuffled = None
    model.watching = Watching()
    logs: dict[str, Any] = {}
    try:
        callbacks.on_train_begin()
        if model.position is not None:  # of a run that was interrupted
            epochs = range(model.position.epoch, epochs.stop)
        for number in epochs:
            if not feed.has_more():
                break
            callbacks.on_epoch_begin(number)
            with Epoch(model, record, feed, number) as epoch:
                feed.begin(number)
                if not feed.of_batch:
                    epoch.use()
                if model.position is not None:
                    go_on(epoch, model.position)
                model.position, model.running = None, epoch
                _run_epoch(epoch, callbacks)
                feed.end()
                logs, health = epoch.logs(), epoch.health()
            model.watching.end_epoch()
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


def _run_epoch(epoch: Epoch, callbacks: CallbackList) -> None:
    watchers, chunk, feed = callbacks.watchers("train"), 1, epoch.feed
    while not epoch.model.stop_training and (ready := feed.ready()):
        most = watchers.most
        if most:
            callbacks.on_train_batch_begin(epoch.done)
        recording = epoch.use()
        in_python = epoch.model.optimizer.rate_in_python or recording.program.segments > 1
        begin, done = time.perf_counter(), epoch.done
        try:
            epoch.train(1 if in_python else min(chunk, ready, most or chunk))
        except NonFiniteError as error:
            if not callbacks._accepts(error):
                raise
            epoch.spoil()
        each = (time.perf_counter() - begin) / (epoch.done - done)
        chunk = max(1, min(2 * chunk, int(_CHUNK_SECONDS / max(each, 1e-9))))
        if most:
            callbacks.on_train_batch_end(epoch.done - 1, epoch.logs())


def evaluate(
    model: Trainer, record: Record, feed: Feed, callbacks: CallbackList | None = None
) -> dict[str, Any]:
    """Loss and metrics of an epoch in inference mode; nothing where the data have ended."""
    model.stop_evaluating = False
    if not feed.has_more():
        return {}
    with Epoch(model, record, feed) as epoch:
        feed.rewind()
        feed.begin()
        if callbacks is not None:
            callbacks.on_test_begin()
        watchers = None if callbacks is None else callbacks.watchers("test")
        while not model.stop_evaluating and (ready := feed.ready()):
            steps, told = _piece(ready, watchers)
            if told and callbacks is not None:
                callbacks.on_test_batch_begin(epoch.done)
            epoch.evaluate(steps)
            if told and callbacks is not None:
                callbacks.on_test_batch_end(epoch.done - 1, epoch.logs())
        feed.end()
        logs = epoch.logs()
    if callbacks is not None:
        callbacks.on_test_end(logs)
    return logs


def _piece(ready: int, watchers: Watchers | None) -> tuple[int, bool]:
    """Steps of the next replay, after which signals are heard, and whether anyone is told."""
    most = 0 if watchers is None else watchers.most
    return min(ready, _MOST_AT_ONCE, most or _MOST_AT_ONCE), most > 0


def _changed(who: str, kind: str, where: int) -> ValueError:
    return ValueError(
        f"{who}: expected the data to stay as they were checked, but {kind} {where} is not legal"
    )


def check_complete(feed: Feed, program: Program, done: int, steps: int) -> None:
    """Raise where a replay in inference mode ended early."""
    if done < steps:
        assert program.failure is not None
        kind, where = program.failure
        if kind in ("input", "target"):
            raise _diagnosis.of_sources(feed)
        raise _changed(feed.who, kind, where)


def predict_batch(who: str, recorded: Prediction, samples: NDArray[Any]) -> NDArray[np.float32]:
    """Outputs for as many samples as a program holds, or fewer."""
    output = np.empty((len(samples), *recorded.shape), np.float32)
    if recorded.program.run_batches(samples, output=output, first=0, steps=1) < 1:
        assert recorded.program.failure is not None
        raise _changed(who, *recorded.program.failure)
    return output


def predict(
    record: Callable[[int], Prediction],
    feed: Feed,
    callbacks: CallbackList | None = None,
) -> NDArray[np.float32]:
    """Outputs for an epoch."""
    outputs: list[NDArray[np.float32]] = []
    rows = batches = 0
    watchers = None if callbacks is None else callbacks.watchers("predict")
    if callbacks is not None:
        callbacks.on_predict_begin()
    if feed.has_more():
        feed.begin()
        while ready := feed.ready():
            (steps, told), (program, shape) = _piece(ready, watchers), record(feed.capacity)
            if told and callbacks is not None:
                callbacks.on_predict_batch_begin(batches)
            if feed.of_batch or not outputs:
                outputs.append(np.empty((len(feed.data().x), *shape), np.float32))
            first, here = (0 if feed.of_batch else rows), outputs[-1]
            done = feed.replay(program, steps, output=here)
            check_complete(feed, program, done, steps)
            rows, batches = rows + done * feed.capacity, batches + done
            if told and callbacks is not None:
                part = here[first : first + done * feed.capacity]
                callbacks.on_predict_batch_end(batches - 1, {"outputs": part})
                if callbacks.model.stop_predicting:
                    break
        feed.end()
    if callbacks is not None:
        callbacks.on_predict_end()
    return outputs[0][:rows] if len(outputs) == 1 else np.concatenate(outputs)
