"""INT8 by Q/DQ: one graph for every TensorRT from 8.6 to 11, strongly typed or not.

TensorRT wants symmetric scales for activations and weights, no quantised bias, and a Q/DQ pair in front of
each operator that is to run in INT8 and nowhere else; ONNX Runtime's defaults are none of these.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.engine.durable import TEMPORARY_PREFIX
from edge_app.engine.errors import EngineError
from edge_app.engine.options import CalibrationMethod
from edge_app.engine.precision.graph import GraphIndex, load_model
from edge_app.engine.precision.policy import decode_nodes

QUANTIZED_OPERATORS = ("Conv", "MatMul")
FRAMES_AT_ONCE = 8
PERCENTILE = 99.99
"""Of the percentile method: so many percent of an activation's values lie inside its range."""


def collect_calibration(
    frames: Iterable[NDArray[np.uint8]],
    preprocess: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    count: int,
    path: Path,
) -> str:
    """Preprocess frames as the pipeline does, write the tensors to a .npy file, and return their SHA-256.

    Args:
        frames: (height, width, 3) uint8 BGR images; the first `count` are taken.
        preprocess: From such an image to the model's input for it, (3, H, W) or (H, W, 3) float32.
        count: How many frames are wanted, at least 1.
        path: The file to write.

    Raises:
        EngineError: There is no frame.
    """
    tensors: list[NDArray[np.float32]] = []
    for frame in frames:
        tensors.append(np.array(preprocess(frame), np.float32))
        if len(tensors) == count:
            break
    if not tensors:
        raise EngineError(
            "there is no frame to calibrate with", hint="Give a folder, a video or a camera with frames."
        )
    stacked = np.stack(tensors)
    np.save(path, stacked)
    return hash_calibration(stacked)


def hash_calibration(tensors: NDArray[np.float32]) -> str:
    """Return the SHA-256 of a calibration set: of its shape and its values, in their order."""
    digest = hashlib.sha256(f"{tensors.dtype.str}{tensors.shape}".encode())
    digest.update(np.ascontiguousarray(tensors).data)
    return digest.hexdigest()


def is_quantized(graph: GraphIndex) -> bool:
    """Tell whether a model brings its own Q/DQ, which is then taken as it is."""
    return any(node.op_type == "QuantizeLinear" for node in graph.nodes)


def quantize(
    model: Path, tensors: NDArray[np.float32], method: CalibrationMethod, target: Path
) -> Sequence[str]:
    """Write a Q/DQ form of `model` to `target`; return the names of the layers that stay unquantised.

    Args:
        model: The FP32 ONNX model.
        tensors: Calibration inputs (N, ...) float32, one image each.
        method: How an activation's range is chosen.
        target: The ONNX file to write.

    Raises:
        EngineError: ONNX Runtime is missing, or the model has other than one input.
    """
    import onnx

    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.calibrate import CalibrationMethod as Methods
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise EngineError(
            f"INT8 needs ONNX Runtime: {error}", hint="pip install 'edge-app[onnxruntime]'"
        ) from None
    methods = {
        CalibrationMethod.MINMAX: Methods.MinMax,
        CalibrationMethod.ENTROPY: Methods.Entropy,
        CalibrationMethod.PERCENTILE: Methods.Percentile,
    }
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=target.parent) as folder, _quiet():
        folded = Path(folder) / "folded.onnx"
        # Folds batch normalizations into their convolutions, so that a Q/DQ pair sees the fused layer.
        quant_pre_process(str(model), str(folded), skip_symbolic_shape=True)
        graph = GraphIndex(load_model(folded))
        excluded = sorted(_excluded(graph))
        onnx.save_model(graph.model, str(folded))
        quantize_static(
            str(folded),
            str(target),
            _reader(graph, tensors),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED_OPERATORS),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            calibrate_method=methods[method],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # TensorRT 8 reads no INT8 weights, and quantises FP32 ones by their own Q/DQ pair.
                "AddQDQPairToWeight": True,
                "OpTypesToExcludeOutputQuantization": list(QUANTIZED_OPERATORS),
                "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
                "CalibPercentile": PERCENTILE,
                # By its name it speaks of one method, but it makes every method take the frames in parts.
                "CalibStridedMinMax": _part(len(tensors)),
            },
        )
    return excluded


def _excluded(graph: GraphIndex) -> set[str]:
    """Return what is not quantised: the head's last layers, its decode, and products of two activations."""
    decode, last_layers = decode_nodes(graph)
    products = {
        node.name
        for node in graph.nodes
        if node.op_type in QUANTIZED_OPERATORS and graph.constant(node.input[1]) is None
    }
    return {*decode, *last_layers, *products}


def _reader(graph: GraphIndex, tensors: NDArray[np.float32]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    if len(graph.input_names) != 1:
        raise EngineError(f"calibration needs a model with one input, found {', '.join(graph.input_names)}")

    batch = graph.fixed_batch or 1

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(tensors)

        def __len__(self) -> int:
            return len(tensors)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._images = iter(tensors[start_index:end_index])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._images, None)
            return None if image is None else {graph.input_names[0]: np.stack([image] * batch)}

    return Reader()


def _part(count: int) -> int:
    """Return how many frames' activations are held at once: few, and a divisor of all, as is asked for."""
    return max(part for part in range(1, FRAMES_AT_ONCE + 1) if count % part == 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice, which does not concern our options, out of the log."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
