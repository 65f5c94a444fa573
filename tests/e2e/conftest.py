from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_app.scene import StreetScene
from tests.brokers import Mosquitto
from tests.e2e.daemon import Daemon, write_config
from tests.publish.parts import Parts, Recorder

FILM_FRAMES, FILM_FPS = 60, 30
FILM_SIZE = (640, 360)

StartDaemon = Callable[..., Daemon]


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street, 60 frames long."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("films") / "a street.mp4"
    scene = StreetScene(seed=1, width=FILM_SIZE[0], height=FILM_SIZE[1], fps=FILM_FPS)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FILM_FPS, FILM_SIZE)
    assert writer.isOpened()
    for index in range(FILM_FRAMES):
        writer.write(scene.render(index))
    writer.release()
    return path


@pytest.fixture
def recorder(mosquitto: Mosquitto, parts: Parts) -> Recorder:
    """Listens at a Mosquitto, which is started for it."""
    mosquitto.start()
    return parts.recorder(mosquitto.uri)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartDaemon]:
    """Starts daemons: `start(broker, cameras, ...)`; they are killed at the end."""
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    daemons: list[Daemon] = []

    def begin(broker: str | None, cameras: dict[str, Any], *options: str, **sections: Any) -> Daemon:
        config = write_config(tmp_path / f"edge-{len(daemons)}.yaml", broker, cameras, **sections)
        daemons.append(Daemon(config, *options))
        return daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.kill()


@pytest.fixture
def silent_host() -> Iterator[int]:
    """The port of a host that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])
