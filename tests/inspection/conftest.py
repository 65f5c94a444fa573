"""Small models and engines to look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Make = Callable[..., ModelProto]
Save = Callable[[ModelProto], Path]


@pytest.fixture
def make() -> Make:
    """Return a function that makes a model: the images' mean over the axes, or nodes of the test's choice."""

    def build(
        nodes: list[NodeProto] | None = None,
        *,
        inputs: dict[str, list[int | str | None]] | None = None,
        outputs: dict[str, list[int | str | None]] | None = None,
        constants: dict[str, Any] | None = None,
        opset: int = 17,
        metadata: dict[str, str] | None = None,
    ) -> ModelProto:
        graph = helper.make_graph(
            nodes or [helper.make_node("Flatten", ["images"], ["output0"])],
            "test",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in (inputs or {"images": ["batch", 3, 64, 96]}).items()
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in (outputs or {"output0": ["batch", 3 * 64 * 96]}).items()
            ],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
        )
        domains = {node.domain for node in graph.node} - {""}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)],
            ir_version=9,
            producer_name="test",
            producer_version="1",
        )
        helper.set_model_props(model, metadata or {})
        return model

    return build


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(model: ModelProto) -> Path:
        path = tmp_path / "model.onnx"
        onnx.save_model(model, str(path))
        return path

    return write
