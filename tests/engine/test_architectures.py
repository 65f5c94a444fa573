"""The architectures that the builder is tried with are those that were published, and they run."""

from collections.abc import Callable
from math import prod

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.engine.architectures import yolo11n, yolov8n


@pytest.mark.parametrize(
    ("make", "published", "attentions"),
    [(yolov8n, 3.15e6, 0), (yolo11n, 2.62e6, 1)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_published_architecture_has_its_parameters_and_runs(
    make: Callable[[], tuple[onnx.ModelProto, int]], published: float, attentions: int
) -> None:
    network, parameters = make()
    onnx.checker.check_model(network, full_check=True)
    assert (network.opset_import[0].version, network.ir_version) == (17, 9)
    assert parameters == pytest.approx(published, rel=0.01)
    nodes = network.graph.node
    sizes = {constant.name: prod(constant.dims) for constant in network.graph.initializer}
    learned = {name for node in nodes if node.op_type == "Conv" for name in node.input[1:]}
    assert parameters == sum(sizes[name] for name in learned)
    assert sum(node.op_type == "MatMul" for node in nodes) == 2 * attentions
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((2, 3, 640, 640), dtype=np.float32)
    (found,) = session.run(["output0"], {"images": images})
    assert found.shape == (2, 84, 8400)
    assert np.isfinite(found).all()
    assert found[:, 4:].min() >= 0
    assert found[:, 4:].max() <= 1
