"""fit, evaluate, predict: what turns a compiled stack of layers into a model one can train."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from evengrad import _arguments, _data, _validation, training
from evengrad._compiled import Compiled
from evengrad.callbacks.base import Callback
from evengrad.callbacks.callback_list import CallbackList
from evengrad.callbacks.history import History

if TYPE_CHECKING:
    from evengrad.models import Sequential

Callbacks = Sequence[Callback] | Callback | None


class Trainer(Compiled):
    """The half of `Sequential` that trains and predicts."""

    history: History  # of the last fit

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Callbacks = None,
        validation_split: float = 0.0,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool | str = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train.

        Parameters
        ----------
        x, y : array_like
            Samples (n, ...) and their class numbers or targets: arrays, lists, frames. All of it is
            checked before the first step; finite float32 arrays are used where they lie.
        batch_size : int, optional
            Samples of a step; the last batch of an epoch may be smaller. Default: 32, or with
            steps_per_epoch as many as make all rows in so many steps.
        epochs : int
            Number of the last epoch.
        verbose : {"auto", 0, 1, 2}
            0: silent. "auto", 1: a progress bar on a terminal where tqdm is installed, else one
            line an epoch. 2: one line an epoch.
        callbacks : Callback or sequence of Callback, optional
            Called in order; see `callbacks.Callback`.
        validation_split : float in [0, 1)
            Share of the rows, the last ones before shuffling, kept for validation.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Instead of a split.
        shuffle : bool or "batch"
            A new order each epoch. "batch", which in Keras changes the order within batches only,
            is the same as False.
        class_weight : dict of float by class, optional
            Weights of samples in training by their class, 1 for a class that is not in it. One-hot
            rows are of the class where they are largest, other targets of the nearest integer.
        sample_weight : array_like (n,), optional
            Weights of samples; not together with class_weight.
        initial_epoch : int
            Number of epochs already done.
        steps_per_epoch, validation_steps : int, optional
            At most so many batches.
        validation_batch_size : int, optional
            Default: batch_size; without that 32, or all rows in validation_steps.
        validation_freq : int or list of int
            Validate every so many epochs, or after those, counted from 1.

        Returns
        -------
        History
            Loss and metrics of each epoch: running means in training mode, `val_` ones in
            inference mode.

        Raises
        ------
        ValueError, TypeError
            Where the data do not fit; nothing has been trained then.
        RuntimeError
            In a callback of `fit` itself.
        NonFiniteError
            See `compile`.
        """
        self.compiled_loss("fit")
        _arguments.check_counts(
            "fit",
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
        )
        through = _arguments.epochs_of(initial_epoch, epochs)
        validates_after = _arguments.schedule_of(validation_freq)
        shuffle = shuffle != "batch" and _validation.check_flag("fit", "shuffle", shuffle)
        show = _arguments.verbosity("fit", verbose)
        with self._lock, self._one_fit():
            _data.check_one_weighing("fit", sample_weight, class_weight)
            data = _data.prepare(self, "fit", x, y, sample_weight)
            data, held_out = _data.split(self, data, validation_split, validation_data)
            data = _data.weighed("fit", data, class_weight)
            batch = batch_size or _arguments.default_rows(len(data.x), steps_per_epoch)
            record = functools.partial(self._step, min(batch, len(data.x)), train=True)

            rows = validation_batch_size or batch_size
            steps = training.steps_per_epoch(data, record(), steps_per_epoch)
            told = {"verbose": verbose, "epochs": epochs, "steps": steps}
            everyone = self._everyone(callbacks, show, add_history=True, **told)
            validate = None
            if held_out is not None:
                validate = functools.partial(
                    self._validate, held_out, rows, validation_steps, everyone
                )
            training.fit(
                self,
                data,
                record=record,
                epochs=through,
                steps=steps,
                shuffle=shuffle,
                callbacks=everyone,
                validate=validate,
                validates_after=validates_after,
            )
        return cast(History, everyone.history)

    @contextmanager
    def _one_fit(self) -> Iterator[None]:
        if self._fitting:
            raise RuntimeError(
                f"{self.name}: expected fit to have ended before it begins again, got it called by "
                "a callback of itself; use train_on_batch there, or another model"
            )
        self._fitting = True
        try:
            yield
        finally:
            self._fitting = False

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Do one update on one batch; return its loss, or [loss, metrics...], or a dict.

        They are of this batch alone: metrics start from 0 at each call.
        """
        self.compiled_loss("train_on_batch")
        return_dict = _validation.check_flag("train_on_batch", "return_dict", return_dict)
        with self._lock:
            data = _data.prepare(self, "train_on_batch", x, y, sample_weight, class_weight)
            with training.Epoch(self, self._step(len(data.x), train=True), data, 0) as epoch:
                epoch.train(1)
                return _arguments.results(epoch.logs(), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Return loss and metrics of one batch in inference mode."""
        return_dict = _validation.check_flag("test_on_batch", "return_dict", return_dict)
        return _arguments.results(self._evaluate("test_on_batch", x, y, sample_weight), return_dict)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callbacks = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss, or [loss, metrics...], or a dict, in inference mode.

        Parameters
        ----------
        x, y, sample_weight : array_like
            As for `fit`.
        batch_size : int, optional
            Samples at a time. Default: with `steps` as many as make all rows; 32 where the result
            or a callback depends on it, as that of a loss that is not a mean over samples does;
            else more.
        verbose : {"auto", 0, 1, 2}
            0: silent. Else one line.
        steps : int, optional
            At most so many batches.
        callbacks : Callback or sequence of Callback, optional
            Called in order; see `callbacks.Callback`.
        return_dict : bool
            Names with the values.

        Raises
        ------
        ValueError, TypeError
            Where the data or an argument do not fit.
        """
        means = self.compiled_loss("evaluate").reduction in ("sum_over_batch_size", "mean")
        return_dict = _validation.check_flag("evaluate", "return_dict", return_dict)
        show = _arguments.verbosity("evaluate", verbose)
        _arguments.check_counts("evaluate", batch_size=batch_size, steps=steps)
        free = means and callbacks is None
        default = _arguments.PREDICTION_ROWS if free else _arguments.ROWS

        def batch(rows: int) -> int:
            return batch_size or _arguments.default_rows(rows, steps, default)

        if callbacks is None and not show:
            logs = self._evaluate("evaluate", x, y, sample_weight, batch, steps)
        else:
            with self._lock, self._calling(callbacks, show, verbose=verbose) as everyone:
                logs = self._evaluate("evaluate", x, y, sample_weight, batch, steps, everyone)
        return _arguments.results(logs, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Callbacks = None,
    ) -> NDArray[np.float32]:
        """Return the outputs (n, ...) for samples (n, ...), in inference mode.

        Parameters
        ----------
        x : array_like
            Samples.
        batch_size : int, optional
            Samples at a time; the outputs do not depend on it but for rounding.
        verbose : {"auto", 0, 1, 2}
            Accepted, without effect.
        steps : int, optional
            At most so many batches of batch_size samples.
        callbacks : Callback or sequence of Callback, optional
            Called in order; see `callbacks.Callback`. Batches are of 32 samples then, by default.
        """
        _arguments.verbosity("predict", verbose)
        rows = _arguments.batch_rows("predict", batch_size)
        _arguments.check_counts("predict", steps=steps)
        if callbacks is None:
            most = None if steps is None or batch_size is None else steps * rows
            return self._predict("predict", x, rows, most)
        with self._lock, self._calling(callbacks, False, verbose=verbose) as everyone:
            samples = _data.samples(self, "predict", x)
            rows = batch_size or _arguments.default_rows(len(samples), steps)
            recorded = self._prediction(min(rows, len(samples)))
            samples = samples[: steps and steps * rows]
            self.stop_predicting = False
            everyone.set_steps(-(-len(samples) // recorded.program.capacity))
            return training.predict("predict", recorded, samples, everyone)

    def _everyone(
        self, callbacks: Callbacks, show: bool, add_history: bool = False, **params: Any
    ) -> CallbackList:
        return CallbackList.of(
            callbacks,
            cast("Sequential", self),
            add_history=add_history,
            add_progbar=show,
            **params,
        )

    @contextmanager
    def _calling(self, callbacks: Callbacks, show: bool, **params: Any) -> Iterator[CallbackList]:
        """Callbacks of evaluate and predict; what `fit` has opened is not closed here."""
        everyone = self._everyone(callbacks, show, epochs=1, **params)
        try:
            yield everyone
        finally:
            if not self._fitting:
                everyone._release()

    def predict_on_batch(self, x: Any) -> NDArray[np.float32]:
        """Return the outputs for one batch."""
        return self._predict("predict_on_batch", x)

    def __call__(self, inputs: Any, training: bool = False) -> NDArray[np.float32]:
        """Run on a batch at once; training=True is training mode, without an update."""
        if not training:
            return self._predict(self.name, inputs)
        y = _data.samples(self, self.name, inputs)
        for layer in self.layers:
            y = layer(y, training=True)
        return y

    def _validate(
        self, data: _data.Data, rows: int | None, steps: int | None, callbacks: CallbackList
    ) -> dict[str, Any]:
        batch = rows or _arguments.default_rows(len(data.x), steps)
        step = self._step(min(batch, len(data.x)), train=False)
        return training.evaluate(self, step, data, steps, callbacks)

    # -- inside; without `batch` or `rows` all in one

    def _evaluate(
        self,
        who: str,
        x: Any,
        y: Any,
        weight: Any,
        batch: Callable[[int], int] = int,
        steps: int | None = None,
        callbacks: CallbackList | None = None,
    ) -> dict[str, Any]:
        self.compiled_loss(who)
        with self._lock:
            data = _data.prepare(self, who, x, y, weight)
            step = self._step(min(batch(len(data.x)), len(data.x)), train=False)
            if callbacks is not None:
                callbacks.set_steps(training.steps_per_epoch(data, step, steps))
            return training.evaluate(self, step, data, steps, callbacks)

    def _predict(
        self, who: str, x: Any, rows: int | None = None, most: int | None = None
    ) -> NDArray[np.float32]:
        with self._lock:
            samples = _data.samples(self, who, x)
            if most is not None:
                samples = samples[:most]
            recorded = self._prediction(min(rows or len(samples), len(samples)))
            return training.predict(who, recorded, samples)
