"""Reports and cures as text: a table of the layers in the manner of `Sequential.summary`."""

from __future__ import annotations

import json
import math
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evengrad import _summary
from evengrad.doctor._plain import plain
from evengrad.doctor.cures import CureResult
from evengrad.doctor.report import Report

if TYPE_CHECKING:
    from evengrad.doctor._shown import Shown
    from evengrad.doctor.report import LayerFigures
    from evengrad.doctor.verdicts import Edit, Verdict

WIDTH = 100
_BLOCKS = "▏▎▍▌▋▊▉█"
_BAR = 10  # characters
_LEAST_DECADES = 4.0  # of the scale of bars: what differs by less looks alike


def terminal() -> int:
    """Return how many columns there are to print in."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


show = _summary.show


class Column(NamedTuple):
    """A column of the table; where not all fit, those with high numbers go first."""

    title: str
    side: str
    cells: list[str]
    rank: int

    @property
    def width(self) -> int:
        """Of its widest cell, and the bar and spaces before it."""
        return max(map(len, [self.title, *self.cells])) + 3


def of(said: Shown, width: int) -> str:
    """Return a report or the result of a cure in lines of that width, where that is possible."""
    return cure(said, width) if isinstance(said, CureResult) else report(as_report(said), width)


def as_report(said: object) -> Report:
    """Return a report as it is, refuse anything else."""
    if not isinstance(said, Report):
        raise TypeError(f"expected a Report or a CureResult, got {said!r}")
    return said


def brief(said: Shown) -> str:
    """Return a report or the result of a cure in one line."""
    if isinstance(said, CureResult):
        change = f"{said.before:.4g} to {said.after:.4g}" if said.improved else "nothing better"
        return f"<CureResult {said.metric}: {change}, {_counted(len(said.edits), 'edit')}>"
    found = as_report(said)
    diseases = ", ".join(verdict.disease for verdict in found.verdicts) or "healthy"
    return f"<Report of {_counted(len(found.layers), 'layer')}: {diseases}>"


def report(found: Report, width: int = WIDTH) -> str:
    """Return what an examination found, in lines of that width where that is possible."""
    lines = _filled(heading(found), width, "", "")
    for number, verdict in enumerate(found.verdicts, 1):
        lines += ["", *_verdict(number, verdict, width)]
    if found.layers:
        lines += ["", *layers(found.layers, width)]
    return "\n".join(lines)


def heading(found: Report) -> str:
    """Return one sentence: what was examined, how much was found."""
    count = len(found.verdicts)
    where = f"{_counted(len(found.layers), 'layer')} examined: " if found.layers else ""
    if not count:
        return f"{where}healthy, nothing was found."
    return f"{where}{_counted(count, 'finding')}{', the most likely first' * (count > 1)}."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _verdict(number: int, verdict: Verdict, width: int) -> Iterator[str]:
    where = f", in {_named(verdict.layers)}" if verdict.layers else ""
    first = f"{number}. {verdict.disease}, {verdict.confidence:.0%} sure{where}"
    indent = " " * (len(str(number)) + 2)
    yield from _filled(first, width, "", indent)
    yield from _filled(verdict.cause, width, indent, indent)
    evidence = "; ".join(f"{key} {value(one)}" for key, one in verdict.evidence.items())
    yield from _filled(evidence, width, indent, indent)
    for line in verdict.cure.splitlines():
        yield f"{indent}    {line}".rstrip()
    yield from _filled(verdict.source, width, indent, indent)


def _filled(text: str, width: int, first: str, later: str) -> list[str]:
    return textwrap.wrap(text, max(width, 20), initial_indent=first, subsequent_indent=later)


def _named(layers: Sequence[str]) -> str:
    if len(layers) <= 4:
        return ", ".join(layers)
    return f"{layers[0]}, {layers[1]}, ..., {layers[-1]} ({len(layers)} layers)"


def value(one: Any) -> str:
    """Return a number in four digits, names as they are, all else as JSON."""
    if isinstance(one, str):
        return one
    if isinstance(one, float | np.floating):
        return f"{one:.4g}"
    if isinstance(one, Sequence | np.ndarray) and len(one) > 8:
        return f"[{', '.join(map(value, one[:6]))}, ... {len(one)} in all]"
    if isinstance(one, Sequence | np.ndarray):
        return f"[{', '.join(map(value, one))}]"
    if isinstance(one, Mapping):
        return ", ".join(f"{key}: {value(inner)}" for key, inner in one.items())
    return json.dumps(plain(one))


# -- the table of layers


def layers(figures: Sequence[LayerFigures], width: int = WIDTH) -> list[str]:
    """Return the table, and under it what its columns mean."""
    return [*framed(columns(figures), width), *_filled(_BARS + KEY, width, " ", " ")]


_BARS = "Bars: gradients on a logarithmic scale. "
KEY = (
    "Gradient: root mean square of the kernel's. Update: norm of the "
    "last update over that of the kernel. Mean, spread, zeros, flat (slope below 0.01 of the "
    "largest): of the outputs. Dead: units that are flat for all samples."
)


def framed(columns: Sequence[Column], width: int) -> Iterator[str]:
    """Lines of a table of those columns that fit; the first always is one."""
    room, kept = width - 1 - columns[0].width, [0]
    for i in sorted(range(1, len(columns)), key=lambda i: columns[i].rank):
        room -= columns[i].width
        if room < 0:
            break
        kept.append(i)
    shown = [columns[i] for i in sorted(kept)]
    rows = [list(row) for row in zip(*(column.cells for column in shown), strict=True)]
    header, widths = [c.title for c in shown], [c.width - 3 for c in shown]
    sides = "".join(column.side for column in shown)
    return _summary.table(header, rows, widths, sides, ruled=False)


def columns(figures: Sequence[LayerFigures]) -> list[Column]:
    """Return the columns, that of the bars without a title."""
    return [
        Column("Layer (type)", "<", [f"{f.name} ({f.kind})" for f in figures], 0),
        Column("Gradient", ">", [size(f.gradient) for f in figures], 1),
        Column("", "<", bars([f.gradient for f in figures]), 3),
        Column("Update", ">", [size(f.ratio) for f in figures], 2),
        Column("Mean", ">", [plainly(f.mean) for f in figures], 8),
        Column("Spread", ">", [plainly(f.spread) for f in figures], 7),
        Column("Zeros", ">", [share(f.zeros) for f in figures], 6),
        Column("Flat", ">", [share(f.saturated) for f in figures], 5),
        Column("Dead", ">", [dead(f) for f in figures], 4),
    ]


def size(number: float) -> str:
    """Return two digits and the power of ten; "-" for what there is not."""
    if math.isnan(number):
        return "-"
    return "0" if number == 0 else f"{number:.1e}"


def plainly(number: float) -> str:
    """Return three digits; "-" for what there is not."""
    return "-" if math.isnan(number) else f"{number:.3g}"


def share(number: float) -> str:
    """Return a share in percent, which is 0% and 100% only where it is nothing and all."""
    if math.isnan(number):
        return "-"
    if 0 < number < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= number < 1 else f"{number:.0%}"


def dead(figures: LayerFigures) -> str:
    """Return how many units are dead, of how many."""
    return f"{figures.dead}/{figures.units}" if figures.dead else "0"


def decades(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic scale for positive numbers, as powers of ten."""
    known = np.array([n for n in numbers if 0 < n < math.inf])
    if not known.size:
        return -_LEAST_DECADES, 0.0
    top = math.ceil(np.log10(known.max()))
    return min(math.floor(np.log10(known.min())), top - _LEAST_DECADES), top


