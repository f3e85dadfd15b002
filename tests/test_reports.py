"""How reports, cures and health are shown: as text, as JSON, as a page and as a figure."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import struct
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evengrad as keras
import numpy as np
import pytest
import reports
from evengrad import callbacks
from evengrad.doctor import Activity, Health, Norms, Report, Trial, _charts, _series, _text, page

NAN, INF = float("nan"), float("inf")
EVIL = "</title></script><script>alert('\"&')</script>"


def sick_numbers() -> Report:
    """Everything that is not finite or not there."""
    odd = [
        reports.figures(
            "none", NAN, **dict.fromkeys(("mean", "spread", "zeros", "saturated"), NAN)
        ),
        reports.figures("zero", 0.0),
        reports.figures("infinite", INF, mean=-INF, spread=INF),
        reports.figures("empty", 1e-3, counts=np.zeros(0, int), edges=np.zeros(0)),
        reports.figures("flat", 1e-2, counts=np.zeros(5, int), edges=np.zeros(6)),
        reports.figures("wide", 1e30, edges=np.r_[[-INF] * 10, [INF] * 11]),
    ]
    health = reports.health(4)
    for i, values in enumerate((NAN, INF, 0.0)):
        for part in (*list(health.norms.values())[2 * i], *list(health.activity.values())[i]):
            part[1:20] = values
    health.loss[:3] = NAN, INF, 0.0
    return Report((reports.verdict(evidence={"n": NAN, "i": [INF, -INF]}),), tuple(odd), health)


# -- text


def cells(text: str, mark: str = "│") -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith(mark)]
    return [[cell.strip() for cell in row.strip(mark).split(mark)] for row in rows]


def test_the_table_has_the_numbers_of_the_layers() -> None:
    layers = [
        reports.figures(f"layer_{i}", 10.0 ** (-3 * i), zeros=z, dead=d, mean=-0.125 * i)
        for i, (z, d) in enumerate([(0.0, 0), (0.001, 1), (0.999, 63), (1.0, 64)])
    ]
    table = cells(str(Report((), tuple(layers))))
    assert [row[0] for row in table] == [f"layer_{i} (Dense)" for i in range(4)]
    for row, layer in zip(table, layers, strict=True):
        assert float(row[1]) == pytest.approx(layer.gradient, rel=0.05)
        assert float(row[3]) == pytest.approx(layer.ratio, rel=0.05)
        assert float(row[4]) == layer.mean
        assert float(row[5]) == layer.spread
        assert row[7] == "12%"
    assert [row[6] for row in table] == ["0%", "<1%", ">99%", "100%"]
    assert [row[8] for row in table] == ["0", "1/64", "63/64", "64/64"]


def test_bars_are_lengths_on_a_scale_of_magnitudes() -> None:
    made = _text.bars([1e-10, 1e-5, 1.0, 0.0, INF, NAN, 1e-10 * 10**0.125])
    assert made == ["▏", "█████", "██████████", "", "██████████", "", "▏"]
    assert _text.bars([1e-10 * 10**0.126, 1e-10, 1.0])[0] == "▎"
    # What differs by little has bars that differ by little.
    assert {len(bar) for bar in _text.bars([0.5, 0.6, 0.9])} == {10}
    assert _text.bars([0.0, NAN]) == ["", ""]


def test_verdicts_are_told() -> None:
    text = str(reports.report())
    assert text.startswith("4 layers examined: 2 findings, the most likely first.\n\n1. vanishing")
    for said in (
        "1. vanishing_gradient, 97% sure, in dense, dense_1\n",
        "   The gradient loses a magnitude a layer.\n",
        "   slope -1; by_layer dense: 0.0001; first 0.0001\n",
        '       layers.Dense(64, "elu")\n       layers.Dense(10)\n',
        "   Glorot and Bengio, 2010\n",
        "2. saturation, 97% sure",
    ):
        assert said in text
    many = str(Report((reports.verdict(layers=tuple(reports.names(20))),)))
    assert "in dense, dense_1, ..., dense_19 (20 layers)" in many
    assert repr(reports.report()) == "<Report of 4 layers: vanishing_gradient, saturation>"


def test_a_healthy_report_says_so() -> None:
    assert str(Report(())) == "healthy, nothing was found."
    assert str(Report((), reports.layers(1))).startswith("1 layer examined: healthy, nothing")
    assert repr(Report(())) == "<Report of 0 layers: healthy>"


def test_what_is_not_finite_is_told() -> None:
    text = str(sick_numbers())
    table = {row[0].split()[0]: row for row in cells(text)}
    assert table["none"][1:8] == ["-", "", "-", "-", "-", "-", "-"]
    assert table["zero"][1:3] == ["0", ""]
    assert table["infinite"][1:6] == ["inf", "██████████", "inf", "-inf", "inf"]
    assert "n nan; i [inf, -inf]" in text


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_columns_that_do_not_fit_are_left_out(width: int) -> None:
    text = _text.report(reports.report(20), width)
    assert max(map(len, text.splitlines())) <= width
    header = cells(text, "┃")[0]
    assert header[0] == "Layer (type)"
    assert len(header) == {30: 1, 60: 4, 80: 7, 200: 9}[width]
    assert ("Dead" in header) == (width >= 80)


def test_cures_are_told() -> None:
    text = str(reports.cure())
    for said in (
        "Improved on held-out data: accuracy 0.098 before, 0.938 after.",
        "Cost: 1.5 trainings, 3 trials.",
        '  activation = "elu"\n  optimizer = {"name": "adam", "learning_rate": 0.001}',
    ):
        assert said in text
    assert cells(text) == [
        ["no change", "0.1", "0.25"],
        ['activation = "elu"', "-", "0.5"],
        [
            'activation = "elu", optimizer = {"name": "adam", "learning_rate": 0.001}',
            "0.938",
            "0.75",
        ],
    ]
    assert max(map(len, _text.cure(reports.cure(), 60).splitlines())) <= 60
    none = str(reports.cure(improved=False, edits=(), trials=(Trial((), 0.1, 0.2),)))
    assert none.startswith("Nothing was better on held-out data; the model is the one given")
    assert "Cost: 1.5 trainings, 1 trial." in none
    assert repr(reports.cure()) == "<CureResult accuracy: 0.098 to 0.9375, 2 edits>"


def test_show_prints_in_the_characters_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("COLUMNS", "70")
    reports.report().show()
    reports.cure().show()
    file.flush()
    text = file.buffer.getvalue().decode("ascii")
    assert "| dense (Dense)   |  1.0e-04 |" in text
    assert "##########" in text
    assert "?" not in text
    assert "Improved" in text
    assert max(map(len, text.splitlines())) <= 70


# -- JSON


def strict(text: str) -> Any:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("made", [
    Report(()), reports.report(), sick_numbers(), reports.cure(), Health(), reports.health(),
], ids=lambda made: type(made).__name__)  # fmt: skip
def test_json_round_trip(made: Any, tmp_path: Path) -> None:
    text = made.to_json(tmp_path / "made.json")
    assert strict(text) == made.to_dict()
    assert strict((tmp_path / "made.json").read_text()) == made.to_dict()
    assert next(iter(made.to_dict())) == "format"


def test_json_has_the_numbers_to_the_bit() -> None:
    report = reports.report()
    made = strict(report.to_json())
    assert made["healthy"] is False
    for read, layer in zip(made["layers"], report.layers, strict=True):
        assert read["gradient"] == layer.gradient
        np.testing.assert_array_equal(read["counts"], layer.counts)
        np.testing.assert_array_equal(read["edges"], layer.edges)
    assert report.health is not None
    for path, norms in report.health.norms.items():
        for name, values in norms._asdict().items():
            np.testing.assert_array_equal(made["health"]["norms"][path][name], values)
    assert made["verdicts"][0]["edits"][1] == {
        "kind": "optimizer",
        "value": reports.ADAM,
    }
    assert made["verdicts"][0]["layers"] == ["dense", "dense_1"]


def test_json_of_what_is_not_finite() -> None:
    made = sick_numbers().to_dict()
    by_name = {layer["name"]: layer for layer in made["layers"]}
    assert by_name["none"]["mean"] is None
    assert (by_name["infinite"]["gradient"], by_name["infinite"]["mean"]) == (
        "Infinity",
        "-Infinity",
    )
    assert float(by_name["infinite"]["mean"]) == -INF
    assert made["verdicts"][0]["evidence"] == {"n": None, "i": ["Infinity", "-Infinity"]}
    assert made["health"]["loss"][:4] == [None, "Infinity", 0.0, pytest.approx(np.exp(-8 / 50))]


def test_what_the_doctor_did_not_say_is_refused() -> None:
    for shown in (page.render, lambda said: _text.of(said, 80)):
        with pytest.raises(TypeError, match="expected a Report or a CureResult, got 'sick'"):
            shown("sick")


def test_json_refuses_what_it_does_not_have() -> None:
    with pytest.raises(TypeError, match="expected what JSON has"):
        Report((reports.verdict(evidence={"model": object()}),)).to_json()


def test_a_cure_has_all_but_its_model() -> None:
    made = reports.cure().to_dict()
    assert list(made) == [
        "format", "improved", "before", "after", "metric", "edits", "cost", "report", "trials",
    ]  # fmt: skip
    assert made["report"] == reports.report().to_dict()


def test_every_key_is_documented() -> None:
    documented = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text()
    report = reports.report()
    made = report.to_dict(), reports.cure().to_dict()
    parts = (*made, made[0]["verdicts"][0], made[0]["layers"][0], made[0]["health"])
    inner = made[1]["trials"][0], *(
        next(iter(made[0]["health"][name].values())) for name in ("norms", "activity")
    )  # fmt: skip
    keys = {key for part in (*parts, *inner) for key in part}
    words = set(re.findall(r"\w+", documented.split("### JSON")[1]))
    assert keys <= words


# -- series


def test_kernels_by_layer() -> None:
    norms = Norms(*np.ones((3, 2)))
    health = Health(
        norms={f"m/{n}": norms for n in ("a/kernel", "a/bias", "b/gamma", "c/d/kernel")}
    )
    assert list(_series.kernels(health)) == ["a", "c/d"]
    health = Health(norms={"m/a/kernel": norms})
    assert list(_series.kernels(health)) == ["a"]
    health = Health(norms={"m/b/gamma": norms, "m/b/beta": norms})
    assert list(_series.kernels(health)) == ["m/b/gamma", "m/b/beta"]
    health = Health(norms={"m/own/first": norms, "m/own/second": norms})
    assert list(_series.kernels(health)) == ["m/own/first", "m/own/second"]


def test_ratios() -> None:
    norms = Norms(np.ones(4), np.array([2.0, 0.0, 0.0, INF]), np.array([1.0, 1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(_series.ratio(norms), [0.5, INF, NAN, 0.0])


@pytest.mark.parametrize(("points", "most"), [(0, 4), (1, 4), (4, 4), (5, 4), (97, 10)])
def test_thinning_is_the_mean_of_neighbours(points: int, most: int) -> None:
    values = np.random.default_rng(0).normal(size=points)
    groups = [g for g in np.array_split(np.arange(points), min(points, most) or 1) if len(g)]
    sizes = sorted(map(len, groups))
    steps = np.arange(points) * 3 + 3
    ends = _series.ends(steps, most)
    firsts = [0, *(steps.tolist().index(end) + 1 for end in ends)]
    assert sorted(np.diff(firsts)) == sizes if points else ends == []
    right = [values[a:b].mean() for a, b in itertools.pairwise(firsts)]
    np.testing.assert_allclose(_series.thin(values, most), right, rtol=1e-12)


def test_thinning_what_is_not_finite() -> None:
    values = [NAN, NAN, NAN, 2.0, INF, 1.0, 4.0, 5.0]
    np.testing.assert_array_equal(_series.thin(values, 4), [NAN, 2.0, INF, 4.5])


# -- the page


class Page(HTMLParser):
    """Tags that are closed as they were opened, their attributes, and the text between."""

    VOID = {"meta", "link", "img", "br"}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for found, attrs in self.tags if found == tag and name in attrs]

    def charts(self) -> dict[str, Any]:
        """The numbers of each chart, by its title."""
        data = [strict(t) for t in self.text["script"] if t.startswith("{")]
        return dict(zip(self.titles(), data, strict=True))

    def titles(self) -> list[str]:
        # Verdicts have titles, too.
        count = sum(tag == "figure" for tag, _ in self.tags)
        return self.text.get("h3", [])[-count:] if count else []


REPORTS = {
    "empty": Report(()),
    "healthy": Report((), reports.layers(3), Health()),
    "untrained": replace(reports.report(), health=None),
    "no verdicts": replace(reports.report(), verdicts=()),
    "one layer": reports.report(1),
    "sixty layers": reports.report(60),
    "not finite": sick_numbers(),
    "a point": Report((), reports.layers(1), reports.health(1, 1, 1, 1)),
    "nothing but NaN": Report((), (reports.figures("none", NAN),), Health(
        steps=np.ones(1), loss=np.array([NAN]), clipped=np.array([NAN]), looks=np.ones(1),
        norms={"a/b/kernel": Norms(*np.full((3, 1), NAN))},
        activity={"b": Activity(*np.full((4, 1), NAN))},
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_pages_are_whole_and_need_nothing_from_outside(name: str) -> None:
    text = page.render(REPORTS[name])
    made = Page(text)
    for tag in ("html", "head", "title", "style", "body", "script"):
        assert tag in dict(made.tags)
    references = [
        value or ""
        for _, attrs in made.tags
        for key, value in attrs.items()
        if key in ("src", "href", "srcset", "data", "action", "poster")
    ]
    assert all(value.startswith("data:") for value in references)
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://", text)
    assert not re.search(r"\b(nan|NaN)\b", "".join(made.attributes("path", "d")))
    assert "$" not in re.sub(r"\$\{", "", text)


def test_a_page_says_what_was_found_and_done() -> None:
    made = Page(page.render(reports.cure()))
    said = " ".join(" ".join(parts) for tag, parts in made.text.items() if tag != "script")
    for text in (
        "4 layers examined: 2 findings", "Vanishing gradient", "vanishing_gradient", "97%",
        "Gradients fade on their way", "loses a magnitude", "by layer", "dense: 0.0001",
        'layers.Dense(64, "elu")', "Glorot and Bengio, 2010", "0.098", "0.938",
        'activation = "elu"', "no change", "What was done",
    ):  # fmt: skip
        assert text in said, text
    assert "What was done" not in page.render(reports.report())
    assert "nothing was better" in page.render(reports.cure(improved=False))


def test_names_cannot_leave_their_place() -> None:
    evil = reports.figures(EVIL, 1e-3, kind=EVIL)
    health = reports.health(1)
    health.norms[f"m/{EVIL}/kernel"] = next(iter(health.norms.values()))
    health.activity[EVIL] = health.activity["dense"]
    health.dead[EVIL] = [1, 2]
    verdict = reports.verdict(
        disease=EVIL, cause=EVIL, layers=(EVIL,), evidence={EVIL: EVIL}, cure=EVIL, source=EVIL
    )
    result = reports.cure(metric=EVIL, edits=(reports.Edit(EVIL, EVIL),))
    plain, text = (
        page.render(replace(c, report=Report((v,), (layer,), h)))
        for v, layer, h, c in (
            (reports.verdict(), reports.figures("a", 1e-3), reports.health(1), reports.cure()),
            (verdict, evil, health, result),
        )
    )
    assert text.count("<script") == plain.count("<script")
    assert "<script>alert" not in text
    made = Page(text)
    assert EVIL in made.text["code"]
    assert EVIL in made.text["dd"]
    assert any(EVIL in chart["rows"] for chart in made.charts().values())


def test_charts_have_the_numbers() -> None:
    report = reports.report(5)
    charts = Page(page.render(report)).charts()
    assert list(charts) == [
        "Gradient over depth", "Loss", "Clipped", "Gradient over time", "Update over weight",
        "Zeros", "Flat", "Dead units",
    ]  # fmt: skip
    depth = charts["Gradient over depth"]
    assert depth["points"] == reports.names(5)
    assert [float(v) for v in depth["values"][0]] == [layer.gradient for layer in report.layers]
    assert depth["xs"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert report.health is not None
    time = charts["Gradient over time"]
    assert time["rows"] == reports.names(5)
    assert time["points"][-1] == f"step {int(report.health.steps[-1])}"
    for row, norms in zip(time["values"], _series.gradients(report.health).values(), strict=True):
        np.testing.assert_allclose([float(v) for v in row], norms, rtol=0.05)
    dead = charts["Dead units"]
    assert dead["points"] == [f"epoch {i}" for i in range(1, 6)]
    assert dead["values"][0] == ["0", "1", "2", "3", "4"]


def test_long_trainings_are_thinned() -> None:
    charts = Page(page.render(Report((), (), reports.health(2, 4096, 4096)))).charts()
    for title in ("Loss", "Gradient over time", "Zeros"):
        assert len(charts[title]["points"]) == _charts.MOST_COLUMNS
    assert charts["Loss"]["points"][-1] == "step 8192"
    assert len(page.render(reports.report(60))) < 1_000_000


def pixels(picture: bytes) -> Any:
    """The entries of the palette, as ISO/IEC 15948 has them, and the palette."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(picture):
        (size,) = struct.unpack_from(">I", picture, at)
        name, content = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        (check,) = struct.unpack_from(">I", picture, at + 8 + size)
        assert check == zlib.crc32(name + content)
        chunks[name] = content
        at += size + 12
    width, height = struct.unpack_from(">2I", chunks[b"IHDR"])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_heat_maps_show_the_numbers_as_colours() -> None:
    rows = {"a": np.array([1e-8, 1e-4, 1.0]), "b": np.array([0.0, INF, NAN])}
    text = _charts.heat("title", "note", rows, [1, 2, 3], _charts.logarithmic([1e-8, 1.0]), "step")
    picture = base64.b64decode(text.split("base64,")[1].split("'")[0])
    levels, palette = pixels(picture)
    np.testing.assert_array_equal(levels, [[3, 129, 255], [1, 2, 0]])
    assert tuple(palette[3]) == _charts._STOPS[0]
    assert tuple(palette[129]) == _charts._STOPS[2]
    assert tuple(palette[255]) == _charts._STOPS[-1]
    assert len(palette) == 256
    lightness = palette[3:] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -0.8).all()  # of whole numbers
    for said in ("exactly 0", "not finite", "not measured", "1e-8", "1e0"):
        assert said in text
    assert "exactly 0" not in _charts.heat("", "", {"a": rows["a"]}, [1, 2, 3], _charts.SHARES, "")


