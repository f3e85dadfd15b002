"""Schedules along half a cosine, with warm-up or restarts."""

from __future__ import annotations

import numpy as np

from evengrad.optimizers.schedules.base import F64, Formula


def _half_cosine(part: F64) -> F64:
    """From 1 at 0 to 0 at 1."""
    return np.asarray(0.5 * (1.0 + np.cos(np.pi * part)))


class CosineDecay(Formula):
    """rate = initial_learning_rate ((1 - alpha) (1 + cos(pi step / decay_steps)) / 2 + alpha).

    With a warm-up the rate goes in a straight line from initial_learning_rate to warmup_target
    first, and the formula holds behind it for warmup_target.

    Parameters
    ----------
    initial_learning_rate : float, at least 0
        Rate of step 0.
    decay_steps : number, above 0
        Steps until the lowest rate, where it stays.
    alpha : float, at least 0, default 0
        Lowest rate, as a part of the highest.
    name : str, default "CosineDecay"
        Kept for Keras' sake.
    warmup_target : float, at least 0, optional
        Rate at the end of the warm-up; without one there is none.
    warmup_steps : number, at least 0, default 0
        Steps of the warm-up.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Loshchilov, Hutter 2016, arXiv:1608.03983
    .. [2] Goyal et al. 2017, arXiv:1706.02677 (warm-up)

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> schedule = schedules.CosineDecay(0.0, decay_steps=100, warmup_target=0.1, warmup_steps=10)
    >>> schedule(5), schedule(10), schedule(60), schedule(200)
    (0.05, 0.1, 0.05, 0.0)
    """

    arguments = ("initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate = self._check("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._check("decay_steps", decay_steps, positive=True)
        self.alpha = self._check("alpha", alpha)
        self.name = name
        self.warmup_target = warmup_target
        if warmup_target is not None:
            self.warmup_target = self._check("warmup_target", warmup_target)
        self.warmup_steps = self._check("warmup_steps", warmup_steps)

    def rates(self, step: F64) -> F64:
        """Evaluate the formula in float64."""
        top, warm = self.warmup_target, self.warmup_steps
        if top is None:
            return self._decayed(self.initial_learning_rate, step)
        decayed = self._decayed(top, step - warm)
        if warm == 0.0:
            return decayed
        risen = (top - self.initial_learning_rate) * (step / warm) + self.initial_learning_rate
        return np.where(step < warm, risen, decayed)

    def _decayed(self, top: float, step: F64) -> F64:
        part = np.minimum(step / self.decay_steps, 1.0)
        return np.asarray(top * ((1.0 - self.alpha) * _half_cosine(part) + self.alpha))


class CosineDecayRestarts(Formula):
    """rate = initial_learning_rate ((1 - alpha) m_mul^i (1 + cos(pi p)) / 2 + alpha).

    Period i, counted from 0, has first_decay_steps t_mul^i steps; p is the part of it that is done.

    Parameters
    ----------
    initial_learning_rate : float, at least 0
        Rate of step 0.
    first_decay_steps : number, above 0
        Steps of the first period.
    t_mul : float, above 0, default 2
        Length of a period as a multiple of the one before. Below 1 the schedule ends at step
        first_decay_steps / (1 - t_mul), and gives NaN from there on, which optimizers refuse.
    m_mul : float, at least 0, default 1
        Height of a period as a multiple of the one before.
    alpha : float, at least 0, default 0
        Lowest rate, as a part of initial_learning_rate.
    name : str, default "SGDRDecay"
        Kept for Keras' sake.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or no number.

    References
    ----------
    .. [1] Loshchilov, Hutter 2016, arXiv:1608.03983

    Examples
    --------
    >>> from evengrad.optimizers import schedules
    >>> schedule = schedules.CosineDecayRestarts(0.1, first_decay_steps=10)
    >>> schedule(0), schedule(5), schedule(10), schedule(20), schedule(30)
    (0.1, 0.05, 0.1, 0.05, 0.1)
    """

    arguments = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha")

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = self._check("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = self._check("first_decay_steps", first_decay_steps, positive=True)
        self.t_mul = self._check("t_mul", t_mul, positive=True)
        self.m_mul = self._check("m_mul", m_mul)
        self.alpha = self._check("alpha", alpha)
        self.name = name

    def rates(self, step: F64) -> F64:
        """Evaluate the formula in float64."""
        done = step / self.first_decay_steps
        period = self._period(done)
        part = (done - self._start(period)) / self.t_mul**period
        wave = (1.0 - self.alpha) * self.m_mul**period * _half_cosine(part)
        return np.asarray(self.initial_learning_rate * (wave + self.alpha))

    def _start(self, period: F64) -> F64:
        """First steps of a period, in lengths of the first one."""
        if self.t_mul == 1.0:
            return period
        return np.asarray((1.0 - self.t_mul**period) / (1.0 - self.t_mul))

    def _period(self, done: F64) -> F64:
        if self.t_mul == 1.0:
            return np.floor(done)
        with np.errstate(invalid="ignore", divide="ignore"):
            inside = 1.0 - done * (1.0 - self.t_mul)
            period = np.floor(np.log(np.where(inside > 0.0, inside, np.nan)) / np.log(self.t_mul))
        # The logarithm may be rounded to the other side of an integer.
        period = np.where(done >= self._start(period + 1.0), period + 1.0, period)
        return np.asarray(np.where(done < self._start(period), period - 1.0, period))
