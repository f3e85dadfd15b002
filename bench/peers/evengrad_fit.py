"""evengrad: Sequential.fit."""

from __future__ import annotations

import evengrad

from peers.base import Predictor
from peers.sequential import SequentialPeer


class EvengradFit(SequentialPeer):
    """As a user writes it."""

    keras = evengrad
    norm_arguments = {"debias": False}  # the peers' moving averages are not debiased  # noqa: RUF012

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        evengrad.set_num_threads(threads)
        evengrad.utils.set_random_seed(3)

    def versions(self) -> dict[str, str]:
        """Version, and the instruction set of its kernels."""
        config = evengrad._core.config()
        return {"evengrad": f"{evengrad.__version__} ({config['isa']}, {config['compiler']})"}

    def predictors(self) -> dict[str, Predictor]:
        """Both calls."""
        model = self.model
        return {
            "predict_on_batch": model.predict_on_batch,
            "predict": lambda x: model.predict(x, verbose=0),
        }