def test_lines_are_drawn_where_there_are_numbers() -> None:
    values = np.array([1.0, 0.5, NAN, 0.25, NAN, 0.0, 1.0])
    xs = [i / 6 for i in range(7)]
    text = _charts.plot("t", "n", [_charts.Line("a", xs, values)], _charts.SHARES, [], ["p"] * 7)
    line = "M0.0 0.0L166.7 500.0M833.3 1000.0L1000.0 0.0"
    assert f"class='line' d='{line}'" in text
    assert text.count("class='dot") == 1
    assert "class='dot fit' d='M500.0 750.0h0'" in text


def test_dots_of_zero_and_infinity_are_at_the_edges() -> None:
    scale = _charts.logarithmic([1e-8, 1.0])
    line = _charts.Line("a", [0.0, 0.5, 1.0], np.array([0.0, INF, 1e-4]), ["ill", "fit", "fit"])
    text = _charts.plot("t", "n", [line], scale, [], ["p"] * 3)
    assert "class='dot ill out' d='M0.0 1000.0h0'" in text
    assert "class='dot fit out' d='M500.0 0.0h0'" in text
    assert "class='dot fit' d='M1000.0 500.0h0'" in text


@pytest.mark.parametrize(
    ("values", "low", "high", "logarithmic"),
    [
        ([1.0, 1000.0], 0.0, 3.0, True),
        ([1.0, 2.0, NAN, INF], 0.95, 2.05, False),
        ([-5.0, 5.0], -5.5, 5.5, False),
        ([2.0, 2.0], 1.0, 3.0, False),
        ([0.0], -1.0, 1.0, False),
        ([NAN], 0.0, 1.0, False),
    ],
)
def test_scales_of_losses(values: Any, low: float, high: float, logarithmic: bool) -> None:
    scale = _charts.fitting(values)
    assert scale == (pytest.approx(low), pytest.approx(high), logarithmic)
    places = [place for place, _ in scale.ticks()]
    assert 2 <= len(places) <= 6
    assert all(0.0 <= place <= 1.0 for place in places)


