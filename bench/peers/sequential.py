"""What evengrad and Keras have in common: the interface."""

from __future__ import annotations

from typing import Any

from workloads import BN_EPSILON, BN_MOMENTUM, F32, LEAKY_SLOPE, Layer, Weights, Workload

from peers.base import Peer


class SequentialPeer(Peer):
    """Sequential, compile, fit of the module `keras`."""

    keras: Any
    norm_arguments: dict[str, Any] = {}  # noqa: RUF012

    def build(self, workload: Workload, batch: int, x: F32, y: Any, weights: Weights) -> None:
        """Make and compile the model."""
        self.workload, self.batch, self.x, self.y = workload, batch, x, y
        self.model = self.keras.Sequential([self.keras.Input((workload.inputs,))])
        for layer, arrays in zip(workload.layers, weights, strict=True):
            made = self._layer(layer, output=layer is workload.layers[-1])
            self.model.add(made)
            made.set_weights(arrays)
        classes = workload.loss == "ce"
        self.model.compile(
            optimizer=self._optimizer(),
            loss="sparse_categorical_crossentropy" if classes else "mse",
            metrics=["accuracy"] if classes else None,
        )

    def _layer(self, layer: Layer, *, output: bool) -> Any:
        layers = self.keras.layers
        if layer.kind == "dense":
            softmax = "softmax" if output and self.workload.loss == "ce" else None
            return layers.Dense(layer.units, activation=softmax, use_bias=layer.bias)
        if layer.kind == "bn":
            return layers.BatchNormalization(
                momentum=BN_MOMENTUM, epsilon=BN_EPSILON, **self.norm_arguments
            )
        if layer.kind == "leaky_relu":
            return layers.LeakyReLU(negative_slope=LEAKY_SLOPE)
        return layers.Activation(layer.kind)

    def _optimizer(self) -> Any:
        how = self.workload.optimizer
        clipping = {"clipnorm": how.clipnorm, "global_clipnorm": how.global_clipnorm}
        if how.kind == "adam":
            return self.keras.optimizers.Adam(how.rate, epsilon=1e-7, **clipping)
        return self.keras.optimizers.SGD(how.rate, momentum=how.momentum, **clipping)

    def train(self, epochs: int, *, shuffle: bool) -> tuple[float, float | None]:
        """Fit."""
        history = self.model.fit(
            self.x, self.y, batch_size=self.batch, epochs=epochs, verbose=0, shuffle=shuffle
        ).history
        accuracy = history["accuracy"][-1] if "accuracy" in history else None
        return history["loss"][-1], accuracy
