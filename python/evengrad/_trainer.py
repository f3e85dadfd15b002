"""fit, evaluate, predict: what turns a compiled stack of layers into a model one can train."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from evengrad import (
    _arguments,
    _data,
    _dataset,
    _feed,
    _inputs,
    _validation,
    training,
)
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
            Samples (n, ...) and their class numbers or targets: arrays, lists, tables of pandas or
            polars. What is in memory is checked before the first step. Arrays of floats, integers
            or bool are used where they lie (small ones of other dtypes than float32 are converted
            once); memory maps too, and they are checked as they are read, batch by batch.
            Or x alone: a generator, a `utils.PyDataset`, or another object that hands out batches
            (x, y) or (x, y, sample_weight). They may differ in size, and are checked as they come.
        batch_size : int, optional
            Samples of a step; the last batch of a pass may be smaller. Default: 32, or with
            steps_per_epoch as many as make all rows in so many steps. Not for objects that hand out
            batches.
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
            Instead of a split. Or an object that hands out batches.
        shuffle : bool or "batch"
            A new order for each pass over arrays, or over the batches of a PyDataset. "batch",
            which in Keras changes the order within batches only, is the same as False.
        class_weight : dict of float by class, optional
            Weights of samples in training by their class, 1 for a class that is not in it. One-hot
            rows are of the class where they are largest, other targets of the nearest integer.
        sample_weight : array_like (n,), optional
            Weights of samples; not together with class_weight.
        initial_epoch : int
            Number of epochs already done.
        steps_per_epoch : int, optional
            Batches of an epoch. The next one goes on where it ended; where a pass over the data
            ends earlier, the epoch does, with a warning. A generator that has ended ends training.
        validation_steps : int, optional
            Batches of a validation, from the first on; of a generator the next ones.
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
            split = _validation.check_number(
                "fit", "validation_split", validation_split, 0.0, 1.0, open_high=True
            )
            feed, held_out = _inputs.feed_of(
                self, "fit", x, y, sample_weight, class_weight,
                batch_size=batch_size, steps=steps_per_epoch,
                order=self._permutation if shuffle else None,
                split=0.0 if validation_data is not None else split, warn=True,
            )  # fmt: skip
            check = _inputs.held_out_of(
                self, held_out, validation_data,
                batch_size=validation_batch_size or batch_size, steps=validation_steps,
            )  # fmt: skip
            told = {"verbose": verbose, "epochs": epochs, "steps": feed.steps}
            self._watching = everyone = self._everyone(callbacks, show, add_history=True, **told)
            self.history.batch_size = None if feed.of_batch else feed.capacity
            validate = functools.partial(self._evaluated, check, everyone) if check else None
            training.fit(
                self,
                feed,
                record=functools.partial(self._step, train=True),
                epochs=through,
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
            self._fitting, self._watching = False, None

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
            feed = _feed.Arrays("train_on_batch", data, len(data.x))
            record = functools.partial(self._step, train=True, reuse=True)
            with training.Epoch(self, record, feed) as epoch:
                feed.begin()
                epoch.train(1)
                return _arguments.results(epoch.logs(), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Return loss and metrics of one batch in inference mode."""
        self.compiled_loss("test_on_batch")
        return_dict = _validation.check_flag("test_on_batch", "return_dict", return_dict)
        with self._lock:
            data = _data.prepare(self, "test_on_batch", x, y, sample_weight)
            feed = _feed.Arrays("test_on_batch", data, len(data.x))
            return _arguments.results(self._evaluated(feed, reuse=True), return_dict)

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
            0: silent. "auto", 1: a bar on a terminal where tqdm is installed, else one line. 2: one
            line.
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
        with self._lock:
            feed, _ = _inputs.feed_of(
                self, "evaluate", x, y, sample_weight, batch_size=batch_size, steps=steps,
                default=_arguments.PREDICTION_ROWS if free else _arguments.ROWS,
            )  # fmt: skip
            if callbacks is None and not show:
                logs = self._evaluated(feed)
            else:
                with self._calling(callbacks, show, verbose=verbose, steps=feed.steps) as everyone:
                    logs = self._evaluated(feed, everyone)
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
            Samples; or an object that hands out batches, see `fit`: x, (x,) and so on, whose
            outputs are returned one after the other.
        batch_size : int, optional
            Samples at a time; the outputs do not depend on it but for rounding.
        verbose : {"auto", 0, 1, 2}
            Accepted, without effect.
        steps : int, optional
            At most so many batches.
        callbacks : Callback or sequence of Callback, optional
            Called in order; see `callbacks.Callback`. Batches are of 32 samples then, by default.
        """
        _arguments.verbosity("predict", verbose)
        _arguments.check_counts("predict", batch_size=batch_size, steps=steps)
        with self._lock:
            if callbacks is None and not _dataset.hands_out_batches(x):
                return self._predicted("predict", x, batch_size, steps)
            feed = _inputs.inputs_of(self, "predict", x, batch_size, steps)
            if callbacks is None:
                return training.predict(self._prediction, feed)
            self.stop_predicting = False
            with self._calling(callbacks, False, verbose=verbose, steps=feed.steps) as everyone:
                return training.predict(self._prediction, feed, everyone)

    def _everyone(
        self, callbacks: Callbacks, show: bool, add_history: bool = False, **params: Any
    ) -> CallbackList:
        return CallbackList.of(
            callbacks, cast("Sequential", self), add_history=add_history, add_progbar=show, **params
        )

    @contextmanager
    def _calling(self, callbacks: Callbacks, show: bool, **params: Any) -> Iterator[CallbackList]:
        """Callbacks of evaluate and predict; what `fit` has opened is not closed here."""
        everyone = self._everyone(callbacks, show, epochs=1, **params)
        try:
            yield everyone
        finally:
            everyone._release_all_but(self._watching)

    def predict_on_batch(self, x: Any) -> NDArray[np.float32]:
        """Return the outputs for one batch."""
        with self._lock:
            return self._predicted("predict_on_batch", x, at_once=True)

    def __call__(self, inputs: Any, training: bool = False) -> NDArray[np.float32]:
        """Run on a batch at once; training=True is training mode, without an update."""
        if not training:
            with self._lock:
                return self._predicted(self.name, inputs, at_once=True)
        y = _data.samples(self, self.name, inputs).array
        for layer in self.layers:
            y = layer(y, training=True)
        return y

    def _evaluated(
        self, feed: _feed.Feed, callbacks: CallbackList | None = None, *, reuse: bool = False
    ) -> dict[str, Any]:
        record = functools.partial(self._step, train=False, reuse=reuse)
        return training.evaluate(self, record, feed, callbacks)

    def _predicted(
        self,
        who: str,
        x: Any,
        batch_size: int | None = None,
        steps: int | None = None,
        *,
        at_once: bool = False,
    ) -> NDArray[np.float32]:
        source = _data.samples(self, who, x)
        rows = len(source.array)
        each = rows if at_once else batch_size
        each = each or _arguments.default_rows(rows, steps, _arguments.PREDICTION_ROWS)
        if source.checked and rows <= each and steps is None:
            recorded = self._prediction(rows, reuse=at_once)
            return training.predict_batch(who, recorded, source.array)
        return training.predict(self._prediction, _inputs.rows_of(who, source, each, steps))
