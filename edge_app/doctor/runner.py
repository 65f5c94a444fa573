"""Runs checks side by side, so that one that hangs holds up no other and not the answer either."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_app.doctor.result import Check, Result, Status, failed
from edge_app.errors import EdgeAppError

LIMIT_S = 30.0
"""Longer than a camera's connection and its first pictures take, or a first scan of GStreamer's plugins."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and how long it took in seconds."""

    name: str
    result: Result
    seconds: float


class _Running:
    def __init__(self, check: Check, redact: Callable[[str], str]) -> None:
        self._check, self._redact = check, redact
        self._began_s = time.monotonic()
        self._finding: Finding | None = None
        self._thread = threading.Thread(target=self._main, name=f"check-{check.name}", daemon=True)
        self._thread.start()

    def finding(self, deadline_s: float) -> Finding:
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._finding is not None:
            return self._finding
        waited_s = time.monotonic() - self._began_s
        result = failed(
            f"no answer within {waited_s:.0f} s",
            "What it asks hangs: look at `dmesg` and at the device or server that it is about, "
            "or give it more time with --timeout.",
        )
        return Finding(self._check.name, result, waited_s)

    def _main(self) -> None:
        result = clean(_run(self._check), self._redact)
        self._finding = Finding(self._check.name, result, time.monotonic() - self._began_s)


def run_checks(
    checks: Sequence[Check], redact: Callable[[str], str], limit_s: float = LIMIT_S
) -> list[Finding]:
    """Run all checks at once and return their findings in the order of the checks.

    Args:
        checks: What to run, each on a thread of its own.
        redact: Takes every text of a result and returns it without secrets.
        limit_s: What has not answered by then has failed; its thread is left behind.
    """
    deadline_s = time.monotonic() + limit_s
    running = [_Running(check, redact) for check in checks]
    return [one.finding(deadline_s) for one in running]


def count(findings: Sequence[Finding], status: Status) -> int:
    """Return how many findings are of a status."""
    return sum(finding.result.status is status for finding in findings)


def _run(check: Check) -> Result:
    try:
        return check.run()
    except EdgeAppError as error:
        return failed(error.message, error.hint or "See the log of `edge-app run --log-level debug`.")
    except Exception as error:  # noqa: BLE001 - a check that stumbles must not take the others along
        return failed(
            f"the check itself failed: {type(error).__name__}: {error}",
            "Please report it, with `edge-app doctor --bundle FILE`.",
        )


def clean(result: Result, redact: Callable[[str], str]) -> Result:
    """Return a result whose texts went through `redact`."""
    return Result(result.status, redact(result.found), None if result.fix is None else redact(result.fix))
