"""Faults: each spoils one thing of a healthy set-up, at a known level, under a known name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench.sick import data as sets
from bench.sick.networks import Setup

Applies = Callable[[Setup], bool]
Inject = Callable[[Setup, Any], Setup]


@dataclass(frozen=True)
class Fault:
    """One way to make a network sick.

    `disease`: its name in `evengrad.doctor.DISEASES`; `also`: names that say the same of this
    fault (a kernel drawn too small is both a wrong scale and what makes gradients vanish);
    `curable`: whether anything that one can change in the network would help.
    """

    name: str
    disease: str
    levels: tuple[Any, ...]
    applies: Applies
    inject: Inject
    also: frozenset[str] = frozenset()
    curable: bool = True


RELU = ("relu", "leaky_relu", "elu", "gelu", "silu", "selu")
FLAT = ("tanh", "sigmoid")


def task_of(setup: Setup) -> str:
    """Of its data."""
    return sets.SOURCES[setup.data].task


def bare(setup: Setup) -> bool:
    """Without batch normalization, which would heal a wrong scale at once."""
    return setup.normalization == "none"


def deep(setup: Setup) -> bool:
    """Deep enough for a factor a layer to count."""
    return setup.depth >= 5


def plain_steps(setup: Setup) -> bool:
    """Whether the length of a step follows that of the gradient."""
    return setup.optimizer in ("sgd", "momentum", "nesterov")


def always(setup: Setup) -> bool:
    """For any set-up."""
    return True


def normal(stddev: float, mean: float = 0.0) -> dict[str, Any]:
    """Configuration of a normal distribution."""
    return {"class_name": "RandomNormal", "config": {"mean": mean, "stddev": stddev}}


def scaled(gain: float, mode: str = "fan_in") -> dict[str, Any]:
    """Configuration of a normal distribution of standard deviation gain / sqrt(n)."""
    return {"class_name": "VarianceScaling", "config": {
        "scale": gain * gain, "mode": mode, "distribution": "untruncated_normal"}}  # fmt: skip


def constant(value: float) -> dict[str, Any]:
    """Configuration of one number for all."""
    return {"class_name": "Constant", "config": {"value": value}}


def _flat_and_small(setup: Setup, level: tuple[str, float]) -> Setup:
    name, stddev = level
    return replace(setup, activation=name, initializer=normal(stddev))


def _glorot_times(setup: Setup, factor: float) -> Setup:
    return replace(setup, initializer=scaled(factor, "fan_avg"))


def _flat_and_large(setup: Setup, gain: float) -> Setup:
    activation = setup.activation if setup.activation in FLAT else "tanh"
    return replace(setup, activation=activation, initializer=scaled(gain))


def _faster(setup: Setup, factor: float) -> Setup:
    return replace(setup, learning_rate=setup.learning_rate * factor)


def _heavy_ball(setup: Setup, level: tuple[float, float]) -> Setup:
    """A ball too heavy to stop; as far a step at first as plain descent takes."""
    momentum, factor = level
    rate = setup.learning_rate * factor
    return replace(
        setup, optimizer="momentum", learning_rate=rate, arguments={"momentum": momentum}
    )


def _stale(slot: str) -> Inject:
    def inject(setup: Setup, level: float) -> Setup:
        return replace(setup, stale=((slot, level),))

    return inject


def _arguments(setup: Setup, arguments: dict[str, Any]) -> Setup:
    return replace(setup, arguments=setup.arguments | arguments)


def _head(setup: Setup, level: dict[str, Any]) -> Setup:
    return replace(setup, **level)


def _changed(*names: str) -> Inject:
    def inject(setup: Setup, level: float) -> Setup:
        return replace(setup, changes=(*setup.changes, *((name, level) for name in names)))

    return inject


def _decay(setup: Setup, per_step: float) -> Setup:
    """Weight decay that takes this share of a weight at each step."""
    return _arguments(setup, {"weight_decay": per_step / setup.learning_rate})


def _narrow(setup: Setup) -> bool:
    return bare(setup) and setup.activation == "relu"


def _binary(setup: Setup) -> bool:
    return task_of(setup) == "binary"


def _classes(setup: Setup) -> bool:
    return task_of(setup) == "classes"


def _regression(setup: Setup) -> bool:
    return task_of(setup) == "regression"


def _normalized(setup: Setup) -> bool:
    return setup.normalization != "none"


def _adam(setup: Setup) -> bool:
    return setup.optimizer in ("adam", "adamw", "nadam")


SCALE = frozenset({"initialization_scale"})
FADES = frozenset({"vanishing_gradient"})
GROWS = frozenset({"exploding_gradient"})
FAST = frozenset({"learning_rate_too_high"})
NONE_OF = frozenset({"dead_on_arrival"})
DIES = frozenset({"dying_units"})

FAULTS: tuple[Fault, ...] = (
    Fault("flat_and_small", "vanishing_gradient",
          (("sigmoid", 0.05), ("sigmoid", 0.2), ("tanh", 0.01), ("tanh", 0.05)),
          lambda s: bare(s) and deep(s), _flat_and_small, SCALE),
    Fault("sigmoid_deep", "vanishing_gradient", ("glorot_uniform", "lecun_normal"),
          lambda s: bare(s) and deep(s),
          lambda s, name: replace(s, activation="sigmoid", initializer=name)),
    Fault("growing", "exploding_gradient", (2.0, 3.0, 5.0),
          lambda s: bare(s) and deep(s) and s.activation in RELU,
          lambda s, gain: replace(s, initializer=scaled(gain * 2.0**0.5)), SCALE),
    Fault("stddev_1", "exploding_gradient", (1.0,),
          lambda s: bare(s) and deep(s) and s.activation in RELU,
          lambda s, stddev: replace(s, initializer=normal(stddev)), SCALE),
    Fault("negative_bias", "dying_units", (-0.5, -1.0, -2.0), _narrow,
          lambda s, bias: replace(s, bias=bias), NONE_OF),
    Fault("negative_kernels", "dying_units", (0.3, 0.6, 1.0), _narrow,
          lambda s, share: replace(
              s, initializer=normal((2.0 / s.width) ** 0.5, -share * (2.0 / s.width) ** 0.5)),
          NONE_OF),
    Fault("large_and_flat", "saturation", (5.0, 10.0, 30.0), bare, _flat_and_large,
          SCALE | FADES),
    Fault("equal_kernels", "symmetric_initialization", (0.01, 0.1, 0.5), always,
          lambda s, value: replace(s, initializer=constant(value))),
    Fault("equal_ones", "symmetric_initialization", ("ones",), always,
          lambda s, name: replace(s, initializer=name), SCALE),
    Fault("bias_of_minus_ten", "dead_on_arrival", (-10.0, -30.0), _narrow,
          lambda s, bias: replace(s, bias=bias), DIES),
    Fault("zeros", "dead_on_arrival", ("zeros",), bare,
          lambda s, name: replace(s, initializer=name),
          frozenset({"symmetric_initialization"})),
    Fault("too_small", "initialization_scale", (0.1, 0.2, 0.4), lambda s: bare(s) and deep(s),
          _glorot_times, FADES),
    Fault("too_large", "initialization_scale", (3.0, 5.0), lambda s: bare(s) and deep(s),
          _glorot_times, GROWS | {"saturation"}),
    Fault("fast", "learning_rate_too_high", (10.0, 30.0, 100.0, 1000.0), always, _faster),
    Fault("slow", "learning_rate_too_low", (0.001, 0.003, 0.01, 0.03), always, _faster),
    Fault("heavy_ball", "oscillation",
          ((0.99, 1.0), (0.99, 3.0), (0.995, 1.0), (0.999, 1.0)), plain_steps, _heavy_ball, FAST),
    Fault("stale_second_moments", "optimizer_state", (1e2, 1e4, 1e6), _adam, _stale("velocity")),
    Fault("stale_velocity", "optimizer_state", (1e3, 1e6),
          lambda s: s.optimizer == "rmsprop", _stale("velocity")),
    Fault("stale_momentum", "optimizer_state", (1.0, 10.0),
          lambda s: s.optimizer in ("momentum", "nesterov"), _stale("momentum")),
    Fault("stale_first_moments", "optimizer_state", (10.0, 100.0), _adam, _stale("momentum")),
    Fault("epsilon", "optimizer_state", ({"epsilon": 1.0}, {"epsilon": 10.0}),
          lambda s: _adam(s) or s.optimizer == "rmsprop", _arguments,
          frozenset({"learning_rate_too_low"})),
    Fault("output_of_regression", "output_loss_mismatch",
          ({"output": "sigmoid"}, {"output": "relu"}, {"output": "softmax"}, {"output": "tanh"}),
          _regression, _head),
    Fault("output_of_two", "output_loss_mismatch",
          ({"output": "softmax"}, {"output": "relu"}, {"output": None}, {"output": "tanh"},
           {"output": "softmax", "loss": "mse"}), _binary, _head),
    Fault("output_of_classes", "output_loss_mismatch",
          ({"output": None}, {"output": "relu"}, {"output": "tanh"}), _classes, _head),
    Fault("scale_of_a_column", "unscaled_inputs", (1e3, 1e4, 1e5), always,
          _changed("scale_column")),
    Fault("units_of_their_own", "unscaled_inputs", (100.0, 1000.0), always,
          _changed("mixed_scales")),
    Fault("scale_of_inputs", "unscaled_inputs", (1e-3, 1e2, 1e4), always,
          _changed("scale_inputs")),
    Fault("far_inputs", "unscaled_inputs", (1e1, 1e2, 1e3), always, _changed("shift_inputs")),
    Fault("scale_of_targets", "unscaled_targets", (1e-3, 1e2, 1e3, 1e5), _regression,
          _changed("scale_targets")),
    Fault("far_targets", "unscaled_targets", (1e2, 1e3, 1e4), _regression,
          _changed("shift_targets")),
    Fault("constant_columns", "constant_columns", (3.0, 10.0, 100.0), always,
          _changed("constant_columns"), frozenset({"unscaled_inputs"})),
    Fault("leak", "leaking_columns", (1.0, 3.0), always, _changed("leak")),
    Fault("permuted", "labels_not_learnable", (1.0,), always, _changed("permute_labels"),
          curable=False),
    Fault("l2", "over_regularized", (0.1, 0.3, 1.0), always,
          lambda s, level: replace(s, l2=level)),
    Fault("dropout", "over_regularized", (0.7, 0.8, 0.9), always,
          lambda s, level: replace(s, dropout=level)),
    Fault("weight_decay", "over_regularized", (0.02, 0.1, 0.3), always, _decay),
    Fault("clipnorm", "over_clipped", (1e-2, 1e-3, 1e-4), plain_steps,
          lambda s, level: _arguments(s, {"clipnorm": level})),
    Fault("global_clipnorm", "over_clipped", (1e-2, 1e-3, 1e-4), plain_steps,
          lambda s, level: _arguments(s, {"global_clipnorm": level})),
    Fault("clipvalue", "over_clipped", (1e-3, 1e-4, 1e-5), plain_steps,
          lambda s, level: _arguments(s, {"clipvalue": level})),
    Fault("slow_statistics", "lagging_statistics", (0.999, 0.9999), _normalized,
          lambda s, level: replace(s, bn_momentum=level, bn_debias=False)),
    Fault("batches_of_two", "small_batches", (1, 2, 3), _normalized,
          lambda s, level: replace(s, batch=level)),
    Fault("few_epochs", "too_few_epochs", (10, 8, 5), always,
          lambda s, level: replace(s, epochs=s.epochs // level)),
)  # fmt: skip
