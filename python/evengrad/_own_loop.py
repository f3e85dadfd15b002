"""forward, backward and step: training in loops of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evengrad import _data, _recording, _sources, _stack, _validation
from evengrad._pass import Gone, Pass, State
from evengrad._program import Program
from evengrad._trainer import Trainer
from evengrad.training import MOST_SKIPPED

if TYPE_CHECKING:
    from evengrad._core import F32
    from evengrad.optimizers import Optimizer
    from evengrad.variable import Variable

_SEEDS = 1 << 64
_APART = 0x9E3779B97F4A7C15  # between the seeds of passes of one step: 2^64 over the golden ratio


class OwnLoop(Trainer):
    """The part of `Sequential` for loops of the user's own."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._loop = State()

    def forward(self, x: Any, training: bool = True) -> NDArray[np.float32]:
        """Return the outputs for a batch, and keep what `backward` needs.

        Parameters
        ----------
        x : array_like (n, ...)
            Samples, of any number.
        training : bool
            True, the default: as in a step of `fit`, with dropout, the statistics of the batch and
            moving statistics that follow it. False: as `predict`, with a way back to the inputs.

        Returns
        -------
        ndarray (n, ...)
            Your own.

        Raises
        ------
        ValueError, TypeError
            If the samples do not fit or are not finite.

        Notes
        -----
        Moving statistics of batch normalization move at once, by outputs that are finite; variables
        wait for `optimizer.step`. Each pass in training mode draws random numbers of its own.

        Examples
        --------
        >>> import numpy as np
        >>> import evengrad as keras
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
        >>> model.compile(keras.optimizers.SGD(0.1))
        >>> x = np.array([[0.0], [1.0], [2.0]])
        >>> for _ in range(200):  # minimizes the mean of (y - 3 x)^2
        ...     y = model.forward(x)
        ...     dx = model.backward(2.0 * (y - 3.0 * x) / len(x))
        ...     updated = model.optimizer.step()
        >>> model.predict([[10.0]]).round(1)
        array([[30.]], dtype=float32)
        """
        training = _validation.check_flag("forward", "training", training)
        with self._lock:
            self._loop.gone = None
            samples = _sources.converted(_data.checked_samples(self, "forward", x))
            way = self._way(len(samples), training=training)
            updates = self._updates()
            seed = 0
            if training:
                seed = (self.seed + _APART * self._loop.passes) % _SEEDS
                self._loop.passes += 1
            y = way.forward(samples, updates + 1, seed)
            self._loop.gone = Gone(way, samples, y.shape, training, updates, updates + 1, seed)
            return y

    def backward(
        self, dy: Any, need_dx: bool = True, accumulate: bool = False
    ) -> NDArray[np.float32] | None:
        """Return the gradient of the inputs of the last `forward`, and keep that of the variables.

        Parameters
        ----------
        dy : array_like (n, ...)
            Derivative of what is minimized by the outputs of the last `forward`. Gradients are sums
            over the batch: for a mean divide by its size.
        need_dx : bool
            False leaves the gradient of the inputs out, which saves its time.
        accumulate : bool
            Gradients of the variables replace those of the last call, or with True are added to
            them, if there has been no step since.

        Returns
        -------
        ndarray (n, ...) or None
            Gradient of the inputs, your own.

        Raises
        ------
        ValueError, TypeError
            If dy does not fit the last `forward`, or there is none, or the optimizer has updated
            the weights since.

        Notes
        -----
        The kept outputs of layers are those of `forward`, and the weights are read as they are: do
        not change them by hand in between. One forward may be followed by several calls. After
        `forward(x, training=False)` there are gradients of the inputs only. Penalties of
        regularizers are added by the step.

        Examples
        --------
        >>> import evengrad as keras
        >>> layer = keras.layers.Dense(1, kernel_initializer="ones", input_shape=(2,))
        >>> model = keras.Sequential([layer])
        >>> y = model.forward([[1.0, 2.0], [3.0, 4.0]])
        >>> model.backward([[1.0], [10.0]])
        array([[ 1.,  1.],
               [10., 10.]], dtype=float32)
        >>> model.gradients[layer.kernel]
        array([[31.],
               [42.]], dtype=float32)
        """
        need_dx = _validation.check_flag("backward", "need_dx", need_dx)
        accumulate = _validation.check_flag("backward", "accumulate", accumulate)
        with self._lock:
            gone = self._last_forward()
            array = _validation.as_float32("backward", "dy", dy)
            if array.shape != gone.shape:
                raise ValueError(
                    f"backward: expected dy of shape {gone.shape}, as the outputs of the last "
                    f"forward, got {array.shape}"
                )
            if not gone.training:
                return gone.way.backward(array, gone.iteration, gone.seed, need_dx=need_dx)
            kept = self._kept_gradients() if accumulate else {}
            self._loop.waits, self._loop.received = False, ()  # until they are there
            dx = gone.way.backward(array, gone.iteration, gone.seed, need_dx=need_dx)
            self._receive(gone.way.program.gradients, kept, array)
            self._loop.need_dx, self._loop.added = need_dx, bool(kept)
            return dx

    @property
    def gradients(self) -> dict[Variable, NDArray[np.float32]]:
        """The gradients that `backward` left, by variable, before penalties and clipping.

        They are live: what is written into them takes part in the step, which uses them up.
        """
        memory, found = self._loop.memory, set(self._loop.received)
        if not found:
            raise ValueError(
                f"{self.name}: there are no gradients of variables; call forward(x) in training "
                "mode and backward(dy) first"
            )
        return {v: memory[v].reshape(v.shape) for v in self.variables if v in found}

    @property
    def waits_for_step(self) -> bool:
        """Whether there are gradients that no step has used."""
        return self._loop.waits

    # -- inside

    def _way(self, rows: int, *, training: bool) -> Pass:
        """Recorded for a power of two of samples, so that batches may differ in size."""
        capacity = 1 << (rows - 1).bit_length()

        def record() -> Pass:
            shapes = self.sample_shape(), self.sample_output_shape()
            layers = _stack.flat(self.layers)
            program = Program(capacity, training=training, differentiable=True)
            return Pass(layers, shapes, self._loop.memory, program)

        return self._programs.get(("pass", capacity, training), self.layers, record)

    def _updates(self) -> int:
        """Number of steps that the optimizer, if any, has done."""
        optimizer: Optimizer | None = getattr(self, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.counter[0])

    def _last_forward(self) -> Gone:
        gone = self._loop.gone
        if gone is None:
            raise ValueError(f"{self.name}: backward needs a forward before it; call forward(x)")
        if gone.updates != self._updates():
            raise ValueError(
                f"{self.name}: the weights have been updated since the last forward; call "
                "forward(x) again before backward"
            )
        return gone

    def _kept_gradients(self) -> dict[Variable, F32]:
        loop = self._loop
        return {v: loop.memory[v].copy() for v in loop.received} if loop.waits else {}

    def _receive(self, gradients: dict[Variable, F32], kept: dict[Variable, F32], dy: F32) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # the step looks
            for variable, before in kept.items():
                if variable in gradients:
                    gradients[variable] += before
        loop = self._loop
        loop.received, loop.dy, loop.waits = tuple(gradients), dy, bool(gradients)
        loop.of = loop.gone
        optimizer: Optimizer | None = getattr(self, "optimizer", None)
        if optimizer is not None:
            optimizer.expect(self)

    def apply_step(self) -> bool:
        """Do what `Optimizer.step` promises."""
        with self._lock:
            optimizer = self.optimizer
            program, norms = self._update_program(optimizer)
            count = int(optimizer.counter[0])
            self._loop.waits = False
            program.run(
                1,
                learning_rate=optimizer.learning_rate,
                iteration=count + 1,
                clip=optimizer.clip[1],
            )
            if program.failure is not None:
                number = program.failure[1]
                variable = list(program.gradients)[number]
                return self._leave_out(variable, norms[number], count)
            optimizer.counter[0] = count + 1
            self.skipped_in_a_row = self._loop.passes = 0
            return True

    def _update_program(self, optimizer: Optimizer) -> tuple[Program, NDArray[np.float64]]:
        loop, trained = self._loop, set(self.trainable_variables)  # as they are now
        variables = tuple(v for v in loop.received if v in trained)
        key = optimizer, optimizer.version, variables, tuple(v.shaping for v in variables)
        if loop.update is None or loop.update[0] != key:
            program = Program(1, training=True)
            program.memory = loop.memory
            for variable in variables:
                program.gradient(variable)
            _recording.regularize(program, _stack.flat(self.layers), 1, np.zeros(1))
            optimizer.build(self.trainable_variables)
            loop.update = key, program, optimizer.record(program)
        return loop.update[1:]

    def _leave_out(self, variable: Variable, norm: float, count: int) -> bool:
        """Say False, or raise, of a step whose gradient of that variable is not finite."""
        self.skipped_in_a_row += 1
        self.skipped_steps += 1
        skips = getattr(self, "on_nonfinite", "raise") == "skip"
        if skips and self.skipped_in_a_row < MOST_SKIPPED:
            return False
        from evengrad._nonfinite import provenance  # much that only errors need

        raise provenance.of_own_step(self, variable, norm, count)
