"""LayerNormalization, noise, preprocessing; residual and nested networks against Keras' graphs."""

from __future__ import annotations

from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given, settings

from parity import errors, helpers
from parity.helpers import draws, keras
from parity.test_layers import Case, cases, pair, same_bits

pytestmark = helpers.quiet

fixed = helpers.fixed


# Layer normalization


@settings(fixed, max_examples=15)
@given(cases)
def test_layer_normalization(case: Case) -> None:
    several = [list(range(1, len(case.shape) + 1))] * (len(case.shape) > 1)
    arguments = {
        "axis": case.pick(-1, len(case.shape), *several),
        "epsilon": case.pick(1e-5, 1e-3, 0.1),
        "center": case.pick(True, False),
        "scale": case.pick(True, False),
    }
    ours = evengrad.layers.LayerNormalization(**arguments)
    theirs = keras.layers.LayerNormalization(**arguments)
    pair(ours, theirs, case.shape)
    x, dy = draws(case.seed, *[(case.n, *case.shape)] * 2)
    offset = case.pick(0.0, 3.0, -100.0)
    x += np.float32(offset)
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    lost = 1.0 + abs(offset)  # a rounding of the offset is what Keras' mean is off by
    axes = tuple(range(1, x.ndim)) if isinstance(arguments["axis"], list) else -1
    scale = float(np.max(1.0 / np.sqrt(x.astype(np.float64).var(axes) + arguments["epsilon"])))
    if arguments["scale"]:
        scale *= float(np.abs(ours.get_weights()[0]).max())
    name = "LayerNormalization"
    errors.compare(name, a.y, b.y, top=lost * scale)
    errors.compare(name, a.dx, b.dx, top=lost * scale * float(np.abs(dy).max()))
    for made, expected in zip(a.gradients, b.gradients, strict=True):
        errors.compare(name, made, expected, top=lost * float(np.abs(dy).max()))
    inference = helpers.of_evengrad(ours, x, None, training=False)
    np.testing.assert_array_equal(inference.y, a.y)


@fixed
@given(cases)
def test_layer_normalization_of_torch(case: Case) -> None:
    torch = pytest.importorskip("torch", reason="parity: torch is not installed")
    inside = case.shape[case.rng.integers(len(case.shape)) :]
    epsilon = case.pick(1e-5, 1e-3)
    theirs = torch.nn.LayerNorm(inside, eps=epsilon)
    ours = evengrad.layers.LayerNormalization(list(range(-len(inside), 0)), epsilon)
    ours.build(case.shape)
    values = draws(7, inside, inside)
    ours.set_weights(values)
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    x, dy = draws(case.seed, *[(case.n, *case.shape)] * 2)
    source = torch.from_numpy(x).requires_grad_()
    y = theirs(source)
    y.backward(torch.from_numpy(dy))
    a = helpers.of_evengrad(ours, x, dy, training=True)
    axes = tuple(range(-len(inside), 0))
    scale = float(np.max(1.0 / np.sqrt(x.var(axes) + epsilon)))
    top = scale * float(np.abs(dy).max()) * float(np.abs(values[0]).max())
    errors.compare("LayerNormalization torch", a.y, y.detach().numpy())
    assert source.grad is not None
    errors.compare("LayerNormalization torch", a.dx, source.grad.numpy(), top=top)
    for made, parameter in zip(a.gradients, theirs.parameters(), strict=True):
        expected = parameter.grad.numpy()
        errors.compare("LayerNormalization torch", made, expected, top=float(np.abs(dy).max()))


# Preprocessing


@fixed
@given(cases)
def test_reshape(case: Case) -> None:
    size = int(np.prod(case.shape))
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    target = case.pick((size,), (-1,), (int(case.rng.choice(divisors)), -1), (1, -1, 1))
    same_bits(evengrad.layers.Reshape(target), keras.layers.Reshape(target), case)


@fixed
@given(cases)
def test_rescaling(case: Case) -> None:
    scale = case.pick(1 / 255, -2.0, list(case.rng.standard_normal(case.shape[-1])))
    offset = case.pick(0.0, 1.5, list(case.rng.standard_normal(case.shape[-1])))
    ours, theirs = (one.layers.Rescaling(scale, offset) for one in (evengrad, keras))
    pair(ours, theirs, case.shape)
    x, dy = draws(case.seed, *[(case.n, *case.shape)] * 2)
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    top = float(np.max(np.abs(scale))) + float(np.max(np.abs(offset)))
    errors.compare("Rescaling", a.y, b.y, top=top)
    errors.compare("Rescaling", a.dx, b.dx)


