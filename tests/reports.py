"""Reports of networks that nobody has trained, for the tests of how they are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from evengrad.doctor import (
    Activity,
    CureResult,
    Edit,
    Health,
    LayerFigures,
    Norms,
    Report,
    Trial,
    Verdict,
)


def names(count: int) -> list[str]:
    return ["dense", *(f"dense_{i}" for i in range(1, count))]


def health(layers: int = 4, points: int = 50, looks: int = 12, epochs: int = 5) -> Health:
    """Gradients that fade by a magnitude a layer."""
    rng = np.random.default_rng(layers)
    norms, activity = {}, {}
    for i, name in enumerate(names(layers)):
        gradient = 10.0 ** (i - layers + rng.normal(0.0, 0.1, points))
        weight = np.linspace(8.0, 9.0, points)
        norms[f"sequential/{name}/kernel"] = Norms(gradient, weight, 0.1 * gradient)
        norms[f"sequential/{name}/bias"] = Norms(gradient / 8, weight / 8, gradient / 80)
        activity[name] = Activity(*rng.uniform(0.1, 0.9, (4, looks)))
    steps = np.arange(1.0, points + 1) * 2
    return Health(
        epochs={"gradient_norm": [0.5] * epochs, "clip_rate": [0.25] * epochs},
        steps=steps,
        loss=np.exp(-steps / 50),
        clipped=np.tile([0.0, 1.0], points)[:points],
        norms=norms,
        looks=np.linspace(1.0, steps[-1], looks).round() if points else np.zeros(0),
        activity=activity,
        dead={name: list(range(epochs)) for name in activity},
        dead_units={name: np.arange(3) for name in activity},
    )


def figures(name: str, gradient: float, **changed: object) -> LayerFigures:
    counts, edges = np.histogram(np.random.default_rng(0).normal(size=500), 20)
    values = {
        "name": name,
        "kind": "Dense",
        "units": 64,
        "activation": "sigmoid",
        "gradient": gradient,
        "ratio": gradient / 20,
        "mean": 0.497,
        "spread": 0.209,
        "zeros": 0.25,
        "saturated": 0.125,
        "dead": 3,
        "counts": counts,
        "edges": edges,
    }
    return LayerFigures(**(values | changed))


def layers(count: int = 4) -> tuple[LayerFigures, ...]:
    return tuple(figures(n, 10.0 ** (i - count)) for i, n in enumerate(names(count)))


def replace_gradients(report: Report, gradient: float) -> Report:
    """The same gradient in all layers."""
    return replace(report, layers=tuple(replace(f, gradient=gradient) for f in report.layers))


ADAM = {"name": "adam", "learning_rate": 0.001, "clipnorm": None}
EDITS = Edit("activation", "elu"), Edit("optimizer", ADAM)


def verdict(**changed: object) -> Verdict:
    values = {
        "disease": "vanishing_gradient",
        "cause": "The gradient loses a magnitude a layer.",
        "confidence": 0.97,
        "layers": ("dense", "dense_1"),
        "evidence": {"slope": -1.0, "by_layer": {"dense": 1e-4}, "first": np.float64(1e-4)},
        "cure": 'layers.Dense(64, "elu")\nlayers.Dense(10)',
        "edits": EDITS,
        "source": "Glorot and Bengio, 2010",
    }
    return Verdict(**(values | changed))


def report(count: int = 4) -> Report:
    return Report((verdict(), verdict(disease="saturation")), layers(count), health(count))


def cure(**changed: object) -> CureResult:
    trials = Trial((), 0.1, 0.25), Trial(EDITS[:1], np.nan, 0.5), Trial(EDITS, 0.9375, 0.75)
    values = {
        "model": None,
        "improved": True,
        "before": 0.098,
        "after": 0.9375,
        "metric": "accuracy",
        "edits": EDITS,
        "cost": 1.5,
        "report": report(),
        "trials": trials,
    }
    return CureResult(**(values | changed))
