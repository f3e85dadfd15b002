"""The table that `Sequential.summary` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evengrad.models import Sequential
    from evengrad.variable import Variable

_COLUMNS = ("Layer (type)", "Output Shape", "Param #")


def text(model: Sequential) -> str:
    """Columns as Keras has them; the footer counts total, trainable and other parameters."""
    rows = [
        (
            f"{layer.name} ({type(layer).__name__})",
            str((None, *layer.output_shape)) if layer.output_shape else "?",
            f"{layer.count_params():,}" if layer.built else "0 (unbuilt)",
        )
        for layer in model.layers
    ]
    widths = [max(len(row[i]) for row in [_COLUMNS, *rows]) for i in range(3)]

    def line(left: str, fill: str, middle: str, right: str) -> str:
        return left + middle.join(fill * (width + 2) for width in widths) + right

    def cells(row: tuple[str, ...], bar: str) -> str:
        padded = [row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2].rjust(widths[2])]
        return f"{bar} " + f" {bar} ".join(padded) + f" {bar}"

    lines = [f'Model: "{model.name}"', line("┏", "━", "┳", "┓"), cells(_COLUMNS, "┃")]
    lines.append(line("┡", "━", "╇", "┩"))
    for i, row in enumerate(rows):
        if i:
            lines.append(line("├", "─", "┼", "┤"))
        lines.append(cells(row, "│"))
    lines.append(line("└", "─", "┴", "┘"))
    optimizer = model.optimizer.count_params() if model.compiled else 0
    counts = {
        "Total": model.count_params() + optimizer,
        "Trainable": _size(model.trainable_variables),
        "Non-trainable": _size(model.non_trainable_variables),
    }
    if optimizer:
        counts["Optimizer"] = optimizer
    lines += [f" {name} params: {n:,} ({_bytes(4 * n)})" for name, n in counts.items()]
    return "\n".join(lines)


def _size(variables: list[Variable]) -> int:
    return sum(v.size for v in variables)


def _bytes(n: float) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1024:
            return f"{n:.2f} {unit}"
        n /= 1024
    return f"{n:.2f} GB"
