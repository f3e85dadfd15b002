"""The doctor: sees which layer is sick, says why, and proves its cure."""

from evengrad.doctor.cures import CureResult, Trial
from evengrad.doctor.health import Activity, Health, Norms
from evengrad.doctor.report import LayerFigures, Report
from evengrad.doctor.verdicts import DISEASES, Edit, Verdict

__all__ = [
    "DISEASES",
    "Activity",
    "CureResult",
    "Edit",
    "Health",
    "LayerFigures",
    "Norms",
    "Report",
    "Trial",
    "Verdict",
    "edits",
]


def __getattr__(name: str) -> object:
    if name == "edits":  # not needed to read a report
        import importlib

        return importlib.import_module(f"{__name__}.edits")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
