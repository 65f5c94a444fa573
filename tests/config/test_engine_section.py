"""Engines in the configuration: where they lie, where their frames come from, and what cannot be."""

from pathlib import Path
from typing import NoReturn

import pytest

from edge_app.app.engines import engine_directory
from edge_app.config.loader import load_config
from edge_app.config.models import EngineSection, OutboxSection
from edge_app.config.paths import outbox_directory, state_directory
from edge_app.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "edge.yaml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = "engine: {directory: built, calibration: {source: images}, verification: {source: 'rtsp://a/b'}}\n"
    engine = load_config(write(tmp_path, text)).config.engine
    assert engine.directory == str(tmp_path / "built")
    assert engine.calibration.source == str(tmp_path / "images")
    assert engine.verification.source == "rtsp://a/b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: {opt_batch: 8}", "engine.opt_batch: is more than inference.max_batch, 8 > 4"),
        ("engine: {calibration: {source: 'ftp://a/b'}}", "engine.calibration.source"),
        ("engine: {verification: {source: 'rtsp://user:secret@a/b'}}", "engine.verification.source"),
        ("engine: {precision: bf16}", "engine.precision"),
        ("engine: {optimization_level: 6}", "engine.optimization_level"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text + "\n"))
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_state_outlasts_restarts_where_the_service_or_the_user_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edge-app:/var/lib/other")
    assert state_directory("engine.directory") == Path("/var/lib/edge-app")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/user/state")
    assert state_directory("engine.directory") == Path("/home/user/state/edge-app")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert state_directory("engine.directory") == Path("/home/user/.local/state/edge-app")


def test_without_a_home_directory_the_key_that_helps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> NoReturn:
        raise KeyError

    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(
        ConfigError, match=r"engine\.directory is null, and this user has no home directory\."
    ):
        engine_directory(EngineSection())
    with pytest.raises(
        ConfigError, match=r"mqtt\.outbox\.directory is null.* Name a directory in mqtt\.outbox"
    ):
        outbox_directory(OutboxSection())


@pytest.mark.parametrize("text", ["engine: {directory: ''}", "mqtt: {outbox: {directory: ''}}"])
def test_an_empty_directory_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"directory: .*not empty.*found an empty text"):
        load_config(write(tmp_path, text + "\n"))
