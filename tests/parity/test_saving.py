"""Saving, names and clones against Keras: arguments, and what becomes of models."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evengrad
import numpy as np
import pytest

from parity import helpers
from parity.helpers import keras

pytestmark = helpers.quiet

BOTH = pytest.mark.parametrize("library", [evengrad, keras], ids=["evengrad", "keras"])


def arguments(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize(
    "name",
    [
        "saving.register_keras_serializable", "saving.get_registered_name",
        "saving.get_registered_object", "saving.get_custom_objects", "saving.CustomObjectScope",
        "saving.load_model", "saving.save_model", "saving.save_weights", "saving.load_weights",
        "models.load_model", "models.save_model", "models.clone_model", "models.model_from_json",
        "utils.register_keras_serializable", "utils.custom_object_scope",
        "utils.get_custom_objects", "Sequential.save", "Sequential.save_weights",
        "Sequential.load_weights", "Sequential.to_json", "Sequential.get_compile_config",
        "Sequential.compile_from_config", "Sequential.from_config",
    ],
)  # fmt: skip
def test_arguments(name: str) -> None:
    ours, theirs = evengrad, keras
    for part in name.split("."):
        ours, theirs = getattr(ours, part), getattr(theirs, part)
    expected, got = arguments(theirs), arguments(ours)
    if "kwargs" not in got:  # of HDF5 files, and of formats before Keras 3
        expected.pop("kwargs", None)
    assert list(got)[: len(expected)] == list(expected)
    for key, default in expected.items():
        # CustomObjectScope: Keras demands an argument that may be None.
        assert got[key] == default or "scope" in name.lower(), key
    for key in list(got)[len(expected) :]:
        assert got[key] is not inspect.Parameter.empty, f"{key} has no default"


def small(library: Any, units: int = 3) -> Any:
    return library.Sequential(
        [
            library.layers.Input((4,)),
            library.layers.Dense(5, activation="tanh", name="first"),
            library.layers.Dropout(0.5, name="drop"),
            library.layers.Dense(units, name="last"),
        ],
        name="net",
    )


@BOTH
def test_clones(library: Any) -> None:
    model = small(library)
    model.compile(library.optimizers.Adam(0.25), "mse")
    twin = library.models.clone_model(model)
    assert [layer.name for layer in twin.layers] == ["first", "drop", "last"]
    assert (twin.name, twin.compiled) == ("net", True)
    assert float(twin.optimizer.learning_rate) == 0.25
    assert twin.optimizer is not model.optimizer
    assert not np.array_equal(np.asarray(twin.get_weights()[0]), np.asarray(model.get_weights()[0]))

    def seeded(layer: Any) -> Any:
        config = layer.get_config()
        if "seed" in config:
            config["seed"] = 1337
        return layer.__class__.from_config(config)

    twin = library.models.clone_model(model, clone_function=seeded)
    assert twin.layers[1].get_config()["seed"] == 1337
    nested = library.Sequential([library.layers.Input((4,)), small(library)])
    for recursive, calls in ((False, 1), (True, 3)):
        seen: list[Any] = []
        library.models.clone_model(
            nested,
            clone_function=lambda layer, seen=seen: seen.append(layer) or seeded(layer),
            recursive=recursive,
        )
        assert len(seen) == calls


@BOTH
def test_json(library: Any) -> None:
    model = small(library)
    twin = library.models.model_from_json(model.to_json())
    assert [layer.name for layer in twin.layers] == ["first", "drop", "last"]
    assert not twin.compiled
    assert [w.shape for w in twin.get_weights()] == [(4, 5), (5,), (5, 3), (3,)]


@BOTH
def test_skipping_a_layer_that_does_not_fit(library: Any, tmp_path: Path) -> None:
    model, other = small(library), small(library, 7)
    path = tmp_path / ("w.npz" if library is evengrad else "w.weights.h5")
    model.save_weights(path)
    before = [np.asarray(w) for w in other.get_weights()]
    with pytest.raises(ValueError, match="shape"):
        other.load_weights(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other.load_weights(path, skip_mismatch=True)
    assert [w.category for w in caught if w.category is not DeprecationWarning] == [UserWarning]
    expected = [*model.get_weights()[:2], *before[2:]]
    for got, right in zip(other.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(right))


@BOTH
def test_compile_configurations(library: Any) -> None:
    model = small(library)
    assert model.get_compile_config() == {}
    model.compile("adam", "mse", ["mae"])
    config = model.get_compile_config()
    assert {"optimizer", "loss", "metrics", "weighted_metrics", "jit_compile"} <= set(config)
    twin = small(library)
    twin.compile_from_config(config)
    assert twin.compiled
    assert twin.optimizer.built


@BOTH
def test_registration(library: Any) -> None:
    @library.saving.register_keras_serializable("parity")
    class Mine(library.layers.Dense):  # type: ignore[misc, name-defined]
        pass

    @library.saving.register_keras_serializable(name="f")
    def function() -> None: ...

    saving = library.saving
    try:
        assert saving.get_registered_name(Mine) == "parity>Mine"
        assert saving.get_registered_name(function) == "Custom>f"
        assert saving.get_registered_object("parity>Mine") is Mine
        assert saving.get_registered_object("Mine") is None
        assert saving.get_custom_objects()["Custom>f"] is function
        with saving.custom_object_scope({"Mine": Mine}):
            assert saving.get_registered_object("Mine") is Mine
        assert saving.get_registered_object("Mine") is None
        with pytest.raises(ValueError, match="get_config"):
            saving.register_keras_serializable()(type("Plain", (), {}))
    finally:
        del saving.get_custom_objects()["parity>Mine"], saving.get_custom_objects()["Custom>f"]
