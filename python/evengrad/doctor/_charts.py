"""Charts of a report's page: HTML with SVG and PNG inside, legible on any width and background.

What stretches with the page (lines, heat maps) holds no text; text is HTML beside it.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evengrad.doctor import _series, _text

if TYPE_CHECKING:
    from evengrad.doctor.health import F64
    from evengrad.doctor.report import LayerFigures

MOST_COLUMNS = 160  # of a heat map, and points of a line
_SIZE = 1000.0  # of the coordinates within an SVG

# Dark blue to yellow, of rising lightness, told apart by the colour-blind.
_STOPS = ((53, 42, 120), (49, 104, 142), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_NONE, _ZERO, _INFINITE = range(3)  # entries of the palette before the scale's
_ZERO_COLOUR, _INFINITE_COLOUR = (217, 70, 190), (220, 50, 47)


class Scale(NamedTuple):
    """From `low` to `high`, of powers of ten where it is logarithmic."""

    low: float
    high: float
    logarithmic: bool

    def place(self, values: Any) -> F64:
        """Return where numbers are: 0 at the low end, 1 at the high one; NaN stays."""
        with np.errstate(divide="ignore", invalid="ignore"):
            known = np.asarray(values, float)
            known = np.log10(known) if self.logarithmic else known
            placed: F64 = np.clip((known - self.low) / (self.high - self.low), 0.0, 1.0)
        return placed

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and texts of at most six numbers."""
        if not self.logarithmic:
            values = np.linspace(self.low, self.high, 5)
            return [(i / 4, self.text(float(value))) for i, value in enumerate(values)]
        step = math.ceil((self.high - self.low) / 5)
        powers = np.arange(self.high, self.low - 0.5, -step)[::-1]
        return [((p - self.low) / (self.high - self.low), f"1e{p:.0f}") for p in powers]

    def text(self, value: float) -> str:
        """Return a number as such a scale is read."""
        if math.isinf(value):
            return str(value)
        if self.logarithmic:
            return _text.size(value)
        return _text.share(value) if self == SHARES else _text.plainly(value)


SHARES = Scale(0.0, 1.0, False)


def logarithmic(values: Any) -> Scale:
    """Return a scale of whole powers of ten for the positive ones."""
    return Scale(*_text.decades(np.ravel(values).tolist()), True)


