"""Recorded kernels. Arrays are borrowed, never copied or converted: float32 matrices whose rows
start on 64-byte boundaries (`evengrad._arena.tensor` makes them), float32 vectors padded likewise.
What does not fit raises ValueError or TypeError with the name of the argument.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Numbers = NDArray[np.floating | np.integer | np.bool_]

class ActivationInfo:
    """One entry of the activation family."""

    name: str
    formula: str
    needs_input: bool
    parameters: dict[str, float]  # with their defaults
    minimums: dict[str, float]

activations: dict[str, ActivationInfo]

class RowFunction:
    """A loss, or a metric that is a mean over rows."""

    name: str
    formula: str
    overwrites: bool  # x, logits, becomes probabilities
    parameters: dict[str, float]

losses: dict[str, RowFunction]
metrics: dict[str, RowFunction]

def config() -> dict[str, str | int]: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def use_pool() -> None: ...

class Program:
    """A list of kernel calls, recorded once and replayed for each step.

    A batch tensor has shape (capacity * k, columns): k rows a sample.
    """

    capacity: int
    segments: int  # regions of threads in a step: 1, and one more for each call of Python
    def __init__(self, capacity: int) -> None: ...
    def __len__(self) -> int: ...
    def dense_forward(self, x: F32, kernel: F32, bias: F32 | None, y: F32) -> None: ...
    def dense_backward(
        self,
        x: F32,
        kernel: F32,
        dy: F32,
        dkernel: F32 | None,
        dbias: F32 | None,
        dx: F32 | None,
    ) -> None: ...
    def dense_backward_folded(
        self,
        x: F32,
        kernel: F32,
        dy: F32,
        dkernel: F32,
        dbias: F32 | None,
        xhat: F32,
        gamma: F32 | None,
        beta: F32 | None,
        dgamma: F32 | None,
        dbeta: F32 | None,
    ) -> None:
        """Also the gradients of the batch normalization that made x from xhat, gamma and beta."""
    def batch_norm_forward(
        self,
        x: F32,
        gamma: F32 | None,
        beta: F32 | None,
        y: F32,
        mean: F64,
        variance: F64,
        epsilon: float,
        xhat: F32 | None = None,
    ) -> int:
        """Training mode; mean and variance receive the batch's. Returns a handle for backward."""
    def batch_norm_backward(
        self,
        handle: int,
        gamma: F32 | None,
        dy: F32,
        dgamma: F32 | None,
        dbeta: F32 | None,
        dx: F32 | None,
    ) -> None: ...
    def batch_norm_moving(
        self,
        mean: F64,
        variance: F64,
        moving_mean: F64,
        moving_variance: F64,
        count: I64,
        momentum: float,
        debias: bool,
    ) -> None: ...
    def batch_norm_inference(
        self,
        x: F32,
        gamma: F32 | None,
        beta: F32 | None,
        moving_mean: F64,
        moving_variance: F64,
        y: F32,
        epsilon: float,
    ) -> None: ...
    def batch_norm_frozen_backward(
        self, gamma: F32 | None, moving_variance: F64, dy: F32, dx: F32, epsilon: float
    ) -> None:
        """Gradient of batch_norm_inference with respect to x."""
    def activation_forward(
        self, name: str, x: F32, y: F32, parameters: Sequence[float] = ()
    ) -> None: ...
    def activation_backward(
        self,
        name: str,
        x: F32 | None,
        y: F32,
        dy: F32,
        dx: F32,
        parameters: Sequence[float] = (),
    ) -> None: ...
    def prelu_forward(self, x: F32, alpha: F32, y: F32) -> None: ...
    def prelu_backward(
        self, x: F32, alpha: F32, dy: F32, dalpha: F32 | None, dx: F32 | None
    ) -> None: ...
    def softmax_forward(self, x: F32, y: F32) -> None: ...
    def softmax_backward(self, y: F32, dy: F32, dx: F32) -> None: ...
    def log_softmax_forward(self, x: F32, y: F32) -> None: ...
    def log_softmax_backward(self, y: F32, dy: F32, dx: F32) -> None: ...
    def layer_norm_forward(
        self,
        x: F32,
        gamma: F32 | None,
        beta: F32 | None,
        y: F32,
        mean: F64,
        inverse: F64,
        epsilon: float,
    ) -> None:
        """mean and inverse, 1 / sqrt(variance + epsilon), receive one number a row."""
    def layer_norm_backward(
        self,
        x: F32,
        gamma: F32 | None,
        mean: F64,
        inverse: F64,
        dy: F32,
        dgamma: F32 | None,
        dbeta: F32 | None,
        dx: F32 | None,
    ) -> None: ...
    def add(self, a: F32, b: F32, y: F32) -> None: ...
    def affine(
        self, kind: str, x: F32, center: F64, spread: F64, y: F32, gradient: bool = False
    ) -> None:
        """kind: normalize, y = (x - center) / d with d = max(sqrt(spread), 1e-7); denormalize,
        x d + center; scale, x spread + center. Of a gradient the factor alone.
        """
    def dropout(self, x: F32, y: F32, rate: float, layer: int) -> None: ...
    def alpha_dropout(
        self, x: F32, y: F32, rate: float, layer: int, gradient: bool = False
    ) -> None: ...
    def noise(self, x: F32, y: F32, added: float, multiplied: float, layer: int) -> None:
        """y = x + z (added + multiplied x), z normal."""
    def reshape(self, x: F32, y: F32) -> None: ...
    def gather(
        self, x: F32, labels: I32 | None, target: F32 | None, weight: F32 | None
    ) -> None: ...
    def scatter(self, y: F32) -> None: ...
    def copy(self, source: F64, destination: F64) -> None: ...
    def loss(
        self,
        kind: str,
        x: F32,
        labels: I32 | None,
        target: F32 | None,
        weight: F32 | None,
        dx: F32 | None,
        result: F64,
        parameters: Sequence[float] = (),
        reduction: str = "sum_over_batch_size",
        each: F32 | None = None,
    ) -> None:
        """kind: a name in `losses`. result += (reduced loss * rows, rows); with reduction "none"
        the sums of weight * loss and of weight. dx is the gradient of the reduced loss; each
        receives weight * loss of each row.
        """
    def metric(
        self,
        kind: str,
        x: F32,
        labels: I32 | None,
        target: F32 | None,
        weight: F32 | None,
        result: F64,
        parameters: Sequence[float] = (),
    ) -> None:
        """kind: a name in `metrics`. result += (sum of weight * value, sum of weight) over rows."""
    def confusion(
        self,
        x: F32,
        labels: I32 | None,
        target: F32 | None,
        weight: F32 | None,
        thresholds: Sequence[float],
        result: F64,
        top_k: int = 0,
        class_id: int = -1,
        even: bool = False,
        by_column: bool = False,
    ) -> None:
        """result += weights, [columns if by_column][target 0, other][number of thresholds below]:
        of elements, of those of one column where class_id is one. Only the top_k largest of a row
        are above a threshold, 0: all. even: thresholds are i / (n - 1), the ends aside.
        """
    def f_score_sums(
        self,
        x: F32,
        labels: I32 | None,
        target: F32 | None,
        weight: F32 | None,
        result: F64,
        threshold: float = -1.0,
    ) -> None:
        """result += for each column, weighted: predicted and true, predicted, true; then the sum of
        weights and the rows. Predicted is what is above the threshold, below 0 the row's largest.
        """
    def r2_sums(
        self, x: F32, labels: I32 | None, target: F32 | None, weight: F32 | None, result: F64
    ) -> None:
        """result += for each column, weighted: t, t^2, (x - t)^2; then the sum of weights and
        the number of rows.
        """
    def gradient_norms(
        self,
        gradients: Sequence[F32],
        norms: F64,
        clip: str = "none",
        health: F64 | None = None,
    ) -> None:
        """norms[i] receives the sum of squares of gradient i; a non-finite one ends the replay.
        clip is the kind that follows. health receives sums: norms of all gradients, steps that
        clipping changes, steps.
        """
    def auto_clip(
        self,
        norms: F64,
        percentile: float,
        history: F64,
        ordered: F64,
        seen: I64,
        health: F64 | None = None,
    ) -> None:
        """norms[-1], behind those of the variables, receives the percentile of the last
        len(history) norms of all gradients: history is a ring, ordered the same in order.
        """
    def z_clip(
        self,
        norms: F64,
        alpha: float,
        z: float,
        warm_up: int,
        statistic: F64,
        seen: I64,
        health: F64 | None = None,
    ) -> None:
        """norms[-1] receives the threshold from statistic, mean and variance."""
    def unit_clip(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        norms: F64,
        lambdas: F64,
        epsilon: float,
        health: F64 | None = None,
    ) -> None:
        """Clips columns of matrices, and vectors, in place, and does what gradient_norms does."""
    def regularize(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32] | None,
        l1: F64,
        l2: F64,
        per_sample: int,
        result: F64,
    ) -> None:
        """Adds l1 sign(w) + 2 l2 w to the gradients, and the penalties times the rows of a batch
        to result[0].
        """
    def constrain(
        self,
        value: F32,
        kind: str,
        minimum: float = 0.0,
        maximum: float = ...,
        rate: float = 1.0,
    ) -> None:
        """kind: non_negative, or columns, rows, whole for a norm brought towards [minimum,
        maximum]; the columns of a vector are all of it.
        """
    def clip(self, gradients: Sequence[F32], norms: F64, kind: str) -> None:
        """kind: value, norm, global_norm; in place; the threshold is `clip` of the replay.
        adaptive: global_norm with the threshold behind the norms.
        """
    def sgd(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        momenta: Sequence[F32] | None,
        norms: F64,
        clip: str,
        momentum: float,
        nesterov: bool,
        decays: F64 | None = None,
    ) -> None:
        """decays: weight decay of each variable, here and in what follows."""
    def adam(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        slots: Sequence[Sequence[F32]],
        norms: F64,
        clip: str,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        amsgrad: bool,
        decays: F64 | None = None,
    ) -> None: ...
    def rmsprop(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        velocities: Sequence[F32],
        momenta: Sequence[F32] | None,
        means: Sequence[F32] | None,
        norms: F64,
        clip: str,
        rho: float,
        momentum: float,
        epsilon: float,
        decays: F64 | None = None,
    ) -> None: ...
    def python(self, call: Callable[[int], object]) -> None:
        """call(rows) is called between kernels on the thread that replays. False ends the replay as
        a loss that is not finite; what it raises ends it and comes out of it.
        """
    def nadam(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        slots: Sequence[Sequence[F32]],
        norms: F64,
        clip: str,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        decays: F64 | None = None,
    ) -> None: ...
    def adamax(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        slots: Sequence[Sequence[F32]],
        norms: F64,
        clip: str,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        decays: F64 | None = None,
    ) -> None: ...
    def adagrad(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        slots: Sequence[Sequence[F32]],
        norms: F64,
        clip: str,
        epsilon: float,
        decays: F64 | None = None,
    ) -> None: ...
    def adadelta(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        slots: Sequence[Sequence[F32]],
        norms: F64,
        clip: str,
        rho: float,
        epsilon: float,
        decays: F64 | None = None,
    ) -> None: ...
    def lion(
        self,
        values: Sequence[F32],
        gradients: Sequence[F32],
        slots: Sequence[Sequence[F32]],
        norms: F64,
        clip: str,
        beta_1: float,
        beta_2: float,
        decays: F64 | None = None,
    ) -> None: ...
    def accumulate(self, gradients: Sequence[F32], accumulators: Sequence[F32], steps: int) -> None:
        """Makes each gradient accumulator + gradient / steps. Updates are left out from here on but
        in each `steps`-th iteration; t of their formulas counts updates.
        """
    def carry(self, gradients: Sequence[F32], accumulators: Sequence[F32]) -> None:
        """Makes each accumulator the gradient, or 0 in iterations that update."""
    def watch(
        self,
        norms: F64,
        totals: F64,
        before: F64,
        sums: F64,
        steps: F64,
        looks: F64,
        state: I64,
        known: F64,
        outputs: Sequence[tuple[str | None, Sequence[float], F32 | None, F32, float, F32]],
    ) -> int:
        """Adds a row to steps at each update, and to looks at each n-th: n is returned.

        A row of steps: loss, clipped, then for each variable the norms of its gradient, value and
        update; of looks: number of the step, then for each output mean, deviation, shares of zeros
        and of slopes below its limit. state: entries and entries of a row, of steps and of looks,
        and the update to begin at. outputs: activation, parameters, its input if it needs it,
        output, limit, and for each unit the rows whose slope was not below.
        """
    def average(
        self, values: Sequence[F32], averages: Sequence[F32], momentum: float, overwrite: int
    ) -> None:
        """Moving averages of values; at each `overwrite`-th update (0: none) values become them."""
    def begin_part(self) -> int:
        """Make what is recorded from here on a part of its own; return its number. The first part,
        0, is what is there from the start, and all that run_batches runs.
        """
    def run(
        self,
        rows: int,
        *,
        learning_rate: float = 0.0,
        iteration: int = 1,
        clip: float = ...,
        seed: int = 0,
        part: int = 0,
    ) -> None:
        """Replay a part once on what the arrays hold."""
    def run_batches(
        self,
        x: Numbers,
        y: I32 | Numbers | None = None,
        weight: F32 | None = None,
        order: I64 | None = None,
        output: F32 | None = None,
        *,
        first: int,
        steps: int,
        learning_rates: F64 | None = None,
        counter: I64 | None = None,
        clip: float = ...,
        seed: int = 0,
        legal: tuple[float, float] | None = None,
    ) -> int:
        """Replay `steps` batches of `capacity` rows (the last may be shorter) from row `first` of
        the order; returns how many were completed, by which counter[0] grows: fewer only where
        `failure` says why.

        x and targets are floats, integers or bool, adjacent within a row; they are converted as
        they are read, and checked: x has to be finite in float32, targets have to be `legal`, from
        one number to another. With None finite ones are, and float32 is taken as it is.
        """
    @property
    def failure(self) -> tuple[str, int] | None:
        """What ended the last replay early: ("gradient", variable index), ("loss", 0),
        ("label", label), ("index", index), ("call", 0): what a call of Python raised,
        ("input", row of x), ("target", row of y): what is not legal as float32.
        """
