"""Which of the process's threads used the processor."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

TASKS = Path("/proc/self/task")


def cpu_s_by_thread() -> dict[str, float]:
    """Return the CPU time in seconds of the live threads, by name up to the first `-`.

    So all threads `capture-NAME` count together; those that are not Python's are `native`.
    """
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    used: defaultdict[str, float] = defaultdict(float)
    for task in TASKS.iterdir():
        try:
            # Nanoseconds on the processor, nanoseconds waiting for one, slices.
            running_ns = int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):  # it has just ended
            continue
        used[names.get(int(task.name), "native").partition("-")[0]] += running_ns / 1e9
    return used


def used_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what was used between two such counts, the most first."""
    used = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    return dict(sorted(((name, seconds) for name, seconds in used.items() if seconds > 0), key=_most_first))


def _most_first(item: tuple[str, float]) -> float:
    return -item[1]
