"""Callbacks: who is called, how often, and what each of them does; against Keras: tests/parity."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import callbacks, layers, training
from evengrad._program import Program
from harness import F32, draws
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

X, Y = draws(3, (100, 5), (100, 2))
V, W = draws(4, (37, 5), (37, 2))
FIT: dict[str, Any] = {"x": X, "y": Y, "batch_size": 8, "verbose": 0}
STEPS = 13  # an epoch


def model(optimizer: Any = None, *more: layers.Layer, **options: Any) -> keras.Sequential:
    keras.utils.set_random_seed(0)
    keras.utils.clear_session()
    made = keras.Sequential(
        [keras.Input((5,)), layers.Dense(7, "tanh"), *more, layers.Dense(2)], name="model"
    )
    made.compile(optimizer or keras.optimizers.SGD(0.05), "mse", **{"metrics": ["mae"]} | options)
    return made


def bits(made: keras.Sequential) -> str:
    """Short, for the messages of tests."""
    return hashlib.sha256(b"".join(array.tobytes() for array in made.live_arrays)).hexdigest()


class EachBatch(callbacks.Callback):
    """Calls a function with the callback and the batch after each batch of training."""

    def __init__(self, function: Callable[[Any, int], None]) -> None:
        self.function = function

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.function(self, batch)


def at_epoch_end(function: Callable[[int, Any], Any]) -> callbacks.Callback:
    return callbacks.LambdaCallback(on_epoch_end=function)


# How often Python is called


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """(whether it is training, number of batches) of each replay."""
    found: list[tuple[bool, int]] = []
    run = Program.run_batches

    def run_batches(self: Program, *args: Any, **kwargs: Any) -> int:
        found.append((self.training, kwargs["steps"]))
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Program, "run_batches", run_batches)
    return found


def steps(replays: list[tuple[bool, int]], *, training: bool) -> list[int]:
    return [count for kind, count in replays if kind == training]


def of(hook: str) -> callbacks.Callback:
    """A callback that has this hook of batches only."""
    body = {hook: lambda self, batch, logs=None: None}
    made: callbacks.Callback = type("One", (callbacks.Callback,), body)()
    return made


BATCH_HOOKS = [name for name in dir(callbacks.Callback) if "batch" in name and name[:3] == "on_"]


@pytest.mark.parametrize("hook", BATCH_HOOKS)
def test_only_the_work_that_is_watched_returns_after_each_batch(
    hook: str, replays: list[tuple[bool, int]]
) -> None:
    made = model()
    made.fit(**FIT, validation_data=(V, W), callbacks=[of(hook)])
    in_training = "test" not in hook and "predict" not in hook
    assert (steps(replays, training=True) == [1] * STEPS) == in_training
    assert (steps(replays, training=False) == [1] * 5) == ("test" in hook)
    replays.clear()
    made.predict(X, 8, callbacks=[of(hook)])
    assert (steps(replays, training=False) == [1] * STEPS) == ("predict" in hook)


QUIET: list[Callable[[Path], callbacks.Callback]] = [
    lambda folder: callbacks.Callback(),
    lambda folder: callbacks.TerminateOnNaN(),
    lambda folder: callbacks.EarlyStopping("loss"),
    lambda folder: callbacks.ModelCheckpoint(folder / "m.evengrad"),
    lambda folder: callbacks.BackupAndRestore(folder / "backup"),
    lambda folder: callbacks.ProgbarLogger(),
    lambda folder: callbacks.CallbackList([callbacks.TerminateOnNaN()]),
]


@pytest.mark.parametrize("make", QUIET)
def test_callbacks_that_need_no_batches_do_not_slow_training(
    make: Any, tmp_path: Path, replays: list[tuple[bool, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_CHUNK_SECONDS", 1e9)
    model().fit(**FIT, callbacks=[make(tmp_path)])
    assert steps(replays, training=True) == [1, 2, 4, 6]


@pytest.mark.parametrize("every", [1, 3, 5, 20])
def test_callbacks_that_need_some_batches(
    every: int, tmp_path: Path, replays: list[tuple[bool, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_CHUNK_SECONDS", 1e9)
    path = tmp_path / "{epoch}-{batch}.evengrad"
    model().fit(**FIT, epochs=3, callbacks=[callbacks.ModelCheckpoint(path, save_freq=every)])
    chunks = np.cumsum(steps(replays, training=True))
    due = range(every, 3 * STEPS + 1, every)
    assert set(due) <= set(chunks)
    assert every == 1 or len(chunks) < 3 * STEPS
    names = {f"{(n - 1) // STEPS + 1}-{(n - 1) % STEPS + 1}.evengrad" for n in due}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_a_class_of_ones_own_derived_from_such_a_one(replays: list[tuple[bool, int]]) -> None:
    class Own(callbacks.TerminateOnNaN):
        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_batch_end(batch, logs)

    model().fit(**FIT, callbacks=[Own()])
    assert steps(replays, training=True) == [1] * STEPS


def test_hooks_of_an_object_count() -> None:
    seen: list[int] = []
    one = callbacks.Callback()
    one.on_train_batch_end = lambda batch, logs=None: seen.append(batch)  # type: ignore[method-assign]
    model().fit(**FIT, callbacks=one)
    assert seen == list(range(STEPS))


# Lists


def test_lists_in_lists() -> None:
    seen: list[str] = []
    a, b, c = (at_epoch_end(lambda e, logs, n=n: seen.append(n)) for n in "abc")
    model().fit(**FIT, callbacks=[a, (b, []), callbacks.CallbackList([c])])
    assert seen == ["a", "b", "c"]


def test_what_one_callback_adds_to_the_logs() -> None:
    """Those after it see it, and the history; the caller of a list does not."""
    add = at_epoch_end(lambda epoch, logs: logs.update(mine=epoch * 2.0))
    seen: list[Any] = []
    look = at_epoch_end(lambda epoch, logs: seen.append("mine" in logs))
    history = model().fit(**FIT, epochs=2, callbacks=[look, add, look]).history
    assert seen == [False, True, False, True]
    assert history["mine"] == [0.0, 2.0]
    logs = {"loss": 1.0}
    callbacks.CallbackList([add]).on_epoch_end(0, logs)
    assert logs == {"loss": 1.0}


def test_a_history_of_ones_own_is_the_one_returned() -> None:
    made, own = model(), callbacks.History()
    assert made.fit(**FIT, callbacks=[own]) is own is made.history
    assert made.fit(**FIT, callbacks=[own]).epoch == [0]
    assert len(own.history["loss"]) == 2  # as Keras


def test_a_list_of_ones_own() -> None:
    made, one = model(), callbacks.Callback()
    several = callbacks.CallbackList([one])
    history = made.fit(**FIT, epochs=2, callbacks=several)
    assert history is several.history
    assert history.epoch == [0, 1]
    assert one.model is made
    assert one.params == {"verbose": 0, "epochs": 2, "steps": STEPS}
    other = model()
    other.fit(**FIT, callbacks=several)
    assert one.model is other


def test_a_list_of_ones_own_is_told_of_each_run() -> None:
    made, one = model(), callbacks.Callback()
    several = callbacks.CallbackList([one], epochs=7)
    for batch_size in (8, 16):
        made.fit(**FIT | {"batch_size": batch_size}, callbacks=several)
        assert one.params == {"verbose": 0, "epochs": 7, "steps": -(-len(X) // batch_size)}


def test_a_backup_in_a_list_of_a_list_is_called_last(tmp_path: Path) -> None:
    backup, one = callbacks.BackupAndRestore(tmp_path / "a"), callbacks.Callback()
    inner = callbacks.CallbackList([backup])
    assert callbacks.CallbackList([inner, one]).callbacks == [one, inner]


def test_a_bar_that_was_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    several = callbacks.CallbackList(add_progbar=True, model=model())
    several.on_epoch_begin(0)
    several.on_epoch_end(0, {"loss": 1.0})
    assert capsys.readouterr().out.startswith("Epoch 1/1 - ")


@pytest.mark.parametrize(
    "stem", ["{0}", "{}", "{", "{epoch:q}", "{loss:d}", "{val_mae:d}", "{loss.a}"]
)
def test_a_filepath_that_cannot_be_filled_in(stem: str, tmp_path: Path) -> None:
    made = model()
    before = bits(made)
    save = callbacks.ModelCheckpoint(tmp_path / f"{stem}.evengrad")
    with pytest.raises(ValueError, match="ModelCheckpoint: expected filepath to have fields"):
        made.fit(**FIT, callbacks=[save])
    assert bits(made) == before


def test_an_epoch_after_one_that_was_stopped_begins_a_pass(tmp_path: Path) -> None:
    def stop(callback: Any, batch: int) -> None:
        callback.model.stop_training = batch == 2

    backup = {"backup_dir": tmp_path / "a", "delete_checkpoint": False}
    model().fit(**FIT, callbacks=[EachBatch(stop), callbacks.BackupAndRestore(**backup)])
    batches: list[int] = []
    look = EachBatch(lambda callback, batch: batches.append(batch))
    model().fit(**FIT | {"epochs": 2}, callbacks=[look, callbacks.BackupAndRestore(**backup)])
    assert batches == list(range(STEPS))


def test_adding_a_progress_bar() -> None:
    def bars(several: callbacks.CallbackList) -> int:
        return sum(isinstance(c, callbacks.ProgbarLogger) for c in several.callbacks)

    own = callbacks.ProgbarLogger()
    assert bars(callbacks.CallbackList()) == 0
    assert bars(callbacks.CallbackList(add_progbar=True)) == 1
    assert bars(callbacks.CallbackList([own], add_progbar=True)) == 1


def test_bad_callbacks_of_evaluate_and_predict() -> None:
    made = model()
    for bad in (5, ["History"], [None], [callbacks.History]):
        with pytest.raises(TypeError, match="callbacks: expected Callback objects"):
            made.evaluate(X, Y, callbacks=bad)
        with pytest.raises(TypeError, match="callbacks: expected Callback objects"):
            made.predict(X, callbacks=bad)


def test_callbacks_need_no_constructor() -> None:
    class Bare(callbacks.Callback):
        def __init__(self) -> None:
            pass

    assert Bare().params is None
    assert Bare().model is None


def test_names_that_are_not_here() -> None:
    for name, instead in (
        ("RemoteMonitor", "on_epoch_end"),
        ("OrbaxCheckpoint", "ModelCheckpoint"),
    ):
        with pytest.raises(AttributeError, match=f"{name}.*{instead}"):
            getattr(callbacks, name)


# Using the model in callbacks


def test_training_on_a_batch_leaves_the_means_alone() -> None:
    """Of the same number of rows: it replays the same recording."""
    still = keras.optimizers.SGD(0.0)
    plain = model(still).fit(**FIT, epochs=2, shuffle=False)

    def more(callback: Any, batch: int) -> None:
        logs = callback.model.train_on_batch(10.0 * X[:8], Y[:8], return_dict=True)
        assert logs["loss"] != pytest.approx(plain.history["loss"][0], rel=1e-3)
        with pytest.raises(ValueError, match="x"):
            callback.model.train_on_batch(X[:8, :2], Y[:8])

    history = model(keras.optimizers.SGD(0.0)).fit(
        **FIT, epochs=2, shuffle=False, callbacks=[EachBatch(more)]
    )
    assert history.history == plain.history
    assert history.health == plain.health


def test_a_failing_batch_leaves_the_means_alone() -> None:
    plain = model().fit(**FIT, shuffle=False).history

    def fail(callback: Any, batch: int) -> None:
        with pytest.raises(keras.NonFiniteError):
            callback.model.train_on_batch(X[:8], Y[:8] * 1e30)

    assert model().fit(**FIT, shuffle=False, callbacks=[EachBatch(fail)]).history == plain


def test_evaluating_while_evaluating() -> None:
    made = model()
    right = made.evaluate(X, Y, 8, verbose=0)
    inner: list[Any] = []

    def evaluate(batch: int, logs: Any) -> None:
        if not inner or inner[-1] != "at it":
            inner.append("at it")
            inner[-1] = made.evaluate(V, W, 8, verbose=0)

    watch = callbacks.LambdaCallback(on_test_batch_end=evaluate)
    assert made.evaluate(X, Y, 8, verbose=0, callbacks=[watch]) == right
    assert inner == [made.evaluate(V, W, 8, verbose=0)] * STEPS


def test_predicting_while_predicting() -> None:
    made = model()
    right = made.predict(X, 8)
    watch = callbacks.LambdaCallback(on_predict_batch_end=lambda b, logs: made.predict(V, 8))
    np.testing.assert_array_equal(made.predict(X, 8, callbacks=[watch]), right)


def test_predict_tells_the_outputs_of_each_batch() -> None:
    made, seen = model(), list[F32]()
    watch = callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: seen.append(logs["outputs"].copy())
    )
    right = made.predict(X, 8, callbacks=[watch])
    assert [len(part) for part in seen] == [8] * 12 + [4]
    np.testing.assert_array_equal(np.concatenate(seen), right)
    np.testing.assert_array_equal(made.predict(X, 8, steps=2), right[:16])
    with pytest.warns(UserWarning, match="the data ended before the 99 steps"):
        np.testing.assert_array_equal(made.predict(X, 8, steps=99), right)


def test_saving_copying_and_predicting_in_a_callback(tmp_path: Path) -> None:
    plain = model("adam").fit(**FIT, epochs=2).history
    copies: list[keras.Sequential] = []

    def use(callback: Any, batch: int) -> None:
        callback.model.predict(V)
        callback.model.save(tmp_path / "m.evengrad")
        callback.model.save_weights(tmp_path / "w.npz")
        if batch == 3:
            copies.append(copy.deepcopy(callback.model))
            copies.append(pickle.loads(pickle.dumps(callback.model)))

    assert model("adam").fit(**FIT, epochs=2, callbacks=[EachBatch(use)]).history == plain
    for one in copies:  # they are not at it
        one.fit(**FIT)


def test_fit_in_a_callback_of_fit() -> None:
    made, other = model(), model()

    def again(epoch: int, logs: Any) -> None:
        other.fit(**FIT)
        made.fit(**FIT)

    with pytest.raises(RuntimeError, match="model: expected fit to have ended") as caught:
        made.fit(**FIT, callbacks=[at_epoch_end(again)])
    assert "\n" not in str(caught.value)
    assert made.fit(**FIT).epoch == [0]


def test_weights_changed_by_a_callback() -> None:
    made = model(keras.optimizers.SGD(0.0))
    zero = callbacks.LambdaCallback(
        on_epoch_end=lambda e, logs: made.set_weights([np.zeros(v.shape) for v in made.variables])
    )
    losses = made.fit(**FIT, epochs=2, callbacks=[zero]).history["loss"]
    assert losses[1] == pytest.approx(float((Y**2).mean()), rel=1e-5)


# EarlyStopping


def rising(patience: int = 0, **options: Any) -> tuple[callbacks.EarlyStopping, Any]:
    """Training on data whose validation loss rises from the first epoch on."""
    made = model(keras.optimizers.SGD(0.2), layers.BatchNormalization())
    stop = callbacks.EarlyStopping(patience=patience, **options)
    targets = made.predict(V)
    history = made.fit(**FIT, epochs=9, validation_data=(V, targets), callbacks=[stop])
    return stop, (made, history, targets)


def test_early_stopping_restores_all_of_the_best_epoch() -> None:
    stop, (made, history, targets) = rising(2, restore_best_weights=True)
    losses = history.history["val_loss"]
    assert len(losses) < 9
    assert stop.best_epoch == int(np.argmin(losses)) < len(losses) - 1
    assert made.evaluate(V, targets, 8, verbose=0)[0] == losses[stop.best_epoch]  # to the bit
    assert stop.best_weights is not None
    made.set_weights(stop.best_weights)


def test_early_stopping_restores_the_moving_statistics_to_the_bit() -> None:
    made, seen = model(keras.optimizers.SGD(0.2), layers.BatchNormalization()), list[str]()
    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    look = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(bits(made)))
    data = FIT | {"epochs": 9, "validation_data": (V, made.predict(V))}
    made.fit(**data, callbacks=[look, stop])
    assert len(set(seen)) == len(seen) > stop.best_epoch + 1
    assert bits(made) == seen[stop.best_epoch]


def test_early_stopping_without_restoring() -> None:
    stop, (made, history, targets) = rising(2)
    assert made.evaluate(V, targets, 8, verbose=0)[0] == history.history["val_loss"][-1]
    assert stop.best_weights is None


def test_early_stopping_can_be_used_again() -> None:
    stop = callbacks.EarlyStopping("loss", patience=1)
    for _ in range(2):
        made = model(keras.optimizers.SGD(0.0))
        assert made.fit(**FIT, epochs=5, shuffle=False, callbacks=[stop]).epoch == [0, 1]
        assert stop.stopped_epoch == 1


def test_a_direction_that_is_not_known_is_said_before_training() -> None:
    made = model()
    before = bits(made)
    folder = Path("nowhere")
    for one in (
        callbacks.EarlyStopping("val_nothing"),
        callbacks.ReduceLROnPlateau("val_nothing"),
        callbacks.ModelCheckpoint(folder / "m.evengrad", "val_nothing", save_best_only=True),
    ):
        with pytest.raises(ValueError, match=r"val_nothing.*mode='max' or mode='min'"):
            made.fit(**FIT, callbacks=[one])
        assert bits(made) == before


def test_the_direction_of_metrics_by_their_names_in_the_logs() -> None:
    made = model(metrics=["mae"], weighted_metrics=["mae", "cosine_similarity"])
    for name, larger in (("mae", False), ("weighted_mae", False), ("cosine_similarity", True)):
        stop = callbacks.EarlyStopping(f"val_{name}")
        stop.set_model(made)
        assert stop._rises() == larger


def test_a_metric_of_ones_own_says_its_direction() -> None:
    class Share(keras.metrics.Metric):
        _direction = "up"

        def call(self, y_true: Any, y_pred: Any) -> Any:
            return (np.abs(y_true - y_pred) < 0.5).mean(axis=-1)

    stop = callbacks.EarlyStopping("share")
    stop.set_model(model(metrics=[Share()]))
    assert stop._rises()


def test_several_numbers_cannot_be_compared() -> None:
    made = model(metrics=[keras.metrics.R2Score(class_aggregation=None, name="r2")])
    stop = callbacks.EarlyStopping("r2")
    with pytest.raises(ValueError, match="'r2' to be one number"):
        made.fit(**FIT, epochs=2, callbacks=[stop])


# Bad arguments


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("EarlyStopping", {"monitor": 5}, "monitor"),
    ("EarlyStopping", {"mode": "down"}, "mode"),
    ("EarlyStopping", {"patience": -1}, "patience"),
    ("EarlyStopping", {"patience": 1.5}, "patience"),
    ("EarlyStopping", {"min_delta": "a"}, "min_delta"),
    ("EarlyStopping", {"min_delta": float("nan")}, "min_delta"),
    ("EarlyStopping", {"verbose": "loud"}, "verbose"),
    ("EarlyStopping", {"baseline": "a"}, "baseline"),
    ("EarlyStopping", {"restore_best_weights": 2}, "restore_best_weights"),
    ("EarlyStopping", {"start_from_epoch": -1}, "start_from_epoch"),
    ("ReduceLROnPlateau", {"factor": 1.0}, "factor"),
    ("ReduceLROnPlateau", {"factor": -0.1}, "factor"),
    ("ReduceLROnPlateau", {"patience": -1}, "patience"),
    ("ReduceLROnPlateau", {"cooldown": -1}, "cooldown"),
    ("ReduceLROnPlateau", {"min_lr": -0.1}, "min_lr"),
    ("ReduceLROnPlateau", {"mode": None}, "mode"),
    ("ReduceLROnPlateau", {"verbose": -1}, "verbose"),
    ("LearningRateScheduler", {"schedule": 0.1}, "schedule"),
    ("LearningRateScheduler", {"schedule": len, "verbose": None}, "verbose"),
    ("CSVLogger", {"filename": 5}, "5|int"),
    ("CSVLogger", {"filename": "a.csv", "separator": "ab"}, "separator"),
    ("CSVLogger", {"filename": "a.csv", "append": "yes"}, "append"),
    ("LambdaCallback", {"on_epoch_end": 5}, "on_epoch_end"),
    ("LambdaCallback", {"on_epoch_over": print}, "on_epoch_over"),
    ("ModelCheckpoint", {"filepath": "m.evengrad", "save_freq": 0}, "save_freq"),
    ("ModelCheckpoint", {"filepath": "m.evengrad", "save_freq": "batch"}, "save_freq"),
    ("ModelCheckpoint", {"filepath": "m.evengrad", "save_freq": True}, "save_freq"),
    ("ModelCheckpoint", {"filepath": "m.evengrad", "save_best_only": None}, "save_best_only"),
    ("ModelCheckpoint", {"filepath": "m.evengrad", "save_weights_only": 2}, "save_weights_only"),
    ("ModelCheckpoint", {"filepath": "m.evengrad", "initial_value_threshold": "a"}, "threshold"),
    ("BackupAndRestore", {"backup_dir": ""}, "backup_dir"),
    ("BackupAndRestore", {"backup_dir": None}, "backup_dir"),
    ("BackupAndRestore", {"backup_dir": "a", "save_freq": False}, "save_freq"),
    ("BackupAndRestore", {"backup_dir": "a", "save_freq": 1.5}, "save_freq"),
    ("BackupAndRestore", {"backup_dir": "a", "double_checkpoint": 3}, "double_checkpoint"),
    ("BackupAndRestore", {"backup_dir": "a", "delete_checkpoint": 3}, "delete_checkpoint"),
    ("TerminateOnNaN", {"raise_error": "no"}, "raise_error"),
    ("SwapEMAWeights", {"swap_on_epoch": "no"}, "swap_on_epoch"),
    ("TensorBoard", {"histogram_freq": -1}, "histogram_freq"),
    ("TensorBoard", {"update_freq": 0}, "update_freq"),
    ("TensorBoard", {"write_graph": "no"}, "write_graph"),
    ("TensorBoard", {"write_images": "no"}, "write_images"),
    ("TensorBoard", {"write_steps_per_second": "no"}, "write_steps_per_second"),
    ("TensorBoard", {"write_health": "no"}, "write_health"),
    ("TensorBoard", {"profile_batch": (2, 5)}, "profile_batch to be 0"),
    ("TensorBoard", {"embeddings_freq": 1}, "embeddings_freq to be 0"),
    ("TensorBoard", {"embeddings_metadata": "a.tsv"}, "embeddings_metadata to be None"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "word"), BAD, ids=str)
def test_bad_arguments(name: str, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises((ValueError, TypeError), match=word) as caught:
        getattr(callbacks, name)(**arguments)
    assert "\n" not in str(caught.value)


# The learning rate


def test_a_rate_that_a_schedule_gives_cannot_be_lowered() -> None:
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    for rate in (decay, lambda: 0.1):
        made = model(keras.optimizers.SGD(rate))
        before = bits(made)
        with pytest.raises(TypeError, match=r"ReduceLROnPlateau: .*learning_rate to be a number"):
            made.fit(**FIT, callbacks=[callbacks.ReduceLROnPlateau("loss")])
        assert bits(made) == before
        assert made.optimizer.learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize("bad", [None, "0.1", -0.1, float("nan"), True])
def test_a_schedule_that_returns_no_rate(bad: Any) -> None:
    made = model()
    with pytest.raises((ValueError, TypeError), match="LearningRateScheduler's schedule"):
        made.fit(**FIT, callbacks=[callbacks.LearningRateScheduler(lambda epoch: bad)])


def test_an_error_in_a_schedule_is_its_own() -> None:
    calls: list[int] = []

    def schedule(epoch: int, rate: float) -> float:
        calls.append(epoch)
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        model().fit(**FIT, callbacks=[callbacks.LearningRateScheduler(schedule)])
    assert calls == [0]


def test_a_rate_at_its_lowest_is_not_lowered_again(capsys: pytest.CaptureFixture[str]) -> None:
    made = model(keras.optimizers.SGD(0.0))
    made.optimizer.learning_rate = 0.7
    lower = callbacks.ReduceLROnPlateau("one", 0.5, 1, verbose=1, mode="min", min_lr=0.7)
    one = at_epoch_end(lambda epoch, logs: logs.update(one=1.0))
    made.fit(**FIT, epochs=4, callbacks=[one, lower])
    assert made.optimizer.learning_rate == 0.7
    assert capsys.readouterr().out == ""


# Files


@pytest.mark.parametrize(("weights_only", "name", "better"), [
    (False, "best.keras", "best.evengrad"), (False, "best", "best.evengrad"),
    (False, "a/{epoch}.h5", "a/{epoch}.evengrad"), (False, "best.weights.npz", "best.evengrad"),
    (True, "best.weights.h5", "best.weights.npz"), (True, "best.evengrad", "best.weights.npz"),
    (True, "{epoch}.keras", "{epoch}.weights.npz"),
])  # fmt: skip
def test_names_of_keras_come_with_a_cure(weights_only: bool, name: str, better: str) -> None:
    with pytest.raises(ValueError, match="expected filepath to end in") as caught:
        callbacks.ModelCheckpoint(name, save_weights_only=weights_only)
    assert f"write filepath={better!r}" in str(caught.value)
    callbacks.ModelCheckpoint(better, save_weights_only=weights_only)


@pytest.mark.parametrize("weights_only", [False, True])
def test_what_a_checkpoint_holds(weights_only: bool, tmp_path: Path) -> None:
    made = model("adam", layers.BatchNormalization())
    end = ".weights.npz" if weights_only else ".evengrad"
    save = callbacks.ModelCheckpoint(
        tmp_path / "new" / f"{{epoch}}{end}", save_weights_only=weights_only
    )
    weights: list[list[F32]] = []
    look = at_epoch_end(lambda epoch, logs: weights.append(made.get_weights()))
    made.fit(**FIT, epochs=3, callbacks=[look, save])
    for epoch in range(3):
        path = tmp_path / "new" / f"{epoch + 1}{end}"
        other = model(None, layers.BatchNormalization())
        if weights_only:
            other.load_weights(path)
        else:
            other = keras.models.load_model(path)
            assert other.optimizer.iterations == STEPS * (epoch + 1)
        for a, b in zip(other.get_weights(), weights[epoch], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_checkpoint_in_the_place_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "m.evengrad"
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="a folder"):
        model().fit(**FIT, callbacks=[callbacks.ModelCheckpoint(path)])


def test_the_best_is_kept_from_fit_to_fit(tmp_path: Path) -> None:
    made = model(keras.optimizers.SGD(0.0))
    save = callbacks.ModelCheckpoint(tmp_path / "{epoch}.evengrad", "loss", save_best_only=True)
    made.fit(**FIT, shuffle=False, callbacks=[save])
    made.fit(**FIT, shuffle=False, epochs=2, initial_epoch=1, callbacks=[save])
    assert [path.name for path in tmp_path.iterdir()] == ["1.evengrad"]


def test_batches_are_counted_from_the_epoch_on_after_a_stop(tmp_path: Path) -> None:
    """The first fit ends after its third batch, the second begins with many at once."""
    made = model()
    save = callbacks.ModelCheckpoint(tmp_path / "{batch}.evengrad", save_freq=5)
    stop = EachBatch(lambda c, batch: setattr(c.model, "stop_training", batch == 2))
    made.fit(**FIT, callbacks=[save, stop])
    made.fit(**FIT, callbacks=[save])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "12.evengrad", "2.evengrad", "7.evengrad",
    ]  # fmt: skip


def test_csv_logger_closes_its_file_after_an_error(tmp_path: Path) -> None:
    log = callbacks.CSVLogger(tmp_path / "log.csv")

    def fail(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        model().fit(**FIT, epochs=3, callbacks=[log, at_epoch_end(fail)])
    assert log._file is None
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_what_fit_has_opened_evaluate_does_not_close(tmp_path: Path) -> None:
    made, log = model(), callbacks.CSVLogger(tmp_path / "log.csv")
    again = at_epoch_end(lambda epoch, logs: made.evaluate(V, W, verbose=0, callbacks=[log]))
    made.fit(**FIT, epochs=3, callbacks=[again, log])
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


# Numbers that are none


def spoilt() -> F32:
    y = Y.copy()
    y[20:30] = 1e30
    return y


def test_terminate_on_nan_leaves_the_model_as_before_the_step() -> None:
    made, right = model(), model()
    stop, seen = callbacks.TerminateOnNaN(), list[float]()
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(logs["loss"]))
    fit = FIT | {"y": spoilt(), "shuffle": False, "epochs": 3}
    history = made.fit(**fit, validation_data=(V, W), callbacks=[stop, watch])
    right.fit(X[:16], Y[:16], 8, verbose=0, shuffle=False)
    assert bits(made) == bits(right)
    assert history.epoch == [0]
    assert np.isnan(history.history["loss"]).all()
    assert np.isfinite(history.history["val_loss"]).all()
    assert len(seen) == 3
    assert np.isnan(seen[2]) and not np.isnan(seen[1])  # noqa: PT018
    assert stop.error is not None
    assert stop.error.step == 2
    assert made.stop_training
    made.fit(**FIT, callbacks=[stop])
    assert stop.error is None


def test_terminate_on_nan_where_many_steps_are_one_replay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    history = model().fit(
        **FIT | {"y": spoilt(), "shuffle": False}, callbacks=[callbacks.TerminateOnNaN()]
    )
    assert history.epoch == [0]
    assert capsys.readouterr().out == "Batch 2: Invalid loss, terminating training\n"


def test_terminate_on_nan_with_skipping() -> None:
    made = model(on_nonfinite="skip")
    y = Y.copy()
    y[20] = 1e30
    assert len(made.fit(**FIT | {"y": y}, callbacks=[callbacks.TerminateOnNaN()]).epoch) == 1
    assert made.skipped_steps == 1
    history = made.fit(
        **FIT | {"y": 1e30 * Y}, epochs=3, callbacks=[callbacks.TerminateOnNaN()]
    )  # ten in a row
    assert np.isnan(history.history["loss"]).all()
    assert history.epoch == [0]


def test_without_it_there_is_an_error() -> None:
    with pytest.raises(keras.NonFiniteError):
        model().fit(**FIT | {"y": spoilt()}, callbacks=[callbacks.EarlyStopping("loss")])


def test_terminate_on_nan_with_an_error_says_where() -> None:
    stop = callbacks.TerminateOnNaN(raise_error=True)
    with pytest.raises(RuntimeError, match=r"TerminateOnNaN: .*batch 2") as caught:
        model().fit(**FIT | {"y": spoilt(), "shuffle": False}, callbacks=[stop])
    assert isinstance(caught.value.__cause__, keras.NonFiniteError)


# Averages


def averaged(**options: Any) -> keras.Sequential:
    return model(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9, **options))


def test_averages_are_put_back_after_an_error() -> None:
    made, right = averaged(), averaged()
    swap = callbacks.SwapEMAWeights(swap_on_epoch=True)

    def fail(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made.fit(**FIT, epochs=3, shuffle=False, callbacks=[swap, at_epoch_end(fail)])
    with pytest.raises(OSError, match="disk full"):
        right.fit(**FIT, epochs=3, shuffle=False, callbacks=[at_epoch_end(fail)])
    assert bits(made) == bits(right)


def test_training_that_is_stopped_ends_with_the_averages() -> None:
    """Keras 3.15 ends with the weights here."""
    made, right = averaged(), averaged()
    stop = at_epoch_end(lambda epoch, logs: setattr(made, "stop_training", epoch == 1))
    made.fit(**FIT, epochs=9, shuffle=False, callbacks=[callbacks.SwapEMAWeights(True), stop])
    right.fit(**FIT, epochs=2, shuffle=False)
    assert bits(made) == bits(right)


def test_predicting_with_averages() -> None:
    """Keras 3.15 leaves them in place of the weights."""
    made = averaged()
    for i in range(5):
        made.train_on_batch(X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8])
    before, plain = bits(made), made.predict(V)
    swapped = made.predict(V, callbacks=[callbacks.SwapEMAWeights()])
    assert bits(made) == before
    assert np.abs(swapped - plain).max() > 1e-3
    made.optimizer.finalize_variable_values(made.trainable_variables)
    np.testing.assert_array_equal(made.predict(V), swapped)


def test_averages_before_the_first_step() -> None:
    made = averaged()
    right = made.evaluate(X, Y, verbose=0)
    assert made.evaluate(X, Y, verbose=0, callbacks=[callbacks.SwapEMAWeights()]) == right


# TensorBoard


def test_tensorboard_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install evengrad\[tensorboard\]"):
        callbacks.TensorBoard()


def records(path: Path) -> Iterator[bytes]:
    """Those of a file of events: length, its checksum, content, its checksum."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        yield content[at + 12 : at + 12 + size]
        at += size + 16