@settings(fixed, max_examples=10)
@given(cases)
def test_normalization(case: Case) -> None:
    several = [list(range(1, len(case.shape) + 1))] * (len(case.shape) > 1)
    axis = case.pick(-1, None, *several)
    invert = case.pick(True, False)
    ours, theirs = (one.layers.Normalization(axis, invert=invert) for one in (evengrad, keras))
    pair(ours, theirs, case.shape, [v.numpy() for v in _built(axis, case.shape)])
    data, x, dy = draws(case.seed, (200, *case.shape), *[(case.n, *case.shape)] * 2)
    data = data * 3.0 + 1.0
    ours.adapt(data)
    theirs.adapt(data)
    for made, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        errors.compare("Normalization adapt", made, expected)
    a = helpers.of_evengrad(ours, x, dy, training=True)
    b = helpers.of_keras(theirs, x, dy, training=True)
    errors.compare("Normalization", a.y, b.y, top=3.0)
    errors.compare("Normalization", a.dx, b.dx)


def _built(axis: Any, shape: tuple[int, ...]) -> list[evengrad.Variable]:
    layer = evengrad.layers.Normalization(axis)
    layer.build(shape)
    return layer.variables


# Noise


@pytest.mark.parametrize("name", ["AlphaDropout", "GaussianDropout", "GaussianNoise"])
@fixed
@given(cases)
def test_noise_in_inference(name: str, case: Case) -> None:
    rate = case.rng.uniform(0.0, 0.99)
    same_bits(getattr(evengrad.layers, name)(rate), getattr(keras.layers, name)(rate), case)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_alpha_dropout_in_training(rate: float) -> None:
    """Other draws: equal wherever both keep or both drop."""
    (x,) = draws(3, (200, 100))
    made = evengrad.layers.AlphaDropout(rate)(x, training=True)
    expected = np.asarray(keras.layers.AlphaDropout(rate)(x, training=True))
    values = [np.unique(y, return_counts=True) for y in (made, expected)]
    constants = [v[np.argmax(counts)] for v, counts in values]
    errors.compare("AlphaDropout training", constants[0], constants[1])
    dropped = [y == constant for y, constant in zip((made, expected), constants, strict=True)]
    kept = ~dropped[0] & ~dropped[1]
    assert kept.any()
    errors.compare("AlphaDropout training", made[kept], expected[kept])


@pytest.mark.parametrize("name", ["GaussianDropout", "GaussianNoise"])
def test_noise_in_training(name: str) -> None:
    """Other draws of the same distribution: mean and deviation within 5 standard deviations."""
    x = np.full((1000, 500), 2.0, np.float32)
    made = getattr(evengrad.layers, name)(0.2)(x, training=True).astype(np.float64)
    expected = np.asarray(getattr(keras.layers, name)(0.2)(x, training=True), np.float64)
    deviation = expected.std()
    assert abs(made.mean() - expected.mean()) <= 7.0 * deviation / np.sqrt(x.size)
    assert abs(made.std() - deviation) <= 7.0 * deviation / np.sqrt(2.0 * x.size)


# Networks. A recipe is a list of (layer, arguments), where those of Residual and Sequential are
# recipes themselves.

Recipe = list[tuple[str, Any]]
ACTIVATIONS = ["elu", "tanh", "silu", "softplus", "gelu", "softsign"]


def random_recipe(rng: np.random.Generator, depth: int, rank: int) -> Recipe:
    recipe: Recipe = []
    for _ in range(rng.integers(1, 4)):
        kinds = ["Dense", "Dense", "LayerNormalization", "BatchNormalization", "Activation"]
        kind = str(rng.choice([*kinds, *["Residual", "Sequential"] * (depth > 0)]))
        arguments: Any = {}
        if kind == "Dense":
            activation = str(rng.choice([*ACTIVATIONS, "linear"]))
            arguments = {"units": int(rng.integers(2, 20)), "activation": activation}
        elif kind == "Activation":
            arguments = {"activation": str(rng.choice(ACTIVATIONS))}
        elif kind in ("Residual", "Sequential"):
            arguments = random_recipe(rng, depth - 1, rank)
        elif kind == "LayerNormalization" and rank > 1 and rng.random() < 0.5:
            arguments = {"axis": list(range(1, rank + 1))}
        recipe.append((kind, arguments))
    return recipe


