"""What the daemon costs and delivers, seen from outside."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter, defaultdict
from pathlib import Path

from edge_app.client import DetectionsMessage, Subscriber

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cost_of(pid: int) -> dict[str, float]:
    """Return what a process uses now, as a `sample` has it. Raises OSError if it is gone."""
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return {
        "rss_bytes": int((process / "statm").read_text().split()[1]) * _PAGE_BYTES,
        "threads": int(fields[17]),
        "descriptors": len(os.listdir(process / "fd")),  # noqa: PTH208 - names are enough
        "cpu_s": (int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
    }


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (number - 1) & 1)


class FrameCounter:
    """Counts the frames of each camera by the time of their capture, over every outage of the broker.

    Args:
        uri: The broker's.
        stretch_s: Length of a stretch of time, in seconds.
        start_s: Unix time at which the first one begins.
    """

    def __init__(self, uri: str, stretch_s: float, start_s: float) -> None:
        self._stretch_s, self._start_s = stretch_s, start_s
        self._lock = threading.Lock()
        self._frames: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._taken = 0
        self._last: dict[tuple[str, str], int] = {}
        self._missing: set[tuple[str, str, int]] = set()
        self._newest_s: dict[str, float] = {}
        self._messages = Subscriber(uri, session="soak")
        self._stopped = False
        self._thread = threading.Thread(target=self._count, daemon=True)

    @property
    def missing(self) -> int:
        """Messages whose numbers were left out and have not come since; what comes late is not lost.

        Raises:
            RuntimeError: Nobody counts any more.
        """
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stopped:
            raise RuntimeError("the thread that counts messages has ended")
        return len(self._missing)

    def newest_s(self, camera: str) -> float:
        """Return when a camera's newest frame that has arrived was captured (Unix time); 0: none has."""
        return self._newest_s.get(camera, 0.0)

    def start(self) -> None:
        self._messages.__enter__()
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._messages.close()
        self._thread.join()

    def take(self, until_s: float) -> list[dict[str, object]]:
        """Return, and forget, the stretches that ended before a time from the start, as a `rate` has them.

        A stretch in which no frame came is one of them.
        """
        places = range(self._taken, max(self._taken, int(until_s // self._stretch_s)))
        self._taken = places.stop
        with self._lock:
            taken = {place: self._frames.pop(place, Counter()) for place in places}
        return [
            {"t_s": (place + 0.5) * self._stretch_s, "seconds": self._stretch_s, "frames": dict(frames)}
            for place, frames in taken.items()
        ]

    def _count(self) -> None:
        for message in self._messages:
            if isinstance(message, DetectionsMessage) and message.camera is not None:
                self._follow(message.camera, message.boot, message.seq)
                captured_s = message.captured_at.timestamp()
                self._newest_s[message.camera] = max(captured_s, self._newest_s.get(message.camera, 0.0))
                place = int((captured_s - self._start_s) // self._stretch_s)
                if place < 0:
                    continue
                with self._lock:
                    self._frames[place][message.camera] += 1

    def _follow(self, camera: str, boot: str, seq: int | None) -> None:
        assert seq is not None
        last = self._last.get((camera, boot), seq - 1)
        self._missing |= {(camera, boot, number) for number in range(last + 1, seq)}
        self._missing.discard((camera, boot, seq))
        self._last[camera, boot] = max(last, seq)
