"""Stands where the builder stands, speaks its protocol, and does what EDGE_APP_TEST_MODE says."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from edge_app.engine.events import BuildEvent, EventKind
from edge_app.engine.worker import die_with

FOLDER = Path(os.environ["EDGE_APP_TEST_FOLDER"])
MIB = 1 << 20
Spec = dict[str, Any]


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say(event_kind: EventKind, text: str, **data: object) -> None:
    write(BuildEvent(event_kind, text, data=data).to_line())


def good(spec: Spec) -> None:
    Path(spec["plan"]).write_bytes(f"plan for {spec['precision']} {spec['model']}".encode())
    say(EventKind.RESULT, "the engine is built", build_s=0.5)


def crashes(spec: Spec) -> None:
    sys.stderr.write("native stack of the crash\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(spec: Spec) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def silent_exit(spec: Spec) -> None:
    sys.exit(3)


def hangs(spec: Spec) -> None:
    Path(spec["plan"]).write_bytes(b"half a pl")
    say(EventKind.PHASE, "hanging")
    threading.Event().wait()


def eats_memory(spec: Spec) -> None:
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1 << 10) * (8 << 10)))
        time.sleep(0.02)


def needs_little_workspace(spec: Spec) -> None:
    if spec["workspace_bytes"] <= 40 * MIB:
        good(spec)
        return
    say(EventKind.FAILED, "the GPU's memory ran out", kind="out_of_memory", hint=None, details=["oom"])
    sys.exit(1)


def mutters(spec: Spec) -> None:
    while not (FOLDER / "open").exists():
        sys.stderr.write("a library mutters\n")
        say(EventKind.LOG, "a warning")
        time.sleep(0.02)
    good(spec)


def waits_at_the_gate(spec: Spec) -> None:
    say(EventKind.PHASE, "at the gate")
    while not (FOLDER / "open").exists():
        time.sleep(0.02)
    good(spec)


def lingers(spec: Spec) -> None:
    good(spec)
    threading.Event().wait()


def noisy(spec: Spec) -> None:
    write("a library prints this")
    write("[1, 2]")
    good(spec)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    with (FOLDER / "builds.log").open("a") as log:
        log.write(f"{os.getpid()}\n")
    die_with(spec["parent_pid"])
    modes = (good, crashes, killed, silent_exit, hangs, eats_memory, needs_little_workspace, noisy)
    by_name = {mode.__name__: mode for mode in (*modes, waits_at_the_gate, lingers, mutters)}
    by_name[os.environ["EDGE_APP_TEST_MODE"]](spec)


if __name__ == "__main__":
    main()
