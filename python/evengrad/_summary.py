"""The table that `Sequential.summary` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evengrad import _stack
from evengrad.layers.base import Layer

if TYPE_CHECKING:
    from evengrad._stack import Part
    from evengrad.models import Sequential
    from evengrad.variable import Variable

_COLUMNS = ("Layer (type)", "Output Shape", "Param #")


def text(model: Sequential, *, expand_nested: bool = False) -> str:
    """Columns as Keras has them; the footer counts total, trainable and other parameters."""
    rows = list(_rows(model.layers, expand_nested))
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


def _rows(parts: Sequence[Part], expand: bool, depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """One for each part; with `expand` also for what is inside it, moved in."""
    for part in parts:
        kind = type(part).__name__
        if getattr(part, "projection", None) is not None:
            kind += ", projected"
        shape = part.output_shape
        if shape and isinstance(part, Layer):
            shape = (None, *shape)
        yield (
            f"{'  ' * depth}{part.name} ({kind})",
            str(shape) if shape else "?",
            f"{part.count_params():,}" if part.built else "0 (unbuilt)",
        )
        if expand and isinstance(part, _stack.Stack):
            yield from _rows(part.parts, expand, depth + 1)


def _size(variables: list[Variable]) -> int:
    return sum(v.size for v in variables)


def _bytes(n: float) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1024:
            return f"{n:.2f} {unit}"
        n /= 1024
    return f"{n:.2f} GB"
