"""Figures of a health, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad.doctor import _charts, _series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evengrad.doctor.health import F64, Health

__all__ = ["health"]

_MOST_NAMES = 8  # in a legend; where there are more layers, every n-th and the last


def health(shown: Health) -> Figure:
    """Draw what a training was like: four axes over the steps.

    Gradient norms and updates over weights of each layer's kernel, on logarithmic scales; shares of
    outputs that are 0 (solid) and saturated (dashed); the loss. Layers go from dark, at the input,
    to light.

    Parameters
    ----------
    shown : Health
        Of a training.

    Returns
    -------
    matplotlib.figure.Figure
        `savefig` writes it; a notebook shows it.

    Raises
    ------
    ImportError
        Without matplotlib: pip install evengrad[plot].
    """
    figure = _figure_class()(figsize=(11, 7.5), layout="constrained")
    (gradients, loss), (ratios, shares) = figure.subplots(2, 2)
    _logarithmic(gradients, shown.steps, _series.gradients(shown), "Norm of the gradient")
    _logarithmic(ratios, shown.steps, _series.ratios(shown), "Update over weight")
    _draw(loss, shown.steps, {"loss": shown.loss}, label=None)
    if _charts.fitting(shown.loss).logarithmic:
        loss.set_yscale("log")
    loss.set_title("Loss of the batches")
    activity = shown.activity
    zeros = {name: np.asarray(a.zeros, float) for name, a in activity.items()}
    saturated = {name: np.asarray(a.saturated, float) for name, a in activity.items()}
    _draw(shares, shown.looks, zeros)
    _draw(shares, shown.looks, saturated, linestyle="--", label=None)
    shares.set_ylim(-0.02, 1.02)
    shares.set_title("Share of outputs: 0 (solid), saturated (dashed)")
    for axes in (gradients, loss, ratios, shares):
        axes.grid(alpha=0.3)
        axes.set_xlabel("step")
    for axes in (gradients, ratios, shares):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(
                loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False
            )
    return figure


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "health.plot: expected the package matplotlib; pip install evengrad[plot]"
        ) from None
    return Figure


def _logarithmic(axes: Axes, steps: F64, series: Mapping[str, F64], title: str) -> None:
    axes.set_title(title)
    shown = {name: np.where(_finite(v) > 0, v, np.nan) for name, v in series.items()}
    _draw(axes, steps, shown)
    if any(np.isfinite(values).any() for values in shown.values()):
        axes.set_yscale("log")  # which warns where there is nothing to show


def _draw(axes: Axes, xs: F64, series: Mapping[str, F64], **style: Any) -> None:
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.0, 0.9, len(series)))
    named = _some(series)
    for (name, values), colour in zip(series.items(), colours, strict=True):
        marker = "." if len(xs) == 1 else ""
        told = {"label": name if name in named else None, "linewidth": 1, **style}
        axes.plot(xs, _finite(values), color=colour, marker=marker, **told)


def _some(names: Iterable[str]) -> set[str]:
    every = list(names)
    stride = max(-(-len(every) // _MOST_NAMES), 1)
    return {*every[::stride], *every[-1:]}


def _finite(values: F64) -> F64:
    return np.where(np.isfinite(values), values, np.nan)
