"""The tables of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.sick import judge
from bench.sick.judge import Row


def percent(value: tuple[float, float, float]) -> str:
    """As 93% (90-95)."""
    if value[0] != value[0]:
        return "-"
    mean, low, high = (100.0 * v for v in value)
    return f"{mean:.1f}% ({low:.1f}-{high:.1f})"


def detection(rows: Sequence[Row]) -> str:
    """Recall, false alarms, cause; then by disease, then by kind of healthy run."""
    rows = [row for row in rows if "diagnosis" in row and row["group"] == "sampled"]
    sick = [row for row in rows if row["sick"]]
    healthy = [row for row in rows if not row["sick"]]
    if not rows:
        return ""
    lines = [
        f"recall        {percent(judge.share(sick, judge.accused))} of {len(sick)} sick runs",
        f"false alarms  {percent(judge.share(healthy, judge.accused))} of {len(healthy)} healthy",
        f"cause         {percent(judge.share(sick, judge.named))} among the first two verdicts",
        f"cause, strict {percent(judge.share(sick, lambda r: judge.named(r, True)))}",
    ]
    errors = [row for row in rows if "error" in row["diagnosis"]]
    if errors:
        lines.append(f"{len(errors)} diagnoses raised: {errors[0]['diagnosis']['error']}")
    lines.append("")
    for disease in sorted({row["disease"] for row in sick}):
        lines.append(_of_disease(disease, [row for row in sick if row["disease"] == disease]))
    lines.append("")
    for kind in sorted({row["kind"] for row in healthy}):
        of_kind = [row for row in healthy if row["kind"] == kind]
        lines.append(f"{kind:25} {len(of_kind):4}  accused {_blamed(of_kind)}")
    return "\n".join(lines)


def _of_disease(disease: str, rows: Sequence[Row]) -> str:
    found = sum(judge.accused(row) for row in rows)
    right = sum(judge.named(row) for row in rows)
    wrong = [row for row in rows if not judge.named(row)]
    return f"{disease:25} {len(rows):4}  found {found:3}  named {right:3}  else: {_blamed(wrong)}"


def _blamed(rows: Sequence[Row]) -> str:
    firsts = Counter(
        row["diagnosis"]["verdicts"][0]["disease"] if judge.accused(row) else "-" for row in rows
    )
    return ", ".join(f"{name} {count}" for name, count in firsts.most_common(4))


def cures(rows: Sequence[Row]) -> str:
    """Cured, harmed, edits and cost of each method; then cured by disease."""
    methods = list(next((row for row in rows if row["sick"]), {"methods": ()})["methods"])
    if not methods:
        return ""
    curable = [row for row in rows if row["sick"] and row["curable"]]
    groups = {g: [r for r in curable if r["group"] == g] for g in ("sampled", "literature")}
    lines = [
        f"{len(groups['sampled'])} curable runs, {len(groups['literature'])} on Circle and Blob; "
        f"harmed of these and healthy ones",
        f"{'':14} {'cured':>20} {'Circle and Blob':>20} {'harmed':>18} {'edits':>6} {'cost':>6}",
    ]
    lines += [_of_method(method, rows, groups) for method in methods]
    if "doctor" in methods:
        others = [m for m in ("recipe", "random search") if m in methods]
        lines += [_ahead(groups["sampled"], other) for other in others]
    lines.append("")
    lines.append(f"{'cured':25} {'runs':>5} " + " ".join(f"{m:>13}" for m in methods))
    for disease in sorted({row["disease"] for row in curable}):
        of_it = [row for row in groups["sampled"] if row["disease"] == disease]
        counts = (sum(judge.cured(row, method) for row in of_it) for method in methods)
        lines.append(f"{disease:25} {len(of_it):5} " + " ".join(f"{n:13}" for n in counts))
    for method in methods:
        wrong = [row for row in rows if "error" in row["methods"].get(method, ())]
        if wrong:
            lines.append(
                f"{method} raised {len(wrong)} times: {wrong[0]['methods'][method]['error']}"
            )
    return "\n".join(lines)


def _of_method(method: str, rows: Sequence[Row], groups: dict[str, list[Row]]) -> str:
    changed = [r for g in groups.values() for r in g if judge.edits(r, method)]
    edits = sum(judge.edits(r, method) for r in changed) / max(1, len(changed))
    everyone = [r for g in groups.values() for r in g]
    cost = sum(r["methods"][method]["cost"] for r in everyone) / max(1, len(everyone))
    shares = [percent(judge.share(g, lambda r: judge.cured(r, method))) for g in groups.values()]
    treated = [r for r in rows if method in r["methods"]]
    harmed = percent(judge.share(treated, lambda r: judge.harmed(r, method)))
    return f"{method:14} {shares[0]:>20} {shares[1]:>20} {harmed:>18} {edits:6.2f} {cost:6.2f}"


def _ahead(rows: Sequence[Row], other: str) -> str:
    """How much more often the doctor cures than another, on the same runs."""
    gain = judge.share(rows, lambda r: judge.cured(r, "doctor") - judge.cured(r, other))
    return f"doctor ahead of {other}: {percent(gain)}"


def census(rows: Sequence[Row]) -> str:
    """How many runs of each fault and level there are, and what the fault costs."""
    lines = []
    sick = [row for row in rows if row["sick"]]
    for kind in sorted({(row["disease"], row["kind"]) for row in sick}):
        of_kind = [row for row in sick if (row["disease"], row["kind"]) == kind]
        levels = Counter(str(row["level"]) for row in of_kind)
        text = ", ".join(f"{level}: {count}" for level, count in sorted(levels.items()))
        left = sum(r["result"][1] / r["twin_result"][1] for r in of_kind) / len(of_kind)
        lines.append(f"{kind[0]:25} {kind[1]:22} {len(of_kind):4}  {left:4.0%} left  {text}")
    healthy = Counter(row["kind"] for row in rows if not row["sick"])
    lines += [f"{'healthy':25} {kind:22} {count:4}" for kind, count in healthy.most_common()]
    return "\n".join(lines)
