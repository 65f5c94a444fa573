"""Which decoder a camera uses: decided once, said openly, and another one when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from enum import Enum

from edge_app.errors import DecoderError
from edge_app.interfaces import Picture, Source

logger = logging.getLogger(__name__)


class Way(str, Enum):
    """A kind of decoder, by its name in the configuration."""

    NVDEC = "nvdec"
    """The GPU's decoder, into device memory."""
    GSTREAMER = "gstreamer"
    """GStreamer through OpenCV: the hardware's decoder on a Jetson."""
    CPU = "cpu"
    """FFmpeg through OpenCV, or what else the kind of camera needs."""


class DecoderChoice:
    """The decoders that a camera may use, best first. Asked by its readers, one after the other.

    Args:
        camera_id: For the log.
        ways: At least one.
    """

    def __init__(self, camera_id: str, ways: Sequence[Way]) -> None:
        self._camera_id = camera_id
        self._ways = list(ways)
        self._lock = threading.Lock()
        self._fallbacks = 0

    @property
    def way(self) -> Way:
        """The one in use."""
        return self._ways[0]

    @property
    def fallbacks(self) -> int:
        """How often one failed and another took its place."""
        return self._fallbacks

    def failed(self, way: Way, error: DecoderError) -> None:
        """Note that a decoder cannot go on. The next connection uses the next one, if there is one."""
        with self._lock:
            if self._ways[0] is not way or len(self._ways) == 1:
                return
            del self._ways[0]
            self._fallbacks += 1
        logger.warning(
            "camera %s: %s; from here on it is decoded by %s",
            self._camera_id,
            error.message,
            self.way.value,
            extra={"event": "decoder_fallback"},
        )


class ChosenSource:
    """A `Source` that tells the choice when its decoder fails.

    Args:
        choice: Says which decoder to use.
        connect: Makes the source that uses it.
    """

    def __init__(self, choice: DecoderChoice, connect: Callable[[Way], Source]) -> None:
        self._choice = choice
        self._way = choice.way
        self._source = connect(self._way)

    @property
    def live(self) -> bool:
        """Whether time goes on without us."""
        return self._source.live

    @property
    def decoder(self) -> str:
        """The way in, in words."""
        return self._source.decoder

    def open(self) -> None:
        """Connect; see `Source.open`."""
        try:
            self._source.open()
        except DecoderError as error:
            self._choice.failed(self._way, error)
            raise

    def read(self, timeout_s: float) -> Picture | None:
        """Return the next picture; see `Source.read`."""
        try:
            return self._source.read(timeout_s)
        except DecoderError as error:
            self._choice.failed(self._way, error)
            raise

    def close(self) -> None:
        """Disconnect; see `Source.close`."""
        self._source.close()
