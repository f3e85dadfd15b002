"""The same callbacks in evengrad and in Keras on JAX: on scripted logs, and in real training."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import keras

pytestmark = helpers.quiet

BOTH = (evengrad, keras)
many = helpers.settings(helpers.fixed, max_examples=150)


# Two libraries, one network


def network(library: ModuleType, optimizer: Any = None, **options: Any) -> Any:
    """tanh, then three outputs, compiled; from the same weights in both."""
    model = library.Sequential(
        [library.Input((4,)), library.layers.Dense(6, "tanh"), library.layers.Dense(3)]
    )
    rng = np.random.default_rng(7)
    model.set_weights([rng.normal(0.0, 0.5, w.shape) for w in model.get_weights()])
    options = {"loss": "mse", "metrics": ["mae"]} | options
    model.compile(optimizer or library.optimizers.SGD(0.1), **options)
    return model


X, V = helpers.draws(3, (50, 4), (21, 4))
Y, W = np.tanh(X[:, :3] + X[:, 1:]), np.tanh(V[:, :3] + V[:, 1:])
FIT = {"x": X, "y": Y, "batch_size": 16, "shuffle": False, "verbose": 0}
VALIDATED = FIT | {"validation_data": (V, W)}
# Held out are smaller targets: their loss falls at first, then it rises.
OVERFIT = FIT | {"validation_data": (V, 0.4 * W)}


def rate(model: Any) -> float:
    return float(np.asarray(model.optimizer.learning_rate))


def said(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a function returns and prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        result = function()
    return result, out.getvalue()


NUMBER = re.compile(r"\d+\.?\d*(?:e-?\d+)?")


def same_text(ours: str, theirs: str) -> None:
    """Equal words, and numbers up to the rounding of a learning rate in float32."""
    assert NUMBER.sub("#", ours) == NUMBER.sub("#", theirs)
    made, right = (np.array(list(map(float, NUMBER.findall(t)))) for t in (ours, theirs))
    if len(right):
        np.testing.assert_allclose(made, right, rtol=1e-6)


# Scripted logs


@pytest.fixture(scope="module")
def models() -> list[Any]:
    made = [network(library, metrics=["mae", "cosine_similarity"]) for library in BOTH]
    for model in made:
        model.train_on_batch(X, Y)
    return made


def script(callback: Any, model: Any, monitor: str, values: list[float]) -> list[Any]:
    """Drive it by hand over epochs with these logs; what is to be seen after each of them."""
    model.stop_training = False
    model.optimizer.learning_rate = 0.125
    callback.set_model(model)
    callback.set_params({"epochs": len(values), "steps": 1, "verbose": 0})
    callback.on_train_begin()
    seen: list[Any] = []
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.set_weights([np.full(w.shape, epoch) for w in model.get_weights()])
        logs = {monitor: value} if value is not None else {"other": 1.0}
        callback.on_epoch_end(epoch, logs)
        best = callback.best if hasattr(callback, "best") else None
        state = [getattr(callback, n, None) for n in ("wait", "cooldown_counter", "best_epoch")]
        seen.append((model.stop_training, *state, None if best is None else float(best)))
        seen.append((rate(model), sorted(logs)))
        if model.stop_training:
            break
    callback.on_train_end()
    seen.append(float(model.get_weights()[0].flat[0]))
    return seen


def compared(
    models: list[Any], make: Callable[[ModuleType], Any], monitor: str, values: list[float]
) -> None:
    results = []
    for library, model in zip(BOTH, models, strict=True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seen, text = said(lambda: script(make(library), model, monitor, values))  # noqa: B023
        told = sum(issubclass(w.category, UserWarning) for w in caught)
        results.append((seen, text, told))
    (ours, our_text, our_warnings), (theirs, their_text, their_warnings) = results
    assert our_warnings == their_warnings
    same_text(our_text, their_text)
    flat = [np.hstack([np.array(_numbers(s), float) for s in seen]) for seen in (ours, theirs)]
    np.testing.assert_allclose(*flat, rtol=1e-6)
    errors.record("callbacks: scripted logs", 0.0, errors.SINGLE)


def _numbers(state: Any) -> list[float]:
    if not isinstance(state, tuple):
        return [state]
    return [len(n) if isinstance(n, list) else math.nan if n is None else n for n in state]


numbers = st.sampled_from([-1.5, -0.5, 0.0, 0.25, 0.5, 0.625, 0.75, 1.0, 3.0, math.nan, math.inf])
values_of_epochs = st.lists(st.one_of(numbers, st.floats(-2, 2, width=32)), max_size=12)
directions = st.sampled_from([
    ("val_loss", "auto"), ("loss", "auto"), ("mae", "auto"), ("val_cosine_similarity", "auto"),
    ("val_loss", "max"), ("anything", "min"), ("anything", "max"),
])  # fmt: skip


@many
@given(values_of_epochs, directions, st.data())
def test_early_stopping(
    models: list[Any], values: list[float], direction: tuple[str, str], data: st.DataObject
) -> None:
    monitor, mode = direction
    arguments = {
        "monitor": monitor,
        "mode": mode,
        "min_delta": data.draw(st.sampled_from([0, 0.125, -0.125, 0.5])),
        "patience": data.draw(st.integers(0, 3)),
        "verbose": data.draw(st.integers(0, 1)),
        "baseline": data.draw(st.sampled_from([None, 0.5, -0.5])),
        "restore_best_weights": data.draw(st.booleans()),
        "start_from_epoch": data.draw(st.integers(0, 3)),
    }
    compared(models, lambda lib: lib.callbacks.EarlyStopping(**arguments), monitor, values)


@many
@given(values_of_epochs, directions, st.data())
def test_reduce_lr_on_plateau(
    models: list[Any], values: list[float], direction: tuple[str, str], data: st.DataObject
) -> None:
    monitor, mode = direction
    arguments = {
        "monitor": monitor,
        "mode": mode,
        "factor": data.draw(st.sampled_from([0.1, 0.5, 0.25])),
        "patience": data.draw(st.integers(0, 3)),
        "verbose": data.draw(st.integers(0, 1)),
        "min_delta": data.draw(st.sampled_from([1e-4, 0.125, -0.125, 0.5])),
        "cooldown": data.draw(st.integers(0, 2)),
        "min_lr": data.draw(st.sampled_from([0.0, 0.03125, 0.1])),
    }
    compared(models, lambda lib: lib.callbacks.ReduceLROnPlateau(**arguments), monitor, values)


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
def test_a_number_that_is_not_in_the_logs(models: list[Any], name: str) -> None:
    compared(models, lambda lib: getattr(lib.callbacks, name)("val_loss"), "val_loss", [None, 1.0])


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
def test_a_direction_that_is_not_known(models: list[Any], name: str) -> None:
    for library, model in zip(BOTH, models, strict=True):
        callback = getattr(library.callbacks, name)("val_anything")
        with pytest.raises(ValueError, match="mode='max'"):
            script(callback, model, "val_anything", [1.0])


def test_reduce_lr_on_plateau_refuses_a_factor_of_1() -> None:
    for library in BOTH:
        with pytest.raises(ValueError, match="factor"):
            library.callbacks.ReduceLROnPlateau(factor=1.0)


# Which way is better


METRICS = {
    "mse": "mse", "mae": "mae", "rmse": "RootMeanSquaredError", "mape": "mape", "msle": "msle",
    "cosine": "CosineSimilarity", "logcosh": "LogCoshError", "r2": "R2Score",
    "poisson": "Poisson", "kl": "KLDivergence", "hinge": "Hinge", "squared": "SquaredHinge",
    "categorical": "CategoricalHinge", "auc": "AUC", "precision": "Precision",
    "recall": "Recall", "f1": "F1Score", "fbeta": "FBetaScore", "binary": "BinaryAccuracy",
    "accuracy": "CategoricalAccuracy", "topk": "TopKCategoricalAccuracy",
    "crossentropy": "CategoricalCrossentropy", "bce": "BinaryCrossentropy",
    "tp": "TruePositives", "tn": "TrueNegatives", "fp": "FalsePositives", "fn": "FalseNegatives",
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_the_direction_of_a_metric(name: str) -> None:
    found = []
    for library in BOTH:
        kind = METRICS[name]
        made = kind if kind.islower() else getattr(library.metrics, kind)(name=name)
        model = network(library, metrics=[made])
        if library is keras:
            model.train_on_batch(np.abs(X), np.eye(3)[np.arange(50) % 3])
        monitor = f"val_{made if isinstance(made, str) else name}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                callback = library.callbacks.EarlyStopping(monitor, patience=5)
                script(callback, model, monitor, [0.5, 0.25])
                found.append(float(callback.best))
            except ValueError:
                found.append(None)
    assert found[0] == found[1]


# Real training: the order of hooks and what they get


def recorder(library: ModuleType, events: list[Any]) -> Any:
    """A callback that writes down every hook, with its arguments."""

    def record(name: str) -> Callable[..., None]:
        def hook(self: Any, *args: Any, **kwargs: Any) -> None:
            numbers = [a for a in args if isinstance(a, int)]
            logs = [a for a in [*args, *kwargs.values()] if isinstance(a, dict)]
            events.append((name, *numbers, sorted(kwargs), *[sorted(told) for told in logs]))

        return hook

    hooks = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]
    kept = [name for name in hooks if not name.startswith("on_batch")]
    body: dict[str, Any] = {name: record(name) for name in kept}
    return type("Recorder", (library.callbacks.Callback,), body)()


@pytest.mark.parametrize("options", [
    {}, {"epochs": 2, "initial_epoch": 1}, {"epochs": 2, "validation_data": (V, W)},
    {"epochs": 3, "validation_split": 0.4, "validation_freq": 2, "validation_batch_size": 7},
    {"epochs": 0}, {"steps_per_epoch": 2},
])  # fmt: skip
def test_hooks_of_fit(options: dict[str, Any]) -> None:
    seen: list[list[Any]] = [[], []]
    for library, events in zip(BOTH, seen, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network(library).fit(**FIT | options, callbacks=[recorder(library, events)])
    assert seen[0] == seen[1]
    assert len(seen[0]) >= 2


def test_hooks_of_evaluate_and_predict() -> None:
    seen: list[list[Any]] = [[], []]
    for library, events in zip(BOTH, seen, strict=True):
        model, one = network(library), recorder(library, events)
        model.evaluate(X, Y, 16, verbose=0, callbacks=[one])
        model.evaluate(X, Y, 16, verbose=0, steps=2, callbacks=[one])
        model.predict(X, 16, verbose=0, callbacks=(one,))
        model.predict(X, 16, verbose=0, steps=2, callbacks=[one])
        several = library.callbacks.CallbackList([one], model=model)
        model.predict(X, 32, verbose=0, callbacks=several)
        model.train_on_batch(X, Y)
        model.test_on_batch(X, Y)
        model.predict_on_batch(X)
    assert seen[0] == seen[1]


def test_older_names_of_batch_hooks() -> None:
    seen: list[list[Any]] = [[], []]
    for library, events in zip(BOTH, seen, strict=True):
        body = {
            name: lambda self, batch, logs=None, name=name, events=events: events.append(
                (name, batch, sorted(logs))
            )
            for name in ("on_batch_begin", "on_batch_end")
        }
        older = type("Older", (library.callbacks.Callback,), body)()
        network(library).fit(**VALIDATED, callbacks=[older])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 8


def test_lambda_callback() -> None:
    seen: list[list[Any]] = [[], []]
    hooks = [n for n in dir(keras.callbacks.Callback) if n.startswith("on_") and "_batch_" in n]
    for library, events in zip(BOTH, seen, strict=True):

        def tell(name: str, events: list[Any] = events) -> Callable[..., None]:
            if "_batch_" in name:
                return lambda batch, logs: events.append((name, batch, sorted(logs)))
            if "epoch" in name:
                return lambda epoch, told: events.append((name, epoch, sorted(told)))
            return lambda told: events.append((name, sorted(told)))

        names = [*hooks, "on_epoch_begin", "on_epoch_end", "on_train_begin", "on_train_end"]
        names += ["on_test_begin", "on_test_end", "on_predict_begin", "on_predict_end"]
        one = library.callbacks.LambdaCallback(**{name: tell(name) for name in names})
        model = network(library)
        model.fit(**VALIDATED, epochs=2, callbacks=[one])
        model.predict(X, 16, verbose=0, callbacks=[one])
    assert seen[0] == seen[1]


def test_stop_flags() -> None:
    ends: list[list[Any]] = []
    for library in BOTH:
        seen = []
        for flag, hook in (
            ("stop_training", "on_train_batch_end"),
            ("stop_evaluating", "on_test_batch_end"),
            ("stop_predicting", "on_predict_batch_end"),
        ):
            model = network(library)

            def stop(batch: int, logs: Any, model: Any = model, flag: str = flag) -> None:
                setattr(model, flag, batch == 1)

            one = library.callbacks.LambdaCallback(**{hook: stop})
            if flag == "stop_training":
                history = model.fit(**VALIDATED, epochs=5, callbacks=[one])
                seen += [history.epoch, sorted(history.history), int(model.optimizer.iterations)]
            elif flag == "stop_evaluating":
                seen.append(round(model.evaluate(X, Y, 16, verbose=0, callbacks=[one])[0], 5))
            else:
                seen.append(model.predict(X, 16, verbose=0, callbacks=[one]).shape)
        ends.append(seen)
    assert ends[0] == ends[1]
    assert ends[0][-1] == (32, 3)


def test_callback_list() -> None:
    seen: list[list[Any]] = [[], []]
    for library, events in zip(BOTH, seen, strict=True):
        model, one = network(library), recorder(library, events)
        several = library.callbacks.CallbackList(
            [one], add_history=True, model=model, epochs=2, steps=4, verbose=0
        )
        several.on_train_begin()
        for epoch in range(2):
            several.on_epoch_begin(epoch)
            several.on_train_batch_begin(0)
            several.on_train_batch_end(0, {"loss": 1.0})
            several.on_epoch_end(epoch, {"loss": 1.0 / (epoch + 1)})
        several.on_train_end({"loss": 0.5})
        events += [one.params, one.model is model, model.history.epoch]
        events.append({name: list(values) for name, values in model.history.history.items()})
        events.append(sorted(model.fit(**FIT, callbacks=several).history))
    assert seen[0] == seen[1]


# Real training: epochs, logs and files


def histories(
    callbacks: Callable[[ModuleType], Any], name: str, epochs: int = 12, **options: Any
) -> list[Any]:
    """Train both with the same callback; the histories are the same."""
    found = []
    for library in BOTH:
        compiled = {k: options[k] for k in ("optimizer", "metrics", "loss") if k in options}
        fit = {k: v for k, v in options.items() if k not in compiled}
        if "optimizer" in compiled:
            compiled["optimizer"] = compiled["optimizer"](library)
        model = network(library, **compiled)
        history, text = said(
            lambda: model.fit(  # noqa: B023
                **OVERFIT | fit,  # noqa: B023
                epochs=epochs,
                callbacks=callbacks(library),  # noqa: B023
            )
        )
        found.append((history, text, model))
    (ours, our_text, a), (theirs, their_text, b) = found
    assert ours.epoch == theirs.epoch
    assert sorted(ours.history) == sorted(theirs.history)
    for key, values in theirs.history.items():
        errors.compare(f"callbacks: history with {name}", ours.history[key], values, allowed=1e-4)
    for made, right in zip(a.get_weights(), b.get_weights(), strict=True):
        errors.compare_variable(f"callbacks: weights with {name}", made, right)
    same_text(our_text, their_text)
    return found


def test_early_stopping_in_training() -> None:
    (ours, text, _), _ = histories(
        lambda lib: lib.callbacks.EarlyStopping(
            patience=2, verbose=1, restore_best_weights=True
        ),
        "EarlyStopping", optimizer=lambda lib: lib.optimizers.SGD(0.3),
    )  # fmt: skip
    assert 2 < len(ours.epoch) < 12
    assert "Restoring model weights" in text


def test_reduce_lr_on_plateau_in_training() -> None:
    (ours, text, _), _ = histories(
        lambda lib: lib.callbacks.ReduceLROnPlateau("val_loss", 0.5, patience=1, verbose=1),
        "ReduceLROnPlateau",
        optimizer=lambda lib: lib.optimizers.SGD(0.3),
    )
    assert len(set(ours.history["learning_rate"])) > 1
    assert "reducing learning rate" in text


@pytest.mark.parametrize(
    "schedule",
    [lambda epoch, lr: lr * 0.5 if epoch else lr, lambda epoch: 0.25 / (1 + epoch)],
)
def test_learning_rate_scheduler(schedule: Any) -> None:
    (ours, text, _), _ = histories(
        lambda lib: lib.callbacks.LearningRateScheduler(schedule, verbose=1),
        "LearningRateScheduler", epochs=4,
    )  # fmt: skip
    assert len(set(ours.history["learning_rate"])) == 4
    assert text.count("setting learning rate") == 4


def test_learning_rate_is_seen_by_callbacks_to_come() -> None:
    for library in BOTH:
        seen: list[Any] = []
        look = library.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: seen.append(logs))  # noqa: B023
        lower = library.callbacks.LearningRateScheduler(lambda epoch: 0.5)
        ends: list[Any] = []
        end = library.callbacks.LambdaCallback(on_train_end=ends.append)
        history = network(library).fit(**FIT, callbacks=[look, lower, look, end])
        assert seen[0] is seen[1]
        assert history.history["learning_rate"] == [0.5]
        assert "learning_rate" not in ends[0]


def cells(path: Path, separator: str = ",") -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=separator))


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("validated", [False, True])
def test_csv_logger(tmp_path: Path, separator: str, validated: bool) -> None:
    tables = []
    for library in BOTH:
        path = tmp_path / f"{library.__name__}.csv"
        model = network(library)
        log = library.callbacks.CSVLogger(path, separator=separator)
        fit = VALIDATED if validated else FIT
        model.fit(**fit, epochs=3, callbacks=[log])
        model.fit(**fit, epochs=2, callbacks=[log])  # begins again
        more = library.callbacks.CSVLogger(str(path), separator=separator, append=True)
        model.fit(**VALIDATED, epochs=5, initial_epoch=2, callbacks=[more])
        assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n")
        tables.append(cells(path, separator))
    ours, theirs = tables
    assert ours[0] == theirs[0]
    assert [row[0] for row in ours] == [row[0] for row in theirs] == ["epoch", *"01234"]
    assert [["NA" in row] for row in ours] == [["NA" in row] for row in theirs]
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        made, right = ([float(c) for c in row if c != "NA"] for row in (a, b))
        errors.compare("callbacks: CSVLogger", made, right, allowed=1e-4)


def test_csv_logger_of_arrays(models: list[Any], tmp_path: Path) -> None:
    logs = {"b": np.float32(0.5), "a": np.array([1.0, 2.5]), "c": np.array(3.0), "d": "text"}
    files = []
    for library, model in zip(BOTH, models, strict=True):
        path = tmp_path / f"{library.__name__}.csv"
        log = library.callbacks.CSVLogger(path)
        log.set_model(model)
        log.on_train_begin()
        log.on_epoch_end(0, logs)
        log.on_epoch_end(1, {"a": np.array([1.0]), "new": 1.0})
        log.on_train_end()
        files.append(path.read_bytes())
    assert files[0] == files[1]


OURS = {".keras": ".evengrad", ".weights.h5": ".weights.npz"}
PATTERNS = ["model", "{epoch:02d}-{val_loss:.2f}", "deep/{epoch}/{mae:.1f}"]


def stems(folder: Path) -> list[str]:
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    for theirs, ours in OURS.items():
        files = [name.replace(ours, theirs) for name in files]
    return files


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("options", [
    {}, {"save_weights_only": True}, {"save_best_only": True},
    {"save_best_only": True, "monitor": "mae"}, {"save_best_only": True, "mode": "max"},
    {"save_best_only": True, "initial_value_threshold": 0.2},
    {"save_best_only": True, "initial_value_threshold": 1e-9},
], ids=str)  # fmt: skip
def test_model_checkpoint(tmp_path: Path, pattern: str, options: dict[str, Any]) -> None:
    suffix = ".weights.h5" if options.get("save_weights_only") else ".keras"

    def make(library: ModuleType) -> Any:
        end = suffix if library is keras else OURS[suffix]
        path = tmp_path / library.__name__ / f"{pattern}{end}"
        return library.callbacks.ModelCheckpoint(path, verbose=1, **options)

    def erased(text: str) -> str:
        return text.replace(OURS[suffix], suffix).replace("/evengrad/", "/keras/")

    found = []
    for library in BOTH:
        model = network(library, library.optimizers.SGD(0.3))
        _, text = said(
            lambda: model.fit(**OVERFIT, epochs=5, callbacks=[make(library)])  # noqa: B023
        )
        found.append((stems(tmp_path / library.__name__), erased(text)))
    (ours, our_text), (theirs, their_text) = found
    assert ours == theirs
    same_text(our_text, their_text)


@pytest.mark.parametrize("save_freq", [1, 3, 4, 6, 100])
def test_model_checkpoint_by_batches(tmp_path: Path, save_freq: int) -> None:
    """An epoch has four batches."""
    found = []
    for library in BOTH:
        end = ".weights.h5" if library is keras else ".weights.npz"
        path = tmp_path / library.__name__ / f"{{epoch}}-{{batch}}-{{loss:.3f}}{end}"
        save = library.callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=save_freq)
        network(library).fit(**FIT, epochs=4, callbacks=[save])
        found.append(stems(tmp_path / library.__name__))
    assert found[0] == found[1]


@many
@given(values_of_epochs, directions, st.data())
def test_model_checkpoint_on_scripted_logs(
    models: list[Any], values: list[float], direction: tuple[str, str], data: st.DataObject
) -> None:
    """Which epochs are saved, without files."""
    monitor, mode = direction
    threshold = data.draw(st.sampled_from([None, 0.5, -0.5, 1.0]))
    saved: list[list[str]] = [[], []]
    for library, model, names in zip(BOTH, models, saved, strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "save", lambda path, overwrite: names.append(path))  # noqa: B023
            end = ".keras" if library is keras else ".evengrad"
            callback = library.callbacks.ModelCheckpoint(
                f"{{epoch}}{end}", monitor, save_best_only=True, mode=mode,
                initial_value_threshold=threshold,
            )  # fmt: skip
            script(callback, model, monitor, values)
    assert [name.replace(".evengrad", ".keras") for name in saved[0]] == saved[1]
    errors.record("callbacks: scripted logs", 0.0, errors.SINGLE)


def test_model_checkpoint_without_its_number(models: list[Any]) -> None:
    """It saves in any case, and warns; so of a metric with several numbers."""
    for library, model in zip(BOTH, models, strict=True):
        names: list[str] = []
        end = ".keras" if library is keras else ".evengrad"
        for logs in ({"loss": 1.0}, {"val_loss": np.ones(2)}):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(model, "save", lambda path, overwrite: names.append(path))  # noqa: B023
                callback = library.callbacks.ModelCheckpoint(f"m{end}", save_best_only=True)
                callback.set_model(model)
                callback.on_train_begin()
                callback.on_epoch_begin(0)
                with pytest.warns(UserWarning, match="val_loss|scalar"):
                    callback.on_epoch_end(0, logs)
        assert len(names) == 2


def test_model_checkpoint_with_a_field_that_is_not_there() -> None:
    for library in BOTH:
        end = ".keras" if library is keras else ".evengrad"
        save = library.callbacks.ModelCheckpoint(f"{{nothing}}{end}")
        with pytest.raises(KeyError, match="nothing"):
            network(library).fit(**FIT, callbacks=[save])


# Numbers that are none


@pytest.mark.parametrize("epochs", [1, 3])
def test_terminate_on_nan(epochs: int) -> None:
    found = []
    for library in BOTH:
        model = network(library, library.optimizers.SGD(1e30))
        stop = library.callbacks.TerminateOnNaN()
        history, text = said(
            lambda: model.fit(**FIT, epochs=epochs, callbacks=[stop])  # noqa: B023
        )
        found.append((history.epoch, np.isfinite(history.history["loss"]).tolist(), text))
        assert model.stop_training
    assert found[0] == found[1]
    assert "Invalid loss, terminating training" in found[0][2]


def test_terminate_on_nan_with_an_error() -> None:
    for library in BOTH:
        ended: list[Any] = []
        end = library.callbacks.LambdaCallback(on_train_end=ended.append)
        model = network(library, library.optimizers.SGD(1e30))
        with pytest.raises(RuntimeError, match="batch"):
            model.fit(**FIT, callbacks=[library.callbacks.TerminateOnNaN(raise_error=True), end])
        assert ended == []


# Averages


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_swap_ema_weights(swap_on_epoch: bool) -> None:
    seen: list[list[Any]] = [[], []]

    def make(library: ModuleType) -> Any:
        watched = seen[BOTH.index(library)]
        look = library.callbacks.LambdaCallback(
            on_epoch_begin=lambda e, logs: watched.append(look.model.get_weights()[0].copy()),
            on_epoch_end=lambda e, logs: watched.append(look.model.get_weights()[0].copy()),
        )
        return [library.callbacks.SwapEMAWeights(swap_on_epoch), look]

    histories(
        make, "SwapEMAWeights", epochs=4,
        optimizer=lambda lib: lib.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.9),
    )  # fmt: skip
    assert len(seen[0]) == 8
    for made, right in zip(*seen, strict=True):
        errors.compare_variable("callbacks: weights with SwapEMAWeights", made, right)


def test_swap_ema_weights_in_evaluate() -> None:
    found = []
    for library in BOTH:
        optimizer = library.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.9)
        model = network(library, optimizer)
        for _ in range(5):
            model.train_on_batch(X, Y)
        before = model.get_weights()[0]
        swap = library.callbacks.SwapEMAWeights()
        found.append(model.evaluate(X, Y, verbose=0, callbacks=[swap]))
        np.testing.assert_array_equal(model.get_weights()[0], before)
        plain = model.evaluate(X, Y, verbose=0)
        assert plain != found[-1]
    errors.compare("callbacks: evaluate with SwapEMAWeights", *found)


def test_swap_ema_weights_needs_averages() -> None:
    for library in BOTH:
        with pytest.raises(ValueError, match="use_ema"):
            network(library).fit(**VALIDATED, callbacks=[library.callbacks.SwapEMAWeights()])


# Backups


class InterruptError(Exception):
    """Not of a library."""


@pytest.mark.parametrize("delete", [True, False])
def test_backup_and_restore(tmp_path: Path, delete: bool) -> None:
    """Epochs run, files left and results, of a run interrupted before its epoch 2."""
    found = []
    for library in BOTH:
        folder = tmp_path / library.__name__

        def fit(at: int, library: ModuleType = library, folder: Path = folder) -> Any:
            def interrupt(epoch: int, logs: Any) -> None:
                if epoch == at:
                    raise InterruptError

            model = network(library, "adam")
            backup = library.callbacks.BackupAndRestore(str(folder), delete_checkpoint=delete)
            stop = library.callbacks.LambdaCallback(on_epoch_begin=interrupt)
            return model, model.fit(**FIT, epochs=4, callbacks=[backup, stop])

        with pytest.raises(InterruptError):
            fit(2)
        left = folder.exists()
        model, history = fit(-1)
        found.append((left, history.epoch, folder.exists(), history.history, model.get_weights()))
        if not delete:
            assert fit(-1)[1].epoch == []  # all is done
    (*ours, history, weights), (*theirs, right, right_weights) = found
    assert ours == theirs == [True, [2, 3], not delete]
    for key in right:
        errors.compare("callbacks: BackupAndRestore", history[key], right[key], allowed=1e-4)
    for a, b in zip(weights, right_weights, strict=True):
        errors.compare_variable("callbacks: weights with BackupAndRestore", a, b)


# TensorBoard: Keras writes through tensorflow.summary, in whose place is a list here


class Summary:
    """Stands for tensorflow.summary."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int, float]] = []
        self._writers: list[tuple[str, Any]] = []
        self._recording = [True]

    def create_file_writer(self, folder: str) -> Any:
        summary = self

        class Writer:
            @contextlib.contextmanager
            def as_default(self, step: int | None = None) -> Iterator[None]:
                summary._writers.append((Path(folder).name, step))
                yield
                summary._writers.pop()

            def flush(self) -> None: ...
            def close(self) -> None: ...

        return Writer()

    @contextlib.contextmanager
    def record_if(self, condition: Callable[[], bool]) -> Iterator[None]:
        self._recording.append(condition())
        yield
        self._recording.pop()

    def scalar(self, name: str, value: Any, step: Any) -> None:
        # Keras 3 forgets to lift the condition for what it writes at the end of an epoch.
        if self._writers and (self._recording[-1] or not name.startswith("batch_")):
            self.events.append((self._writers[-1][0], name, int(step), float(value)))

    def histogram(self, name: str, values: Any, step: int) -> None:
        self.events.append((self._writers[-1][0], name, int(step), float(np.sum(values))))

    def image(self, name: str, values: Any, step: int) -> None:
        self.events.append((self._writers[-1][0], name, int(step), float(np.prod(values.shape))))