# -- the figure


def test_the_figure_has_a_line_for_each_layer() -> None:
    pytest.importorskip("matplotlib")
    health = reports.health(20)
    gradients, loss, ratios, shares = health.plot().axes
    assert [len(axes.lines) for axes in (gradients, loss, ratios, shares)] == [20, 1, 20, 40]
    for axes, series in ((gradients, _series.gradients), (ratios, _series.ratios)):
        assert axes.get_yscale() == "log"
        for line, values in zip(axes.lines, series(health).values(), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), health.steps)
            np.testing.assert_array_equal(line.get_ydata(), values)
        named = [text.get_text() for text in axes.get_legend().get_texts()]
        assert named == ["dense", *(f"dense_{i}" for i in (3, 6, 9, 12, 15, 18, 19))]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), health.loss)
    activity = list(health.activity.values())
    for i, line in enumerate(shares.lines):
        right = activity[i % 20].zeros if i < 20 else activity[i % 20].saturated
        np.testing.assert_array_equal(line.get_ydata(), right)
        assert line.get_linestyle() == ("-" if i < 20 else "--")


@pytest.mark.parametrize("name", [name for name, made in REPORTS.items() if made.health])
def test_figures_of_all_kinds_of_health(name: str) -> None:
    pytest.importorskip("matplotlib")
    health = REPORTS[name].health
    assert health is not None
    file = io.BytesIO()
    health.plot().savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_a_figure_of_nothing() -> None:
    pytest.importorskip("matplotlib")
    file = io.BytesIO()
    Health().plot().savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_the_figure_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"health.plot: .* pip install evengrad\[plot\]"):
        Health().plot()


