"""What a person can choose about an engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Precision(str, Enum):
    """How the layers of an engine calculate; inputs and outputs are always those of the model."""

    FP32 = "fp32"
    FP16 = "fp16"
    """Half precision, with the fragile operators and the head's decode kept in FP32."""
    INT8 = "int8"
    """Convolutions and matrix products in 8 bit by Q/DQ; the rest as in FP16."""


class HardwareCompatibility(str, Enum):
    """On which other GPUs an engine shall run; each level but `NONE` costs speed."""

    NONE = "none"
    SAME_COMPUTE_CAPABILITY = "same_compute_capability"
    """Every GPU of the same compute capability; from TensorRT 10.12."""
    AMPERE_PLUS = "ampere_plus"
    """Every GPU from Ampere on; not on Jetson."""


class CalibrationMethod(str, Enum):
    """How the range of an activation is chosen from the calibration frames."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


@dataclass(frozen=True, slots=True)
class Profile:
    """The optimization profile: batch sizes, and the one input size in pixels.

    Raises:
        ValueError: If not 1 <= min_batch <= opt_batch <= max_batch, or a side is not positive.
    """

    width: int
    height: int
    min_batch: int = 1
    opt_batch: int = 1
    max_batch: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise ValueError(
                "a profile needs 1 <= min_batch <= opt_batch <= max_batch, "
                f"found {self.min_batch}, {self.opt_batch}, {self.max_batch}"
            )
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a profile needs a positive input size, found {self.width}x{self.height}")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The choices that change the engine, and so belong to its identity.

    Attributes:
        optimization_level: 0 (quick build) to 5 (long build); 3 is TensorRT's default.
        dla_core: DLA core to run on, with what it cannot run falling back to the GPU; None for the GPU.
        version_compatible: Whether newer TensorRT versions may load the engine; costs speed.
        hardware_compatibility: Which other GPUs may run it.
        tf32: Whether FP32 products may run in TF32, which has 10 bits of mantissa; TensorRT's default.
    """

    optimization_level: int = 3
    dla_core: int | None = None
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    tf32: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.optimization_level <= 5:
            raise ValueError(f"optimization_level must be 0 to 5, found {self.optimization_level}")


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """The bounds of a build, which do not change what the engine computes.

    Attributes:
        workspace_mib: Scratch memory that tactics may use; None for half of what is free.
        memory_mib: Resident memory at which the builder is ended; None for nine tenths of what is free.
        timeout_s: Seconds after which the builder is ended.
        attempts: Most builds, each with half the workspace of the one before, when memory runs out.
    """

    workspace_mib: int | None = None
    memory_mib: int | None = None
    timeout_s: float = 4 * 3600.0
    attempts: int = 4
