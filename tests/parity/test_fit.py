"""Arguments of fit, evaluate, predict and the calls on one batch, against Keras run beside it."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import keras
from parity.twins import CLASSES, ONE_HOT, ROWS, WEIGHT, Twins, X, Y, network, outcome

pytestmark = [
    helpers.quiet,
    # Where steps ask for more batches than there are.
    pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning"),
]


def classifier(library: ModuleType) -> dict[str, Any]:
    return {
        "optimizer": library.optimizers.SGD(0.1),
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
        "weighted_metrics": [library.metrics.SparseCategoricalAccuracy(name="weighted")],
    }


@pytest.fixture(scope="module")
def twins_of_module() -> Twins:
    """Compiled once: each new shape costs Keras a third of a second."""
    return Twins(compiled=classifier)


@pytest.fixture
def twins(twins_of_module: Twins) -> Twins:
    twins_of_module.again()
    return twins_of_module


# Signatures

# What evengrad has besides, and where it departs; the reasons are in the docstrings.
MORE: dict[str, set[str]] = {"compile": {"on_nonfinite", "health"}, "evaluate": set(), "fit": set()}
OTHER_ORDER = {"compile"}
METHODS = (
    "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch", "compile",
    "summary", "add", "pop", "build", "get_layer", "reset_metrics", "get_metrics_result",
    "count_params", "get_weights", "set_weights", "get_config", "__init__",
)  # fmt: skip


def parameters(function: Any) -> dict[str, Any]:
    found = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in found if p.kind is not inspect.Parameter.VAR_KEYWORD}


@pytest.mark.parametrize("name", METHODS)
def test_signatures(name: str) -> None:
    ours, theirs = (parameters(getattr(library.Sequential, name)) for library in (evengrad, keras))
    own = {key: value for key, value in ours.items() if key not in MORE.get(name, ())}
    assert own == theirs
    if name not in OTHER_ORDER:
        assert list(own) == list(theirs)


# fit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 16},
        {"batch_size": 64},
        {"epochs": 3},
        {"epochs": 0},
        {"epochs": 4, "initial_epoch": 2},
        {"epochs": 1, "initial_epoch": 2},
        {"steps_per_epoch": 3},
        {"steps_per_epoch": 2, "validation_data": (X, Y), "validation_steps": 4},
        {"shuffle": "batch", "batch_size": 64},
    ],
    ids=str,
)
def test_epochs_and_batches(twins: Twins, options: dict[str, Any]) -> None:
    ours, theirs = twins.same_history("fit", X, Y, **{"shuffle": False} | options)
    assert ours.params == theirs.params


def test_arguments_by_position(twins: Twins) -> None:
    arguments = 16, 2, 0, None, 0.25, None, False, None, WEIGHT, 1, None, None, 8, 1
    ours, theirs = twins.both(lambda model: model.fit(X, Y, *arguments))
    assert ours.epoch == theirs.epoch == [1]
    for key, values in theirs.history.items():
        errors.compare("fit", ours.history[key], values)
    twins.same_weights("fit")


@pytest.mark.parametrize("verbose", ["auto", 0, 1, 2, True, False])
def test_verbose(twins: Twins, verbose: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Silent where Keras is; else something with the loss. The forms are evengrad's own."""
    said = []
    for model in twins.models:
        history = model.fit(X, Y, epochs=2, verbose=verbose, shuffle=False)
        said.append(capsys.readouterr().out)
        assert history.params["verbose"] == verbose
    for text in said:
        assert bool(text) == bool(verbose)
        assert text.count("Epoch") == (2 if verbose else 0)
        assert ("loss" in text) == bool(verbose)


