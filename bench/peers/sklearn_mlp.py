"""scikit-learn: MLPClassifier and MLPRegressor, without what they do not have.

No batch normalization, no clipping, no ELU or LeakyReLU (ReLU instead), no accuracy while training.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from workloads import F32, Weights, Workload

from peers.base import Peer, Predictor


class SklearnMlp(Peer):
    """fit with warm_start."""

    def versions(self) -> dict[str, str]:
        """scikit-learn's."""
        return {"scikit-learn": sklearn.__version__}

    def build(self, workload: Workload, batch: int, x: F32, y: Any, weights: Weights) -> None:
        """Make the estimator and, where it is the same network, give it the weights."""
        warnings.simplefilter("ignore", ConvergenceWarning)
        self.workload, self.batch, self.x, self.y = workload, batch, x, y
        how, classes = workload.optimizer, workload.loss == "ce"
        kind = MLPClassifier if classes else MLPRegressor
        self.estimator = kind(
            hidden_layer_sizes=[n.units for n in workload.hidden if n.kind == "dense"],
            activation="tanh" if any(n.kind == "tanh" for n in workload.hidden) else "relu",
            solver=how.kind,
            learning_rate_init=how.rate,
            momentum=how.momentum,
            nesterovs_momentum=False,
            epsilon=1e-7,
            alpha=0.0,
            batch_size=min(batch, len(x)),
            tol=0.0,
            n_iter_no_change=1 << 30,
            warm_start=True,
            random_state=3,
        )
        few = x[: 4 * workload.outputs], y[: 4 * workload.outputs]
        if classes:  # it must see every class at its first fit
            first = [int(np.argmax(y == label)) for label in range(workload.outputs)]
            few = x[first], y[first]
        self.estimator.set_params(max_iter=1, batch_size=len(few[0])).fit(*few)
        self.estimator.set_params(batch_size=min(batch, len(x)))
        if not any(layer.kind == "bn" for layer in workload.layers):
            arrays = [a for a in weights if a]
            self.estimator.coefs_ = [kernel.copy() for kernel, _ in arrays]
            self.estimator.intercepts_ = [bias.copy() for _, bias in arrays]

    def train(self, epochs: int, *, shuffle: bool) -> tuple[float, float | None]:
        """Fit; the squared loss comes halved."""
        self.estimator.set_params(max_iter=epochs, shuffle=shuffle)
        self.estimator.fit(self.x, self.y)
        loss = float(self.estimator.loss_)
        return (loss if self.workload.loss == "ce" else 2.0 * loss), None

    def predictors(self) -> dict[str, Predictor]:
        """predict_proba or predict."""
        classes = self.workload.loss == "ce"
        return {"": self.estimator.predict_proba if classes else self.estimator.predict}
