"""Layers, with Keras' names and arguments."""

from evengrad.layers.activation import ELU, SELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from evengrad.layers.base import Layer
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dense import Dense
from evengrad.layers.dropout import AlphaDropout, Dropout, GaussianDropout, GaussianNoise
from evengrad.layers.flatten import Flatten, Reshape
from evengrad.layers.input import Input, InputLayer
from evengrad.layers.layer_normalization import LayerNormalization
from evengrad.layers.preprocessing import Normalization, Rescaling
from evengrad.layers.residual import Residual
from evengrad.layers.serialization import deserialize, serialize

__all__ = [
    "ELU",
    "SELU",
    "Activation",
    "AlphaDropout",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Normalization",
    "PReLU",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "Softmax",
    "deserialize",
    "serialize",
]


def __getattr__(name: str) -> object:
    from evengrad.errors import explain_missing

    raise AttributeError(explain_missing(name, __name__))
