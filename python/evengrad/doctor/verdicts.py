"""What the doctor says: diseases, verdicts and the edits that may cure them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DISEASES = {
    "vanishing_gradient": "Gradients fade on their way to the first layers.",
    "exploding_gradient": "Gradients or activations grow from layer to layer, or beyond float32.",
    "dying_units": "Units give zero, with a slope of zero, for every sample.",
    "saturation": "Units are where their activation is flat, for most samples.",
    "symmetric_initialization": "Units of a layer are equal, and stay so.",
    "dead_on_arrival": "No gradient reaches some layers before the first step.",
    "initialization_scale": "The variance of the kernels does not fit the activation.",
    "learning_rate_too_high": "Steps are too long: the loss jumps or grows.",
    "learning_rate_too_low": "Steps are too short: the loss still falls, too slowly.",
    "oscillation": "Steps go to and fro across a valley of the loss.",
    "optimizer_state": "Momentum or moments of the optimizer do not fit what is trained.",
    "output_loss_mismatch": "Activation and size of the last layer, loss and targets do not fit.",
    "unscaled_inputs": "Columns of the inputs differ in scale by magnitudes, or are far from 0.",
    "unscaled_targets": "Targets are far from the outputs that the network begins with.",
    "constant_columns": "Columns of the inputs say nothing.",
    "leaking_columns": "A column of the inputs holds the answer.",
    "labels_not_learnable": "Inputs say no more of the targets than chance.",
    "over_regularized": "Penalties, weight decay or dropout outweigh the loss.",
    "over_clipped": "Clipping shortens almost every step, by much.",
    "lagging_statistics": "Moving statistics of batch normalization are not those of the data.",
    "small_batches": "Batch normalization sees too few rows at a time.",
    "too_few_epochs": "Training ended while the loss still fell.",
}


@dataclass(frozen=True)
class Edit:
    """One change to a network or to its training, which `model.cure` can try.

    Parameters
    ----------
    kind : str
        What is changed; see `evengrad.doctor.edits`.
    value : object
        To what: of JSON's types.
    """

    kind: str
    value: Any = True


@dataclass(frozen=True)
class Verdict:
    """A disease that was found.

    Parameters
    ----------
    disease : str
        One of `DISEASES`.
    cause : str
        One sentence.
    confidence : float in [0, 1]
        How sure it is.
    layers : tuple of str
        Names of the layers that are sick; empty where it is the data or the training.
    evidence : dict
        The numbers, of JSON's types.
    cure : str
        What to change, as code.
    edits : tuple of Edit
        The same for `model.cure`, the smallest first.
    source : str
        Where it is described.
    """

    disease: str
    cause: str
    confidence: float
    layers: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    cure: str = ""
    edits: tuple[Edit, ...] = ()
    source: str = ""
