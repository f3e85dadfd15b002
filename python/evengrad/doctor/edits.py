"""Edits: what the doctor may change in a network or its training, on plans and as code.

Kinds, and the values they take:

======================  ===========================================================================
learning_rate           a number
clipping                arguments of an optimizer, as {"global_clipnorm": 1.0}; {} for none
initializer             name of one for hidden kernels; the last is drawn by Glorot's, biases are 0
activation              name of one for hidden layers
batch_normalization     "before" or "after" hidden activations, "input", "none"
optimizer               {"name": "adam", "learning_rate": 0.001, ...}: a new one
output                  {"activation": name, "loss": name, "units": n}, each as far as it changes
scale_inputs            True: mean 0, variance 1, by a Normalization inside the model
scale_targets           True: outputs times the spread of the targets, plus their mean, inside it
regularization          factor of penalties, weight decay, dropout and noise; 0 removes them
epochs                  factor
batch_size              a number
moving_average          momentum of batch normalizations
recalibrate             True: exact statistics of batch normalizations after training
drop_columns            numbers of columns that the model does not look at
======================  ===========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from evengrad.doctor import rewriting
from evengrad.doctor.plans import Plan
from evengrad.doctor.scaling import CLIPPING, Truth, scale_inputs, scale_targets, width_of
from evengrad.doctor.verdicts import Edit

if TYPE_CHECKING:
    from evengrad.models import Sequential


def edited(plan: Plan, edit: Edit, truth: Truth | None = None) -> Plan:
    """Return a plan with one edit made; the same plan where it changes nothing.

    Parameters
    ----------
    plan : Plan
    edit : Edit
    truth : Truth, optional
        For "scale_inputs" and "scale_targets".

    Raises
    ------
    ValueError
        If there is no edit of this kind, or it needs data that are not there.
    """
    _check_kind(edit.kind)
    made = _KINDS[edit.kind](plan, edit.value, truth or Truth())
    unique = rewriting.names_made_unique(made.layers)
    return made.with_layers(unique) if unique != plan.layers else made


def _check_kind(kind: str) -> None:
    if kind not in _KINDS:
        raise ValueError(f"doctor: expected an edit of {', '.join(_KINDS)}, got {kind!r}")


# -- training


def _learning_rate(plan: Plan, value: float, truth: Truth) -> Plan:
    return plan.with_optimizer(learning_rate=float(value))


def _clipping(plan: Plan, value: dict[str, Any], truth: Truth) -> Plan:
    there = {name: None for name in CLIPPING if name in plan.optimizer["config"]}
    return plan.with_optimizer(**there | value)


def _optimizer(plan: Plan, value: dict[str, Any], truth: Truth) -> Plan:
    from evengrad import optimizers

    arguments = {name: v for name, v in value.items() if name != "name"}
    made = optimizers.get({"class_name": value["name"], "config": arguments})
    return replace(plan, compiled=plan.compiled | {"optimizer": optimizers.serialize(made)})


def _epochs(plan: Plan, value: float, truth: Truth) -> Plan:
    return replace(plan, epochs=max(1, math.ceil(plan.epochs * value)))


def _batch_size(plan: Plan, value: int, truth: Truth) -> Plan:
    return replace(plan, batch_size=int(value))


def _recalibrate(plan: Plan, value: bool, truth: Truth) -> Plan:
    there = any(rewriting.kind(v) == "BatchNormalization" for v in rewriting.leaves(plan.layers))
    return replace(plan, recalibrate=bool(value) and there)


def _regularization(plan: Plan, value: float, truth: Truth) -> Plan:
    made = plan.with_layers(rewriting.with_regularization(plan.layers, float(value)))
    decay = plan.optimizer["config"].get("weight_decay")
    return made.with_optimizer(weight_decay=decay * float(value)) if decay else made


# -- layers


def _initializer(plan: Plan, value: str, truth: Truth) -> Plan:
    return plan.with_layers(rewriting.with_initializer(plan.layers, value))


def _activation(plan: Plan, value: str, truth: Truth) -> Plan:
    return plan.with_layers(rewriting.with_activation(plan.layers, value))


def _batch_normalization(plan: Plan, value: str, truth: Truth) -> Plan:
    return plan.with_layers(rewriting.with_batch_normalization(plan.layers, value))


def _moving_average(plan: Plan, value: float, truth: Truth) -> Plan:
    return plan.with_layers(rewriting.with_momentum(plan.layers, float(value)))


def _output(plan: Plan, value: dict[str, Any], truth: Truth) -> Plan:
    from evengrad import losses

    if "activation" in value or "units" in value:
        roles = rewriting.Roles(plan.layers)
        now = roles.last["config"]["activation"] if roles.last else None
        layers = rewriting.with_output(
            plan.layers, value.get("activation", now), value.get("units")
        )
        plan = plan.with_layers(layers)
    if "loss" not in value:
        return plan
    made = losses.serialize(losses.get(value["loss"]))
    return replace(plan, compiled=plan.compiled | {"loss": made})


def _drop_columns(plan: Plan, value: Sequence[int], truth: Truth) -> Plan:
    width = width_of(plan)
    if not value or width is None:
        return plan
    kept = np.ones(width)
    kept[list(value)] = 0.0
    layer = rewriting.named("Rescaling", "kept_columns", scale=kept.tolist(), offset=0.0)
    return plan.with_layers(rewriting.at_input(plan.layers, layer))


_KINDS: dict[str, Callable[[Plan, Any, Truth], Plan]] = {
    "learning_rate": _learning_rate,
    "clipping": _clipping,
    "initializer": _initializer,
    "activation": _activation,
    "batch_normalization": _batch_normalization,
    "optimizer": _optimizer,
    "output": _output,
    "scale_inputs": scale_inputs,
    "scale_targets": scale_targets,
    "regularization": _regularization,
    "epochs": _epochs,
    "batch_size": _batch_size,
    "moving_average": _moving_average,
    "recalibrate": _recalibrate,
    "drop_columns": _drop_columns,
}
# In this order edits are made: what comes later looks at what is there by then.
ORDER = (
    "output", "optimizer", "learning_rate", "clipping", "activation", "initializer",
    "batch_normalization", "moving_average", "regularization", "scale_inputs", "drop_columns",
    "scale_targets", "epochs", "batch_size", "recalibrate",
)  # fmt: skip


def in_order(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Return edits as they are to be made, the last one of each kind alone."""
    found = {edit.kind: edit for edit in edits}
    for kind in found:
        _check_kind(kind)
    return tuple(found[kind] for kind in ORDER if kind in found)


