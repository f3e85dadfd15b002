"""Looks: what the layers of a model do to some rows, and the gradients that these give them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _data, _recording, _stack
from evengrad._program import Program
from evengrad.activations.base import Spec
from evengrad.doctor import _slopes
from evengrad.errors import NonFiniteError
from evengrad.layers.base import Layer
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dense import Dense
from evengrad.layers.layer_normalization import LayerNormalization
from evengrad.layers.preprocessing import Normalization
from evengrad.layers.residual import Residual
from evengrad.optimizers import SGD

if TYPE_CHECKING:
    from evengrad.models import Sequential

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_BINS = 32


@dataclass(frozen=True)
class Look:
    """A Dense layer with the activation that follows it, for some rows.

    `scale`: standard deviation of its inputs' products over that which keeps the variance through
    the activation, sqrt(fan_in) std(kernel) / gain. `signal`: how much of the outputs differs from
    row to row, std over rows over root mean square. `rows`: those sums before the activation.
    """

    name: str
    path: str
    units: int
    fan_in: int
    activation: str
    gain: float
    hidden: bool
    skipped: bool  # inside a residual branch
    normalized: str  # "", "before" or "after" its activation
    trainable: bool
    scale: float
    weight: float  # norm of the kernel
    gradient: float  # root mean square, of the loss without penalties
    signal: float
    before: tuple[float, float]  # mean and std of the sums
    mean: float
    spread: float
    zeros: float
    saturated: float
    dead: tuple[int, ...]
    copies: int  # units whose kernel columns are those of another one
    bias: float  # mean square
    applied: Any = field(repr=False)  # the activation
    counts: NDArray[np.intp] = field(repr=False)
    edges: F64 = field(repr=False)


@dataclass(frozen=True)
class Looked:
    """All Dense layers of a model, for some rows; what is not finite, and in which layer."""

    layers: tuple[Look, ...]
    inputs: F32 | None = None  # of the first Dense
    statistics: tuple[tuple[str, float], ...] = ()  # of batch normalizations, see `lag`
    broken: str = ""

    @property
    def hidden(self) -> list[Look]:
        """Those before the last."""
        return [look for look in self.layers if look.hidden]


def run(layer: Layer, x: F32, *, training: bool) -> F32:
    """Return the outputs of one layer."""
    program = Program(len(x), training=training)
    source = _recording.batch_input(program, x.shape[1:], [layer])
    source[...] = x.reshape(source.shape)
    y = layer.record(program, source)
    if len(program):
        program.run(len(x))
    shape = layer.output_shape
    assert shape is not None
    return np.array(y).reshape(len(x), *shape)


def walk(parts: Sequence[Any], x: F32, depth: int = 0) -> Iterator[tuple[Layer, F32, F32, int]]:
    """Yield each layer with its inputs, outputs and the number of branches that it is in.

    Normalizations take the statistics of x; dropout lets everything pass.
    """
    for layer in _stack.flat(parts):
        if isinstance(layer, Residual):
            yield from walk(layer.layers, x, depth + 1)
            if layer.projection is not None:
                yield from walk([layer.projection], x, depth + 1)
        y = run(layer, x, training=isinstance(layer, BatchNormalization) and layer.trainable)
        if not isinstance(layer, Residual):
            yield layer, x, y, depth
        x = y


@dataclass
class _Block:
    """A Dense with what follows it up to the next one."""

    layer: Dense
    inputs: F32
    outputs: F32
    depth: int
    activation: Any = None
    z: F32 | None = None
    y: F32 | None = None
    normalized: str = ""

    def follow(self, layer: Layer, x: F32, y: F32) -> None:
        """Take note of one layer behind."""
        if isinstance(layer, BatchNormalization | LayerNormalization):
            self.normalized = self.normalized or ("after" if self.activation else "before")
        elif self.activation is None and _slopes.activation_of(layer) is not None:
            self.activation, self.z, self.y = _slopes.activation_of(layer), x, y


def _own(block: _Block) -> None:
    """Take the activation of the layer itself, if it has any."""
    layer = block.layer
    if layer.activation == Spec("linear"):
        return
    assert layer.kernel is not None
    z = block.inputs @ np.asarray(layer.kernel.value)
    if layer.bias is not None:
        z = z + layer.bias.value
    block.activation, block.z, block.y = layer.activation, z.astype(np.float32), block.outputs


def _blocks(model: Sequential, x: F32) -> tuple[list[_Block], str]:
    found: list[_Block] = []
    for layer, inputs, outputs, depth in walk(model.layers, x):
        if isinstance(layer, Dense) and not layer.in_python:
            found.append(_Block(layer, inputs, outputs, depth))
            _own(found[-1])
        elif found:
            found[-1].follow(layer, inputs, outputs)
        if not np.isfinite(outputs).all():
            return found, layer.name
    return found, ""


def look(model: Sequential, data: _data.Data) -> Looked:
    """Look at a model that may be changed: the caller's copy."""
    x = np.asarray(data.x, np.float32)
    with np.errstate(all="ignore"):
        blocks, broken = _blocks(model, x)
        lags = () if broken else _lags(model, x)  # before a step moves the statistics
        gradients, unlucky = _gradients(model, data)
    last = _last_dense(model)
    looks = [_look_of(block, gradients, last) for block in blocks]
    inputs = blocks[0].inputs.reshape(len(x), -1) if blocks else None
    return Looked(tuple(looks), inputs, lags, broken or unlucky)


