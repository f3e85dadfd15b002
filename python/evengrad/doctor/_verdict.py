"""How rules phrase what they have found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evengrad.doctor._plain import plain
from evengrad.doctor.verdicts import Edit, Verdict

CODE = {
    "learning_rate": "model.optimizer.learning_rate = {value:.3g}",
    "recalibrate": "model.recalibrate(x)",
    "epochs": "model.fit(x, y, epochs={value:g} * epochs)",
    "batch_size": "model.fit(x, y, batch_size={value})",
}


def verdict(
    disease: str,
    confidence: float,
    cause: str,
    evidence: dict[str, Any],
    edits: Sequence[Edit],
    cure: str,
    source: str,
    layers: Sequence[str] = (),
) -> Verdict:
    """Return a verdict with numbers of JSON's types and a confidence inside [0, 1]."""
    return Verdict(
        disease=disease,
        cause=cause,
        confidence=round(min(max(float(confidence), 0.0), 1.0), 3),
        layers=tuple(layers),
        evidence={name: rounded(value) for name, value in evidence.items()},
        cure=cure,
        edits=tuple(edits),
        source=source,
    )


def rounded(value: Any) -> Any:
    """Return floats in four digits, all as JSON has it."""
    value = plain(value)
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def some(names: Sequence[str]) -> str:
    """Return names for a sentence: all of a few, else the first, the last and how many."""
    if len(names) <= 3:
        return ", ".join(names)
    return f"{names[0]} to {names[-1]} ({len(names)} layers)"
