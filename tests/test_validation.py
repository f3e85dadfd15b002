"""The door: bad data and bad arguments are refused with one clear line and nothing is half done;
good data of any kind are converted rightly and never changed.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import layers, losses, metrics, optimizers
from numpy.typing import NDArray

F32 = NDArray[np.float32]

ROWS, FEATURES, CLASSES = 12, 4, 3
X = np.random.default_rng(0).standard_normal((ROWS, FEATURES), dtype=np.float32)
Y = np.arange(ROWS) % CLASSES
T = np.random.default_rng(1).standard_normal((ROWS, 2), dtype=np.float32)
NAN, INF = float("nan"), float("inf")


def classifier() -> keras.Sequential:
    """Has been trained for a few steps, so that there is a state to spoil."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(5, "tanh"),
            layers.BatchNormalization(),
            layers.Dense(CLASSES, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(X, Y, verbose=0)
    return model


def regressor(loss: str = "mse", activation: str | None = None, outputs: int = 2) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(outputs, activation)])
    model.compile("adam", loss)
    return model


def state(model: keras.Sequential) -> list[Any]:
    slots = model.optimizer.slots(model.trainable_variables)
    return [
        *(w.tobytes() for w in model.get_weights()),
        *(s.tobytes() for slot in slots for s in slot),
        model.optimizer.iterations,
        model.skipped_steps,
    ]


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """ValueError or TypeError of one line that says what was expected and holds these words."""
    with pytest.raises((ValueError, TypeError)) as caught:
        yield
    assert type(caught.value) in (ValueError, TypeError)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    for word in ("expect", *words):
        assert word in text, f"{word!r} is not in {text!r}"


@contextmanager
def left_alone(model: keras.Sequential) -> Iterator[None]:
    before = state(model)
    yield
    assert state(model) == before
    assert np.isfinite(model.predict(X)).all()


def spoilt(array: Any, value: Any, *index: int, dtype: Any = None) -> Any:
    array = np.array(array, dtype=dtype)
    array[index] = value
    return array


class Sparse:
    """As scipy.sparse has them, which numpy would make a 0-d object of."""

    nnz = 3
    shape = (ROWS, FEATURES)

    def toarray(self) -> F32:
        return X


class Ragged:
    """A frame of a library we do not know, with objects inside."""

    def to_numpy(self) -> Any:
        return np.array([[1.0], [1.0, 2.0]], dtype=object)


# What no argument may be, whatever its shape. By the word that the message must have.
NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "None in it": (spoilt(X, None, 3, 1, dtype=object), ""),
    "strings": (X.astype(str), "dtype <U"),
    "bytes": (X.astype("S8"), "dtype |S8"),
    "strings as objects": (X.astype(str).astype(object), ""),
    "lists of strings": ([["1", "2", "3", "4"]] * ROWS, "dtype <U"),
    "a string": ("data", "dtype <U"),
    "complex": (X.astype(complex), "dtype complex128"),
    "complex as objects": (X.astype(complex).astype(object), ""),
    "dates": (X.astype("datetime64[s]"), "dtype datetime64"),
    "durations": (X.astype("timedelta64[s]"), "dtype timedelta64"),
    "dates as objects": (np.full((ROWS, FEATURES), datetime.datetime(2026, 1, 1), object), ""),
    "records": (np.zeros((ROWS, FEATURES), [("a", "f4"), ("b", "f4")]), "dtype [("),
    "ragged lists": ([[1.0, 2.0, 3.0, 4.0], [1.0]], ""),
    "ragged objects": (Ragged(), ""),
    "a dict": ({"a": X}, ""),
    "a set": ({1, 2, 3}, ""),
    "a generator": ((row for row in X), ""),
    "a function": (np.zeros, ""),
    "sparse": (Sparse(), "sparse"),
    "masked": (np.ma.masked_array(X, mask=X > 1.0), "masked"),
    "huge integers": ([[10**400, 2, 3, 4]] * ROWS, ""),
}  # fmt: skip
BAD_SAMPLES: dict[str, tuple[Any, str]] = NO_NUMBERS | {
    "one axis": (X[:, 0], "got (12,)"),
    "three axes": (X[..., None], "got (12, 4, 1)"),
    "a number": (5.0, "got ()"),
    "a 0-d array": (np.array(5.0), "got ()"),
    "too few features": (X[:, :3], "got (12, 3)"),
    "too many features": (np.ones((ROWS, 5)), "got (12, 5)"),
    "transposed": (X.T, "got (4, 12)"),
    "no rows": (X[:0], "got (0, 4)"),
    "no features": (X[:, :0], "got (12, 0)"),
    "an empty list": ([], "got (0,)"),
    "NaN": (spoilt(X, NAN, 7, 2), "row 7"),
    "infinity": (spoilt(X, INF, 0, 0), "row 0"),
    "minus infinity": (spoilt(X, -INF, 11, 3), "row 11"),
    "NaN in float16": (spoilt(X, NAN, 7, 2, dtype=np.float16), "row 7"),
    "NaN in objects": (spoilt(X, NAN, 7, 2, dtype=object), "row 7"),
    "beyond float32": (spoilt(X, 1e39, 5, 1, dtype=np.float64), "float32"),
    "integers beyond float32": (spoilt(X, -(10**50), 5, 1, dtype=object), "float32"),
}  # fmt: skip
bad_samples = pytest.mark.parametrize("name", BAD_SAMPLES)

