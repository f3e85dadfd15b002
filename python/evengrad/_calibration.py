"""What a model takes from data besides training: LSUV kernels, exact moving statistics."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from evengrad import (
    _arguments,
    _data,
    _feed,
    _recording,
    _sources,
    _stack,
    _validation,
    initializers,
    training,
)
from evengrad._trainer import Trainer
from evengrad.layers.base import Layer
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dense import Dense
from evengrad.layers.residual import Residual

if TYPE_CHECKING:
    from evengrad._stack import Part

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_PIECE = 1 << 18  # elements converted at a time: temporaries stay in cache


class Calibrated(Trainer):
    """The part of `Sequential` that walks through the layers with data."""

    def lsuv(
        self,
        x: Any,
        tolerance: float = 0.1,
        max_iterations: int = 10,
        batch_size: int | None = None,
    ) -> dict[str, float]:
        """Initialize kernels so that every Dense gives outputs of variance 1 for these samples.

        Layer by layer from the first: the kernel is drawn orthonormal, then divided by the standard
        deviation of the outputs, over samples and units and before the activation, until the
        variance is within the tolerance of 1.

        Parameters
        ----------
        x : array_like (n, ...)
            Samples as the model will see them, some hundred or more.
        tolerance : float in (0, 1)
            Largest distance of a variance from 1, default 0.1, as in the paper.
        max_iterations : int
            Largest number of divisions of one kernel, default 10. Without biases one is enough.
        batch_size : int, optional
            Samples at a time, default 256; results do not depend on it but for rounding. The
            outputs of one layer for all samples are held in memory.

        Returns
        -------
        dict of float
            The variance that each layer's outputs have now, by the layer's name; where that is
            taken already by the path of its variables.

        Raises
        ------
        ValueError
            If outputs of a layer are not finite, all equal, or do not come within the tolerance.
            The model is as before then.

        Notes
        -----
        Biases and all other weights stay as they are, and so do kernels that are not trainable.
        Between the layers signals go as at the first step of training on all of x: batch
        normalization takes the statistics of x (its moving ones are not touched), dropout lets
        everything pass. Kernels come from the package's generator
        (`evengrad.utils.set_random_seed`).

        References
        ----------
        .. [1] Mishkin, Matas 2015, "All you need is a good init", arXiv:1511.06422

        Examples
        --------
        >>> import numpy as np
        >>> import evengrad as keras
        >>> model = keras.Sequential([keras.layers.Dense(20, "gelu") for _ in range(30)])
        >>> x = np.random.default_rng(0).standard_normal((100, 50))
        >>> max(abs(variance - 1.0) for variance in model.lsuv(x).values()) < 0.1
        True
        """
        check = _validation.check_number
        tolerance = check("lsuv", "tolerance", tolerance, 0.0, 1.0, open_low=True, open_high=True)
        most = _validation.check_count("lsuv", "max_iterations", max_iterations)
        rows = _arguments.batch_rows("lsuv", batch_size)
        reached: dict[str, float] = {}
        with self._lock:
            samples = _data.checked_samples(self, "lsuv", x)
            normalizations = [
                array
                for part in _stack.every(self.layers)
                if isinstance(part, BatchNormalization) and _normalizes(part)
                for array in part.live_arrays
            ]
            with _put_back(_state(self.layers), always=False), _put_back(normalizations):
                for layer, inputs in _walk(self.layers, samples, rows, _is_scaled, _normalizes):
                    if isinstance(layer, BatchNormalization):
                        layer.set_moving(*_moments_of(layer, inputs, "lsuv"))
                    else:
                        dense = cast("Dense", layer)
                        variance = _scale(dense, inputs, rows, tolerance, most)
                        reached[_name_among(reached, dense)] = variance
        return reached

    def recalibrate(self, x: Any, batch_size: int | None = None) -> None:
        """Replace the moving statistics of every BatchNormalization by exact ones over x.

        Mean and (biased) variance of each layer's inputs over all samples, from the first layer on:
        what comes before a layer is normalized with exact statistics already.

        Parameters
        ----------
        x : array_like (n, ...)
            Samples, usually those of training.
        batch_size : int, optional
            Samples at a time, default 256; results do not depend on it but for rounding. The
            outputs of one layer for all samples are held in memory.

        Raises
        ------
        ValueError
            If inputs of a layer are not finite. The model is as before then.

        Notes
        -----
        Layers with `trainable=False` are included. In later training the statistics count as old:
        each batch weighs 1 - momentum.

        Sums are float64 around the mean of some rows, combined as in [1]_.

        References
        ----------
        .. [1] Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance",
           doi:10.1080/00031305.1983.10483115

        Examples
        --------
        >>> import evengrad as keras
        >>> model = keras.Sequential([keras.layers.BatchNormalization()])
        >>> model.recalibrate([[1.0], [3.0], [5.0]])
        >>> [round(float(weight[0]), 3) for weight in model.get_weights()[2:]]
        [3.0, 2.667]
        """
        rows = _arguments.batch_rows("recalibrate", batch_size)
        with self._lock:
            samples = _data.checked_samples(self, "recalibrate", x)
            with _put_back(_state(self.layers), always=False):
                for layer, inputs in _walk(self.layers, samples, rows, _has_statistics):
                    normalization = cast("BatchNormalization", layer)
                    normalization.set_moving(*_moments_of(layer, inputs, "recalibrate"))


def _name_among(taken: Container[str], layer: Dense) -> str:
    assert layer.kernel is not None
    return layer.kernel.path.rpartition("/")[0] if layer.name in taken else layer.name


def _has_statistics(layer: Layer) -> bool:
    return isinstance(layer, BatchNormalization)


def _normalizes(layer: Layer) -> bool:
    """Whether training takes the statistics of the batch."""
    return isinstance(layer, BatchNormalization) and layer.trainable


def _is_scaled(layer: Layer) -> bool:
    if not isinstance(layer, Dense) or layer.in_python or not layer.trainable:
        return False
    return layer.kernel is not None and layer.kernel.trainable


def _state(layers: Sequence[Part]) -> list[NDArray[Any]]:
    return [array for layer in layers for array in layer.live_arrays]


@contextmanager
def _put_back(arrays: Sequence[NDArray[Any]], *, always: bool = True) -> Iterator[None]:
    """Give arrays their values back in the end, or only where it ends with an error."""
    before = [array.copy() for array in arrays]
    failed = True
    try:
        yield
        failed = False
    finally:
        if failed or always:
            for array, values in zip(arrays, before, strict=True):
                array[...] = values


def _walk(
    parts: Sequence[Part], x: F32, rows: int, *stops: Callable[[Layer], bool]
) -> Iterator[tuple[Layer, F32]]:
    """Yield each layer that one of `stops` says yes to, with its inputs for the samples x.

    A layer may be changed when it is yielded: what follows sees it.
    """
    begin, layers = 0, _stack.flat(parts)
    for i, layer in enumerate(layers):
        if isinstance(layer, Residual):
            x = _outputs(layers[begin:i], x, rows)
            begin = i
            yield from _walk(layer.layers, x, rows, *stops)
            if layer.projection is not None:
                yield from _walk([layer.projection], x, rows, *stops)
        elif any(stop(layer) for stop in stops):
            x = _outputs(layers[begin:i], x, rows)
            begin = i
            yield layer, x


def _outputs(layers: Sequence[Layer], x: F32, rows: int, linear: Layer | None = None) -> F32:
    """Outputs in inference mode, of the layer `linear` before its activation."""
    if not layers:
        return x
    legal = None if _sources.readable(x) else _sources.FINITE
    feed = _feed.Arrays("lsuv", _data.Data(x, legal=legal), rows)
    recorded = _recording.record_prediction(layers, x.shape[1:], feed.capacity, linear)
    return training.predict(lambda _: recorded, feed)


def _scale(layer: Dense, inputs: F32, rows: int, tolerance: float, most: int) -> float:
    """Give an orthonormal kernel the scale that brings outputs to variance 1; return theirs."""
    assert layer.kernel is not None
    kernel = initializers.Orthogonal()(layer.kernel.shape).astype(np.float64)
    for done in range(most + 1):
        layer.kernel.value[...] = kernel
        variance = _variance_of(layer, _outputs([layer], inputs, rows, linear=layer))
        if abs(variance - 1.0) < tolerance:
            return variance
        if done == most:
            break
        kernel /= np.sqrt(variance)
        if not np.abs(kernel).max() <= np.finfo(np.float32).max:
            raise ValueError(
                f"lsuv: {layer} cannot be scaled, its outputs have variance {variance:.3g}. Scale "
                "the inputs or normalize them."
            )
    raise ValueError(
        f"lsuv: the outputs of {layer} have variance {variance:.3g} after {most} divisions, "
        f"expected within {tolerance:g} of 1. Start with bias_initializer='zeros', or raise "
        "max_iterations or tolerance."
    )


def _variance_of(layer: Layer, outputs: F32) -> float:
    mean, variance = moments(outputs.reshape(-1, outputs.shape[-1]))
    total = float(variance.mean() + mean.var())
    if not np.isfinite(total):
        raise ValueError(
            f"lsuv: the outputs of {layer} are not finite. Scale the inputs or normalize them."
        )
    if total == 0.0:
        raise ValueError(
            f"lsuv: the outputs of {layer} are all equal for these samples, nothing scales them to "
            "variance 1. Pass samples that differ, or look at what comes before."
        )
    return total


def _moments_of(layer: Layer, inputs: F32, who: str) -> tuple[F64, F64]:
    mean, variance = moments(inputs.reshape(-1, inputs.shape[-1]))
    largest = np.finfo(np.float32).max
    if not ((np.abs(mean) <= largest) & (variance <= largest)).all():
        raise ValueError(
            f"{who}: mean and variance of the inputs of {layer} are beyond the range of float32 "
            "(3.4e38). Scale the samples."
        )
    return mean, variance


def moments(x: F32) -> tuple[F64, F64]:
    """Mean and biased variance of each column, in float64.

    Of distances from the first row, which are exact; within pieces of rows around their mean, then
    piece by piece: two groups of n and m rows whose means differ by d have together
    d^2 n m / (n + m) more squares than each around its own.
    """
    origin = x[0].astype(np.float64)
    count, mean, squares = 0, np.zeros_like(origin), np.zeros_like(origin)
    step = max(1, _PIECE // x.shape[1])
    with np.errstate(invalid="ignore"):  # infinities; the caller looks at what came of them
        for begin in range(0, len(x), step):
            piece = x[begin : begin + step] - origin
            center = piece.mean(axis=0)
            piece -= center
            more = len(piece)
            distance = center - mean
            squares += np.square(piece).sum(axis=0) + distance**2 * (count * more / (count + more))
            mean += distance * (more / (count + more))
            count += more
    return origin + mean, squares / count