@pytest.mark.parametrize(
    "options",
    [
        {"sample_weight": WEIGHT},
        {"sample_weight": WEIGHT.astype(np.float64).tolist()},
        {"sample_weight": np.zeros(ROWS, np.float32)},
        {"class_weight": {0: 0.5, 2: 4.0}},
        {"class_weight": {0: 0.5, 1: 1.0, 2: 4.0, 7: 3.0}},
        {"class_weight": dict(zip(np.unique(Y.astype(float)), [1.0, 2.0, 0.0], strict=True))},
    ],
    ids=lambda options: next(iter(options)),
)
def test_weights(twins: Twins, options: dict[str, Any]) -> None:
    theirs = {name: np.asarray(v) if isinstance(v, list) else v for name, v in options.items()}
    a = twins.ours.fit(X, Y, batch_size=16, shuffle=False, verbose=0, **options)
    b = twins.theirs.fit(X, Y, batch_size=16, shuffle=False, verbose=0, **theirs)
    assert sorted(a.history) == list(b.history)
    for key, values in b.history.items():
        errors.compare("weights of samples", a.history[key], values)
    twins.same_weights("weights of samples")


def test_both_kinds_of_weights(twins: Twins) -> None:
    options = {"sample_weight": WEIGHT, "class_weight": {0: 2.0}}
    for call in ("fit", "train_on_batch"):
        kinds = twins.both(lambda m, c=call: outcome(lambda: getattr(m, c)(X, Y, **options)))
        assert kinds == (ValueError, ValueError)


@pytest.mark.parametrize("kind", ["one-hot", "one number", "soft"])
def test_class_weight_by_form_of_y(kind: str) -> None:
    last, outputs = ("softmax", CLASSES) if kind == "one-hot" else ("sigmoid", 1)
    loss = "categorical_crossentropy" if kind == "one-hot" else "binary_crossentropy"
    y = ONE_HOT if kind == "one-hot" else (Y > 0).astype(np.float32)[:, None]
    if kind == "soft":
        y = np.linspace(0.0, 1.0, ROWS, dtype=np.float32)  # of the nearest class
    twins = Twins(lambda library: network(library, outputs, last))
    twins.compile(lambda library: {"optimizer": library.optimizers.SGD(0.1), "loss": loss})
    weights = {0: 3.0, 1: 0.5}
    twins.same_history("weights of classes", X, y, shuffle=False, class_weight=weights)


# Validation


HELD_OUT = X[:16], Y[:16]


@pytest.mark.parametrize(
    "options",
    [
        {"validation_split": 0.25},
        {"validation_split": 0.25, "sample_weight": WEIGHT},
        {"validation_split": 0.25, "class_weight": {0: 0.25, 1: 3.0}},
        {"validation_split": 0.33},
        {"validation_data": HELD_OUT},
        {"validation_data": list(HELD_OUT)},
        {"validation_data": (*HELD_OUT, WEIGHT[:16])},
        {"validation_data": HELD_OUT, "validation_split": 0.25},
        {"validation_data": HELD_OUT, "validation_batch_size": 8},
        {"validation_data": HELD_OUT, "validation_batch_size": 8, "validation_steps": 1},
        {"validation_data": HELD_OUT, "batch_size": 8, "validation_steps": 1},
        {"validation_data": HELD_OUT, "epochs": 4, "validation_freq": 2},
        {"validation_data": HELD_OUT, "epochs": 4, "validation_freq": [1, 4]},
        {"validation_data": HELD_OUT, "epochs": 4, "validation_freq": 2, "initial_epoch": 1},
        {"validation_data": HELD_OUT, "epochs": 2, "validation_freq": 5},
    ],
    ids=" ".join,
)
def test_validation(twins: Twins, options: dict[str, Any]) -> None:
    twins.same_history("validation", X, Y, **{"shuffle": False, "batch_size": 32} | options)


def test_a_share_that_leaves_no_rows(twins: Twins) -> None:
    kinds = twins.both(lambda m: outcome(lambda: m.fit(X, Y, validation_split=0.99, verbose=0)))
    assert kinds == (ValueError, ValueError)


