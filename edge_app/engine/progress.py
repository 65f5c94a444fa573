"""How far a build is: from TensorRT's progress monitor, and before version 10 from its log."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from edge_app.engine.events import BuildEvent, EventKind, EventSink

OUT_OF_MEMORY = re.compile(r"out of memory|outofmemory|MEM_ALLOC_FAILED|bad_alloc", re.IGNORECASE)
LAYERS_LEFT = re.compile(r"^After .*: (\d+) layers")
LAYER_TIMED = re.compile(r"^=+ Computing costs for")
BUILD_SHARE = (10.0, 99.0)
"""The part of the whole, in percent, that TensorRT's own build is."""


class Reporter:
    """Turns what happens during a build into events. Called from TensorRT's threads too.

    Args:
        emit: Where events go.
    """

    def __init__(self, emit: EventSink) -> None:
        self._emit = emit
        self._started = time.monotonic()
        self._percent = 0.0
        self._layers = 0
        self._timed = 0
        self._fractions: dict[str, tuple[str | None, int, int]] = {}
        self.errors: list[str] = []
        self.out_of_memory = False

    def phase(self, name: str, percent: float | None = None) -> None:
        """Say that a phase begins, and at which percentage of the whole."""
        self._percent = max(self._percent, percent or 0.0)
        self._send(EventKind.PHASE, name, self._percent)

    def note(self, text: str) -> None:
        """Say what was decided."""
        self._send(EventKind.NOTE, text)

    def done(self, kind: EventKind, text: str, data: Mapping[str, Any]) -> None:
        """Say how it ended."""
        self._send(kind, text, 100.0 if kind is EventKind.RESULT else None, data)

    def step(self, phase: str, parent: str | None, done: int, steps: int) -> None:
        """Take a report of TensorRT's progress monitor."""
        self._fractions[phase] = (parent, done, max(steps, 1))
        if done == 0 and parent is None:
            self._send(EventKind.PHASE, phase)
        if done >= steps:
            self._fractions.pop(phase, None)
        else:
            self._advance(self._nested_fraction(phase))

    def log(self, severity: str, message: str) -> None:
        """Take a line of TensorRT's log; `severity` is a name of `ILogger.Severity`."""
        if severity in {"ERROR", "INTERNAL_ERROR"}:
            self.errors.append(message.strip())
            # Below this severity TensorRT tells of tactics that it leaves out for want of memory.
            self.out_of_memory = self.out_of_memory or OUT_OF_MEMORY.search(message) is not None
        if severity in {"ERROR", "INTERNAL_ERROR", "WARNING"}:
            self._send(EventKind.LOG, message.strip(), data={"severity": severity.lower()})
        elif found := LAYERS_LEFT.match(message):
            self._layers = int(found[1])
        elif LAYER_TIMED.match(message) and self._layers:
            self._timed += 1
            self._advance(self._timed / (self._layers + 1))

    def _nested_fraction(self, phase: str | None) -> float:
        """Return how much of the outermost phase is done: each phase is one step of its parent."""
        fraction = 0.0
        while phase is not None and phase in self._fractions:
            parent, done, steps = self._fractions[phase]
            fraction = min((done + fraction) / steps, 1.0)
            phase = parent
        return fraction

    def _advance(self, fraction: float) -> None:
        low, high = BUILD_SHARE
        percent = low + (high - low) * min(fraction, 1.0)
        if percent >= self._percent + 1.0:
            self._percent = percent
            self._send(EventKind.PROGRESS, "building", percent)

    def _send(
        self, kind: EventKind, text: str, percent: float | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        elapsed_s = time.monotonic() - self._started
        self._emit(BuildEvent(kind, text, elapsed_s, percent, data or {}))


def native_logger(trt: Any, reporter: Reporter) -> Any:
    """Return a TensorRT logger that tells `reporter` everything, down to VERBOSE."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            reporter.log(severity.name, message)

    return Logger()
