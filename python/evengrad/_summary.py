"""The table that `Sequential.summary` prints."""

from __future__ import annotations

import itertools
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evengrad import _stack, _validation
from evengrad.layers.base import Layer

if TYPE_CHECKING:
    from evengrad._stack import Part
    from evengrad.models import Sequential
    from evengrad.variable import Variable

_PLAIN = str.maketrans("━─┃│┏┳┓┡╇┩├┼┤└┴┘▏▎▍▌▋▊▉█", "--||" + 12 * "+" + 4 * "-" + 4 * "#")
_PAD = {"<": str.ljust, ">": str.rjust, "^": str.center}
_COLUMNS = ["Layer (type)", "Output Shape", "Param #"]
_ENDS = [0.45, 0.80, 1.0]  # of the columns, as shares of a line
_LENGTH, _MORE = 88, 12  # of a line, and what one more column adds


def text(
    model: Sequential,
    *,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> str:
    """Columns as Keras has them; the footer counts total, trainable and other parameters."""
    header = [*_COLUMNS, "Trainable"] if show_trainable else _COLUMNS
    parts = _between(model.layers, layer_range)
    nested = _validation.check_flag("summary", "expand_nested", expand_nested)
    rows = [row[: len(header)] for row in _rows(parts, nested)]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    if line_length is not None or positions is not None:
        widths = _widths(line_length, positions, len(header))
    lines = [f'Model: "{model.name}"', *table(header, rows, widths), *_footer(model)]
    return "\n".join(lines)


def _between(parts: Sequence[Part], names: Sequence[str] | None) -> Sequence[Part]:
    """Those from the first that one pattern matches to the last that the other does."""
    if names is None:
        return parts
    strings = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not strings or len(names) != 2:
        raise ValueError(
            f"summary: expected layer_range to be two names or patterns of names, got {names!r}"
        )
    try:
        first, last = (
            [i for i, part in enumerate(parts) if re.match(name, part.name)] for name in names
        )
    except re.error as error:
        raise ValueError(
            f"summary: expected layer_range to be regular expressions, got {names!r}: {error}"
        ) from None
    if not first or not last:
        known = ", ".join(part.name for part in parts)
        raise ValueError(
            f"summary: expected layer_range to match names among {known}, got {names!r}"
        )
    if first[0] > last[-1]:
        first, last = last, first
    return parts[first[0] : last[-1] + 1]


def _widths(line_length: Any, positions: Any, columns: int) -> list[int]:
    """What fits between the bars of lines of that length, whose columns end at `positions`."""
    more = columns > len(_COLUMNS)
    length = _LENGTH + more * _MORE
    if line_length is not None:
        length = _validation.check_count("summary", "line_length", line_length)
    given = _ENDS if positions is None else positions
    if not isinstance(given, list | tuple) or len(given) != len(_COLUMNS):
        raise ValueError(
            f"summary: expected positions to be {len(_COLUMNS)} numbers, where the columns end, "
            f"got {positions!r}"
        )
    ends = [_validation.check_number("summary", "each of positions", end, 0.0) for end in given]
    if ends[-1] > 1.0:  # in characters
        ends = [end / length for end in ends]
    if more:
        ends = [0.9 * end for end in ends] + [1.0]
    stops = [0, *(int(end * length) for end in ends)]
    widths = [stop - start - 3 for start, stop in itertools.pairwise(stops)]
    widths[0] -= 1  # the bar on the left
    if min(widths) < 1:
        raise ValueError(
            f"summary: expected columns at least 4 wide (the first 5), got line_length={length} "
            f"with columns that end at {stops[1:]}"
        )
    return widths


def table(
    header: list[str],
    rows: list[list[str]],
    widths: list[int],
    sides: str = "<<>^",
    ruled: bool = True,
) -> Iterator[str]:
    """Lines of a frame around cells, which are wrapped where they are wider than the column.

    `sides` says for each column where its cells are: left, right or in the middle; `ruled`: whether
    there are lines between the rows.
    """

    def line(left: str, fill: str, middle: str, right: str) -> str:
        return left + middle.join(fill * (width + 2) for width in widths) + right

    def cells(row: list[str], bar: str) -> Iterator[str]:
        wrapped = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for i in range(max(map(len, wrapped))):
            pieces = [cell[i] if i < len(cell) else "" for cell in wrapped]
            padded = [_PAD[s](p, w) for s, p, w in zip(sides, pieces, widths, strict=False)]
            yield f"{bar} " + f" {bar} ".join(padded) + f" {bar}"

    yield line("┏", "━", "┳", "┓")
    yield from cells(header, "┃")
    yield line("┡", "━", "╇", "┩")
    for i, row in enumerate(rows):
        if i and ruled:
            yield line("├", "─", "┼", "┤")
        yield from cells(row, "│")
    yield line("└", "─", "┴", "┘")


def _wrapped(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False)


def _footer(model: Sequential) -> list[str]:
    optimizer = model.optimizer.count_params() if model.compiled else 0
    counts = {
        "Total": model.count_params() + optimizer,
        "Trainable": _size(model.trainable_variables),
        "Non-trainable": _size(model.non_trainable_variables),
    }
    if optimizer:
        counts["Optimizer"] = optimizer
    return [f" {name} params: {n:,} ({_bytes(4 * n)})" for name, n in counts.items()]


def _rows(parts: Sequence[Part], expand: bool, depth: int = 0) -> Iterator[list[str]]:
    """One for each part; with `expand` also for what is inside it, moved in."""
    prefix = "   " * depth + "└ " if depth else ""
    for part in parts:
        kind = type(part).__name__
        if getattr(part, "projection", None) is not None:
            kind += ", projected"
        trainable = ("Y" if part.trainable else "N") if part.variables else "-"
        yield [
            f"{prefix}{part.name} ({kind})",
            _shape(part),
            f"{part.count_params():,}" if part.built or _is_empty(part) else "0 (unbuilt)",
            trainable,
        ]
        if expand and isinstance(part, _stack.Stack):
            yield from _rows(part.parts, expand, depth + 1)


def show(text: str) -> None:
    """Print, with other lines where the output cannot have these."""
    print(writable(text, sys.stdout.encoding))


def writable(text: str, encoding: str | None) -> str:
    """Return the text with other lines where there are none of these in the encoding."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate(_PLAIN).encode(encoding, "replace")
        text = plain.decode(encoding)
    return text


def _is_empty(part: Part) -> bool:
    """Whether a layer has no variables, whatever its samples."""
    kind = type(part)
    return isinstance(part, Layer) and (
        kind.build is Layer.build and kind.make_variables is Layer.make_variables
    )


def _shape(part: Part) -> str:
    if not part.built:
        return "?"
    shape = part.output_shape
    if shape and isinstance(part, Layer):
        shape = (None, *shape)
    return str(shape) if shape else "?"


def _size(variables: list[Variable]) -> int:
    return sum(v.size for v in variables)


def _bytes(n: float) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1024:
            return f"{n:.2f} {unit}"
        n /= 1024
    return f"{n:.2f} GB"
