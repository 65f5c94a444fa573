"""A build before the eyes of a person: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from edge_app.engine.events import BuildEvent, EventKind

LINE_EVERY_S = 10.0
QUIET = frozenset({EventKind.RESULT, EventKind.FAILED})
"""How it ended is told by whoever asked for it."""


class BuildDisplay:
    """An `EventSink` and context manager that shows how far a build is.

    Args:
        console: Where; a terminal gets a bar that moves.
        clock: Seconds that only grow.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._line_at_s = -float("inf")
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[share]}"))
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._task = self._bar.add_task("starting", total=100, share="")

    def __enter__(self) -> BuildDisplay:  # noqa: PYI034 - typing has Self from 3.11 on
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, event: BuildEvent) -> None:
        """Take one event."""
        if event.kind in (EventKind.NOTE, EventKind.LOG):
            words = event.text if event.kind is EventKind.NOTE else f"TensorRT: {event.text}"
            self._console.print(words, style="dim", markup=False, highlight=False, soft_wrap=True)
        elif event.kind not in QUIET:
            self._advance(event)

    def _advance(self, event: BuildEvent) -> None:
        share = "" if event.percent is None else f"{event.percent:.0f} %"
        if self._console.is_terminal:
            self._bar.update(self._task, description=event.text)
            if share:
                self._bar.update(self._task, completed=event.percent, share=share)
        elif event.kind is EventKind.PHASE or self._clock() - self._line_at_s >= LINE_EVERY_S:
            self._line_at_s = self._clock()
            line = f"{event.elapsed_s:6.0f} s  {share:>5}  {event.text}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
