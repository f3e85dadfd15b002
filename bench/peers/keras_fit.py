"""Keras: Sequential.fit, compiled by its backend (environment variable KERAS_BACKEND)."""

from __future__ import annotations

import importlib.metadata

import keras
import numpy as np

from peers.base import Predictor
from peers.sequential import SequentialPeer


class KerasFit(SequentialPeer):
    """As a user writes it."""

    keras = keras

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        keras.utils.set_random_seed(3)
        if keras.backend.backend() == "tensorflow":
            import tensorflow

            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)

    def versions(self) -> dict[str, str]:
        """Keras and its backend."""
        backend = keras.backend.backend()
        return {"keras": keras.__version__, backend: importlib.metadata.version(backend)}

    def predictors(self) -> dict[str, Predictor]:
        """The faster of its calls."""
        model = self.model
        return {"predict_on_batch": lambda x: np.asarray(model.predict_on_batch(x))}
