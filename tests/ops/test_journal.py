"""The journal, in whose place a socket of the test receives what would go there."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.config.secrets import SecretRegistry
from edge_app.ops.journal import PATIENCE_S, JournalHandler, priority_of, stderr_is_journal

SECRET = "canary-7f3a"


def parse(message: bytes) -> dict[str, str]:
    """Read the native format, as the journal does."""
    fields = {}
    while message:
        line, _, message = message.partition(b"\n")
        name, separator, value = line.partition(b"=")
        if not separator:
            (size,) = struct.unpack("<Q", message[:8])
            value, message = message[8 : 8 + size], message[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


class Journal:
    """Receives at a socket of its own, from datagrams and from the memory that is passed in their place."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self.begin()

    def begin(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(10)

    def end(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def receive(self) -> dict[str, str]:
        message, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        if descriptors:
            with os.fdopen(descriptors[0], "rb") as memory:
                memory.seek(0)
                message = memory.read()
        return parse(message)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.end()


@pytest.fixture
def log(journal: Journal) -> Iterator[logging.Logger]:
    """A logger of a stage, whose records go to the journal, or into `missed`."""
    secrets = SecretRegistry()
    secrets.add(SECRET)
    handler = JournalHandler(secrets.redact, logging.StreamHandler(sys.stderr), journal.path)
    logger = logging.getLogger("edge_app.capture.test_journal")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    handler.close()


def test_a_record_becomes_fields(journal: Journal, log: logging.Logger) -> None:
    log.warning("camera %s: lost: %s", "gate", "no answer", extra={"event": "camera_lost"})
    found = journal.receive()
    assert {name: found[name] for name in ("MESSAGE", "PRIORITY", "CAMERA", "STAGE", "EVENT")} == {
        "MESSAGE": "camera gate: lost: no answer",
        "PRIORITY": "4",
        "CAMERA": "gate",
        "STAGE": "capture",
        "EVENT": "camera_lost",
    }
    assert found["SYSLOG_IDENTIFIER"] == "edge-app"
    assert found["LOGGER"] == log.name
    assert found["CODE_FILE"] == __file__
    assert found["THREAD"] == threading.current_thread().name


def test_what_a_record_is_not_about_is_no_field(journal: Journal, log: logging.Logger) -> None:
    log.info("3 cameras")
    assert not {"CAMERA", "EVENT"} & journal.receive().keys()


def test_many_lines_and_large_messages_arrive_whole(journal: Journal, log: logging.Logger) -> None:
    for size in (10, 1 << 16, 9 << 20):  # the last is more than a datagram takes
        words = f"first\n{'seven x' * (size // 7)}\nCAMERA=forged"
        log.info("%s", words)
        found = journal.receive()
        assert found["MESSAGE"] == words
        assert "CAMERA" not in found


def test_no_secret_is_in_any_field(journal: Journal, log: logging.Logger) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("camera %s: rtsp://u:pw@host %s", SECRET, SECRET, extra={"event": SECRET})
    found = journal.receive()
    assert "Traceback" in found["MESSAGE"]
    assert found["CAMERA"] == found["EVENT"] == "***"
    assert SECRET not in str(found)
    assert "u:pw" not in str(found)


def test_a_journal_that_hangs_holds_nobody_up_and_misses_are_counted(
    journal: Journal, log: logging.Logger
) -> None:
    longest_s, lines = 0.0, 0
    handler = log.handlers[0]
    assert isinstance(handler, JournalHandler)
    begun_s = time.monotonic()
    while handler.missed < 20:
        before_s = time.monotonic()
        log.info("line")
        lines += 1
        longest_s = max(longest_s, time.monotonic() - before_s)
    assert longest_s < 10 * PATIENCE_S
    assert time.monotonic() - begun_s < 10
    received = [journal.receive() for _ in range(lines - 20)]
    assert {found["MESSAGE"] for found in received} == {"line"}
    log.info("after")
    assert journal.receive()["MESSAGE"] == "after"
    assert journal.receive()["MESSAGE"].startswith("20 lines of the log are missing")


def test_misses_count_until_the_journal_has_heard_of_them(journal: Journal, log: logging.Logger) -> None:
    handler = log.handlers[0]
    assert isinstance(handler, JournalHandler)
    while handler.missed < 20:
        log.info("line")
    journal.receive()
    log.info("takes the only room")
    for _ in range(3):
        log.info("line")
    found = ""
    while found != "takes the only room":
        found = journal.receive()["MESSAGE"]
    log.info("after")
    assert journal.receive()["MESSAGE"] == "after"
    assert journal.receive()["MESSAGE"].startswith("23 lines of the log are missing")
    assert handler.missed == 0


def test_without_a_journal_lines_go_to_standard_error_until_it_is_back(
    journal: Journal, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = log.handlers[0]
    assert isinstance(handler, JournalHandler)
    handler.fallback.setStream(sys.stderr)  # type: ignore[attr-defined]
    journal.end()
    log.info("alone")
    assert capsys.readouterr().err == "alone\n"
    journal.begin()
    log.info("back")
    assert journal.receive()["MESSAGE"] == "back"


def test_standard_error_is_known_for_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        assert stderr_is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not stderr_is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not stderr_is_journal({})
    assert not stderr_is_journal({"JOURNAL_STREAM": "1:2"})  # closed


def test_priorities() -> None:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    assert [priority_of(level) for level in levels] == [7, 6, 4, 3, 2]
