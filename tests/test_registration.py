"""Names of classes and functions of one's own, and models that use them as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import (
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    saving,
)
from evengrad.optimizers import clipping, schedules

register = saving.register_keras_serializable


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    before = dict(saving.get_custom_objects())
    yield
    saving.get_custom_objects().clear()
    saving.get_custom_objects().update(before)


@register("tests")
class Scale(layers.Layer):
    def __init__(self, start: Any = 1.0, table: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.table = start, table
        self.calls = 0

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(input_shape[-1:], initializers.Constant(self.start), "scale")

    def call(self, inputs: Any) -> Any:
        self.calls += 1
        return inputs * self.scale.value

    def call_backward(self, inputs: Any, outputs: Any, dy: Any) -> Any:
        return dy * self.scale.value, {self.scale: (dy * inputs).sum(axis=0)}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"start": self.start, "table": self.table}

    def get_extra_state(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


@register("tests")
class Cube(losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return (np.abs(y_pred - y_true) ** 3).mean(axis=-1)

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        return 3 * (y_pred - y_true) * np.abs(y_pred - y_true) / y_pred.shape[-1]


@register("tests")
class Worst(metrics.Metric):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return np.abs(y_true - y_pred).max(axis=-1)


@register("tests")
def largest(y_true: Any, y_pred: Any, factor: float = 1.0) -> Any:
    return factor * np.abs(y_true - y_pred).max(axis=-1)


@register("tests")
def ones(shape: Any, dtype: Any) -> Any:
    return np.ones(shape, dtype)


@register("tests")
class Halves(initializers.Initializer):
    def __call__(self, shape: Any, dtype: Any = "float32") -> Any:
        return np.full(shape, 0.5, dtype)


@register("tests")
class Weak(regularizers.Regularizer):
    l2 = 1e-6


@register("tests")
class Positive(constraints.NonNeg):
    pass


@register("tests")
class Doubled(optimizers.SGD):
    pass


@register("tests")
class Hyperbola(schedules.LearningRateSchedule):
    def __init__(self, start: float) -> None:
        self.start = start

    def __call__(self, step: Any) -> Any:
        return self.start / (step + 1)

    def get_config(self) -> dict[str, Any]:
        return {"start": self.start}


@register("tests")
def rate(step: int) -> float:
    return 0.1 / (step + 1)


@register("tests")
class Loose(clipping.ByNorm):
    pass


@register("tests")
class Net(keras.Sequential):
    pass


def whole(optimizer: Any) -> keras.Sequential:
    model = Net(
        [
            keras.Input((3,)),
            layers.Residual([Scale(2.0, table=np.arange(4.0))]),
            layers.Dense(3, kernel_initializer=Halves(), kernel_regularizer=Weak()),
            layers.Dense(2, kernel_initializer=ones, bias_constraint=Positive()),
        ]
    )
    weighted = [metrics.MeanMetricWrapper(largest, "f")]
    model.compile(optimizer, Cube(), [Worst(), largest], weighted_metrics=weighted)
    return model


def x_and_y() -> tuple[Any, Any]:
    rng = np.random.Generator(np.random.PCG64(1))
    return rng.standard_normal((20, 3)), rng.standard_normal((20, 2))


@pytest.mark.parametrize("of_rate", [0.1, Hyperbola(0.1), rate], ids=["1", "class", "function"])
def test_everything_of_ones_own(of_rate: Any, tmp_path: Path) -> None:
    model = whole(Doubled(of_rate, clipping=Loose(0.5)))
    model.fit(*x_and_y(), epochs=2, verbose=0)
    model.save(tmp_path / "m.evengrad")
    twin = keras.models.load_model(tmp_path / "m.evengrad")
    assert type(twin) is Net
    inner = twin.layers[0].layers[0]
    assert type(inner) is Scale
    assert inner.calls == model.layers[0].layers[0].calls
    np.testing.assert_array_equal(inner.table, np.arange(4.0))
    assert type(twin.layers[1].kernel_initializer) is Halves
    assert type(twin.layers[1].kernel.regularizer) is Weak
    assert type(twin.layers[2].bias.constraint) is Positive
    assert type(twin.optimizer) is Doubled
    assert type(twin.optimizer.clipping) is Loose
    assert type(twin.loss) is Cube
    assert twin.metrics_names == ["loss", "worst", "largest", "f"]
    for each in (model, twin):
        each.fit(*x_and_y(), epochs=4, initial_epoch=2, verbose=0)
    for mine, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_what_is_not_registered_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    class Mine(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    class Start(Halves):
        pass

    class Own(Cube):
        pass

    class Distance(Worst):
        pass

    class Step(optimizers.SGD):
        pass

    def measure(y_true: Any, y_pred: Any) -> Any:
        return y_pred[:, 0]

    def model(*parts: Any, optimizer: Any = "sgd", loss: Any = "mse", metrics: Any = ()) -> Any:
        made = keras.Sequential([keras.Input((2,)), *parts, layers.Dense(2)])
        made.compile(optimizer, loss, list(metrics))
        return made

    path = tmp_path / "m.evengrad"
    for made, text in (
        (model(Mine(name="it")), "layer 'it': the class Mine is not registered"),
        (model(layers.Residual([Mine(name="it")])), "layer 'it': the class Mine is not"),
        (model(layers.Dense(2, kernel_initializer=Start())), "initializer: the class Start is"),
        (model(layers.Dense(2, kernel_initializer=np.ones)), "the function ones is not"),
        (model(loss=Own()), "loss: the class Own is not"),
        (model(metrics=[Distance()]), "metric: the class Distance is not"),
        (model(metrics=[measure]), "the function measure is not registered"),
        (model(metrics=[lambda a, b: b[:, 0]]), "lambda cannot be saved"),
        (model(optimizer=Step(0.1)), "optimizer: the class Step is not"),
        (model(optimizer=optimizers.SGD(lambda: 0.1)), "lambda cannot be saved"),
        (model(Scale(table=object())), r"\.layers\[1\].config.table: expected numbers, texts"),
        (model(Scale(table={1: 2})), "expected texts as the keys of a dict, got 1"),
        (model(Scale(table={"class_name": "function"})), "expected another class_name"),
    ):
        with pytest.raises(TypeError, match=text) as error:
            made.save(path)
        assert "register_keras_serializable()" in str(error.value) or "expected" in text
        assert list(tmp_path.iterdir()) == []


def test_a_class_of_a_name_that_is_taken(tmp_path: Path) -> None:
    class Dense(layers.Dense):
        pass

    model = keras.Sequential([keras.Input((2,)), Dense(3)])
    with pytest.raises(TypeError, match="the class Dense is not registered"):
        model.save(tmp_path / "m.evengrad")
    register("mine")(Dense)
    model.save(tmp_path / "m.evengrad")
    assert type(keras.models.load_model(tmp_path / "m.evengrad").layers[0]) is Dense


def test_a_file_needs_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "m.evengrad"
    whole("sgd").save(path)
    known = dict(saving.get_custom_objects())
    for name in ("Net", "Scale", "Halves", "Weak", "Positive", "ones", "Cube", "Worst", "largest"):
        saving.get_custom_objects().clear()
        saving.get_custom_objects().update(known)
        found = saving.get_custom_objects().pop(f"tests>{name}")
        with pytest.raises(keras.ModelFileError, match=rf"custom_objects={{'tests>{name}': {name}"):
            keras.models.load_model(path)
        for given in (f"tests>{name}", name):
            keras.models.load_model(path, {given: found})
        if name in ("Cube", "Worst", "largest"):
            keras.models.load_model(path, compile=False)
        with pytest.raises(keras.ModelFileError, match=f"expected 'tests>{name}' to be a "):
            keras.models.load_model(path, {f"tests>{name}": int if name != "ones" else Scale})


def test_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    table = {
        "floats": [np.inf, -np.inf, 1e-320, 0.1], "numpy": [np.float32(0.1), np.int64(3)],
        "flag": np.bool_(True), "tuple": (1, 2), "bytes": np.arange(3, dtype=np.uint8),
        "double": np.array([[np.inf, 1 / 3]]), "none": None, "big": 10**30, "text": "\ud800é\n",
        "initializer": initializers.Constant(2.0), "regularizer": regularizers.L2(0.5),
        "schedule": Hyperbola(3.0), "layer": layers.Dense(4, name="inner"), "function": largest,
        "loss": losses.Huber(2.0), "activation": keras.activations.get("elu"),
    }  # fmt: skip
    keras.Sequential([keras.Input((2,)), Scale(table=table)]).save(tmp_path / "m.evengrad")
    back = keras.models.load_model(tmp_path / "m.evengrad").layers[0].table
    assert back["floats"] == table["floats"]
    assert back["numpy"] == [float(np.float32(0.1)), 3]
    assert back["flag"] is True
    assert back["tuple"] == [1, 2]
    assert back["bytes"].dtype == np.uint8
    np.testing.assert_array_equal(back["double"], table["double"])
    assert (back["none"], back["big"], back["text"]) == (None, 10**30, "\ud800é\n")
    assert (back["initializer"].value, back["regularizer"].l2) == (2.0, 0.5)
    assert (back["schedule"].start, back["loss"].delta) == (3.0, 2.0)
    assert (back["layer"].name, back["layer"].units) == ("inner", 4)
    assert back["function"] is largest
    assert back["activation"] == keras.activations.get("elu")


# The registry


def test_names() -> None:
    assert saving.get_registered_name(Scale) == "tests>Scale"
    assert saving.get_registered_object("tests>Scale") is Scale
    assert saving.get_registered_name(layers.Dense) == "Dense"
    assert saving.get_registered_object("Dense") is None
    assert saving.get_registered_object("a", {"a": 1}, {"a": 2}) == 1
    assert saving.get_registered_object("a", None, {"a": 2}) == 2

    @register(name="other")
    def function() -> None: ...

    assert saving.get_registered_name(function) == "Custom>other"
    assert keras.utils.get_registered_object("Custom>other") is function
    assert keras.utils.register_keras_serializable is register


def test_a_name_goes_to_its_last_owner() -> None:
    def first() -> None: ...
    def second() -> None: ...

    register(name="f")(first)
    register(name="f")(second)
    assert saving.get_registered_object("Custom>f") is second


def test_what_cannot_be_registered() -> None:
    class Plain:
        pass

    for wrong, text in (
        (lambda: register()(Plain), "get_config"),
        (lambda: register()(3), "expected a class or a function"),
        (lambda: register()(lambda: 0), "expected name for a lambda"),
        (lambda: register(3), "package"),
        (lambda: register("a", ""), "name"),
        (lambda: saving.custom_object_scope([1]), "custom_objects"),
        (lambda: saving.custom_object_scope({1: 2}), "custom_objects"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            wrong()  # type: ignore[no-untyped-call]


def test_scopes() -> None:
    class Quarter(Halves):
        pass

    with pytest.raises(ValueError, match="initializer"):
        initializers.get("Quarter")
    with saving.custom_object_scope({"Quarter": Quarter}):
        with keras.utils.CustomObjectScope({"Dense": Scale}):
            assert type(initializers.get("Quarter")) is Quarter
            assert type(layers.deserialize({"class_name": "Dense", "config": {}})) is Scale
        made = layers.deserialize({"class_name": "Dense", "config": {"units": 3}})
        assert type(made) is layers.Dense
        assert saving.get_registered_object("Quarter") is Quarter
    assert saving.get_registered_object("Quarter") is None


def test_registered_names_work_as_arguments() -> None:
    assert type(initializers.get("tests>Halves")) is Halves
    assert type(regularizers.get("tests>Weak")) is Weak
    assert type(constraints.get("tests>Positive")) is Positive
    assert type(losses.get("tests>Cube")) is Cube
    assert type(metrics.get("tests>Worst")) is Worst
    assert type(optimizers.get("tests>Doubled")) is Doubled
    assert type(layers.Dense(2, kernel_initializer="tests>Halves").kernel_initializer) is Halves


def test_custom_objects_reach_the_inside() -> None:
    model = keras.Sequential([layers.Residual([Scale()]), layers.Dense(2)])
    config = model.get_config()
    saving.get_custom_objects().clear()
    twin = keras.Sequential.from_config(config, custom_objects={"Scale": Scale})
    assert type(twin.layers[0].layers[0]) is Scale
    with pytest.raises(ValueError, match="tests>Scale"):
        keras.Sequential.from_config(config)


def test_an_argument_that_get_config_leaves_out(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("forgetful")
    class Power(layers.Layer):
        def __init__(self, p: float = 1.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.p = p

        def call(self, inputs: Any) -> Any:
            return inputs**self.p

    @keras.saving.register_keras_serializable("forgetful")
    class Whole(Power):
        def get_config(self) -> dict[str, Any]:
            return super().get_config() | {"p": self.p}

    model = keras.Sequential([keras.Input((3,)), Power(3.0)])
    with pytest.raises(TypeError, match="Power: expected its argument 'p' in what get_config"):
        model.save(tmp_path / "m.evengrad")
    with pytest.raises(TypeError, match="Power: expected its argument 'p' in what get_config"):
        keras.models.clone_model(model)
    assert list(tmp_path.iterdir()) == []
    whole = keras.Sequential([keras.Input((3,)), Whole(3.0)])
    whole.save(tmp_path / "m.evengrad")
    for again in keras.models.load_model(tmp_path / "m.evengrad"), keras.models.clone_model(whole):
        assert again.layers[0].p == 3.0


def test_two_classes_of_one_registered_name(tmp_path: Path) -> None:
    def scale(place: str) -> Any:
        @keras.saving.register_keras_serializable("twice", "Scale")
        class Scale(layers.Layer):
            def call(self, inputs: Any) -> Any:
                return inputs * (2.0 if place == "first" else 3.0)

        Scale.__module__ = place
        return Scale

    first, second = scale("first"), scale("second")
    keras.Sequential([keras.Input((3,)), second()]).save(tmp_path / "m.evengrad")
    model = keras.Sequential([keras.Input((3,)), first(), second()])
    with pytest.raises(TypeError, match=r"name 'twice>Scale' .* belongs to another one now"):
        model.save(tmp_path / "m.evengrad")
    again = keras.models.clone_model(model)
    np.testing.assert_array_equal(again.predict([[1.0, 2.0, 3.0]]), [[6.0, 12.0, 18.0]])
    rerun = scale("second")  # as a cell of a notebook that is run again
    model = keras.Sequential([keras.Input((3,)), second(), rerun()])
    model.save(tmp_path / "m.evengrad")


@pytest.mark.parametrize("inside", [False, True])
def test_a_model_of_ones_own_that_could_not_be_made_again(inside: bool, tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("nets")
    class Fixed(keras.Sequential):
        def __init__(self) -> None:
            super().__init__([layers.Dense(2, input_shape=(3,))])

    @keras.saving.register_keras_serializable("nets")
    class Sized(keras.Sequential):
        def __init__(self, units: int = 3) -> None:
            super().__init__([layers.Dense(units, input_shape=(3,))])

    for made, words in ((Fixed, "expected __init__ to take"), (Sized, "its argument 'units'")):
        model = keras.Sequential([made()]) if inside else made()
        with pytest.raises(TypeError, match=words):
            model.save(tmp_path / "m.evengrad")
        with pytest.raises(TypeError, match=words):
            keras.models.clone_model(model)
    assert list(tmp_path.iterdir()) == []


def test_arrays_without_elements_keep_their_shape(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("empty")
    class Holds(layers.Layer):
        def __init__(self, table: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.table = table

        def call(self, inputs: Any) -> Any:
            return inputs

        def get_config(self) -> dict[str, Any]:
            return super().get_config() | {"table": self.table}

    model = keras.Sequential([keras.Input((3,)), Holds(np.zeros((0, 3), np.int16))])
    model.save(tmp_path / "m.evengrad")
    table = keras.models.load_model(tmp_path / "m.evengrad").layers[0].table
    assert (table.shape, table.dtype) == ((0, 3), np.int16)
