"""The demo's chart as a picture, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evengrad.demo.runs import HIDDEN_LAYERS, SICK, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by the colour-blind; dashes in turn where curves coincide.
_STYLES: dict[str, dict[str, Any]] = {
    "untreated": {"color": "black", "linewidth": 2.5, "zorder": 1.8},
    "initialization": {"color": "#E69F00"},
    "activation": {"color": "#56B4E9", "linestyle": (0, (4, 4))},
    "batch norm": {"color": "#0072B2"},
    "clipping": {"color": "#D55E00", "linestyle": (4, (4, 4))},
    "all four": {"color": "#009E73", "linewidth": 2.5, "zorder": 1.9},
}


def check(path: Path) -> None:
    """Say before training what would go wrong after it.

    Raises
    ------
    ImportError
        Without matplotlib; the message says how to install it.
    ValueError
        If the folder does not exist or matplotlib cannot write such a file.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ImportError("needs matplotlib: pip install 'evengrad[plot]'") from error
    if not path.parent.is_dir():
        raise ValueError(f"expected a file in an existing folder, got {path}")
    known = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"expected a name that ends in .png, .svg or .pdf, got {path}")


def draw(results: Sequence[Result], settings: str, path: Path) -> None:
    """Draw the gradients of first and last step by layer, one row a sickness.

    Parameters
    ----------
    results : sequence of Result
        All networks.
    settings : str
        How they were trained, for the foot of the picture.
    path : Path
        The file; its suffix says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    grid = figure.subplots(len(SICK), 2, sharex=True, sharey=True, squeeze=False)
    figure.suptitle("Root-mean-square gradient of each hidden layer's kernel")
    figure.supxlabel(settings, fontsize=9)
    for sickness, row in zip(SICK, grid, strict=True):
        shown = [result for result in results if result.sickness == sickness]
        for step, axes in zip(("first", "last"), row, strict=True):
            _panel(axes, shown, step)
            axes.set_title(f"{sickness}, {step} step")
        row[0].set_ylabel("RMS gradient")
        row[1].legend(
            title="test accuracy", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
        )
    for axes in grid[-1]:
        axes.set_xlabel("hidden layer, from the input to the output")
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, results: Sequence[Result], step: str) -> None:
    layers = np.arange(1, HIDDEN_LAYERS + 1)
    axes.set_yscale("log")
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.grid(alpha=0.3)
    for result in results:
        values = result.start if step == "first" else result.end
        stopped = " (not finite)" if result.failures else ""
        axes.plot(
            layers,
            np.where(values > 0, values, np.nan),  # zero has no place on a logarithmic axis
            label=f"{result.accuracy:.1%}  {result.treatment}{stopped}",
            **_STYLES[result.treatment],
        )
