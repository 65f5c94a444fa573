"""What a subscriber knows of the nodes and cameras that it follows, from their messages alone."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

Payload = Mapping[str, Any]

CREDIBLE_TRANSIT_S = 60.0
"""A message that seems to have come from the future, or to have travelled longer, tells of two clocks."""
KEPT_LATENCIES = 100_000
MOST_TEXT_CHARS = 200
MOST_LABELS = 10_000
"""So many labels of one camera are counted."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of latencies, in milliseconds, nearest rank."""

    p50: float
    p95: float


def percentiles(values_ms: list[float]) -> Percentiles | None:
    """Return the percentiles of some latencies, or None of none."""
    if not values_ms:
        return None
    ordered = sorted(values_ms)
    ranks = (math.ceil(len(ordered) * share) - 1 for share in (0.50, 0.95))
    return Percentiles(*(round(ordered[rank], 3) for rank in ranks))


class SequenceCheck:
    """Counts what is missing between the numbers of one topic; numbering starts again with each boot."""

    def __init__(self) -> None:
        self._boot: str | None = None
        self._last = -1
        self.missing = 0
        self.out_of_order = 0

    def see(self, boot: str, seq: int) -> None:
        """Take the next number into account; the first one seen of a boot begins the count."""
        if boot == self._boot:
            self.missing += max(0, seq - self._last - 1)
            self.out_of_order += seq <= self._last
        self._last = seq if boot != self._boot else max(seq, self._last)
        self._boot = boot


@dataclass(frozen=True, slots=True)
class CameraView:
    """One camera as its subscribers see it at one moment.

    Attributes:
        fps: Messages a second, lately.
        latency_ms: From capture to arrival, lately; None if nothing came.
        clocks_agree: False if the clocks of publisher and subscriber disagree; latency is then at least this.
        dropped_frames: What the daemon dropped since its start.
        missing: Messages that were published and did not arrive.
        in_view: Objects in the newest frame: label and count, the most frequent first.
    """

    state: str
    reason: str | None
    fps: float
    latency_ms: Percentiles | None
    clocks_agree: bool
    dropped_frames: int
    missing: int
    in_view: tuple[tuple[str, int], ...]


class FollowedCamera:
    """One camera as its subscribers see it.

    Args:
        window_s: Over how many seconds rate and latency are taken for display.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._recent: deque[tuple[float, float]] = deque()
        self._first_s: float | None = None
        self._last_s = 0.0
        self.latencies_ms: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self.sequence = SequenceCheck()
        self.state = "unknown"
        self.reason: str | None = None
        self.messages = 0
        self.dropped_frames = 0
        self.captured = 0
        """Frames that the daemon took from the camera, as its newest health message tells."""
        self.dropped_by_reason: dict[str, int] = {}
        """Likewise; newer than these may be `dropped_frames`."""
        self.in_view: Counter[str] = Counter()
        """Objects in the newest frame, by label."""
        self.seen: Counter[str] = Counter()
        """Objects in all frames, by label; one object in ten frames counts ten times."""
        self.clocks_agree = True
        """False if publisher and subscriber disagree about the time; latency is then a lower bound."""
        self.backend: str | None = None

    def take_status(self, payload: Payload) -> None:
        """Take a camera status message. Raises KeyError or TypeError if it is not one."""
        self.state, self.reason = shown(payload["state"]), _text_or_none(payload["reason"])

    def take_detections(self, payload: Payload, received_at_ns: int, now_s: float) -> None:
        """Take a detections message that arrived at Unix time `received_at_ns`, monotonic time `now_s`.

        Raises:
            KeyError, TypeError, ValueError: If it is not one; nothing was counted then.
        """
        labels = Counter(shown(found["label"]) for found in payload["objects"])
        latency_ms, clocks_agree = end_to_end_ms(payload, received_at_ns)
        boot, seq, dropped = str(payload["boot"]), int(payload["seq"]), int(payload["dropped_frames"])
        self.backend = shown(payload["model"]["backend"])
        self.sequence.see(boot, seq)
        self.clocks_agree = clocks_agree
        self.dropped_frames = dropped
        self.in_view = labels
        if len(self.seen) < MOST_LABELS:
            self.seen.update(labels)
        self.messages += 1
        self.latencies_ms.append(latency_ms)
        self._recent.append((now_s, latency_ms))
        self._first_s = now_s if self._first_s is None else self._first_s
        self._last_s = now_s

    def take_health(self, payload: Payload) -> None:
        """Take this camera's part of a health message. Raises KeyError or TypeError if it is not one."""
        captured = int(payload["captured"])
        dropped = {shown(reason): int(count) for reason, count in dict(payload["dropped"]).items()}
        self.captured, self.dropped_by_reason = captured, dropped
        self.dropped_frames = max(self.dropped_frames, sum(dropped.values()))

    def view(self, now_s: float) -> CameraView:
        """Return what is known at monotonic time `now_s`; rate and latency over the window."""
        while self._recent and self._recent[0][0] < now_s - self._window_s:
            self._recent.popleft()
        span_s = 1.0 if self._first_s is None else min(self._window_s, max(1.0, now_s - self._first_s))
        return CameraView(
            state=self.state,
            reason=self.reason,
            fps=len(self._recent) / span_s,
            latency_ms=percentiles([latency_ms for _, latency_ms in self._recent]),
            clocks_agree=self.clocks_agree,
            dropped_frames=self.dropped_frames,
            missing=self.sequence.missing,
            in_view=tuple(self.in_view.most_common()),
        )

    def mean_fps(self) -> float:
        """Return messages a second from the first to the last."""
        if self._first_s is None or self._last_s <= self._first_s:
            return 0.0
        return (self.messages - 1) / (self._last_s - self._first_s)


