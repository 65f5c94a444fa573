"""Two processes that take turns on one GPU: the same protocol, and the same timing, on both sides.

The parent asks with one JSON line on the child's standard input, and the child answers with one on its
standard output; between two turns a child waits for that line and leaves the GPU alone. Only the standard
library and numpy are needed, so that a side may run in an interpreter that has nothing else of edge_app's.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Protocol, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import BackendError

SEED = 7


class Runner(Protocol):
    """One way to run one model at one batch size; its input lies in device memory already."""

    def call(self) -> None:
        """Enqueue the model once."""

    def wait(self) -> None:
        """Wait until the outputs are there."""

    def device_ms(self) -> float | None:
        """Enqueue it between two events, wait, and return the time between them; None without a GPU."""

    def outputs(self) -> Sequence[NDArray[Any]]:
        """Return what the last call put out, in the order of the model's outputs."""


class Side(Protocol):
    """What one child process can run."""

    def describe(self) -> Mapping[str, str]:
        """Return the versions and settings that its times depend on."""

    def open(self, model: str, batch: int) -> Mapping[str, Runner | str]:
        """Load a model for one batch size; return the ways to run it, or in words why one cannot be run."""

    def close(self) -> None:
        """Free everything."""


def make_input(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an input of random values in 0..1: the same in every process."""
    return np.random.default_rng(SEED).random(shape, np.float32)


def time_turn(runner: Runner, warm_s: float, calls: int) -> dict[str, Any]:
    """Time one turn: `call_ms`, the median of calls that are waited for, and `device_ms`, between events.

    Args:
        runner: What is timed.
        warm_s: Seconds of calls that do not count, in which the GPU leaves its idle clocks.
        calls: How many calls count, for each of the two figures.
    """
    warm_until = time.perf_counter() + warm_s
    while time.perf_counter() < warm_until:
        runner.call()
        runner.wait()
    call_ms = []
    for _ in range(calls):
        started = time.perf_counter_ns()
        runner.call()
        runner.wait()
        call_ms.append((time.perf_counter_ns() - started) / 1e6)
    device_ms = [value for value in (runner.device_ms() for _ in range(calls)) if value is not None]
    return {
        "call_ms": float(np.median(call_ms)),
        "device_ms": float(np.median(device_ms)) if device_ms else None,
    }


def serve(side: Side) -> None:
    """Answer the parent's requests until it closes the pipe."""
    runners: dict[tuple[str, int], Mapping[str, Runner]] = {}
    try:
        answer_requests(lambda request: _answer(side, runners, request))
    finally:
        runners.clear()
        side.close()


def answer_requests(answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Give `answer` what `Child.ask` asks, until the parent closes the pipe; errors are told to it."""
    answers = _claim_stdout()
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to the parent, which decides
            found = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def _answer(
    side: Side, runners: dict[tuple[str, int], Mapping[str, Runner]], request: Mapping[str, Any]
) -> dict[str, Any]:
    if request["do"] == "describe":
        return dict(side.describe())
    key = (request["model"], request["batch"])
    if request["do"] == "open":
        found = side.open(*key)
        runners[key] = {way: runner for way, runner in found.items() if not isinstance(runner, str)}
        left_out = {way: why for way, why in found.items() if isinstance(why, str)}
        return {"ways": list(runners[key]), "left_out": left_out}
    runner = runners[key][request["way"]]
    if request["do"] == "time":
        return time_turn(runner, request["warm_s"], request["calls"])
    runner.call()
    runner.wait()
    outputs = [np.asarray(output, np.float32) for output in runner.outputs()]
    np.savez(request["path"], *outputs)
    return {}


def _claim_stdout() -> TextIO:
    """Keep the pipe to the parent for answers, and send all other standard output to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


class Child:
    """A side in a process of its own, seen by the parent."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        # Both are pipes, as asked for; the types cannot know.
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        self._unread = b""

    def ask(self, timeout_s: float, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises:
            BackendError: The child failed at it, died, or did not answer within `timeout_s` seconds.
        """
        try:
            self._stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._death() from None
        answer: dict[str, Any] = json.loads(self._read_line(time.monotonic() + timeout_s, str(request)))
        if "error" in answer:
            raise BackendError(f"{self.name} failed at {request}: {answer['error']}")
        return answer

    def close(self, timeout_s: float = 20.0) -> None:
        """End the child: by the end of its input, or by force."""
        self._stdin.close()
        self._stdout.close()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read_line(self, deadline: float, request: str) -> bytes:
        while b"\n" not in self._unread:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._stdout], [], [], left_s)[0]:
                raise BackendError(f"{self.name} did not answer in time: {request}")
            piece = os.read(self._stdout.fileno(), 65536)
            if not piece:
                raise self._death()
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _death(self) -> BackendError:
        return BackendError(
            f"{self.name} ended with status {self._process.wait()}", hint="Its last words are above."
        )
