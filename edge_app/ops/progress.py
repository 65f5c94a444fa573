"""Whether the parts of the daemon get on: one that has work and does none of it hangs."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edge_app.ops.last_words import say_briefly
from edge_app.patience import Patience

logger = logging.getLogger(__name__)

POLL_S = 0.5
FRESH_S = 5.0
"""A watch that has not looked for so long hangs itself."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What a part shows of itself at a moment.

    Attributes:
        work: Whether it has something to do.
        done: A number that changes with everything it does.
    """

    work: bool
    done: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part to watch.

    Attributes:
        name: For people.
        thread: The name of its thread, of which the stack is logged.
        deadline_s: With work, and without doing any, for so many seconds it hangs; asked at each look.
        look: Returns its sign at once, and from any thread.
    """

    name: str
    thread: str
    deadline_s: Callable[[], float]
    look: Callable[[], Sign]


class ProgressWatch:
    """Looks at the parts twice a second, from a thread of its own, until one hangs or it is stopped.

    Time is counted in looks (`Patience`): while the whole process stands still nobody hangs.

    Args:
        parts: Whom to watch.
        on_hang: Called once, with the first part that hangs and for how long it has, in seconds.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        on_hang: Callable[[Part, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts, self._on_hang, self._clock = parts, on_hang, clock
        self._patience = {part.name: Patience(2 * POLL_S, clock) for part in parts}
        self._looked_at_s = clock()
        self._hung = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._looked_at_s = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def well(self) -> bool:
        """Whether no part hangs, and the watch has looked lately."""
        return not self._hung and self._clock() - self._looked_at_s < FRESH_S

    def step(self) -> None:
        """Look once."""
        self._looked_at_s = self._clock()
        for part in self._parts:
            sign = part.look()
            idle_s = self._patience[part.name].look(sign.work, sign.done)
            if idle_s >= part.deadline_s():
                self._hung = True
                try:
                    stack = stack_of(part.thread)
                    say_briefly(partial(_say_what_hangs, part, idle_s, stack))
                finally:
                    self._on_hang(part, idle_s)
                return

    def _main(self) -> None:
        while not self._stop.wait(POLL_S) and not self._hung:
            self.step()


def _say_what_hangs(part: Part, idle_s: float, stack: str) -> None:
    logger.critical("stage %s has work and has done nothing for %.0f s", part.name, idle_s)
    logger.critical("its thread %s: %s", part.thread, stack)


def stack_of(thread_name: str) -> str:
    """Return where a thread is now, the innermost call last, or in words that there is no such thread."""
    thread = next((one for one in threading.enumerate() if one.name == thread_name), None)
    frame = None if thread is None or thread.ident is None else sys._current_frames().get(thread.ident)
    return "it has ended" if frame is None else "\n" + "".join(traceback.format_stack(frame)).rstrip()
