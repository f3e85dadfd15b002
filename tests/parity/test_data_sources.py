"""Data sets, generators and steps_per_epoch: which rows each step sees, as Keras shows them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
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

FEATURES, CLASSES, RATE = 5, 3, 0.1

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=6)
counts = st.integers(1, 4)


def problem(rows: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    return x, rng.integers(0, CLASSES, rows), rng.uniform(0.2, 2.0, rows).astype(np.float32)


def network(library: ModuleType) -> Any:
    library.utils.clear_session()
    model = library.Sequential(
        [
            library.layers.Input((FEATURES,)),
            library.layers.Dense(4, activation="tanh"),
            library.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(np.shape(w)) for w in model.get_weights()])
    model.compile(
        library.optimizers.SGD(RATE),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["sparse_categorical_crossentropy"],
    )
    return model


def data_set(library: ModuleType, arrays: tuple[Any, ...], sizes: list[int]) -> Any:
    ends = np.cumsum(sizes)

    class Parts(library.utils.PyDataset):  # type: ignore[misc,name-defined]
        def __len__(self) -> int:
            return len(sizes)

        def __getitem__(self, index: int) -> Any:
            part = slice(ends[index] - sizes[index], ends[index])
            return tuple(array[part] for array in arrays)

    return Parts()


def generated(arrays: tuple[Any, ...], sizes: list[int]) -> Iterator[Any]:
    while True:
        begin = 0
        for size in sizes:
            yield tuple(array[begin : begin + size] for array in arrays)
            begin += size


class Counting:
    """Steps done at the end of each epoch: a callback of either library."""

    def __init__(self, library: ModuleType) -> None:
        self.ends: list[int] = []
        ends = self.ends

        class Count(library.callbacks.Callback):  # type: ignore[misc,name-defined]
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                ends.append(int(np.asarray(self.model.optimizer.iterations)))

        self.callback = Count()


def fitted(library: ModuleType, *arguments: Any, **options: Any) -> tuple[Any, ...]:
    """History, weights, steps by epoch, number of warnings that data ran out."""
    model, counting = network(library), Counting(library)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(
            *arguments, shuffle=False, verbose=0, callbacks=[counting.callback], **options
        )
    ended = [w for w in caught if "ran out of data" in str(w.message) or "ended" in str(w.message)]
    return history, model, counting.ends, len(ended)


def compare(name: str, made: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    assert made[2] == right[2]  # steps at the end of each epoch
    assert made[3] == right[3]  # warnings
    assert made[0].params["steps"] == right[0].params["steps"]
    assert set(made[0].history) == set(right[0].history)
    for key, values in right[0].history.items():
        errors.compare(f"{name}: {key}", made[0].history[key], values, allowed=1e-5)
    for a, b in zip(made[1].get_weights(), right[1].get_weights(), strict=True):
        errors.compare_variable(f"{name}: weights", a, b)


@helpers.fixed
@given(sizes=sizes, epochs=counts, weighted=st.booleans())
def test_data_sets(sizes: list[int], epochs: int, weighted: bool) -> None:
    arrays = problem(sum(sizes))[: 3 if weighted else 2]
    made, right = (
        fitted(library, data_set(library, arrays, sizes), epochs=epochs)
        for library in (evengrad, keras)
    )
    compare("fit of a PyDataset", made, right)


@helpers.fixed
@given(sizes=sizes, epochs=counts, steps=st.integers(1, 8))
def test_steps_of_data_sets(sizes: list[int], epochs: int, steps: int) -> None:
    arrays = problem(sum(sizes))[:2]
    made, right = (
        fitted(library, data_set(library, arrays, sizes), epochs=epochs, steps_per_epoch=steps)
        for library in (evengrad, keras)
    )
    compare("steps_per_epoch of a PyDataset", made, right)


@helpers.fixed
@given(
    rows=st.integers(1, 60),
    batch=st.none() | st.integers(1, 16),
    epochs=counts,
    steps=st.integers(1, 8),
)
def test_steps_of_arrays(rows: int, batch: int | None, epochs: int, steps: int) -> None:
    x, y, _ = problem(rows)
    made, right = (
        fitted(library, x, y, batch, epochs, steps_per_epoch=steps) for library in (evengrad, keras)
    )
    compare("steps_per_epoch of arrays", made, right)


@helpers.fixed
@given(sizes=sizes, epochs=counts, steps=st.integers(1, 8), weighted=st.booleans())
def test_endless_generators(sizes: list[int], epochs: int, steps: int, weighted: bool) -> None:
    arrays = problem(sum(sizes))[: 3 if weighted else 2]
    made, right = (
        fitted(library, generated(arrays, sizes), epochs=epochs, steps_per_epoch=steps)
        for library in (evengrad, keras)
    )
    compare("fit of a generator", made, right)


@helpers.fixed
@given(sizes=sizes, weights=st.dictionaries(st.integers(0, 2), st.floats(0.1, 4.0), min_size=1))
def test_class_weights_of_data_sets(sizes: list[int], weights: dict[int, float]) -> None:
    arrays = problem(sum(sizes))[:2]
    made, right = (
        fitted(library, data_set(library, arrays, sizes), class_weight=weights)
        for library in (evengrad, keras)
    )
    compare("class_weight of a PyDataset", made, right)


@helpers.fixed
@given(sizes=sizes, epochs=counts, steps=st.none() | st.integers(1, 8))
def test_validation_by_data_sets(sizes: list[int], epochs: int, steps: int | None) -> None:
    x, y, _ = problem(20)
    arrays = problem(sum(sizes))
    made, right = (
        fitted(
            library, x, y, 8, epochs,
            validation_data=data_set(library, arrays, sizes), validation_steps=steps,
        )
        for library in (evengrad, keras)
    )  # fmt: skip
    compare("validation by a PyDataset", made, right)


@helpers.fixed
@given(
    rows=st.integers(1, 60),
    batch=st.none() | st.integers(1, 16),
    steps=st.integers(1, 8),
    epochs=counts,
)
def test_validation_steps_of_arrays(rows: int, batch: int | None, steps: int, epochs: int) -> None:
    x, y, _ = problem(20)
    held = problem(rows)
    made, right = (
        fitted(
            library, x, y, 32, epochs,
            validation_data=held, validation_steps=steps, validation_batch_size=batch,
        )
        for library in (evengrad, keras)
    )  # fmt: skip
    compare("validation_steps of arrays", made, right)


@helpers.fixed
@given(sizes=sizes, steps=st.none() | st.integers(1, 8))
def test_evaluate_and_predict(sizes: list[int], steps: int | None) -> None:
    arrays = problem(sum(sizes))
    found: list[Any] = []
    for library in (evengrad, keras):
        model = network(library)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = [
                model.evaluate(data_set(library, arrays, sizes), steps=steps, verbose=0),
                model.evaluate(generated(arrays, sizes), steps=steps or len(sizes), verbose=0),
                model.evaluate(*arrays[:2], 4, sample_weight=arrays[2], steps=steps, verbose=0),
                model.evaluate(*arrays[:2], sample_weight=arrays[2], steps=steps, verbose=0),
                model.predict(data_set(library, arrays, sizes), steps=steps, verbose=0),
                model.predict(generated(arrays, sizes), steps=steps or len(sizes), verbose=0),
                model.predict(arrays[0], 4, steps=steps, verbose=0),
                model.predict(arrays[0], steps=steps, verbose=0),
            ]
        found.append(results)
    for made, right in zip(*found, strict=True):
        errors.compare("evaluate and predict of batches", made, right)


@pytest.mark.parametrize("name", ["y", "sample_weight", "validation_split"])
@pytest.mark.parametrize("kind", ["PyDataset", "generator"])
def test_arguments_that_both_refuse(name: str, kind: str) -> None:
    x, y, weight = problem(10)
    value = {"y": y, "sample_weight": weight, "validation_split": 0.5}[name]
    for library in (evengrad, keras):
        source = data_set(library, (x, y), [10]) if kind == "PyDataset" else generated((x, y), [10])
        with pytest.raises(ValueError):
            network(library).fit(source, verbose=0, steps_per_epoch=1, **{name: value})


def test_data_sets_of_keras_itself() -> None:
    x, y, _ = problem(30)
    of_keras = fitted(evengrad, data_set(keras, (x, y), [10, 20]), epochs=2)
    own = fitted(evengrad, data_set(evengrad, (x, y), [10, 20]), epochs=2)
    compare("a PyDataset of Keras", of_keras, own)
