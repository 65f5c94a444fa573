"""A good configuration whose files this user may not look at is good, and that is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.config.loader import load_config
from edge_app.config.secrets import resolve_password
from edge_app.config.warnings import config_warnings
from edge_app.errors import ConfigError
from edge_app.files.place import why_no_file

CONFIG = """
cameras:
  yard: {{uri: 'rtsp://127.0.0.1:1/x', username: u, password_file: {0}/yard.password}}
  film: {{uri: {0}/film.mp4}}
mqtt:
  uri: mqtts://127.0.0.1:1
  username: u
  password_file: {0}/mqtt.password
  tls: {{ca_file: {0}/ca.pem, cert_file: {0}/b.pem, key_file: {0}/b.key}}
  delivery: {{detections: durable}}
  outbox: {{directory: {0}/outbox}}
"""
OTHER = 65534


def test_what_lies_in_a_directory_of_somebody_else(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    config = tmp_path / "my.yaml"
    config.write_text(CONFIG.format(closed / "in"))
    command = [sys.executable, "-m", "edge_app", "check-config", str(config)]
    if os.geteuid() != 0:
        closed.chmod(0)
    elif shutil.which("setpriv") is None:
        pytest.skip("root may look everywhere, and there is no setpriv (util-linux)")
    else:
        os.chown(closed, OTHER, OTHER)
        command = ["setpriv", "--bounding-set=-all", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    closed.chmod(0o700)
    assert done.returncode == 0, done.stderr
    for key in ("ca_file", "cert_file", "key_file"):
        assert f"mqtt.tls.{key}: the file cannot be looked at: permission denied: {closed}/in/" in done.stdout
    for where in ("mqtt", "cameras.yard"):
        assert f"{where}.password_file: the file cannot be looked at: permission denied\n" in done.stdout
    assert f"film.uri: {closed}/in/film.mp4 cannot be looked at now: permission denied" in done.stdout
    assert f"outbox.directory: {closed}/in/outbox cannot be looked at (permission denied)" in done.stdout


def test_a_key_that_goes_away_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(CONFIG.format(tmp_path))
    for name in ("ca.pem", "b.pem", "b.key"):
        (tmp_path / name).touch()

    def gone(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("edge_app.config.warnings.rights_of_all", gone)
    assert not any("tls" in warning for warning in config_warnings(load_config(config)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "does not exist"),
        ("file/below", "does not exist"),
        ("folder", "is no regular file"),
        ("x" * 300, "cannot be looked at: file name too long"),
        ("file", None),
    ],
)
def test_why_there_is_no_file(tmp_path: Path, name: str, words: str | None) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert why_no_file(tmp_path / name) == words


def test_a_password_file_that_cannot_be_looked_at_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    class Reference:
        password_file = str(tmp_path / ("x" * 300) / "Hunter22")
        password_env = password_credential = None

    with pytest.raises(ConfigError, match=r"\(name not shown\) cannot be read: File name too long"):
        resolve_password(Reference(), "mqtt", {})