@helpers.fixed
@given(st.integers(0, 2**32 - 1))
def test_random_arguments(twins_of_module: Twins, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, ROWS))
    options: dict[str, Any] = {
        "batch_size": int(rng.integers(1, 50)),
        "epochs": int(rng.integers(1, 4)),
        "initial_epoch": int(rng.integers(0, 2)),
        "validation_batch_size": [None, 3, 64][rng.integers(3)],
        "validation_freq": [1, 2, [1, 3]][rng.integers(3)],
    }
    weights: dict[str, Any] = [
        {}, {"sample_weight": WEIGHT[:n]}, {"class_weight": {0: 2.0, 1: 0.25}},
    ][rng.integers(3)]  # fmt: skip
    held_out: dict[str, Any] = [
        {}, {"validation_split": 0.3}, {"validation_data": (X[:7], Y[:7], WEIGHT[:7])},
    ][rng.integers(3)]  # fmt: skip
    twins_of_module.again()
    more = options | weights | held_out
    twins_of_module.same_history("random arguments", X[:n], Y[:n], shuffle=False, **more)


# What is there after it


def test_attributes_of_a_model_and_its_history(twins: Twins) -> None:
    def seen(model: Any) -> list[Any]:
        history = model.fit(X, Y, epochs=2, verbose=0, validation_split=0.25)
        return [
            history is model.history, history.model is model, history.params, history.epoch,
            sorted(history.history), [type(v) for v in history.history["loss"]],
            model.stop_training, model.compiled, model.built, model.input_shape,
            model.output_shape, [layer.name for layer in model.layers], model.losses,
            sorted(model.get_metrics_result()), model.metrics[0].name,
        ]  # fmt: skip

    ours, theirs = twins.both(seen)
    assert ours == theirs


def test_metrics_hold_what_the_last_data_gave(twins: Twins) -> None:
    def seen(model: Any) -> list[float]:
        model.fit(X, Y, verbose=0, shuffle=False)
        found = [model.get_metrics_result()]
        model.fit(X, Y, verbose=0, shuffle=False, validation_data=HELD_OUT)
        found.append(model.get_metrics_result())
        model.evaluate(X, Y, verbose=0)
        found += [model.get_metrics_result(), {"loss": model.metrics[0].result()}]
        model.test_on_batch(*HELD_OUT)
        found.append(model.get_metrics_result())
        model.reset_metrics()
        found.append(model.get_metrics_result())
        return [float(one[name]) for one in found for name in sorted(one)]

    errors.compare("metrics after", *twins.both(seen))


def test_metric_objects_hold_it_too() -> None:
    def seen(library: ModuleType) -> list[Any]:
        model = twins.models[library is keras]
        mean = library.metrics.MeanSquaredError()
        model.compile(library.optimizers.SGD(0.1), loss="mse", metrics=[mean])
        before = float(mean.result())
        model.fit(X, ONE_HOT, epochs=2, verbose=0, shuffle=False)
        return [before, float(mean.result())]

    twins = Twins()
    errors.compare("metrics after", seen(evengrad), seen(keras))


# evaluate, predict


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 16},
        {"batch_size": 100},
        {"steps": 1},
        {"steps": 3},
        {"steps": 2, "batch_size": 8},
        {"sample_weight": WEIGHT},
        {"return_dict": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_evaluate(twins: Twins, options: dict[str, Any]) -> None:
    twins.same_results("evaluate", lambda model: model.evaluate(X, Y, verbose=0, **options))


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
def test_evaluate_where_batches_matter(reduction: str) -> None:
    def options(library: ModuleType) -> dict[str, Any]:
        return {"loss": library.losses.MeanSquaredError(reduction=reduction), "optimizer": "sgd"}

    twins = Twins(compiled=options)
    for weight in (None, WEIGHT):
        twins.same_results(
            "evaluate", lambda m, w=weight: m.evaluate(X, ONE_HOT, sample_weight=w, verbose=0)
        )


@pytest.mark.parametrize("verbose", ["auto", 0, 1, 2])
def test_evaluate_says_something(
    twins: Twins, verbose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in twins.models:
        model.evaluate(X, Y, verbose=verbose)
        text = capsys.readouterr().out
        assert ("loss" in text) == ("accuracy" in text) == bool(verbose)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"batch_size": 16}, {"batch_size": 99}, {"steps": 1}, {"steps": 3},
        {"steps": 2, "batch_size": 3},
    ],
    ids=str,
)  # fmt: skip
def test_predict(twins: Twins, options: dict[str, Any]) -> None:
    twins.same_results("predict", lambda model: model.predict(X, verbose=0, **options))


# One batch


