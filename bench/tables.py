"""Tables for a terminal and for a README."""

from __future__ import annotations

from typing import Any

from peers import PEERS
from workloads import WORKLOADS

Rows = list[list[str]]


def render(head: list[str], rows: Rows, *, markdown: bool) -> str:
    """Return a table: the first column to the left, the others to the right."""
    everything = [head, *rows]
    widths = [max(len(row[i]) for row in everything) for i in range(len(head))]

    def line(row: list[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |" if markdown else "  ".join(cells)

    if markdown:
        marks = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
        rule = f"|{'|'.join(marks)}|"
    else:
        rule = "-" * len(line(head))
    return "\n".join([line(head), rule, *map(line, rows)])


def number(value: float | None) -> str:
    """Three significant digits, thousands separated."""
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.3g}" if value >= 10 else f"{value:.2f}"
    digits = len(str(int(value)))
    return f"{round(value, 3 - digits):,.0f}"


def factor(value: float | None) -> str:
    """As 2.31x."""
    return "-" if value is None else f"{value:.2f}x"


def training(cells: list[dict[str, Any]], names: list[str], *, markdown: bool) -> str:
    """Microseconds a step, and how many times as fast evengrad is."""
    names = [n for n in names if any(n in cell["us"] for cell in cells)]
    head = [
        "work, batch",
        *(PEERS[n].title for n in names),
        "fastest / evengrad",
        "PyTorch / evengrad",
    ]
    rows = []
    for cell in cells:
        times = [
            ("~" if cell["workload"] in PEERS[n].simpler and n in cell["us"] else "")
            + number(cell["us"].get(n))
            for n in names
        ]
        ratios = [factor(cell["fastest_ratio"]), factor(cell["ratios"].get("torch"))]
        mark = " *" if cell["noisy"] else ""
        rows.append([f"{cell['workload']}, {cell['batch']:,}{mark}", *times, *ratios])
    return render(head, rows, markdown=markdown)


def prediction(cells: list[dict[str, Any]], *, markdown: bool) -> str:
    """Microseconds a call, and how many times as fast evengrad's predict_on_batch is."""
    names = list(dict.fromkeys(n for cell in cells for n in cell["us"]))
    head = ["work, rows", *map(way_title, names), "fastest / evengrad"]
    rows = []
    for cell in cells:
        mark = " *" if cell["noisy"] else ""
        times = [
            ("~" if cell["workload"] in PEERS[n.split(".")[0]].simpler and n in cell["us"] else "")
            + number(cell["us"].get(n))
            for n in names
        ]
        label = f"{cell['workload']}, {cell['rows']:,}{mark}"
        rows.append([label, *times, factor(cell["fastest_ratio"])])
    return render(head, rows, markdown=markdown)


def way_title(name: str) -> str:
    """Return the title of a way to predict: "jax_scan" or "evengrad.predict"."""
    peer, _, way = name.partition(".")
    title = PEERS[peer].title.removesuffix(" scan")
    return f"{title} {way}" if way else title


def footprint(costs: dict[str, dict[str, float]], *, markdown: bool) -> str:
    """Import time, size and memory."""
    head = ["", "import, ms", "install, MB", "peak memory, MB"]
    rows = [
        [way_title(n), *(number(cost.get(key)) for key in ("import_ms", "install_mb", "peak_mb"))]
        for n, cost in costs.items()
    ]
    return render(head, rows, markdown=markdown)


def report(results: dict[str, Any], *, markdown: bool) -> str:
    """Everything: machine, versions, tables, notes."""
    about = results["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in sorted(results["versions"].items()))
    parts = [
        f"{results['date']}, {about['cpu']}, {about['system']}, Python {about['python']}, "
        f"load {about['load']}. {versions}.{' Run with --quick.' if results['quick'] else ''}"
    ]
    heading = "### " if markdown else "== "
    threads = list(dict.fromkeys(c["threads"] for c in results["training"] + results["prediction"]))
    for count in threads:
        unit = f"{count} thread{'s' * (count > 1)}"
        cells = [c for c in results["training"] if c["threads"] == count]
        if cells:
            parts.append(f"{heading}Training, {unit}, microseconds a step")
            parts.append(training(cells, results["peers"], markdown=markdown))
        cells = [c for c in results["prediction"] if c["threads"] == count]
        if cells:
            parts.append(f"{heading}Prediction, {unit}, microseconds a call")
            parts.append(prediction(cells, markdown=markdown))
    if results["footprint"]:
        parts.append(f"{heading}Import beyond numpy, install beyond numpy, memory")
        parts.append(footprint(results["footprint"], markdown=markdown))
    parts.append(notes(results))
    return "\n\n".join(parts)


def notes(results: dict[str, Any]) -> str:
    """What the marks mean, and what went wrong."""
    cells = results["training"] + results["prediction"]
    used = {cell["workload"] for cell in cells}
    lines = [f"{name}: {WORKLOADS[name].title}." for name in WORKLOADS if name in used]
    if any(
        cell["workload"] in PEERS[n.partition(".")[0]].simpler for cell in cells for n in cell["us"]
    ):
        lines.append("~ without batch normalization and clipping, with ReLU; no part of the ratio.")
    if any(cell["noisy"] for cell in cells):
        lines.append("* the machine was never quiet for long enough: not to be relied on.")
    thrown = sum(cell["thrown_out"] for cell in cells)
    if cells:
        foreign = sorted(share for cell in cells for share in cell["foreign"].values())
        lines.append(
            f"{thrown} rounds thrown out; work of others during the timings, share of the CPUs: "
            f"median {foreign[len(foreign) // 2]:.0%}, highest {foreign[-1]:.0%}."
        )
    if results["training"]:
        worst = max(cell["worst_deviation"] for cell in results["training"])
        failed = sum(len(cell["disagreements"]) for cell in cells)
        lines.append(f"Losses of one epoch from the same weights differ by at most {worst:.2%}.")
        if failed:
            lines.append(f"{failed} DISAGREEMENTS, see above.")
    lines += results["problems"]
    return "\n".join(f"- {line}" for line in lines)