def _last_dense(model: Sequential) -> Dense | None:
    dense = [layer for layer in _stack.flat(model.layers) if isinstance(layer, Dense)]
    return dense[-1] if dense else None


def _gradients(model: Sequential, data: _data.Data) -> tuple[dict[str, float], str]:
    """Root-mean-square gradients by path, of the loss alone."""
    variables = model.trainable_variables
    kept = [(v, v.regularizer) for v in variables]
    optimizer = model.optimizer
    broken = ""
    try:
        for v in variables:
            v.regularizer = None
        model.optimizer = SGD(0.0)
        with contextlib.suppress(NonFiniteError):
            model.train_on_batch(data.x, data.y, data.weight)
        step = model._step(len(data.x), train=True, reuse=True)
    finally:
        model.optimizer = optimizer
        for v, regularizer in kept:
            v.regularizer = regularizer
    sizes = [v.size for v in step.variables]
    squares = np.asarray(step.norms, np.float64)
    roots = np.sqrt(squares / np.maximum(1, sizes)).tolist()
    if not np.isfinite(squares).all():
        broken = step.variables[int(np.argmin(np.isfinite(squares)))].path
    return dict(zip([v.path for v in step.variables], roots, strict=True)), broken


def _look_of(block: _Block, gradients: dict[str, float], last: Dense | None) -> Look:
    layer = block.layer
    assert layer.kernel is not None
    kernel = layer.kernel.numpy().astype(np.float64)
    activation = block.activation or Spec("linear")
    gain = _slopes.gain_of(activation)
    z = block.z if block.z is not None else block.outputs
    y = block.y if block.y is not None else block.outputs
    saturated, dead = _slopes.flatness(activation, z, y)
    rows = y.reshape(-1, y.shape[-1]).astype(np.float64)
    finite = rows[np.isfinite(rows)]
    counts, edges = _histogram(finite)
    size = float(np.sqrt(np.mean(rows**2)))
    return Look(
        name=layer.name,
        path=layer.kernel.path,
        units=layer.units,
        fan_in=kernel.shape[0],
        activation=_slopes.name_of(activation),
        gain=gain,
        hidden=layer is not last,
        skipped=block.depth > 0,
        normalized=block.normalized,
        trainable=layer.trainable and layer.kernel.trainable,
        scale=float(np.sqrt((kernel**2).mean() * kernel.shape[0]) / gain),
        weight=float(np.linalg.norm(kernel)),
        gradient=gradients.get(layer.kernel.path, float("nan")),
        signal=float(np.sqrt(rows.var(axis=0).mean())) / size if size > 0.0 else 0.0,
        before=(float(z.mean(dtype=np.float64)), float(z.std(dtype=np.float64))),
        mean=float(rows.mean()),
        spread=float(rows.std()),
        zeros=float(np.mean(rows == 0.0)),
        saturated=saturated,
        dead=dead,
        copies=_copies(kernel),
        bias=0.0 if layer.bias is None else float(np.mean(np.square(layer.bias.numpy()))),
        applied=activation,
        counts=counts,
        edges=edges,
    )


def _histogram(values: F64) -> tuple[NDArray[np.intp], F64]:
    """Counts in bins of equal width, however close the values are."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    room = max(1e-6 * max(abs(low), abs(high)), 1e-30)
    if high - low < room:
        low, high = low - room, high + room
    return np.histogram(values, _BINS, (low, high))


def _copies(kernel: F64) -> int:
    """Number of columns that another column is equal to, up to a millionth of its size."""
    if kernel.shape[1] < 2:
        return 0
    size = np.abs(kernel).max()
    if size == 0.0:
        return int(kernel.shape[1])
    same = np.round(kernel.T / (size * 1e-6)).astype(np.int64)
    _, counts = np.unique(same, axis=0, return_counts=True)
    return sum(count for count in counts.tolist() if count > 1)


def _lags(model: Sequential, x: F32) -> tuple[tuple[str, float], ...]:
    """How far the moving statistics of each normalization are from those of x, see `lag`.

    The rows come to each layer as they do in inference: lags before it count once, there.
    """
    found = []
    for layer, inputs, _, _ in walk(model.layers, x):
        if isinstance(layer, BatchNormalization):
            found.append((layer.name, lag(layer, inputs)))
    return tuple(found)


def lag(layer: BatchNormalization, x: F32) -> float:
    """Distance of moving from exact statistics: root mean square over units, in deviations."""
    assert layer.moving_mean is not None
    assert layer.moving_variance is not None
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    mean, variance = rows.mean(axis=0), rows.var(axis=0) + layer.epsilon
    moving = layer.moving_variance.storage + layer.epsilon
    shift = (layer.moving_mean.storage - mean) ** 2 / variance
    stretch = 0.25 * np.log(moving / variance) ** 2
    return float(np.sqrt(np.mean(shift + stretch)))


def settle_statistics(model: Sequential, x: F32) -> None:
    """Give normalizations of a copy the statistics of x."""
    with contextlib.suppress(ValueError):
        model.recalibrate(x)


def normalizes_inputs(model: Sequential) -> bool:
    """Whether the first thing that touches the inputs is a normalization."""
    for layer in _stack.flat(model.layers):
        if isinstance(layer, BatchNormalization | LayerNormalization | Normalization):
            return True
        if isinstance(layer, Dense | Residual):
            return False
    return False
