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
    ],
)
def test_addresses(text: str, host: str, port: int, local: bool) -> None:
    address = parse_listen_address(text)
    assert address == ListenAddress(host, port)
    assert address.local is local


@pytest.mark.parametrize(
    "text", ["", "9109", ":9109", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "h:65536", "::1:9109", "h:1/x"]
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
