"""Where a daemon that runs is found by those who want something of it, and what it answered last.

In the runtime directory lie, for each configuration that runs, a lock that is held as long as the daemon
lives and names it, and beside it what came of its reloads.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_app.control_characters import escape_controls
from edge_app.errors import EXIT_FAILURE, EdgeAppError
from edge_app.files.bounded import read_start
from edge_app.files.lock import LockedError, hold, holder_of
from edge_app.files.replacing import replace_content

logger = logging.getLogger(__name__)

SERVICE_DIRECTORY = Path("/run/edge-app")
POLL_S = 0.05
MOST_REPLY_BYTES = 1 << 16
MOST_PROCESSES = 1 << 22
"""The kernel's own bound of process numbers; a greater one is none, and no C integer perhaps."""
LOOKER_S = 1.0
"""Whoever looks whether the lock is held has it for an instant."""
START_HINT = "start it with `edge-app run`, or `systemctl start edge-app`"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a daemon says of its last reload.

    Attributes:
        config: Its configuration file.
        reloads: The number of that reload; 0 before the first one.
        words: What came of it.
        exit_status: The same for a command line.
        begun: The number of the reload that began last: the configuration was not read before that.
    """

    config: str
    reloads: int = 0
    words: str = ""
    exit_status: int = 0
    begun: int = 0


_KINDS = {key: type(value) for key, value in asdict(Reply("")).items()}


def _shown(value: object) -> Any:
    return escape_controls(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """A daemon that runs: its process, and where it replies."""

    pid: int
    lock: Path

    @property
    def reply(self) -> Reply:
        """What it said last."""
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            said = json.loads(read_start(_reply_file(self.lock), MOST_REPLY_BYTES, follow=False))
            if isinstance(said, dict):
                reply = Reply(**{key: _shown(value) for key, value in said.items()})
                if all(type(value) is _KINDS[key] for key, value in asdict(reply).items()):
                    return reply
        return Reply("?")

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return _is_held(self.lock) is True


def runtime_directory() -> Path:
    """Return where this user, or this service, keeps what need not outlast the process.

    systemd names the place in `RUNTIME_DIRECTORY` (of several the first counts). Otherwise root's is the
    service's; a user's is by the XDG base directory specification, or else among the temporary files.
    """
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return SERVICE_DIRECTORY
    of_user = os.environ.get("XDG_RUNTIME_DIR")
    if of_user:
        return Path(of_user) / "edge-app"
    return Path(tempfile.gettempdir()) / f"edge-app-{os.geteuid()}"


class RunFile:
    """Lets the daemon of a configuration be found, from `open` to `close`.

    Where that cannot be, the log says so and the daemon runs all the same: it can still be sent SIGHUP.

    Args:
        config: The configuration file.
        directory: Where; None: `runtime_directory()`.
    """

    def __init__(self, config: Path, directory: Path | None = None) -> None:
        self._config = config.absolute()
        self._directory = directory or runtime_directory()
        self._lock = self._directory / f"{key_of(self._config)}.lock"
        self._stack = contextlib.ExitStack()
        self._said = Reply(str(self._config))
        self._held = False

    def open(self) -> None:
        """Be found from now on."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_own(self._directory)
            self._stack.enter_context(hold(self._lock, timeout_s=LOOKER_S))
        except LockedError as error:
            logger.warning(
                "`edge-app reload` reaches another daemon of this configuration: %s", error.message
            )
        except OSError as error:
            why = f"{self._directory}: {error.strerror or error}"
            logger.info("`edge-app reload` will not find this daemon (%s); SIGHUP does the same", why)
        else:
            self._held = True
            self._begin_to_reply()

    def _begin_to_reply(self) -> None:
        file = _reply_file(self._lock)
        try:
            # That of a daemon that was killed: whoever counts on from there would wait for us in vain.
            file.unlink(missing_ok=True)
            self._write()
        except OSError as error:
            why = f"{file}: {error.strerror or error}"
            logger.info("`edge-app reload` may not hear what comes of it (%s); the log tells it", why)

    def begin(self) -> None:
        """Say that a reload begins; it reads the configuration only after this."""
        self._say(replace(self._said, begun=self._said.begun + 1))

    def reply(self, words: str, exit_status: int) -> None:
        """Say what came of the reload that began last."""
        self._say(replace(self._said, reloads=self._said.begun, words=words, exit_status=exit_status))

    def close(self) -> None:
        """Be found no more."""
        if self._held:
            self._held = False
            _reply_file(self._lock).unlink(missing_ok=True)
            self._stack.close()

    def _say(self, reply: Reply) -> None:
        self._said = reply
        if self._held:
            with contextlib.suppress(OSError):  # whoever waits for it is told that there was no answer
                self._write()

    def _write(self) -> None:
        replace_content(_reply_file(self._lock), json.dumps(asdict(self._said)).encode())


