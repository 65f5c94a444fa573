"""A control group of our own, whose memory can be bounded: version 2 or 1, whichever this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge_app.memory import control_group_folders

_HOG = """
import sys, time
with open("/proc/self/oom_score_adj", "w") as score:
    score.write("1000")  # as a build's
held = bytearray()
for line in sys.stdin:
    held += b"x" * (int(line) << 20)
    print(len(held) >> 20, flush=True)
"""
_ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """Processes started `inside` share what it allows.

    Skips the test where no such group can be made.
    """

    def __init__(self, name: str) -> None:
        home = next((folder for folder in self._homes() if (folder / "cgroup.procs").exists()), None)
        if home is None:
            pytest.skip("no control group has a memory controller here")
        self._home, self.folder = home, home / name
        try:
            self.folder.mkdir()
        except OSError as error:
            pytest.skip(f"no control group of our own can be made: {error}")
        self._limit = "memory.max" if (self.folder / "memory.max").exists() else "memory.limit_in_bytes"
        if not (self.folder / self._limit).exists():
            self.folder.rmdir()
            pytest.skip("control groups below ours have no memory controller")

    @staticmethod
    def _homes() -> Iterator[Path]:
        """Below the root: a group of version 2 with processes of its own may have no groups below it."""
        yield from (
            folder for folder in control_group_folders() if (folder / "memory.limit_in_bytes").exists()
        )
        if "memory" in _words(_ROOT / "cgroup.subtree_control"):
            yield _ROOT

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread's processes start in the group."""
        ours = control_group_folders()[0] if self._limit == "memory.max" else self._home
        self._enter(self.folder)
        try:
            yield
        finally:
            self._enter(ours)

    @staticmethod
    def _enter(folder: Path) -> None:
        (folder / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, limit_bytes: int) -> None:
        """Bound what its processes use."""
        (self.folder / self._limit).write_text(str(limit_bytes))

    def used_bytes(self) -> int:
        """Return what they use, without files that were merely read."""
        names = ("memory.current", "inactive_file")
        if self._limit != "memory.max":
            names = ("memory.usage_in_bytes", "total_inactive_file")
        stat = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return int((self.folder / names[0]).read_text()) - int(stat[names[1]])

    def close(self) -> None:
        """Remove it; its processes must have ended."""
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            with suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.05)


class Hog:
    """Takes memory when it is told, and is what the kernel ends first."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def take(self, mib: int) -> bool:
        """Take so much more; False if that was its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{mib}\n")
            self.process.stdin.flush()
        return bool(self.process.stdout.readline())

    def take_until(self, enough: Callable[[], bool], step_mib: int) -> None:
        """Take more and more."""
        while not enough():
            assert self.take(step_mib), "the kernel has ended it"

    def end(self) -> int:
        """End it, and return how it ended."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        return self.process.wait()


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
