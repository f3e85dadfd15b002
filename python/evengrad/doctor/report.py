"""Report: what an examination found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor._shown import Shown

if TYPE_CHECKING:
    from evengrad.doctor.health import Health
    from evengrad.doctor.verdicts import Verdict


@dataclass(frozen=True, eq=False)
class LayerFigures:
    """What an examination saw of a layer; NaN for what there is not.

    Parameters
    ----------
    name, kind, activation : str
        Its name, its class, what it applies; "" for no activation.
    units : int
        Size of its output.
    gradient : float
        Root-mean-square gradient of its kernel.
    ratio : float
        Norm of the last update over that of the kernel.
    mean, spread, zeros, saturated : float
        Of its outputs, see `Activity`.
    dead : int
        Units saturated for all samples.
    counts, edges : ndarray (bins,), (bins + 1,)
        Histogram of its outputs; empty where there is none.
    """

    name: str
    kind: str
    units: int
    activation: str
    gradient: float
    ratio: float
    mean: float
    spread: float
    zeros: float
    saturated: float
    dead: int
    counts: NDArray[np.intp]
    edges: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Report(Shown):
    """What an examination found; `print` shows it.

    Parameters
    ----------
    verdicts : tuple of Verdict
        The most likely first.
    layers : tuple of LayerFigures
        In the order of the model.
    health : Health, optional
        Of the training before it.

    Examples
    --------
    >>> from evengrad.doctor import Report, Verdict
    >>> print(Report(()))
    healthy, nothing was found.
    >>> verdict = Verdict("too_few_epochs", "The loss still fell by 3% an epoch.", 0.8)
    >>> print(Report((verdict,)))
    1 finding.
    <BLANKLINE>
    1. too_few_epochs, 80% sure
       The loss still fell by 3% an epoch.
    """

    verdicts: tuple[Verdict, ...]
    layers: tuple[LayerFigures, ...] = ()
    health: Health | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.verdicts
