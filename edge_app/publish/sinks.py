"""All sinks of a daemon as one: what one of them does, or fails to do, no other one feels."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from edge_app.interfaces import Sink, SinkState
from edge_app.messages import CameraStatus, Detections, NodeInfo, NodeState

logger = logging.getLogger(__name__)

GRACE_S = 1.5
"""A sink may take so much longer to end than it was told, to close what it has open."""


class SinkGroup:
    """A `Sink` of one main sink and others.

    The main one may make a played file wait, and what it raises is the caller's business. The others never
    wait; one that raises is left alone from then on.

    Args:
        main: The main broker.
        others: By name.
        trouble: Called when a sink is given up, with its name and why.
    """

    def __init__(self, main: Sink, others: Mapping[str, Sink], trouble: Callable[[str, str], None]) -> None:
        self._main, self._others, self._trouble = main, dict(others), trouble
        self._given_up: dict[str, str] = {}
        self._before: dict[str, SinkState] = {}
        """By name: how those ended that had it before. Who takes their place goes on counting."""
        self._stopped = False
        self._lock = threading.RLock()
        """Held while states are told, and while a sink that comes is told of them: none is missed."""
        self._node: tuple[NodeState, str | None] | None = None
        self._info: NodeInfo | None = None
        self._cameras: dict[str, CameraStatus] = {}

    def start(self) -> None:
        """Begin; see `Sink`."""
        for name, sink in self._others.items():
            self._ask(name, sink, lambda sink: sink.start())
        self._main.start()

    def replace(self, name: str, sink: Sink | None, timeout_s: float) -> Sink | None:
        """Let a sink take a name's place, or none: that which had it is ended before, and returned.

        After `stop` a new one is ended as well.

        Args:
            name: Of the sink.
            sink: Not yet started.
            timeout_s: For the end of the one before; see `Sink.stop`.
        """
        with self._lock:
            others = dict(self._others)
            before = others.pop(name, None)
            self._others = others
            self._given_up.pop(name, None)
        if before is not None:
            self._end(name, before, timeout_s)
            self._remember(name, before)
        if sink is None:
            return before
        if not self._stopped:
            self._ask(name, sink, lambda sink: sink.start())
        with self._lock:
            stopped = self._stopped
            if not stopped:
                self._ask(name, sink, self._tell_all)
                self._others = {**self._others, name: sink}
        if stopped:
            self._end(name, sink, 0.0)
        return before

    def _tell_all(self, sink: Sink) -> None:
        if self._node is not None:
            sink.set_node_state(*self._node)
        if self._info is not None:
            sink.set_info(self._info)
        for status in self._cameras.values():
            if self._info is None or status.camera_id in self._info.models:
                sink.camera_changed(status)

    def stop(self, timeout_s: float) -> bool:
        """End all of them at the same time; return whether every state of the main one went out."""
        with self._lock:
            self._stopped = True
            others = self._others
        threads = [
            threading.Thread(target=self._end, args=(name, sink, timeout_s), name=f"stop-{name}", daemon=True)
            for name, sink in others.items()
        ]
        for thread in threads:
            thread.start()
        deadline_s = time.monotonic() + timeout_s + GRACE_S
        settled = self._main.stop(timeout_s)
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return settled

    def set_node_state(self, state: NodeState, reason: str | None = None) -> None:
        """Say what the daemon is doing."""
        with self._lock:
            self._node = (state, reason)
            for name, sink in self._others.items():
                self._ask(name, sink, lambda sink: sink.set_node_state(state, reason))
            self._main.set_node_state(state, reason)

    def set_info(self, info: NodeInfo) -> None:
        """Say what runs here."""
        with self._lock:
            self._info = info
            self._cameras = {name: status for name, status in self._cameras.items() if name in info.models}
            for name, sink in self._others.items():
                self._ask(name, sink, lambda sink: sink.set_info(info))
            self._main.set_info(info)

    def camera_changed(self, status: CameraStatus) -> None:
        """Say how a camera does."""
        with self._lock:
            self._cameras[status.camera_id] = status
            for name, sink in self._others.items():
                self._ask(name, sink, lambda sink: sink.camera_changed(status))
            self._main.camera_changed(status)

    def put(self, detections: Detections, *, wait: bool) -> None:
        """Hand detections to all; see `DetectionsSink`."""
        for name, sink in self._others.items():
            self._ask(name, sink, lambda sink: sink.put(detections, wait=False))
        self._main.put(detections, wait=wait)

    def state(self) -> SinkState:
        """Return how the main sink does."""
        return self._main.state()

    def states(self) -> dict[str, SinkState]:
        """Return how the others do, by name."""
        found = {name: sink.state() for name, sink in self._others.items()}
        return {
            name: replace(
                _counted_on(self._before.get(name), state), problem=self._given_up.get(name, state.problem)
            )
            for name, state in found.items()
        }

    def _remember(self, name: str, sink: Sink) -> None:
        try:
            self._before[name] = _counted_on(self._before.get(name), sink.state())
        except Exception:  # one that has failed may fail here too
            logger.exception("sink %s does not say what it wrote", name)

    def _end(self, name: str, sink: Sink, timeout_s: float) -> None:
        try:
            sink.stop(timeout_s)
        except Exception:  # one that has failed may fail at its end too
            logger.exception("sink %s did not end", name)

    def _ask(self, name: str, sink: Sink, what: Callable[[Sink], object]) -> None:
        if name in self._given_up:
            return
        try:
            what(sink)
        except Exception as error:  # a fault of one sink must not stop the video
            logger.exception("sink %s has failed and is left alone from now on", name)
            self._given_up[name] = words = f"it has failed ({type(error).__name__}: {error})"
            # From another thread: whoever calls may hold a lock that this needs.
            threading.Thread(target=self._complain, args=(name, words), name=f"trouble-{name}").start()

    def _complain(self, name: str, words: str) -> None:
        if self._given_up.get(name) == words:  # another one may have taken its place meanwhile
            self._trouble(name, words)


def _counted_on(before: SinkState | None, now: SinkState) -> SinkState:
    """Return a state whose counts go on from those of the sink before."""
    if before is None:
        return now
    dropped = Counter(before.dropped) + Counter(now.dropped)
    return replace(now, written=before.written + now.written, dropped=dropped)
