"""Where to listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.config import check_config
from edge_app.config.listen_address import ListenAddress, parse_listen_address
from edge_app.errors import ConfigError

CAMERA = "cameras: {a: {uri: 'scene://street'}}\n"


@pytest.mark.parametrize(
    ("text", "host", "port", "local"),
    [
        ("127.0.0.1:9109", "127.0.0.1", 9109, True),
        ("127.8.0.1:1", "127.8.0.1", 1, True),
        ("[::1]:9109", "::1", 9109, True),
        ("localhost:65535", "localhost", 65535, True),
        ("0.0.0.0:9109", "0.0.0.0", 9109, False),
        ("[::]:9109", "::", 9109, False),
        ("edge-7.example:80", "edge-7.example", 80, False),
        ("node_1:80", "node_1", 80, False),
        ("4.example:80", "4.example", 80, False),
        ("127.1:80", "127.1", 80, True),
        ("0:80", "0", 80, False),
        ("[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, True),
        ("LocalHost:80", "LocalHost", 80, True),
    ],
)
def test_addresses(text: str, host: str, port: int, local: bool) -> None:
    address = parse_listen_address(text)
    assert address == ListenAddress(host, port)
    assert address.local is local


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9109",
        ":9109",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "h:65536",
        "::1:9109",
        "h:1/x",
        "999.1.1.1:80",
        "-:1",
        "a.-b:1",
        "a..b:1",
        ".:1",
        "1.2.3.4.5:1",
        "[1.2.3.4]:1",
        "[1::2::3]:1",
        "a.9:1",
    ],
)
def test_what_is_none_is_explained(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address to listen at") as caught:
        parse_listen_address(text)
    assert "127.0.0.1:9109" in str(caught.value.hint)


def test_the_configuration_is_checked_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(f"{CAMERA}metrics: {{address: '9109'}}\n")
    with pytest.raises(ConfigError, match=r"edge\.yaml:2: metrics\.address: is no address to listen at"):
        check_config(path)


def test_an_address_for_others_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(f"{CAMERA}metrics: {{address: '0.0.0.0:9109'}}\n")
    assert any("metrics.address: other machines can read it" in line for line in check_config(path))
    path.write_text(f"{CAMERA}metrics: {{address: '0.0.0.0:9109', enabled: false}}\n")
    assert "metrics   not served" in check_config(path)
    assert not any("other machines" in line for line in check_config(path))


def test_commands_are_warned_about_where_nobody_logs_in(tmp_path: Path) -> None:
    path, words = tmp_path / "edge.yaml", "mqtt.commands.enabled: we do not log in at the broker"
    for login, warned in (("", True), (", username: a", False)):
        path.write_text(f"{CAMERA}mqtt: {{commands: {{enabled: true}}{login}}}\n")
        assert any(words in line for line in check_config(path)) is warned
    path.write_text(CAMERA)
    assert not any(words in line for line in check_config(path))
