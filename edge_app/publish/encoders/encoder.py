"""What every encoder can do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge_app.messages import CameraStatus, Detections, NodeInfo, NodeState
from edge_app.publish.payloads import HealthSnapshot
from edge_app.publish.traffic import Message, Received


class Encoder:
    """Makes messages of what the daemon knows; each encoder overrides what it says.

    States are the messages of `node`, `info`, `camera` and `seen`: of each topic the newest counts, and every
    new connection gets it again. These calls are made one at a time; `detections`, `health` and `will` come
    from other threads meanwhile.
    """

    subscriptions: tuple[str, ...] = ()
    """Topic filters of what it wants to hear."""
    per_frame: bool = True
    """Whether frames become messages; if not, `detections` is never called."""

    def will(self) -> Message | None:
        """Return what the broker shall say when we vanish."""
        return None

    def node(self, state: NodeState, reason: str | None) -> Iterable[Message]:  # noqa: ARG002 - for others
        """Return states that tell what the daemon is doing."""
        return ()

    def info(self, info: NodeInfo) -> Iterable[Message]:  # noqa: ARG002 - as above
        """Return states that tell what runs; comes before the first `seen` and `detections`."""
        return ()

    def gone(self, info: NodeInfo) -> Sequence[str]:  # noqa: ARG002 - as above
        """Return the topics of cameras that `info`, other than the one before, does not name any more.

        It is asked before `info`, whose messages are the last ones on these topics.
        """
        return ()

    def camera(self, status: CameraStatus) -> Iterable[Message]:  # noqa: ARG002 - as above
        """Return states that tell how a camera does."""
        return ()

    def seen(self, detections: Detections) -> Iterable[Message]:  # noqa: ARG002 - as above
        """Return states that the detections of a frame change."""
        return ()

    def detections(self, detections: Detections, dropped_frames: int) -> Message:
        """Return the message of one frame; `dropped_frames` of its camera went no further so far."""
        raise NotImplementedError

    def health(self, health: HealthSnapshot) -> Message | None:  # noqa: ARG002 - as above
        """Return a message that tells how the daemon does, if there is one."""
        return None

    def wanted_again(self, message: Received) -> Sequence[str]:  # noqa: ARG002 - as above
        """Return the topics whose states somebody asks for by a message of the subscriptions."""
        return ()
