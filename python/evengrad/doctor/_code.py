"""Edits as what a user would write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_SHOWN = 6  # numbers of a list


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _optimizer(value: dict[str, Any]) -> str:
    from evengrad import optimizers

    rest = {name: v for name, v in value.items() if name != "name"}
    made = optimizers.get(value["name"])
    return f"compile(optimizer=optimizers.{type(made).__name__}({_arguments(rest)}))"


def _clipping(value: dict[str, Any]) -> str:
    if not value:
        return "no clipnorm, clipvalue, global_clipnorm or clipping in the optimizer"
    return f"optimizer = type(optimizer)(..., {_arguments(value)})"


def _output(value: dict[str, Any]) -> str:
    said = []
    if "units" in value or "activation" in value:
        units = value.get("units", "...")
        said.append(f"Dense({units}, activation={value.get('activation')!r}) as the last layer")
    if "loss" in value:
        said.append(f"compile(loss={value['loss']!r})")
    return "; ".join(said)


def _batch_normalization(where: str) -> str:
    if where == "none":
        return "no BatchNormalization()"
    if where == "input":
        return "BatchNormalization() as the first layer"
    return f"BatchNormalization() {where} the activation of each hidden Dense"


def _scale_targets(value: Any) -> str:
    return (
        "Rescaling(y.std(axis=0), y.mean(axis=0)) as the last layer; with SGD and the squared "
        "error learning_rate / y.var()"
    )


def _regularization(factor: float) -> str:
    if factor == 0.0:
        return "no penalties, weight decay, dropout and noise"
    return f"penalties, weight decay, dropout and noise times {factor:g}"


def _drop_columns(columns: list[int]) -> str:
    shown = ", ".join(map(str, columns[:_SHOWN]))
    more = ", ..." if len(columns) > _SHOWN else ""
    return f"x = np.delete(x, [{shown}{more}], axis=-1)"


TEXTS: dict[str, Callable[[Any], str]] = {
    "learning_rate": lambda value: f"optimizer.learning_rate = {value:g}",
    "clipping": _clipping,
    "initializer": lambda name: f"Dense(..., kernel_initializer={name!r}) in hidden layers",
    "activation": lambda name: f"activation={name!r} in hidden layers",
    "batch_normalization": _batch_normalization,
    "optimizer": _optimizer,
    "output": _output,
    "scale_inputs": lambda _: "scaling = Normalization(); scaling.adapt(x); as the first layer",
    "scale_targets": _scale_targets,
    "regularization": _regularization,
    "epochs": lambda factor: f"fit(epochs={factor:g} * epochs)",
    "batch_size": lambda size: f"fit(batch_size={size})",
    "moving_average": lambda value: f"BatchNormalization(momentum={value:g})",
    "recalibrate": lambda _: "model.recalibrate(x) after fit",
    "drop_columns": _drop_columns,
}
