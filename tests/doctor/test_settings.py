"""The service as systemd tells of it, and engines as their own child process finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.doctor.result import Status
from edge_app.doctor.service_view import ServiceView
from edge_app.doctor.settings import (
    check_configuration,
    check_engine,
    check_onnxruntime,
    check_service,
    service_is_active,
)
from edge_app.doctor.subject import open_subject
from edge_app.gpu.driver import count_gpus
from tests.doctor.conftest import Root
from tests.e2e.daemon import write_config


def systemctl(root: Root, load: str, active: str, file: str) -> None:
    shown = (
        f"LoadState={load}\nActiveState={active}\nUnitFileState={file}\n"
        "StatusText=2 of 2 cameras, 59.8 frames/s\nNRestarts=3"
    )
    root.command("systemctl", f"[ \"$1\" = is-active ] && echo {active} || cat <<'END'\n{shown}\nEND")


@pytest.mark.parametrize(
    ("load", "active", "file", "status"),
    [
        ("loaded", "active", "enabled", Status.OK),
        ("loaded", "active", "disabled", Status.WARNING),
        ("loaded", "activating", "enabled", Status.WARNING),
        ("loaded", "inactive", "enabled", Status.WARNING),
        ("loaded", "failed", "enabled", Status.FAILED),
        ("not-found", "inactive", "", Status.SKIPPED),
    ],
)
def test_the_service_says_its_state_and_its_status(
    root: Root, load: str, active: str, file: str, status: Status
) -> None:
    systemctl(root, load, active, file)
    result = check_service(root.machine, None)
    assert result.status is status
    assert status is Status.SKIPPED or "2 of 2 cameras, 59.8 frames/s, 3 restarts" in result.found
    assert service_is_active(root.machine) is (active == "active")


@pytest.mark.parametrize(
    ("config", "unit"),
    [
        ("etc/edge-app/edge.yaml", "edge-app"),
        ("etc/edge-app/north.yaml", "edge-app@north"),
        ("srv/north.yaml", "edge-app"),
    ],
)
def test_of_several_daemons_it_is_that_of_the_configuration(root: Root, config: str, unit: str) -> None:
    shown = "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled"
    root.command("systemctl", f"[ \"$2\" = {unit}.service ] && printf '{shown}'")
    result = check_service(root.machine, root.machine.path(f"/{config}"))
    assert (result.status, result.fix) == (
        Status.FAILED,
        f"journalctl -u {unit} -n 50 says why; then sudo systemctl restart {unit}.",
    )


def test_what_travels_unencrypted_is_told_beside_warnings(root: Root) -> None:
    root.write({"/srv/my.yaml": "cameras: {yard: {uri: 'rtsp://10.0.0.9/1', username: u}}\n"})
    subject = open_subject(root.machine.path("/srv/my.yaml"), root.machine)
    result = check_configuration(subject, ServiceView)
    assert result.status is Status.WARNING
    assert "is good, but cameras.yard.username: is set without a password (note: " in result.found
    assert "cameras yard: pictures and passwords travel unencrypted" in result.found


def test_a_service_among_several_may_have_the_camera(root: Root) -> None:
    root.command("systemctl", "printf 'inactive\nactive\n'")
    assert service_is_active(root.machine)


def test_without_systemd_there_is_nothing_to_say(root: Root) -> None:
    assert check_service(root.machine, None).status is Status.SKIPPED
    assert not service_is_active(root.machine)


def test_an_engine_that_was_never_built_is_built_at_the_first_start(root: Root, tmp_path: Path) -> None:
    engines = tmp_path / "engines"
    config = write_config(tmp_path / "edge.yaml", None, {}, engine={"directory": str(engines)})
    result = check_engine(root.machine, config, None)
    assert result.status is Status.WARNING, result
    assert f"no engine for this machine in {engines}" in result.found
    assert "edge-app build --config" in (result.fix or "")
    assert not engines.exists(), "looking makes nothing"


@pytest.mark.skipif(count_gpus() > 0, reason="this machine has a GPU")
def test_an_engine_that_cannot_be_looked_up_says_why(root: Root, tmp_path: Path) -> None:
    config = write_config(tmp_path / "edge.yaml", None, {}, engine={"directory": str(tmp_path)})
    result = check_engine(root.machine, config, None)
    assert (result.status, "no NVIDIA GPU" in result.found) == (Status.FAILED, True)


def test_an_onnx_runtime_that_crashes_is_a_finding(root: Root) -> None:
    root.module("onnxruntime", "raise ImportError('illegal')\n")
    result = check_onnxruntime(root.machine)
    assert result.status is Status.FAILED
    assert "ImportError: illegal" in result.found
