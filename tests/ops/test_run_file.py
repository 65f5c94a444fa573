"""Where a daemon is found, and by whom; the reloads themselves are tested in e2e."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from edge_app.errors import EdgeAppError
from edge_app.ops.run_file import POLL_S, RunFile, find_daemon, request_reload, runtime_directory


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr("edge_app.ops.run_file.SERVICE_DIRECTORY", tmp_path / "service")


def test_a_daemon_is_found_while_it_runs_and_its_reply_with_it(tmp_path: Path) -> None:
    config = tmp_path / "edge.yaml"
    file = RunFile(config)
    file.open()
    found = find_daemon(None)
    assert found == find_daemon(config)
    assert (found.pid, found.alive) == (os.getpid(), True)
    assert (found.reply.config, found.reply.reloads) == (str(config), 0)
    file.begin()
    file.reply("camera door added", 3)
    reply = find_daemon(None).reply
    assert (reply.reloads, reply.words, reply.exit_status) == (1, "camera door added", 3)
    with pytest.raises(EdgeAppError, match=r"No daemon runs with .*other\.yaml"):
        find_daemon(tmp_path / "other.yaml")
    file.close()
    assert not found.alive
    with pytest.raises(EdgeAppError, match="No daemon runs"):
        find_daemon(None)


def test_a_configuration_is_found_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = RunFile(Path("edge.yaml"))
    file.open()
    assert find_daemon(tmp_path / "edge.yaml").alive
    file.close()


def test_of_two_daemons_of_one_configuration_the_first_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = RunFile(tmp_path / "edge.yaml"), RunFile(tmp_path / "edge.yaml")
    first.open()
    second.open()
    assert "reaches another daemon" in caplog.text
    second.begin()
    second.reply("nobody hears this", 0)
    second.close()
    assert find_daemon(None).reply.reloads == 0
    first.close()


def test_a_reload_that_had_begun_before_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have read what the file held before it was edited."""
    file = RunFile(tmp_path / "edge.yaml")
    file.open()
    file.begin()
    asked = threading.Event()

    def take_signal(pid: int, number: int) -> None:
        assert (pid, number) == (os.getpid(), signal.SIGHUP)
        asked.set()

    def obey() -> None:
        asked.wait(10)
        file.reply("of the file before", 0)
        time.sleep(5 * POLL_S)
        file.begin()
        file.reply("of the file now", 3)

    monkeypatch.setattr(os, "kill", take_signal)
    daemon = find_daemon(None)
    obeying = threading.Thread(target=obey)
    obeying.start()
    reply = request_reload(daemon, 10)
    obeying.join()
    assert (reply.words, reply.exit_status) == ("of the file now", 3)
    file.close()


def test_where_no_file_can_be_the_daemon_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edge_app")
    (tmp_path / "file").touch()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "file" / "run"))
    file = RunFile(tmp_path / "edge.yaml")
    file.open()
    file.begin()
    file.reply("words", 0)
    file.close()
    assert "SIGHUP does the same" in caplog.text


def test_a_directory_that_anybody_may_write_to_is_not_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edge_app")
    open_to_all = tmp_path / "run"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    file = RunFile(tmp_path / "edge.yaml")
    file.open()
    assert "SIGHUP does the same" in caplog.text
    assert list(open_to_all.iterdir()) == []


def test_the_place_is_systemds_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    assert runtime_directory() == Path("/run/a")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert runtime_directory() == Path("/run/user/1000/edge-app")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_directory().name == "edge-app-1000"
