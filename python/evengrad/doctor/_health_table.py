"""What `model.health()` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evengrad.doctor.health import Health

_HEAD = "variable", "gradient", "weight", "update", "update/weight"
_ACTIVITY = "layer", "mean", "spread", "zeros", "saturated", "dead"


def text(health: Health) -> str:
    """Tables of the last figures."""
    if not len(health.steps):
        return "No step of a training has been watched yet."
    first = f"Step {health.steps[-1]:,.0f}: loss {health.loss[-1]:.4g}"
    if health.clipped.any():
        first += f", clipped in {health.clipped.mean():.0%} of the steps"
    tables = [_table(_HEAD, _norms(health))]
    if health.activity:
        tables.append(f"Outputs at step {health.looks[-1]:,.0f}:")
        tables.append(_table(_ACTIVITY, _outputs(health)))
    return "\n".join([f"{first}; norms:", *tables])


def _norms(health: Health) -> list[list[str]]:
    rows = []
    for path, series in health.norms.items():
        gradient, weight, update = (float(values[-1]) for values in series)
        ratio = update / weight if weight else np.nan
        rows.append([path, *(f"{number:.3g}" for number in (gradient, weight, update, ratio))])
    return rows


def _outputs(health: Health) -> list[list[str]]:
    rows = []
    for name, series in health.activity.items():
        mean, spread, zeros, saturated = (float(values[-1]) for values in series)
        dead = str(health.dead[name][-1]) if health.dead.get(name) else ""
        shares = f"{zeros:.1%}", f"{saturated:.1%}" if name in health.dead else ""
        rows.append([name, f"{mean:.3g}", f"{spread:.3g}", *shares, dead])
    return rows


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Columns as wide as their widest cell, the first to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
