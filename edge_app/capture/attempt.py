"""One connection of one camera, on a thread of its own: open, read until it ends, close.

The thread may hang anywhere inside the source. It is then revoked and left behind: whatever it brings
later is thrown away, and another attempt takes its place.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edge_app.capture.frozen import FrozenWatch, SurfaceLooker, look_at
from edge_app.errors import AccessRefusedError, ChannelClosed, EdgeAppError, EndOfStream
from edge_app.interfaces import FrameSink, Picture, Source
from edge_app.messages import Frame, FrameInfo

logger = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.25
"""How soon a reader notices that it is no longer wanted, where its source can wait for a limited time."""

HANGS_AFTER_S = 5.0
"""A reader that was given up may take so long to close its connection; then it counts as one that hangs."""

OPEN_GRACE_S = 2.5
"""A source that gives up opening in time by itself may still need this long to say why."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera to read, for as long as the process lives.

    Attributes:
        camera_id: Its name.
        create_source: Makes a new source for each connection; called on the reader's thread.
        live: Whether time goes on without us; see `Source.live`.
        conceal: Removes the camera's credentials from a text.
        stall_s: Longest time without a picture, in seconds.
        open_timeout_s: Longest wait for a connection, in seconds.
        reconnect_min_s: First wait before connecting again, in seconds.
        reconnect_max_s: Longest such wait, in seconds.
        fallbacks: Says how often a decoder failed and another took its place.
        decoder: What was chosen to decode it, in words.
        transport: How its RTSP travels, where that is one for all cameras; see `common_transport`.
        frozen_s: With the same picture for so long, in seconds, a live camera is frozen; None: it never is.
    """

    camera_id: str
    create_source: Callable[[], Source]
    live: bool
    conceal: Callable[[str], str] = str
    stall_s: float = 8.0
    open_timeout_s: float = 10.0
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 15.0
    fallbacks: Callable[[], int] = int
    decoder: str = ""
    transport: str | None = None
    frozen_s: float | None = None


class End(Enum):
    """How an attempt ended by itself."""

    FINISHED = "finished"
    """The source has no more pictures."""
    CLOSED = "closed"
    """Nobody takes its frames any more."""
    LOST = "lost"
    """The camera could not be opened, or stopped delivering."""


class Revoked(Exception):  # noqa: N818 - control flow, not an error
    """The attempt was given up from outside."""


class Attempt:
    """A connection being made or used. Its thread writes the public attributes; the supervisor reads them.

    Args:
        camera: Whom to connect to.
        sink: Takes the frames.
        frame_ids: The camera's counter, shared by all its attempts.
        changed: Called after a change that the supervisor should see at once.
        looker: Looks at pictures in a GPU's memory.

    Attributes:
        opened: Whether the source is open.
        waiting_since_s: Monotonic time since which the source has shown no sign of life; None while it is
            not the source that is waited for.
        decoder: The source's way in, once open.
        size: (width, height) of the last picture, in pixels.
        end: How it ended.
        reason: Why it was lost, in words without credentials.
        access_refused: Whether it was lost because the camera wants another user name or password.
    """

    def __init__(
        self,
        camera: Camera,
        sink: FrameSink,
        frame_ids: itertools.count[int],
        changed: Callable[[], None],
        looker: SurfaceLooker,
    ) -> None:
        self._camera = camera
        self._sink = sink
        self._frame_ids = frame_ids
        self._changed = changed
        self._looker = looker
        watched = camera.live and camera.frozen_s is not None
        self._frozen = FrozenWatch(camera.frozen_s or 0.0, changed) if watched else None
        self._lock = threading.Lock()
        self._revoked = False
        self._given_up_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"capture-{camera.camera_id}", daemon=True)
        self._not_before_s = 0.0
        """No wait counts from earlier on; only the supervisor's thread writes it."""
        self.opened = False
        self.waiting_since_s: float | None = time.monotonic()
        self.decoder: str | None = None
        self.size: tuple[int, int] | None = None
        self.end: End | None = None
        self.reason: str | None = None
        self.access_refused = False

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def revoke(self) -> None:
        """Give it up: no frame of it goes to the sink after this."""
        with self._lock:
            self._revoked = True
        self._given_up_at_s = self._given_up_at_s or time.monotonic()

    def forgive(self, seconds: float) -> None:
        """Let time pass that does not count, because the whole process stood still."""
        since_s = self.waiting_since_s
        if since_s is not None:
            # The reader may have gone on before us and written the time of just now: nothing lies ahead.
            self._not_before_s = min(max(since_s, self._not_before_s) + seconds, time.monotonic())

    def is_alive(self) -> bool:
        """Whether its thread still runs, or hangs."""
        return self._thread.is_alive()

    @property
    def hangs(self) -> bool:
        """Whether it was given up and has not ended in a time that suffices for closing a connection."""
        given_up_at_s = self._given_up_at_s
        since_s = 0.0 if given_up_at_s is None else time.monotonic() - given_up_at_s
        return since_s >= HANGS_AFTER_S and self.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait until its thread has ended, `timeout_s` seconds at most."""
        self._thread.join(timeout_s)

    @property
    def frozen(self) -> bool:
        """Whether the same picture has come for longer than it may."""
        return self._frozen is not None and self._frozen.frozen

    @property
    def overdue_at_s(self) -> float:
        """Monotonic time at which the source counts as hanging, unless it shows a sign of life before."""
        since_s = self.waiting_since_s
        if since_s is None:
            return float("inf")
        since_s = max(since_s, self._not_before_s)
        return since_s + (self._camera.stall_s if self.opened else self._camera.open_timeout_s + OPEN_GRACE_S)

    def _run(self) -> None:
        source: Source | None = None
        try:
            source = self._camera.create_source()
            source.open()
            self.decoder = source.decoder
            self._alive()
            self.opened = True
            self._pump(source)
        except EndOfStream:
            self.end = End.FINISHED
        except ChannelClosed:
            self.end = End.CLOSED
        except Revoked:
            logger.debug("camera %s: a reader that was given up came back", self._camera.camera_id)
        except EdgeAppError as error:
            self.access_refused = isinstance(error, AccessRefusedError)
            self._lose(error.message)
        except Exception as error:  # noqa: BLE001 - whatever a camera does, the process goes on
            self._lose(f"unexpected {type(error).__name__}: {error}")
            trace = self._camera.conceal(traceback.format_exc())
            logger.error("camera %s: %s", self._camera.camera_id, trace)  # noqa: TRY400 - exception() conceals nothing
        finally:
            self.waiting_since_s = None
            self._changed()
            if source is not None:
                source.close()
            self._changed()

    def _lose(self, reason: str) -> None:
        self.reason = self._camera.conceal(reason)
        self.end = End.LOST

    def _alive(self) -> None:
        self.waiting_since_s = time.monotonic()

    def _pump(self, source: Source) -> None:
        while not self._revoked:
            picture = source.read(READ_TIMEOUT_S)
            if picture is not None:
                self.waiting_since_s = None
                if self._frozen is not None and self._frozen.due:
                    picture = look_at(picture, self._frozen, self._looker)
                self._deliver(picture)
                self._alive()
            elif not self._camera.live:
                # A file that came back without a picture keeps its own pace; it does not hang.
                self._alive()
        raise Revoked

    def _deliver(self, picture: Picture) -> None:
        width, height = picture.width_height
        with self._lock:
            if self._revoked:
                if picture.lease is not None:
                    picture.lease.release()
                raise Revoked
            frame_id = next(self._frame_ids)
        if self.size != (width, height):
            self.size = (width, height)
            self._changed()
        info = FrameInfo(
            camera_id=self._camera.camera_id,
            frame_id=frame_id,
            captured_ns=picture.captured_ns,
            captured_at_ns=picture.captured_at_ns,
            width=width,
            height=height,
            capture_ms=picture.capture_ms,
            media_time_s=picture.media_time_s,
            camera_time_ns=picture.camera_time_ns,
        )
        self._sink.put(Frame(info, picture.pixels, picture.pixel_format, picture.lease, picture.colors))
