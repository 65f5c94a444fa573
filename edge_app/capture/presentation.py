"""Which packet a decoded picture came from, by the order in which pictures are shown."""

from __future__ import annotations

import heapq

from edge_app.interfaces import EncodedPacket

MOST_WAITING = 64
"""More packets than any decoder holds back; what a decoder takes and never shows is not kept."""

JUMP_S = 1.0
"""A packet that is shown so long before one that was shown already is of another clock."""


class PresentationTimes:
    """Tells which packet a decoded picture came from.

    Decoders give pictures back in the order in which they are shown, without their times. A packet that
    yields no picture must not shift the times of all that follow: more than `reorder_depth` can never wait.

    Args:
        reorder_depth: See `VideoStream.reorder_depth`.
    """

    def __init__(self, reorder_depth: int) -> None:
        self._depth = reorder_depth
        self._fed: list[tuple[int, float, int, EncodedPacket]] = []
        self._count = 0
        self._clock = 0
        """Counts the times at which the stream's clock was set back: what came before is shown before."""
        self._latest_s = 0.0
        self._shown_s = float("-inf")

    def __len__(self) -> int:
        """How many packets wait for their picture."""
        return len(self._fed)

    def feed(self, packet: EncodedPacket) -> None:
        """Note a packet that goes into the decoder."""
        # Without a time, the order of the packets is the best guess.
        time_s = self._latest_s if packet.pts_s is None else packet.pts_s
        if time_s < self._shown_s - JUMP_S:
            self._clock += 1
            self._latest_s = time_s
            self._shown_s = float("-inf")
        self._latest_s = max(self._latest_s, time_s)
        self._count += 1
        heapq.heappush(self._fed, (self._clock, time_s, self._count, packet))
        if len(self._fed) > MOST_WAITING:
            heapq.heappop(self._fed)

    def take(self, count: int) -> list[EncodedPacket | None]:
        """Return the packets of the next `count` pictures; None where there is none left."""
        while len(self._fed) > self._depth + count:
            heapq.heappop(self._fed)
        return [self._next() for _ in range(count)]

    def _next(self) -> EncodedPacket | None:
        if not self._fed:
            return None
        clock, time_s, _, packet = heapq.heappop(self._fed)
        if clock == self._clock:
            self._shown_s = time_s
        return packet
