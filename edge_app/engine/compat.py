"""One builder for TensorRT 8.6 to 11: what differs between the versions is decided here.

The module `tensorrt` is a parameter, so that tests can build with TensorRT-RTX, whose builder is that of
TensorRT 11 and runs without a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_app.engine.errors import BuildError
from edge_app.engine.options import BuildOptions, HardwareCompatibility, Precision, Profile

STRONG_TYPING_SINCE = (10, 12)
"""From this version on weak typing is deprecated; 11 has only strong typing."""

CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Builder:
    """What one build needs of TensorRT; `trt` is the module."""

    trt: Any
    logger: Any

    @property
    def strongly_typed(self) -> bool:
        """Whether the graph carries the types, and flags and layer precisions do not exist or count."""
        return is_strongly_typed(self.trt)

    def create_network(self, builder: Any) -> Any:
        """Return an empty network, with an explicit batch axis and typed as the version wants it."""
        flags = getattr(self.trt.NetworkDefinitionCreationFlag, "__members__", {})
        bits = 0
        if self.strongly_typed:
            bits |= _bit(flags["STRONGLY_TYPED"])
        elif version_of(self.trt) < (10,):
            bits |= _bit(flags["EXPLICIT_BATCH"])
        return builder.create_network(bits)

    def configure(
        self, builder: Any, precision: Precision, options: BuildOptions, workspace_bytes: int | None
    ) -> Any:
        """Return a builder configuration.

        Raises:
            BuildError: This TensorRT or this device lacks what the options ask for.
        """
        trt = self.trt
        config = builder.create_builder_config()
        if workspace_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        config.builder_optimization_level = options.optimization_level
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        self._share_profile(config)
        if not options.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if not self.strongly_typed:
            self._set_precision(config, precision)
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if options.hardware_compatibility is not HardwareCompatibility.NONE:
            config.hardware_compatibility_level = self._compatibility(options.hardware_compatibility)
        if options.dla_core is not None:
            self._use_dla(builder, config, options.dla_core)
        return config

    def add_profile(self, builder: Any, config: Any, network: Any, profile: Profile) -> None:
        """Add the optimization profile, with the range of every dynamic input.

        A network of fixed shapes gets an empty one: without any, TensorRT 8.6 makes no proper execution
        context where the shape of an output depends on the data.

        Raises:
            BuildError: An axis other than batch, height and width is dynamic, or a fixed axis contradicts.
        """
        added = builder.create_optimization_profile()
        for tensor in (network.get_input(i) for i in range(network.num_inputs)):
            shapes = [
                resolve_shape(tensor.name, tuple(tensor.shape), profile, batch)
                for batch in (profile.min_batch, profile.opt_batch, profile.max_batch)
            ]
            if -1 in tuple(tensor.shape):
                added.set_shape(tensor.name, *shapes)
        if config.add_optimization_profile(added) < 0:
            raise BuildError(f"TensorRT refused the optimization profile {profile}", kind="build")

    def use_timing_cache(self, config: Any, content: bytes) -> Any:
        """Give the configuration a timing cache; one that does not fit this device counts as empty."""
        cache = config.create_timing_cache(content)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        return cache

    def monitor(self, config: Any, step: Callable[[str, str | None, int, int], None]) -> None:
        """Report progress from TensorRT 10 on: `step(phase, parent phase, steps done, steps of it)`.

        `done` of 0 opens a phase, and `done == steps` closes it.
        """
        if hasattr(self.trt, "IProgressMonitor"):
            config.progress_monitor = _monitor_class(self.trt)(step)

    def _set_precision(self, config: Any, precision: Precision) -> None:
        flags = self.trt.BuilderFlag
        if precision is Precision.FP32:
            return
        config.set_flag(flags.FP16)
        config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
        if precision is Precision.INT8:
            config.set_flag(flags.INT8)

    def _share_profile(self, config: Any) -> None:
        """Let several execution contexts use one profile: a preview in 8.6, always on later."""
        feature = getattr(self.trt.PreviewFeature, "PROFILE_SHARING_0806", None)
        if feature is not None:
            config.set_preview_feature(feature, True)

    def _compatibility(self, level: HardwareCompatibility) -> Any:
        known = self.trt.HardwareCompatibilityLevel.__members__
        if level.name not in known:
            raise BuildError(
                f"TensorRT {self.trt.__version__} has no hardware compatibility {level.value!r}, "
                f"only {', '.join(name.lower() for name in known)}",
                hint="Set engine.hardware_compatibility to none.",
                kind="options",
            )
        return known[level.name]

    def _use_dla(self, builder: Any, config: Any, core: int) -> None:
        cores = builder.num_DLA_cores
        if core >= cores:
            raise BuildError(
                f"DLA core {core} is asked for, but this device has {cores or 'no'} DLA cores",
                hint="Leave engine.dla_core out to use the GPU.",
                kind="options",
            )
        config.default_device_type = self.trt.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(self.trt.BuilderFlag.GPU_FALLBACK)


def version_of(trt: Any) -> tuple[int, ...]:
    """Return the version of a TensorRT module as numbers; TensorRT-RTX counts as 11."""
    if not hasattr(trt.BuilderFlag, "FP16"):
        return (11,)
    version: str = trt.__version__
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def is_strongly_typed(trt: Any) -> bool:
    """Tell whether networks are built strongly typed with this module."""
    known = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    return known and version_of(trt) >= STRONG_TYPING_SINCE


def resolve_shape(name: str, shape: Sequence[int], profile: Profile, batch: int) -> tuple[int, ...]:
    """Return an input's shape at a batch size; -1 stands for a dynamic axis.

    Raises:
        BuildError: A dynamic axis is neither batch, height nor width, or a fixed one contradicts.
    """
    resolved: tuple[int, ...] = (batch, *shape[1:])
    if len(shape) == 4 and shape[3] == CHANNELS and shape[1] != CHANNELS:
        resolved = (batch, profile.height, profile.width, CHANNELS)
    elif len(shape) == 4:
        resolved = (batch, CHANNELS, profile.height, profile.width)
    if -1 not in resolved and all(axis in {-1, found} for axis, found in zip(shape, resolved, strict=True)):
        return resolved
    if shape and shape[0] not in {-1, batch} and tuple(shape[1:]) == resolved[1:]:
        raise BuildError(
            f"input {name!r} has a fixed batch of {shape[0]}, but the profile asks for {batch}",
            hint=f"Set every batch size of the profile to {shape[0]}, or export with a dynamic batch axis.",
            kind="profile",
        )
    raise BuildError(
        f"input {name!r} is {_text(shape)}, which the profile {_text(resolved)} does not fit",
        hint="Only batch, height and width may be dynamic; export the other axes with a fixed length.",
        kind="profile",
    )


def _text(shape: Sequence[int]) -> str:
    return "[" + ", ".join("?" if axis < 0 else str(axis) for axis in shape) + "]"


def _bit(flag: Any) -> int:
    return 1 << int(flag)


def _monitor_class(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self, step: Callable[[str, str | None, int, int], None]) -> None:
            trt.IProgressMonitor.__init__(self)
            self._step = step
            self._steps: dict[str, tuple[str | None, int]] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._steps[name] = (parent, steps)
            self._tell(name, 0)

        def step_complete(self, name: str, step: int) -> bool:
            self._tell(name, step + 1)
            return True

        def phase_finish(self, name: str) -> None:
            self._tell(name, self._steps.get(name, (None, 1))[1])
            self._steps.pop(name, None)

        def _tell(self, name: str, done: int) -> None:
            parent, steps = self._steps.get(name, (None, 1))
            # Called from C++, where an exception would end the process.
            with contextlib.suppress(Exception):
                self._step(name, parent, done, steps)

    return Monitor
