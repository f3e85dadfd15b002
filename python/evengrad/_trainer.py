"""fit, evaluate, predict: what turns a compiled stack of layers into a model one can train."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _data, _validation, training
from evengrad._compiled import Compiled
from evengrad.callbacks import (
    Callback,
    CallbackList,
    History,
    Logs,
    ProgbarLogger,
    checked_callbacks,
    text_of,
)

_PREDICTION_ROWS = 256


class Trainer(Compiled):
    """The half of `Sequential` that trains and predicts."""

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train.

        Parameters
        ----------
        x, y : array_like
            Samples (n, ...) and their class numbers or targets: arrays, lists, frames. All of it is
            checked before the first step; finite float32 arrays are used where they lie.
        batch_size : int
            Samples of a step, default 32; the last batch of an epoch may be smaller.
        epochs : int
            Number of the last epoch.
        verbose : {"auto", 0, 1, 2}
            0: silent. "auto", 1: a progress bar on a terminal where tqdm is installed, else one
            line an epoch. 2: one line an epoch.
        callbacks : Callback or sequence of Callback, optional
            Called in order.
        validation_split : float in [0, 1)
            Share of the rows, the last ones before shuffling, kept for validation.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Instead of a split.
        shuffle : bool
            A new order each epoch.
        class_weight : dict of float by class, optional
            Weights of samples by their class.
        sample_weight : array_like (n,), optional
            Weights of samples; not together with class_weight.
        initial_epoch : int
            Number of epochs already done.
        steps_per_epoch, validation_steps : int, optional
            At most so many batches.
        validation_batch_size : int, optional
            Default: batch_size.
        validation_freq : int
            Validate every so many epochs.

        Returns
        -------
        History
            Loss and metrics of each epoch: running means in training mode, `val_` ones in
            inference mode.

        Raises
        ------
        ValueError, TypeError
            Where the data do not fit; nothing has been trained then.
        NonFiniteError
            See `compile`.
        """
        self.compiled_loss("fit")
        count = _validation.check_count
        batch = count("fit", "batch_size", 32 if batch_size is None else batch_size)
        epochs = count("fit", "epochs", epochs, 0)
        initial_epoch = count("fit", "initial_epoch", initial_epoch, 0)
        frequency = count("fit", "validation_freq", validation_freq)
        if steps_per_epoch is not None:
            count("fit", "steps_per_epoch", steps_per_epoch)
        if validation_steps is not None:
            count("fit", "validation_steps", validation_steps)
        rows = batch
        if validation_batch_size is not None:
            rows = count("fit", "validation_batch_size", validation_batch_size)
        show = _verbosity("fit", verbose)
        with self._lock:
            data = _data.prepare(self, "fit", x, y, sample_weight, class_weight)
            data, held_out = _data.split(self, data, validation_split, validation_data)
            record = functools.partial(self._step, min(batch, len(data.x)), train=True)

            def validate() -> dict[str, Any]:
                assert held_out is not None
                step = self._step(min(rows, len(held_out.x)), train=False)
                return training.evaluate(self, step, held_out, validation_steps)

            history = History()
            everyone: list[Callback] = [history, *checked_callbacks(callbacks)]
            if show:
                everyone.append(ProgbarLogger(bar=verbose != 2))
            steps = training.steps_per_epoch(data, record(), steps_per_epoch)
            params = {"verbose": verbose, "epochs": epochs, "steps": steps}
            training.fit(
                self,
                data,
                record=record,
                epochs=range(initial_epoch, epochs),
                steps=steps,
                shuffle=shuffle,
                callbacks=CallbackList(everyone, self, params),
                validate=validate if held_out is not None else None,
                validation_freq=frequency,
            )
        return history

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Do one update on one batch; return its loss, or [loss, metrics...], or a dict."""
        self.compiled_loss("train_on_batch")
        with self._lock:
            data = _data.prepare(self, "train_on_batch", x, y, sample_weight, class_weight)
            epoch = training.Epoch(self, self._step(len(data.x), train=True), data, 0)
            epoch.train(1)
            return _results(epoch.logs(), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Return loss and metrics of one batch in inference mode."""
        return _results(self._evaluate("test_on_batch", x, y, sample_weight), return_dict)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss, or [loss, metrics...], or a dict, in inference mode."""
        self.compiled_loss("evaluate")
        show = _verbosity("evaluate", verbose)
        rows = batch_rows("evaluate", batch_size)
        if steps is not None:
            _validation.check_count("evaluate", "steps", steps)
        logs = self._evaluate("evaluate", x, y, sample_weight, rows, steps)
        if show:
            print(text_of(logs), flush=True)
        return _results(logs, return_dict)

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: str | int = "auto"
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
        """
        _verbosity("predict", verbose)
        return self._predict("predict", x, batch_rows("predict", batch_size))

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

    # -- inside; rows None: all in one batch

    def _evaluate(
        self,
        who: str,
        x: Any,
        y: Any,
        weight: Any,
        rows: int | None = None,
        steps: int | None = None,
    ) -> dict[str, Any]:
        self.compiled_loss(who)
        with self._lock:
            data = _data.prepare(self, who, x, y, weight)
            step = self._step(min(rows or len(data.x), len(data.x)), train=False)
            return training.evaluate(self, step, data, steps)

    def _predict(self, who: str, x: Any, rows: int | None = None) -> NDArray[np.float32]:
        with self._lock:
            samples = _data.samples(self, who, x)
            recorded = self._prediction(min(rows or len(samples), len(samples)))
            return training.predict(who, recorded, samples)


def batch_rows(who: str, batch_size: int | None) -> int:
    """Samples at a time of what runs in inference mode."""
    if batch_size is None:
        return _PREDICTION_ROWS
    return _validation.check_count(who, "batch_size", batch_size)


def _verbosity(who: str, verbose: str | int) -> bool:
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"{who}: expected verbose 'auto', 0, 1 or 2, got {verbose!r}")
    return verbose != 0


def _results(logs: Logs, return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