def ours(recipe: Recipe) -> list[Any]:
    made: list[Any] = []
    for kind, arguments in recipe:
        if kind == "Residual":
            made.append(evengrad.layers.Residual(ours(arguments)))
        elif kind == "Sequential":
            made.append(evengrad.Sequential(ours(arguments)))
        else:
            more = {"debias": False} if kind == "BatchNormalization" else {}
            made.append(getattr(evengrad.layers, kind)(**arguments, **more))
    return made


def theirs(recipe: Recipe, x: Any, layers: list[Any]) -> Any:
    """The output of the graph; `layers` receives its layers in the order of our variables."""
    for kind, arguments in recipe:
        if kind == "Sequential":
            x = theirs(arguments, x, layers)
        elif kind == "Residual":
            y = theirs(arguments, x, layers)
            if y.shape != x.shape:
                layers.append(keras.layers.Dense(y.shape[-1], use_bias=False))
                x = layers[-1](x)
            x = keras.layers.Add()([x, y])
        else:
            layers.append(getattr(keras.layers, kind)(**arguments))
            x = layers[-1](x)
    return x


def twins(recipe: Recipe, shape: tuple[int, ...], seed: int) -> tuple[Any, Any, list[Any]]:
    """Both with the same weights, and Keras' variables in the order of ours."""
    a = evengrad.Sequential([evengrad.Input(shape), *ours(recipe)])
    source, layers = keras.Input(shape), []
    b = keras.Model(source, theirs(recipe, source, layers))
    variables = [v for layer in layers for v in layer.weights]
    assert [v.name for v in a.variables] == [v.name for v in variables]
    values = draws(seed, *(v.shape for v in a.variables), spread=0.4)
    for i, variable in enumerate(a.variables):
        if variable.name == "kernel":
            values[i] *= np.float32(2.0 * variable.shape[0] ** -0.5)
        elif variable.name in ("gamma", "moving_variance"):
            values[i] = np.float32(0.5) + np.abs(values[i])
    a.set_weights(values)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return a, b, variables


@pytest.mark.parametrize("seed", range(10))
def test_residual_networks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = [(7,), (3, 5)][seed % 2]
    recipe = [*random_recipe(rng, 2, len(shape)), ("Residual", random_recipe(rng, 1, len(shape)))]
    a, b, variables = twins(recipe, shape, seed)
    assert a.output_shape == b.output_shape
    x, y = draws(seed + 100, (12, *shape), (12, *a.output_shape[1:]))
    outputs = np.asarray(b.predict(x, verbose=0))
    errors.compare("residual networks: predict", a.predict(x), outputs, top=1.0)
    value, made = helpers.step_of_evengrad(a, evengrad.losses.MeanSquaredError(), x, y)
    expected, gradients = helpers.step_of_keras(b, keras.losses.MeanSquaredError(), x, y)
    errors.compare("residual networks: loss", value, expected)
    of = dict(zip(map(id, b.trainable_variables), gradients, strict=True))
    rights = [of[id(v)] for v in variables if id(v) in of]
    top = max([0.01, *(float(np.abs(g).max()) for g in rights)])
    for one, right in zip(made, rights, strict=True):
        # Rounding errors have gone through many layers, some of which magnify: test_stacks.py.
        errors.compare("residual networks: gradients", one, right, top=top, allowed=1e-4)
    for one, right in zip(a.get_weights(), variables, strict=True):
        errors.compare("residual networks: variables", one, np.asarray(right), top=1.0)


def dense(units: int, activation: str = "linear") -> tuple[str, Any]:
    return "Dense", {"units": units, "activation": activation}


