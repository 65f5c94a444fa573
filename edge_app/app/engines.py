"""The engines of a configuration: what is asked for, where they are kept, and the frames that judge them."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.app.engine_frames import Image, as_frame, rendered_images, source_images
from edge_app.app.verification import compare_engine, plan_of
from edge_app.config.models import AppConfig, CalibrationSection, EngineSection
from edge_app.config.paths import state_directory
from edge_app.engine.builder import WORKER_COMMAND
from edge_app.engine.device import this_device
from edge_app.engine.errors import BuildError, EngineError
from edge_app.engine.events import BuildEvent, EventKind, EventSink
from edge_app.engine.identity import DeviceFacts
from edge_app.engine.manifest import EngineState
from edge_app.engine.obtain import (
    CalibrationSet,
    EngineRequest,
    ObtainedEngine,
    Workshop,
    obtain_engine,
    wanted_identity,
)
from edge_app.engine.options import (
    BuildLimits,
    BuildOptions,
    CalibrationMethod,
    HardwareCompatibility,
    Precision,
    Profile,
)
from edge_app.engine.store import EngineStore, StoredEngine
from edge_app.engine.verify import VerifyReport
from edge_app.gpu.context import open_gpu
from edge_app.infer.model import ModelDescription
from edge_app.infer.onnx_file import read_onnx
from edge_app.messages import Frame
from edge_app.preprocess.letterbox import CpuPreprocessor

logger = logging.getLogger(__name__)


class Engines:
    """The engines that one configuration asks for, on this machine.

    Args:
        config: The whole configuration.
        description: Its model.
        emit: Told of everything that happens while an engine is obtained.
        cancelled: Asked often; a build is ended once it is true.
        device: This machine; None: found out.
        command: The building child process; a seam for tests.

    Attributes:
        description: The model, with the labels of its metadata where nothing else names them.
        store: Where the engines are kept.

    Raises:
        EngineError: The store cannot be used.
        ModelError: The model cannot be read.
        BackendError: There is no such GPU, or no TensorRT.
    """

    def __init__(
        self,
        config: AppConfig,
        description: ModelDescription,
        *,
        emit: EventSink = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        device: DeviceFacts | None = None,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._config = config
        self._section = config.engine
        self._emit = emit
        self._cancelled = cancelled
        self._command = command
        self._device = device or this_device(config.inference.device)
        self.store = EngineStore(engine_directory(config.engine))
        facts = read_onnx(description)
        self._spec = facts.spec
        self._fixed_batch = facts.batch
        self.description = replace(description, labels=facts.labels)

    def obtain(self, *, rebuild: bool = False, accept_refused: bool = False) -> ObtainedEngine:
        """Return the engine, built and verified if the store has none.

        Raises:
            BuildError: The build failed.
            RefusedEngineError: The engine is too far from the model.
            EngineError, CaptureError: Store or frames cannot be used.
        """
        with TemporaryDirectory(prefix="edge-app-calibration-") as folder:
            request = self.request()
            if request.precision is Precision.INT8:
                request = self._calibrated(request, Path(folder), again=rebuild)
            return obtain_engine(self._workshop(), request, rebuild=rebuild, accept_refused=accept_refused)

    def find(self) -> StoredEngine | None:
        """Return the engine that is asked for if the store has it, be it good, refused or not yet judged."""
        known = self.store.matching(wanted_identity(self.store, self.request(), self._device))
        found = (known.get(state) for state in (EngineState.GOOD, EngineState.REFUSED, EngineState.CANDIDATE))
        return next((engine for engine in found if engine is not None), None)

    def require(self) -> StoredEngine:
        """Return what `find` does. Raises EngineError if the store has none."""
        engine = self.find()
        if engine is None:
            raise EngineError(
                f"there is no {self._section.precision} engine of {self.description.name} that fits here "
                f"in {self.store.directory}",
                hint="Build it: edge-app build; edge-app engines --explain says what the others are.",
            )
        return engine

    def last_good(self) -> StoredEngine | None:
        """Return an engine of this model that may serve while the wanted one cannot be had."""
        wanted = wanted_identity(self.store, self.request(), self._device)
        return self.store.last_good(self.description.name, wanted)

    def verify(self, engine: StoredEngine, plan: bytes) -> VerifyReport:
        """Compare an engine with its model. Raises what its backends and its frames raise."""
        frames = self._verification_frames()
        precision = engine.manifest.identity.precision
        return compare_engine(self._config, self.description, plan_of(engine, plan), precision, frames)

    def request(self) -> EngineRequest:
        """Return what the configuration asks for; INT8 with the frames of the last time."""
        section = self._section
        return EngineRequest(
            name=self.description.name,
            model=self.description.path,
            precision=Precision(section.precision),
            profile=self._profile(),
            options=BuildOptions(
                optimization_level=section.optimization_level,
                dla_core=section.dla_core,
                version_compatible=section.version_compatible,
                hardware_compatibility=HardwareCompatibility(section.hardware_compatibility),
            ),
            calibration_settings=_calibration_settings(section.calibration),
            serving=_serving(self.description),
        )

    def _profile(self) -> Profile:
        if self._fixed_batch is not None:
            least = best = most = self._fixed_batch
        else:
            most = self._config.inference.max_batch
            least, best = 1, min(self._section.opt_batch, most)
        return Profile(self._spec.width, self._spec.height, least, best, most)

    def _calibrated(self, request: EngineRequest, folder: Path, *, again: bool) -> EngineRequest:
        """Return the request with frames, unless those of the last time are known and shall serve."""
        source = self._section.calibration.source
        known = wanted_identity(self.store, request, self._device).calibration_sha256 is not None
        if known and (source is None or not again):
            return request
        if source is None:
            raise EngineError(
                f"{request.name}: an INT8 engine is calibrated with frames of your cameras; there are none",
                hint="Set engine.calibration.source to a folder, a video or a camera URI; or use fp16.",
            )
        return replace(request, calibration=self._calibrate(source, folder / "calibration.npy"))

    def _calibrate(self, source: str, path: Path) -> CalibrationSet:
        # Quantising needs packages that running an engine does not.
        from edge_app.engine.precision.quantize import collect_calibration

        section = self._section.calibration
        preprocessor = CpuPreprocessor(self._spec)
        out = np.empty(self._spec.shape(1)[1:], np.float32)

        def preprocess(image: Image) -> NDArray[np.float32]:
            preprocessor.write(as_frame(image), out)
            return out

        images = self._told("collecting frames to calibrate with", source_images(source, section.frames))
        sha256 = collect_calibration(images, preprocess, section.frames, path)
        return CalibrationSet(path, sha256, CalibrationMethod(section.method))

    def _verification_frames(self) -> Iterator[Frame]:
        section = self._section
        count = section.verification.frames
        source = section.verification.source or section.calibration.source
        images = rendered_images(count) if source is None else source_images(source, count)
        for image in self._told("comparing frames with the model", itertools.islice(images, count)):
            yield as_frame(image)

    def _told(self, doing: str, images: Iterator[Image]) -> Iterator[Image]:
        """Pass images on, tell of each, and end it when nobody wants the engine any more."""
        for number, image in enumerate(images, 1):
            if self._cancelled():
                raise BuildError(f"{self.description.name}: it was cancelled", kind="cancelled")
            self._emit(BuildEvent(EventKind.PROGRESS, f"{doing}, {number}"))
            yield image

    def _workshop(self) -> Workshop:
        section = self._section
        return Workshop(
            store=self.store,
            device=self._device,
            verify=self.verify if section.verification.enabled else None,
            limits=BuildLimits(workspace_mib=section.workspace_mib, memory_mib=section.memory_mib),
            emit=self._emit,
            cancelled=self._cancelled,
            # On a Jetson GPU and system share their memory, and the system's figure is the honest one.
            free_device_bytes=None if self._device.l4t else self._free_device_bytes(),
            command=self._command,
        )

    def _free_device_bytes(self) -> int:
        return open_gpu(self._config.inference.device).memory_bytes()[0]


def engine_directory(section: EngineSection) -> Path:
    """Return where the engines of a configuration are kept. Raises ConfigError if nothing names a place."""
    return Path(section.directory) if section.directory else state_directory("engine.directory") / "engines"


def _calibration_settings(section: CalibrationSection) -> str | None:
    """Return what stands for the frames that are asked for; None without a source: any will do."""
    if section.source is None:
        return None
    asked = f"{section.method} {section.frames} {section.source}"
    return hashlib.sha256(asked.encode()).hexdigest()[:8]


def _serving(description: ModelDescription) -> dict[str, Any]:
    return {
        "labels": None if description.labels is None else list(description.labels),
        "head": description.head,
        "input": description.input.model_dump(mode="json", exclude_none=True),
    }
