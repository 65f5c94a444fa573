from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from edge_app.capture.cameras import CameraGroup
from tests.capture.parts import RecordingObserver, RecordingSink, RtspServer, rtsp_server_lacks


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def groups() -> Iterator[list[CameraGroup]]:
    """Groups put in here are stopped at the end."""
    made: list[CameraGroup] = []
    yield made
    for group in made:
        group.stop(2.0)


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., RtspServer]]:
    """Starts RTSP cameras; they are killed at the end."""
    if lacking := rtsp_server_lacks():
        pytest.skip(lacking)
    servers: list[RtspServer] = []

    def start(*options: str, password: str | None = None, port: int = 0) -> RtspServer:
        servers.append(RtspServer(*options, password=password, port=port))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
