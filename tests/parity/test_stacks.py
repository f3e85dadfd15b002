"""Random stacks of layers: what each leaves in memory for others, and in place of what."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import evengrad
import numpy as np
import pytest

from parity import errors, helpers
from parity.helpers import draws, keras

pytestmark = helpers.quiet

# Slopes that do not jump far: a rounding error at a kink would look like a wrong gradient.
ACTIVATIONS = ["elu", "tanh", "silu", "softplus", "softsign", "sigmoid", "softmax", "linear"]
SHAPES = [(7,), (3, 5), (2, 3, 4)]
Recipe = list[tuple[str, dict[str, Any]]]


def random_layers(rng: np.random.Generator) -> Recipe:
    """Four to eight: those that read x on the way back and those that read y, some frozen."""
    recipe: Recipe = []
    for _ in range(rng.integers(4, 9)):
        kind = rng.choice(["Dense", "BatchNormalization", "Activation", "others"])
        trainable = bool(rng.random() < 0.8)
        if kind == "Dense":
            arguments: dict[str, Any] = {
                "units": int(rng.integers(3, 40)),
                "activation": str(rng.choice(ACTIVATIONS)),
                "use_bias": bool(rng.random() < 0.5),
                "trainable": trainable,
            }
        elif kind == "BatchNormalization":
            arguments = {
                "momentum": 0.7,
                "center": bool(rng.random() < 0.7),
                "scale": bool(rng.random() < 0.7),
                "trainable": trainable,
            }
        elif kind == "Activation":
            arguments = {"activation": str(rng.choice(ACTIVATIONS))}
        else:
            kind = rng.choice(["ELU", "PReLU", "Dropout", "Softmax", "Flatten"])
            arguments = {"rate": 0.0} if kind == "Dropout" else {}
        recipe.append((str(kind), arguments))
    return recipe


def model(library: ModuleType, shape: tuple[int, ...], recipe: Recipe) -> Any:
    made = [library.Input(shape)]
    for kind, arguments in recipe:
        debias = {"debias": False} if (library, kind) == (evengrad, "BatchNormalization") else {}
        made.append(getattr(library.layers, kind)(**arguments, **debias))
    return library.Sequential(made)


def start(seed: int, variables: list[evengrad.Variable]) -> list[np.ndarray]:
    """Values that keep all numbers at about 1: Keras is wrong for logits of 17 and more."""
    values = draws(seed, *(v.shape for v in variables), spread=0.4)
    for i, variable in enumerate(variables):
        if variable.name == "kernel":
            values[i] *= np.float32(2.5 * variable.shape[0] ** -0.5)
        elif variable.name in ("gamma", "moving_variance"):
            values[i] = np.float32(0.5) + np.abs(values[i])
        elif variable.name == "alpha":  # PReLU without much of a kink
            values[i] = np.float32(1.0) + np.float32(1e-3) * values[i]
    return values


@pytest.mark.parametrize("loss", ["MeanSquaredError", "SparseCategoricalCrossentropy"])
@pytest.mark.parametrize("seed", range(8))
def test_random_stack(seed: int, loss: str) -> None:
    rng = np.random.default_rng([seed, len(loss)])
    shape, recipe = SHAPES[seed % len(SHAPES)], random_layers(rng)
    if "Sparse" in loss:
        recipe += [("Flatten", {}), ("Dense", {"units": 4, "activation": "softmax"})]
    ours, theirs = (model(library, shape, recipe) for library in (evengrad, keras))
    assert ours.output_shape == theirs.output_shape
    values = start(seed, ours.variables)
    losses = [getattr(library.losses, loss)() for library in (evengrad, keras)]
    for made in (ours, theirs):
        made.set_weights(values)
    for step in range(2):
        (x, y) = draws(seed + 100 * step, (12, *shape), (12, *ours.output_shape[1:]))
        truth: Any = np.abs(y).argmax(axis=-1) if "Sparse" in loss else y
        value, gradients = helpers.step_of_evengrad(ours, losses[0], x, truth)
        expected, keras_gradients = helpers.step_of_keras(theirs, losses[1], x, truth)
        errors.compare("stacks: loss", value, expected)
        # What feeds a normalization has a gradient of rounding errors beside the others', or beside
        # the smallest that a loss of about 1 has.
        top = max([0.01, *(float(np.abs(g).max()) for g in keras_gradients)])
        for a, b in zip(gradients, keras_gradients, strict=True):
            # Rounding errors have gone through up to nine layers, some of which magnify.
            errors.compare("stacks: gradients", a, b, top=top, allowed=1e-4)
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            errors.compare("stacks: variables", a, b)
        outputs = np.asarray(theirs.predict(x, verbose=0))
        errors.compare("stacks: predict", ours.predict(x), outputs)
