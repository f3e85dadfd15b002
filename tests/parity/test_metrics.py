"""Metrics by hand and in compile, against Keras' and scikit-learn's."""

from __future__ import annotations

from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import draws, keras

pytestmark = helpers.quiet

few = settings(helpers.fixed, max_examples=4)
seeds = st.integers(0, 2**32 - 1)

# Kind of truth and prediction, arguments.
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("SparseCategoricalAccuracy", "labels", {}),
    ("CategoricalAccuracy", "one-hot", {}),
    ("BinaryAccuracy", "binary", {}),
    ("BinaryAccuracy", "binary", {"threshold": 0.25}),
    ("TopKCategoricalAccuracy", "one-hot", {}),
    ("TopKCategoricalAccuracy", "one-hot", {"k": 2}),
    ("SparseTopKCategoricalAccuracy", "labels", {"k": 3}),
    ("MeanSquaredError", "numbers", {}),
    ("RootMeanSquaredError", "numbers", {}),
    ("MeanAbsoluteError", "numbers", {}),
    ("MeanAbsolutePercentageError", "numbers", {}),
    ("MeanSquaredLogarithmicError", "soft", {}),
    ("LogCoshError", "numbers", {}),
    ("CosineSimilarity", "numbers", {}),
    ("Poisson", "soft", {}),
    ("KLDivergence", "soft", {}),
    ("Hinge", "binary", {}),
    ("SquaredHinge", "binary", {}),
    ("CategoricalHinge", "one-hot", {}),
    ("BinaryCrossentropy", "binary", {}),
    ("BinaryCrossentropy", "binary", {"label_smoothing": 0.2}),
    ("BinaryCrossentropy", "binary", {"from_logits": True}),
    ("CategoricalCrossentropy", "one-hot", {}),
    ("CategoricalCrossentropy", "one-hot", {"from_logits": True, "label_smoothing": 0.1}),
    ("SparseCategoricalCrossentropy", "labels", {}),
    ("SparseCategoricalCrossentropy", "labels", {"from_logits": True}),
    ("R2Score", "numbers", {}),
    ("R2Score", "numbers", {"class_aggregation": None}),
    ("R2Score", "numbers", {"class_aggregation": "variance_weighted_average"}),
    ("R2Score", "numbers", {"num_regressors": 2}),
    ("F1Score", "one-hot", {}),
    ("F1Score", "binary", {"average": "micro", "threshold": 0.5}),
    ("F1Score", "binary", {"average": "macro", "threshold": 0.25}),
    ("F1Score", "one-hot", {"average": "weighted"}),
    ("FBetaScore", "binary", {"beta": 2.0, "threshold": 0.5}),
    ("FBetaScore", "one-hot", {"beta": 0.5, "average": "macro"}),
    *((name, "binary", {}) for name in ("Precision", "Recall")),
    *((name, "binary", {"thresholds": 0.25}) for name in ("Precision", "Recall")),
    *((name, "binary", {"thresholds": [0.7, 0.2, 0.4]}) for name in ("Precision", "Recall")),
    *((name, "binary", {"thresholds": [0.0, 0.5, 1.0]}) for name in ("Precision", "Recall")),
    *((name, "one-hot", {"top_k": 2}) for name in ("Precision", "Recall")),
    *((name, "one-hot", {"class_id": 1}) for name in ("Precision", "Recall")),
    *((name, "one-hot", {"class_id": 0, "top_k": 1}) for name in ("Precision", "Recall")),
    *(
        (f"{right}{side}", "binary", {"thresholds": thresholds})
        for right in ("True", "False")
        for side in ("Positives", "Negatives")
        for thresholds in (None, [0.25, 0.75])
    ),
    *(
        ("AUC", "binary", {"curve": curve, "summation_method": method})
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
    ),
    ("AUC", "binary", {"num_thresholds": 11}),
    ("AUC", "binary", {"thresholds": [0.9, 0.3, 0.5]}),
    ("AUC", "binary", {"thresholds": [0.25, 0.5, 0.75]}),
    ("AUC", "binary", {"multi_label": True}),
    ("AUC", "binary", {"multi_label": True, "curve": "PR"}),
    ("AUC", "binary", {"from_logits": True}),
]