@dataclass(frozen=True, slots=True)
class NodeView:
    """One daemon as its subscribers see it at one moment. None: not known (yet)."""

    state: str = "unknown"
    reason: str | None = None
    version: str | None = None
    model: str | None = None
    rss_bytes: int | None = None
    cpu_percent: float | None = None

    def after_status(self, payload: Payload) -> NodeView:
        """Return the view after a node status message. Raises KeyError or TypeError if it is not one."""
        return replace(self, state=shown(payload["state"]), reason=_text_or_none(payload["reason"]))

    def after_info(self, payload: Payload) -> NodeView:
        """Return the view after an info message. Raises KeyError or TypeError if it is not one."""
        models = payload["models"] if "models" in payload else [payload["model"]]  # of before 1.1
        words = ", ".join(_model_words(model) for model in models)
        return replace(self, version=shown(payload["version"]), model=shown(words))

    def after_health(self, payload: Payload) -> NodeView:
        """Return the view after a health message. Raises KeyError, TypeError, ValueError if it is not one."""
        rss_bytes, cpu_percent = payload["rss_bytes"], payload["cpu_percent"]
        return replace(
            self,
            rss_bytes=None if rss_bytes is None else int(rss_bytes),
            cpu_percent=None if cpu_percent is None else float(cpu_percent),
        )


def end_to_end_ms(payload: Payload, received_at_ns: int) -> tuple[float, bool]:
    """Return the latency of a detections message from capture to arrival, and whether the clocks agree.

    It is arrival minus `captured_at`: right on one machine, or where both clocks follow a reference. Where
    they plainly disagree it is `latency_ms.total`, which knows nothing of the way over the network.
    """
    received_at_s = received_at_ns / 1e9
    transit_s = received_at_s - _unix_s(payload["published_at"])
    if 0 <= transit_s <= CREDIBLE_TRANSIT_S:
        return (received_at_s - _unix_s(payload["captured_at"])) * 1000, True
    return float(payload["latency_ms"]["total"]), False


def _model_words(model: Payload) -> str:
    words = f"{model['name']} ({model['backend']}, {model['precision']})"
    configured = model.get("configured_name")
    return words if configured is None else f"{configured}: {words}"


def _unix_s(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp()


def _text_or_none(value: object) -> str | None:
    return None if value is None else shown(value)


def shown(value: object) -> str:
    """Return a text from the broker as it may be shown: what could steer a terminal is replaced, and cut."""
    text = str(value)[:MOST_TEXT_CHARS]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
