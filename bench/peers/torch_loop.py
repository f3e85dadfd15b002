"""PyTorch: a loop as one writes it for speed on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from workloads import BN_EPSILON, BN_MOMENTUM, F32, LEAKY_SLOPE, Layer, Weights, Workload

from peers.base import Peer, Predictor


def make_network(workload: Workload, weights: Weights) -> nn.Sequential:
    """Return the network without the softmax, which cross_entropy contains."""
    network, n_in = nn.Sequential(), workload.inputs
    for layer, arrays in zip(workload.layers, weights, strict=True):
        module = _module(layer, n_in)
        n_in = layer.units or n_in
        with torch.no_grad():
            if layer.kind == "dense":
                module.weight.copy_(torch.from_numpy(arrays[0].T))
                if layer.bias:
                    module.bias.copy_(torch.from_numpy(arrays[1]))
            elif layer.kind == "bn":
                names = ("weight", "bias", "running_mean", "running_var")
                for name, array in zip(names, arrays, strict=True):
                    getattr(module, name).copy_(torch.from_numpy(array))
        network.append(module)
    return network


def _module(layer: Layer, n_in: int) -> Any:
    if layer.kind == "dense":
        return nn.Linear(n_in, layer.units, bias=layer.bias)
    if layer.kind == "bn":
        return nn.BatchNorm1d(n_in, eps=BN_EPSILON, momentum=1.0 - BN_MOMENTUM)
    if layer.kind == "leaky_relu":
        return nn.LeakyReLU(LEAKY_SLOPE, inplace=True)
    if layer.kind == "tanh":
        return nn.Tanh()
    return {"elu": nn.ELU, "relu": nn.ReLU, "selu": nn.SELU}[layer.kind](inplace=True)


class TorchLoop(Peer):
    """Eager."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        torch.set_num_threads(threads)

    def versions(self) -> dict[str, str]:
        """PyTorch's."""
        return {"torch": torch.__version__}

    def build(self, workload: Workload, batch: int, x: F32, y: Any, weights: Weights) -> None:
        """Make network and optimizer."""
        self.workload, self.batch = workload, batch
        self.x = torch.from_numpy(x)
        self.y = torch.from_numpy(y.astype(np.int64) if workload.loss == "ce" else y)
        self.network = make_network(workload, weights)
        self.parameters = list(self.network.parameters())
        how = workload.optimizer
        if how.kind == "adam":
            self.optimizer = torch.optim.Adam(self.parameters, how.rate, eps=1e-7, fused=True)
        else:
            self.optimizer = torch.optim.SGD(
                self.parameters, how.rate, momentum=how.momentum, fused=True
            )
        self.forward = self._loss_and_output

    def _loss_and_output(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        output = self.network(x)
        if self.workload.loss == "ce":
            return functional.cross_entropy(output, y), output
        return functional.mse_loss(output, y), output

    def _clip(self) -> None:
        how = self.workload.optimizer
        if how.clipnorm is not None:
            for parameter in self.parameters:
                clip_grad_norm_(parameter, how.clipnorm)
        elif how.global_clipnorm is not None:
            clip_grad_norm_(self.parameters, how.global_clipnorm)

    def train(self, epochs: int, *, shuffle: bool) -> tuple[float, float | None]:
        """Train; loss and count stay tensors until the epoch's end."""
        self.network.train()
        classes = self.workload.loss == "ce"
        rows = len(self.x)
        for order in self.orders(epochs, rows, shuffle=shuffle):
            total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
            for index in torch.from_numpy(order).split(self.batch):
                x, y = self.x.index_select(0, index), self.y.index_select(0, index)
                loss, output = self.forward(x, y)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self._clip()
                self.optimizer.step()
                total.add_(loss.detach(), alpha=len(index))
                if classes:
                    correct += (output.detach().argmax(1) == y).sum()
            mean, accuracy = total.item() / rows, correct.item() / rows
        return mean, accuracy if classes else None

    def predictors(self) -> dict[str, Predictor]:
        """Evaluation mode under inference_mode."""
        network, classes = self.network.eval(), self.workload.loss == "ce"

        @torch.inference_mode()
        def predict(x: F32) -> NDArray[np.float32]:
            output = network(torch.from_numpy(x))
            return (functional.softmax(output, 1) if classes else output).numpy()

        return {"": predict}


class TorchCompiled(TorchLoop):
    """torch.compile over network and loss, backward included."""

    def build(self, workload: Workload, batch: int, x: F32, y: Any, weights: Weights) -> None:
        """Compile; the partial last batch gets a compilation of its own."""
        super().build(workload, batch, x, y, weights)
        torch._dynamo.reset()
        self.forward = torch.compile(self._loss_and_output, dynamic=False)
