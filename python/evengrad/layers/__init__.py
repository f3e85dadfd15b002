"""Layers, with Keras' names and arguments."""

from evengrad.layers.activation import ELU, SELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from evengrad.layers.base import Layer
from evengrad.layers.batch_normalization import BatchNormalization
from evengrad.layers.dense import Dense
from evengrad.layers.dropout import Dropout
from evengrad.layers.flatten import Flatten
from evengrad.layers.input import Input, InputLayer

__all__ = [
    "ELU",
    "SELU",
    "Activation",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "PReLU",
    "ReLU",
    "Softmax",
]
