"""The command as people run it, and the bundle that they send."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from edge_app.doctor.command import run_doctor
from edge_app.doctor.result import Check
from edge_app.doctor.service_view import ServiceView
from edge_app.doctor.settings import check_configuration
from edge_app.doctor.subject import Subject
from tests.brokers import Mosquitto, free_port, needs_mosquitto
from tests.doctor.conftest import Root
from tests.e2e.daemon import write_config
from tests.processes import edge_app_says

SCENE = "scene://street?seed=1&size=320x192&fps=10"
CAMERA_PASSWORD, BROKER_PASSWORD = "canary word/7f3a@x", "canary-b81c"
STORED, TYPED = "canary-stored-99", "canary-typed-44"
BY_VARIABLE = 'canary "first, second'


def told(text: str) -> dict[str, Any]:
    return {check["name"]: check for check in json.loads(text.splitlines()[-1])["checks"]}


@pytest.mark.broker
@needs_mosquitto
def test_a_good_configuration_on_this_machine(mosquitto: Mosquitto, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    mosquitto.start()
    metrics = {"address": f"127.0.0.1:{free_port()}"}
    config = write_config(tmp_path / "edge.yaml", mosquitto.uri, {"yard": SCENE}, metrics=metrics)
    done = edge_app_says("doctor", "--config", config, "--json")
    checks = told(done.stdout)
    for name in ("configuration", "secrets", "metrics", "broker", "camera yard", "opencv", "onnxruntime"):
        assert checks[name]["status"] == "ok", checks[name]
    assert checks["engine"]["status"] == "skipped"
    assert checks["tensorrt"]["status"] == "skipped"
    assert done.stderr == ""


def test_what_fails_is_explained_and_decides_the_exit_status(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path / "edge.yaml", f"mqtt://127.0.0.1:{port}", {"yard": SCENE})
    done = edge_app_says("doctor", "--config", config)
    assert done.returncode == 1
    assert (
        f"failed   broker               127.0.0.1:{port}: nothing listens at 127.0.0.1:{port}" in done.stdout
    )
    assert "-> Is the broker running" in done.stdout
    assert ", 1 failed" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failed, ")


def test_a_wrong_configuration_is_one_finding_among_others(tmp_path: Path) -> None:
    config = write_config(tmp_path / "edge.yaml", None, {"yard": SCENE}, inference={"batches": 1})
    done = edge_app_says("doctor", "--config", config, "--json")
    checks = told(done.stdout)
    assert done.returncode == 1
    assert checks["configuration"]["status"] == "failed"
    assert "inference.batches" in checks["configuration"]["found"]
    assert checks["metrics"]["status"] == checks["broker"]["status"] == "skipped"
    assert checks["memory"]["status"] != "skipped"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_a_configuration_without_end_is_a_finding(
    root: Root,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    path = Path("/dev/zero") if kind == "zero" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)

    def only_the_configuration(subject: Subject) -> list[Check]:
        return [Check("configuration", lambda: check_configuration(subject, ServiceView))]

    monkeypatch.setattr("edge_app.doctor.command.all_checks", only_the_configuration)
    bundle = tmp_path / "bundle.tar.gz"
    assert run_doctor(path, json_output=True, bundle=bundle, limit_s=20, machine=root.machine) == 1
    assert "not a configuration file" in told(capsys.readouterr().out)["configuration"]["found"]
    assert bundle.stat().st_size < 1 << 20


def test_a_password_that_is_missing_is_named_once(tmp_path: Path) -> None:
    cameras = {"door": {"uri": "rtsp://127.0.0.1:1/x", "username": "a", "password_file": "absent"}}
    config = write_config(tmp_path / "edge.yaml", None, cameras)
    checks = told(edge_app_says("doctor", "--config", config, "--json").stdout)
    assert "cameras.door.password_file: there is no file" in checks["secrets"]["found"]
    assert checks["camera door"]["status"] == "skipped"


def test_every_sink_is_looked_at_and_what_is_off_is_not(tmp_path: Path) -> None:
    port = free_port()
    sinks = {
        "cloud": {"type": "mqtt", "uri": f"mqtt://127.0.0.1:{port}"},
        "vault": {
            "type": "mqtt",
            "uri": f"mqtt://127.0.0.1:{port}",
            "root": "vault",
            "username": "a",
            "password_file": "absent",
        },
        "archive": {"type": "jsonl", "directory": "logs"},
        "off": {"type": "mqtt", "uri": "mqtt://127.0.0.1:1", "enabled": False},
    }
    cameras = {
        "yard": SCENE,
        "old": {"uri": "rtsp://127.0.0.1/x", "username": "a", "password_file": "gone", "enabled": False},
    }
    config = write_config(tmp_path / "edge.yaml", None, cameras, sinks=sinks)
    checks = told(edge_app_says("doctor", "--config", config, "--json").stdout)
    assert checks["sink cloud"]["status"] == "failed"
    assert "sinks.cloud.uri" in checks["sink cloud"]["fix"]
    assert checks["sink vault"]["status"] == "skipped"
    assert "sinks.vault.password_file: there is no file" in checks["secrets"]["found"]
    assert "cameras.old" not in checks["secrets"]["found"], "nobody will ask for it"
    assert checks["sink archive"]["found"].endswith(f"GiB free at {tmp_path}")
    assert "sink off" not in checks


@pytest.fixture
def leaky(root: Root, tmp_path: Path) -> tuple[Root, Path]:
    """A machine whose logs, credentials and configuration are full of secrets."""
    (tmp_path / "door.password").write_text(f"{CAMERA_PASSWORD}\n")
    (tmp_path / "mqtt.password").write_text(f"{BROKER_PASSWORD}\n")
    for file in tmp_path.glob("*.password"):
        file.chmod(0o600)
    port = free_port()
    config = tmp_path / "edge.yaml"
    config.write_text(
        f"cameras:\n  door:\n    uri: rtsp://127.0.0.1:{port}/x\n    username: viewer\n"
        f"    password_file: door.password\n"
        f"  gate: {{uri: 'rtsp://127.0.0.1:{port}/x', username: viewer, password_env: GATE_PASSWORD}}\n"
        f"mqtt:\n  uri: mqtt://127.0.0.1:{port}\n  username: edge\n  password_file: mqtt.password\n"
        f"# password: {TYPED}\n"
    )
    root.write(
        {
            "/etc/edge-app/credentials/gate": f"{STORED}\n",
            "/etc/os-release": "NAME=x\n",
            "/proc/swaps": f"a file of {STORED}\n",
        }
    )
    lines = [
        CAMERA_PASSWORD,
        quote(CAMERA_PASSWORD, safe=""),
        f"rtsp://viewer:{quote(CAMERA_PASSWORD, safe='')}@10.0.0.2/x",
        f"rtsp://other:{TYPED}@10.0.0.3/x",
        f"gst user-pw={TYPED} ! x",
        BROKER_PASSWORD,
        STORED,
        BY_VARIABLE,
        json.dumps({"x": BY_VARIABLE}),
        json.dumps({"pass": TYPED}),
        f"credentials: ab,{TYPED}",
    ]
    root.command("journalctl", "cat <<'END'\nthe log begins\n" + "\n".join(lines) + "\nEND")
    unit = (
        f"Environment=MQTT_PASSWORD={BROKER_PASSWORD} {_as_shown(f'GATE_PASSWORD={BY_VARIABLE}')}\n"
        f"SetCredential=mqtt-password:{TYPED}\nSetCredential=b: \\\n {TYPED}\nExecStartPre=/bin/sh -c {TYPED}"
    )
    root.command("systemctl", f"cat <<'END'\n{unit}\nEND")
    return root, config


def _as_shown(value: str) -> str:
    """Return a value as `systemctl show` quotes it."""
    return '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


@pytest.mark.parametrize("broken", [False, True], ids=["valid", "invalid"])
def test_nothing_that_leaves_holds_a_secret(
    leaky: tuple[Root, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: bool
) -> None:
    root, config = leaky
    if broken:
        config.write_text(
            config.read_text()
            + f"  password: {TYPED}\n  client_token: '{TYPED}'\nextra: rtsp://u:{TYPED}@10.0.0.9/x\n"
            + f'more: {{"password": "{TYPED}", "b": 1}}\n'
        )
    bundle = tmp_path / "bundle.tar.gz"
    run_doctor(config, json_output=True, bundle=bundle, limit_s=20, machine=root.machine)
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600

    texts = {"printed": "".join(capsys.readouterr())}
    with tarfile.open(bundle) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            texts[member.name] = io.TextIOWrapper(file, "utf-8").read()
    log = next(text for name, text in texts.items() if "journalctl" in name)
    assert log.startswith("the log begins")
    assert "edge-app-doctor/config/edge.yaml" in texts
    assert "edge-app-doctor/files/proc/swaps" in texts
    for name, text in texts.items():
        assert "canary" not in text, (name, text)
    assert "password_file: door.password" in texts["edge-app-doctor/config/edge.yaml"], "references stay"
    json.loads(texts["edge-app-doctor/doctor.json"])
