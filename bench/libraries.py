"""What correctness.py asks of evengrad, Keras and PyTorch, each as its users write it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Split = tuple[F32, NDArray[np.int64], F32, NDArray[np.int64]]

EPSILON = 1e-3  # of batch normalization, wherever errors are compared
HIDDEN = (64, 64)


class Library(ABC):
    """One library."""

    title: str
    needs: tuple[str, ...]  # distributions, whose versions are reported

    @classmethod
    def installed(cls) -> bool:
        """Whether everything it needs is there."""
        return all(importlib.util.find_spec(name) for name in cls.needs)

    def versions(self) -> dict[str, str]:
        """Versions of what does the work."""
        return {name: importlib.metadata.version(name) for name in self.needs}

    @abstractmethod
    def clipped_step(self, clip: str, limit: float, x: F32, target: F32) -> list[F32]:
        """Return what SGD with rate 1 subtracts from kernel and bias of zeros, by mse; x is a row.

        `clip` is "clipnorm" (each variable by itself) or "global_clipnorm".
        """

    @abstractmethod
    def normalize(self, x: F32, *, training: bool) -> F32:
        """Return x after batch normalization; in inference with the statistics of x as moving."""

    @abstractmethod
    def cross_entropy_gradient(self, logits: F32, label: int) -> F32:
        """Return the gradient with respect to the logits of one sample."""

    @abstractmethod
    def accuracies(self, data: Split, seed: int, epochs: list[int]) -> list[float]:
        """Train a network whose first layer is a normalization; accuracy on held-out rows."""

    @abstractmethod
    def shared_initializer(self) -> bool:
        """Whether one initializer gives two layers the same kernel."""


class KerasNames(Library):
    """What is the same in evengrad and Keras."""

    keras: Any

    def clipped_step(self, clip: str, limit: float, x: F32, target: F32) -> list[F32]:
        """One batch of one row."""
        keras = self.keras
        dense = keras.layers.Dense(target.shape[1], kernel_initializer="zeros")
        model = keras.Sequential([keras.Input(x.shape[1:]), dense])
        model.compile(keras.optimizers.SGD(1.0, **{clip: limit}), "mse")
        model.train_on_batch(x, target)
        return [-np.asarray(v.numpy()) for v in dense.trainable_variables]

    def normalize(self, x: F32, *, training: bool) -> F32:
        """Run the layer; moving statistics of the data given in float32."""
        layer = self.keras.layers.BatchNormalization(epsilon=EPSILON)
        layer.build((None, *x.shape[1:]))
        exact = x.astype(np.float64)
        statistics = exact.mean(axis=0), exact.var(axis=0)
        layer.set_weights([np.ones(x.shape[1]), np.zeros(x.shape[1]), *statistics])
        return np.asarray(layer(x, training=training))

    def cross_entropy_gradient(self, logits: F32, label: int) -> F32:
        """Step of a bias of zeros before the softmax."""
        keras = self.keras
        dense = keras.layers.Dense(len(logits), "softmax")
        model = keras.Sequential([keras.Input((1,)), dense])
        dense.set_weights([logits[None], np.zeros_like(logits)])
        model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
        model.train_on_batch(np.ones((1, 1), np.float32), np.array([label]))
        return -np.asarray(dense.trainable_variables[1].numpy())

    def accuracies(self, data: Split, seed: int, epochs: list[int]) -> list[float]:
        """Fit, evaluate, go on."""
        keras, layers = self.keras, self.keras.layers
        x, y, x_test, y_test = data
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input(x.shape[1:]), layers.BatchNormalization()])
        for units in HIDDEN:
            model.add(layers.Dense(units, kernel_initializer="he_normal", use_bias=False))
            model.add(layers.BatchNormalization())
            model.add(layers.Activation("elu"))
        model.add(layers.Dense(int(y.max()) + 1, "softmax"))
        model.compile(
            keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        reached, done = [], 0
        for end in epochs:
            model.fit(x, y, batch_size=32, initial_epoch=done, epochs=end, verbose=0)
            reached.append(float(model.evaluate(x_test, y_test, verbose=0)[1]))
            done = end
        return reached

    def shared_initializer(self) -> bool:
        """Give one object to two layers."""
        keras = self.keras
        shared = keras.initializers.HeNormal()
        model = keras.Sequential(
            [keras.Input((8,)), *(keras.layers.Dense(8, kernel_initializer=shared) for _ in "ab")]
        )
        first, second = (layer.get_weights()[0] for layer in model.layers)
        return bool(np.array_equal(first, second))


class Evengrad(KerasNames):
    """This library."""

    title = "evengrad"
    needs = ("evengrad",)

    def __init__(self) -> None:
        import evengrad

        self.keras = evengrad

    def versions(self) -> dict[str, str]:
        """As the package says, installed or not."""
        return {"evengrad": self.keras.__version__}

    def normalize(self, x: F32, *, training: bool) -> F32:
        """Run a model; moving statistics from `recalibrate`."""
        keras = self.keras
        layer = keras.layers.BatchNormalization(epsilon=EPSILON)
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        model.recalibrate(x)
        result: F32 = model(x, training=training)
        return result


class KerasJax(KerasNames):
    """Keras on JAX."""

    title = "Keras (JAX)"
    needs = ("keras", "jax")

    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        if keras.backend.backend() != "jax":
            raise SystemExit("keras was imported before with another backend")
        self.keras = keras


class Torch(Library):
    """PyTorch: cross-entropy on logits, gradients clipped by torch.nn.utils."""

    title = "PyTorch"
    needs = ("torch",)

    def __init__(self) -> None:
        import torch

        self.torch = torch

    def clipped_step(self, clip: str, limit: float, x: F32, target: F32) -> list[F32]:
        """Backward, clip_grad_norm_, SGD."""
        torch = self.torch
        dense = torch.nn.Linear(x.shape[1], target.shape[1])
        for parameter in dense.parameters():
            torch.nn.init.zeros_(parameter)
        optimizer = torch.optim.SGD(dense.parameters(), 1.0)
        loss = torch.nn.functional.mse_loss(dense(torch.from_numpy(x)), torch.from_numpy(target))
        loss.backward()
        together = [list(dense.parameters())]
        for group in together if clip == "global_clipnorm" else [[p] for p in together[0]]:
            torch.nn.utils.clip_grad_norm_(group, limit)
        optimizer.step()
        return [-dense.weight.detach().numpy().T, -dense.bias.detach().numpy()]

    def normalize(self, x: F32, *, training: bool) -> F32:
        """BatchNorm1d; running statistics of the data given in float32."""
        torch = self.torch
        layer = torch.nn.BatchNorm1d(x.shape[1], eps=EPSILON).train(training)
        exact = torch.from_numpy(x.astype(np.float64))
        layer.running_mean.copy_(exact.mean(0))
        layer.running_var.copy_(exact.var(0, correction=0))
        with torch.no_grad():
            result: F32 = layer(torch.from_numpy(x)).numpy()
        return result

    def cross_entropy_gradient(self, logits: F32, label: int) -> F32:
        """Gradient that backward leaves."""
        torch = self.torch
        z = torch.from_numpy(logits[None].copy()).requires_grad_()
        torch.nn.functional.cross_entropy(z, torch.tensor([label])).backward()
        gradient: F32 = z.grad.numpy()[0]
        return gradient

    def accuracies(self, data: Split, seed: int, epochs: list[int]) -> list[float]:
        """A loop, batch normalization with PyTorch's defaults."""
        torch = self.torch
        nn = torch.nn
        x, y, x_test, y_test = (torch.from_numpy(array) for array in data)
        torch.manual_seed(seed)
        stack, n_in = [nn.BatchNorm1d(x.shape[1])], x.shape[1]
        for units in HIDDEN:
            dense = nn.Linear(n_in, units, bias=False)
            nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
            stack += [dense, nn.BatchNorm1d(units), nn.ELU()]
            n_in = units
        network = nn.Sequential(*stack, nn.Linear(n_in, int(y.max()) + 1))
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        reached = []
        for epoch in range(1, epochs[-1] + 1):
            network.train()
            for index in torch.randperm(len(x)).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[index]), y[index]).backward()
                optimizer.step()
            if epoch in epochs:
                with torch.inference_mode():
                    answers = network.eval()(x_test).argmax(1)
                reached.append(float((answers == y_test).float().mean()))
        return reached

    def shared_initializer(self) -> bool:
        """Call one function for two layers."""
        torch = self.torch
        first, second = (torch.nn.init.kaiming_normal_(torch.empty(8, 8)) for _ in "ab")
        return bool(torch.equal(first, second))


LIBRARIES: tuple[type[Library], ...] = (Evengrad, KerasJax, Torch)
