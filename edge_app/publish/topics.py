"""The topic tree: where each kind of message goes, and what a received topic means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edge_app.errors import PublishError

VERSION = "v1"
"""Major version of the contract; a breaking change opens a new tree beside this one."""


class Kind(str, Enum):
    """What a topic carries."""

    NODE_STATUS = "status"
    INFO = "info"
    HEALTH = "health"
    CAMERA_STATUS = "camera status"
    DETECTIONS = "detections"
    COUNTS = "counts"
    REPLY = "reply"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Address:
    """What a topic of the tree is about. `camera_id` is None for topics of the node itself."""

    node: str
    kind: Kind
    camera_id: str | None = None


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one node.

    Raises:
        PublishError: If root or node is not one non-empty topic level.
    """

    root: str
    node: str

    def __post_init__(self) -> None:
        _check_level("root", self.root)
        _check_level("node name", self.node)

    @property
    def status(self) -> str:
        """Retained, QoS 1: the node's state; also the will."""
        return f"{self._base}/status"

    @property
    def info(self) -> str:
        """Retained, QoS 1: what runs here."""
        return f"{self._base}/info"

    @property
    def health(self) -> str:
        """QoS 0, at an interval: how it runs."""
        return f"{self._base}/health"

    def camera_status(self, camera_id: str) -> str:
        """Retained, QoS 1: one camera's state."""
        return f"{self._camera(camera_id)}/status"

    def detections(self, camera_id: str) -> str:
        """QoS 0 and expiring, or durable and QoS 1: what was found in each frame of one camera."""
        return f"{self._camera(camera_id)}/detections"

    def counts(self, camera_id: str) -> str:
        """Retained, QoS 1: how many objects of each label one camera sees."""
        return f"{self._camera(camera_id)}/counts"

    def snapshot(self, camera_id: str) -> str:
        """QoS 1: a picture of one camera that was asked for."""
        return f"{self._camera(camera_id)}/snapshot"

    @property
    def commands(self) -> str:
        """The filter of all commands to this node."""
        return f"{self._base}/cmd/#"

    @property
    def reply(self) -> str:
        """QoS 1: what came of commands that named no response topic."""
        return f"{self._base}/reply"

    @property
    def _base(self) -> str:
        return f"{self.root}/{VERSION}/{self.node}"

    def _camera(self, camera_id: str) -> str:
        _check_level("camera", camera_id)
        return f"{self._base}/camera/{camera_id}"


def everything(root: str) -> str:
    """Return the topic filter that matches every node under `root`."""
    _check_level("root", root)
    return f"{root}/{VERSION}/#"


def parse(topic: str, root: str) -> Address | None:
    """Return what `topic` is about, or None if it is not one of this tree (a newer daemon may have more)."""
    match topic.split("/"):
        case [found, version, node, ("status" | "info" | "health" | "reply") as leaf] if (found, version) == (
            root,
            VERSION,
        ):
            return Address(node, Kind(leaf))
        case [found, version, node, "camera", camera_id, leaf] if (found, version) == (root, VERSION):
            kind = {
                "status": Kind.CAMERA_STATUS,
                "detections": Kind.DETECTIONS,
                "counts": Kind.COUNTS,
                "snapshot": Kind.SNAPSHOT,
            }.get(leaf)
            return None if kind is None else Address(node, kind, camera_id)
    return None


def _check_level(what: str, level: str) -> None:
    if not level or any(character in level for character in "/+#\0"):
        raise PublishError(
            f"The {what} {level!r} cannot be a level of an MQTT topic.",
            hint="Use letters, digits, '-', '_' and '.'; not '/', '+' or '#'.",
        )