def fitting(values: Any) -> Scale:
    """Return a logarithmic scale for positive numbers of several magnitudes, else a linear one."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not known.size:
        return SHARES
    low, high = float(known.min()), float(known.max())
    if low > 0 and high > 30 * low:
        return Scale(math.floor(math.log10(low)), math.ceil(math.log10(high)), True)
    margin = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
    return Scale(low - margin, high + margin, False)


# -- heat maps


def heat(
    title: str, note: str, rows: Mapping[str, F64], steps: Iterable[float], scale: Scale, unit: str
) -> str:
    """Return a heat map: a row for each series, from left to right over the steps."""
    columns = _series.ends(steps, MOST_COLUMNS)
    values = np.array([_series.thin(row, MOST_COLUMNS) for row in rows.values()])
    levels = _levels(values, scale)
    picture = base64.b64encode(_png(levels)).decode()
    names = "".join(f"<span title='{escape(n)}'>{escape(n)}</span>" for n in rows)
    picture = f"<img alt='{escape(title)}' src='data:image/png;base64,{picture}'>"
    names = f"<div class='names'>{names}</div>"
    shown = (0.0, 0.5, 1.0) if len(columns) > 1 else (0.0,)
    ticks = _ticks("x", [(share, _at(columns, share)) for share in shown])
    body = f"<div class='heat'>{names}<div class='field'>{picture}</div>{ticks}</div>"
    points = [f"{unit} {n}" for n in columns]
    data = _data(list(rows), points, values.tolist(), scale)
    return _figure(title, note, body + _legend(levels, scale), data)


def _at(columns: Sequence[int], share: float) -> str:
    return str(columns[min(int(share * len(columns)), len(columns) - 1)])


def _levels(values: F64, scale: Scale) -> NDArray[np.uint8]:
    """Return the entries of the palette for values."""
    places = scale.place(values)
    levels = np.where(np.isnan(places), 0.0, 3.0 + np.round(places * 252.0))
    if scale.logarithmic:
        levels = np.where(values == 0, _ZERO, levels)
    levels = np.where(np.isinf(values), _INFINITE, levels)
    return np.where(np.isnan(values), _NONE, levels).astype(np.uint8)


def _palette() -> NDArray[np.uint8]:
    places = np.linspace(0.0, 1.0, 253)
    stops = np.array(_STOPS, float)
    scale = [np.interp(places, np.linspace(0.0, 1.0, len(stops)), channel) for channel in stops.T]
    special = [(0, 0, 0), _ZERO_COLOUR, _INFINITE_COLOUR]
    return np.vstack([special, np.round(np.transpose(scale))]).astype(np.uint8)


def _png(levels: NDArray[np.uint8]) -> bytes:
    """Return a picture with a palette of which entry 0 is transparent (ISO/IEC 15948)."""
    height, width = levels.shape
    lines = np.hstack([np.zeros((height, 1), np.uint8), levels])  # filter 0: as they are
    chunks = {
        b"IHDR": struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0),
        b"PLTE": _palette().tobytes(),
        b"tRNS": b"\0",
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c))
        for name, c in chunks.items()
    )


def _legend(levels: NDArray[np.uint8], scale: Scale) -> str:
    """Return the colours and their numbers; those out of the scale only where there are any."""
    colours = ",".join(_rgb(stop) for stop in _STOPS)
    ends = [f"1e{v:.0f}" if scale.logarithmic else scale.text(v) for v in scale[:2]]
    more = {
        _ZERO: (_rgb(_ZERO_COLOUR), "exactly 0"),
        _INFINITE: (_rgb(_INFINITE_COLOUR), "not finite"),
        _NONE: ("none", "not measured"),
    }
    swatches = "".join(
        f"<span><i class='swatch' style='background:{colour}'></i>{text}</span>"
        for level, (colour, text) in more.items()
        if (levels == level).any()
    )
    ramp = f"<i class='ramp' style='background:linear-gradient(90deg,{colours})'></i>"
    return f"<div class='legend'><span>{ends[0]} {ramp} {ends[1]}</span>{swatches}</div>"


def _rgb(colour: Sequence[int]) -> str:
    return f"rgb({','.join(map(str, colour))})"


# -- lines and dots


class Line(NamedTuple):
    """Values over `xs`, the places from 0 to 1; `dots`: which class each has, none for a line."""

    name: str
    xs: Sequence[float]
    values: F64
    dots: Sequence[str] = ()


def plot(
    title: str,
    note: str,
    lines: Sequence[Line],
    scale: Scale,
    ticks: Sequence[tuple[float, str]],
    points: Sequence[str],
) -> str:
    """Return lines over one axis, whose `points` have names."""
    parts = "".join(part for line in lines for part in _drawn(line, scale))
    grid = "".join(
        f"<path class='grid' d='M0 {_SIZE * (1 - place):.1f}H{_SIZE:g}'/>"
        for place, _ in scale.ticks()
    )
    drawing = (
        f"<svg viewBox='0 0 {_SIZE:g} {_SIZE:g}' preserveAspectRatio='none' role='img' "
        f"aria-label='{escape(title)}'>{grid}{parts}</svg>"
    )
    body = (
        f"<div class='plot'>{_ticks('y', scale.ticks())}<div class='field'>{drawing}</div>"
        f"{_ticks('x', ticks)}</div>"
    )
    values = [np.asarray(line.values, float).tolist() for line in lines]
    data = _data([line.name for line in lines], points, values, scale, list(lines[0].xs))
    return _figure(title, note, body, data)


def _drawn(line: Line, scale: Scale) -> Iterator[str]:
    places = scale.place(line.values)
    xs, ys = _SIZE * np.asarray(line.xs, float), _SIZE * (1.0 - places)
    inside = np.isfinite(line.values)
    if scale.logarithmic:
        inside &= np.asarray(line.values) > 0
    padded = np.pad(inside, 1)
    alone = inside & ~padded[:-2] & ~padded[2:]
    pieces = "".join(
        f"{'L' if padded[i] else 'M'}{xs[i]:.1f} {ys[i]:.1f}"
        for i in np.flatnonzero(inside & ~alone)
    )
    if pieces:
        yield f"<path class='line' d='{pieces}'/>"
    # Lines have dots where one would not see them else: where a point has no neighbours.
    kinds = line.dots or ["fit" if one else "" for one in alone]
    for i in np.flatnonzero(~np.isnan(line.values)).tolist():
        if kinds[i]:
            kind = kinds[i] if inside[i] else f"{kinds[i]} out"
            yield f"<path class='dot {kind}' d='M{xs[i]:.1f} {ys[i]:.1f}h0'/>"


def _ticks(axis: str, ticks: Sequence[tuple[float, str]]) -> str:
    side = {"x": "left", "y": "bottom"}[axis]
    marks = "".join(
        f"<span style='{side}:{100 * place:.2f}%'>{escape(text)}</span>" for place, text in ticks
    )
    return f"<div class='{axis}'>{marks}</div>"


# -- histograms


def histograms(layers: Sequence[LayerFigures]) -> str:
    """Return a small histogram for each layer that has one."""
    return "".join(_histogram(layer) for layer in layers if len(layer.counts))


def _histogram(layer: LayerFigures) -> str:
    counts, edges = np.asarray(layer.counts, float), np.asarray(layer.edges, float)
    wide = edges[-1] - edges[0] if len(edges) else 0.0
    name = escape(layer.name)
    if not (np.isfinite(wide) and wide > 0 and counts.max() > 0):
        drawing, ends = "<p class='muted'>no histogram: not finite or empty</p>", ""
    else:
        xs = _SIZE * (edges - edges[0]) / wide
        ys = _SIZE * (1.0 - np.sqrt(counts / counts.max()))
        steps = "".join(
            f"V{y:.1f}H{x:.1f}" for (_, x), y in zip(itertools.pairwise(xs), ys, strict=True)
        )
        drawing = (
            f"<svg viewBox='0 0 {_SIZE:g} {_SIZE:g}' preserveAspectRatio='none' role='img' "
            f"aria-label='Outputs of {name}'><path class='bars' d='M0 {_SIZE:g}{steps}"
            f"V{_SIZE:g}Z'/></svg>"
        )
        ends = f"<div class='ends'><span>{edges[0]:.3g}</span><span>{edges[-1]:.3g}</span></div>"
    told = f"{_text.plainly(layer.mean)} &plusmn; {_text.plainly(layer.spread)}"
    known = (("zero", layer.zeros), ("flat", layer.saturated))
    shares = ", ".join(f"{_text.share(s)} {what}" for what, s in known if not math.isnan(s))
    return (
        f"<div class='histogram'><b title='{name}'>{name}</b>{drawing}{ends}"
        f"<small>{told}<br>{shares}</small></div>"
    )


# -- common


def _data(
    rows: Sequence[str],
    points: Sequence[str],
    values: list[list[float]],
    scale: Scale,
    xs: Sequence[float] | None = None,
) -> dict[str, Any]:
    texts = [[scale.text(value) for value in row] for row in values]
    return {"rows": list(rows), "points": list(points), "values": texts, "xs": xs}


def _figure(title: str, note: str, body: str, data: Mapping[str, Any]) -> str:
    """Return a chart with its numbers, which the page's script reads, and shows on pointing."""
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return (
        f"<figure class='chart'><figcaption><h3>{escape(title)}</h3><p>{escape(note)}</p>"
        f"</figcaption><output aria-live='polite'></output>{body}"
        f"<script type='application/json'>{text}</script></figure>"
    )
