"""Fifty updates of a small model with each optimizer and clipping, in evengrad, Keras, torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import evengrad
import numpy as np
import pytest

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
}
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


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_same_defaults(name: str) -> None:
    made = getattr(evengrad.optimizers, name)().get_config()
    expected = getattr(keras.optimizers, name)().get_config()
    for key in made.keys() & expected.keys() - {"name"}:
        value = expected[key]
        # Keras keeps the learning rate in float32.
        assert made[key] == (pytest.approx(value) if isinstance(value, float) else value), key


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
}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", TORCH)
def test_torch(name: str, clip: str) -> None:
    torch = pytest.importorskip("torch", reason="parity: torch is not installed")
    kind, arguments, torch_arguments = TORCH[name]
    ours = model(evengrad, getattr(evengrad.optimizers, kind)(**arguments, **CLIPS[clip]))
    parameters = [torch.nn.Parameter(torch.from_numpy(w)) for w in ours.get_weights()]
    k1, b1, k2, b2 = parameters
    optimizer = getattr(torch.optim, kind)(parameters, **torch_arguments)
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
