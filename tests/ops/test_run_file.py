"""Where a daemon is found, and by whom; the reloads themselves are tested in e2e."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from edge_app.errors import EdgeAppError
from edge_app.ops.run_file import (
    POLL_S,
    Reply,
    RunFile,
    find_daemon,
    key_of,
    request_reload,
    runtime_directory,
)


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


def test_a_configuration_is_found_by_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("")
    (tmp_path / "link.yaml").symlink_to("edge.yaml")
    (tmp_path / "deeper").mkdir()
    file = RunFile(tmp_path / "edge.yaml")
    file.open()
    for path in (tmp_path / "link.yaml", tmp_path / "deeper" / ".." / "edge.yaml"):
        assert find_daemon(path).alive
    file.close()


def test_who_looks_does_not_keep_a_daemon_from_being_found(tmp_path: Path) -> None:
    """`edge-app reload` takes the lock for an instant, to see whether anybody has it."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    lock = run / f"{key_of(tmp_path / 'edge.yaml')}.lock"
    with lock.open("w") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        threading.Timer(0.3, fcntl.flock, (looker, fcntl.LOCK_UN)).start()
        file = RunFile(tmp_path / "edge.yaml")
        file.open()
        assert find_daemon(None).alive
    file.close()


def plant(tmp_path: Path, pid: object, reply: object = None) -> IO[str]:
    """Hold a lock as a daemon does, which names a process; whoever is the service's user can do that."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    lock = (run / "planted.lock").open("w")
    lock.write(json.dumps({"pid": pid, "program": "edge-app", "since": ""}))
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX)
    if reply is not None:
        (run / "planted.json").write_text(json.dumps(reply))
    return lock


@pytest.mark.parametrize("pid", [-1, 0, 1, True, "1", None, 2.5, 1 << 22 | 1, 1 << 80])
def test_what_is_no_process_of_its_own_is_no_daemon(tmp_path: Path, pid: object) -> None:
    with plant(tmp_path, pid), pytest.raises(EdgeAppError, match="No daemon runs"):
        find_daemon(None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may signal everybody")
def test_root_is_not_led_to_another_users_process(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], user=65534) as victim:
        try:
            with (
                plant(tmp_path, victim.pid),
                pytest.raises(EdgeAppError, match="another user's: it is sent nothing"),
            ):
                request_reload(find_daemon(None), 1.0)
            time.sleep(0.1)
            assert victim.poll() is None
        finally:
            victim.kill()


def test_what_a_daemon_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    with plant(
        tmp_path,
        os.getpid(),
        {"config": "a\x1b]0;b", "reloads": 1, "words": "\x1b]0;owned\x07", "exit_status": 0},
    ):
        reply = find_daemon(None).reply
    assert (reply.config, reply.words) == ("a\\x1b]0;b", "\\x1b]0;owned\\x07")


def test_a_link_that_somebody_planted_is_not_written_through(tmp_path: Path) -> None:
    """The directory is the service's user's, and root may be the one who runs a daemon there."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    (run / f"{key_of(tmp_path / 'edge.yaml')}.new").symlink_to(victim)
    file = RunFile(tmp_path / "edge.yaml")
    file.open()
    assert victim.read_text() == "precious"
    assert find_daemon(None).reply.config == str(tmp_path / "edge.yaml")
    file.close()


@pytest.mark.parametrize(
    "said",
    [
        [],
        7,
        {"config": "a", "reloads": "1"},
        {"config": "a", "begun": None},
        {"config": 1},
        {"config": "a", "exit_status": True},
        {"config": "a", "more": 1},
    ],
)
def test_what_is_no_reply_says_nothing(tmp_path: Path, said: object) -> None:
    with plant(tmp_path, os.getpid(), said):
        assert find_daemon(None).reply == Reply("?")


def test_a_pipe_in_place_of_a_lock_is_not_waited_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    os.mkfifo(run / "planted.lock")
    with pytest.raises(EdgeAppError, match="No daemon runs"):
        find_daemon(None)


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

    def take_signal(process: int, number: int) -> None:
        assert f"Pid:\t{os.getpid()}\n" in Path(f"/proc/self/fdinfo/{process}").read_text()
        assert number == signal.SIGHUP
        asked.set()

    def obey() -> None:
        asked.wait(10)
        file.reply("of the file before", 0)
        time.sleep(5 * POLL_S)
        file.begin()
        file.reply("of the file now", 3)

    monkeypatch.setattr(signal, "pidfd_send_signal", take_signal)
    daemon = find_daemon(None)
    obeying = threading.Thread(target=obey)
    obeying.start()
    reply = request_reload(daemon, 10)
    obeying.join()
    assert (reply.words, reply.exit_status) == ("of the file now", 3)
    file.close()


def test_what_a_killed_daemon_said_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It lies there still (RuntimeDirectoryPreserve=yes), and there may be no room for another reply."""
    caplog.set_level("INFO", "edge_app")
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    (run / f"{key_of(tmp_path / 'edge.yaml')}.json").write_text(
        json.dumps({"config": "edge.yaml", "reloads": 7, "words": "", "exit_status": 0, "begun": 7})
    )

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = RunFile(tmp_path / "edge.yaml")
    with monkeypatch.context() as disk:
        disk.setattr("edge_app.ops.run_file.replace_content", full)
        file.open()
    assert "may not hear what comes of it" in caplog.text
    assert "will not find this daemon" not in caplog.text
    daemon = find_daemon(None)

    def obey(*_: object) -> None:
        file.begin()
        file.reply("altered", 0)

    monkeypatch.setattr(signal, "pidfd_send_signal", obey)
    assert request_reload(daemon, 1.0).words == "altered"
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
