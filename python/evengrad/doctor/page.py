"""A report as a page: one file with its charts, for any browser, without a network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from evengrad.doctor import _charts, _series, _text
from evengrad.doctor._charts import SHARES, Line
from evengrad.doctor.cures import CureResult
from evengrad.doctor.verdicts import DISEASES

if TYPE_CHECKING:
    from evengrad.doctor.health import F64, Health
    from evengrad.doctor.report import LayerFigures, Report
    from evengrad.doctor.verdicts import Verdict

__all__ = ["render", "save"]


def save(said: object, path: str | os.PathLike[str]) -> None:
    """Write `render` to a file.

    Parameters
    ----------
    said : Report or CureResult
        What was found, or that and what was done.
    path : str or path
        The file.

    Raises
    ------
    TypeError
        If it is something else.
    """
    Path(path).write_text(render(said), encoding="utf-8")


def render(said: object) -> str:
    """Return the page as text.

    Parameters
    ----------
    said : Report or CureResult
        What was found, or that and what was done.

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> from evengrad.doctor import Report, page
    >>> text = page.render(Report(()))
    >>> "Healthy, nothing was found." in text, "http://" in text
    (True, False)
    """
    report = _text.as_report(said.report if isinstance(said, CureResult) else said)
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    parts = [_head(report), *_verdicts(report.verdicts)]
    if isinstance(said, CureResult):
        parts.append(_cure(said))
    parts += _charts_of(report)
    if report.layers:
        parts.append(_layers(report))
    title = "healthy" if report.healthy else report.verdicts[0].disease
    return template.substitute(title=escape(f"evengrad doctor: {title}"), body="\n".join(parts))


def _head(report: Report) -> str:
    from evengrad import __version__

    kind = "well" if report.healthy else "sick"
    return (
        f"<header><h1>Report of the gradient doctor</h1>"
        f"<p class='{kind}'><b>{_text.heading(report).capitalize()}</b></p>"
        f"<p class='muted'>evengrad {__version__}</p></header>"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>\n{body}\n</section>"


# -- verdicts


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if verdicts:
        yield _section("What was found", "\n".join(map(_verdict, verdicts)))


def _verdict(verdict: Verdict) -> str:
    sure = f"{verdict.confidence:.0%}"
    name = verdict.disease.replace("_", " ").capitalize()
    parts = [
        f"<header><h3>{escape(name)}</h3><code>{escape(verdict.disease)}</code>"
        f"<span><span class='sure'><i style='width:{sure}'></i></span>{sure} sure</span></header>",
        f"<p class='muted'>{escape(DISEASES.get(verdict.disease, ''))}</p>",
        f"<p>{escape(verdict.cause)}</p>",
        _chips(verdict.layers),
        _evidence(verdict),
        f"<pre><code>{escape(verdict.cure)}</code></pre>" if verdict.cure else "",
        f"<p class='muted'>{escape(verdict.source)}</p>" if verdict.source else "",
    ]
    return f"<article class='card verdict'>{''.join(parts)}</article>"


def _chips(texts: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul class='chips'>{items}</ul>" if texts else ""


def _evidence(verdict: Verdict) -> str:
    rows = "".join(
        f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(_text.value(value))}</dd>"
        for key, value in verdict.evidence.items()
    )
    return f"<dl>{rows}</dl>" if rows else ""


# -- the cure


def _cure(cure: CureResult) -> str:
    kind, said = ("well", "better") if cure.improved else ("sick", "nothing was better")
    scores = [
        f"<div><b>{_text.plainly(cure.before)}</b>{escape(cure.metric)} before</div>",
        f"<div class='{kind}'><b>{_text.plainly(cure.after)}</b>after: {said}</div>",
        f"<div><b>{cure.cost:.3g}</b>trainings it took</div>",
    ]
    rows = [
        [_text.edits(trial.edits), _text.plainly(trial.score), _text.plainly(trial.cost)]
        for trial in cure.trials
    ]
    table = _table(["Tried", f"Held-out {cure.metric}", "Cost"], rows)
    edits = _chips([_text.edit(edit) for edit in cure.edits])
    body = f"<div class='scores'>{''.join(scores)}</div>{edits}{table if rows else ''}"
    return _section("What was done", f"<div class='card'>{body}</div>")


# -- charts


def _charts_of(report: Report) -> Iterator[str]:
    sick = {name for verdict in report.verdicts for name in verdict.layers}
    charts = [*_depth(report.layers, sick)]
    if report.health is not None:
        charts += _history(report.health)
    if charts:
        charts_of = "\n".join(charts)
        yield _section("Gradients and training", f"<div class='charts'>{charts_of}</div>")
    if histograms := _charts.histograms(report.layers):
        note = (
            "<p class='muted'>Outputs of each layer in the examination; heights are roots of the "
            "counts, so that rare values can be seen.</p>"
        )
        body = f"<div class='card'>{note}<div class='histograms'>{histograms}</div></div>"
        yield _section("Activations", body)


def _depth(layers: Sequence[LayerFigures], sick: set[str]) -> Iterator[str]:
    known = [layer for layer in layers if not np.isnan(layer.gradient)]
    if not known:
        return
    xs = [i / max(len(known) - 1, 1) for i in range(len(known))]
    values = np.array([layer.gradient for layer in known])
    dots = ["ill" if layer.name in sick else "fit" for layer in known]
    shown = sorted({0, len(known) // 2, len(known) - 1})
    yield _charts.plot(
        "Gradient over depth",
        "Root mean square of the gradient of each layer's kernel, from the input to the output; "
        "red: layers of a finding, squares at the edge: 0 or not finite.",
        [Line("gradient", xs, values, dots)],
        _charts.logarithmic(values),
        [(xs[i], str(i + 1)) for i in shown],
        [layer.name for layer in known],
    )


def _history(health: Health) -> Iterator[str]:
    steps = health.steps
    if len(steps):
        yield from _losses(health)
    if len(steps) and health.norms:
        rows = _series.gradients(health)
        yield _charts.heat(
            "Gradient over time",
            "Norm of the gradient of each layer's kernel by step, before clipping.",
            rows,
            steps,
            _charts.logarithmic(list(rows.values())),
            "step",
        )
        rows = _series.ratios(health)
        yield _charts.heat(
            "Update over weight",
            "Norm of each step's update over that of the kernel; about 1e-3 is common.",
            rows,
            steps,
            _charts.logarithmic(list(rows.values())),
            "step",
        )
    yield from _activity(health)
    yield from _dead(health)


def _losses(health: Health) -> Iterator[str]:
    ends = _series.ends(health.steps, _charts.MOST_COLUMNS)
    xs = [end / ends[-1] for end in ends]
    points = [f"step {end}" for end in ends]
    ticks = [(share, str(round(share * ends[-1]))) for share in (0.0, 0.5, 1.0)]
    loss = _series.thin(health.loss, _charts.MOST_COLUMNS)
    note = "Of the batches, by step; gaps: not finite."
    yield _charts.plot("Loss", note, [Line("loss", xs, loss)], _charts.fitting(loss), ticks, points)
    clipped = _series.thin(health.clipped, _charts.MOST_COLUMNS)
    if (clipped > 0).any():
        note = "Share of the steps whose gradients clipping changed."
        yield _charts.plot("Clipped", note, [Line("clipped", xs, clipped)], SHARES, ticks, points)


def _activity(health: Health) -> Iterator[str]:
    if not len(health.looks):
        return
    for name, title, note in (
        ("zeros", "Zeros", "Share of each layer's outputs that is exactly 0."),
        ("saturated", "Flat", "Share of outputs where the slope is below 0.01 of its largest."),
    ):
        rows: dict[str, F64] = {
            layer: np.asarray(getattr(activity, name), float)
            for layer, activity in health.activity.items()
        }
        if any((values > 0).any() for values in rows.values()):
            yield _charts.heat(title, note, rows, health.looks, SHARES, "step")


def _dead(health: Health) -> Iterator[str]:
    epochs = max(map(len, health.dead.values()), default=0)
    rows = {
        layer: np.array([*counts, *[np.nan] * (epochs - len(counts))])
        for layer, counts in health.dead.items()
    }
    most = max((values.max(initial=0, where=values > 0) for values in rows.values()), default=0)
    if most:
        note = "How many units were flat for every sample of an epoch that was looked at."
        scale = _charts.Scale(0.0, float(most), False)
        yield _charts.heat("Dead units", note, rows, range(1, epochs + 1), scale, "epoch")


# -- the table


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], sick: Sequence[bool] = ()) -> str:
    marks = sick or [False] * len(rows)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr{' class=ill' * mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row, mark in zip(rows, marks, strict=True)
    )
    parts = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"<div class='wide'><table>{parts}</table></div>"


def _layers(report: Report) -> str:
    sick = {name for verdict in report.verdicts for name in verdict.layers}
    columns = [column for column in _text.columns(report.layers) if column.title]
    rows = list(zip(*(column.cells for column in columns), strict=True))
    table = _table([c.title for c in columns], rows, [f.name in sick for f in report.layers])
    note = f"<p class='muted'>{escape(_text.KEY)}</p>"
    return _section("Layers", f"<div class='card'>{table}{note}</div>")