def test_what_tensorboard_reads(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    from tensorboardX.proto.event_pb2 import Event

    board = callbacks.TensorBoard(
        tmp_path, update_freq=5, histogram_freq=2, write_images=True, write_steps_per_second=True
    )
    made = model(metrics=[keras.metrics.R2Score(class_aggregation=None, name="r2")])
    history = made.fit(**FIT, epochs=3, validation_data=(V, W), callbacks=[board]).history
    found: dict[str, dict[tuple[str, int], Any]] = {}
    for name in ("train", "validation"):
        (path,) = (tmp_path / name).iterdir()
        events = [Event.FromString(record) for record in records(path)]
        found[name] = {(v.tag, e.step): v for e in events for v in e.summary.value}
    train, held_out = found["train"], found["validation"]
    for epoch in range(3):
        assert train["epoch_loss", epoch].simple_value == pytest.approx(history["loss"][epoch])
        assert train["epoch_learning_rate", epoch].simple_value == pytest.approx(0.05)
        assert train["epoch_steps_per_second", epoch].simple_value > 0.0
        got = held_out["epoch_loss", epoch].simple_value
        assert got == pytest.approx(history["val_loss"][epoch])
        assert held_out["evaluation_loss_vs_iterations", STEPS * (epoch + 1)].simple_value == got
        for i in range(2):
            got = train[f"epoch_r2_{i}", epoch].simple_value
            assert got == pytest.approx(history["r2"][epoch][i])
    batches = [step for tag, step in train if tag == "batch_loss"]
    assert batches == list(range(5, 3 * STEPS + 1, 5))
    for variable in made.variables:
        assert [s for tag, s in train if tag == f"{variable.path}/histogram"] == [0, 2]
        assert [s for tag, s in train if tag == f"{variable.path}/image"] == [0, 2]
    last = train[f"{made.variables[0].path}/histogram", 2].histo
    assert last.num == made.variables[0].size


# Backups


class Stop(BaseException):
    """The end of a process."""


def killed_after(updates: int) -> callbacks.Callback:
    def stop(callback: Any, batch: int) -> None:
        if callback.model.optimizer.iterations >= updates:
            raise Stop

    return EachBatch(stop)


def network(seed: int) -> keras.Sequential:
    """One of many: all that has a state is in some of them."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(4)
    optimizer: Any = [
        lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.5),
        lambda: keras.optimizers.SGD(
            keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.9), momentum=0.9
        ),
        lambda: keras.optimizers.RMSprop(0.01, use_ema=True, clipping="z_clip"),
        lambda: keras.optimizers.AdamW(0.01, gradient_accumulation_steps=3, clipping="auto_clip"),
    ][chosen[0]]()
    more = [
        layers.Dropout(0.3), layers.BatchNormalization(), layers.GaussianNoise(0.1),
        layers.LayerNormalization(),
    ]  # fmt: skip
    return model(optimizer, *[more[i] for i in chosen[:3]])


def helpers(folder: Path, seed: int) -> list[callbacks.Callback]:
    """Callbacks that have a state; a rate that a schedule gives is none to be set."""
    several: list[callbacks.Callback] = [
        callbacks.EarlyStopping("val_mae", patience=3, restore_best_weights=True),
        callbacks.ModelCheckpoint(folder / "{epoch}-{batch}.weights.npz", "loss",
            save_best_only=True, save_weights_only=True, save_freq=4),
    ]  # fmt: skip
    if np.random.default_rng(seed).permutation(4)[0] != 1:
        several += [
            callbacks.ReduceLROnPlateau("val_loss", 0.5, patience=1, min_delta=0.3),
            callbacks.LearningRateScheduler(lambda epoch, rate: 0.9 * rate),
        ]
    if np.random.default_rng(seed).permutation(4)[0] == 2:
        several.append(callbacks.SwapEMAWeights(swap_on_epoch=True))
    return several


def run(folder: Path, seed: int, *more: callbacks.Callback, **backup: Any) -> tuple[Any, Any]:
    made = network(seed)
    if backup:
        more = callbacks.BackupAndRestore(folder / "backup", **backup), *more
    history = made.fit(
        **FIT, epochs=5, validation_data=(V, W), callbacks=[*more, *helpers(folder, seed)]
    )
    return made, history


@pytest.fixture(scope="module")
def no_waiting_for_disks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.mark.usefixtures("no_waiting_for_disks")
@pytest.mark.parametrize("save_freq", ["epoch", 1, 3, 5])
@settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**20), kills=st.lists(st.integers(1, 4 * STEPS), max_size=3))
def test_a_run_that_was_killed_equals_one_that_was_not(
    save_freq: Any, seed: int, kills: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    right, whole = run(one, seed)
    for updates in sorted(kills):
        with pytest.raises(Stop):
            run(other, seed, killed_after(max(1, updates // 3)), save_freq=save_freq)
    made, rest = run(other, seed, save_freq=save_freq)
    assert bits(made) == bits(right)
    for a, b in zip(made.optimizer.variables, right.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    last = len(whole.epoch) - len(rest.epoch)
    assert rest.epoch == whole.epoch[last:]
    assert rest.history == {name: values[last:] for name, values in whole.history.items()}
    assert rest.health == {name: values[last:] for name, values in whole.health.items()}
    names = [sorted(p.name for p in folder.iterdir()) for folder in (one, other)]
    assert names[0] == names[1]  # the same files were the best, and no backup is left
    for name in names[0]:
        a, b = (dict(np.load(folder / name)) for folder in (one, other))
        for key, array in a.items():
            np.testing.assert_array_equal(array, b[key])


CHILD = """
import hashlib, os, signal, sys
import numpy as np
import evengrad as keras

folder, updates, save_freq = sys.argv[1], int(sys.argv[2]), sys.argv[3]
keras.utils.set_random_seed(5)
layers = keras.layers
model = keras.Sequential([keras.Input((5,)), layers.Dense(9, "elu"), layers.BatchNormalization(),
                          layers.Dropout(0.2), layers.Dense(2)])
model.compile(keras.optimizers.Adam(0.01, global_clipnorm=1.0), "mse")

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == updates:
            os.kill(os.getpid(), signal.SIGKILL)

backup = keras.callbacks.BackupAndRestore(
    folder, "epoch" if save_freq == "epoch" else int(save_freq))
rng = np.random.default_rng(0)
history = model.fit(rng.normal(size=(100, 5)), rng.normal(size=(100, 2)), 8, 4, 0,
                    callbacks=[backup, Kill()])
print(hashlib.sha256(b"".join(a.tobytes() for a in model.live_arrays)).hexdigest())
print(history.history["loss"][-1])
"""


def child(*arguments: Any) -> tuple[int, str]:
    package = str(Path(keras.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": package},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize(("save_freq", "updates"), [("epoch", 30), (1, 45), (7, 41)])
def test_a_process_that_was_killed(save_freq: Any, updates: int, tmp_path: Path) -> None:
    code, right = child(tmp_path / "whole", -1, "epoch")
    assert code == 0, right
    code, text = child(tmp_path / "backup", updates, save_freq)
    assert code == -signal.SIGKILL, text
    assert child(tmp_path / "backup", -1, save_freq) == (0, right)
    assert list(tmp_path.iterdir()) == []


def interrupted(folder: Path, updates: int = 30, **backup: Any) -> Path:
    """A folder with the backup of a run that was killed in its third epoch."""
    with pytest.raises(Stop):
        model("adam").fit(
            **FIT, epochs=4,
            callbacks=[callbacks.BackupAndRestore(folder, **backup), killed_after(updates)],
        )  # fmt: skip
    return folder


def go_on(folder: Path, made: keras.Sequential, **fit: Any) -> callbacks.History:
    backup = callbacks.BackupAndRestore(folder)
    return made.fit(**FIT | {"epochs": 4} | fit, callbacks=[backup])


@pytest.mark.filterwarnings("ignore:.*the data ended:UserWarning")
@pytest.mark.parametrize("save_freq", ["epoch", 1, 3])
@pytest.mark.parametrize("updates", [3, 8, 13, 17, 23])
def test_a_run_whose_epochs_are_parts_of_a_pass(
    save_freq: Any, updates: int, tmp_path: Path
) -> None:
    """Thirteen batches a pass, five an epoch: a pass ends within the third epoch."""
    some = FIT | {"epochs": 6, "steps_per_epoch": 5}
    whole = model("adam")
    right = whole.fit(**some).history
    folder = tmp_path / "a"
    backup = callbacks.BackupAndRestore(folder, save_freq)
    with pytest.raises(Stop):
        model("adam").fit(**some, callbacks=[backup, killed_after(updates)])
    made = model("adam")
    again = made.fit(**some, callbacks=[callbacks.BackupAndRestore(folder, save_freq)])
    assert bits(made) == bits(whole)
    assert again.history["loss"][-1] == right["loss"][-1]


@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_a_run_over_a_data_set_begins_its_epoch_again(save_freq: Any, tmp_path: Path) -> None:
    class Parts(keras.utils.PyDataset):
        def __len__(self) -> int:
            return STEPS

        def __getitem__(self, index: int) -> tuple[F32, F32]:
            part = slice(8 * index, 8 * index + 8)
            return X[part], Y[part]

    whole = model("adam")
    whole.fit(Parts(), epochs=4, verbose=0)
    backup = callbacks.BackupAndRestore(tmp_path / "a", save_freq)
    with pytest.raises(Stop):
        model("adam").fit(Parts(), epochs=4, verbose=0, callbacks=[backup, killed_after(30)])
    made = model("adam")
    backup = callbacks.BackupAndRestore(tmp_path / "a", save_freq)
    history = made.fit(Parts(), epochs=4, verbose=0, callbacks=[backup])
    assert history.epoch == [2, 3]
    if save_freq == "epoch":
        assert bits(made) == bits(whole)
    else:
        assert made.optimizer.iterations == whole.optimizer.iterations + 29 - 26  # the last backup


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(b"\x93NUMPY") + 128] ^= 1  # in the last array
    path.write_bytes(content)


@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_a_backup_that_is_damaged(save_freq: Any, tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "a", save_freq=save_freq)
    damage(folder / "latest.backup")
    made = model("adam")
    before = bits(made)
    with pytest.raises(keras.ModelFileError, match=r"latest\.backup"):
        go_on(folder, made)
    assert bits(made) == before


@pytest.mark.parametrize("lost", [False, True])
def test_the_backup_before_the_last(lost: bool, tmp_path: Path) -> None:
    whole = model("adam")
    whole.fit(**FIT, epochs=4)
    folder = interrupted(tmp_path / "a", double_checkpoint=True, save_freq=5)
    assert sorted(path.name for path in folder.iterdir()) == ["latest.backup", "previous.backup"]
    made = model("adam")
    if lost:
        (folder / "latest.backup").unlink()
        history = go_on(folder, made)
    else:
        damage(folder / "latest.backup")
        with pytest.warns(UserWarning, match=r"latest\.backup.*it takes .*previous\.backup"):
            history = go_on(folder, made)
    assert history.epoch == [1, 2, 3]  # after 20 of 52 batches
    assert bits(made) == bits(whole)
    assert not folder.exists()


def test_a_backup_of_another_model(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "a")
    small = keras.Sequential([keras.Input((5,)), layers.Dense(2)])
    small.compile("adam", "mse")
    for other, word in (
        (small, "of another model"),
        (model("sgd"), "of another optimizer"),
        (model(keras.optimizers.Adam(clipping="z_clip")), "of another way of clipping"),
    ):
        before = bits(other)
        with pytest.raises(keras.ModelFileError, match=word):
            go_on(folder, other)
        assert bits(other) == before


def test_a_backup_of_a_model_with_other_layers(tmp_path: Path) -> None:
    """Whose variables have the same shapes."""

    def made(first: bool) -> keras.Sequential:
        two = [layers.BatchNormalization(), layers.Dense(5, use_bias=False)]
        return model("adam", *(two if first else [Same(), two[1]]))

    class Same(layers.BatchNormalization):
        def get_extra_state(self) -> dict[str, Any]:
            return {}

    folder = tmp_path / "a"
    with pytest.raises(Stop):
        made(True).fit(
            **FIT, epochs=4, callbacks=[callbacks.BackupAndRestore(folder), killed_after(30)]
        )
    with pytest.raises(keras.ModelFileError, match="with other layers"):
        go_on(folder, made(False))


def test_going_on_with_other_data_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "a", save_freq=1)
    for fit in ({"batch_size": 9}, {"x": X[:90], "y": Y[:90]}):
        with pytest.raises(ValueError, match="middle of epoch 3 with its 100 rows in batches of 8"):
            go_on(folder, model("adam"), **fit)
    with pytest.raises(ValueError, match="its metrics"):
        go_on(folder, model("adam", metrics=["mae", "mape"]))
    assert go_on(folder, model("adam")).epoch == [2, 3]


def test_what_is_no_backup_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    go_on(folder, model("adam"))
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_backup_stays_where_another_callback_fails_at_the_end(tmp_path: Path) -> None:
    def fail(logs: Any) -> None:
        raise OSError("disk full")

    backup = callbacks.BackupAndRestore(tmp_path / "a")
    with pytest.raises(OSError, match="disk full"):
        model().fit(**FIT, callbacks=[backup, callbacks.LambdaCallback(on_train_end=fail)])
    assert (tmp_path / "a" / "latest.backup").exists()


def test_a_training_run_after_an_interrupted_one_without_backup(tmp_path: Path) -> None:
    """Where the next fit is to begin is forgotten with the run that was to go on."""
    folder, made = interrupted(tmp_path / "a"), model("adam")

    def stop(epoch: int, logs: Any) -> None:
        raise Stop

    backup, end = callbacks.BackupAndRestore(folder), callbacks.LambdaCallback(on_epoch_begin=stop)
    with pytest.raises(Stop):
        made.fit(**FIT, epochs=4, callbacks=[backup, end])
    assert made.fit(**FIT, epochs=2).epoch == [0, 1]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_what_callbacks_remember_is_part_of_a_backup(at: int, tmp_path: Path) -> None:
    """On scripted numbers: a run killed before an epoch, and one that was not."""
    numbers = [1.0, 0.5, 0.75, 0.75, 0.75, 0.25, 0.75, 0.75, 0.75]

    def fit(folder: Path, at: int) -> tuple[Any, list[Any]]:
        made = model(None, layers.BatchNormalization())
        script = at_epoch_end(lambda epoch, logs: logs.update(one=numbers[epoch]))
        several = [
            callbacks.EarlyStopping("one", patience=3, mode="min", restore_best_weights=True),
            callbacks.ReduceLROnPlateau("one", 0.5, patience=1, mode="min", cooldown=1),
        ]

        def stop(epoch: int, logs: Any) -> None:
            if epoch == at:
                raise Stop

        kill = callbacks.LambdaCallback(on_epoch_begin=stop)
        backup = callbacks.BackupAndRestore(folder)
        made.fit(**FIT, epochs=9, callbacks=[script, backup, kill, *several])
        return made, [{name: getattr(c, name) for name in c._kept} for c in several]

    right, state = fit(tmp_path / "whole", -1)
    with pytest.raises(Stop):
        fit(tmp_path / "backup", at)
    made, kept = fit(tmp_path / "backup", -1)
    assert bits(made) == bits(right)
    assert made.optimizer.iterations == right.optimizer.iterations < 9 * STEPS
    np.testing.assert_equal(kept, state)


# Progress of evaluate and predict; of fit: tests/test_training.py


def test_progress_of_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    made = model()
    logs = made.evaluate(X, Y, verbose=1, return_dict=True)
    assert capsys.readouterr().out == f"loss: {logs['loss']:.4g} - mae: {logs['mae']:.4g}\n"
    made.evaluate(X, Y, verbose=0, callbacks=[callbacks.ProgbarLogger()])
    made.predict(X, verbose=0, callbacks=[callbacks.ProgbarLogger()])
    assert capsys.readouterr().out == ""


def test_validation_has_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    model().fit(**FIT | {"verbose": 2}, validation_data=(V, W), epochs=2)
    assert capsys.readouterr().out.count("\n") == 2


def test_bars_of_evaluate_and_predict(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    made, progress = model(), callbacks.ProgbarLogger()
    made.evaluate(X, Y, 8, verbose=1)
    made.predict(X, 8, verbose=1, callbacks=[progress])
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("Evaluation", "Prediction", "13/13", "loss: "):
        assert text in err
    assert progress._bar is None


def test_what_a_hook_of_fit_evaluates_with_is_closed(tmp_path: Path) -> None:
    closed: list[str] = []

    class Open(callbacks.Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def _release(self) -> None:
            closed.append(self.name)

    of_fit = Open("fit")

    def use(callback: Any, batch: int) -> None:
        if batch == 2:
            callback.model.evaluate(X, Y, verbose=0, callbacks=[of_fit, Open("evaluate")])
            assert closed == ["evaluate"]

    model().fit(**FIT, callbacks=[of_fit, EachBatch(use)])
    assert closed == ["evaluate", "fit"]


def test_terminate_on_nan_by_a_subclass_with_hooks_of_its_own() -> None:
    class Silent(callbacks.TerminateOnNaN):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            pass

    history = model().fit(**FIT | {"y": 1e30 * Y}, epochs=3, callbacks=[Silent()])
    assert history.epoch == [0]


def test_ten_in_a_row_are_counted_anew_after_a_good_step() -> None:
    made = model(on_nonfinite="skip")
    x, y = X[:8], Y[:8]
    for _ in range(3):
        for _ in range(9):
            made.train_on_batch(x, 1e30 * y)
        made.train_on_batch(x, y)
    assert made.skipped_steps == 27
    for _ in range(9):
        made.train_on_batch(x, 1e30 * y)
    with pytest.raises(keras.NonFiniteError):
        made.train_on_batch(x, 1e30 * y)


def test_evaluate_and_predict_after_ones_that_were_stopped() -> None:
    made = model()

    def stop(batch: int, logs: Any) -> None:
        made.stop_evaluating = made.stop_predicting = batch == 1

    hook = callbacks.LambdaCallback(on_test_batch_end=stop, on_predict_batch_end=stop)
    right = made.evaluate(X, Y, 8, verbose=0)
    assert made.evaluate(X, Y, 8, verbose=0, callbacks=[hook]) != right
    assert made.evaluate(X, Y, 8, verbose=0, callbacks=[callbacks.Callback()]) == right
    assert len(made.predict(X, 8, callbacks=[hook])) == 16
    assert len(made.predict(X, 8, callbacks=[callbacks.Callback()])) == len(X)


def test_health_of_an_epoch_whose_layers_are_frozen_in_the_middle() -> None:
    made = model()

    def freeze(callback: Any, batch: int) -> None:
        if batch == 5:
            callback.model.layers[0].trainable = False

    history = made.fit(**FIT, callbacks=[EachBatch(freeze)])
    totals = history.health["gradient_norm"][0] * STEPS
    made = model()
    seen: list[float] = []

    def norms(callback: Any, batch: int) -> None:
        freeze(callback, batch)
        seen.append(float(np.sqrt(callback.model.running.recording.norms.sum())))

    made.fit(**FIT, callbacks=[EachBatch(norms)])
    assert totals == pytest.approx(sum(seen), rel=1e-6)


def test_no_epoch_at_all_makes_no_averages() -> None:
    made = model(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    made.train_on_batch(X, Y)
    before = bits(made)
    made.fit(**FIT, epochs=0)
    assert bits(made) == before
