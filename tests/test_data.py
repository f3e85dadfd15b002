"""What fit, evaluate and predict read: arrays of every kind, files, tables."""

from __future__ import annotations

import mmap
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import _sources, layers
from harness import number_of_threads
from numpy.typing import NDArray

DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
FEATURES, CLASSES = 6, 3


def drawn(rows: int, dtype: str = "f8", columns: int = FEATURES, seed: int = 0) -> NDArray[Any]:
    rng = np.random.Generator(np.random.PCG64(seed))
    values = rng.normal(size=(rows, columns))
    return values.astype(dtype) if dtype.startswith("f") else (values * 20 + 120).astype(dtype)


def classes(rows: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(7)).integers(0, CLASSES, rows)


def classifier(features: int = FEATURES) -> keras.Sequential:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((features,)),
            layers.BatchNormalization(),
            layers.Dense(8, "tanh"),
            layers.Dense(CLASSES, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def autoencoder() -> keras.Sequential:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [layers.Dense(4, "tanh", input_shape=(FEATURES,)), layers.Dense(FEATURES)]
    )
    decay = keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5)
    model.compile(keras.optimizers.Adam(decay), "mse")
    return model


def bits(model: keras.Sequential) -> bytes:
    arrays = [array for layer in model.layers for array in layer.live_arrays]
    return b"".join(array.tobytes() for array in arrays)