def batch(kind: str, rng: np.random.Generator, n: int, units: int) -> tuple[Any, np.ndarray]:
    """Truth and prediction; these from few numbers, so that there are ties and thresholds hit."""
    coarse = (rng.integers(0, 9, (n, units)) / 8).astype(np.float32)
    fine = rng.uniform(0.01, 0.99, (n, units)).astype(np.float32)
    prediction = coarse if rng.random() < 0.5 else fine
    if kind == "labels":
        return rng.integers(0, units, n), fine
    if kind == "one-hot":
        return np.eye(units, dtype=np.float32)[rng.integers(0, units, n)], fine
    if kind == "binary":
        return rng.integers(0, 2, (n, units)).astype(np.float32), prediction
    if kind == "soft":
        return rng.dirichlet(np.ones(units), n).astype(np.float32), fine
    return (rng.standard_normal((n, units)) + 0.1).astype(np.float32), fine


@pytest.mark.parametrize(("name", "kind", "arguments"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
@few
@given(seeds, st.sampled_from([2, 3, 17]))
def test_metric(
    name: str, kind: str, arguments: dict[str, Any], weighted: bool, seed: int, units: int
) -> None:
    """Over three batches."""
    ours, theirs = (getattr(library.metrics, name)(**arguments) for library in (evengrad, keras))
    rng = np.random.default_rng(seed)
    for n in (20, 20, 2):
        y, prediction = batch(kind, rng, n, units)
        if arguments.get("from_logits"):
            prediction = (6.0 * prediction - 3.0).astype(np.float32)
        weight = rng.uniform(0.0, 2.0, n).astype(np.float32) if weighted else None
        ours.update_state(y, prediction, sample_weight=weight)
        theirs.update_state(y, prediction, sample_weight=weight)
    errors.compare(name, ours.result(), np.asarray(theirs.result()), top=1.0)
    again = type(ours).from_config(ours.get_config())
    assert again.get_config() == ours.get_config()
    ours.reset_state()
    theirs.reset_state()
    y, prediction = batch(kind, rng, 20, units)
    errors.compare(name, ours(y, prediction), np.asarray(theirs(y, prediction)), top=1.0)


@pytest.mark.parametrize(
    "name", ["CategoricalAccuracy", "BinaryAccuracy", "MeanSquaredError", "MeanAbsoluteError"]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_samples_of_several_axes(name: str, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    y, prediction = rng.uniform(size=(2, 6, 4, 5)).astype(np.float32)
    weight = rng.uniform(size=6).astype(np.float32) if weighted else None
    ours, theirs = (getattr(library.metrics, name)() for library in (evengrad, keras))
    made = ours(y, prediction, sample_weight=weight)
    errors.compare(name, made, float(theirs(y, prediction, sample_weight=weight)))


@pytest.mark.parametrize("multi_label", [False, True])
def test_auc_with_weights_of_labels(multi_label: bool) -> None:
    rng = np.random.default_rng(1)
    arguments = {"label_weights": [0.5, 2.0, 1.0], "multi_label": multi_label}
    if multi_label:
        arguments["num_labels"] = 3
    ours, theirs = (library.metrics.AUC(**arguments) for library in (evengrad, keras))
    for _ in range(2):
        y, prediction = batch("binary", rng, 30, 3)
        ours.update_state(y, prediction)
        theirs.update_state(y, prediction)
    errors.compare("AUC", ours.result(), float(theirs.result()))


@pytest.mark.parametrize("name", ["Mean", "Sum"])
@pytest.mark.parametrize("shape", [(), (7,), (7, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_of_values(name: str, shape: tuple[int, ...], weighted: bool) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (getattr(library.metrics, name)() for library in (evengrad, keras))
    for _ in range(2):
        values = rng.standard_normal(shape).astype(np.float32)
        weight = rng.uniform(size=shape[:1]).astype(np.float32) if weighted else None
        ours.update_state(values, sample_weight=weight)
        theirs.update_state(values, sample_weight=weight)
    errors.compare(name, ours.result(), float(theirs.result()), top=1.0)


# In compile

MODELS = [
    (
        "sparse_categorical_crossentropy",
        "softmax",
        4,
        ["accuracy", "sparse_top_k_categorical_accuracy"],
    ),
    ("categorical_crossentropy", "softmax", 4, ["accuracy", "AUC", "f1_score", "precision", "mse"]),
    ("binary_crossentropy", "sigmoid", 1, ["accuracy", "AUC", "Precision", "recall", "bce"]),
    ("mse", "linear", 3, ["mse", "mae", "root_mean_squared_error", "r2_score", "mape"]),
]


@pytest.mark.parametrize(("loss", "activation", "units", "names"), MODELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_in_compile(
    loss: str, activation: str, units: int, names: list[str], weighted: bool
) -> None:
    """History of two epochs, validation and evaluate: names and numbers."""
    (x, kernel) = draws(3, (50, 5), (5, units))
    rng = np.random.default_rng(4)
    kind = {"m": "numbers", "b": "binary", "c": "one-hot", "s": "labels"}[loss[0]]
    y, _ = batch(kind, rng, 50, units)
    weight = rng.uniform(0.0, 2.0, 50).astype(np.float32) if weighted else None
    results = []
    for library in (evengrad, keras):
        made = library.Sequential(
            [library.Input((5,)), library.layers.Dense(units, activation=activation)]
        )
        made.set_weights([kernel, np.zeros(units, np.float32)])
        made.compile(library.optimizers.SGD(0.05), loss, metrics=names, weighted_metrics=names[:2])
        options = {"batch_size": 16, "verbose": 0, "shuffle": False, "sample_weight": weight}
        history = made.fit(x, y, epochs=2, validation_data=(x[:30], y[:30]), **options)
        del options["shuffle"]
        results.append((history.history, made.evaluate(x, y, return_dict=True, **options)))
    for ours, theirs in zip(*results, strict=True):
        assert set(ours) == set(theirs)
        for key in ours:
            errors.compare("metrics in compile", ours[key], theirs[key], top=1.0)


# scikit-learn


def test_against_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (500, 3)).astype(np.float32)
    # On the thresholds' grid the area is exact.
    p = (np.clip(rng.normal(0.3 + 0.4 * y, 0.25), 0, 1) * 199).round().astype(np.float32)
    p = (np.maximum(p, 1.0) - np.float32(0.5)) / np.float32(199.0)
    weight = rng.uniform(0.5, 2.0, 500).astype(np.float32)
    made = evengrad.metrics.AUC()(y[:, 0:1], p[:, 0:1], weight)
    errors.compare(
        "scikit-learn", made, sklearn.roc_auc_score(y[:, 0], p[:, 0], sample_weight=weight)
    )
    made = evengrad.metrics.AUC(multi_label=True)(y, p)
    errors.compare("scikit-learn", made, sklearn.roc_auc_score(y, p, average="macro"))
    for average in (None, "micro", "macro", "weighted"):
        made = evengrad.metrics.F1Score(average, 0.5)(y, p)
        errors.compare("scikit-learn", made, sklearn.f1_score(y, p > 0.5, average=average))
    for average, name in ((None, "raw_values"), ("uniform_average", "uniform_average"),
                          ("variance_weighted_average", "variance_weighted")):  # fmt: skip
        made = evengrad.metrics.R2Score(average)(p + 100.0, p + 100.0 + 0.1 * y, weight)
        right = sklearn.r2_score(
            p + 100.0, p + 100.0 + 0.1 * y, sample_weight=weight, multioutput=name
        )
        errors.compare("scikit-learn", made, right)
    made = evengrad.metrics.Precision()(y, p), evengrad.metrics.Recall()(y, p)
    scores = [
        f(y.ravel(), p.ravel() > 0.5) for f in (sklearn.precision_score, sklearn.recall_score)
    ]
    errors.compare("scikit-learn", made, scores)
