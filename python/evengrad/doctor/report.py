"""Report: what an examination found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from evengrad.doctor.health import Health
    from evengrad.doctor.verdicts import Verdict


@dataclass(frozen=True)
class LayerFigures:
    """What an examination saw of a layer; NaN for what there is not.

    `gradient`: root-mean-square gradient of its kernel; `ratio`: norm of the last update over that
    of the kernel; `mean`, `spread`, `zeros`, `saturated`: of its outputs, see `Activity`; `dead`:
    units saturated for all samples; `counts`, `edges`: histogram of its outputs.
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


@dataclass(frozen=True)
class Report:
    """What an examination found.

    Parameters
    ----------
    verdicts : tuple of Verdict
        The most likely first.
    layers : tuple of LayerFigures
        In the order of the model.
    health : Health, optional
        Of the training before it.
    """

    verdicts: tuple[Verdict, ...]
    layers: tuple[LayerFigures, ...] = ()
    health: Health | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.verdicts
