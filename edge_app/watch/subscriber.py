"""Follows every daemon under one root, as any subscriber could: it knows the contract and nothing else."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson

from edge_app.publish.broker import BrokerOptions
from edge_app.publish.connection import BrokerConnection
from edge_app.publish.topics import Address, Kind, everything, parse
from edge_app.publish.traffic import Received, Traffic
from edge_app.watch.broken import UNREADABLE, BrokenMessages
from edge_app.watch.followed import CameraView, FollowedCamera, NodeView, percentiles

CameraKey = tuple[str, str]
"""Node and camera."""
MOST_NODES, MOST_CAMERAS = 1000, 10_000
"""So many are followed: whoever may publish must not fill our memory. What comes beyond counts as broken."""


def watcher_client_id() -> str:
    """Return a client id that no other watcher has."""
    return f"edge-app-watch-{secrets.token_hex(4)}"


class Subscriber(Traffic):
    """Subscribes to `<root>/v1/#` and keeps account of nodes and cameras. The broker may be absent.

    Messages that it cannot understand are counted in `broken`, never raised; unknown topics are passed over.

    Args:
        options: Whom to connect to.
        root: First level of the topics.
        window_s: Over how many seconds rates and latencies are taken for display.
        on_detections: Called with each detections message, from the connection's thread; must return at
            once. What it raises is logged.
    """

    def __init__(
        self,
        options: BrokerOptions,
        root: str = "edge",
        *,
        window_s: float = 10.0,
        on_detections: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.subscriptions = (everything(root),)
        self._root, self._window_s, self._on_detections = root, window_s, on_detections
        self._lock = threading.Lock()
        self._nodes: dict[str, NodeView] = {}
        self._cameras: dict[CameraKey, FollowedCamera] = {}
        self._broken = BrokenMessages()
        self.address = options.address
        self.failure: BaseException | None = None
        self._connection = BrokerConnection(options, self, self._failed)

    @property
    def is_connected(self) -> bool:
        """Whether there is a working connection to the broker."""
        return self._connection.connected

    @property
    def problem(self) -> str | None:
        """Why there is no connection, in words; None while there is one."""
        return self._connection.problem

    @property
    def broken(self) -> int:
        """Messages that could not be understood."""
        return len(self._broken)

    def start(self) -> None:
        """Begin connecting; returns at once."""
        self._connection.start()

    def stop(self) -> None:
        """Disconnect."""
        self._connection.stop()

    def received(self, message: Received) -> None:
        """Take one message into account; called by the connection."""
        address = parse(message.topic, self._root)
        if address is None:
            return
        if not message.payload:
            self._forget(address)
            return
        try:
            payload = orjson.loads(message.payload)
            with self._lock:
                self._take(address, payload, message.received_at_ns)
        except UNREADABLE as error:
            self._broken.count(message.topic, error)
            return
        if address.kind is Kind.DETECTIONS and self._on_detections is not None:
            self._on_detections(payload)

    def nodes(self) -> dict[str, NodeView]:
        """Return the nodes by name, in the order of their names."""
        with self._lock:
            return dict(sorted(self._nodes.items()))

    def cameras(self) -> dict[CameraKey, CameraView]:
        """Return the cameras by node and name, in that order."""
        now_s = time.monotonic()
        with self._lock:
            return {key: camera.view(now_s) for key, camera in sorted(self._cameras.items())}

    def summary(self) -> dict[str, Any]:
        """Return totals since the start, ready for JSON.

        `messages`, `fps` (messages a second of all cameras together), `latency_ms` {p50, p95} from capture
        to arrival or None, `clocks_agree`, `captured`, `dropped` and `dropped_by_reason` (as the daemons
        tell), `gaps` (messages lost on the way), `broken`, `objects` {label: count over all frames},
        `backend`, `cameras` {node/camera: ...}.
        """
        with self._lock:
            cameras = dict(sorted(self._cameras.items()))
            latency = percentiles([ms for camera in cameras.values() for ms in camera.latencies_ms])
            seen: Counter[str] = Counter()
            reasons: Counter[str] = Counter()
            for camera in cameras.values():
                seen.update(camera.seen)
                reasons.update(camera.dropped_by_reason)
            return {
                "messages": sum(camera.messages for camera in cameras.values()),
                "fps": round(sum(camera.mean_fps() for camera in cameras.values()), 2),
                "latency_ms": None if latency is None else asdict(latency),
                "clocks_agree": all(camera.clocks_agree for camera in cameras.values()),
                "captured": sum(camera.captured for camera in cameras.values()),
                "dropped": sum(camera.dropped_frames for camera in cameras.values()),
                "dropped_by_reason": dict(reasons.most_common()),
                "gaps": sum(camera.sequence.missing for camera in cameras.values()),
                "broken": self.broken,
                "objects": dict(seen.most_common()),
                "backend": next((camera.backend for camera in cameras.values() if camera.backend), None),
                "cameras": {f"{node}/{name}": _camera_summary(it) for (node, name), it in cameras.items()},
            }

    def _take(self, address: Address, payload: Mapping[str, Any], received_at_ns: int) -> None:
        if address.camera_id is not None:
            camera = self._camera(address.node, address.camera_id)
            if address.kind is Kind.DETECTIONS:
                camera.take_detections(payload, received_at_ns, time.monotonic())
            elif address.kind is Kind.CAMERA_STATUS:
                camera.take_status(payload)
            self._keep_camera((address.node, address.camera_id), camera)
            return
        node = self._nodes.get(address.node, NodeView())
        if address.kind is Kind.NODE_STATUS:
            node = node.after_status(payload)
        elif address.kind is Kind.INFO:
            node = node.after_info(payload)
        elif address.kind is Kind.HEALTH:
            node = node.after_health(payload)
            for camera_id, health in payload["cameras"].items():
                camera = self._camera(address.node, camera_id)
                camera.take_health(health)
                self._keep_camera((address.node, str(camera_id)), camera)
        if not address.node.isprintable():
            raise ValueError("a name that cannot be shown")
        if address.node not in self._nodes and len(self._nodes) >= MOST_NODES:
            raise ValueError("too many nodes")
        self._nodes[address.node] = node

    def _keep_camera(self, key: CameraKey, camera: FollowedCamera) -> None:
        if not all(name.isprintable() for name in key):
            raise ValueError("a name that cannot be shown")
        if key not in self._cameras and len(self._cameras) >= MOST_CAMERAS:
            raise ValueError("too many cameras")
        self._cameras[key] = camera

    def _camera(self, node: str, camera_id: str) -> FollowedCamera:
        return self._cameras.get((node, camera_id)) or FollowedCamera(self._window_s)

    def _forget(self, address: Address) -> None:
        """An empty retained message takes a node or camera away, if it is its status."""
        with self._lock:
            if address.kind is Kind.NODE_STATUS:
                self._nodes.pop(address.node, None)
            elif address.kind is Kind.CAMERA_STATUS and address.camera_id is not None:
                self._cameras.pop((address.node, address.camera_id), None)

    def _failed(self, error: BaseException) -> None:
        self.failure = error


def _camera_summary(camera: FollowedCamera) -> dict[str, Any]:
    latency = percentiles(list(camera.latencies_ms))
    return {
        "state": camera.state,
        "messages": camera.messages,
        "fps": round(camera.mean_fps(), 2),
        "latency_ms": None if latency is None else asdict(latency),
        "dropped": camera.dropped_frames,
        "gaps": camera.sequence.missing,
        "objects": dict(camera.seen.most_common()),
    }
