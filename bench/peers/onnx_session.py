"""onnxruntime: inference of the exported network."""

from __future__ import annotations

from typing import Any

import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from workloads import BN_EPSILON, F32, LEAKY_SLOPE, Weights, Workload

from peers.base import Peer, Predictor

ACTIVATIONS = {
    "elu": ("Elu", {}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "tanh": ("Tanh", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": LEAKY_SLOPE}),
}


def make_model(workload: Workload, weights: Weights) -> bytes:
    """Return the network as ONNX; fusing is the runtime's business."""
    nodes, constants, value = [], [], "x"
    for number, (layer, arrays) in enumerate(zip(workload.layers, weights, strict=True)):
        names = [f"layer{number}_{i}" for i in range(len(arrays))]
        constants += [numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True)]
        kind, attributes = "Gemm", {}
        if layer.kind == "bn":
            kind, attributes = "BatchNormalization", {"epsilon": BN_EPSILON}
        elif layer.kind != "dense":
            kind, attributes = ACTIVATIONS[layer.kind]
        nodes.append(helper.make_node(kind, [value, *names], [f"y{number}"], **attributes))
        value = f"y{number}"
    if workload.loss == "ce":
        nodes.append(helper.make_node("Softmax", [value], ["probabilities"], axis=1))
        value = "probabilities"
    made = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        workload.name,
        [made("x", TensorProto.FLOAT, ["rows", workload.inputs])],
        [made(value, TensorProto.FLOAT, ["rows", workload.outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


class OnnxSession(Peer):
    """A session on the CPU."""

    def versions(self) -> dict[str, str]:
        """onnxruntime's."""
        return {"onnxruntime": onnxruntime.__version__}

    def build(self, workload: Workload, batch: int, x: F32, y: Any, weights: Weights) -> None:
        """Export and load."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            make_model(workload, weights), options, providers=["CPUExecutionProvider"]
        )

    def predictors(self) -> dict[str, Predictor]:
        """Run."""
        return {"": lambda x: self.session.run(None, {"x": x})[0]}
