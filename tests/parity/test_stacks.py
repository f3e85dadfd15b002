"""Random stacks of layers: what a layer leaves in memory for others, and in place of what."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import evengrad
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import draws, keras

pytestmark = helpers.quiet

Make = Callable[[ModuleType], Any]


def of(name: str, **arguments: Any) -> Make:
    return lambda library: getattr(library.layers, name)(**arguments)


def batch_norm(**arguments: Any) -> Make:
    return lambda library: library.layers.BatchNormalization(
        **arguments, **({"debias": False} if library is evengrad else {})
    )


# Those that read x on the way back and those that read y, with variables and without. Slopes do not
# jump far: a rounding error at a kink would look like a wrong gradient.
layers = st.one_of(
    st.builds(
        lambda units, activation, use_bias, trainable: of(
            "Dense", units=units, activation=activation, use_bias=use_bias, trainable=trainable
        ),
        st.integers(3, 40),
        st.sampled_from([None, "elu", "tanh", "silu", "softplus", "sigmoid", "softmax"]),
        st.booleans(),
        st.sampled_from([True, True, True, False]),
    ),
    st.builds(
        lambda momentum, center, scale, trainable: batch_norm(
            momentum=momentum, center=center, scale=scale, trainable=trainable
        ),
        st.sampled_from([0.5, 0.9]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([True, True, True, False]),
    ),
    st.sampled_from(
        [
            of("Activation", activation="tanh"),
            of("Activation", activation="silu"),
            of("Activation", activation="softsign"),
            of("Activation", activation="linear"),
            of("ELU", alpha=0.9),
            of("Dropout", rate=0.0),
            of("Softmax"),
            of("Flatten"),
        ]
    ),
)
SHAPES = [(7,), (3, 5), (2, 3, 4)]


def compare_models(makes: list[Make], shape: tuple[int, ...], loss: str, seed: int) -> None:
    models = []
    for library in (evengrad, keras):
        models.append(library.Sequential([library.Input(shape), *(f(library) for f in makes)]))
    ours, theirs = models
    values = [
        np.abs(w) + np.float32(0.5) if v.name in ("gamma", "moving_variance") else w
        for v, w in zip(
            ours.variables, draws(seed, *(v.shape for v in ours.variables), spread=0.4), strict=True
        )
    ]
    for model in models:
        model.set_weights(values)
    output = ours.output_shape[1:]
    assert (None, *output) == theirs.output_shape
    losses = [getattr(library.losses, loss)() for library in (evengrad, keras)]
    for step in range(2):
        (x, y) = draws(seed + step, (12, *shape), (12, *output))
        truth: Any = np.abs(y).argmax(axis=-1) if "Sparse" in loss else y
        value, gradients = helpers.step_of_evengrad(ours, losses[0], x, truth)
        expected, keras_gradients = helpers.step_of_keras(theirs, losses[1], x, truth)
        errors.compare("stacks: loss", value, expected)
        # What feeds a normalization has a gradient of rounding errors beside the others', or beside
        # the smallest that a loss of about 1 has.
        top = max([0.01, *(float(np.abs(g).max()) for g in keras_gradients)])
        for a, b in zip(gradients, keras_gradients, strict=True):
            # Rounding errors have gone through up to seven layers, some of which magnify.
            errors.compare("stacks: gradients", a, b, top=top, allowed=1e-4)
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            errors.compare("stacks: variables", a, b)
        outputs = np.asarray(theirs.predict(x, verbose=0))
        errors.compare("stacks: predict", ours.predict(x), outputs)


@settings(helpers.fixed, max_examples=12)
@given(
    st.lists(layers, min_size=1, max_size=6),
    st.sampled_from(SHAPES),
    st.integers(0, 2**32 - 4),
)
def test_random_stacks(makes: list[Make], shape: tuple[int, ...], seed: int) -> None:
    compare_models(makes, shape, "MeanSquaredError", seed)


@settings(helpers.fixed, max_examples=6)
@given(
    st.lists(layers, max_size=5),
    st.sampled_from(SHAPES),
    st.sampled_from([None, "softmax"]),
    st.integers(0, 2**32 - 4),
)
def test_random_classifiers(
    makes: list[Make], shape: tuple[int, ...], activation: str | None, seed: int
) -> None:
    if activation is None:
        last = [of("Dense", units=4), of("Activation", activation="softmax")]
    else:
        last = [of("Dense", units=4, activation=activation)]
    compare_models([*makes, of("Flatten"), *last], shape, "SparseCategoricalCrossentropy", seed)
