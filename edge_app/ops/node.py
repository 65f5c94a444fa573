"""What the node as a whole is doing, told by how its cameras do."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from edge_app.interfaces import CameraObserver
from edge_app.messages import CameraState, CameraStatus, NodeState

BAD_STATES = frozenset({CameraState.STALLED, CameraState.FROZEN, CameraState.LOST})
GONE_STATES = frozenset({CameraState.STALLED, CameraState.LOST})


def host_node_name() -> str:
    """Return the host's name as a level of a topic: letters, digits, `_`, `.` and `-`."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname()).strip("-._")
    return name[:64] or "node"


class NodeWatch:
    """Keeps every camera's newest status, passes it on, and says when the node's own state changes.

    Called from capture threads and from the main thread.

    Args:
        cameras: All camera ids.
        observer: Told of every camera's change.
        set_node_state: Called with the node's state and its reason, when they change.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        observer: CameraObserver,
        set_node_state: Callable[[NodeState, str | None], None],
    ) -> None:
        self._observer = observer
        self._set_node_state = set_node_state
        self._lock = threading.Lock()
        self._statuses = {camera: CameraStatus(camera, CameraState.CONNECTING) for camera in cameras}
        self._troubles: dict[str, str] = {}
        self._running = False
        self._stopped = False
        self._told: tuple[NodeState, str | None] | None = None

    def camera_changed(self, status: CameraStatus) -> None:
        """Take a camera's new status into account; see `CameraObserver`."""
        with self._lock:
            if self._stopped:
                return
            self._statuses[status.camera_id] = status
            self._observer.camera_changed(status)
            if self._running:
                self._tell(*self._judge())

    def camera_gone(self, camera_id: str) -> None:
        """A camera was taken out of the configuration."""
        with self._lock:
            status = self._statuses.pop(camera_id, None)
            if status is None or self._stopped:
                return
            words = "it was taken out of the configuration"
            self._observer.camera_changed(replace(status, state=CameraState.ENDED, reason=words))
            if self._running:
                self._tell(*self._judge())

    def trouble(self, part: str, words: str | None) -> None:
        """A part of the daemon fails, in words, and the rest goes on; None: it works again."""
        with self._lock:
            if words is None:
                self._troubles.pop(part, None)
            else:
                self._troubles[part] = words
            if self._running and not self._stopped:
                self._tell(*self._judge())

    def starting(self, reason: str | None = None) -> None:
        """The model is being loaded; `reason` says what takes so long. Of no effect once that is over."""
        with self._lock:
            if self._running or self._stopped:
                return
            if self._told is None:
                for status in self._statuses.values():
                    self._observer.camera_changed(status)
            self._tell(NodeState.STARTING, reason)

    def running(self) -> None:
        """The street is open: from now on the cameras decide between online and degraded."""
        with self._lock:
            self._running = True
            self._tell(*self._judge())

    def stopping(self, reason: str | None) -> None:
        """The daemon ends, and its cameras with it: a kept state must not tell of a stream that is none."""
        with self._lock:
            self._stopped = True
            for camera_id, status in self._statuses.items():
                if status.state is not CameraState.ENDED:
                    self._statuses[camera_id] = ended = replace(
                        status, state=CameraState.ENDED, reason="the daemon was stopped"
                    )
                    self._observer.camera_changed(ended)
            self._tell(NodeState.STOPPING, reason)

    def node(self) -> tuple[NodeState, str | None]:
        """Return the node's state, and why it is in it."""
        told = self._told
        return (NodeState.STARTING, None) if told is None else told

    def statuses(self) -> dict[str, CameraStatus]:
        """Return every camera's newest status."""
        with self._lock:
            return dict(self._statuses)

    def _judge(self) -> tuple[NodeState, str | None]:
        bad = [status for status in self._statuses.values() if status.state in BAD_STATES]
        reasons = [f"{status.camera_id} {status.state.value}" for status in bad] + list(
            self._troubles.values()
        )
        if not reasons:
            return NodeState.ONLINE, None
        none_left = all(status.state in GONE_STATES for status in self._statuses.values())
        return NodeState.DEGRADED, ("no camera is left: " if none_left else "") + ", ".join(reasons)

    def _tell(self, state: NodeState, reason: str | None) -> None:
        if self._told != (state, reason):
            self._told = (state, reason)
            self._set_node_state(state, reason)
