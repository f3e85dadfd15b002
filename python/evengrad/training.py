"""The training loop: epochs, chunks of steps, validation, callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _diagnosis
from evengrad._feed import Feed
from evengrad._recording import Prediction, Recording
from evengrad.callbacks import CallbackList
from evengrad.errors import NonFiniteError

if TYPE_CHECKING:
    from evengrad._program import Program
    from evengrad._trainer import Trainer

_CHUNK_SECONDS = 0.05  # how long a replay may keep signals and callbacks waiting
_SIGNAL_STEPS = 64  # in inference mode, between which signals are heard
_MOST_SKIPPED = 10

Record = Callable[[int], Recording]


class Epoch:
    """One round of steps: replays chunks of them and keeps the means so far."""

    def __init__(self, model: Trainer, record: Record, feed: Feed, number: int = 0) -> None:
        self.model, self.feed, self.number = model, feed, number
        self._record = record
        self.recording: Recording | None = None
        self.loss, self.metrics = model.loss, model.reported()
        self.done = 0  # steps
        self.skipped = 0

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
        recording.health[...] = before.health if before else 0.0
        same = self.loss is self.model.loss and self.metrics == self.model.reported()
        self._report(recording)
        if before and same:
            recording.totals[...] = before.totals
        return recording

    def logs(self) -> dict[str, Any]:
        """Return loss and metrics so far."""
        recording, found = self.recording or self.use(), dict[str, Any]()
        for (name, metric), place in zip(self.metrics.items(), recording.places, strict=True):
            metric.take(recording.totals[place])
            value = metric.value(recording.totals[place])
            found[name] = np.asarray(value, np.float32) if np.ndim(value) else float(value)
        return found

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
        completed = self.feed.replay(
            recording.program,
            steps,
            learning_rates=optimizer.rates(steps),
            counter=optimizer.counter,
            clip=optimizer.clip[1],
            seed=self.model.seed,
        )
        self.done += completed
        if completed:
            self.model.skipped_in_a_row = 0
        if completed < steps:
            self._failed(recording)

    def _failed(self, recording: Recording) -> None:
        recording.totals[...] = recording.before
        assert recording.program.failure is not None
        kind, where = recording.program.failure
        self.skipped += 1
        model = self.model
        if kind in ("label", "index"):
            raise _changed(model.name, kind, where)
        if kind == "target":
            _diagnosis.check_targets("fit", self.feed)
        model.skipped_in_a_row += 1
        model.skipped_steps += 1
        if model.on_nonfinite == "skip" and model.skipped_in_a_row < _MOST_SKIPPED:
            self.done += 1
            self.feed.skip()
            return
        if kind == "gradient":
            culprit = _diagnosis.of_gradient(model, recording, where)
        else:
            culprit = _diagnosis.of_loss(model, self.feed)
        raise NonFiniteError(
            f"epoch {self.number + 1}, step {self.done + 1}: {culprit.text} The step was left out; "
            f"the model is as before it. {culprit.cure}",
            epoch=self.number,
            step=self.done,
            tensor=culprit.tensor,
            layer=culprit.layer,
            rows=culprit.rows,
        )

    def evaluate(self, steps: int) -> None:
        """Replay the next steps in inference mode."""
        program = (self.recording or self.use()).program
        done = self.feed.replay(program, steps)
        check_complete(self.model.name, self.feed, program, done, steps)


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
    callbacks.call("on_train_begin")
    try:
        for number in epochs:
            if not feed.has_more():
                break
            callbacks.call("on_epoch_begin", number)
            epoch = Epoch(model, record, feed, number)
            feed.begin(number)
            if not feed.of_batch:
                epoch.use()
            _run_epoch(epoch, callbacks)
            feed.end()
            logs = epoch.logs()
            if validate is not None and validates_after(number + 1):
                logs |= {f"val_{name}": value for name, value in validate().items()}
            callbacks.call("on_epoch_health", epoch.health())
            callbacks.call("on_epoch_end", number, logs)
            if model.stop_training:
                break
        if epochs.stop > 0:
            model.optimizer.finalize_variable_values(model.trainable_variables)
    finally:
        callbacks.call("on_train_end")


def _run_epoch(epoch: Epoch, callbacks: CallbackList) -> None:
    hooks, chunk, feed = callbacks.each_batch, 1, epoch.feed
    while not epoch.model.stop_training and (ready := feed.ready()):
        if hooks:
            callbacks.call("on_train_batch_begin", epoch.done)
        recording = epoch.use()
        in_python = epoch.model.optimizer.rate_in_python or recording.program.segments > 1
        single = hooks or in_python
        begin, done = time.perf_counter(), epoch.done
        epoch.train(1 if single else min(chunk, ready))
        each = (time.perf_counter() - begin) / (epoch.done - done)
        chunk = max(1, min(2 * chunk, int(_CHUNK_SECONDS / max(each, 1e-9))))
        if hooks:
            callbacks.call("on_train_batch_end", epoch.done - 1, epoch.logs())
        callbacks.call("on_progress", epoch.done, epoch.logs())


def evaluate(model: Trainer, record: Record, feed: Feed) -> dict[str, Any]:
    """Loss and metrics of an epoch in inference mode; nothing where the data have ended."""
    if not feed.has_more():
        return {}
    epoch = Epoch(model, record, feed)
    feed.rewind()
    feed.begin()
    while ready := feed.ready():
        epoch.use()
        epoch.evaluate(min(ready, _SIGNAL_STEPS))
    feed.end()
    return epoch.logs()


def _changed(who: str, kind: str, where: int) -> ValueError:
    return ValueError(
        f"{who}: expected the data to stay as they were checked, but {kind} {where} is not legal"
    )


def check_complete(who: str, feed: Feed, program: Program, done: int, steps: int) -> None:
    """Raise where a replay in inference mode ended early."""
    if done < steps:
        assert program.failure is not None
        kind, where = program.failure
        if kind in ("input", "target"):
            raise _diagnosis.of_sources(who, feed)
        raise _changed(who, kind, where)


def predict_batch(who: str, recorded: Prediction, samples: NDArray[Any]) -> NDArray[np.float32]:
    """Outputs for as many samples as a program holds, or fewer."""
    output = np.empty((len(samples), *recorded.shape), np.float32)
    if recorded.program.run_batches(samples, output=output, first=0, steps=1) < 1:
        assert recorded.program.failure is not None
        raise _changed(who, *recorded.program.failure)
    return output


def predict(who: str, record: Callable[[int], Prediction], feed: Feed) -> NDArray[np.float32]:
    """Outputs for an epoch."""
    outputs: list[NDArray[np.float32]] = []
    rows = 0
    if feed.has_more():
        feed.begin()
        while ready := feed.ready():
            steps, (program, shape) = min(ready, _SIGNAL_STEPS), record(feed.capacity)
            if feed.of_batch or not outputs:
                outputs.append(np.empty((len(feed.data().x), *shape), np.float32))
            done = feed.replay(program, steps, output=outputs[-1])
            check_complete(who, feed, program, done, steps)
            rows += done * feed.capacity
        feed.end()
    return outputs[0][:rows] if len(outputs) == 1 else np.concatenate(outputs)
