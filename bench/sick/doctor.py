"""What evengrad's doctor makes of a case, by the two calls a user has."""

from __future__ import annotations

import time
import traceback
from typing import Any

import evengrad

from bench.sick.baselines import Outcome
from bench.sick.families import Case
from bench.sick.networks import score


def examined(case: Case) -> dict[str, Any]:
    """What `model.diagnose` finds after training."""
    model, data, _, _ = case.trained()
    begin = time.perf_counter()
    try:
        report = model.diagnose(data.x_train, data.y_train)
    except Exception:  # the benchmark goes on, and the table counts it
        return {"error": traceback.format_exc(limit=-3), "verdicts": []}
    verdicts = [
        {"disease": v.disease, "confidence": v.confidence, "cause": v.cause, "evidence": v.evidence}
        for v in report.verdicts
    ]
    return {"verdicts": verdicts, "seconds": time.perf_counter() - begin}


def cured(case: Case, budget: float) -> Outcome:
    """What `model.cure` hands back, measured on the test rows, which it has not seen."""
    model, data, epochs, batch = case.trained()
    result = model.cure(
        data.x_train,
        data.y_train,
        validation_data=(data.x_val, data.y_val),
        budget=budget,
        epochs=epochs,
        batch_size=batch,
    )
    better: evengrad.Sequential = result.model
    return Outcome(
        score(better, data.x_val, data.y_val, data.task),
        score(better, data.x_test, data.y_test, data.task),
        tuple(edit.kind for edit in result.edits),
        result.cost,
    )
