"""A file to attach to a report of a problem: what was found, versions, configuration, log. No secrets.

Every text passes through the registry of known secrets, and through patterns for those that it cannot know.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edge_app.doctor.bundle_file import FOLDER, place_bundle
from edge_app.doctor.config_copy import config_copy
from edge_app.doctor.machine import STATE_DIRECTORY, Machine
from edge_app.doctor.report import as_json, as_text
from edge_app.doctor.runner import Finding, clean
from edge_app.doctor.subject import Subject
from edge_app.doctor.unit import INSTANCES, SERVICE, unit_without_secrets
from edge_app.files.bounded import read_start

LOG_LINES = "3000"
MOST_BYTES = 4 << 20
"""Of one member; the end of a longer text is kept, where the newest lines are."""

FILES = (
    "/etc/os-release",
    "/etc/nv_tegra_release",
    "/proc/device-tree/model",
    "/proc/meminfo",
    "/proc/swaps",
    "/proc/loadavg",
    "/proc/devices",
    "/proc/driver/nvidia/version",
    "/etc/nvpmodel.conf",
    "/var/lib/nvpmodel/status",
)
COMMANDS = (
    ("journalctl", "--no-pager", "-u", SERVICE, "-u", INSTANCES, "-n", LOG_LINES, "-o", "short-iso"),
    ("journalctl", "--no-pager", "-k", "-n", "500", "-o", "short-iso"),
    ("systemctl", "cat", SERVICE, INSTANCES),
    ("systemctl", "show", SERVICE, INSTANCES),
    ("systemctl", "show", "nvargus-daemon.service"),
    ("nvidia-smi",),
    ("df", "-h"),
    ("ls", "-l", "/dev/dri", "/dev/nvmap", "/dev/nvidia0", "/dev/video0"),
    ("v4l2-ctl", "--list-devices"),
    ("gst-inspect-1.0", "--print-blacklist"),
)
_SECRET_KEY = re.compile(
    r"(?i)((?:password|passwd|passphrase|passwort|secret|token|api[_-]?key|(?<![a-z])(?:pass|pwd|credentials?))"
    r"[\"']?[ \t]*:[ \t]*)(?!null\b|'\*\*\*')"
    r"(\"(?:\\.|[^\"\\\n])*\"|'(?:''|[^'\n])*'|[^\s,}][^}\n]*)"
)
"""A key of YAML or JSON that is called like a secret, with its value; not `password_file` and its kin."""


def write_bundle(path: Path, subject: Subject, findings: Sequence[Finding]) -> list[str]:
    """Write a .tar.gz that only its owner may read, and return the names of its members.

    Raises:
        EdgeAppError: It cannot be written, or something else than an earlier bundle is there.
    """
    redact = secret_free(subject.secrets.redact)
    members = {
        "doctor.json": json.dumps(as_json(_clean(findings, redact)), indent=2),
        **{name: redact(text)[-MOST_BYTES:] for name, text in _members(subject, findings)},
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in members.items():
            content = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
    place_bundle(path, packed.getvalue())
    return list(members)


def secret_free(redact: Callable[[str], str]) -> Callable[[str], str]:
    """Return what hides known secrets, and the values of keys that are called like secrets."""
    return lambda text: _SECRET_KEY.sub(r"\g<1>***", redact(text))


def _clean(findings: Sequence[Finding], redact: Callable[[str], str]) -> list[Finding]:
    """Return findings without secrets: within JSON nobody would know where one ends."""
    return [replace(finding, result=clean(finding.result, redact)) for finding in findings]


def _members(subject: Subject, findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    machine = subject.machine
    yield "doctor.txt", as_text(findings)
    yield "packages.txt", "\n".join(sorted(_packages()))
    yield "uname.txt", " ".join(platform.uname())
    if subject.path is not None:
        yield f"config/{subject.path.name}", config_copy(subject.path, subject.credentials)
    for name in FILES:
        text = machine.read(name)
        if text is not None:
            yield f"files{name}", text
    for command in COMMANDS:
        answer = machine.command(*command)
        if answer is not None:
            name = re.sub(r"[^\w.-]+", "-", " ".join(command)).strip("-")[:80]
            output = unit_without_secrets(answer.output) if command[0] == "systemctl" else answer.output
            yield f"commands/{name}.txt", f"{output}\n{answer.errors}\n"
    yield from _manifests(machine)


def _packages() -> Iterator[str]:
    for distribution in importlib.metadata.distributions():
        yield f"{distribution.metadata['Name']} {distribution.version}"


def _manifests(machine: Machine) -> Iterator[tuple[str, str]]:
    for file in machine.glob(f"{STATE_DIRECTORY}/engines/*.json"):
        yield f"engines/{file.name}", _read(file)


def _read(path: Path) -> str:
    try:
        return read_start(path, MOST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
