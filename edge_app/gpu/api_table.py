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
    ApiRow("ICudaEngine.num_io_tensors", OLDEST, None, "listing inputs and outputs"),
    ApiRow("ICudaEngine.get_tensor_name", OLDEST, None, "listing inputs and outputs"),
    ApiRow("ICudaEngine.get_tensor_mode", OLDEST, None, "telling inputs from outputs"),
    ApiRow("ICudaEngine.get_tensor_dtype", OLDEST, None, "the element type of a tensor"),
    ApiRow("ICudaEngine.get_tensor_shape", OLDEST, None, "the shape of a tensor"),
    ApiRow("ICudaEngine.get_tensor_format", OLDEST, None, "refusing vectorised layouts"),
    ApiRow("ICudaEngine.is_shape_inference_io", OLDEST, None, "refusing inputs that hold shapes"),
    ApiRow("ICudaEngine.get_tensor_profile_shape", OLDEST, None, "the batch sizes an engine takes"),
    ApiRow("ICudaEngine.create_execution_context", OLDEST, None, "one execution context for each slot"),
    ApiRow("IExecutionContext.active_optimization_profile", OLDEST, None, "the batch sizes of a context"),
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

BUILDER_API: tuple[ApiRow, ...] = ()
"""What building an engine needs."""

TENSORRT_API = RUNTIME_API + BUILDER_API


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