USES: dict[str, Callable[[Any, Any], Any]] = {
    "fit": lambda model, x: model.fit(x, Y, verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, Y, verbose=0),
    "predict": lambda model, x: model.predict(x),
    "train_on_batch": lambda model, x: model.train_on_batch(x, Y),
    "test_on_batch": lambda model, x: model.test_on_batch(x, Y),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "call": lambda model, x: model(x),
    "call in training": lambda model, x: model(x, training=True),
    "validation_data": lambda model, x: model.fit(X, Y, verbose=0, validation_data=(x, Y)),
}


@pytest.mark.parametrize("use", USES)
@bad_samples
def test_bad_samples(name: str, use: str) -> None:
    model = classifier()
    x, word = BAD_SAMPLES[name]
    with left_alone(model), refused("x ", word):
        USES[use](model, x)


@bad_samples
def test_bad_samples_of_layers_losses_and_metrics(name: str) -> None:
    x, _ = BAD_SAMPLES[name]
    layer = layers.BatchNormalization()
    layer.build((FEATURES,))
    before = layer.get_weights()
    accepted = {"three axes", "transposed", "too few features", "too many features"}
    if name not in accepted:
        with refused("inputs"):
            layer(x, training=True)
        for loss in (losses.SparseCategoricalCrossentropy(), metrics.SparseCategoricalAccuracy()):
            with refused("y_pred"):
                loss(Y, x)
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_an_unbuilt_model_wants_rows_of_features() -> None:
    for bad in (X[:, 0], 5.0, [], X[:0], X[:, :0], np.zeros((3, 0, 4))):
        model = keras.Sequential([layers.Dense(CLASSES, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        with refused("fit: expected x"):
            model.fit(bad, Y, verbose=0)
        assert not model.built
        model.fit(X, Y, verbose=0)


def test_the_message_counts_many_bad_rows() -> None:
    with refused("predict: expected x to hold finite numbers", "row 0, 1, 2, 3, 4 and 7 more"):
        classifier().predict(np.full((ROWS, FEATURES), NAN))


def test_bad_rows_are_found_far_behind() -> None:
    x = np.zeros((300_000, FEATURES), np.float32)
    x[299_999, 3] = NAN
    with refused("row 299999"):
        classifier().predict(x)


# Labels and targets

BAD_LABELS: dict[str, tuple[Any, str]] = NO_NUMBERS | {
    "negative": (spoilt(Y, -1, 3), "got -1 in row 3"),
    "too large": (spoilt(Y, 3, 3), "got 3 in row 3"),
    "far too large": (spoilt(Y, 2**62, 3), "row 3"),
    "uint64": (spoilt(Y, 2**64 - 1, 3, dtype=np.uint64), "row 3"),
    "beyond int64": ([10**30, *Y[1:].tolist()], "row 0"),
    "not integral": (spoilt(Y, 0.5, 3, dtype=float), "got 0.5 in row 3"),
    "NaN": (spoilt(Y, NAN, 3, dtype=float), "got nan in row 3"),
    "infinity": (spoilt(Y, INF, 3, dtype=float), "got inf in row 3"),
    "too few": (Y[:-1], "got (11,)"),
    "too many": (np.zeros(13), "got (13,)"),
    "none": (Y[:0], "got (0,)"),
    "one-hot": (np.eye(CLASSES)[Y], "got (12, 3)"),
    "a number": (1, "got ()"),
    "a row": (Y[None], "got (1, 12)"),
    "strings of numbers": (Y.astype(str), "dtype <U"),
    "strings as objects": (Y.astype(str).astype(object), ""),
    "missing": (None, "None"),
}  # fmt: skip

USES_WITH_TRUTH: dict[str, Callable[[Any, Any], Any]] = {
    "fit": lambda model, y: model.fit(X, y, verbose=0),
    "evaluate": lambda model, y: model.evaluate(X, y, verbose=0),
    "train_on_batch": lambda model, y: model.train_on_batch(X, y),
    "test_on_batch": lambda model, y: model.test_on_batch(X, y),
    "validation_data": lambda model, y: model.fit(X, Y, verbose=0, validation_data=(X, y)),
}


@pytest.mark.parametrize("use", USES_WITH_TRUTH)
@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels(name: str, use: str) -> None:
    model = classifier()
    y, word = BAD_LABELS[name]
    with left_alone(model), refused("y", word):
        USES_WITH_TRUTH[use](model, y)


BAD_TARGETS: dict[str, tuple[Any, str]] = NO_NUMBERS | {
    "NaN": (spoilt(T, NAN, 3, 1), "row 3"),
    "infinity": (spoilt(T, INF, 3, 1), "row 3"),
    "beyond float32": (spoilt(T, 1e300, 3, 1, dtype=float), "float32"),
    "too few": (T[:-1], "got (11, 2)"),
    "one axis": (T[:, 0], "got (12,)"),
    "too wide": (np.zeros((ROWS, 3)), "got (12, 3)"),
    "three axes": (T[..., None], "got (12, 2, 1)"),
    "none": (T[:0], "got (0, 2)"),
    "a number": (1.0, "got ()"),
    "missing": (None, "None"),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_targets(name: str) -> None:
    y, word = BAD_TARGETS[name]
    model = regressor()
    model.fit(X, T, verbose=0)
    for use in ("fit", "evaluate", "train_on_batch"):
        with left_alone(model), refused(use, "y", word):
            USES_WITH_TRUTH[use](model, y)


@pytest.mark.parametrize("bad", [2.0, -1.0, 1.001, -0.001])
@pytest.mark.parametrize(
    ("loss", "activation"),
    [("binary_crossentropy", "sigmoid"), ("categorical_crossentropy", "softmax")],
)
def test_targets_of_cross_entropies_are_probabilities(
    bad: float, loss: str, activation: str
) -> None:
    model = regressor(loss, activation)
    y = np.eye(2)[Y % 2]
    model.fit(X, y, verbose=0)
    for use in ("fit", "evaluate", "train_on_batch"):
        with left_alone(model), refused(use, "y ", "0", "1", "row 5"):
            USES_WITH_TRUTH[use](model, spoilt(y, bad, 5, 1))


def test_labels_where_a_loss_has_one_row_of_outputs_a_sample() -> None:
    model = keras.Sequential([keras.Input((2, FEATURES)), layers.Dense(CLASSES, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with left_alone_unpredicted(model), refused("one row of outputs a sample", "(2, 3)"):
        model.fit(np.zeros((ROWS, 2, FEATURES)), Y, verbose=0)


@contextmanager
def left_alone_unpredicted(model: keras.Sequential) -> Iterator[None]:
    before = state(model)
    yield
    assert state(model) == before


# Weights of samples and classes

BAD_WEIGHTS: dict[str, tuple[Any, str]] = NO_NUMBERS | {
    "negative": (spoilt(np.ones(ROWS), -0.1, 3), "at least 0"),
    "NaN": (spoilt(np.ones(ROWS), NAN, 3), "finite"),
    "infinity": (spoilt(np.ones(ROWS), INF, 3), "finite"),
    "beyond float32": (spoilt(np.ones(ROWS), 1e300, 3), ""),
    "too few": (np.ones(ROWS - 1), "got (11,)"),
    "two axes": (np.ones((ROWS, 2)), "got (12, 2)"),
    "a number": (1.0, "got ()"),
    "none": (np.ones(0), "got (0,)"),
}

USES_WITH_WEIGHT: dict[str, Callable[[Any, Any], Any]] = {
    "fit": lambda model, w: model.fit(X, Y, sample_weight=w, verbose=0),
    "evaluate": lambda model, w: model.evaluate(X, Y, sample_weight=w, verbose=0),
    "train_on_batch": lambda model, w: model.train_on_batch(X, Y, sample_weight=w),
    "test_on_batch": lambda model, w: model.test_on_batch(X, Y, sample_weight=w),
    "validation_data": lambda model, w: model.fit(X, Y, verbose=0, validation_data=(X, Y, w)),
}


@pytest.mark.parametrize("use", USES_WITH_WEIGHT)
@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_sample_weights(name: str, use: str) -> None:
    model = classifier()
    weight, word = BAD_WEIGHTS[name]
    with left_alone(model), refused("sample_weight", word):
        USES_WITH_WEIGHT[use](model, weight)


@pytest.mark.parametrize(
    "bad",
    [
        [1.0, 2.0, 3.0],
        5.0,
        "balanced",
        {0: -1.0},
        {0: NAN},
        {0: INF},
        {0: 1e300},
        {0: "1"},
        {0: None},
        {0: True},
        {0: 1j},
        {"a": 1.0},
        {0.5: 1.0},
        {-1: 1.0},
        {None: 1.0},
        {True: 1.0},
    ],
    ids=repr,
)
def test_bad_class_weights(bad: Any) -> None:
    model = classifier()
    for use in (model.fit, model.train_on_batch):
        options = {"verbose": 0} if use == model.fit else {}
        with left_alone(model), refused("class_weight"):
            use(X, Y, class_weight=bad, **options)


# Good data of any kind


def memory_map(folder: Path, array: Any) -> Any:
    np.save(folder / "x.npy", array)
    return np.load(folder / "x.npy", mmap_mode="r")


def misaligned(array: Any) -> Any:
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def every_other(array: Any) -> Any:
    wide = np.repeat(np.repeat(array, 2, axis=0), 2, axis=-1) if array.ndim > 1 else array.repeat(2)
    return wide[::2, ::2] if array.ndim > 1 else wide[::2]


class Frame:
    """As frames have it."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def to_numpy(self) -> Any:
        return self.array


class Duck:
    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array if dtype is None else self.array.astype(dtype)


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda a: a,
    "read-only": read_only,
    "strided": every_other,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "reversed twice": lambda a: (
        np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]
        if a.ndim > 1
        else np.ascontiguousarray(a[::-1])[::-1]
    ),
    "Fortran order": np.asfortranarray,
    "misaligned": misaligned,
    "list": lambda a: a.tolist(),
    "tuple of arrays": tuple,
    "objects": lambda a: a.astype(object),
    "matrix of Python's own numbers": lambda a: np.array(a.tolist(), dtype=object),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "nothing masked": np.ma.masked_array,
    "frame": Frame,
    "object with __array__": Duck,
}
DTYPES = [
    "float32", "float64", "float16", "longdouble", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64", "bool",
]  # fmt: skip


def check_data(x: Any, y: Any, values: Any) -> None:
    """Train, evaluate and predict as on `values`, their numbers in float32, and labels Y."""
    kept = np.array(x, copy=True) if isinstance(x, np.ndarray) else None
    kept_y = np.array(y, copy=True) if isinstance(y, np.ndarray) else None
    plain = np.ascontiguousarray(values, dtype=np.float32)
    model, right = classifier(), classifier()
    np.testing.assert_array_equal(model.predict(x), right.predict(plain))
    assert model.evaluate(x, y, verbose=0) == right.evaluate(plain, Y, verbose=0)
    for one, samples, truth in ((model, x, y), (right, plain, Y)):
        keras.utils.set_random_seed(1)
        one.fit(samples, truth, batch_size=5, epochs=2, verbose=0, sample_weight=None)
        one.train_on_batch(samples, truth)
    assert state(model) == state(right)
    np.testing.assert_array_equal(
        layers.Activation("linear")(x), layers.Activation("linear")(plain)
    )
    if kept is not None:
        np.testing.assert_array_equal(x, kept)
    if kept_y is not None:
        np.testing.assert_array_equal(y, kept_y)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_good_layouts(dtype: str, layout: str) -> None:
    values = (10.0 * X).astype(dtype)
    check_data(LAYOUTS[layout](values), LAYOUTS[layout](Y.astype(np.int32)), values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_good_dtypes(dtype: str) -> None:
    values = np.abs(10.0 * X).astype(dtype)
    check_data(values, Y.astype(dtype) if dtype != "bool" else Y, values)


def test_labels_of_two_classes_may_be_bool() -> None:
    model = regressor("sparse_categorical_crossentropy", "softmax")
    truth = Y % 2
    right = model.evaluate(X, truth, verbose=0)
    for y in (truth.astype(bool), truth[:, None], truth.astype(float), truth.tolist()):
        assert model.evaluate(X, y, verbose=0) == right


def test_extreme_numbers_that_float32_has() -> None:
    x = X.copy()
    x[0] = [3.4e38, -3.4e38, 1e-45, -1e-45]
    for values in (x, x.astype(np.float64)):
        np.testing.assert_array_equal(layers.Activation("linear")(values), x)
    tiny = spoilt(X, 1e-300, 0, 0, dtype=np.float64)
    assert layers.Activation("linear")(tiny)[0, 0] == 0.0
    big = np.full((1, FEATURES), 2**63 - 1)
    np.testing.assert_array_equal(layers.Activation("linear")(big), np.full((1, FEATURES), 2.0**63))
    exact = [[2**100, decimal.Decimal("0.5"), 3, True]]
    np.testing.assert_array_equal(layers.Activation("linear")(exact), [[2.0**100, 0.5, 3.0, 1.0]])


def test_memory_maps(tmp_path: Path) -> None:
    for dtype in ("float32", "float64", "uint8"):
        values = np.abs(10.0 * X).astype(dtype)
        check_data(memory_map(tmp_path, values), Y, values)


def test_a_writable_memory_map_is_not_written(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    mapped[...] = X
    model = classifier()
    model.fit(mapped, Y, verbose=0)
    model.predict(mapped)
    np.testing.assert_array_equal(mapped, X)


def test_pandas_frames_and_series() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    columns = list("abcd")
    check_data(pandas.DataFrame(X, columns=columns), pandas.Series(Y), X)
    mixed = pandas.DataFrame(
        {"a": X[:, 0], "b": np.arange(ROWS), "c": Y == 1, "d": X[:, 3].astype(float)}
    )
    values = np.column_stack([X[:, 0], np.arange(ROWS), Y == 1, X[:, 3]])
    check_data(mixed, pandas.Series(Y, index=np.arange(ROWS)[::-1]), values)
    check_data(mixed, pandas.DataFrame({"label": Y}), values)
    weight = pandas.Series(np.linspace(0.0, 2.0, ROWS))
    assert classifier().evaluate(X, Y, sample_weight=weight, verbose=0) == classifier().evaluate(
        X, Y, sample_weight=weight.to_numpy(), verbose=0
    )
    model = classifier()
    for bad in (
        mixed.assign(b="text"),
        mixed.assign(b=pandas.Timestamp("2026-01-01")),
        mixed.assign(a=NAN),
        mixed.assign(b=pandas.array([None] * ROWS, dtype="Int64")),
    ):
        with left_alone(model), refused("fit: expected x"):
            model.fit(bad, Y, verbose=0)


def test_samples_of_several_axes() -> None:
    x = np.random.default_rng(0).integers(0, 256, (ROWS, 2, 2), dtype=np.uint8)
    model = keras.Sequential([layers.Flatten(input_shape=(2, 2)), layers.Dense(CLASSES, "softmax")])
    right = model.predict(x.astype(np.float32))
    for same in (x, np.asfortranarray(x), x.tolist(), x.astype(float), list(x)):
        np.testing.assert_array_equal(model.predict(same), right)


def test_one_feature_or_output_needs_no_second_axis() -> None:
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    x, y = X[:, 0], X[:, 1]
    right = model.evaluate(x[:, None], y[:, None], verbose=0)
    assert model.evaluate(x, y, verbose=0) == model.evaluate(x.tolist(), y, verbose=0) == right
    assert model.predict(x).shape == (ROWS, 1)
    weight = np.linspace(0.0, 1.0, ROWS)
    assert model.evaluate(x, y, sample_weight=weight[:, None], verbose=0) == model.evaluate(
        x, y, sample_weight=weight, verbose=0
    )


def test_finite_float32_arrays_are_used_where_they_lie() -> None:
    x = X.copy()
    model = regressor()

    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            x[...] = 0.0

    y = np.ones((ROWS, 2))
    made = model.fit(x, y, verbose=0, callbacks=[Change()]).history["loss"]
    assert made == regressor().fit(np.zeros_like(X), y, verbose=0).history["loss"]


def test_data_changed_during_training_are_checked_again() -> None:
    y = Y.astype(np.int32)
    x = X.copy()
    model = classifier()

    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            y[3] = 99

    with (
        left_alone(model),
        pytest.raises(ValueError, match="the data to stay as they were"),
    ):
        model.fit(x, y, verbose=0, callbacks=[Change()])


# Arguments of constructors and methods

NUMBERS_NO_ONE_WANTS: list[Any] = [NAN, INF, -INF, "0.5", None, [0.5], 1j, True, np.zeros(2)]
FLAGS_NO_ONE_WANTS: list[Any] = ["he_normal", [True]]


def numbers(*more: Any, without: tuple[Any, ...] = ()) -> list[Any]:
    kept = [bad for bad in NUMBERS_NO_ONE_WANTS if not any(bad is w for w in without)]
    return [*more, *kept]


COUNTS: list[Any] = [0, -1, 2.5, 3.0, "3", None, [3], True, NAN]

BAD_ARGUMENTS: dict[tuple[Any, str], list[Any]] = {
    (layers.Dense, "units"): COUNTS,
    (layers.Dense, "use_bias"): FLAGS_NO_ONE_WANTS,
    (layers.BatchNormalization, "momentum"): numbers(-0.1, 1.1),
    (layers.BatchNormalization, "epsilon"): numbers(0.0, -1e-3),
    (layers.BatchNormalization, "axis"): ["last", 1.5, None],
    (layers.BatchNormalization, "center"): FLAGS_NO_ONE_WANTS,
    (layers.BatchNormalization, "scale"): FLAGS_NO_ONE_WANTS,
    (layers.BatchNormalization, "debias"): FLAGS_NO_ONE_WANTS,
    (layers.Dropout, "rate"): numbers(-0.1, 1.0, 1.5),
    (layers.Dropout, "seed"): [-1, 1.5, "1", True, [1]],
    (layers.ELU, "alpha"): numbers(-1.0),
    (layers.LeakyReLU, "negative_slope"): numbers(-1.0),
    (layers.LeakyReLU, "alpha"): numbers(-1.0, without=(None,)),
    (layers.ReLU, "max_value"): numbers(-1.0, without=(None, INF)),
    (layers.ReLU, "negative_slope"): numbers(-1.0),
    (layers.ReLU, "threshold"): numbers(-1.0),
    (layers.Softmax, "axis"): [0, 1, "last", None, 1.5, [-1, 0]],
    (layers.PReLU, "shared_axes"): [1.5, "1", [1.5], ["a"], [None], [True]],
    (layers.Dense, "trainable"): FLAGS_NO_ONE_WANTS,
    (layers.Dense, "input_dim"): COUNTS[:5],
    (optimizers.SGD, "momentum"): numbers(-0.1, 1.1),
    (optimizers.SGD, "nesterov"): FLAGS_NO_ONE_WANTS,
    (optimizers.Adam, "beta_1"): numbers(-0.1, 1.0),
    (optimizers.Adam, "beta_2"): numbers(-0.1, 1.0),
    (optimizers.Adam, "epsilon"): numbers(0.0, -1.0),
    (optimizers.Adam, "amsgrad"): FLAGS_NO_ONE_WANTS,
    (optimizers.RMSprop, "rho"): numbers(-0.1, 1.0),
    (optimizers.RMSprop, "momentum"): numbers(-0.1, 1.1),
    (optimizers.RMSprop, "epsilon"): numbers(0.0, -1.0),
    (optimizers.RMSprop, "centered"): FLAGS_NO_ONE_WANTS,
}
for optimizer in (optimizers.SGD, optimizers.Adam, optimizers.RMSprop):
    BAD_ARGUMENTS[optimizer, "learning_rate"] = numbers(-0.1)
    for clip in ("clipnorm", "clipvalue", "global_clipnorm"):
        BAD_ARGUMENTS[optimizer, clip] = numbers(0.0, -1.0, without=(None, INF))
NEEDED: dict[Any, dict[str, Any]] = {layers.Dense: {"units": 3}, layers.Dropout: {"rate": 0.5}}


def cases(table: dict[tuple[Any, str], list[Any]]) -> list[Any]:
    return [
        pytest.param(owner, name, bad, id=f"{getattr(owner, '__name__', owner)}({name}={bad!r})")
        for (owner, name), values in table.items()
        for bad in values
    ]


@pytest.mark.parametrize(("owner", "name", "bad"), cases(BAD_ARGUMENTS))
def test_bad_arguments(owner: Any, name: str, bad: Any) -> None:
    shown = "input_shape" if name == "input_dim" else name
    if (owner, name) == (layers.LeakyReLU, "alpha"):
        shown = "negative_slope"
    with refused(owner.__name__, shown, "got"):
        made = owner(**NEEDED.get(owner, {}) | {name: bad})
        if isinstance(made, layers.Layer):
            made.build((4,))  # where an axis is compared with the samples


@pytest.mark.parametrize("cls", [optimizers.SGD, optimizers.Adam, optimizers.RMSprop])
def test_good_arguments_of_optimizers(cls: Any) -> None:
    for rate in (0, 0.0, 1, 0.5, np.float32(0.5), np.int64(1), np.float64(0.25)):
        assert cls(rate).learning_rate == rate
        assert cls(0.1, clipnorm=np.float32(2.0)).clipnorm == 2.0
    optimizer = cls(0.1)
    for bad in numbers(-0.1):
        with refused(cls.__name__, "learning_rate", "got"):
            optimizer.learning_rate = bad
        assert optimizer.learning_rate == 0.1
    for one, other in (
        ("clipnorm", "clipvalue"),
        ("clipnorm", "global_clipnorm"),
        ("clipvalue", "global_clipnorm"),
    ):
        with refused(one, other):
            cls(0.1, **{one: 1.0, other: 1.0})
    with pytest.raises(TypeError, match="nonsense"):
        cls(nonsense=1)


@pytest.mark.parametrize("cls", [optimizers.SGD, optimizers.Adam, optimizers.RMSprop])
def test_optimizers_round_trip(cls: Any) -> None:
    optimizer = cls(0.25, clipnorm=2.0)
    assert cls.from_config(optimizer.get_config()).get_config() == optimizer.get_config()
    assert optimizers.get(cls.__name__).get_config() == cls().get_config()
    assert optimizers.get(cls.__name__.lower()).get_config() == cls().get_config()
    assert optimizers.get(optimizer) is optimizer
    config = {"class_name": cls.__name__, "config": {"learning_rate": 0.5}}
    assert optimizers.get(config).learning_rate == 0.5


@pytest.mark.parametrize(
    ("name", "bad", "word"),
    [
        ("optimizer", "nope", "optimizer: expected one of sgd, adam"),
        ("optimizer", 5, "optimizer"),
        ("optimizer", None, "optimizer"),
        ("optimizer", optimizers.SGD, "optimizer"),
        ("optimizer", {"class_name": "nope"}, "optimizer"),
        ("loss", "nope", "loss: expected one of mean_squared_error"),
        ("loss", 5, "loss"),
        ("loss", losses.MeanSquaredError, "loss"),
        ("loss", ["mse", "mae"], "loss"),
        ("loss_weights", 0.5, "loss_weights"),
        ("weighted_metrics", 5, "weighted_metrics"),
        ("run_eagerly", "no", "run_eagerly"),
        ("steps_per_execution", 0, "steps_per_execution"),
        ("jit_compile", "no", "jit_compile"),
        ("auto_scale_loss", 5, "auto_scale_loss"),
        ("metrics", "nope", "metrics: expected names such as accuracy"),
        ("metrics", ["nope"], "metrics: expected names such as accuracy"),
        ("metrics", ["accuracy", 5], "metrics"),
        ("metrics", 5, "metrics"),
        ("metrics", [None], "metrics"),
        ("metrics", [metrics.MeanSquaredError], "metrics"),
        ("on_nonfinite", "ignore", "on_nonfinite"),
        ("on_nonfinite", None, "on_nonfinite"),
        ("on_nonfinite", 5, "on_nonfinite"),
    ],
)
def test_bad_arguments_of_compile(name: str, bad: Any, word: str) -> None:
    good = {"optimizer": "sgd", "loss": "mse", "metrics": ["mae"]}
    model = regressor()
    before = model.get_weights()

    def compile_and_fit() -> None:
        model.compile(**good | {name: bad})
        model.fit(X, T, verbose=0)  # "accuracy" cannot be resolved before the shapes are known

    with refused(word, "got"):
        compile_and_fit()
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_refused_compile_changes_nothing() -> None:
    model = regressor()
    optimizer, right = model.optimizer, model.evaluate(X, T, verbose=0)
    for bad in ({"optimizer": "nope"}, {"loss": "nope"}, {"metrics": 5}, {"on_nonfinite": "no"}):
        with refused():
            model.compile(**{"optimizer": "sgd", "loss": "mae"} | bad)
        assert model.optimizer is optimizer
        assert model.evaluate(X, T, verbose=0) == right


def test_metrics_that_do_not_fit_the_truth() -> None:
    model = classifier()
    model.compile("adam", "sparse_categorical_crossentropy", ["categorical_accuracy"])
    with left_alone(model), refused("categorical_accuracy"):
        model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("bad", [5, "dense", [5], ["dense"], [None], layers.Dense(2), {1: 2}])
def test_bad_layers_of_a_model(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"expected .*Layer") as caught:
        keras.Sequential(bad)
    assert not re.search("\n", str(caught.value))


def test_bad_arguments_of_losses_and_metrics() -> None:
    loss, metric = losses.SparseCategoricalCrossentropy(), metrics.SparseCategoricalAccuracy()
    p = np.full((ROWS, CLASSES), 1.0 / CLASSES)
    for y, word in ((spoilt(Y, 3, 2), "row 2"), (spoilt(Y, -1, 2), "row 2"), (Y[1:], "(11,)")):
        with refused("y", word):
            loss(y, p)
        with refused("y_true", word):
            metric.update_state(y, p)
    assert metric.result() == 0.0
    np.testing.assert_allclose(loss(Y, p), np.log(3.0), rtol=1e-6)
    with refused("sample_weight"):
        loss(Y, p, sample_weight=-np.ones(ROWS))
    for other in (losses.MeanSquaredError(), metrics.MeanAbsoluteError()):
        with refused("y", "(12, 2)"):
            other(T, p)
