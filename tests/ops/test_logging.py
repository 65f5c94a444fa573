"""The log: UTC lines on standard error in which no secret shows, whoever writes them."""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.config.secrets import SecretRegistry
from edge_app.ops.logging import configure_logging, lines_left_out, tell_what_was_left_out


@pytest.fixture(autouse=True)
def log_that_is_put_back() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("edge_app")
    before = root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook = before


def begin() -> None:
    registry = SecretRegistry()
    registry.add("hunter2")
    configure_logging("info", registry.redact)


def test_a_line_tells_the_time_in_utc_and_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    logging.getLogger("edge_app.capture.cameras").info("camera %s: streaming", "gate")
    logging.getLogger("edge_app.capture.cameras").debug("not shown")
    logging.getLogger("paho").info("not shown")
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    capture\.cameras: camera gate: streaming\n"
    assert re.fullmatch(line, capsys.readouterr().err)


def test_secrets_are_hidden_in_messages_arguments_and_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    for name in ("edge_app.app", "somebody.else"):
        logging.getLogger(name).warning("%s said %d: %s", "rtsp://u:p@h", 401, "hunter2")
    try:
        raise ValueError("bad hunter2")
    except ValueError:
        logging.getLogger("edge_app").exception("failed", stack_info=True)
    written = capsys.readouterr().err
    assert written.count("rtsp://***@h said 401: ***") == 2
    assert "ValueError: bad ***" in written
    assert "hunter2" not in written


def test_an_error_that_nobody_expected_goes_through_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    error = KeyError("hunter2")
    sys.excepthook(KeyError, error, None)
    nothing: dict[str, int] = {}
    thread = threading.Thread(target=lambda: nothing["hunter2"], name="odd-job")
    thread.start()
    thread.join()
    written = capsys.readouterr().err
    assert "CRITICAL ops.logging: unexpected KeyError\n" in written
    assert "CRITICAL ops.logging: unexpected KeyError in thread odd-job\n" in written
    assert "hunter2" not in written


def test_ctrl_c_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "CRITICAL" not in capsys.readouterr().err


def test_a_terminal_gets_short_times_and_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, terminal = os.openpty()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(controller, "rb", 0) as screen, os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        begin()
        log = logging.getLogger("edge_app.app.daemon")
        log.info("hunter2")
        log.error("failed")
        monkeypatch.setenv("NO_COLOR", "1")
        begin()
        log.error("failed")
        shown = ""
        while shown.count("\n") < 3:  # a terminal hands over what it has
            shown += screen.read(4096).decode()
    time = r"\d\d:\d\d:\d\d"
    pattern = (
        rf"{time} INFO    app\.daemon: \*\*\*\r\n\x1b\[31m{time} ERROR   app\.daemon: failed\x1b\[0m\r\n"
    )
    assert re.match(pattern + rf"{time} ERROR   app\.daemon: failed\r\n", shown)


def test_a_journal_without_its_socket_gets_priorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stderr").open("w+") as stderr:
        status = os.fstat(stderr.fileno())
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setattr("edge_app.ops.logging.SOCKET", tmp_path / "absent")
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        begin()
        logging.getLogger("edge_app.app.daemon").warning("two\nlines of hunter2")
        stderr.seek(0)
        assert stderr.read() == "<4>app.daemon: two\n<4>lines of ***\n"


def test_what_was_left_out_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    before = lines_left_out()
    for _ in range(15):
        logging.getLogger("edge_app.app.daemon").warning("again")
    tell_what_was_left_out()
    assert lines_left_out() - before == 5
    assert "again (the last of 5 more like it" in capsys.readouterr().err
