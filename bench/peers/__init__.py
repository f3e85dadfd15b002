"""Who takes part: names, where the code is, what each needs and what it can do."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

ALL = ("reference", "tiny", "tabular", "deep", "wide")


@dataclass(frozen=True)
class Entry:
    """One peer."""

    title: str
    where: str  # module and class
    needs: tuple[str, ...]  # modules that must be installed; the first is whose import is timed
    packages: tuple[str, ...]  # distributions that count for the install size
    trains: tuple[str, ...] = ALL
    predicts: tuple[str, ...] = ALL
    simpler: tuple[str, ...] = ()  # workloads of which it can do a simpler relative only
    environment: dict[str, str] = field(default_factory=dict)
    by_default: bool = True

    @property
    def installed(self) -> bool:
        """Whether everything it needs is there."""
        return all(importlib.util.find_spec(name) for name in self.needs)


PEERS = {
    "evengrad": Entry("evengrad", "evengrad_fit:EvengradFit", ("evengrad",), ("evengrad",)),
    "torch": Entry("PyTorch", "torch_loop:TorchLoop", ("torch",), ("torch",)),
    "torch_compile": Entry(
        "torch.compile",
        "torch_loop:TorchCompiled",
        ("torch",),
        ("torch",),
        by_default=False,
    ),
    "jax_step": Entry("JAX step", "jax_loops:JaxStep", ("jax",), ("jax", "jaxlib"), predicts=()),
    "jax_scan": Entry("JAX scan", "jax_loops:JaxScan", ("jax",), ("jax", "jaxlib")),
    "keras_jax": Entry(
        "Keras/JAX",
        "keras_fit:KerasFit",
        ("keras", "jax"),
        ("keras", "jax", "jaxlib"),
        environment={"KERAS_BACKEND": "jax"},
    ),
    "keras_tf": Entry(
        "Keras/TF",
        "keras_fit:KerasFit",
        ("keras", "tensorflow"),
        ("keras", "tensorflow"),
        environment={"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    ),
    "sklearn": Entry(
        "scikit-learn",
        "sklearn_mlp:SklearnMlp",
        ("sklearn.neural_network", "sklearn"),
        ("scikit-learn",),
        trains=("reference", "tiny", "tabular", "wide"),
        predicts=("reference", "tiny", "tabular", "wide"),
        simpler=("reference", "tabular", "wide"),
    ),
    "onnxruntime": Entry(
        "onnxruntime",
        "onnx_session:OnnxSession",
        ("onnxruntime", "onnx"),
        ("onnxruntime",),
        trains=(),
    ),
}