class Writer:
    """Stands for tensorboardX.SummaryWriter."""

    events: list[tuple[str, str, int, float]]

    def __init__(self, folder: str) -> None:
        self.name = Path(folder).name

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.events.append((self.name, name, step, value))

    def add_histogram(self, name: str, values: Any, step: int) -> None:
        self.events.append((self.name, name, step, float(np.sum(values))))

    def add_image(self, name: str, values: Any, step: int, dataformats: str) -> None:
        self.events.append((self.name, name, step, float(values.size)))

    def flush(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("options", [
    {}, {"update_freq": "batch"}, {"update_freq": 3}, {"update_freq": 1, "histogram_freq": 2},
    {"histogram_freq": 1, "write_images": True}, {"update_freq": 4, "write_steps_per_second": True},
], ids=str)  # fmt: skip
def test_tensorboard(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    Writer.events, summary = [], Summary()
    monkeypatch.setattr("evengrad.callbacks.tensorboard._writer_class", lambda: Writer)
    ours = evengrad.callbacks.TensorBoard("logs", **options)
    theirs = keras.callbacks.TensorBoard("logs", write_graph=False, **options)
    theirs._summary_module = summary
    for library, callback in zip(BOTH, (ours, theirs), strict=True):
        library.utils.clear_session()
        model = network(library)
        model.fit(**VALIDATED, epochs=3, callbacks=[callback])
        model.evaluate(X, Y, verbose=0, callbacks=[callback])
    made, right = (sorted(events) for events in (Writer.events, summary.events))
    assert [event[:3] for event in made] == [event[:3] for event in right]
    values = [
        [event[3] for event in events if "steps_per_second" not in event[1]]
        for events in (made, right)
    ]
    errors.compare("callbacks: TensorBoard", *values, allowed=1e-4)


# What History is for


def test_a_history_is_a_frame() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    pandas = pytest.importorskip("pandas")
    matplotlib.use("Agg")
    lower = evengrad.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    history = network(evengrad).fit(**VALIDATED, epochs=3, callbacks=[lower])
    frame = pandas.DataFrame(history.history)
    assert frame.shape == (3, 5)
    assert len(frame.plot().lines) == 5
    matplotlib.pyplot.close("all")
