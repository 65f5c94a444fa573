"""Checks that hang, crash and tell secrets."""

from __future__ import annotations

import threading
import time

import pytest

from edge_app.doctor.report import as_json, as_text
from edge_app.doctor.result import Check, Result, Status, failed, ok, skipped, warning
from edge_app.doctor.runner import run_checks
from edge_app.errors import ConfigError

SECRET = "canary-5d1f"


def hang() -> Result:
    threading.Event().wait()
    raise AssertionError


def stumble() -> Result:
    raise ZeroDivisionError(f"by {SECRET}")


def refuse() -> Result:
    raise ConfigError(f"no {SECRET}", hint="another one")


def redact(text: str) -> str:
    return text.replace(SECRET, "***")


def test_a_hanging_check_holds_up_neither_the_others_nor_the_answer() -> None:
    began_s = time.monotonic()
    findings = run_checks([Check("hangs", hang), Check("works", lambda: ok("fine"))], redact, 0.5)
    assert time.monotonic() - began_s < 2
    assert [(it.name, it.result.status) for it in findings] == [
        ("hangs", Status.FAILED),
        ("works", Status.OK),
    ]
    assert findings[0].result.found.startswith("no answer within")


def test_they_run_side_by_side() -> None:
    barrier = threading.Barrier(8, timeout=10)

    def meet() -> Result:
        barrier.wait()
        return ok("met")

    findings = run_checks([Check(str(i), meet) for i in range(8)], redact, 20)
    assert {it.result.found for it in findings} == {"met"}


@pytest.mark.parametrize(
    ("run", "found", "fix"),
    [
        (stumble, "the check itself failed: ZeroDivisionError: by ***", "Please report it"),
        (refuse, "no ***", "another one"),
        (lambda: warning(f"it is {SECRET}", f"change {SECRET}"), "it is ***", "change ***"),
    ],
)
def test_no_result_tells_a_secret(run: object, found: str, fix: str) -> None:
    (finding,) = run_checks([Check("one", run)], redact, 10)  # type: ignore[arg-type]
    assert finding.result.found == found
    assert (finding.result.fix or "").startswith(fix)


def test_the_report_sums_up() -> None:
    results = {"a": ok("x"), "b": failed("y", "do"), "c": warning("z", "see"), "d": skipped("none")}
    findings = run_checks([Check(name, lambda it=it: it) for name, it in results.items()], redact, 10)  # type: ignore[misc]
    lines = as_text(findings).splitlines()
    assert lines[0].split() == ["ok", "a", "x"]
    assert lines[2].split() == ["->", "do"]
    assert lines[-1] == "1 failed, 1 warnings, 1 ok, 1 skipped"
    told = as_json(findings)
    assert (told["failed"], told["warnings"], len(told["checks"])) == (1, 1, 4)
