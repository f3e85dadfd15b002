"""Dense kernels with the initializer "auto": scaled to the activation that follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evengrad import activations
from evengrad.activations import Spec
from evengrad.layers.activation import Activation, PReLU
from evengrad.layers.base import Layer
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dense import Dense
from evengrad.layers.dropout import AlphaDropout, Dropout, GaussianDropout, GaussianNoise
from evengrad.layers.flatten import Flatten, Reshape
from evengrad.layers.layer_normalization import LayerNormalization

_PASSED = (
    BatchNormalization,
    LayerNormalization,
    Dropout,
    AlphaDropout,
    GaussianDropout,
    GaussianNoise,
    Flatten,
    Reshape,
)


def settle(layers: Sequence[Layer]) -> None:
    """Give each kernel that is as "auto" drew it the gain of its activation, now that it is known.

    Without an activation of its own a layer takes that of the next layer which has one, with
    nothing in between but what is element by element, or linear, or sets the scale anew.
    """
    for i, layer in enumerate(layers):
        if isinstance(layer, Dense) and layer.draws_for_activation:
            layer.suit(_next_activation(layers[i + 1 :]))


def _next_activation(layers: Sequence[Layer]) -> Spec | activations.Activation:
    for layer in layers:
        if isinstance(layer, Activation):
            return layer.activation
        if isinstance(layer, PReLU) and layer.alpha is not None:
            alpha = layer.alpha.numpy().astype(np.float64)
            return Spec("leaky_relu", (float(np.sqrt(np.mean(alpha**2))),))
        if not isinstance(layer, _PASSED):
            break
    return Spec("linear")
