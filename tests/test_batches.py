"""Generators, PyDataset and other objects that hand out batches; steps_per_epoch."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import _recording, layers
from numpy.typing import NDArray
from test_data import CLASSES, FEATURES, bits, classes, classifier, drawn, mapped

SIZES = [20, 3, 17, 1, 20, 30, 9]  # of batches, together 100
ENDS = np.cumsum(SIZES).tolist()
PARTS = [slice(end - size, end) for size, end in zip(SIZES, ENDS, strict=True)]
X, Y = drawn(100), classes(100)
WEIGHT = np.random.Generator(np.random.PCG64(5)).uniform(0.0, 2.0, 100)


class Parts(keras.utils.PyDataset):
    """Batches of unequal sizes, with a note of what was called."""

    def __init__(self, *arrays: Any, **options: Any) -> None:
        super().__init__(**options)
        self.arrays = arrays or (X, Y)
        self.calls: list[Any] = []

    def __len__(self) -> int:
        return len(PARTS)

    def __getitem__(self, index: int) -> Any:
        self.calls.append(index)
        return tuple(array[PARTS[index]] for array in self.arrays)

    def on_epoch_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_end(self) -> None:
        self.calls.append("end")


class Indexed:
    """The least that counts as a data set: as old Keras sequences."""

    def __len__(self) -> int:
        return len(PARTS)

    def __getitem__(self, index: int) -> Any:
        return X[PARTS[index]], Y[PARTS[index]]


class Iterable:
    """As a DataLoader: a new pass each time, lists of tensors."""

    def __iter__(self) -> Iterator[Any]:
        for part in PARTS:
            yield [X[part], Y[part]]


def generated(passes: int = 1, *arrays: Any) -> Iterator[Any]:
    for _ in range(passes):
        for part in PARTS:
            yield tuple(array[part] for array in arrays or (X, Y))


def by_hand(epochs: int = 1, *arrays: Any) -> keras.Sequential:
    """What a loop over train_on_batch makes."""
    model = classifier()
    for _ in range(epochs):
        for part in PARTS:
            model.train_on_batch(*(array[part] for array in arrays or (X, Y)))
    return model


SOURCES = {
    "PyDataset": Parts,
    "threads": lambda: Parts(workers=3, max_queue_size=2),
    "indexed": Indexed,
    "iterable": Iterable,
    "generator": generated,
    "iterator": lambda: iter(list(generated())),
    "map": lambda: map(lambda x, y: (x, y), *([a[part] for part in PARTS] for a in (X, Y))),
}
each_source = pytest.mark.parametrize("name", SOURCES)


# Every object gives what the same batches give by hand


@each_source
def test_fit(name: str) -> None:
    model, right = classifier(), by_hand()
    history = model.fit(SOURCES[name](), shuffle=False, verbose=0)
    assert bits(model) == bits(right)
    assert model.optimizer.iterations == len(PARTS)
    assert set(history.history) == {"accuracy", "loss"}
    known = name in ("PyDataset", "threads", "indexed")
    assert history.params["steps"] == (len(PARTS) if known else None)


@each_source
def test_means_go_over_rows(name: str) -> None:
    model, arrays = classifier(), classifier()
    for m in (model, arrays):
        m.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        m.get_layer(index=0).trainable = False  # else its statistics are those of batches
    loss = model.fit(SOURCES[name](), shuffle=False, verbose=0).history["loss"]
    right = arrays.fit(X, Y, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(loss, right, rtol=1e-6)


@each_source
def test_evaluate_and_predict(name: str) -> None:
    model = by_hand()
    right = model.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(model.evaluate(SOURCES[name](), verbose=0), right, rtol=1e-6)
    made = model.predict(SOURCES[name]())
    np.testing.assert_allclose(made, model.predict(X), rtol=1e-5, atol=1e-7)
    two = model.predict(SOURCES[name](), steps=2)
    assert two.tobytes() == made[: ENDS[1]].tobytes()
    some = model.evaluate(X[: ENDS[2]], Y[: ENDS[2]], verbose=0)
    np.testing.assert_allclose(model.evaluate(SOURCES[name](), steps=3, verbose=0), some, rtol=1e-6)


@each_source
def test_validation(name: str) -> None:
    model = classifier()
    history = model.fit(X, Y, verbose=0, validation_data=SOURCES[name]()).history
    right = model.evaluate(X, Y, verbose=0, return_dict=True)
    np.testing.assert_allclose(history["val_loss"], [right["loss"]], rtol=1e-6)
    np.testing.assert_allclose(history["val_accuracy"], [right["accuracy"]], rtol=1e-6)


@each_source
def test_a_model_learns_its_shape_from_the_first_batch(name: str) -> None:
    for use in ("fit", "evaluate", "predict"):
        model = keras.Sequential([layers.Dense(CLASSES, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        options = {"shuffle": False} if use == "fit" else {}
        getattr(model, use)(SOURCES[name](), verbose=0, **options)
        assert model.input_shape == (None, FEATURES)
        if use == "fit":
            assert model.optimizer.iterations == len(PARTS)  # the first one is not lost


def test_weights_of_batches() -> None:
    model, right = classifier(), by_hand(1, X, Y, WEIGHT)
    model.fit(generated(1, X, Y, WEIGHT), verbose=0)
    assert bits(model) == bits(right)
    values = model.evaluate(generated(1, X, Y, WEIGHT), verbose=0)
    np.testing.assert_allclose(values, model.evaluate(X, Y, sample_weight=WEIGHT, verbose=0), 1e-6)


@pytest.mark.parametrize("name", ["PyDataset", "generator", "iterable"])
def test_class_weight(name: str) -> None:
    weights = {0: 3.0, 2: 0.5}
    model, right = classifier(), by_hand(1, X, Y, np.array([3.0, 1.0, 0.5])[Y])
    model.fit(SOURCES[name](), shuffle=False, verbose=0, class_weight=weights)
    assert bits(model) == bits(right)
    with pytest.raises(ValueError, match=r"step 1: expected sample_weight or class_weight, not bo"):
        model.fit(generated(1, X, Y, WEIGHT), verbose=0, class_weight=weights)


def test_inputs_alone() -> None:
    model = by_hand()
    right = model.predict(generated()).tobytes()
    for source in (generated(1, X), (X[part] for part in PARTS), map(X.__getitem__, PARTS)):
        assert model.predict(source).tobytes() == right
    for use in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"step 1: expected y, the labels or targets of x, go"):
            use(generated(1, X), verbose=0)


def test_torch_loaders() -> None:
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    tensors = torch.from_numpy(X.astype(np.float32)), torch.from_numpy(Y)
    loader = data.DataLoader(data.TensorDataset(*tensors), batch_size=16)
    model, right = classifier(), classifier()
    history = model.fit(loader, epochs=2, verbose=0)
    right.fit(X, Y, 16, epochs=2, shuffle=False, verbose=0)
    assert bits(model) == bits(right)
    assert history.params["steps"] == 7


def test_batches_of_every_dtype(tmp_path: Path) -> None:
    """Those of a file, for instance, are read where they lie."""
    for dtype in ("u1", "i4", "f2", "f8"):
        x = drawn(100, dtype)
        file = mapped(tmp_path, x)
        model, right = classifier(), by_hand(1, x.astype(np.float32), Y)
        model.fit(generated(1, file, Y), verbose=0)
        assert bits(model) == bits(right)


# Order, hooks, length


def test_passes_over_a_data_set() -> None:
    data = Parts()
    model, right = classifier(), by_hand(2)
    model.fit(data, epochs=2, shuffle=False, verbose=0)
    assert data.calls == 2 * ["begin", *range(len(PARTS)), "end"]
    assert bits(model) == bits(right)


def test_shuffling_is_that_of_batches() -> None:
    data = Parts()
    keras.utils.set_random_seed(8)
    classifier().fit(data, epochs=3, verbose=0)
    seen = [call for call in data.calls if isinstance(call, int)]
    orders = [seen[i : i + len(PARTS)] for i in range(0, len(seen), len(PARTS))]
    assert len(orders) == 3
    for order in orders:
        assert sorted(order) == list(range(len(PARTS)))
    assert len({tuple(order) for order in orders}) == 3
    again = Parts()
    classifier().fit(again, epochs=3, verbose=0)
    assert [call for call in again.calls if isinstance(call, int)] == seen  # as seeded


def test_a_data_set_may_change_its_length() -> None:
    class Growing(Parts):
        def __len__(self) -> int:
            return 1 + self.calls.count("end")

    model = classifier()
    model.fit(Growing(), epochs=3, verbose=0)
    assert model.optimizer.iterations == 1 + 2 + 3


def test_a_data_set_without_end() -> None:
    class Endless(Parts):
        @property
        def num_batches(self) -> None:
            return None

        def __getitem__(self, index: int) -> Any:
            self.calls.append(index)
            return super().__getitem__(index % len(PARTS))

    data = Endless()
    history = classifier().fit(data, epochs=2, steps_per_epoch=5, verbose=0)
    assert [c for c in data.calls if isinstance(c, int)][::2] == list(range(10))
    assert history.params["steps"] == 5


def test_threads_load_ahead_and_in_order() -> None:
    names: set[str] = set()

    class Slow(Parts):
        def __getitem__(self, index: int) -> Any:
            names.add(threading.current_thread().name)
            time.sleep(0.02 if index % 2 == 0 else 0.0)
            return super().__getitem__(index)

    model, right = classifier(), by_hand(2)
    before = threading.active_count()
    model.fit(Slow(workers=4), epochs=2, shuffle=False, verbose=0)
    assert bits(model) == bits(right)
    assert len(names) > 1
    gc.collect()
    assert threading.active_count() == before


def test_threads_end_with_an_exception() -> None:
    class Broken(Parts):
        def __getitem__(self, index: int) -> Any:
            if index == 3:
                raise KeyError("lost")
            return super().__getitem__(index)

    before = threading.active_count()
    model = classifier()
    with pytest.raises(KeyError, match="lost"):
        model.fit(Broken(workers=2), shuffle=False, verbose=0)
    assert model.optimizer.iterations == 3
    gc.collect()
    assert threading.active_count() == before


def test_processes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Parts: expected use_multiprocessing=False; .* threads"):
        Parts(use_multiprocessing=True)
    data = Parts()
    data.use_multiprocessing = True
    with pytest.raises(ValueError, match=r"^fit: expected use_multiprocessing=False"):
        classifier().fit(data)


def test_arguments_of_a_data_set() -> None:
    for options in ({"workers": -1}, {"max_queue_size": 0}, {"workers": 1.5}):
        with pytest.raises((ValueError, TypeError), match=r"^Parts: expected"):
            Parts(**options)
    assert keras.utils.Sequence is keras.utils.PyDataset
    with pytest.raises(NotImplementedError, match=r"PyDataset.__getitem__"):
        keras.utils.PyDataset()[0]
    with pytest.raises(NotImplementedError, match=r"PyDataset.__len__"):
        keras.utils.PyDataset().num_batches  # noqa: B018
    assert [len(batch[0]) for batch in Parts()] == SIZES


# steps_per_epoch


def test_epochs_go_on_where_the_last_one_ended() -> None:
    data = Parts()
    model, right = classifier(), by_hand(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(data, epochs=14, steps_per_epoch=1, shuffle=False, verbose=0)
    assert [c for c in data.calls if isinstance(c, int)] == 2 * list(range(7))
    assert len(history.epoch) == 14
    assert bits(model) == bits(right)


@pytest.mark.filterwarnings("ignore:fit. the data ended before the 4 steps:UserWarning")
def test_an_epoch_ends_with_a_pass() -> None:
    """Of a known length, as Keras: 4 and 3 of 7 steps, and so on."""
    data, seen = Parts(), []

    class Count(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(self.model.optimizer.iterations)

    classifier().fit(data, epochs=4, steps_per_epoch=4, verbose=0, callbacks=Count())
    assert seen == [4, 7, 11, 14]
    seen.clear()
    classifier().fit(X, Y, 16, epochs=4, steps_per_epoch=4, verbose=0, callbacks=Count())
    assert seen == [4, 7, 11, 14]


def test_a_new_order_comes_with_a_new_pass() -> None:
    data = Parts()
    classifier().fit(data, epochs=14, steps_per_epoch=1, verbose=0)
    seen = [c for c in data.calls if isinstance(c, int)]
    assert sorted(seen[:7]) == sorted(seen[7:]) == list(range(7))
    assert seen[:7] != seen[7:]


def test_epochs_of_a_pass_over_arrays_share_its_order() -> None:
    """Each row is seen once a pass: each weight has been moved as often as there were passes."""
    model = keras.Sequential([layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    x, y = np.eye(40), np.ones(40)
    moved = 0.0
    for passes in (1, 2):
        model.fit(x, y, 4, epochs=10, steps_per_epoch=1, verbose=0)
        (kernel,) = model.get_weights()
        assert np.ptp(kernel) < 1e-6
        assert kernel.mean() > moved + 1e-4 * passes / 2
        moved = kernel.mean()


def test_the_batch_size_follows_from_the_steps() -> None:
    model, right = classifier(), classifier()
    model.fit(X, Y, steps_per_epoch=4, shuffle=False, verbose=0)
    right.fit(X, Y, 25, shuffle=False, verbose=0)
    assert bits(model) == bits(right)
    everything = model.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(model.evaluate(X, Y, steps=3, verbose=0), everything, rtol=1e-6)
    np.testing.assert_allclose(model.predict(X, steps=3), model.predict(X), rtol=1e-5, atol=1e-7)
    assert model.predict(X, 10, steps=3).shape == (30, CLASSES)


def test_an_endless_generator() -> None:
    model, right = classifier(), by_hand(3)
    history = model.fit(generated(1000), epochs=3, steps_per_epoch=len(PARTS), verbose=0)
    assert history.params["steps"] == len(PARTS)
    assert bits(model) == bits(right)


def test_validation_by_a_generator_goes_on() -> None:
    model = classifier()
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.get_layer(index=0).trainable = False
    batches = ((X[part], Y[part]) for part in PARTS)
    history = model.fit(X, Y, epochs=3, verbose=0, validation_data=batches, validation_steps=2)
    right = [model.evaluate(X[a:b], Y[a:b], verbose=0) for a, b in ((0, 23), (23, 41), (41, 91))]
    np.testing.assert_allclose(history.history["val_loss"], right, rtol=1e-6)


def test_validation_by_a_data_set_begins_anew() -> None:
    data = Parts()
    classifier().fit(X, Y, epochs=2, verbose=0, validation_data=data, validation_steps=2)
    assert data.calls == 2 * ["begin", 0, 1, "end"]


# What ends too early


def test_a_generator_that_ends_within_an_epoch_ends_training() -> None:
    model, right = classifier(), by_hand()
    with pytest.warns(
        UserWarning, match=r"^fit: the data ended before the 5 steps of an epoch\. "
    ) as w:
        history = model.fit(generated(), epochs=4, steps_per_epoch=5, verbose=0)
    assert len(w) == 1
    assert w[0].filename == __file__
    assert history.epoch == [0, 1]
    assert bits(model) == bits(right)


def test_a_generator_that_ends_between_epochs_ends_training() -> None:
    model, right = classifier(), by_hand()
    for steps in (None, len(PARTS)):
        model = classifier()
        with pytest.warns(UserWarning, match=r"^fit: the data ended before"):
            history = model.fit(generated(), epochs=3, steps_per_epoch=steps, verbose=0)
        assert history.epoch == [0]
        assert bits(model) == bits(right)


def test_one_epoch_of_a_generator_is_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier().fit(generated(), verbose=0)
        classifier().fit(generated(), steps_per_epoch=len(PARTS), verbose=0)


def test_validation_data_that_have_ended() -> None:
    with pytest.warns(UserWarning, match=r"^fit: validation_data: the data ended before another"):
        history = classifier().fit(X, Y, epochs=3, verbose=0, validation_data=generated())
    assert len(history.history["loss"]) == 3
    assert len(history.history["val_loss"]) == 1


def test_what_hands_out_more_or_less_than_it_says() -> None:
    class Says(Iterable):
        length = 5

        def __len__(self) -> int:
            return self.length

    model = classifier()
    model.fit(Says(), epochs=2, verbose=0)
    assert model.optimizer.iterations == 10
    Says.length = 9
    with pytest.warns(UserWarning, match=r"^fit: the data ended before the 9 steps of an epoch"):
        model.fit(Says(), verbose=0)
    assert model.optimizer.iterations == 17


@pytest.mark.parametrize("workers", [1, 2])
def test_a_data_set_that_stops_has_failed(workers: int) -> None:
    class Stops(Parts):
        def __getitem__(self, index: int) -> Any:
            return next(iter(())) if index == 2 else super().__getitem__(index)

    with pytest.raises(RuntimeError, match="StopIteration"):
        classifier().fit(Stops(workers=workers), shuffle=False, verbose=0)


@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("empty", [iter(()), (i for i in ()), {}.items(), iter([])], ids=str)
def test_nothing_at_all(use: str, empty: Any) -> None:
    for built in (True, False):
        model = classifier() if built else keras.Sequential([layers.Dense(3)])
        model.compile("sgd", "sparse_categorical_crossentropy")
        with pytest.raises((ValueError, TypeError), match=rf"^{use}: expected"):
            getattr(model, use)(empty)


def test_an_empty_data_set() -> None:
    class Empty(Parts):
        def __len__(self) -> int:
            return 0

    with pytest.raises(ValueError, match=r"^fit: expected at least one batch, got an empty Empty"):
        classifier().fit(Empty())


# What is wrong


@pytest.mark.parametrize("name", ["y", "sample_weight", "batch_size", "validation_split"])
@pytest.mark.parametrize("source", ["PyDataset", "generator", "iterable"])
def test_arguments_that_batches_leave_no_room_for(name: str, source: str) -> None:
    value = {"y": Y, "sample_weight": WEIGHT, "batch_size": 32, "validation_split": 0.5}[name]
    model = classifier()
    for use in ("fit",) if name == "validation_split" else ("fit", "evaluate"):
        with pytest.raises(ValueError, match=rf"^{use}: expected x alone, got {name} beside a \w+"):
            getattr(model, use)(SOURCES[source](), **{name: value})
    if name == "batch_size":
        with pytest.raises(ValueError, match=r"^predict: expected x alone, got batch_size beside"):
            model.predict(SOURCES[source](), 32)
    assert model.optimizer.iterations == 0


BAD: list[tuple[Any, str]] = [
    ((), r"expected \(x,\), \(x, y\) or \(x, y, sample_weight\), got 0 items"),
    ((X, Y, WEIGHT, Y), r"expected .* got 4 items"),
    ({"x": X}, r"expected a tuple \(x, y\), got a dict"),
    ((X[:, :3], Y), r"expected x of shape \(n, 6\), got \(100, 3\)"),
    ((X, Y[:50]), r"expected y of shape \(100,\), got \(50,\)"),
    ((X, Y + 3), r"expected y to be class numbers from 0 to 2"),
    ((X, Y, -WEIGHT), r"expected sample_weight to be finite and at least 0"),
    ((np.full((2, 6), "a"), Y), r"expected x to be numbers"),
    ((X[:0], Y[:0]), r"expected x with at least one row"),
    (None, r"expected a tuple"),
]


@pytest.mark.parametrize(("batch", "text"), BAD, ids=[text for _, text in BAD])
def test_a_bad_batch_is_named(batch: Any, text: str) -> None:
    model, right = classifier(), classifier()
    right.train_on_batch(X[:9], Y[:9])

    def batches() -> Iterator[Any]:
        yield X[:9], Y[:9]
        yield batch

    with pytest.raises((ValueError, TypeError), match=rf"^fit, epoch 1, step 2: {text}"):
        model.fit(batches(), verbose=0)
    assert bits(model) == bits(right)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_numbers_that_are_not_finite_in_a_batch(value: float) -> None:
    x = X.copy()
    x[[22, 25, 30]] = value  # rows 2, 7 of batches 2 and 3
    model, right = classifier(), classifier()
    right.train_on_batch(X[:20], Y[:20])
    with pytest.raises(keras.NonFiniteError) as caught:
        model.fit(generated(1, x, Y), verbose=0)
    error = caught.value
    assert (error.epoch, error.step, error.tensor, error.rows) == (0, 1, "inputs", (2,))
    assert "epoch 1, step 2: the inputs in row 2 of batch 2 are not finite" in str(error)
    assert bits(model) == bits(right)
    for use in (model.evaluate, model.predict):
        with pytest.raises(ValueError, match=r"expected x to hold .* row 2 of batch 2$"):
            use(generated(1, x, Y), verbose=0)


def test_bad_batches_can_be_skipped() -> None:
    x = X.copy()
    x[22] = np.nan
    model, right = classifier(), classifier()
    for m in (model, right):
        m.compile("sgd", "sparse_categorical_crossentropy", on_nonfinite="skip")
    history = model.fit(generated(1, x, Y), verbose=0)
    assert history.health["skipped_steps"] == [1]
    for i, part in enumerate(PARTS):
        if i != 1:
            right.train_on_batch(X[part], Y[part])
    assert bits(model) == bits(right)


def test_an_exception_of_the_users_surfaces_unchanged() -> None:
    class OwnError(Exception):
        pass

    def broken() -> Iterator[Any]:
        for part in PARTS[:3]:
            yield X[part], Y[part]
        raise OwnError("no more")

    model, right = classifier(), classifier()
    for part in PARTS[:3]:
        right.train_on_batch(X[part], Y[part])
    ended: list[str] = []

    class Watch(keras.callbacks.Callback):
        def on_train_end(self, logs: Any = None) -> None:
            ended.append("end")

    with pytest.raises(OwnError, match="no more") as caught:
        model.fit(broken(), verbose=0, callbacks=[Watch()])
    assert caught.value.__cause__ is None
    assert bits(model) == bits(right)
    assert not ended  # as Keras: nothing that would remove a backup
    model.fit(generated(), verbose=0)  # and it goes on


def test_a_generator_may_use_one_buffer() -> None:
    buffer = np.zeros((30, FEATURES))

    def reused() -> Iterator[Any]:
        for part in PARTS:
            rows = part.stop - part.start
            buffer[:rows] = X[part]
            yield buffer[:rows], Y[part]
            buffer[:rows] = np.nan

    model, right = classifier(), by_hand()
    model.fit(reused(), verbose=0)
    assert bits(model) == bits(right)


def test_stopping_takes_no_more_batches() -> None:
    taken: list[int] = []

    def counted() -> Iterator[Any]:
        for i, part in enumerate(PARTS):
            taken.append(i)
            yield X[part], Y[part]

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 2

    classifier().fit(counted(), verbose=0, callbacks=[Stop()])
    assert taken == [0, 1, 2]


def test_recordings_grow_with_the_largest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    record = _recording.record_step
    monkeypatch.setattr(_recording, "record_step", lambda *a: (made.append(a[2]), record(*a))[1])
    classifier().fit(generated(5), verbose=0)
    assert made == [20, 30]
    made.clear()
    classifier().fit(((X[:n], Y[:n]) for n in range(1, 101)), verbose=0)
    assert len(made) < 14


def test_columns_that_lose_values_are_named_once() -> None:
    x = X.copy()
    x[:, 1] = 1.7e9 + np.arange(100)
    with pytest.warns(UserWarning, match=r"^fit, epoch 1, step 1: column 1 of x holds") as caught:
        classifier().fit(generated(3, x, Y), verbose=0)
    assert len(caught) == 1


def test_what_is_no_array_and_hands_out_nothing() -> None:
    model = classifier()
    for bad in ("text", {"a": 1}, {1, 2}, 3, object(), None):
        with pytest.raises((ValueError, TypeError), match=r"^fit: expected x"):
            model.fit(bad, Y)


def test_progress_without_a_known_end(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            seen.append(self.params["steps"])

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(batch)

    classifier().fit(generated(), callbacks=[Watch()])
    assert seen == [None, *range(len(PARTS))]
    assert capsys.readouterr().out.startswith("Epoch 1/1 - ")


def one_hot(labels: NDArray[Any]) -> NDArray[Any]:
    return np.eye(CLASSES)[labels]


def test_targets_of_batches_are_checked_as_they_are_read() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Dense(CLASSES, "softmax", input_shape=(FEATURES,))])
    model.compile("sgd", "categorical_crossentropy")
    y = one_hot(Y)
    y[21, 1] = 1.5
    with pytest.raises(
        ValueError, match=r"^fit: expected y from 0 to 1, got 1.5 in row 1 of batch 2"
    ):
        model.fit(generated(1, X, y), verbose=0)
    assert model.optimizer.iterations == 1


class Nothing:
    """Can be gone through again and again, and has no batch."""

    def __iter__(self) -> Iterator[Any]:
        return iter([])


def test_no_batch_at_all_though_steps_are_given() -> None:
    model = classifier()
    words = "expected at least one batch, got none"
    with pytest.raises(ValueError, match=f"predict: {words}"):
        model.predict(Nothing(), steps=3)
    with pytest.raises(ValueError, match=f"evaluate: {words}"):
        model.evaluate(Nothing(), steps=3, verbose=0)
    with pytest.raises(ValueError, match=f"fit: {words}"):
        model.fit(Nothing(), steps_per_epoch=3, epochs=2, verbose=0)
    unbuilt = keras.Sequential([layers.Dense(3, "softmax")])
    unbuilt.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=f"fit: {words}"):
        unbuilt.fit(Nothing(), verbose=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_first_look_at_a_data_set_begins_no_pass(workers: int) -> None:
    def order(built: bool) -> list[int]:
        asked: list[int] = []

        class Parts(keras.utils.PyDataset):
            def __len__(self) -> int:
                return len(PARTS)

            def __getitem__(self, index: int) -> Any:
                asked.append(index)
                return X[PARTS[index]], Y[PARTS[index]]

        keras.utils.set_random_seed(1)
        model = keras.Sequential([layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        if built:
            model.build((None, X.shape[1]))
        model.fit(Parts(workers=workers), verbose=0)
        return asked

    seen = order(built=False)
    assert seen[0] == 0  # its shapes
    assert len(seen) == 1 + len(PARTS)
    if workers == 1:
        assert seen[1:] == order(built=True)
