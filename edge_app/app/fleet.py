"""The cameras of the running daemon, and the lanes that their frames go into; they come and go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_app.app.decoders import find_decoders, runs_on_gpu
from edge_app.capture.attempt import Camera
from edge_app.capture.cameras import CameraGroup
from edge_app.capture.factory import create_camera
from edge_app.capture.snapshot import SnapshotTap
from edge_app.capture.transport import change_transport, claim_transport, common_transport
from edge_app.config.models import AppConfig, CameraSection
from edge_app.config.per_model import cameras_by_model, config_of_model
from edge_app.errors import CaptureError, ConfigError
from edge_app.interfaces import PixelMemory, VideoDecoders
from edge_app.ops.node import NodeWatch
from edge_app.pipeline.lanes import FrameLanes
from edge_app.pipeline.router import FrameRouter
from edge_app.pipeline.statistics import Statistics

MOST_KEPT = 8
"""Of a camera that changes its model again and again so many are remembered: no frame waits for so long."""


def enabled_cameras(config: AppConfig) -> dict[str, CameraSection]:
    """Return the cameras that are used, by name."""
    return {name: section for name, section in config.cameras.items() if section.enabled}


class FrameMemory:
    """What cameras decode into: a `PixelMemory` that follows the model, which comes after the cameras."""

    def __init__(self) -> None:
        self.model: PixelMemory | None = None

    def allocate(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], bool]:
        """Return memory that the model can read fast; see `PixelMemory`."""
        if self.model is None:
            return np.empty(shape, np.uint8), False
        return self.model.allocate(shape)


class Fleet:
    """All cameras, with the lanes of each model that has any at the start.

    Cameras come and go by one thread at a time.

    Args:
        config: The configuration at the start.
        passwords: Of cameras, by name.
        statistics: Counts their frames.
        watch: Hears how they do.

    Attributes:
        live: Those that are live.
        lanes: By model; None is the one of `model`.
        memory: What the cameras of a model decode into.
        group: Reads them.
        tap: Where snapshots are taken, if commands are enabled.
        models: By camera, the name of its model.
        decoders: By camera, what was chosen to decode it, in words.
        history: By camera, also of those that have gone: from which frame on it had which model.

    Raises:
        ConfigError: A camera cannot be read by this machine, or not beside the others.
    """

    def __init__(
        self,
        config: AppConfig,
        passwords: Mapping[str, str | None],
        statistics: Statistics,
        watch: NodeWatch,
    ) -> None:
        chosen = cameras_by_model(config)
        inference = {model: config_of_model(config, model).inference for model in chosen}
        self.memory = {model: FrameMemory() for model in chosen}
        self._decoders: dict[str | None, VideoDecoders | None] = {
            model: find_decoders(section) for model, section in inference.items()
        }
        self._nv12 = {model: runs_on_gpu(section) for model, section in inference.items()}
        self._statistics, self._watch = statistics, watch
        sections = enabled_cameras(config)
        cameras = [self.make(name, section, passwords.get(name)) for name, section in sections.items()]
        self.models = {name: section.model for name, section in sections.items()}
        self.decoders = {camera.camera_id: camera.decoder for camera in cameras}
        self.history: dict[str, tuple[tuple[int, str | None], ...]] = {}
        self._transports = {camera.camera_id: camera.transport for camera in cameras}
        transport = common_transport(self._transports)
        if transport is not None:
            claim_transport(transport)
        self._is_live = {camera.camera_id: camera.live for camera in cameras}
        self.live = {name for name, is_live in self._is_live.items() if is_live}
        self.lanes = {
            model: self._new_lanes(names, inference[model].max_age_ms) for model, names in chosen.items()
        }
        self._router = FrameRouter({name: self.lanes[model] for name, model in self.models.items()})
        self.tap = SnapshotTap(self._router)
        sink = self.tap if config.mqtt.commands.enabled else self._router
        self.group = CameraGroup(cameras, sink, watch)

    def make(self, name: str, section: CameraSection, password: str | None) -> Camera:
        """Return a camera of one of the models that run; nothing is opened yet.

        Raises:
            ConfigError: This machine cannot read it.
        """
        model = section.model
        try:
            return create_camera(
                name, section, password, self.memory[model], self._decoders[model], nv12=self._nv12[model]
            )
        except CaptureError as error:  # what this machine lacks does not come by trying again
            raise ConfigError(f"cameras.{name}: {error.message}", hint=error.hint) from error

    def by_model(self) -> dict[str | None, list[str]]:
        """Return the cameras of each model that runs; some may have none left."""
        found: dict[str | None, list[str]] = {model: [] for model in self.lanes}
        for name, model in self.models.items():
            found[model].append(name)
        return found

    def transport_with(self, cameras: Collection[Camera], removed: Collection[str]) -> str | None:
        """Return the RTSP transport that all cameras share once some were put and others removed; None: none.

        Raises:
            ConfigError: They want different ones.
        """
        kept = {name: one for name, one in self._transports.items() if name not in removed}
        return common_transport({**kept, **{camera.camera_id: camera.transport for camera in cameras}})

    def over_other(self, transport: str) -> list[str]:
        """Return the cameras that share another RTSP transport."""
        return [name for name, one in self._transports.items() if one not in (None, transport)]

    def change_transport(self, transport: str) -> None:
        """Let go of cameras of another RTSP transport, which are to be put anew or removed, and change it."""
        for name in self.over_other(transport):
            self._let_go(name)
        change_transport(transport)

    def put(self, camera: Camera, model: str | None, tell: Callable[[], None]) -> None:
        """Read a camera that is new, or was altered.

        Args:
            camera: The camera.
            model: What looks at it.
            tell: Called when its frames may come, and before they do.
        """
        name = camera.camera_id
        known = name in self.models
        first_frame_id = self._let_go(name)
        self._statistics.add(name)
        self._remember(name, model, first_frame_id)
        (self.live.add if camera.live else self.live.discard)(name)
        before = self.lanes[self.models[name]] if known else None
        lanes = self.lanes[model]
        lanes.add(name, live=camera.live, first_frame_id=first_frame_id)
        self._router.lead(name, lanes)
        if before is not None and before is not lanes:
            before.remove(name)
        self.models = {**self.models, name: model}
        self.decoders = {**self.decoders, name: camera.decoder}
        self._transports[name] = camera.transport
        tell()
        self.group.add(camera)

    def remove(self, name: str, tell: Callable[[], None]) -> None:
        """Let go of a camera; `tell` is called when none of its frames comes any more."""
        first_frame_id = self._let_go(name)
        self._router.lead(name, None)
        for lanes in self.lanes.values():
            lanes.remove(name)
        if name in self.models:
            self._remember(name, self.models[name], first_frame_id)
        self.models = {other: model for other, model in self.models.items() if other != name}
        self.decoders = {other: words for other, words in self.decoders.items() if other != name}
        self._transports.pop(name, None)
        self._watch.camera_gone(name)
        tell()
        self._statistics.remove(name)
        self.live.discard(name)

    def _let_go(self, name: str) -> int:
        """Stop to read a camera, which its last change may have done before it failed; return its next id."""
        if name in self.group.statuses():
            return self.group.let_go(name)
        return self.group.next_frame_id(name)

    def _remember(self, name: str, model: str | None, first_frame_id: int) -> None:
        """Note which model a camera has from a frame on, and which one it had before."""
        known = self.history.get(name) or ((0, self.models.get(name, model)),)
        if known[-1][1] != model:
            known = (*known, (first_frame_id, model))
        self.history = {**self.history, name: known[-MOST_KEPT:]}

    def _new_lanes(self, cameras: Sequence[str], max_age_ms: float) -> FrameLanes:
        live = {name: self._is_live[name] for name in cameras}
        return FrameLanes(live, max_age_s=max_age_ms / 1e3, counts=self._statistics)
