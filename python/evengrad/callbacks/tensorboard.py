"""TensorBoard."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from evengrad import _validation
from evengrad.callbacks.base import UNLIMITED, Callback, Logs, seldom
from evengrad.callbacks.monitor import check_frequency

if TYPE_CHECKING:
    from evengrad.doctor.health import Health
    from evengrad.models import Sequential


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ImportError(
            "TensorBoard: expected the package tensorboardX; pip install evengrad[tensorboard]"
        ) from None
    return SummaryWriter


class TensorBoard(Callback):
    """Write what TensorBoard shows: loss, metrics and learning rate, histograms of the weights.

    Of training in the folder "train" of `log_dir`: "epoch_loss" and so on, "epoch_learning_rate"
    and, by `update_freq`, "batch_loss" and so on. Of validation in its folder "validation":
    "epoch_loss" and so on by epoch, "evaluation_loss_vs_iterations" and so on by updates. With
    `write_health` in "train", by epoch, what `History.health` holds: "health/gradient_norm" and so
    on, by layer "health_gradient/dense", "health_update", "health_zeros", "health_saturated",
    "health_dead", means over the epoch.

    Parameters
    ----------
    log_dir : str or path, default "logs"
        Its folder, for nothing else.
    histogram_freq : int, at least 0, default 0
        Write the distribution of each variable every so many epochs.
    write_graph : bool, default True
        Accepted, without effect: layers follow one another, see `Sequential.summary`.
    write_images : bool, default False
        With `histogram_freq`: kernels and vectors as images, too.
    write_steps_per_second : bool, default False
        Also the speed, by epoch and by `update_freq`.
    update_freq : "batch", "epoch" or int, at least 1
        Write the means so far after every so many batches, too; "epoch": not.
    profile_batch : 0
        There is no profiler.
    embeddings_freq : 0
        There are no embeddings.
    embeddings_metadata : None
        Likewise.
    write_health : bool, default False
        Norms of gradients and of updates over weights, activations and dead units, too; with
        `histogram_freq` also how the powers of ten of both norms are spread over the epoch's steps.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.
    ImportError
        Without tensorboardX: pip install evengrad[tensorboard].

    Examples
    --------
    >>> import evengrad as keras
    >>> try:
    ...     keras.callbacks.TensorBoard(profile_batch=5)
    ... except ValueError as error:
    ...     print(error)
    TensorBoard: expected profile_batch to be 0, got 5; there is no profiler
    """

    _kept: ClassVar[tuple[str, ...]] = ("_done",)

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: None = None,
        write_health: bool = False,
    ) -> None:
        who = "TensorBoard"
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = _validation.check_count(who, "histogram_freq", histogram_freq, 0)
        self.write_graph = _validation.check_flag(who, "write_graph", write_graph)
        self.write_images = _validation.check_flag(who, "write_images", write_images)
        self.write_steps_per_second = _validation.check_flag(
            who, "write_steps_per_second", write_steps_per_second
        )
        update_freq = 1 if update_freq == "batch" else update_freq
        self.update_freq = check_frequency(who, update_freq, "update_freq")
        self.write_health = _validation.check_flag(who, "write_health", write_health)
        for name, value, why in (
            ("profile_batch", profile_batch, "profiler"),
            ("embeddings_freq", embeddings_freq, "layer with embeddings"),
            ("embeddings_metadata", embeddings_metadata, "layer with embeddings"),
        ):
            if value:
                right = None if name == "embeddings_metadata" else 0
                raise ValueError(
                    f"{who}: expected {name} to be {right}, got {value!r}; there is no {why}"
                )
        self._make = _writer_class()
        self._writers: dict[str, Any] = {}
        self._done = 0  # batches of training
        self._first = 0  # batch of those that are being done
        self._epoch_start = self._batch_start = (0, 0.0)
        self._health_start = np.zeros(0)  # last step of the epoch before, where there was one

    def set_model(self, model: Sequential) -> None:
        """Begin new files."""
        super().set_model(model)
        self._release()

    def _writer(self, name: str) -> Any:
        if name not in self._writers:  # an event file where there is something to write
            self._writers[name] = self._make(os.path.join(self.log_dir, name))
        return self._writers[name]

    def _scalars(self, where: str, tag: str, logs: Logs, step: int) -> None:
        writer = self._writer(where)
        for name, value in logs.items():
            several = np.ravel(value)
            for i, number in enumerate(several):
                full = name if np.ndim(value) == 0 else f"{name}_{i}"
                writer.add_scalar(tag.format(full), float(number), step)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Count from 0."""
        self._done = 0

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        self._release()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the clock."""
        self._epoch_start = self._now()
        if self.write_health:
            self._health_start = self._health().steps[-1:]

    def _health(self) -> Health:
        history = self.model.history
        assert history is not None
        return history.health

    def _now(self) -> tuple[int, float]:
        return self._done, time.perf_counter()

    def _speed(self, since: tuple[int, float]) -> float:
        done, now = self._now()
        return (done - since[0]) / max(now - since[1], 1e-9)

    @seldom
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the clock."""
        self._first = batch
        self._batch_start = self._now()

    @seldom
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write the means so far, if it is time."""
        self._done += batch + 1 - self._first
        if isinstance(self.update_freq, str) or self._done % self.update_freq:
            return
        speed = {"steps_per_second": self._speed(self._batch_start)}
        told = {**(speed if self.write_steps_per_second else {}), **(logs or {})}
        self._scalars("train", "batch_{}", told, self._done)

    def _batches_to_pass(self) -> int:
        if isinstance(self.update_freq, str):
            return UNLIMITED
        return self.update_freq - self._done % self.update_freq

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write loss, metrics, learning rate and, if it is time, the weights."""
        trained = {k: v for k, v in (logs or {}).items() if not k.startswith("val_")}
        held_out = {k[4:]: v for k, v in (logs or {}).items() if k.startswith("val_")}
        trained["learning_rate"] = self.model.optimizer.learning_rate
        if self.write_steps_per_second:
            trained["steps_per_second"] = self._speed(self._epoch_start)
        self._scalars("train", "epoch_{}", trained, epoch)
        if held_out:
            self._scalars("validation", "epoch_{}", held_out, epoch)
        histograms = self.histogram_freq and epoch % self.histogram_freq == 0
        if histograms:
            self._write_weights(epoch)
        if self.write_health:
            self._write_health(epoch, bool(histograms))
        for writer in self._writers.values():
            writer.flush()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write loss and metrics by the number of updates."""
        updates = self.model.optimizer.iterations
        self._scalars("validation", "evaluation_{}_vs_iterations", logs or {}, updates)

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for variable in self.model.variables:
            values = variable.numpy()
            writer.add_histogram(f"{variable.path}/histogram", values, epoch)
            if self.write_images and values.ndim in (1, 2):
                image = _image(values)
                writer.add_image(f"{variable.path}/image", image, epoch, dataformats="HW")

    def _write_health(self, epoch: int, histograms: bool) -> None:
        from evengrad.doctor import _series

        scalars, spreads = _series.epoch(self._health(), self._health_start.sum())
        self._scalars("train", "{}", scalars, epoch)
        if histograms:
            for name, values in spreads.items():
                self._writer("train").add_histogram(f"{name}/histogram", values, epoch)

    def _release(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _image(values: Any) -> Any:
    """Rows and columns, the wider side across, from black for 0 to white for 1."""
    rows = np.atleast_2d(values)
    rows = rows.T if rows.shape[0] > rows.shape[1] else rows
    return (np.clip(rows, 0.0, 1.0) * 255.0).astype(np.uint8)
