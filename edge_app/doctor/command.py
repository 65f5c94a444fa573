"""What `edge-app doctor` does."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_app.doctor.bundle import write_bundle
from edge_app.doctor.checks import all_checks
from edge_app.doctor.machine import Machine
from edge_app.doctor.report import as_json, as_text
from edge_app.doctor.result import Status
from edge_app.doctor.runner import count, run_checks
from edge_app.doctor.subject import open_subject
from edge_app.errors import EXIT_FAILURE


def run_doctor(
    config: Path | None,
    *,
    json_output: bool,
    bundle: Path | None,
    limit_s: float,
    machine: Machine | None = None,
) -> int:
    """Examine this machine, print what was found, and return the exit status.

    Args:
        config: The configuration; None: the installed one, if there is one.
        json_output: Print one JSON object, on one line.
        bundle: Write a support bundle here.
        limit_s: A check that has not answered by then has failed, in seconds.
        machine: What to examine; None: this machine.

    Returns:
        0 if nothing failed, otherwise 1; warnings are no failure.

    Raises:
        EdgeAppError: The bundle cannot be written; what was found is printed before.
    """
    with _silenced():  # what matters is in the results
        subject = open_subject(config, machine or Machine())
        findings = run_checks(all_checks(subject), subject.secrets.redact, limit_s)
    if json_output:
        sys.stdout.write(json.dumps(as_json(findings)) + "\n")
    else:
        sys.stdout.write(as_text(findings) + "\n")
    sys.stdout.flush()  # whatever becomes of the bundle
    if bundle is not None:
        write_bundle(bundle, subject, findings)
        sys.stderr.write(f"wrote {bundle}; look through it before you hand it on\n")
    return EXIT_FAILURE if count(findings, Status.FAILED) else 0


@contextmanager
def _silenced() -> Iterator[None]:
    logger = logging.getLogger("edge_app")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
