"""Small real ONNX models, made on the spot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model that averages its image: (batch, 3, H, W) to (batch, 3, 1, 1)."""

    def make(
        shape: tuple[int | str, ...] = ("batch", 3, 32, 48),
        *,
        dtype: int = TensorProto.FLOAT,
        operator: str = "GlobalAveragePool",
        inputs: int = 1,
        metadata: dict[str, str] | None = None,
        name: str = "model.onnx",
    ) -> Path:
        values = [
            helper.make_tensor_value_info(f"images{i or ''}", dtype, list(shape)) for i in range(inputs)
        ]
        output = helper.make_tensor_value_info("output0", dtype, [shape[0], *[None] * (len(shape) - 1)])
        nodes: list[Any] = [helper.make_node(operator, [values[0].name], ["output0"])]
        if inputs == 2:
            nodes = [
                helper.make_node("Add", [values[0].name, values[1].name], ["sum"]),
                helper.make_node(operator, ["sum"], ["output0"]),
            ]
        graph = helper.make_graph(nodes, "average", values, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        for key, text in (metadata or {}).items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        path = tmp_path / name
        onnx.save(model, str(path))
        return path

    return make
