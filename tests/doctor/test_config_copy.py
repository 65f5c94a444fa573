"""The configuration in a bundle, as careless people write it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edge_app.doctor.config_copy import config_copy

CARELESS = r"""
# my password is canary
cameras:
  a: {uri: "rtsp://admin:canary@10.1.2.3/x"}
  b: {uri: "rtsp://10.1.2.3:554/user=a&password=canary&channel=1.sdp", max_fps: 5}
  c: {uri: "http://10.1.2.3/canary?Authorization=Basic%20canary&auth=canary"}
  d: {uri: rtsp://10.1.2.3/x, pwd: canary, Passwort: canary, credentials: canary, pass: canary}
  e:
    uri: >-
      rtsp://admin:
      canary@10.1.2.3/x
    password: |
      canary
  f:
    password:
      canary
    uri: "admin:can/canary@10.1.2.3"
  g: {uri: rtsp://10.1.2.3/x, password: "ab\"canary", username: "admin:canary"}
  h: {uri: canary, password_file: canary, model: "a canary"}
  i: {uri: 'gst://rtspsrc location=rtsp://10.1.2.3/a!canary ! fakesink', password_env: canary}
  j: {uri: 'gst://x name="a ! canary b"', password_credential: canary-canary, max_fps: canary}
  k: {uri: 'scene://street?seed=1', password_credential: gate-password, password_env: GATE_PASSWORD}
  "canary: x": {uri: canary}
mqtt:
  uri: wss://10.1.2.4/canary
  username: canary
  client_id: canary
  password: {canary: canary, "can": [canary]}
  root: edge
  tls: canary
metrics: {address: "canary"}
postprocess: {class_confidence: {dog: 0.5}, classes: [dog]}
secret canary: {a: 1}
model: {path: models/street.onnx, input: {mean: [0, 0.5, 1]}}
log: {level: debug}
engine: {precision: canary, workspace_mib: 64}
inference: 1234
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "edge.yaml"
    path.write_text(CARELESS)
    return path


def test_only_what_belongs_there_stays(path: Path) -> None:
    text = config_copy(path, {"gate-password"})
    assert "canary" not in text
    copy = yaml.safe_load(text)
    cameras = copy["cameras"]
    assert cameras["b"] == {"uri": "rtsp://10.1.2.3:554/***", "max_fps": 5}
    assert cameras["d"]["uri"] == "rtsp://10.1.2.3/***"
    assert cameras["i"]["uri"] == "gst://rtspsrc *** ! fakesink"
    assert cameras["k"] == {
        "uri": "scene://street?seed=1",
        "password_credential": "gate-password",
        "password_env": "GATE_PASSWORD",
    }
    assert copy["mqtt"] == {
        **dict.fromkeys(("username", "client_id", "password", "tls"), "***"),
        "uri": "wss://10.1.2.4/***",
        "root": "edge",
    }
    assert copy["postprocess"] == {"class_confidence": {"dog": 0.5}, "classes": ["dog"]}
    assert copy["model"] == {"path": "models/street.onnx", "input": {"mean": [0, 0.5, 1]}}
    assert copy["log"] == {"level": "debug"}
    assert copy["engine"] == {"precision": "***", "workspace_mib": 64}
    assert copy["inference"] == "***"


def test_of_what_is_no_yaml_only_known_keys_stay(path: Path) -> None:
    path.write_text(CARELESS + "mqtt: {uri: canary\n canary canary: 'x\ncanary: canary\n- uri: canary\n")
    text = config_copy(path, ())
    assert "canary" not in text
    assert "\n    uri:\n" in text
    assert "\ncameras:\n" in text
    assert len(text.splitlines()) == len(path.read_text().splitlines()) + 3, "lines keep their places"


def test_a_file_that_is_there_is_no_password(path: Path) -> None:
    (path.parent / "gate.password").touch()
    path.write_text("mqtt: {password_file: gate.password}\ncameras: {a: {uri: films/*.jpg}}\n")
    (path.parent / "films").mkdir()
    copy = yaml.safe_load(config_copy(path, ()))
    assert copy == {"mqtt": {"password_file": "gate.password"}, "cameras": {"a": {"uri": "films/*.jpg"}}}


def test_any_bytes_are_no_reason_to_fail(path: Path) -> None:
    for content in (b"", b"\xff\xfe\x00", b"cameras: hunter2\n", b"- hunter2\n", b"a: &x 1\nb: *x\n"):
        path.write_bytes(content)
        assert "hunter2" not in config_copy(path, ())
    path.unlink()
    assert "cannot be read" in config_copy(path, ())