def bars(numbers: Sequence[float]) -> list[str]:
    """Return horizontal bars on one logarithmic scale; 0 has none, infinity a full one."""
    low, top = decades(numbers)
    eighths = [
        8 * _BAR if n == math.inf else math.ceil((math.log10(n) - low) / (top - low) * 8 * _BAR)
        for n in (one if one > 0 else 10.0**low for one in numbers)
    ]
    return [_bar(max(e, 1)) if n > 0 else "" for e, n in zip(eighths, numbers, strict=True)]


def _bar(eighths: int) -> str:
    full, part = divmod(eighths, 8)
    return "█" * full + (_BLOCKS[part - 1] if part else "")


# -- cures


def cure(result: CureResult, width: int = WIDTH) -> str:
    """Return what was tried, what it changed and what it took."""
    cost = f"Cost: {result.cost:.3g} trainings, {_counted(len(result.trials), 'trial')}."
    lines = [*_filled(_outcome(result), width, "", ""), cost]
    if result.edits:
        lines += ["", "Edits:"]
        for one in result.edits:
            lines += _filled(edit(one), width, "  ", "    ")
    if result.trials:
        columns = [
            Column("Tried", "<", [edits(trial.edits) for trial in result.trials], 0),
            Column(result.metric, ">", [plainly(trial.score) for trial in result.trials], 1),
            Column("Cost", ">", [plainly(trial.cost) for trial in result.trials], 2),
        ]
        spare = max(width - 1 - sum(column.width for column in columns[1:]), 20)
        columns[0] = columns[0]._replace(cells=[_cut(c, spare - 3) for c in columns[0].cells])
        lines += ["", *framed(columns, width)]
    return "\n".join(lines)


def _outcome(result: CureResult) -> str:
    scores = f"{result.metric} {plainly(result.before)}"
    if result.improved:
        return f"Improved on held-out data: {scores} before, {plainly(result.after)} after."
    return f"Nothing was better on held-out data; the model is the one given, with {scores}."


def edit(one: Edit) -> str:
    """Return an edit in one line, without arguments that are None."""
    content = plain(one.value)
    if isinstance(content, dict):
        content = {name: argument for name, argument in content.items() if argument is not None}
    return f"{one.kind} = {json.dumps(content)}"


def edits(several: Sequence[Edit]) -> str:
    """Return several edits in one line."""
    return ", ".join(map(edit, several)) or "no change"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
