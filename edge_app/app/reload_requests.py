"""A reload, whoever asks for it: done, and told to the log, the node's status and the service manager."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from edge_app.app.reload import EXIT_RESTART, Reloader, ReloadResult
from edge_app.errors import EXIT_FAILURE
from edge_app.ops.node import NodeWatch
from edge_app.ops.service_report import ServiceReport

logger = logging.getLogger("edge_app.app.daemon")  # the log calls it the daemon, wherever its parts stand

RELOAD_POLL_S = 0.25


class Answers(Protocol):
    """Where whoever sent SIGHUP looks for what came of it."""

    def begin(self) -> None:
        """A reload begins, and has not read the configuration yet."""

    def reply(self, words: str, exit_status: int) -> None:
        """It is over."""


class ReloadRequests:
    """Reloads by command, and by SIGHUP once that is listened to.

    Args:
        reloader: Does it.
        report: Tells the service manager.
        watch: Gets what is wrong with the file.
        redact: Takes the secrets out of what is told.
    """

    def __init__(
        self, reloader: Reloader, report: ServiceReport, watch: NodeWatch, redact: Callable[[str], str]
    ) -> None:
        self._reloader, self._report, self._watch, self._redact = reloader, report, watch, redact
        self._one_at_a_time = threading.Lock()

    def reload(self) -> ReloadResult:
        """Read the configuration file again and take over what can be. Any thread; never raises.

        What is left until a restart is named in the result. A file that is not valid changes nothing: the
        log, the node's status and the result say so. One at a time: each is told as a whole.
        """
        with self._one_at_a_time:
            return self._reload()

    def _reload(self) -> ReloadResult:
        if not self._reloader.open:
            return self._reloader.reload()
        self._report.reloading()
        result = self._reloader.reload()
        # A path that is no UTF-8 would be no JSON.
        problem = result.problem and self._redact(result.problem).encode(errors="backslashreplace").decode()
        result = replace(result, problem=problem)
        if self._reloader.open:  # what the daemon's end keeps from being done is no trouble
            self._watch.trouble("configuration", _trouble(result))
        severity = logging.WARNING if result.exit_status else logging.INFO
        logger.log(severity, "reloaded: %s", result, extra={"event": "reloaded"})
        self._report.reloaded(str(result))
        return result

    def listen(self, stop: threading.Event, hangup: threading.Event, answers: Answers | None) -> None:
        """Reload whenever `hangup` is set, from a thread of its own, until `stop` is; returns at once."""
        waiting = partial(self._reload_when_asked, stop, hangup, answers)
        threading.Thread(target=waiting, name="reload", daemon=True).start()

    def _reload_when_asked(
        self, stop: threading.Event, hangup: threading.Event, answers: Answers | None
    ) -> None:
        while self._reloader.open and not stop.is_set():
            if hangup.wait(RELOAD_POLL_S):
                hangup.clear()  # before it begins: who asks after that gets a reload of his own
                if answers is not None:
                    answers.begin()
                words, exit_status = self._outcome()
                if answers is not None:
                    answers.reply(words, exit_status)

    def _outcome(self) -> tuple[str, int]:
        """Reload, and return what came of it. Nobody takes this thread's place: it outlives every error."""
        try:
            result = self.reload()
        except Exception as error:
            logger.exception("a reload failed")
            words = f"the reload failed: {type(error).__name__}: {self._redact(str(error))}"
            self._report.reloaded(words)
            return words, EXIT_FAILURE
        return str(result), result.exit_status


def _trouble(result: ReloadResult) -> str | None:
    """Return what is wrong with the node after a reload: it does not run as its configuration says."""
    if result.problem is not None:
        return f"the configuration was not reloaded: {_short(result.problem)}"
    if result.exit_status in (0, EXIT_RESTART):
        return None
    return f"the configuration was reloaded in part; {result.refused[-1]}"


def _short(problem: str) -> str:
    """Return the first line that says something; the first of several problems stands on the second."""
    first, _, rest = problem.partition("\n")
    return f"{first} {rest.partition(chr(10))[0]}" if first.endswith(":") and rest else first