TRAINED: dict[str, Recipe] = {
    "LayerNormalization": [dense(16, "elu"), ("LayerNormalization", {}), dense(16, "tanh")],
    "LayerNormalization first": [("LayerNormalization", {}), dense(16, "elu")],
    "Rescaling": [("Rescaling", {"scale": 0.5, "offset": 0.1}), dense(16, "elu")],
    "Reshape": [dense(12, "elu"), ("Reshape", {"target_shape": (3, -1)}), dense(5, "tanh")],
    "Residual": [
        dense(16),
        *[("Residual", [dense(16, "elu"), dense(16)]) for _ in range(4)],
        ("Activation", {"activation": "tanh"}),
    ],
    "Residual, projected": [("Residual", [dense(16, "elu"), dense(12)]), dense(6, "tanh")],
    "Residual, normalized": [
        dense(16),
        *[
            ("Residual", [("LayerNormalization", {}), dense(16, "gelu"), dense(16)])
            for _ in range(3)
        ],
        ("LayerNormalization", {}),
        ("Residual", [("BatchNormalization", {}), dense(16, "silu")]),
    ],
    "Sequential": [("Sequential", [dense(16, "elu"), ("Sequential", [dense(16, "tanh")])])],
}


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_fifty_steps(name: str, optimizer: str) -> None:
    recipe = [*TRAINED[name], ("Flatten", {}), dense(3)]
    a, b, variables = twins(recipe, (8,), 5)
    rate = {"SGD": 0.05, "Adam": 0.002}[optimizer]
    for library, made in ((evengrad, a), (keras, b)):
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
        made.compile(getattr(library.optimizers, optimizer)(rate), loss)
    (mix,) = draws(9, (8, 3))
    for step in range(50):
        (x,) = draws(200 + step, (32, 8))
        y = (x @ mix).argmax(axis=1)
        value = a.train_on_batch(x, y)
        expected = b.train_on_batch(x, y, return_dict=True)["loss"]
        b.reset_metrics()
        errors.compare("50 steps: loss", value, float(expected), allowed=1e-4)
    for one, right in zip(a.get_weights(), variables, strict=True):
        errors.compare_variable(f"50 steps: {name}", one, np.asarray(right))


@pytest.mark.parametrize("normalized", [False, True])
def test_fifty_layers(normalized: bool) -> None:
    """Depth: 25 blocks as Fixup scales them, and 50 layers with LayerNormalization."""
    if normalized:
        recipe = [dense(24), ("LayerNormalization", {}), ("Activation", {"activation": "elu"})] * 50
    else:
        recipe = [dense(24), *[("Residual", [dense(24, "elu"), dense(24)])] * 25]
    recipe = [*recipe, dense(3)]
    a, b, variables = twins(recipe, (8,), 6)
    if not normalized:
        values = a.get_weights()
        for i in range(2, len(values) - 2, 4):
            values[i] *= np.float32(25**-0.5)
            values[i + 2][...] = 0.0
        a.set_weights(values)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    for library, made in ((evengrad, a), (keras, b)):
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
        made.compile(library.optimizers.SGD(0.05), loss)
    start = a.get_weights()
    (mix,) = draws(9, (8, 3))
    for step in range(50):
        (x,) = draws(200 + step, (32, 8))
        y = (x @ mix).argmax(axis=1)
        a.train_on_batch(x, y)
        b.train_on_batch(x, y)
    assert np.abs(a.get_weights()[-2] - start[-2]).max() > 0.05
    for one, right in zip(a.get_weights(), variables, strict=True):
        errors.compare_variable("50 steps: 50 layers", one, np.asarray(right))


def test_same_defaults() -> None:
    layers: list[tuple[str, dict[str, Any]]] = [
        ("LayerNormalization", {}),
        ("AlphaDropout", {"rate": 0.5}),
        ("GaussianDropout", {"rate": 0.5}),
        ("GaussianNoise", {"stddev": 0.5}),
        ("Rescaling", {"scale": 0.5}),
        ("Normalization", {}),
        ("Reshape", {"target_shape": (3, 4)}),
    ]
    for name, arguments in layers:
        made = getattr(evengrad.layers, name)(**arguments).get_config()
        expected = getattr(keras.layers, name)(**arguments).get_config()
        for key in made.keys() & expected.keys() - {"name"}:
            value = expected[key]
            if isinstance(value, dict) and "class_name" in value:
                assert made[key]["class_name"] == value["class_name"], (name, key)
            elif name == "Normalization" and key == "axis":
                assert (made[key],) == value
            else:
                assert made[key] == value or tuple(made[key]) == value, (name, key)
