"""What only root can read or write is of no use to the service: its user is asked."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_app.doctor.directories import check_directories, why_fenced
from edge_app.doctor.machine import PYTHON_TIMEOUT_S, Answer, Machine, User
from edge_app.doctor.result import Status
from edge_app.doctor.service_view import Place, ServiceView, ask_service
from edge_app.doctor.settings import check_configuration, check_secrets
from edge_app.doctor.subject import Subject, open_subject
from edge_app.doctor.unit import SERVICE
from tests.doctor.conftest import Root

CONFIG = """
inference: {backend: onnxruntime}
cameras:
  gate: {uri: 'rtsp://127.0.0.1:1/x', username: u, password_file: gate.password}
mqtt: {uri: 'mqtt://127.0.0.1:1'}
"""
OTHER = 65534


@dataclass(frozen=True)
class RootWithoutItsRights(Machine):
    """Its children are root without capabilities, bound by rights as the service's user is."""

    def child_user(self) -> User | None:
        return User("edge-app", OTHER, OTHER, frozenset())

    def python(self, code: str, *arguments: str, timeout_s: float = PYTHON_TIMEOUT_S) -> Answer | None:
        command = ["setpriv", "--bounding-set=-all", sys.executable, "-c", code, *arguments]
        return self._run(command, timeout_s, {})


@pytest.fixture
def fenced(root: Root) -> Machine:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv (util-linux)")
    return RootWithoutItsRights(root.folder, root.machine.environment)


def installed(root: Root, text: str = CONFIG) -> Path:
    """Write the configuration of the installed service, and its password."""
    root.write({"/etc/edge-app/edge.yaml": text, "/etc/edge-app/gate.password": "hunter2222\n"})
    root.machine.path("/etc/edge-app/gate.password").chmod(0o600)
    return root.machine.path("/etc/edge-app/edge.yaml")


def of_another(path: Path, mode: int) -> None:
    os.chown(path, OTHER, OTHER)
    path.chmod(mode)


def seen(machine: Machine, config: Path) -> tuple[Subject, ServiceView]:
    return open_subject(config, machine), ask_service(machine, config)


def test_a_password_that_root_alone_can_read_is_none_for_the_service(root: Root, fenced: Machine) -> None:
    config = installed(root)
    subject, view = seen(fenced, config)
    assert check_secrets(subject, lambda: view).status is Status.OK
    of_another(config.with_name("gate.password"), 0o600)
    subject, view = seen(fenced, config)
    result = check_secrets(subject, lambda: view)
    assert result.status is Status.FAILED
    assert result.found.startswith("as edge-app, the service's user: cameras.gate.password_file: ")
    assert result.found.endswith("gate.password cannot be read: Permission denied.")
    assert "sudo chown edge-app FILE" in (result.fix or "")


@pytest.mark.parametrize("what", ["configuration", "labels", "key"])
def test_files_that_root_alone_can_read_are_none_for_the_service(
    root: Root, fenced: Machine, what: str
) -> None:
    config = installed(
        root,
        CONFIG.replace("1'}\n", "1', tls: {cert_file: b.pem, key_file: b.key}}\n").replace(
            "mqtt:/", "mqtts:/"
        )
        + "model: {labels: names.txt}\n",
    )
    root.write({f"/etc/edge-app/{name}": "a\n" for name in ("b.pem", "b.key", "names.txt")})
    config.with_name("b.key").chmod(0o600)
    subject, view = seen(fenced, config)
    assert check_configuration(subject, lambda: view).status is Status.OK, view
    names = {"configuration": "edge.yaml", "labels": "names.txt", "key": "b.key"}
    of_another(config.with_name(names[what]), 0o600)
    subject, view = seen(fenced, config)
    result = check_configuration(subject, lambda: view)
    assert result.status is Status.FAILED
    assert names[what] in result.found
    assert result.found.startswith("as edge-app, the service's user: ")