def mapped(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    np.save(path / "x.npy", values)
    return np.load(path / "x.npy", mmap_mode="r")


def trained(x: Any, y: Any, make: Callable[[], keras.Sequential] = classifier) -> tuple[Any, ...]:
    """All that comes of some use, to the bit."""
    model = make()
    history = model.fit(x, y, 32, epochs=3, validation_split=0.2, verbose=0).history
    values = model.evaluate(x, y, verbose=0, return_dict=True)
    return bits(model), history, values, model.predict(x).tobytes()


@pytest.fixture
def borrowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of any size are read where they lie."""
    monkeypatch.setattr(_sources, "_SMALL", 0)


# Arrays of every kind


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("borrowing")
def test_every_dtype_gives_the_bits_of_float32(dtype: str, threads: int, tmp_path: Path) -> None:
    x, y = drawn(203, dtype), classes(203)
    wide = np.zeros((203, 2 * FEATURES), dtype)
    wide[:, 2 : 2 + FEATURES] = x
    with number_of_threads(threads):
        right = trained(x.astype(np.float32), y)
        assert trained(x, y) == right
        assert trained(mapped(tmp_path, x), y) == right
        assert trained(wide[:, 2 : 2 + FEATURES], y) == right  # rows apart
        assert trained(wide[::-1, 2 : 2 + FEATURES][::-1], y) == right
        assert trained(np.asfortranarray(x), y) == right
        assert trained(x.astype(x.dtype.newbyteorder()), y) == right


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i8"])
@pytest.mark.usefixtures("borrowing")
def test_targets_of_every_dtype(dtype: str, tmp_path: Path) -> None:
    x = drawn(75, dtype)
    right = trained(x.astype(np.float32), x.astype(np.float32), autoencoder)
    assert trained(x, x, autoencoder) == right
    file = mapped(tmp_path, x)
    assert trained(file, file, autoencoder) == right


def test_what_is_not_numpy(tmp_path: Path) -> None:
    x, y = drawn(40), classes(40)
    right = trained(x.astype(np.float32), y)
    for given in (x.tolist(), tuple(map(tuple, x)), list(x), memoryview(x), x.astype(object)):
        assert trained(given, y.tolist()) == right
    torch = pytest.importorskip("torch")
    assert trained(torch.from_numpy(x), torch.from_numpy(y)) == right


def test_small_arrays_are_converted_once_and_large_ones_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = drawn(50)
    for small, same in ((x.size, False), (x.size - 1, True)):
        monkeypatch.setattr(_sources, "_SMALL", small)
        source = _sources.borrow("fit", "x", x)
        assert np.shares_memory(source.array, x) is same
        assert source.checked
    assert _sources.borrow("fit", "x", x.astype(np.float32)[::2]).array.dtype == np.float32


# Files


FORMS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "columns apart": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "column by column": np.asfortranarray,
    "long double": lambda x: x.astype(np.longdouble),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("both", [False, True])
def test_files_of_every_form_are_read_in_pieces(
    name: str, both: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evengrad._data._PIECE", 32 * FEATURES)  # one step
    x = drawn(203)
    made = FORMS[name](x)
    base = (
        made.base
        if made.base is not None and name in ("every other row", "columns apart")
        else made
    )
    file = mapped(tmp_path, base)
    if name == "every other row":
        file = file[::2]
    elif name == "columns apart":
        file = file[:, ::2]
    y, right = (file, x.astype(np.float32)) if both else (classes(203),) * 2
    make = autoencoder if both else classifier
    assert trained(file, y, make) == trained(x.astype(np.float32), right, make)


def test_a_file_is_never_loaded(tmp_path: Path) -> None:
    """Neither by fit nor by its split, evaluate or predict: the child looks at its own memory."""
    script = Path(__file__).with_name("memory_map.py")
    for form in ("rows", "columns"):
        command = [sys.executable, str(script), "--megabytes", "64", "--form", form]
        done = subprocess.run(
            [*command, "--file", str(tmp_path / "x.npy"), "--most", "24"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_fit_keeps_a_file_open_that_nobody_else_holds(tmp_path: Path) -> None:
    x, y = drawn(64, "f4"), classes(64)
    model, right = classifier(), classifier()

    class Collect(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            import gc

            gc.collect()

    model.fit(mapped(tmp_path, x)[:], y, 8, shuffle=False, verbose=0, callbacks=[Collect()])
    right.fit(x, y, 8, shuffle=False, verbose=0)
    assert bits(model) == bits(right)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
@pytest.mark.parametrize("form", ["rows", "pieces"])
def test_a_bad_number_in_a_file_stops_at_its_step(value: float, form: str, tmp_path: Path) -> None:
    x, y = drawn(60), classes(60)
    x[41, 3] = x[43, 0] = value
    file = mapped(tmp_path, x if form == "rows" else np.asfortranarray(x))
    model, before = classifier(), classifier()
    with pytest.raises(keras.NonFiniteError) as caught:
        model.fit(file, y, 10, epochs=2, shuffle=False, verbose=0)
    error = caught.value
    assert (error.epoch, error.step, error.tensor, error.rows) == (0, 4, "inputs", (41, 43))
    assert "the inputs in row 41, 43 are not finite" in str(error)
    before.fit(x[:40], y[:40], 10, shuffle=False, verbose=0)
    assert bits(model) == bits(before)
    what = "finite numbers" if value != 1e39 else r"numbers within the range of float32 \(3.4e38\)"
    for use in (lambda: model.evaluate(file, y, verbose=0), lambda: model.predict(file)):
        with pytest.raises(ValueError, match=rf"expected x to hold {what}; not so in row 41, 43$"):
            use()


def test_bad_steps_of_a_file_can_be_skipped(tmp_path: Path) -> None:
    x, y = drawn(60), classes(60)
    x[41, 3] = np.nan
    model, right = classifier(), classifier()
    for m in (model, right):
        m.compile("sgd", "sparse_categorical_crossentropy", on_nonfinite="skip")
    history = model.fit(mapped(tmp_path, x), y, 10, shuffle=False, verbose=0)
    assert history.health["skipped_steps"] == [1]
    good = np.r_[0:40, 50:60]
    right.fit(x[good], y[good], 10, shuffle=False, verbose=0)
    assert bits(model) == bits(right)


def test_targets_in_a_file_are_checked_as_they_are_read(tmp_path: Path) -> None:
    model = keras.Sequential([layers.Dense(FEATURES, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    x = np.clip(drawn(60), 0.0, 1.0)
    y = x.copy()
    y[25, 2] = 1.5
    file = mapped(tmp_path, y)
    with pytest.raises(ValueError, match=r"^fit: expected y from 0 to 1, got 1.5 in row 25$"):
        model.fit(x, file, 10, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 2
    with pytest.raises(ValueError, match=r"expected y from 0 to 1, got 1.5 in row 25$"):
        model.evaluate(x, file, verbose=0)
    y[25, 2] = np.nan
    with pytest.raises(keras.NonFiniteError, match=r"the targets in row 25 are not finite"):
        model.fit(x, mapped(tmp_path, y), 10, shuffle=False, verbose=0)


def test_moments_and_lsuv_of_a_file(tmp_path: Path) -> None:
    x = drawn(100, "u1")
    model, right = classifier(), classifier()
    for m, given in ((model, mapped(tmp_path, x)), (right, x.astype(np.float32))):
        keras.utils.set_random_seed(0)
        m.lsuv(given)
        m.recalibrate(given)
    assert bits(model) == bits(right)
    bad = drawn(100)
    bad[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"^recalibrate: expected x .* row 3$"):
        model.recalibrate(mapped(tmp_path, bad))


# In memory: checked before the first step


@pytest.mark.usefixtures("borrowing")
@pytest.mark.parametrize("value", [np.nan, -np.inf, 3.5e38, -1e300])
@pytest.mark.parametrize("what", ["x", "y"])
def test_bad_numbers_in_memory_are_told_before_the_first_step(value: float, what: str) -> None:
    x, y = drawn(300_000), drawn(300_000)
    model = autoencoder()
    before = bits(model)
    (x if what == "x" else y)[[70_000, 299_999], 2] = value
    kind = "within the range" if np.isfinite(value) else "finite numbers"
    for use in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=rf"expected {what} .*{kind}.* row 70000, 299999$"):
            use(x, y, verbose=0)
    assert bits(model) == before
    assert model.optimizer.iterations == 0


@pytest.mark.usefixtures("borrowing")
def test_a_number_that_turns_bad_while_training() -> None:
    x, y = drawn(40), classes(40)

    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            x[13, 1] = np.inf

    with pytest.raises(keras.NonFiniteError, match=r"inputs .*row 13") as caught:
        classifier().fit(x, y, 10, epochs=3, shuffle=False, verbose=0, callbacks=[Spoil()])
    assert (caught.value.epoch, caught.value.step) == (1, 1)


# What float32 cannot tell apart


def warned(x: Any) -> str:
    y = np.zeros((len(x), 1))
    model = keras.Sequential([layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, verbose=0)
        model.evaluate(x, y, verbose=0)
        model.predict(x)
    assert len(caught) <= 1
    assert all(w.category is UserWarning and w.filename == __file__ for w in caught)
    return str(caught[0].message) if caught else ""


RNG = np.random.Generator(np.random.PCG64(0))
DAY = 1.7e9 + np.arange(5000)
LOSE = {
    "seconds": DAY,
    "minutes": 1.7e9 + 60.0 * np.arange(5000),
    "in any order": RNG.permutation(DAY),
    "of a year": 1.7e9 + RNG.integers(0, 31_536_000, 10_000),
    "with fractions": 1.7e9 + RNG.uniform(0.0, 86_400.0, 5000),
    "milliseconds": (DAY * 1000).astype(np.int64),
    "nanoseconds": DAY.astype(np.int64) * 1_000_000_000,
    "ids": np.arange(20_000_000, 20_005_000),
    "ids as int32": np.arange(20_000_000, 20_005_000, dtype=np.int32),
    "large ids": np.arange(2**63, 2**63 + 5000, dtype=np.uint64),
    "a long series": 1.7e9 + np.arange(1_000_000),
}
KEEP = {
    "normal": RNG.normal(size=(10_000, 3)),
    "with an offset": RNG.normal(size=10_000) + 1000.0,
    "tenths": np.arange(5000) * 0.1,
    "noise": 0.3 + RNG.choice([0.0, 5e-17], 1000),
    "hours": 1.7e9 + 3600 * np.arange(5000),
    "small whole numbers": np.arange(-5000, 5000),
    "amounts": RNG.integers(0, 10**9, 5000),
    "equal": np.full(50, 2**63 + 1, np.uint64),
    "one row": np.array([1.7e9 + 0.5]),
    "float32": DAY.astype(np.float32),
}


@pytest.mark.parametrize("name", LOSE)
def test_columns_that_lose_values_are_named(name: str) -> None:
    column = LOSE[name][:, None]
    assert warned(column).startswith("fit: column 0 of x holds values that differ")
    good = np.arange(len(column))[:, None]
    table = np.concatenate(
        [good, column, good, column], axis=1, dtype=column.dtype, casting="unsafe"
    )
    assert warned(table).startswith("fit: columns 1, 3 of x hold values that differ")


@pytest.mark.parametrize("name", KEEP)
def test_ordinary_columns_are_not_named(name: str) -> None:
    column = KEEP[name]
    assert warned(column if column.ndim == 2 else column[:, None]) == ""


def test_real_data_are_not_named() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    for name in ("wine", "breast_cancer", "digits", "iris", "diabetes"):
        assert warned(getattr(datasets, f"load_{name}")().data) == "", name


def test_columns_of_a_file_are_named(tmp_path: Path) -> None:
    assert "column 0 of x" in warned(mapped(tmp_path, DAY[:, None]))


def test_many_columns_are_named_shortly() -> None:
    text = warned(np.repeat(DAY[:, None], 40, axis=1))
    assert "columns 0, 1, 2, 3, 4 and 35 more of x" in text
    assert len(text) < 400


# Tables


def pandas_table() -> Any:
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(
        {
            "float": drawn(60)[:, 0],
            "int": np.arange(60),
            "bool": np.arange(60) % 2 == 0,
            "Int": pd.array(range(60), dtype="Int64"),
            "Float": pd.array(drawn(60)[:, 1], dtype="Float32"),
            "boolean": pd.array([True, False] * 30, dtype="boolean"),
        }
    )


def polars_table() -> Any:
    pl = pytest.importorskip("polars")
    return pl.DataFrame(
        {
            "float": drawn(60)[:, 0],
            "int": np.arange(60),
            "bool": np.arange(60) % 2 == 0,
            "Int": np.arange(60, dtype=np.uint8),
            "Float": drawn(60)[:, 1].astype(np.float32),
            "boolean": [True, False] * 30,
        }
    )


TABLES = {"pandas": pandas_table, "polars": polars_table}
each_library = pytest.mark.parametrize("library", TABLES)


@each_library
def test_tables(library: str) -> None:
    table = TABLES[library]()
    columns = [np.asarray(table[name]).astype(np.float64) for name in table.columns]
    x, y = np.stack(columns, axis=1).astype(np.float32), classes(60)
    right = trained(x, y)
    assert trained(table, y) == right
    labels = __import__(library).Series(y)
    assert trained(table, labels) == right


@each_library
@pytest.mark.parametrize("names", [["float"], ["Int", "int"], ["bool"], ["Float", "bool"]])
def test_some_columns_of_a_table(library: str, names: list[str]) -> None:
    table = TABLES[library]()[names]
    columns = [np.asarray(table[name]).astype(np.float32) for name in names]
    x, y = np.stack(columns, axis=1), classes(60)
    models = [classifier(len(names)) for _ in range(2)]
    for model, given in zip(models, (table, x), strict=True):
        model.fit(given, y, shuffle=False, verbose=0)
    assert bits(models[0]) == bits(models[1])


@each_library
def test_columns_of_a_table_that_lose_values_are_named(library: str) -> None:
    table = __import__(library).DataFrame({"a": drawn(5000)[:, 0], "when": DAY, "c": DAY[::-1]})
    assert warned(table).startswith('fit: columns "when", "c" of x hold values')


@each_library
@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_what_is_no_number_in_a_table(library: str, use: str) -> None:
    module = pytest.importorskip(library)
    model = classifier()
    plain = drawn(4)
    table = module.DataFrame(
        {
            "a": plain[:, 0],
            "city": ["Bonn", "Rome", "Oslo", "Rome"],
            "when": np.arange(4).astype("M8[ms]"),
            "d": [1, 2, 3, 4],
        }
    )
    arguments = (table,) if use == "predict" else (table, classes(4))
    with pytest.raises(TypeError) as caught:
        getattr(model, use)(*arguments)
    text = str(caught.value)
    assert text.startswith(f'{use}: expected x to be numbers, got others in columns "city" (')
    assert '"when" (' in text
    assert '"a"' not in text
    with pytest.raises(TypeError, match=rf"^{use}: expected x to be numbers.* in column \"city\""):
        getattr(model, use)(table[["a", "city"]], *arguments[1:])


@each_library
def test_missing_values_in_a_table(library: str) -> None:
    module = pytest.importorskip(library)
    numbers: list[Any] = [1.0, None, 3.0]
    whole: list[Any] = [1, 2, None]
    if library == "pandas":
        numbers = [1.0, np.nan, 3.0]
        whole = module.array(whole, dtype="Int64")
    table = module.DataFrame({"a": [1, 2, 3], "age": numbers, "n": whole})
    with pytest.raises(
        ValueError, match=r'^fit: .*x without missing.* in columns "age", "n"; fill'
    ):
        classifier().fit(table, classes(3))
    with pytest.raises(ValueError, match=r"^fit: expected y without missing values; fill"):
        autoencoder().fit(drawn(3), table["n"])


@each_library
def test_labels_of_a_table_that_are_no_numbers(library: str) -> None:
    module = pytest.importorskip(library)
    y = module.Series(["a", "b", "c"])
    with pytest.raises(TypeError, match=r"^fit: expected y to be numbers, got others \w+; turn"):
        classifier().fit(drawn(3), y)
    category = y.astype("category") if library == "pandas" else y.cast(module.Categorical)
    with pytest.raises(TypeError, match=r"^fit: expected y to be numbers, got others [cC]at"):
        classifier().fit(drawn(3), category)


# Programs are recorded once for batches of all sizes


def test_batches_of_all_sizes_share_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    from evengrad import _recording

    model, right = classifier(), classifier()
    made: list[int] = []
    record = _recording.record_step
    monkeypatch.setattr(_recording, "record_step", lambda *a: (made.append(a[2]), record(*a))[1])
    sizes = [20, 3, 17, 1, 20, 21, 25, 30, 8]
    x, y = drawn(30), classes(30)
    for rows in sizes:
        model.train_on_batch(x[:rows], y[:rows])
    assert made == [20, 30]
    for rows in sizes:
        right.compile(right.optimizer, right.loss, metrics=["accuracy"])
        right.train_on_batch(x[:rows], y[:rows])
    assert bits(model) == bits(right)
    assert model.test_on_batch(x[:7], y[:7]) == right.test_on_batch(x[:7], y[:7])
    assert model.predict_on_batch(x[:5]).tobytes() == model.predict(x[:5]).tobytes()


def test_errors_of_what_is_read_begin_with_who_reads(tmp_path: Path) -> None:
    x = mapped(tmp_path, drawn(16, "f4"))
    targets = np.zeros((16, 1))
    targets[5] = 2.0
    (tmp_path / "y").mkdir()
    y = mapped(tmp_path / "y", targets)
    model = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    fine = np.zeros(16)
    for who, use in (
        ("fit", lambda: model.fit(x, y, verbose=0)),
        ("fit: validation_data", lambda: model.fit(x, fine, verbose=0, validation_data=(x, y))),
        ("evaluate", lambda: model.evaluate(x, y, verbose=0)),
        ("train_on_batch", lambda: model.train_on_batch(x, y)),
        ("test_on_batch", lambda: model.test_on_batch(x, y)),
    ):
        with pytest.raises(ValueError, match=f"^{who}: expected y from 0 to 1, got 2 in row 5$"):
            use()


def test_rows_are_named_in_their_order(tmp_path: Path) -> None:
    values = drawn(64, "f4")
    values[[60, 3, 41]] = np.nan
    with pytest.raises(keras.NonFiniteError, match="row 3, 41, 60 are") as caught:
        classifier().fit(mapped(tmp_path, values), classes(64), 64, verbose=0)
    assert caught.value.rows == (3, 41, 60)


def test_a_mapping_of_a_file_that_is_no_memmap(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(240)))
    with open(tmp_path / "x", "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    array = np.frombuffer(memory, np.uint8).reshape(-1, FEATURES)
    source = _sources.borrow("fit", "x", array)
    assert not source.checked
    assert source.array.base is not None
    assert _sources.borrow("fit", "x", array.copy()).checked


@pytest.mark.parametrize(("pairs", "triples", "named"), [(300, 0, False), (0, 300, True)])
def test_a_column_of_fractions_that_loses_some_of_its_values(
    pairs: int, triples: int, named: bool
) -> None:
    """Neighbours that float32 cannot tell apart: 30% and 67% of the distinct numbers."""
    base = 1.0 + np.arange(1000 - pairs - 2 * triples) / 1000.0
    some = base[: pairs + triples]
    column = np.concatenate([base, some + 1e-10, base[:triples] + 2e-10])
    values = np.column_stack([np.arange(1000.0), column])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _sources.warn_of_lost_values("fit", values)
    assert bool(caught) == named
