"""Sequential: a stack of layers and what one does with it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import (
    _random,
    _recording,
    _summary,
    _validation,
    losses,
    metrics,
    optimizers,
    training,
)
from evengrad._names import unique_name
from evengrad.callbacks import Callback, CallbackList, History, ProgbarLogger
from evengrad.layers.base import Layer, Shape
from evengrad.layers.input import InputLayer
from evengrad.training import Data

if TYPE_CHECKING:
    from evengrad._program import Program
    from evengrad.variable import Variable

_PREDICTION_ROWS = 256
_PROGRAMS_KEPT = 8


class Sequential:
    """A stack of layers, trained and used as one.

    Parameters
    ----------
    layers : sequence of Layer, optional
        More can be added later. The shape of one sample comes from an `Input` first, from the first
        layer's `input_shape`, or from the first data it sees.
    name : str, optional
        Default: "sequential", numbered.

    Examples
    --------
    >>> import evengrad as keras
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> history = model.fit(x, [1.0, 3.0, 5.0, 7.0], epochs=200, verbose=0)
    >>> model.predict([[10.0]]).round(2)
    array([[21.]], dtype=float32)
    """

    def __init__(self, layers: Sequence[Layer] | None = None, name: str | None = None) -> None:
        self.name = name or unique_name("Sequential")
        self.layers: list[Layer] = []
        self.stop_training = False
        self.skipped_steps = 0
        self.skipped_in_a_row = 0
        self.compiled = False
        self._shape: Shape | None = None
        self._lock = threading.RLock()
        self._programs: dict[tuple[Any, ...], Any] = {}
        self._seed: int | None = None
        for layer in layers or ():
            self.add(layer)

    # -- structure

    def add(self, layer: Layer) -> None:
        """Append a layer."""
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.name}: expected a Layer, got {layer!r}")
        if any(layer.name == other.name for other in self.layers):
            raise ValueError(f"{self.name}: expected layers of different names, got two {layer}")
        if isinstance(layer, InputLayer):
            if self.layers or self._shape is not None:
                raise ValueError(f"{self.name}: expected an Input as the first item only")
            self._shape = layer.declared_shape
            return
        if not self.layers and self._shape is None:
            self._shape = layer.declared_shape
        self.layers.append(layer)
        if self._shape is not None:
            self._build_layers()

    def pop(self) -> Layer:
        """Remove the last layer and return it."""
        if not self.layers:
            raise ValueError(f"{self.name}: there is no layer to remove")
        return self.layers.pop()

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make all variables for samples of this shape; a first None stands for the batch."""
        shape = tuple(input_shape)
        if shape and shape[0] is None:
            shape = shape[1:]
        checked = _validation.check_shape(self.name, "input_shape", shape)
        if self._shape is not None and checked != self._shape:
            raise ValueError(f"{self.name}: expected samples {self._shape}, got {checked}")
        self._shape = checked
        self._build_layers()

    def _build_layers(self) -> None:
        shape = self._shape
        assert shape is not None
        for layer in self.layers:
            layer.build(shape)
            assert layer.output_shape is not None
            shape = layer.output_shape

    @property
    def built(self) -> bool:
        """Whether all variables are made."""
        return self._shape is not None and all(layer.built for layer in self.layers)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, ...) with the shape of a sample."""
        return (None, *self._sample_shape())

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """(None, ...) with the shape of a sample's output."""
        return (None, *self._output_shape())

    def _sample_shape(self) -> Shape:
        if self._shape is None:
            raise ValueError(f"{self.name}: not built; start with Input(shape) or call build")
        return self._shape

    def _output_shape(self) -> Shape:
        shape = self._sample_shape()
        for layer in self.layers:
            shape = layer.compute_output_shape(shape)
        return shape

    @property
    def rows_per_sample(self) -> int:
        """Rows of output for each sample: 1, or more for outputs of several axes."""
        return math.prod(self._output_shape()[:-1])

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer by name or by index."""
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"{self.name}: expected a layer among {known}, got {name!r}")

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print layers, output shapes and numbers of parameters."""
        (print_fn or print)(_summary.text(self))

    # -- variables

    @property
    def variables(self) -> list[Variable]:
        """All variables, layer by layer."""
        return [v for layer in self.layers for v in layer.variables]

    weights = variables

    @property
    def trainable_variables(self) -> list[Variable]:
        """Those that the optimizer updates."""
        return [v for layer in self.layers for v in layer.trainable_variables]

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The others."""
        return [v for layer in self.layers for v in layer.non_trainable_variables]

    non_trainable_weights = non_trainable_variables

    @property
    def trainable(self) -> bool:
        """Whether any layer is; setting it sets all layers."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def count_params(self) -> int:
        """Number of elements of all variables."""
        return sum(layer.count_params() for layer in self.layers)

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Return a copy of each variable, in order."""
        with self._lock:
            return [v.numpy() for v in self.variables]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Overwrite all variables; checked before the first is touched."""
        _validation.check_weights(self.name, weights, self.variables)
        with self._lock:
            rest = list(weights)
            for layer in self.layers:
                count = len(layer.variables)
                layer.set_weights(rest[:count])
                del rest[:count]

    # -- compile

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: str | losses.Loss | None = None,
        metrics: Sequence[str | metrics.Metric] | str | None = None,
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
            For instance "mse".
        metrics : sequence of str or Metric, optional
            "accuracy" resolves to the one that fits loss and outputs.
        on_nonfinite : {"raise", "skip"}
            What a step does that meets NaN or infinity in the loss or a gradient. It is left out in
            any case. "raise" stops with NonFiniteError; "skip" goes on, counts it in
            `model.skipped_steps`, and raises after 10 in a row.
        run_eagerly, steps_per_execution, jit_compile
            Accepted, without effect.
        """
        if on_nonfinite not in ("raise", "skip"):
            raise ValueError(f"compile: expected on_nonfinite 'raise' or 'skip', got {on_nonfinite!r}")
        self.optimizer = optimizers.get(optimizer)
        self.loss = None if loss is None else losses.get(loss)
        self._metrics = [metrics] if isinstance(metrics, str) else list(metrics or ())
        self._resolved: list[Any] | None = None
        self.on_nonfinite = on_nonfinite
        self.compiled = True
        self._programs.clear()

    @property
    def compiled_metrics(self) -> list[metrics.Metric]:
        """The metrics, resolved by the shapes of the model."""
        if self._resolved is None:
            sparse, outputs = self._compiled_loss("metrics").sparse, self._output_shape()[-1]
            self._resolved = [
                metrics.get(m, sparse=sparse, outputs=outputs) for m in self._metrics
            ]
        return self._resolved

    @property
    def metrics_names(self) -> list[str]:
        """Names of what evaluate returns."""
        return ["loss", *(metric.name for metric in self.compiled_metrics)]

    def _compiled_loss(self, who: str) -> losses.Loss:
        if not self.compiled or self.loss is None:
            raise ValueError(f"{who}: call model.compile(optimizer, loss) first")
        return self.loss

    # -- training and use

    @property
    def seed(self) -> int:
        """Seed of the model's draws in training, drawn from the package's when first needed."""
        if self._seed is None:
            self._seed = _random.spawn_seed()
        return self._seed

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | None = None,
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
        callbacks : sequence of Callback, optional
            Called in order.
        validation_split : float in [0, 1)
            Share of the rows, the last ones before shuffling, kept for validation.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Instead of a split.
        shuffle : bool
            A new order each epoch, from the package's generator.
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
        self._compiled_loss("fit")
        count = _validation.check_count
        batch = count("fit", "batch_size", 32 if batch_size is None else batch_size)
        epochs = count("fit", "epochs", epochs, 0)
        initial_epoch = count("fit", "initial_epoch", initial_epoch, 0)
        frequency = count("fit", "validation_freq", validation_freq)
        split = _validation.check_number(
            "fit", "validation_split", validation_split, 0.0, 1.0, open_high=True
        )
        for name, value in (("steps_per_epoch", steps_per_epoch),
                            ("validation_steps", validation_steps)):  # fmt: skip
            if value is not None:
                count("fit", name, value)
        with self._lock:
            data = self._data("fit", x, y, sample_weight, class_weight)
            held_out = None
            if validation_data is not None:
                if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                    raise ValueError("fit: expected validation_data (x, y) or (x, y, sample_weight)")
                held_out = self._data("fit: validation_data", *validation_data)
            elif split:
                kept = int(len(data.x) * (1.0 - split))
                if not 0 < kept < len(data.x):
                    raise ValueError(
                        f"fit: validation_split={split} of {len(data.x)} rows leaves no rows for "
                        + ("training" if kept == 0 else "validation")
                    )
                data, held_out = data.rows(slice(kept)), data.rows(slice(kept, None))
            recording = self._step(batch, train=True)
            validate = None
            if held_out is not None:
                rows = batch if validation_batch_size is None else count(
                    "fit", "validation_batch_size", validation_batch_size
                )
                held = held_out

                def validate() -> dict[str, float]:
                    step = self._step(rows, train=False)
                    return training.evaluate(self, step, held, validation_steps)

            history = History()
            everyone: list[Callback] = [history, *(callbacks or ())]
            if _verbosity("fit", verbose):
                everyone.append(ProgbarLogger(bar=verbose != 2))
            steps = training.steps_per_epoch(data, recording, steps_per_epoch)
            training.fit(
                self,
                data,
                recording=recording,
                epochs=range(initial_epoch, epochs),
                steps=steps_per_epoch,
                shuffle=shuffle,
                callbacks=CallbackList(
                    everyone, self, verbose=verbose, epochs=epochs, steps=steps
                ),
                validate=validate,
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
        self._compiled_loss("train_on_batch")
        with self._lock:
            data = self._data("train_on_batch", x, y, sample_weight, class_weight)
            epoch = training.Epoch(self, self._step(len(data.x), train=True), data, 0)
            epoch.train(1)
            return _results(epoch.logs(), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Return loss and metrics of one batch in inference mode."""
        rows = len(x)
        return self.evaluate(x, y, batch_size=rows, verbose=0, sample_weight=sample_weight,
                             return_dict=return_dict)  # fmt: skip

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
        self._compiled_loss("evaluate")
        rows = _validation.check_count("evaluate", "batch_size", batch_size or _PREDICTION_ROWS)
        with self._lock:
            data = self._data("evaluate", x, y, sample_weight)
            logs = training.evaluate(self, self._step(rows, train=False), data, steps)
        if _verbosity("evaluate", verbose):
            print(" - ".join(f"{name}: {value:.4g}" for name, value in logs.items()), flush=True)
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
        rows = _validation.check_count("predict", "batch_size", batch_size or _PREDICTION_ROWS)
        _verbosity("predict", verbose)
        with self._lock:
            samples = self._samples("predict", x)
            program = self._prediction(min(rows, len(samples)))
            output = np.empty((len(samples), *self._output_shape()), np.float32)
            for first, count in training.chunks(math.ceil(len(samples) / program.capacity)):
                program.run_batches(
                    samples, output=output, first=first * program.capacity, steps=count
                )
        return output

    def predict_on_batch(self, x: Any) -> NDArray[np.float32]:
        """Return the outputs for one batch."""
        return self.predict(x, batch_size=len(x))

    def __call__(self, inputs: Any, training: bool = False) -> NDArray[np.float32]:
        """Run on a batch at once; training=True is training mode, without an update."""
        if not training:
            return self.predict(inputs)
        y = self._samples(self.name, inputs)
        for layer in self.layers:
            y = layer(y, training=True)
        return y

    # -- inside

    def _samples(self, who: str, x: Any) -> NDArray[np.float32]:
        samples = _validation.features(who, "x", x, self._shape)
        if not self.built:
            self.build((None, *samples.shape[1:]))
        return samples

    def _data(
        self, who: str, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> Data:
        loss = self._compiled_loss(who)
        if y is None:
            raise ValueError(f"{who}: expected y, the labels or targets of x, got None")
        samples = self._samples(who, x)
        truth = loss.convert(who, y, len(samples), self._output_shape())
        if sample_weight is not None and class_weight is not None:
            raise ValueError(f"{who}: expected sample_weight or class_weight, not both")
        if sample_weight is not None:
            weight = _validation.sample_weights(who, sample_weight, len(samples))
            return Data(samples, truth, weight)
        if class_weight is not None:
            classes = truth.reshape(len(truth), -1)
            if classes.shape[1] > 1:
                classes = classes.argmax(axis=1)[:, None]
            weight = _validation.class_weights(who, class_weight, classes[:, 0].astype(np.int32))
            return Data(samples, truth, weight)
        return Data(samples, truth)

    def _program(self, key: tuple[Any, ...], record: Callable[[], Any]) -> Any:
        """Return a recording from the cache unless anything that it looked at has changed."""
        structure = tuple((id(layer), layer.version) for layer in self.layers)
        flags = tuple(v.trainable for v in self.variables)
        full = (*key, structure, flags)
        if full not in self._programs:
            while len(self._programs) >= _PROGRAMS_KEPT:
                del self._programs[next(iter(self._programs))]
            self._programs[full] = record()
        return self._programs[full]

    def _prediction(self, rows: int) -> Program:
        program: Program = self._program(
            ("predict", rows),
            lambda: _recording.record_prediction(self.layers, self._sample_shape(), rows),
        )
        return program

    def _step(self, rows: int, *, train: bool) -> _recording.Recording:
        optimizer = self.optimizer if train else None
        loss = self._compiled_loss("fit")
        shape = self._sample_shape()
        recording: _recording.Recording = self._program(
            ("train" if train else "evaluate", rows, optimizer and optimizer.version),
            lambda: _recording.record_step(
                self.layers, shape, rows, loss, self.compiled_metrics, optimizer
            ),
        )
        return recording

    def __repr__(self) -> str:
        return f"<Sequential name={self.name}, built={self.built}>"


def _verbosity(who: str, verbose: str | int) -> bool:
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"{who}: expected verbose 'auto', 0, 1 or 2, got {verbose!r}")
    return verbose != 0


def _results(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
