"""Every TensorRT attribute that is used, the versions that must have it, and what it is for.

The versions are those of the Python bindings of TensorRT 8.6 to 11. The table is checked when TensorRT
is loaded, and by tests against the bindings of the oldest and of the newest version.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Version = tuple[int, ...]

OLDEST: Version = (8, 6)
"""The first version that is supported: JetPack 6.0."""

UNKNOWN: Version = (12,)
"""The first version that nothing is known of."""


STRONG_ONLY: Version = (11,)
"""The first version in which every network is strongly typed."""


class ApiRow(NamedTuple):
    """One attribute of the `tensorrt` module, as a path such as `Runtime.deserialize_cuda_engine`.

    It exists from version `since` on, and is gone in version `until` (None: it is still there).
    """

    path: str
    since: Version
    until: Version | None
    used_for: str

    def exists_in(self, version: Version) -> bool:
        """Return whether this version of TensorRT must have the attribute."""
        return self.since <= version and (self.until is None or version < self.until)


RUNTIME_API: tuple[ApiRow, ...] = (
    ApiRow("ILogger", OLDEST, None, "TensorRT's own words in our log"),
    ApiRow("init_libnvinfer_plugins", OLDEST, None, "engines with NMS and other plugins"),
    ApiRow("Runtime", OLDEST, None, "loading an engine"),
    ApiRow("Runtime.deserialize_cuda_engine", OLDEST, None, "loading an engine"),
    ApiRow("Runtime.engine_host_code_allowed", OLDEST, None, "engines that newer versions may load"),
    ApiRow("ICudaEngine.num_io_tensors", OLDEST, None, "listing inputs and outputs"),
    ApiRow("ICudaEngine.get_tensor_name", OLDEST, None, "listing inputs and outputs"),
    ApiRow("ICudaEngine.get_tensor_mode", OLDEST, None, "telling inputs from outputs"),
    ApiRow("ICudaEngine.get_tensor_dtype", OLDEST, None, "the element type of a tensor"),
    ApiRow("ICudaEngine.get_tensor_shape", OLDEST, None, "the shape of a tensor"),
    ApiRow("ICudaEngine.get_tensor_format", OLDEST, None, "refusing vectorised layouts"),
    ApiRow("ICudaEngine.is_shape_inference_io", OLDEST, None, "refusing inputs that hold shapes"),
    ApiRow("ICudaEngine.get_tensor_profile_shape", OLDEST, None, "the batch sizes an engine takes"),
    ApiRow("ICudaEngine.create_execution_context", OLDEST, None, "one execution context for each slot"),
    ApiRow(
        "ICudaEngine.create_execution_context_without_device_memory",
        OLDEST,
        STRONG_ONLY,
        "contexts that share memory",
    ),
    ApiRow("ICudaEngine.device_memory_size", OLDEST, STRONG_ONLY, "contexts that share memory"),
    ApiRow("ICudaEngine.device_memory_size_v2", STRONG_ONLY, None, "contexts that share memory"),
    ApiRow(
        "ExecutionContextAllocationStrategy.USER_MANAGED", STRONG_ONLY, None, "contexts that share memory"
    ),
    ApiRow("IExecutionContext.device_memory", OLDEST, None, "contexts that share memory"),
    ApiRow("IExecutionContext.set_device_memory", STRONG_ONLY, None, "contexts that share memory"),
    ApiRow("IExecutionContext.set_optimization_profile_async", OLDEST, None, "contexts that share a profile"),
    ApiRow("IExecutionContext.set_input_shape", OLDEST, None, "the batch size"),
    ApiRow("IExecutionContext.get_tensor_shape", OLDEST, None, "the shape of an output at a batch size"),
    ApiRow("IExecutionContext.set_tensor_address", OLDEST, None, "where inputs and outputs lie"),
    ApiRow("IExecutionContext.set_output_allocator", OLDEST, None, "outputs whose shape depends on the data"),
    ApiRow("IExecutionContext.execute_async_v3", OLDEST, None, "running a batch"),
    ApiRow("IOutputAllocator", OLDEST, None, "outputs whose shape depends on the data"),
    ApiRow("TensorIOMode.INPUT", OLDEST, None, "telling inputs from outputs"),
    ApiRow("TensorFormat.LINEAR", OLDEST, None, "refusing vectorised layouts"),
)
"""What loading and running an engine needs."""

BUILDER_API: tuple[ApiRow, ...] = (
    ApiRow("Builder", OLDEST, None, "building an engine"),
    ApiRow("Builder.create_network", OLDEST, None, "building an engine"),
    ApiRow("Builder.create_builder_config", OLDEST, None, "building an engine"),
    ApiRow("Builder.create_optimization_profile", OLDEST, None, "the batch sizes an engine takes"),
    ApiRow("Builder.build_serialized_network", OLDEST, None, "building an engine"),
    ApiRow("Builder.num_DLA_cores", OLDEST, None, "refusing a DLA core that is not there"),
    ApiRow("NetworkDefinitionCreationFlag.EXPLICIT_BATCH", OLDEST, STRONG_ONLY, "networks of version 8"),
    ApiRow(
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED", (10,), None, "the graph's own types, from 10.12 on"
    ),
    ApiRow("INetworkDefinition.num_inputs", OLDEST, None, "the optimization profile"),
    ApiRow("INetworkDefinition.get_input", OLDEST, None, "the optimization profile"),
    ApiRow("INetworkDefinition.num_layers", OLDEST, None, "precision of layers"),
    ApiRow("INetworkDefinition.get_layer", OLDEST, None, "precision of layers"),
    ApiRow("ITensor.name", OLDEST, None, "the optimization profile"),
    ApiRow("ITensor.shape", OLDEST, None, "the optimization profile"),
    ApiRow("ITensor.dtype", OLDEST, None, "precision of layers"),
    ApiRow("ITensor.is_shape_tensor", OLDEST, None, "precision of layers"),
    ApiRow("ILayer.name", OLDEST, None, "which ONNX node a layer was made for"),
    ApiRow("ILayer.metadata", OLDEST, None, "which ONNX node a layer was made for"),
    ApiRow("ILayer.type", OLDEST, None, "precision of layers"),
    ApiRow("ILayer.num_outputs", OLDEST, None, "precision of layers"),
    ApiRow("ILayer.get_output", OLDEST, None, "precision of layers"),
    ApiRow("ILayer.precision", OLDEST, STRONG_ONLY, "precision of layers where typing is weak"),
    ApiRow("ILayer.set_output_type", OLDEST, STRONG_ONLY, "precision of layers where typing is weak"),
    ApiRow("LayerType.CONSTANT", OLDEST, None, "layers without a precision"),
    ApiRow("LayerType.SHAPE", OLDEST, None, "layers without a precision"),
    ApiRow("LayerType.QUANTIZE", OLDEST, None, "layers without a precision"),
    ApiRow("DataType.FLOAT", OLDEST, None, "precision of layers"),
    ApiRow("DataType.HALF", OLDEST, None, "precision of layers"),
    ApiRow("BuilderFlag.FP16", OLDEST, STRONG_ONLY, "FP16 where typing is weak"),
    ApiRow("BuilderFlag.INT8", OLDEST, STRONG_ONLY, "INT8 where typing is weak"),
    ApiRow(
        "BuilderFlag.OBEY_PRECISION_CONSTRAINTS",
        OLDEST,
        STRONG_ONLY,
        "precision of layers where typing is weak",
    ),
    ApiRow("BuilderFlag.TF32", OLDEST, None, "engine.tf32"),
    ApiRow("BuilderFlag.GPU_FALLBACK", OLDEST, None, "layers that a DLA cannot run"),
    ApiRow("BuilderFlag.VERSION_COMPATIBLE", OLDEST, None, "engine.version_compatible"),
    ApiRow("HardwareCompatibilityLevel.NONE", OLDEST, None, "engine.hardware_compatibility"),
    ApiRow("HardwareCompatibilityLevel.AMPERE_PLUS", OLDEST, None, "engine.hardware_compatibility"),
    ApiRow(
        "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY",
        (10, 12),
        None,
        "engine.hardware_compatibility",
    ),
    ApiRow("DeviceType.DLA", OLDEST, None, "engine.dla_core"),
    ApiRow("MemoryPoolType.WORKSPACE", OLDEST, None, "the scratch memory of tactics"),
    ApiRow("PreviewFeature.PROFILE_SHARING_0806", OLDEST, STRONG_ONLY, "several contexts on one profile"),
    ApiRow("ProfilingVerbosity.DETAILED", OLDEST, None, "layer names in the engine"),
    ApiRow("IBuilderConfig.set_flag", OLDEST, None, "building an engine"),
    ApiRow("IBuilderConfig.clear_flag", OLDEST, None, "engine.tf32"),
    ApiRow("IBuilderConfig.set_memory_pool_limit", OLDEST, None, "the scratch memory of tactics"),
    ApiRow("IBuilderConfig.builder_optimization_level", OLDEST, None, "engine.optimization_level"),
    ApiRow("IBuilderConfig.profiling_verbosity", OLDEST, None, "layer names in the engine"),
    ApiRow("IBuilderConfig.hardware_compatibility_level", OLDEST, None, "engine.hardware_compatibility"),
    ApiRow("IBuilderConfig.set_preview_feature", OLDEST, None, "several contexts on one profile"),
    ApiRow("IBuilderConfig.default_device_type", OLDEST, None, "engine.dla_core"),
    ApiRow("IBuilderConfig.DLA_core", OLDEST, None, "engine.dla_core"),
    ApiRow("IBuilderConfig.add_optimization_profile", OLDEST, None, "the batch sizes an engine takes"),
    ApiRow("IBuilderConfig.create_timing_cache", OLDEST, None, "quicker builds"),
    ApiRow("IBuilderConfig.set_timing_cache", OLDEST, None, "quicker builds"),
    ApiRow("IBuilderConfig.progress_monitor", (10,), None, "progress of a build"),
    ApiRow("IProgressMonitor", (10,), None, "progress of a build"),
    ApiRow("IOptimizationProfile.set_shape", OLDEST, None, "the batch sizes an engine takes"),
    ApiRow("ITimingCache.serialize", OLDEST, None, "quicker builds"),
    ApiRow("OnnxParser", OLDEST, None, "reading a model"),
    ApiRow("OnnxParser.parse", OLDEST, None, "reading a model"),
    ApiRow("OnnxParser.parse_from_file", OLDEST, None, "reading a model"),
    ApiRow("OnnxParser.num_errors", OLDEST, None, "what is wrong with a model"),
    ApiRow("OnnxParser.get_error", OLDEST, None, "what is wrong with a model"),
    ApiRow("OnnxParser.supports_operator", OLDEST, None, "which operators are not supported"),
    ApiRow("ParserError.code", OLDEST, None, "what is wrong with a model"),
    ApiRow("ParserError.desc", OLDEST, None, "what is wrong with a model"),
    ApiRow("ParserError.node", OLDEST, None, "which node is wrong"),
    ApiRow("ParserError.node_name", (10,), None, "which node is wrong"),
    ApiRow("ParserError.node_operator", (10,), None, "which node is wrong"),
)
"""What building an engine needs."""

INSPECTOR_API: tuple[ApiRow, ...] = (
    ApiRow("ICudaEngine.create_engine_inspector", OLDEST, None, "the layers of an engine"),
    ApiRow("EngineInspector.get_engine_information", OLDEST, None, "the layers of an engine"),
    ApiRow("LayerInformationFormat.JSON", OLDEST, None, "the layers of an engine"),
)
"""What telling an engine's layers needs."""

TENSORRT_API = RUNTIME_API + BUILDER_API + INSPECTOR_API


def missing_rows(tensorrt: Any, version: Version, rows: tuple[ApiRow, ...]) -> list[ApiRow]:
    """Return the rows that `version` must have and the module `tensorrt` has not."""
    return [row for row in rows if row.exists_in(version) and not has_path(tensorrt, row.path)]


def has_path(tensorrt: Any, path: str) -> bool:
    """Return whether the module has the attribute at `path`."""
    owner = tensorrt
    for name in path.split("."):
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True
