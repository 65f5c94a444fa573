"""The policy as constraints on layers, for builders that are weakly typed (before TensorRT 10.12).

A weakly typed builder may run an operator that the graph casts to FP32 in FP16 all the same, so there the
graph stays as it is and each layer says what it must be.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

NUMBER = re.compile(r"_\d+$")
ORIGIN = re.compile(r"\[ONNX Layer: (.*?)\]")


def constrain_layers(trt: Any, network: Any, keep: Container[str], nodes: Container[str]) -> int:
    """Make the layers of the nodes in `keep` calculate and deliver FP32; return how many they are.

    Args:
        trt: The module `tensorrt`.
        network: The parsed network; its configuration must hold OBEY_PRECISION_CONSTRAINTS.
        keep: Names of the nodes that stay FP32.
        nodes: Names of all nodes.
    """
    count = 0
    floats = {trt.DataType.FLOAT, trt.DataType.HALF}
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        calculates = any(output is not None and output.dtype in floats for output in outputs)
        if origin_of(layer, nodes) not in keep or not calculates or _is_constant(trt, layer):
            continue
        layer.precision = trt.DataType.FLOAT
        for i, output in enumerate(outputs):
            if output is not None and output.dtype in floats and not output.is_shape_tensor:
                layer.set_output_type(i, trt.DataType.FLOAT)
        count += 1
    return count


def origin_of(layer: Any, nodes: Container[str]) -> str:
    """Return the name of the ONNX node that a layer was made for."""
    found = ORIGIN.search(str(getattr(layer, "metadata", "") or ""))
    if found is not None:
        return found[1]
    name = str(layer.name)
    # The second layer of a node is called as the node with a number behind.
    return name if name in nodes else NUMBER.sub("", name)


def _is_constant(trt: Any, layer: Any) -> bool:
    return layer.type in {trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.QUANTIZE}