def request_reload(daemon: RunningDaemon, timeout_s: float) -> Reply:
    """Have a daemon read its configuration again, and return what it says of that.

    A reload that has begun before does not count: it may have read what the file held then.

    Raises:
        EdgeAppError: It is another user's, or did not answer in time.
    """
    last = daemon.reply
    before = max(last.begun, last.reloads)  # a daemon of an older version does not tell what has begun
    _send_hangup(daemon)
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        reply = daemon.reply
        if reply.reloads > before:
            return reply
        if not daemon.alive:
            return Reply(reply.config, before, "the daemon has ended", EXIT_FAILURE, before)
        time.sleep(POLL_S)
    raise EdgeAppError(
        f"The daemon (process {daemon.pid}) did not answer within {timeout_s:g} s.",
        hint="while it opens its model it changes nothing; it reloads when it is ready",
    )


def _send_hangup(daemon: RunningDaemon) -> None:
    """Send SIGHUP to the process that the lock names, if that belongs to whom the lock belongs to.

    The service's user writes the lock, and root may be the one who asks: it must not be led to others.
    """
    try:
        process = os.pidfd_open(daemon.pid)
        try:
            owner = Path(f"/proc/{daemon.pid}").stat().st_uid
            if owner != daemon.lock.stat(follow_symlinks=False).st_uid:
                raise EdgeAppError(
                    f"{daemon.lock} names process {daemon.pid}, which is another user's: it is sent nothing.",
                    hint="find out who wrote that; sudo systemctl reload edge-app reaches the service",
                )
            signal.pidfd_send_signal(process, signal.SIGHUP)
        finally:
            os.close(process)
    except OSError as error:
        raise EdgeAppError(
            f"The daemon (process {daemon.pid}) cannot be sent a signal: {(error.strerror or '').lower()}.",
            hint="sudo edge-app reload, or sudo systemctl reload edge-app",
        ) from None


def find_daemon(config: Path | None) -> RunningDaemon:
    """Return the daemon that runs a configuration, or the only one that runs.

    Raises:
        EdgeAppError: There is none, there are several, or it is another user's.
    """
    found, denied = [], []
    for directory in dict.fromkeys((runtime_directory(), SERVICE_DIRECTORY)):
        for lock in _locks(directory, config):
            held = _is_held(lock)
            if held is None:
                denied.append(lock)
            elif held and (holder := holder_of(lock)) is not None and _is_process(holder.pid):
                found.append(RunningDaemon(holder.pid, lock))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(daemon.reply.config for daemon in found))
        raise EdgeAppError(f"Several daemons run: of {names}.", hint="say which one by --config FILE")
    if denied:
        raise EdgeAppError(
            f"A daemon seems to run, but this user must not look at {denied[0]}.",
            hint="sudo edge-app reload, or sudo systemctl reload edge-app",
        )
    which = "" if config is None else f" with {config}"
    raise EdgeAppError(f"No daemon runs{which}.", hint=START_HINT)


def _is_process(number: object) -> bool:
    """Whether a number can be a process of its own: -1 is every process there is, 1 the machine's first."""
    return isinstance(number, int) and not isinstance(number, bool) and 1 < number <= MOST_PROCESSES


def _locks(directory: Path, config: Path | None) -> Iterator[Path]:
    try:
        _require_own(directory)
        yield from directory.glob(f"{'*' if config is None else key_of(config)}.lock")
    except OSError:
        return


def key_of(config: Path) -> str:
    """Return what stands for a configuration in the names of files, however its path is written."""
    return hashlib.sha256(os.fsencode(os.path.realpath(config))).hexdigest()[:16]


def _reply_file(lock: Path) -> Path:
    return lock.with_suffix(".json")


def _is_held(lock: Path) -> bool | None:
    """Whether a process holds the lock; None if this user must not know."""
    try:
        # Whoever may write to the directory may have put a pipe there, which would be waited for.
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _require_own(directory: Path) -> None:
    """Raise OSError if others could have put something there: among temporary files anybody may."""
    info = directory.stat(follow_symlinks=False)
    mine = info.st_uid in (os.geteuid(), 0) or os.geteuid() == 0 or directory == SERVICE_DIRECTORY
    if not stat.S_ISDIR(info.st_mode) or not mine or info.st_mode & stat.S_IWOTH:
        raise PermissionError(f"{directory} is not this user's own directory")
