"""A soak: the real daemon for hours, with a fault every so often, and a line for each thing that was seen."""

from __future__ import annotations

import http.client
import json
import logging
import os
import platform
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edge_app import __version__
from tests.soak.observe import FrameCounter, cost_of
from tests.soak.world import World

logger = logging.getLogger(__name__)

SETTLE_S = 45.0
"""By then what was captured has arrived: longer than any fault, the reconnect, and what had waited."""


@dataclass(frozen=True)
class Plan:
    """What a soak does.

    Attributes:
        seconds: How long.
        cameras: How many rendered cameras.
        fps: Their frames a second.
        size: Their size, as 320x240.
        sample_s: Between two samples.
        fault_every_s: Between the beginnings of two faults.
        stretch_s: Over so long a time frames are counted.
        settle_s: How long after it what was captured has arrived.
        seed: Of the order of the faults.
    """

    seconds: float
    cameras: int = 8
    fps: int = 5
    size: str = "320x240"
    sample_s: float = 5.0
    fault_every_s: float = 30.0
    stretch_s: float = 60.0
    settle_s: float = SETTLE_S
    seed: int = 1


def soak(plan: Plan, folder: Path, stop: threading.Event) -> Path:
    """Run a soak, and return the file of what was seen; `stop` ends it before its time."""
    folder = folder.absolute()  # the daemon has another working directory
    folder.mkdir(parents=True)
    path = folder / "soak.jsonl"
    with path.open("w", encoding="utf-8", buffering=1) as file:
        _Soak(plan, folder, _Record(file)).run(stop)
    return path


class _Record:
    """Writes what is seen, from more than one thread."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._lock = file, threading.Lock()

    def __call__(self, kind: str, **values: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"kind": kind, **values}) + "\n")


class _Soak:
    def __init__(self, plan: Plan, folder: Path, record: _Record) -> None:
        self._plan, self._record = plan, record
        self._world = World(folder / "world", plan.cameras, plan.fps, plan.size)
        self._began_s = time.monotonic()
        self._counter = FrameCounter(self._world.broker.uri, plan.stretch_s, time.time())
        self._over = threading.Event()
        self._error: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        self._record("start", **self._description())
        self._counter.start()
        hurting = threading.Thread(target=self._hurt, daemon=True)
        hurting.start()
        try:
            ended_by = self._watch(stop)
            self._over.set()
            hurting.join()
            if self._error is not None:
                ended_by = f"the harness failed: {self._error!r}"
            self._settle()
            self._record("end", t_s=self._t_s, ended_by=ended_by, missing=self._counter.missing)
        finally:
            self._over.set()
            hurting.join(30)
            self._counter.stop()
            self._world.close()

    @property
    def _t_s(self) -> float:
        return round(time.monotonic() - self._began_s, 3)

    def _description(self) -> dict[str, Any]:
        return {
            "t_s": 0.0,
            "version": __version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "nice": os.nice(0),
            "cameras": self._world.scenes,
            "fps": self._plan.fps,
            "size": self._plan.size,
            "fault_every_s": self._plan.fault_every_s,
            "faults": list(self._world.faults()),
            "lacking": self._world.lacking,
        }

    def _watch(self, stop: threading.Event) -> str:
        """Take samples until it is over, and return why it is."""
        daemon = self._world.daemon.process
        number = 0
        while self._t_s < self._plan.seconds:
            try:
                self._record(
                    "sample",
                    t_s=self._t_s,
                    **cost_of(daemon.pid),
                    load_1min=round(os.getloadavg()[0], 2),
                    missing=self._counter.missing,
                )
            except OSError:
                return f"the daemon ended with {daemon.wait()}"
            with suppress(OSError, http.client.HTTPException):  # a daemon that dies is noticed above
                self._world.watcher.get("/metrics")  # as Prometheus would
            self._rates(self._t_s - self._plan.settle_s)
            number += 1
            if stop.wait(max(0.0, number * self._plan.sample_s - self._t_s)):
                return "it was asked to stop"
            if daemon.poll() is not None:
                return f"the daemon ended with {daemon.returncode}"
            if self._error is not None:
                return f"the harness failed: {self._error!r}"
        return "time"

    def _rates(self, until_s: float) -> None:
        for rate in self._counter.take(until_s):
            self._record("rate", **rate)

    def _settle(self) -> None:
        ended_s = self._t_s
        time.sleep(self._plan.settle_s)
        self._rates(ended_s)

    def _hurt(self) -> None:
        try:
            for number, name in enumerate(self._order(), start=1):
                due_s = number * self._plan.fault_every_s
                if self._over.wait(max(0.0, due_s - self._t_s)):
                    return
                began_s = self._t_s
                with self._world.faults()[name]() as hold_s:
                    self._over.wait(hold_s)
                self._record("fault", t_s=began_s, fault=name, held_s=round(self._t_s - began_s, 3))
                logger.info("%.0f s: %s", began_s, name)
        except BaseException as error:  # noqa: BLE001 - told by the other thread
            self._error = error

    def _order(self) -> Iterator[str]:
        """Yield names of faults for ever: each comes once before any comes again, in ever another order."""
        draw = random.Random(self._plan.seed)
        while True:
            names = list(self._world.faults())
            draw.shuffle(names)
            yield from names
