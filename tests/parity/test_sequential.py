"""Sequential's constructor and the calls that change or look at its layers, against Keras."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import evengrad
import numpy as np
import pytest

from parity import errors, helpers
from parity.helpers import keras
from parity.twins import X, Y, outcome

pytestmark = [
    helpers.quiet,
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning"),
]


def both(call: Any) -> tuple[Any, Any]:
    for library in (evengrad, keras):
        library.utils.clear_session()
    return tuple(call(library) for library in (evengrad, keras))


def equal(call: Any) -> Any:
    ours, theirs = both(call)
    assert ours == theirs
    return ours


def equal_arrays(some: list[Any], others: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def described(model: Any) -> list[Any]:
    return [
        model.name, model.built, model.trainable, [layer.name for layer in model.layers],
        [v.path for v in model.variables], [v.shape for v in model.trainable_variables],
        outcome(lambda: model.input_shape), outcome(lambda: model.output_shape),
    ]  # fmt: skip


def stack(library: ModuleType, first: bool = True) -> list[Any]:
    layers = [library.layers.Dense(3, "relu"), library.layers.Dense(2, name="last")]
    return [library.Input((4,)), *layers] if first else layers


CONSTRUCTED: dict[str, Any] = {
    "layers": lambda k: k.Sequential(stack(k)),
    "tuple": lambda k: k.Sequential(tuple(stack(k))),
    "name": lambda k: k.Sequential(stack(k), name="mine"),
    "by position": lambda k: k.Sequential(stack(k), True, "mine"),
    "trainable": lambda k: k.Sequential(stack(k), trainable=True),
    "without a shape": lambda k: k.Sequential(stack(k, first=False)),
    "input_shape": lambda k: k.Sequential([k.layers.Dense(3, input_shape=(4,)), k.layers.ReLU()]),
    "models": lambda k: k.models.Sequential(stack(k)),
}


@pytest.mark.parametrize("form", CONSTRUCTED)
def test_constructor(form: str) -> None:
    equal(lambda library: described(CONSTRUCTED[form](library)))


def test_a_model_that_is_not_trainable() -> None:
    def trained(library: ModuleType) -> list[Any]:
        model = library.Sequential(stack(library), trainable=False)
        found = [model.trainable, len(model.trainable_variables), len(model.weights)]
        model.compile("sgd", loss="mse")
        before = model.get_weights()
        model.fit(X, X[:, :2], verbose=0)
        found.append(equal_arrays(before, model.get_weights()))
        model.trainable = True
        return [*found, len(model.trainable_variables)]

    assert equal(trained) == [False, 0, 4, True, 4]


def test_adding_one_by_one() -> None:
    def added(library: ModuleType) -> list[Any]:
        model = library.Sequential(name="grown")
        found = [model.built, len(model.layers)]
        model.add(library.Input(shape=(4,)))
        for layer in stack(library, first=False):
            model.add(layer)
            found.append(len(model.weights))
        model.add(library.layers.ReLU(), rebuild=True)
        found += described(model)
        popped = model.pop()
        found += [popped.name, model.pop(rebuild=True).name, model.output_shape]
        return found

    equal(added)


def test_names_are_unique() -> None:
    def twice(library: ModuleType) -> Any:
        return outcome(lambda: library.Sequential([library.layers.Dense(1, name="a")] * 1 + [
            library.layers.Dense(1, name="a")]))  # fmt: skip

    assert equal(twice) is ValueError


@pytest.mark.parametrize("shape", [(None, 4), (32, 4), [None, 4], (7, 2, 4), (None, 2, 4)], ids=str)
def test_build(shape: Any) -> None:
    def built(library: ModuleType) -> list[Any]:
        model = library.Sequential(stack(library, first=False), name="built")
        model.build(shape)
        return [[w.shape for w in model.get_weights()], model.built, model.output_shape[1:]]

    equal(built)


def test_build_again_and_for_another_shape() -> None:
    def built(library: ModuleType) -> list[Any]:
        model = library.Sequential(stack(library), name="built")
        model.build((None, 4))
        return [outcome(lambda: model.build((None, 5))), len(model.weights)]

    equal(built)


def test_get_layer() -> None:
    def found(library: ModuleType) -> list[Any]:
        model = library.Sequential(stack(library))
        get = model.get_layer
        good = [get("last"), get(name="dense"), get(index=0), get(index=-1)]
        bad = [
            get, lambda: get("last", 1), lambda: get("nope"), lambda: get(index=2),
        ]  # fmt: skip
        return [[layer.name for layer in good], [outcome(call) for call in bad]]

    assert equal(found)[1] == [ValueError] * 4


def test_what_is_no_layer() -> None:
    """Keras: ValueError; here what is of the wrong type is a TypeError, everywhere."""
    for bad in (5, "dense", None, np.zeros(3)):
        for library, kind in ((evengrad, TypeError), (keras, ValueError)):
            with pytest.raises(kind):
                library.Sequential([bad])


def test_there_is_no_graph_to_look_at() -> None:
    """Keras has symbolic tensors here; the error says what to do."""
    model = evengrad.Sequential(stack(evengrad))
    for name in ("input", "output", "inputs", "outputs"):
        with pytest.raises(AttributeError, match="layers do not make graphs"):
            getattr(model, name)
        assert not hasattr(model, name)


def test_the_same_layers_in_a_second_model() -> None:
    """The usual way to look at what is inside."""

    def inside(library: ModuleType) -> Any:
        model = library.Sequential(stack(library))
        model.set_weights(weights)
        upper = library.Sequential([library.Input((4,)), *model.layers[:-1]])
        return np.asarray(upper.predict(X, verbose=0))

    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(s).astype(np.float32) for s in ((4, 3), (3,), (3, 2), (2,))]
    errors.compare("layers of two models", *both(inside))


def test_weights_in_and_out() -> None:
    def moved(library: ModuleType) -> list[Any]:
        one, other = (library.Sequential(stack(library)) for _ in range(2))
        other.set_weights(one.get_weights())
        same = equal_arrays(one.get_weights(), other.get_weights())
        other.layers[0].set_weights([np.ones((4, 3)), np.zeros(3)])
        bad = [one.get_weights()[:-1], [w.T for w in one.get_weights()]]
        kinds = [outcome(lambda w=w: one.set_weights(w)) for w in bad]
        return [same, float(other.get_weights()[0].sum()), kinds, one.count_params()]

    assert equal(moved)[2] == [ValueError] * 2


def test_an_empty_model_has_no_shape() -> None:
    def empty(library: ModuleType) -> list[Any]:
        model = library.Sequential()
        return [hasattr(model, "input_shape"), hasattr(model, "output_shape"), model.weights]

    equal(empty)


def test_calling_it() -> None:
    def called(library: ModuleType) -> list[Any]:
        model = library.Sequential([library.Input((4,)), library.layers.Dropout(0.5)])
        return [np.asarray(model(X)), np.asarray(model(X, training=False)), len(model(X[:3]))]

    ours, theirs = both(called)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert Y.shape == (len(X),)
