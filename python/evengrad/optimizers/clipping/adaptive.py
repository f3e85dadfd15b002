"""Clipping that follows the weights or the history of the norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evengrad import _validation
from evengrad._program import Program
from evengrad.optimizers.clipping.base import Clipping

if TYPE_CHECKING:
    from evengrad._core import F64


_MOST = 10_000_000  # norms that AutoClip can remember; each step goes through half of them


class AdaptiveGradientClipping(Clipping):
    """g min(1, lambda_ max(norm(w), epsilon) / norm(g)), unit by unit.

    A unit of a Dense kernel is a column, all weights into one output; a vector (a bias, a gamma)
    is one unit as a whole.

    Parameters
    ----------
    lambda_ : float, above 0
        Largest norm of a gradient beside that of its weights, default 0.01. The paper takes less
        for larger batches.
    epsilon : float, above 0
        Lets weights of 0 grow, default 1e-3.
    exclude : sequence of str, optional
        Variables that are left alone: each with one of these in its path. The paper leaves out the
        last layer: `exclude=["logits/"]` for one of that name.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    References
    ----------
    .. [1] Brock, De, Smith, Simonyan 2021, arXiv:2102.06171

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.SGD(0.1, clipping=optimizers.clipping.AdaptiveGradientClipping(0.02)).clipping
    AdaptiveGradientClipping(lambda_=0.02, epsilon=0.001, exclude=[])
    """

    _arguments = ("lambda_", "epsilon", "exclude")

    def __init__(
        self, lambda_: float = 0.01, epsilon: float = 1e-3, exclude: Sequence[str] = ()
    ) -> None:
        self.lambda_ = self._number("lambda_", lambda_, 0.0, np.inf, open_low=True)
        self.epsilon = self._number("epsilon", epsilon, 0.0, np.inf, open_low=True)
        listed = not isinstance(exclude, str) and isinstance(exclude, Sequence)
        if not listed or not all(isinstance(part, str) and part for part in exclude):
            raise TypeError(
                "AdaptiveGradientClipping: expected exclude to be a list of parts of paths, "
                f"got {exclude!r}"
            )
        self.exclude = list(exclude)

    def record(self, program: Program, health: F64 | None = None) -> F64:
        """Record norms, checks and the clipping itself."""
        variables = list(program.gradients)
        out = [any(part in v.path for part in self.exclude) for v in variables]
        norms = np.zeros(len(variables))
        program.unit_clip(
            [v.storage for v in variables],
            list(program.gradients.values()),
            norms,
            np.where(out, np.inf, self.lambda_),
            self.epsilon,
            health,
        )
        return norms


class _Adaptive(Clipping):
    """The global norm is clipped to a threshold that a kernel finds behind the norms."""

    kind = "adaptive"

    def record(self, program: Program, health: F64 | None = None) -> F64:
        """Record norms, checks and the threshold."""
        gradients = list(program.gradients.values())
        norms = np.zeros(len(gradients) + 1)
        program.gradient_norms(gradients, norms, self.kind)
        self._record_threshold(program, norms, health)
        return norms

    def _record_threshold(self, program: Program, norms: F64, health: F64 | None) -> None:
        raise NotImplementedError(f"{type(self).__name__}._record_threshold")


class AutoClip(_Adaptive):
    """Clips the global norm to a percentile of the norms so far, this one included.

    Parameters
    ----------
    percentile : float in [0, 100]
        Default 10: nine of ten gradients are shortened, and a rising norm is held to what it was.
    history : int from 1 to 10 million
        How many norms are remembered, the newest, default 10,000; the paper keeps all.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Notes
    -----
    Between two norms the percentile is interpolated, as by `numpy.percentile`. The state is
    "history", norms in the order of the steps.

    References
    ----------
    .. [1] Seetharaman, Wichern, Pardo, Le Roux 2020, arXiv:2007.14469

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.Adam(clipping=optimizers.clipping.AutoClip(25)).clipping
    AutoClip(percentile=25.0, history=10000)
    """

    _arguments = ("percentile", "history")

    def __init__(self, percentile: float = 10, history: int = 10_000) -> None:
        self.percentile = self._number("percentile", percentile, 0.0, 100.0)
        self.history = _validation.check_count("AutoClip", "history", history)
        if self.history > _MOST:
            raise ValueError(f"AutoClip: expected history of at most {_MOST}, got {history}")
        self._ring, self._ordered = np.zeros(self.history), np.zeros(self.history)
        self._seen = np.zeros(1, np.int64)

    def _record_threshold(self, program: Program, norms: F64, health: F64 | None) -> None:
        program.auto_clip(norms, self.percentile, self._ring, self._ordered, self._seen, health)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what it remembers: "history"."""
        seen = int(self._seen[0])
        if seen < self.history:
            return {"history": self._ring[:seen].copy()}
        return {"history": np.roll(self._ring, -(seen % self.history))}

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over what `get_state` returned; of a longer history the newest norms."""
        self._check_names(state)
        norms = np.array(state["history"], np.float64)
        if norms.ndim != 1 or not (np.isfinite(norms) & (norms >= 0.0)).all():
            raise ValueError(f"AutoClip: expected a history of norms, got shape {norms.shape}")
        norms = norms[-self.history :]
        self._ring[: len(norms)], self._ordered[: len(norms)] = norms, np.sort(norms)
        self._seen[0] = len(norms)


class ZClip(_Adaptive):
    """Pulls in global norms that are far above their moving average.

    With z = (norm - mean) / deviation above `z_threshold` the gradients are scaled to a norm of
    mean + z_threshold^2 / z deviation: the farther out, the more. Mean and variance then follow
    the norm after clipping: mean = alpha mean + (1 - alpha) norm, and variance likewise the square
    of the distance to the new mean.

    Parameters
    ----------
    alpha : float in [0, 1)
        Weight of the old averages, default 0.97.
    z_threshold : float, above 0
        Default 2.5.
    warm_up : int, at least 1
        So many steps are not clipped; mean and variance of their norms are the first averages.
        Default 25.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Notes
    -----
    Nothing is added to the deviation, so that the scale of gradients does not matter. The state is
    "statistic" (mean, variance) and "seen", the number of steps.

    References
    ----------
    .. [1] Kumar, Owen, Chowdhury, Güra 2025, arXiv:2504.02507

    Examples
    --------
    >>> from evengrad import optimizers
    >>> optimizers.Adam(clipping=optimizers.clipping.ZClip(z_threshold=3)).clipping
    ZClip(alpha=0.97, z_threshold=3.0, warm_up=25)
    """

    _arguments = ("alpha", "z_threshold", "warm_up")

    def __init__(self, alpha: float = 0.97, z_threshold: float = 2.5, warm_up: int = 25) -> None:
        self.alpha = self._number("alpha", alpha, 0.0, 1.0, open_high=True)
        self.z_threshold = self._number("z_threshold", z_threshold, 0.0, np.inf, open_low=True)
        self.warm_up = _validation.check_count("ZClip", "warm_up", warm_up)
        self._statistic, self._seen = np.zeros(2), np.zeros(1, np.int64)

    def _record_threshold(self, program: Program, norms: F64, health: F64 | None) -> None:
        program.z_clip(
            norms, self.alpha, self.z_threshold, self.warm_up, self._statistic, self._seen, health
        )

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what it remembers: "statistic", "seen"."""
        return {"statistic": self._statistic.copy(), "seen": self._seen.copy()}

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over what `get_state` returned."""
        self._check_names(state)
        statistic, seen = np.array(state["statistic"], np.float64), np.array(state["seen"])
        right = statistic.shape == (2,) and (np.isfinite(statistic) & (statistic >= 0.0)).all()
        if not right or seen.shape != (1,) or seen.dtype.kind not in "iu" or seen[0] < 0:
            raise ValueError(
                "ZClip: expected statistic to be mean and variance and seen a number of steps, "
                f"got {statistic} and {seen}"
            )
        self._statistic[...], self._seen[...] = statistic, seen
