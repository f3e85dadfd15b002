"""Affine and add kernels; Rescaling, Normalization, Reshape."""

from __future__ import annotations

import math
from typing import Any

import evengrad as keras
import numpy as np
import pytest
from evengrad import _core, layers
from evengrad._arena import tensor
from evengrad._program import Program
from harness import (
    F32,
    PER_SAMPLE,
    SHAPES,
    THREAD_ROWS,
    UNIT,
    Results,
    batch,
    check,
    check_threads,
    draws,
    output,
    run,
    taken,
    upstream,
)

KINDS = ["normalize", "denormalize", "scale"]


def affine(
    rows: int,
    columns: int,
    kind: str = "normalize",
    *,
    gradient: bool = False,
    in_place: bool = False,
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    x, center, spread = draws(rows + 7 * columns, (rows, columns), (columns,), (columns,))
    center, spread = center.astype(np.float64) / 3.0, spread.astype(np.float64) / 3.0
    if kind != "scale":
        spread = spread**2
        spread[::5] = 1e-15  # below the least deviation
    x_ = (upstream if gradient else batch)(x, per_sample)
    y = x_ if in_place else output(rows, columns, per_sample)
    run(
        rows,
        lambda p: p.affine(kind, x_, center, spread, y, gradient),
        per_sample=per_sample,
        threads=threads,
    )
    wide, shift = x.astype(np.float64), 0.0 if gradient else center
    deviation = np.maximum(np.sqrt(np.abs(spread)), 1e-7)
    expected = {
        "normalize": (wide - shift) / deviation,
        "denormalize": wide * deviation + shift,
        "scale": wide * spread + shift,
    }[kind]
    # Two subtractions or a rounded number added, a rounded factor, a product, a sum.
    bound = UNIT * (4.0 * np.abs(expected) + (0.0 if kind == "normalize" else 5.0 * np.abs(shift)))
    return {"y": (taken(y, rows, gradient=gradient), expected, bound + 1e-12)}


def add(
    rows: int,
    columns: int,
    *,
    over: str = "",
    per_sample: int = 1,
    threads: int = 1,
) -> Results:
    a, b = draws(rows + 7 * columns, (rows, columns), (rows, columns))
    arrays = {"a": upstream(a, per_sample), "b": upstream(b, per_sample)}
    y = arrays[over] if over else output(rows, columns, per_sample)
    run(rows, lambda p: p.add(**arrays, y=y), per_sample=per_sample, threads=threads)
    return {"y": (taken(y, rows, gradient=True), a + b, 0.0)}


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_affine(rows: int, columns: int, kind: str) -> None:
    check(affine(rows, columns, kind))
    check(affine(rows, columns, kind, in_place=True))
    check(affine(rows, columns, kind, gradient=True))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("over", ["", "a", "b"])
def test_add(rows: int, columns: int, over: str) -> None:
    check(add(rows, columns, over=over))


@pytest.mark.parametrize(("rows", "per_sample"), PER_SAMPLE)
def test_rows_of_a_sample(rows: int, per_sample: int) -> None:
    check(add(rows, 17, per_sample=per_sample))
    for kind in KINDS:
        check(affine(rows, 17, kind, per_sample=per_sample))


@pytest.mark.parametrize("rows", THREAD_ROWS)
def test_threads(rows: int) -> None:
    check_threads(add, rows, 100)
    for kind in KINDS:
        check_threads(affine, rows, 100, kind)
        check_threads(affine, rows, 33, kind, gradient=True)


def test_one_batch_twice() -> None:
    x, y = upstream(draws(1, (5, 9))[0]), output(5, 9)
    run(5, lambda p: p.add(x, x, y))
    np.testing.assert_array_equal(taken(y, 5), x[:5] * 2.0)


def test_unknown_kind() -> None:
    p, x, z = _core.Program(2), tensor(2, 3), np.zeros(3)
    with pytest.raises(ValueError, match=r"^kind: expected one of normalize, denormalize, scale"):
        p.affine("nope", x, z, z, x)


# Layers


def passes(layer: layers.Layer, x: F32, dy: F32) -> tuple[F32, F32]:
    layer.build(x.shape[1:])
    program = Program(len(x), training=True)
    source = program.tensor(x.shape[-1], math.prod(x.shape[1:-1]))
    source[...] = x.reshape(source.shape)
    y = layer.record(program, source)
    above = program.like(y)
    above[...] = dy.reshape(y.shape)
    dx = layer.record_backward(program, above, need_dx=True)
    assert dx is not None
    program.run(len(x))
    return np.array(y).reshape(dy.shape), np.array(dx).reshape(x.shape)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1 / 255, 0.0), (-2, 1), (np.arange(5) - 2.0, [1.0, 2, 3, 4, 5]), ([3.0], 1), (0.0, 0.5)],
)
def test_rescaling(shape: tuple[int, ...], scale: Any, offset: Any) -> None:
    layer = layers.Rescaling(scale, offset)
    x, dy = draws(1, (6, *shape), (6, *shape))
    y, dx = passes(layer, x, dy)
    np.testing.assert_allclose(y, x * np.float64(scale) + np.float64(offset), atol=1e-6)
    np.testing.assert_allclose(dx, dy * np.float64(scale), atol=1e-6)
    assert layer.variables == []
    np.testing.assert_array_equal(layers.Rescaling.from_config(layer.get_config())(x), y)


