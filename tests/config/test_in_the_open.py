"""What travels unencrypted is named, without a warning: few cameras offer anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.config import check_config

MODEL_AND_CAMERA = "cameras:\n  {name}: {{uri: '{uri}'{rest}}}\n"


def said(tmp_path: Path, text: str, word: str = "open") -> list[str]:
    path = tmp_path / "edge.yaml"
    path.write_text(text)
    return [line for line in check_config(path) if line.split()[0] == word]


@pytest.mark.parametrize(
    ("uri", "rest", "what"),
    [
        ("rtsp://10.0.0.9/1", "", "pictures travel"),
        ("rtsp://10.0.0.9/1", ", username: u, password_env: DOOR", "pictures and passwords travel"),
        ("HTTP://door.example/mjpeg", "", "pictures travel"),
        ("rtsps://10.0.0.9/1", ", username: u, password_env: DOOR", None),
        ("https://door.example/mjpeg", "", None),
        ("rtsp://127.0.0.1:8554/door", "", None),
        ("rtsp://[::1]:8554/door", "", None),
        ("rtsp://10.0.0.9/1", ", enabled: false", None),
        ("rtsp://localhost.:8554/door", "", None),
        ("gst://rtspsrc location=rtsp://10.0.0.5/1 ! decodebin ! appsink", "", "pictures travel"),
        ('gst://rtspsrc location="RTSPT://door.example/1" ! appsink', "", "pictures travel"),
        ("gst://souphttpsrc location=http://[fe80::1/x ! appsink", "", "pictures travel"),
        ("gst://rtspsrc location=rtsps://10.0.0.5/1 ! appsink", "", None),
        ("gst://rtspsrc location=rtsp://127.0.0.1:8554/1 ! appsink", "", None),
        ("gst://videotestsrc ! appsink", "", None),
        ("scene://street", "", None),
    ],
)
def test_cameras(tmp_path: Path, uri: str, rest: str, what: str | None) -> None:
    lines = said(
        tmp_path, MODEL_AND_CAMERA.format(name="door", uri=uri, rest=rest) + "  x: {uri: 'scene://street'}\n"
    )
    assert len(lines) == (what is not None)
    if what is not None:
        assert lines[0].startswith(f"open      cameras door: {what} unencrypted")


def test_many_cameras_are_one_line(tmp_path: Path) -> None:
    cameras = "".join(f"  c{n}: {{uri: 'rtsp://10.0.0.{n}/1'}}\n" for n in range(1, 9))
    (line,) = said(tmp_path, f"cameras:\n{cameras}")
    assert "cameras c1, c2, c3, c4, c5 and 3 more: pictures travel" in line


@pytest.mark.parametrize(
    ("broker", "what"),
    [
        ("uri: mqtt://10.0.0.2", "what is seen travels unencrypted to 10.0.0.2"),
        ("uri: ws://broker.example/mqtt", "what is seen travels unencrypted to broker.example"),
        ("uri: mqtt://10.0.0.2, username: u, password_env: MQTT", "what is seen, and the password, travels"),
        ("uri: mqtts://10.0.0.2", None),
        ("uri: mqtt://localhost", None),
        ("uri: mqtt://localhost.", None),
        ("uri: mqtt://127.1", None),
    ],
)
@pytest.mark.parametrize("where", ["mqtt", "sinks.cloud"])
def test_brokers(tmp_path: Path, where: str, broker: str, what: str | None) -> None:
    cameras = "cameras:\n  door: {uri: 'scene://street'}\n"
    section = (
        f"mqtt: {{{broker}}}\n"
        if where == "mqtt"
        else f"sinks:\n  cloud: {{type: mqtt, root: away, {broker}}}\n"
    )
    lines = said(tmp_path, cameras + section)
    assert len(lines) == (what is not None)
    if what is not None:
        assert lines[0].startswith(f"open      {where}.uri: {what}")


def test_a_key_that_everybody_can_read_is_warned_about(tmp_path: Path) -> None:
    key = tmp_path / "edge.key"
    key.write_text("x")
    text = (
        "cameras:\n  door: {uri: 'scene://street'}\n"
        f"mqtt: {{uri: mqtts://h, tls: {{cert_file: {key}, key_file: {key}}}}}\n"
    )
    key.chmod(0o600)
    assert not any("key_file" in line for line in said(tmp_path, text, "warning"))
    key.chmod(0o646)
    (line,) = (line for line in said(tmp_path, text, "warning") if "key_file" in line)
    assert line.endswith(
        f"mqtt.tls.key_file: every user can read and change {key}; chmod 600 makes it private"
    )