def test_train_on_batch(twins: Twins) -> None:
    """Each call tells of its own batch: Keras 3.15 does not go on averaging."""
    for weights in ({}, {"sample_weight": WEIGHT}, {"class_weight": {1: 2.0}}):
        for part in (slice(None, 16), slice(16, None)):
            mine = {k: v[part] if k == "sample_weight" else v for k, v in weights.items()}
            for more in ({}, {"return_dict": True}):
                twins.same_results(
                    "train_on_batch",
                    lambda model, p=part, o=mine | more: model.train_on_batch(X[p], Y[p], **o),
                )
    twins.same_weights("train_on_batch")


def test_test_on_batch(twins: Twins) -> None:
    for weight in (None, WEIGHT):
        for flag in (False, True):
            twins.same_results(
                "test_on_batch",
                lambda model, w=weight, f=flag: model.test_on_batch(X, Y, w, return_dict=f),
            )


def test_predict_on_batch(twins: Twins) -> None:
    twins.same_results("predict", lambda model: model.predict_on_batch(X[:7]))


def test_calls_on_batches_between_epochs_of_fit(twins: Twins) -> None:
    for model in twins.models:
        model.train_on_batch(X, Y)
    twins.same_history("fit", X, Y, epochs=2, shuffle=False)
    twins.same_results("evaluate", lambda model: model.evaluate(X, Y, verbose=0))


# Forms of y

BINARY = (Y > 0).astype(np.float32)
SIGNS = 2.0 * BINARY - 1.0
FORMS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "sparse_categorical_crossentropy": (
        CLASSES, "softmax",
        {"(n,)": Y, "(n, 1)": Y[:, None], "float": Y.astype(np.float32), "bool": Y > 0},
    ),
    "categorical_crossentropy": (CLASSES, "softmax", {"one-hot": ONE_HOT, "(n,)": Y}),
    "binary_crossentropy": (
        1, "sigmoid",
        {"(n,)": BINARY, "(n, 1)": BINARY[:, None], "int": BINARY.astype(int), "bool": BINARY > 0},
    ),
    "mse": (1, None, {"(n,)": X[:, 0], "(n, 1)": X[:, :1], "int": Y, "float64": X[:, 0] * 0.1}),
    "mae": (2, None, {"(n, 2)": X[:, :2]}),
    "hinge": (
        1, None, {"signs (n,)": SIGNS, "signs": SIGNS[:, None], "0 and 1": BINARY[:, None]},
    ),
    "categorical_hinge": (CLASSES, None, {"one-hot": ONE_HOT}),
    "kl_divergence": (CLASSES, "softmax", {"one-hot": ONE_HOT}),
    "poisson": (1, "softplus", {"counts (n,)": Y, "counts": Y[:, None]}),
}  # fmt: skip


@pytest.mark.parametrize("loss", FORMS)
def test_forms_of_y(loss: str) -> None:
    outputs, last, forms = FORMS[loss]
    twins = Twins(lambda library: network(library, outputs, last))
    metrics = ["accuracy"] if loss.endswith("crossentropy") else ["mae"]
    if loss == "sparse_categorical_crossentropy":
        metrics = ["accuracy", "sparse_categorical_accuracy"]
    twins.compile(lambda k: {"optimizer": k.optimizers.SGD(0.1), "loss": loss, "metrics": metrics})
    for form, y in forms.items():
        twins.again()
        ours, theirs = twins.both(lambda m, y=y: outcome(lambda: m.train_on_batch(X, y)))
        if isinstance(ours, type) or isinstance(theirs, type):
            assert ours is theirs, form
            continue
        errors.compare(f"y of {loss}", ours, theirs)
        twins.same_weights(f"y of {loss}")


def test_truth_that_keras_broadcasts_is_refused() -> None:
    """Better: (n, 1) against (n, 3) outputs is a mistake, of which Keras makes a number."""
    twins = Twins(compiled=lambda library: {"optimizer": "sgd", "loss": "mse"})
    ours, theirs = twins.both(lambda m: outcome(lambda: m.test_on_batch(X, X[:, :1])))
    assert ours is ValueError
    assert isinstance(theirs, float)
