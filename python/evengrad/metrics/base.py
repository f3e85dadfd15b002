"""The base of all metrics, and those that are means over rows of outputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _core, _python, _validation, initializers
from evengrad._family import Configured
from evengrad._names import Versioned, snake_case
from evengrad._program import Outputs, Program, outputs_of
from evengrad.losses.base import Loss
from evengrad.variable import Variable

if TYPE_CHECKING:
    from evengrad._core import F64


class Metric(Versioned, Configured):
    """Base of the metrics, given to `compile` or fed by hand, and of metrics of your own.

    A metric keeps sums, to which each batch adds, and makes its result of them. One of your own
    says what it does in Python, with numpy: `call`, whose values are averaged; or, as in Keras,
    `update_state(y_true, y_pred, sample_weight=None)` and `result`, with variables that
    `add_variable` makes. `reset_state` makes these 0 again, at the start of each epoch.

    Parameters
    ----------
    name : str, optional
        Default: the class name in snake case.
    dtype : optional
        float32, the only one there is.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or something else than what is expected.

    Examples
    --------
    >>> import numpy as np
    >>> from evengrad import metrics
    >>> class Worst(metrics.Metric):
    ...     def call(self, y_true, y_pred):
    ...         return np.abs(y_true - y_pred).max(axis=-1)
    >>> float(Worst()([[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 0.0]]))
    1.5
    >>> class Largest(metrics.Metric):
    ...     def __init__(self, name="largest", **kwargs):
    ...         super().__init__(name=name, **kwargs)
    ...         self.largest = self.add_variable((), "zeros", name="largest")
    ...
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.largest.assign(np.maximum(self.largest, np.abs(y_true - y_pred).max()))
    ...
    ...     def result(self):
    ...         return self.largest.value
    >>> float(Largest()(np.zeros((2, 2)), np.array([[0.0, 3.0], [2.0, 0.0]])))
    3.0
    """

    sparse: ClassVar[bool] = False  # y_true: class numbers
    _direction: str | None = None  # in which it is better: "up" or "down", as Keras has it
    strict: ClassVar[bool] = False  # of the other kind of truth it makes no sense

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        _validation.check_dtype(self.name, dtype)
        self._sums: F64 | None = None
        self._variables: list[Variable] = []
        self._kept: dict[str, Any] | None = None

    def reset_state(self) -> None:
        """Start again: sums and variables at 0."""
        self._sums = None
        for variable in self._variables:
            variable.assign(np.zeros(variable.shape))
        for metric in self._metrics:
            metric.reset_state()

    # -- with a state of its own

    def add_variable(
        self,
        shape: Sequence[int] = (),
        initializer: str | initializers.Initializer = "zeros",
        dtype: Any = None,
        aggregation: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Make a variable that a metric of your own keeps; in float64, for long sums.

        Parameters
        ----------
        shape : sequence of int, default ()
        initializer : str or Initializer, default "zeros"
        dtype, aggregation
            Accepted for Keras' sake.
        name : str, optional
            Default "variable", numbered.
        """
        del dtype, aggregation
        name = name or f"variable_{len(self._variables)}"
        values, path = initializers.of_layer(initializer)(tuple(shape)), f"{self.name}/{name}"
        made = Variable(values, name=name, path=path, trainable=False, double=True)
        self._variables.append(made)
        return made

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: str | initializers.Initializer = "zeros",
        dtype: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Make a variable; see `add_variable`.

        Parameters
        ----------
        shape, initializer, dtype, name
            As of `add_variable`.
        """
        return self.add_variable(shape, initializer, dtype, None, name)

    @property
    def variables(self) -> list[Variable]:
        """Those that add_variable made."""
        return [*self._variables, *(v for metric in self._metrics for v in metric.variables)]

    @property
    def _metrics(self) -> list[Metric]:
        """Those among its attributes, which are a part of its state."""
        return [value for value in vars(self).values() if isinstance(value, Metric)]

    @property
    def stateful(self) -> bool:
        """Whether `update_state` and `result` of one's own say what the metric does."""
        return type(self).update_state is not Metric.update_state

    def take(self, sums: F64) -> None:
        """Let `result` be that of these sums, if there are any, which a program has filled."""
        if sums.size:
            self._sums = sums.copy()

    def snapshot(self) -> dict[str, Any]:
        """Return all that `update_state` may change."""
        kept = {
            k: copy.copy(v)
            for k, v in vars(self).items()
            if k not in ("_kept", "_variables") and not isinstance(v, Metric)
        }
        return kept | {
            "_variables": [(v, v.storage.copy()) for v in self._variables],
            "_metrics": [(metric, metric.snapshot()) for metric in self._metrics],
        }

    def restore(self, kept: dict[str, Any]) -> None:
        """Be as when `snapshot` returned this."""
        for variable, storage in kept.pop("_variables"):
            variable.storage[...] = storage
        for metric, state in kept.pop("_metrics"):
            metric.restore(state)
        vars(self).update(kept)

    def keep_state(self) -> None:
        """Keep what the next batch will change, in case that its step is left out."""
        self._kept = self.snapshot()

    def take_back(self, keep: bool = False) -> None:
        """Be as before the last batch; with keep=True be done with it instead."""
        kept, self._kept = self._kept, None
        if kept is not None and not keep:
            self.restore(kept)

    def call(self, y_true: NDArray[Any], y_pred: NDArray[np.float32]) -> NDArray[Any]:
        """Return the values of a batch; for metrics of your own.

        Parameters
        ----------
        y_true, y_pred : ndarray (n, ..., outputs)
            Read-only; y_true (n,) of int32 where the loss is one of class numbers.

        Returns
        -------
        ndarray (n, ...)
            One value for each row of outputs.
        """
        raise NotImplementedError(f"{type(self).__name__}.call")

    @property
    def in_python(self) -> bool:
        """Whether `call`, or `update_state`, says what the metric does."""
        return type(self).call is not Metric.call or self.stateful

    def recording_reads(self, name: str) -> bool:
        """Whether a recording depends on this attribute: what Python reads is read at each step."""
        del name
        return not self.in_python

    def size(self, outputs: int) -> int:
        """Return the number of sums for rows of that many outputs."""
        del outputs
        return 0 if self.stateful else 2

    def record(self, program: Program, outputs: Outputs, sums: F64) -> None:
        """Record what a batch adds to the sums."""
        if not self.in_python:
            raise NotImplementedError(f"{type(self).__name__}.record")
        _python.record_metric(self, program, outputs, sums)

    def check_truth(self, outputs: Outputs) -> None:
        """Refuse a truth of the other kind, which is what the model's loss reads."""
        if self.strict and self.sparse != (outputs.labels is not None):
            kinds = "targets in the shape of the outputs", "class numbers"
            wanted, got = (kinds[kind] for kind in (self.sparse, not self.sparse))
            raise ValueError(
                f"{self.name}: expected {wanted}, got {got}, as the loss reads them; "
                f"use {'' if self.sparse else 'sparse_'}{self.name.removeprefix('sparse_')} instead"
            )

    def value(self, sums: F64) -> Any:
        """Return the result of sums, a number or an array: here the first over the second."""
        return sums[0] / sums[1] if sums[1] else 0.0

    def logged(self, sums: F64) -> Any:
        """Return what training and evaluation report, given the sums that they have filled."""
        if sums.size and type(self).result is Metric.result:
            return self.value(sums)
        return _validation.as_array(self.name, "what result returns", self.result())

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add predictions (n, ...) and their truth, with weights (n,)."""
        x = _validation.features(self.name, "y_pred", y_pred)
        weight = None
        if sample_weight is not None:
            weight = _validation.sample_weights(self.name, sample_weight, len(x))
        sums = np.zeros(self.size(x.shape[-1]))
        if self._sums is not None and self._sums.shape != sums.shape:
            raise ValueError(
                f"{self.name}: expected as many outputs as before, got y_pred of shape {x.shape}; "
                "call reset_state first"
            )
        if self.in_python:
            truth = _validation.as_array(self.name, "y_true", y_true)
            sums += _python.sums_of(self, truth, x, weight)
        else:
            if self.sparse:
                truth = _validation.labels(self.name, "y_true", y_true, len(x), x.shape[1])
            else:
                truth = _validation.targets(self.name, "y_true", y_true, len(x), x.shape[1:])
            program, outputs = outputs_of(x, truth, sparse=self.sparse, weight=weight)
            self.record(program, outputs, sums)
            program.run(len(x))
        self._sums = sums if self._sums is None else self._sums + sums

    def result(self) -> Any:
        """Return the metric of all that was added: float32, a number or an array."""
        value = self.value(np.zeros(self.size(1)) if self._sums is None else self._sums)
        return np.float32(value) if np.ndim(value) == 0 else np.asarray(value, np.float32)

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """update_state, then result."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal metric."""
        return {"name": self.name}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{'' if self.stateful else f'={self.result()}'}>"