def test_rescaling_follows_its_attributes() -> None:
    model = keras.Sequential([layers.Rescaling(2.0, input_shape=(1,))])
    np.testing.assert_array_equal(model.predict([[3.0]]), [[6.0]])
    model.layers[0].scale = 5.0  # type: ignore[union-attr]
    np.testing.assert_array_equal(model.predict([[3.0]]), [[15.0]])


@pytest.mark.parametrize("bad", ["2", None, [1.0, np.nan], [1.0, 2.0]])
def test_bad_rescaling(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match='Rescaling "r": expected'):
        layers.Rescaling(bad, name="r").build((3,))


@pytest.mark.parametrize(
    ("shape", "axis", "over"),
    [
        ((5,), -1, (0,)),
        ((5,), 1, (0,)),
        ((4, 5), -1, (0, 1)),
        ((4, 5), [1, 2], (0,)),
        ((2, 4, 5), (-2, -1), (0, 1)),
        ((4, 5), None, (0, 1, 2)),
        ((5,), None, (0, 1)),
    ],
)
@pytest.mark.parametrize("far", [0.0, 1e5])
def test_normalization(
    shape: tuple[int, ...], axis: Any, over: tuple[int, ...], far: float
) -> None:
    data, x, dy = draws(1, (5000, *shape), (7, *shape), (7, *shape))
    data, x = data * 3.0 + np.float32(far), x + np.float32(far)
    layer = layers.Normalization(axis)
    np.testing.assert_array_equal(layer(x), x)  # not yet adapted
    layer.adapt(data)
    wide = data.astype(np.float64)
    mean, variance = wide.mean(axis=over), wide.var(axis=over)
    assert layer.mean is not None
    assert layer.variance is not None
    np.testing.assert_allclose(layer.mean.storage.reshape(mean.shape), mean, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(layer.variance.storage.reshape(variance.shape), variance, rtol=1e-11)
    assert layer.trainable_variables == []
    assert [v.name for v in layer.variables] == ["mean", "variance", "count"]
    y, dx = passes(layer, x, dy)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance), atol=2e-6)
    np.testing.assert_allclose(dx, dy / np.sqrt(variance), atol=1e-6)
    back = layers.Normalization(axis, mean, variance, invert=True)
    z, dz = passes(back, y, dy)
    np.testing.assert_allclose(z, x, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(dz, dy * np.sqrt(variance), rtol=1e-6)
    assert back.variables == []
    given = layers.Normalization(axis, mean, variance)
    np.testing.assert_allclose(given(x), y, atol=1e-6)
    np.testing.assert_array_equal(layers.Normalization.from_config(given.get_config())(x), given(x))


def test_a_constant_feature_is_divided_by_the_least_deviation() -> None:
    layer = layers.Normalization()
    layer.adapt([[2.0, 1.0], [2.0, 3.0]])
    np.testing.assert_allclose(layer([[2.0, 1.0], [3.0, 3.0]]), [[0.0, -1.0], [1e7, 1.0]])


def test_normalization_first_in_a_model() -> None:
    keras.utils.set_random_seed(0)
    x = draws(1, (200, 3))[0] * np.float32([1.0, 1e3, 1e-3]) + np.float32([0.0, 1e5, 0.0])
    y = (x[:, 1] > 1e5).astype(np.int32)
    layer = layers.Normalization()
    layer.adapt(x)
    model = keras.Sequential([layer, layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x, y, epochs=10, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.95
    before = model.predict(x)
    layer.adapt(x * 2.0)  # takes effect at once
    assert not np.array_equal(model.predict(x), before)
    layer.adapt(x)
    np.testing.assert_array_equal(model.predict(x), before)


def test_bad_normalization() -> None:
    for arguments, text in [
        ({"mean": 1.0}, "expected mean and variance, or neither"),
        ({"mean": 1.0, "variance": -1.0}, "expected variance of at least 0"),
        ({"axis": "last"}, "expected axis to be an integer"),
    ]:
        with pytest.raises((ValueError, TypeError), match=text):
            layers.Normalization(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected mean to be a number or an array for axes \(3,"):
        layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 2.0]).build((3,))
    with pytest.raises(ValueError, match="expected axis -1, the last of samples"):
        layers.Normalization(axis=1).build((4, 3))
    with pytest.raises(ValueError, match="there is nothing to adapt"):
        layers.Normalization(mean=0.0, variance=1.0).adapt([[1.0]])
    with pytest.raises(ValueError, match="data"):
        layers.Normalization().adapt([[np.nan]])


@pytest.mark.parametrize(
    ("shape", "target", "expected"),
    [
        ((12,), (3, 4), (3, 4)),
        ((12,), (-1, 2, 2), (3, 2, 2)),
        ((3, 4), (12,), (12,)),
        ((3, 4), (4, 3), (4, 3)),
        ((3, 4), (-1,), (12,)),
        ((2, 3, 4), (6, -1), (6, 4)),
        ((4,), (1, 4), (1, 4)),
        ((1, 1), (1,), (1,)),
    ],
)
def test_reshape(shape: Any, target: Any, expected: Any) -> None:
    layer = layers.Reshape(target)
    assert layer.compute_output_shape(shape) == expected
    x, dy = draws(1, (5, *shape), (5, *expected))
    y, dx = passes(layer, x, dy)
    np.testing.assert_array_equal(y, x.reshape(5, *expected))
    np.testing.assert_array_equal(dx, dy.reshape(x.shape))
    model = keras.Sequential([layers.Reshape(target, input_shape=shape), layers.Dense(2)])
    assert model.output_shape == (None, *expected[:-1], 2)
    assert model.predict(x).shape == (5, *expected[:-1], 2)


@pytest.mark.parametrize("bad", [(), (0,), (-1, -1), (2.5,), None, 3, "ab", (-2,), (3, 0)])
def test_bad_targets(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r'Reshape "r": expected .*target_shape'):
        layers.Reshape(bad, name="r")


@pytest.mark.parametrize("target", [(5,), (5, -1), (13,), (24,)])
def test_targets_of_another_size(target: Any) -> None:
    with pytest.raises(ValueError, match="expected target_shape to hold the 12 elements"):
        layers.Reshape(target).build((3, 4))
