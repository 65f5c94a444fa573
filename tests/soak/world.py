"""All that a soak runs: broker, cameras, a small disk, and the daemon; and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.brokers import Mosquitto
from tests.capture.parts import RtspServer, rtsp_server_lacks
from tests.e2e.daemon import Daemon, write_config
from tests.e2e.scrape import Watcher
from tests.faults.conftest import KEEPS_ITS_PROMISE
from tests.soak.observe import handles
from tests.soak.series import GATE
from tests.soak.small_model import small_model

DISK_MIB = 128
"""Sinks leave 64 MiB alone, the outbox 16."""
OUTBOX_RETRY_S = 6.0
"""Until then detections go out live: another fault in that time would cost some, as it may."""


class World:
    """A node with its surroundings.

    Args:
        folder: Where everything goes that is written.
        cameras: How many rendered cameras.
        fps: Their frames a second.
        size: Their size, as 320x240.
    """

    def __init__(self, folder: Path, cameras: int, fps: int, size: str) -> None:
        self._folder, self._fps, self._size = folder, fps, size
        self.scenes = [f"scene-{number}" for number in range(cameras)]
        self.lacking: dict[str, str] = {}
        self._confident, self._reloads = False, 0
        self._closing = contextlib.ExitStack()
        self.watcher = Watcher()
        self.gate: RtspServer | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End and undo everything."""
        if self.gate is not None:
            self.gate.kill()
        self._closing.close()

    def faults(self) -> dict[str, Callable[[], contextlib.AbstractContextManager[float]]]:
        """Return by name what can be done on this machine; each begins, says for how long, and is undone."""
        every = {
            "broker frozen (SIGSTOP)": self._broker_frozen,
            "broker killed (SIGKILL)": self._broker_killed,
            "broker restarted": self._broker_restarted,
            "camera server killed": self._gate_killed,
            "camera server frozen (SIGSTOP)": self._gate_frozen,
            "disk full": self._disk_full,
            "reload": self._reload,
        }
        needs = {"camera server": "camera server", "disk": "disk", "reload": "reload"}
        missing = {word for word, key in needs.items() if key in self.lacking}
        return {name: fault for name, fault in every.items() if not any(name.startswith(m) for m in missing)}

    def _start(self) -> None:
        broker = self._folder / "broker"
        broker.mkdir(parents=True)
        self.broker = Mosquitto(broker, lines=(*KEEPS_ITS_PROMISE, f"persistence_location {broker}/"))
        self._closing.callback(self.broker.kill)
        self.broker.start()
        self._disk = self._mount(self._folder / "disk")
        self.gate = self._start_gate(0)
        self._model = small_model(self._folder)
        self.daemon = Daemon(self._configure())
        self._closing.callback(self.daemon.kill)
        for scene in self.scenes:
            self.daemon.until_log_says(f"camera {scene}: streaming")
        if not handles(self.daemon.process.pid, signal.SIGHUP):
            self.lacking["reload"] = "this version does not handle SIGHUP"

    def _configure(self) -> Path:
        scene = f"size={self._size}&fps={self._fps}"
        cameras: dict[str, Any] = {
            name: f"scene://street?seed={number}&{scene}" for number, name in enumerate(self.scenes)
        }
        if self.gate is not None:
            cameras[GATE] = {"uri": self.gate.uri, "stall_s": 5, "open_timeout_s": 5, "reconnect_max_s": 2}
        return write_config(
            self._folder / "edge.yaml",
            self.broker.uri,
            cameras,
            mqtt={
                "keepalive_s": 5,
                "health_interval_s": 5,
                "delivery": {"detections": "durable"},
                "outbox": {"directory": str(self._disk / "outbox"), "max_mib": 8},
            },
            sinks={
                "archive": {
                    "type": "jsonl",
                    "directory": str(self._disk / "archive"),
                    "max_mib": 1,
                    "max_files": 3,
                }
            },
            inference={"backend": "onnxruntime", "threads": 1},
            model={"path": str(self._model)},
            metrics=self.watcher.section,
            postprocess={"confidence_threshold": 0.3 if self._confident else 0.25},
        )

    def _mount(self, where: Path) -> Path:
        """Return a directory of a size of its own, to be filled without harm, where we may make one."""
        where.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "edge-app-soak", str(where)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            self._closing.callback(subprocess.run, ["umount", "--lazy", str(where)], check=False)
        else:
            self.lacking["disk"] = f"a file system of our own cannot be mounted: {done.stderr.strip()}"
        return where

    def _start_gate(self, port: int) -> RtspServer | None:
        if lacking := rtsp_server_lacks():
            self.lacking["camera server"] = lacking
            return None
        width, _, height = self._size.partition("x")
        options = ("--width", width, "--height", height, "--fps", str(self._fps))
        return RtspServer(*options, port=port)

    @contextlib.contextmanager
    def _broker_frozen(self) -> Iterator[float]:
        self.broker.freeze()
        try:
            yield 8.0
        finally:
            self.broker.thaw()

    @contextlib.contextmanager
    def _broker_killed(self) -> Iterator[float]:
        self.broker.kill()
        try:
            yield 4.0
        finally:
            self.broker.start()

    @contextlib.contextmanager
    def _broker_restarted(self) -> Iterator[float]:
        self.broker.end()
        self.broker.start()
        yield 0.0

    @contextlib.contextmanager
    def _gate_killed(self) -> Iterator[float]:
        assert self.gate is not None
        self.gate.kill()
        try:
            yield 6.0
        finally:
            self.gate = self._start_gate(self.gate.port)

    @contextlib.contextmanager
    def _gate_frozen(self) -> Iterator[float]:
        assert self.gate is not None
        self.gate.freeze()
        try:
            yield 10.0
        finally:
            self.gate.thaw()

    @contextlib.contextmanager
    def _disk_full(self) -> Iterator[float]:
        filler = self._disk / "filler"
        try:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 20))
            yield 8.0
        finally:
            filler.unlink(missing_ok=True)
            time.sleep(OUTBOX_RETRY_S)

    @contextlib.contextmanager
    def _reload(self) -> Iterator[float]:
        """Another threshold, so that there is something to apply, and which must be applied."""
        self._confident = not self._confident
        self._configure()
        self._reloads += 1
        os.kill(self.daemon.process.pid, signal.SIGHUP)
        self.daemon.until_log_says("reloaded: postprocess.confidence_threshold", self._reloads)
        yield 0.0
