"""Fifty updates of a small model with each optimizer and clipping, in evengrad, Keras, torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import evengrad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import errors, helpers
from parity.helpers import draws, keras

pytestmark = helpers.quiet

STEPS, BATCH = 50, 16
CLIPS: dict[str, dict[str, float]] = {
    "no clipping": {},
    "clipvalue": {"clipvalue": 0.05},
    "clipnorm": {"clipnorm": 0.2},
    "global_clipnorm": {"global_clipnorm": 0.3},
}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"learning_rate": 0.1}),
    "SGD momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "SGD nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True}),
    "Adam": ("Adam", {"learning_rate": 0.01}),
    "Adam betas": (
        "Adam",
        {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3},
    ),
    "Adam amsgrad": ("Adam", {"learning_rate": 0.01, "beta_2": 0.9, "amsgrad": True}),
    "RMSprop": ("RMSprop", {"learning_rate": 0.005}),
    "RMSprop momentum": ("RMSprop", {"learning_rate": 0.002, "momentum": 0.8, "rho": 0.8}),
    "RMSprop centered": ("RMSprop", {"learning_rate": 0.005, "centered": True, "epsilon": 1e-3}),
    "RMSprop both": (
        "RMSprop",
        {"learning_rate": 0.002, "momentum": 0.5, "centered": True, "epsilon": 1e-4},
    ),
    "AdamW": ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "Nadam": ("Nadam", {"learning_rate": 0.01}),
    "Adamax": ("Adamax", {"learning_rate": 0.01}),
    "Adagrad": ("Adagrad", {"learning_rate": 0.1}),
    "Adadelta": ("Adadelta", {"learning_rate": 1.0}),
    "Lion": ("Lion", {"learning_rate": 0.001}),
}
CLASSES = ["SGD", "Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Lion"]
SHAPES = [(6, 8), (8,), (8, 3), (3,)]


def model(library: Any, optimizer: Any) -> Any:
    made = library.Sequential(
        [
            library.Input((6,)),
            library.layers.Dense(8, activation="tanh"),
            library.layers.Dense(3),
        ]
    )
    made.set_weights(draws(5, *SHAPES, spread=0.5))
    made.compile(optimizer=optimizer, loss="mse")
    return made


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    return [tuple(draws(100 + i, (BATCH, 6), (BATCH, 3))) for i in range(STEPS)]  # type: ignore[misc]


def trained(made: Any) -> tuple[list[float], list[np.ndarray]]:
    """Losses and variables; the learning rate is halved on the way."""
    losses = []
    for i, (x, y) in enumerate(batches()):
        if i == STEPS // 2:
            made.optimizer.learning_rate = 0.5 * float(made.optimizer.learning_rate)
        losses.append(float(made.train_on_batch(x, y)))
        if isinstance(made, keras.Model):
            made.reset_metrics()  # Keras goes on averaging over batches
    return losses, made.get_weights()


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_keras(name: str, clip: str) -> None:
    kind, arguments = OPTIMIZERS[name]
    arguments = arguments | CLIPS[clip]
    results = []
    for library in (evengrad, keras):
        optimizer = getattr(library.optimizers, kind)(**arguments)
        results.append(trained(model(library, optimizer)))
        assert int(optimizer.iterations) == STEPS
    (losses, variables), (keras_losses, keras_variables) = results
    for one, other in zip(losses, keras_losses, strict=True):
        # Largest for Adam: Keras takes 1 - beta_2^t in float32, at t = 1 wrong by 1e-5.
        errors.compare(f"{kind}: losses", one, other)
    for a, b in zip(variables, keras_variables, strict=True):
        errors.compare_variable(f"{kind}: variables", a, b)


@pytest.mark.parametrize("clip", [c for c in CLIPS if CLIPS[c]])
def test_clipping_is_at_work(clip: str) -> None:
    rate = 0.1
    optimizer = evengrad.optimizers.SGD(rate, **CLIPS[clip])
    plain = evengrad.optimizers.SGD(rate)
    a, b = (trained(model(evengrad, o))[1] for o in (optimizer, plain))
    assert max(np.abs(p - q).max() for p, q in zip(a, b, strict=True)) > 0.05


@pytest.mark.parametrize("name", CLASSES)
def test_same_defaults(name: str) -> None:
    made = getattr(evengrad.optimizers, name)().get_config()
    expected = getattr(keras.optimizers, name)().get_config()
    assert made.keys() == expected.keys()
    for key in made.keys() - {"name"}:
        value = expected[key]
        # Keras keeps the learning rate in float32.
        assert made[key] == (pytest.approx(value) if isinstance(value, float) else value), key


# With any arguments


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


BETAS = {"beta_1": floats(0.0, 0.95), "beta_2": floats(0.5, 0.999)}
EPSILON = {"epsilon": floats(1e-7, 1e-3)}
OWN: dict[str, tuple[float, dict[str, st.SearchStrategy[Any]]]] = {
    "SGD": (0.1, {"momentum": floats(0.0, 0.9), "nesterov": st.booleans()}),
    "Adam": (0.02, BETAS | EPSILON | {"amsgrad": st.booleans()}),
    "AdamW": (0.02, BETAS | EPSILON | {"amsgrad": st.booleans()}),
    "Nadam": (0.02, BETAS | EPSILON),
    "Adamax": (0.02, BETAS | EPSILON),
    # A variance made as a difference may be rounded to anything near 0.
    "RMSprop": (
        0.005,
        {
            "rho": floats(0.5, 0.95), "momentum": floats(0.0, 0.9), "centered": st.booleans(),
            "epsilon": floats(1e-3, 1e-2),
        },
    ),
    "Adagrad": (0.1, EPSILON | {"initial_accumulator_value": floats(0.0, 1.0)}),
    "Adadelta": (1.0, EPSILON | {"rho": floats(0.5, 0.99)}),
    "Lion": (0.001, {"beta_1": floats(0.5, 0.95), "beta_2": floats(0.5, 0.99)}),
}  # fmt: skip
SHARED: dict[str, st.SearchStrategy[Any]] = {
    "weight_decay": floats(1e-3, 0.5),
    "clip": st.sampled_from(list(CLIPS)),
    "use_ema": st.booleans(),
    "ema_momentum": floats(0.5, 0.99),
    "ema_overwrite_frequency": st.none() | st.integers(1, 7),
    "gradient_accumulation_steps": st.none() | st.integers(2, 7),
    "schedule": st.booleans(),
}


@st.composite
def arguments(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    rate, own = OWN[kind]
    made = {name: draw(strategy) for name, strategy in (own | SHARED).items()}
    made |= CLIPS[made.pop("clip")]
    if kind != "AdamW" and draw(st.booleans()):
        made["weight_decay"] = None
    return made | {"learning_rate": rate * draw(floats(0.1, 1.0))}


def optimizer_of(library: Any, kind: str, given: dict[str, Any]) -> Any:
    given = dict(given)
    if given.pop("schedule"):
        decay = library.optimizers.schedules.ExponentialDecay
        given["learning_rate"] = decay(given["learning_rate"], decay_steps=20, decay_rate=0.5)
    return getattr(library.optimizers, kind)(**given)


def compare_state(kind: str, ours: Any, theirs: Any, steps: int) -> None:
    """Steps done, learning rate, slots: the same in number, order, names and values."""
    theirs = [
        v for v in theirs.variables if not v.name.startswith("variable")
    ]  # Nadam's product of weights
    assert len(ours.variables) == len(theirs)
    for one, other in zip(ours.variables, theirs, strict=True):
        value, name = one.numpy(), other.name
        if name.endswith("gradient_accumulator"):
            name, value = "gradient_accumulator", value * steps
        assert one.name.endswith(name.split("_kernel_")[-1].split("_bias_")[-1])
        assert ("kernel" in one.name, "bias" in one.name) == (
            "kernel" in other.name,
            "bias" in other.name,
        )
        errors.compare_variable(f"{kind}: state", value, np.asarray(other))


@pytest.mark.parametrize("kind", CLASSES)
def test_any_arguments(kind: str) -> None:
    @settings(helpers.fixed, max_examples=6)
    @given(arguments(kind))
    def run(given: dict[str, Any]) -> None:
        results, optimizers = [], []
        for library in (evengrad, keras):
            optimizer = optimizer_of(library, kind, given)
            made = model(library, optimizer)
            for x, y in batches():
                made.train_on_batch(x, y)
            results.append(made.get_weights())
            optimizers.append(optimizer)
        ours, theirs = optimizers
        assert ours.iterations == int(theirs.iterations)
        errors.compare(f"{kind}: rate", ours.learning_rate, float(theirs.learning_rate))
        for a, b in zip(*results, strict=True):
            errors.compare_variable(f"{kind}: variables", a, b)
        compare_state(kind, ours, theirs, given["gradient_accumulation_steps"] or 1)

    run()


# fit: averages become the variables at its end, what is accumulated stays for the next one


def deep(library: Any, optimizer: Any) -> Any:
    normalization = library.layers.BatchNormalization
    options = {"debias": False} if library is evengrad else {}
    made = library.Sequential(
        [
            library.Input((6,)),
            library.layers.Dense(8, activation="tanh"),
            normalization(momentum=0.9, **options),
            library.layers.Dense(3),
        ]
    )
    made.build((None, 6))
    weights = draws(5, *SHAPES, spread=0.5)
    made.layers[0].set_weights(weights[:2])
    made.layers[-1].set_weights(weights[2:])
    made.compile(optimizer=optimizer, loss="mse")
    return made


@pytest.mark.parametrize(
    "given",
    [
        {"use_ema": True, "ema_momentum": 0.9},
        {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
        {"gradient_accumulation_steps": 4},
        {"use_ema": True, "ema_momentum": 0.9, "gradient_accumulation_steps": 4},
    ],
    ids="-".join,
)
def test_fit(given: dict[str, Any]) -> None:
    x, y = draws(9, (44, 6), (44, 3))
    results = []
    for library in (evengrad, keras):
        made = deep(library, library.optimizers.Adam(0.01, global_clipnorm=1.0, **given))
        stages = []
        for epochs in (1, 2):  # 6 steps an epoch
            made.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
            stages += made.get_weights()
            if library is keras:  # on JAX variables and averages are one buffer from here on
                made.set_weights([w.copy() for w in made.get_weights()])
        results.append(stages)
        assert int(made.optimizer.iterations) == 18 // given.get("gradient_accumulation_steps", 1)
    for a, b in zip(*results, strict=True):
        errors.compare_variable("fit with averages or accumulation", a, b)


def test_excluded_from_weight_decay() -> None:
    results = []
    for library in (evengrad, keras):
        optimizer = library.optimizers.SGD(0.1, weight_decay=0.5)
        made = model(library, optimizer)
        optimizer.exclude_from_weight_decay(
            var_list=[made.layers[0].kernel], var_names=["bias", "nothing"]
        )
        for x, y in batches():
            made.train_on_batch(x, y)
        results.append(made.get_weights())
    for a, b in zip(*results, strict=True):
        errors.compare_variable("SGD: variables", a, b)


@pytest.mark.parametrize("kind", CLASSES)
def test_gradients_applied_by_hand(kind: str) -> None:
    results = []
    for library in (evengrad, keras):
        optimizer = getattr(library.optimizers, kind)(learning_rate=0.01, clipnorm=1.0)
        variables = [library.Variable(v) for v in draws(1, *SHAPES)]
        for step in range(10):
            gradients = draws(2 + step, *SHAPES)
            if step % 2:
                optimizer.apply(gradients, variables)
            else:
                optimizer.apply_gradients(zip(gradients, variables, strict=True))
        results.append(variables)
    for a, b in zip(*results, strict=True):
        errors.compare_variable(f"{kind}: variables", a.numpy(), np.asarray(b))


@pytest.mark.parametrize("kind", CLASSES)
def test_configurations_are_exchanged(kind: str) -> None:
    """What Keras serializes makes the same optimizer here, and what is made here there."""
    schedules = keras.optimizers.schedules
    theirs = getattr(keras.optimizers, kind)(schedules.CosineDecay(0.1, 7), clipnorm=0.5)
    ours = evengrad.optimizers.deserialize(keras.optimizers.serialize(theirs))
    config = ours.get_config()
    assert config["learning_rate"]["config"] == theirs.get_config()["learning_rate"]["config"]
    back = getattr(keras.optimizers, kind).from_config({**config, "learning_rate": 0.1})
    expected = theirs.get_config()
    for key in config.keys() - {"learning_rate"}:
        assert config[key] == expected[key] == back.get_config()[key], key


# torch


def torch_clip(torch: Any, clip: str) -> Callable[[list[Any]], None]:
    """Keras' clipping in torch's words; a divisor of norm + 1e-6 is 1e-5 off at the norms here."""
    utils = torch.nn.utils
    if clip == "clipvalue":
        return lambda parameters: utils.clip_grad_value_(parameters, CLIPS[clip][clip])
    if clip == "clipnorm":
        return lambda parameters: [utils.clip_grad_norm_(p, CLIPS[clip][clip]) for p in parameters]
    if clip == "global_clipnorm":
        return lambda parameters: utils.clip_grad_norm_(parameters, CLIPS[clip][clip])
    return lambda parameters: None


# Where the formulas are the same: torch scales SGD's momentum by the rate when it is used, which is
# the same while the rate is; Adam's epsilon is scaled by the bias correction there, which does not
# matter where it is next to nothing. RMSprop has its epsilon outside the root there: left out.
TORCH: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "SGD": ("SGD", {"learning_rate": 0.1}, {"lr": 0.1}),
    "SGD momentum": (
        "SGD",
        {"learning_rate": 0.05, "momentum": 0.9},
        {"lr": 0.05, "momentum": 0.9},
    ),
    "SGD nesterov": (
        "SGD",
        {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True},
        {"lr": 0.05, "momentum": 0.8, "nesterov": True},
    ),
    "Adam": ("Adam", {"learning_rate": 0.01, "epsilon": 1e-12}, {"lr": 0.01, "eps": 1e-12}),
    "Adam amsgrad": (
        "Adam",
        {"learning_rate": 0.01, "beta_2": 0.9, "epsilon": 1e-12, "amsgrad": True},
        {"lr": 0.01, "betas": (0.9, 0.9), "eps": 1e-12, "amsgrad": True},
    ),
    "AdamW": (
        "AdamW",
        {"learning_rate": 0.01, "weight_decay": 0.1, "epsilon": 1e-12},
        {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-12},
    ),
    # The weights of Keras' momentum are torch's for a momentum_decay of 1.
    "Nadam": (
        "Nadam",
        {"learning_rate": 0.01, "epsilon": 1e-12},
        {"lr": 0.01, "eps": 1e-12, "momentum_decay": 1.0},
    ),
    # torch takes the maximum over |g| + epsilon, and has epsilon outside the root for the next two.
    "Adamax": ("Adamax", {"learning_rate": 0.01, "epsilon": 1e-12}, {"lr": 0.01, "eps": 1e-12}),
    "Adagrad": (
        "Adagrad",
        {"learning_rate": 0.1, "epsilon": 1e-12},
        {"lr": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-12},
    ),
    "Adadelta": (
        "Adadelta",
        {"learning_rate": 1.0, "epsilon": 1e-6},
        {"lr": 1.0, "rho": 0.95, "eps": 1e-6},
    ),
}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", TORCH)
def test_torch(name: str, clip: str) -> None:
    torch = pytest.importorskip("torch", reason="parity: torch is not installed")
    kind, arguments, torch_arguments = TORCH[name]
    ours = model(evengrad, getattr(evengrad.optimizers, kind)(**arguments, **CLIPS[clip]))
    parameters = [torch.nn.Parameter(torch.from_numpy(w)) for w in ours.get_weights()]
    k1, b1, k2, b2 = parameters
    torch_kind = {"Nadam": "NAdam"}.get(kind, kind)
    optimizer = getattr(torch.optim, torch_kind)(parameters, **torch_arguments)
    clipped = torch_clip(torch, clip)
    for x, y in batches():
        loss = ours.train_on_batch(x, y)
        optimizer.zero_grad()
        output = torch.tanh(torch.from_numpy(x) @ k1 + b1) @ k2 + b2
        torch_loss = torch.nn.functional.mse_loss(output, torch.from_numpy(y))
        torch_loss.backward()
        clipped(parameters)
        optimizer.step()
        errors.compare(f"torch {kind}: losses", loss, torch_loss.item())
    for a, b in zip(ours.get_weights(), parameters, strict=True):
        errors.compare_variable(f"torch {kind}: variables", a, b.detach().numpy())