def test_a_configuration_that_is_not_the_services_is_merely_warned_about(
    root: Root, fenced: Machine, tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("cameras: {yard: {uri: 'scene://street'}}\n")
    of_another(config, 0o600)
    subject, view = seen(fenced, config)
    assert check_configuration(subject, lambda: view).status is Status.WARNING


@pytest.mark.parametrize(("mode", "words"), [(0o666, "read and change"), (0o644, "read"), (0o602, "change")])
def test_a_password_file_for_everybody_is_a_finding(root: Root, mode: int, words: str) -> None:
    config = installed(root)
    config.with_name("gate.password").chmod(mode)
    subject, view = seen(root.machine, config)
    result = check_secrets(subject, lambda: view)
    assert result.status is Status.WARNING
    assert f"every user can {words} " in result.found
    assert result.found.count("every user") == 1


def test_directories_are_tried(root: Root, tmp_path: Path) -> None:
    durable = "delivery: {detections: durable}, outbox: {directory: %s}}"
    config = installed(
        root,
        CONFIG.replace("1'}\n", f"1', {durable % '/proc/ob'}\n")
        + "sinks:\n  b: {type: jsonl, directory: /proc/nope}\n"
        + f"  a: {{type: jsonl, directory: {tmp_path}/x/y}}\n",
    )
    subject, view = seen(root.machine, config)
    assert "nothing can be made in /proc" in (view.places["mqtt.outbox.directory"].why or "")
    assert "nothing can be made in /proc" in (view.places["sinks.b.directory"].why or "")
    assert view.places["sinks.a.directory"] == Place(f"{tmp_path}/x/y")
    assert not (tmp_path / "x").exists(), "looking makes nothing"
    result = check_directories(subject, view.places)
    assert result.status is Status.FAILED
    assert "mqtt.outbox.directory: nothing can be made in /proc" in result.found
    assert "sinks.a" not in result.found


def test_a_directory_of_somebody_else_is_none_for_the_service(
    root: Root, fenced: Machine, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    config = installed(root, f"{CONFIG}sinks: {{a: {{type: jsonl, directory: {folder}}}}}\n")
    of_another(folder, 0o700)
    subject, view = seen(fenced, config)
    result = check_directories(subject, view.places)
    assert (result.status, str(folder) in result.found) == (Status.FAILED, True)


UNIT = {
    "LoadState": "loaded",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "StateDirectory": "edge-app",
    "CacheDirectory": "edge-app",
    "ReadWritePaths": "/srv/a -/srv/b",
}


@pytest.mark.parametrize(
    ("directory", "why"),
    [
        ("/var/lib/edge-app/archive", None),
        ("/var/cache/edge-app", None),
        ("/srv/b/c", None),
        ("/srv/bc", "/srv/bc is read-only for the service (ProtectSystem=strict)"),
        ("/var/lib/edge-app/../x", "/var/lib/x is read-only for the service (ProtectSystem=strict)"),
        ("/run/user/7/x", "the service does not see /run/user/7/x (ProtectHome=)"),
        ("/tmp/x", "the service has a /tmp/x of its own, which goes with it (PrivateTmp=)"),
    ],
)
def test_what_the_unit_fences_off(root: Root, directory: str, why: str | None) -> None:
    lines = "\n".join(f"{name}={value}" for name, value in UNIT.items())
    root.command("systemctl", f"cat <<'END'\n{lines}\nEND")
    assert why_fenced(root.machine, SERVICE, directory) == why
    subject = open_subject(installed(root), root.machine)
    result = check_directories(subject, {"mqtt.outbox.directory": Place(directory)})
    assert (result.status is Status.FAILED) is (why is not None)
    assert why is None or f"ReadWritePaths={directory}" in (result.fix or "")
    root.command("systemctl", "echo LoadState=not-found")
    assert why_fenced(root.machine, SERVICE, directory) is None
