"""What the demo prints: prose, a bar chart of each network's gradients, a table by layer."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TextIO

import numpy as np

from evengrad import _core, _summary
from evengrad.demo.runs import F64, HIDDEN_LAYERS, Result
from evengrad.doctor import _text
from evengrad.doctor._shown import Shown

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*%#"
_LOWEST, _DECADES = -16, 2  # of a bar: where it starts, and one of its two times eight steps
_MARGIN, _COLUMN = 13, 33  # widths of a chart's labels, and of its bars with their numbers
_WIDEST_PROSE = 100


class Terminal:
    """Prints to a stream in the characters that it can show and the columns that there are.

    Parameters
    ----------
    stream : text file
        Where to.

    Attributes
    ----------
    shades : str
        Nine characters, from an empty cell to a full one.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.width = shutil.get_terminal_size().columns - 1  # some wrap behind a full line
        self.shades = _BLOCKS if _can_show(stream, _BLOCKS) else _ASCII
        self._steps = 2 if self.width >= _MARGIN + 2 * _COLUMN - 1 else 1

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
        print(text.rstrip(), file=self.stream, flush=True)

    def versions(self) -> None:
        """Print what runs, and on what, and an empty line."""
        config = _core.config()
        self.line(
            f"evengrad {config['version']}, instruction set {config['isa']}, "
            f"threads {config['threads']}"
        )
        self.line()

    def doctor(self, said: Shown) -> None:
        """Print what an examination found, or what a cure did."""
        text = _text.of(said, self.width)
        self.line(_summary.writable(text, self.stream.encoding))

    def prose(self, text: str, indent: int = 0) -> None:
        """Print text in lines of the terminal's width; all but the first are indented."""
        width = min(max(self.width, 2 * indent + 1), _WIDEST_PROSE)
        self.line(textwrap.fill(text, width, subsequent_indent=" " * indent))

    def heading(self, text: str) -> None:
        """Print an underlined title after an empty line."""
        self.line()
        self.line(text)
        self.line("-" * len(text))

    def chart_head(self) -> None:
        """Name the columns of `chart`."""
        steps = ("first", "last")[: self._steps]
        columns = [f"{step} step, layers 1 to {HIDDEN_LAYERS}" for step in steps]
        line = "".join(f"{'':7}{column:{_COLUMN - 7}}" for column in columns)
        self.line(f"{'accuracy time':{_MARGIN}}{line}")

    def chart(self, result: Result) -> None:
        """Print the bars of a network's gradients, first and last step, two lines high."""
        steps = (result.start, result.end)[: self._steps]
        upper = "".join(f"{'':7}{_bars(values, 8, self.shades)}{'':6}" for values in steps)
        lower = "".join(
            f" {number(values[0]):>5} {_bars(values, 0, self.shades)} {number(values[-1]):5}"
            for values in steps
        )
        label = result.treatment
        # A long label reaches into the column of numbers, which is empty in this line.
        self.line(label + f"{'':{_MARGIN}}{upper}"[len(label) :])
        self.line(f"{result.accuracy:5.1%}{result.seconds:6.2f} s{lower}")
        if result.failures:
            self.prose(f"{'':{_MARGIN}} {result.failures}", _MARGIN + 1)

    def depth(self, label: str, values: F64, note: str) -> None:
        """Print the bars of one examination, as high as they are, and a note behind them."""
        upper = f"{'':{_MARGIN + 7}}{_bars(values, 8, self.shades)}"
        if upper.strip():
            self.line(upper)
        first, last = number(values[0]), number(values[-1])
        bars = f"{first:>5} {_bars(values, 0, self.shades)} {last:5}"
        self.line(f"{label:{_MARGIN}} {bars} {note}")

    def table(self, results: Sequence[Result]) -> None:
        """Print gradients by layer: as many layers as fit."""
        layers = _layers_that_fit(self.width - 15)
        wide = 6 * len(layers)
        numbers = "".join(f"{layer:6}" for layer in layers)
        self.line(f"{'':15}{'first step, layer':>{wide}}  {'last step, layer':>{wide}}")
        self.line(f"{'':15}{numbers}  {numbers}")
        for i, result in enumerate(results):
            if i == 0 or result.sickness != results[i - 1].sickness:
                self.line(result.sickness)
            start, end = (
                "".join(f"{number(values[layer - 1]):>6}" for layer in layers)
                for values in (result.start, result.end)
            )
            self.line(f" {result.treatment:14}{start}  {end}")


def number(value: float) -> str:
    """Return at most five characters: 9e-15, 0, inf, nan."""
    return "0" if value == 0 else f"{value:.0e}"


def _can_show(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _bars(values: F64, floor: int, shades: str) -> str:
    """Return what of the bars shows in the line that starts at so many eighths."""
    with np.errstate(divide="ignore"):
        heights = np.ceil((np.log10(values) - _LOWEST) / _DECADES)
    heights = np.where(values > 0, np.maximum(heights, 1), 0)  # only zero has no bar
    heights = np.where(np.isfinite(values), heights, np.inf)
    return "".join(shades[int(height)] for height in np.clip(heights - floor, 0, 8))


def _layers_that_fit(columns: int) -> list[int]:
    """Layers 1 to 20, or every second, fifth or tenth, such that both steps' columns fit."""
    for stride in (1, 2, 5, 10):
        layers = sorted({1, *range(stride, HIDDEN_LAYERS + 1, stride)})
        if 2 * 6 * len(layers) + 2 <= columns:
            break
    return layers