def all_edited(plan: Plan, edits: Sequence[Edit], truth: Truth | None = None) -> Plan:
    """Return a plan with several edits made, in the order of `ORDER`."""
    for edit in in_order(edits):
        plan = edited(plan, edit, truth)
    return plan


def apply(
    model: Sequential,
    edits: Sequence[Edit],
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int | None = None,
) -> tuple[Sequential, dict[str, Any]]:
    """Return a model like the given one but for some edits, compiled, and arguments for its fit.

    Parameters
    ----------
    model : Sequential
        Compiled; it stays as it is.
    edits : sequence of Edit
        As in `CureResult.edits`.
    x, y : array_like, optional
        Samples and targets of training, for "scale_inputs" and "scale_targets".
    epochs, batch_size : int
        With what the given model is trained.
    seed : int, optional
        Of the new model's draws. Default: one from the package's generator.

    Returns
    -------
    (Sequential, dict)
        The model, not yet trained, and "epochs" and "batch_size". After an edit "recalibrate" call
        `recalibrate(x)` when it is trained.

    Raises
    ------
    ValueError
        If an edit is of no known kind, or needs x or y.

    Examples
    --------
    >>> import evengrad as keras
    >>> from evengrad.doctor import Edit, edits
    >>> model = keras.Sequential([keras.layers.Dense(3, "sigmoid"), keras.layers.Dense(1)])
    >>> model.build((None, 2))
    >>> model.compile("sgd", "mse")
    >>> other, arguments = edits.apply(model, [Edit("activation", "elu"), Edit("epochs", 3)])
    >>> other.layers[0].activation.name, arguments
    ('elu', {'epochs': 3, 'batch_size': 32})
    """
    from evengrad import _random

    truth = Truth(*(None if each is None else np.asarray(each) for each in (x, y)))
    plan = all_edited(Plan.of(model, epochs, batch_size), edits, truth)
    made = plan.build(_random.spawn_seed() if seed is None else seed)
    return made, plan.fit_arguments


def code(edit: Edit) -> str:
    """Return an edit as what to write, a line or two of Python.

    Parameters
    ----------
    edit : Edit

    Examples
    --------
    >>> from evengrad.doctor import Edit, edits
    >>> edits.code(Edit("optimizer", {"name": "adam", "learning_rate": 0.001}))
    'compile(optimizer=optimizers.Adam(learning_rate=0.001))'
    """
    from evengrad.doctor._code import TEXTS

    return TEXTS[edit.kind](edit.value)
