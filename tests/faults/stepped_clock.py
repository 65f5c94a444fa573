"""edge-app on a machine whose clock on the wall is stepped, and is synchronised or not, as a file says.

    python -m tests.faults.stepped_clock FILE run --config CONFIG

The file holds the seconds that the clock is wrong by, and 1 if the kernel takes it for synchronised.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

LOOK_S = 0.05


class WallClock:
    """Stands for `time.time` and its like; the file is read again every moment."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._real_ns, self._monotonic = time.time_ns, time.monotonic
        self._due_s = 0.0
        self._wrong_ns, self._synced = 0, False

    def time_ns(self) -> int:
        self._look()
        return self._real_ns() + self._wrong_ns

    def time(self) -> float:
        return self.time_ns() / 1e9

    def synced(self) -> bool:
        self._look()
        return self._synced

    def _look(self) -> None:
        now_s = self._monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + LOOK_S
            wrong_s, synced = self._file.read_text().split()
            self._wrong_ns, self._synced = int(float(wrong_s) * 1e9), synced == "1"


def set_clock(file: Path, wrong_s: float, *, synced: bool) -> None:
    """Step the clock of whoever reads `file`."""
    part = file.with_suffix(".part")
    part.write_text(f"{wrong_s} {int(synced)}")
    part.replace(file)


def main() -> None:
    clock = WallClock(Path(sys.argv.pop(1)))
    time.time, time.time_ns = clock.time, clock.time_ns
    import edge_app.ops.clock

    edge_app.ops.clock.kernel_clock_synced = clock.synced
    from edge_app import cli  # only now, for it and its parts take the clock over by name

    cli.main()


if __name__ == "__main__":
    main()