# -- TensorBoard


class Events(dict[tuple[str, int], Any]):
    """Stands for a writer: what it was given last, by tag and step."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self[tag, step] = value

    def add_histogram(self, tag: str, values: Any, step: int) -> None:
        self[tag, step] = values

    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_tensorboard_gets_the_health_of_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    events, whole = Events(), reports.health(3, points=20, looks=10, epochs=2)
    module = "evengrad.callbacks.tensorboard._writer_class"
    monkeypatch.setattr(module, lambda: lambda folder: events)
    board = callbacks.TensorBoard("logs", write_health=True, histogram_freq=2)
    history = SimpleNamespace(health=Health())
    optimizer = SimpleNamespace(learning_rate=0.1)
    board.set_model(SimpleNamespace(history=history, optimizer=optimizer, variables=[]))
    path = "sequential/dense_1/kernel"
    gradient = whole.norms[path].gradient
    gradient[13:15] = 0.0, np.inf  # have no power of ten
    first = whole.steps <= 20
    for epoch, points in enumerate((first, first | True)):
        board.on_epoch_begin(epoch)
        norms = {p: type(n)(*(v[points] for v in n)) for p, n in whole.norms.items()}
        history.health = replace(
            whole,
            epochs={"gradient_norm": [0.5, 0.25][: epoch + 1]},
            steps=whole.steps[points],
            norms=norms,
            dead={"dense_1": [4, 7][: epoch + 1]},
        )
        board.on_epoch_end(epoch, {"loss": 1.0})
    for epoch, here in enumerate((slice(10), slice(10, 20))):
        right = [0.5, 0.25][epoch], [4, 7][epoch], gradient[here].mean()
        names = "health/gradient_norm", "health_dead/dense_1", "health_gradient/dense_1"
        assert [events[name, epoch] for name in names] == [pytest.approx(value) for value in right]
    np.testing.assert_allclose(events["health_update/dense_1", 0], np.mean(
        0.1 * gradient[:10] / whole.norms[path].weight[:10]
    ))  # fmt: skip
    late = whole.looks > 20
    for name in ("zeros", "saturated"):
        mean = getattr(whole.activity["dense_1"], name)[late].mean()
        assert events[f"health_{name}/dense_1", 1] == pytest.approx(mean)
    spread = events["health_gradient/dense_1/histogram", 0]
    np.testing.assert_allclose(spread, np.log10(gradient[:10]))
    assert ("health_gradient/dense_1/histogram", 1) not in events
    board.histogram_freq = 1
    board.on_epoch_end(3, {})
    assert len(events["health_gradient/dense_1/histogram", 3]) == 8


def test_tensorboard_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events()
    module = "evengrad.callbacks.tensorboard._writer_class"
    monkeypatch.setattr(module, lambda: lambda folder: events)
    model = keras.Sequential([keras.layers.Dense(4, "relu", name="a"), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(64, 3))
    board = callbacks.TensorBoard("logs", write_health=True)
    for _ in range(2):
        health = model.fit(x, x[:, :1], 8, 3, 0, callbacks=[board]).health
        first, *_ = _series.gradients(health).values()
        for epoch in range(3):
            mean = first[8 * epoch : 8 * epoch + 8].mean()
            assert events["health_gradient/a", epoch] == pytest.approx(mean)
            assert events["health/gradient_norm", epoch] == health["gradient_norm"][epoch]
            assert events["health_dead/a", epoch] == health.dead["a"][epoch]
        assert 0.0 < events["health_zeros/a", 0] < 1.0  # not every epoch has a look
