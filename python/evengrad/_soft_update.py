"""Target networks: models that follow others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evengrad import _stack, _validation
from evengrad._program import Program
from evengrad.layers.base import Layer

if TYPE_CHECKING:
    from evengrad._core import F32, F64
    from evengrad.models import Sequential

    Recorded = tuple[Program, list[tuple[F64, F64]]]


def soft_update(target: Sequential, source: Sequential, tau: float) -> None:
    """Move all variables of a model towards those of another: t = (1 - tau) t + tau s.

    Parameters
    ----------
    target : Sequential
        Changed in place, moving statistics and what is not trainable too.
    source : Sequential
        Built of the same layers; as it was afterwards.
    tau : float in [0, 1]
        1 copies.

    Raises
    ------
    ValueError, TypeError
        If the variables of one do not have the shapes of the other's, or tau is out of range.

    Notes
    -----
    Target networks of reinforcement learning [1]_ and mean teachers [2]_ are made so. Moving
    statistics of the target count as old from there on.

    References
    ----------
    .. [1] Lillicrap et al. 2015, arXiv:1509.02971
    .. [2] Tarvainen, Valpola 2017, arXiv:1703.01780

    Examples
    --------
    >>> import evengrad as keras
    >>> from evengrad import utils
    >>> source, target = (
    ...     keras.Sequential([keras.layers.Dense(1, kernel_initializer=start, input_shape=(1,))])
    ...     for start in ("ones", "zeros")
    ... )
    >>> utils.soft_update(target, source, 0.25)
    >>> target.get_weights()[0]
    array([[0.25]], dtype=float32)
    """
    tau = _validation.check_number("soft_update", "tau", tau, 0.0, 1.0)
    for name, model in (("target", target), ("source", source)):
        if not isinstance(model, _stack.Stack) or isinstance(model, Layer):
            raise TypeError(f"soft_update: expected {name} to be a Sequential, got {model!r}")
        if not model.built:
            raise ValueError(
                f"soft_update: expected {name} to be built, got {model!r}; call build(input_shape) "
                "first"
            )
    if target is source:
        raise ValueError("soft_update: expected two models, got one as target and source")
    shared = set(target.variables) & set(source.variables)
    if shared:
        paths = ", ".join(sorted(variable.path for variable in shared))
        raise ValueError(
            f"soft_update: expected models without common layers, got two with {paths}; make the "
            "target with clone_model or copy.deepcopy"
        )
    first, second = sorted((target, source), key=id)  # two threads wait for each other otherwise
    with first._lock, second._lock:
        program, doubles = target._programs.get(
            ("soft_update", source, tau),
            target.layers,
            lambda: _record(target, source, tau),
            lambda: _stack.structure(source.layers),
        )
        program.run(1, iteration=2)  # the first average is the variable itself
        for t, s in doubles:
            t[...] += tau * (s - t)
        for part in _stack.every(target.layers):
            if isinstance(part, Layer):
                part.weights_were_set()


def _record(target: Sequential, source: Sequential, tau: float) -> Recorded:
    ours, others = target.variables, source.variables
    shapes = [[v.shape for v in variables] for variables in (ours, others)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "soft_update: expected models with variables of the same shapes, got target "
            f"{shapes[0]} and source {shapes[1]}"
        )
    pairs = [(t.storage, s.storage) for t, s in zip(ours, others, strict=True)]
    singles: list[tuple[F32, F32]] = [p for p in pairs if p[0].dtype == "float32"]
    program = Program(1, training=True)
    if singles:
        targets, sources = ([pair[i] for pair in singles] for i in (0, 1))
        program.average(sources, targets, 1.0 - tau, 0)
    return program, [p for p in pairs if p[0].dtype == "float64"]
