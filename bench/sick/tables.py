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
    rows = [row for row in rows if "diagnosis" in row]
    sick = [row for row in rows if row["sick"]]
    healthy = [row for row in rows if not row["sick"]]
    if not rows:
        return "no diagnoses: this evengrad has no `model.diagnose`"
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