class RowMean(Metric):
    """Mean over rows of what a kernel makes of each."""

    kind: ClassVar[str] = ""  # the kernel's name
    _direction: str | None = "up"  # all of them are accuracies

    @property
    def parameters(self) -> tuple[float, ...]:
        """What the kernel takes besides arrays."""
        return ()

    def record(self, program: Program, outputs: Outputs, sums: F64) -> None:
        """Record sums += (sum of weight * value, sum of weight)."""
        self.check_truth(outputs)
        y, _, labels, target, weight = outputs
        program.metric(self.kind, y, labels, target, weight, sums, self.parameters)


class LossMean(Metric):
    """Mean over rows of a loss."""

    _direction: str | None = "down"

    def __init__(self, loss: Loss, name: str, dtype: Any) -> None:
        self._loss = loss
        super().__init__(name, dtype)

    @property
    def sparse(self) -> bool:  # type: ignore[override]
        """Whether y_true are class numbers."""
        return self._loss.sparse

    def record(self, program: Program, outputs: Outputs, sums: F64) -> None:
        """Record sums += (sum of weight * loss, sum of weight)."""
        self.check_truth(outputs)
        kernel, _ = self._loss.kernel("")
        if _core.losses[kernel].overwrites:  # others want the logits too
            copy = program.like(outputs.y)
            program.activation_forward("linear", outputs.y, copy)
            outputs = outputs._replace(y=copy)
        y, _, labels, target, weight = outputs
        program.loss(kernel, y, labels, target, weight, None, sums, self._loss.parameters, "none")
