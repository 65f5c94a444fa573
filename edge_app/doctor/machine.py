"""The machine as the checks see it: files below a root, commands, and children of this Python."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_app.files.bounded import read_start
from edge_app.files.child_environment import child_environment

COMMAND_TIMEOUT_S = 15.0
PYTHON_TIMEOUT_S = 25.0
MOST_BYTES = 4 << 20
"""That are read of one file."""
SERVICE_USER = "edge-app"
INSTALLED = Path("/opt/edge-app")
STATE_DIRECTORY = "/var/lib/edge-app"
CACHE_DIRECTORY = "/var/cache/edge-app"
_PATH = ("usr/local/cuda/bin", "usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said, and its exit status; a negative one is the signal that ended it."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class User:
    """A user with all groups it is in."""

    name: str
    uid: int
    gid: int
    gids: frozenset[int]


@dataclass(frozen=True)
class Machine:
    """This machine, or one whose files lie below another root.

    Attributes:
        root: What stands for `/`.
        environment: For child processes, beside our own.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Return where an absolute path of the machine lies."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return a file's text without the zero byte or white space at its end; None if it cannot be read."""
        try:
            return read_start(self.path(name), MOST_BYTES).decode("utf-8", "replace").rstrip("\0 \n\t")
        except (OSError, ValueError):
            return None

    def glob(self, pattern: str) -> list[Path]:
        """Return the paths that match an absolute pattern, sorted."""
        with contextlib.suppress(OSError):
            return sorted(self.root.glob(pattern.lstrip("/")))
        return []

    @property
    def is_jetson(self) -> bool:
        """Whether it runs Linux for Tegra, or has a Jetson's device tree."""
        model = self.read("/proc/device-tree/model") or ""
        return self.path("/etc/nv_tegra_release").exists() or "jetson" in model.lower()

    def which(self, command: str) -> str | None:
        """Return where a command lies, CUDA's own folder included; None if there is none."""
        places = [str(self.root / place) for place in _PATH]
        if self.root == Path("/"):
            places.append(os.environ.get("PATH", ""))
        return shutil.which(command, path=os.pathsep.join(places))

    def command(self, name: str, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Answer | None:
        """Run a command to its end; None if there is none, or it takes too long."""
        found = self.which(name)
        return None if found is None else self._run([found, *arguments], timeout_s, {})

    def python(self, code: str, *arguments: str, timeout_s: float = PYTHON_TIMEOUT_S) -> Answer | None:
        """Run code in a child of this Python: an import that crashes or hangs then harms nobody.

        Where edge-app is installed as a service and we are root, the child is the service's user, so that
        it finds what the service finds. None: it took too long.
        """
        command = [sys.executable, "-c", code, *arguments]
        return self._run(command, timeout_s, self._as_service())

    def user(self) -> User | None:
        """Return the service's user, or who runs us where there is none; None if that is in no list."""
        users = [line.split(":") for line in (self.read("/etc/passwd") or "").splitlines()]
        known = {fields[0]: fields for fields in users if len(fields) >= 4}
        name = SERVICE_USER
        if name not in known:
            name = next((fields[0] for fields in known.values() if fields[2] == str(os.geteuid())), "")
        if name not in known:
            return None
        uid, gid = int(known[name][2]), int(known[name][3])
        groups = [line.split(":") for line in (self.read("/etc/group") or "").splitlines()]
        gids = {int(of[2]) for of in groups if len(of) >= 4 and name in of[3].split(",")}
        if self.root == Path("/") and uid == os.geteuid():
            gids |= set(os.getgroups())
        return User(name, uid, gid, frozenset({gid, *gids}))

    def child_user(self) -> User | None:
        """Return the service's user, if children of this Python are it; None: they are who we are."""
        user = self.user()
        installed = self.root == Path("/") and INSTALLED in Path(sys.prefix).parents
        return user if os.geteuid() == 0 and installed and user and user.name == SERVICE_USER else None

    def _as_service(self) -> dict[str, Any]:
        user = self.child_user()
        if user is None:
            return {}
        env = {"HOME": STATE_DIRECTORY, "STATE_DIRECTORY": STATE_DIRECTORY, "XDG_CACHE_HOME": CACHE_DIRECTORY}
        # Both groups that the unit adds, whether or not the user is a member.
        extra = sorted(user.gids | self._gids("video", "render"))
        return {"user": user.uid, "group": user.gid, "extra_groups": extra, "cwd": "/", "env": env}

    def _gids(self, *names: str) -> set[int]:
        groups = [line.split(":") for line in (self.read("/etc/group") or "").splitlines()]
        return {int(of[2]) for of in groups if len(of) >= 3 and of[0] in names}

    def _run(self, command: Sequence[str], timeout_s: float, options: dict[str, Any]) -> Answer | None:
        env = {**child_environment(LC_ALL="C.UTF-8"), **self.environment, **options.pop("env", {})}
        try:
            done = subprocess.run(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                **options,
            )
        except subprocess.TimeoutExpired:
            return None
        except OSError as error:
            return Answer(127, "", f"{command[0]}: {error.strerror}")
        output, errors = (text.decode("utf-8", "replace").strip() for text in (done.stdout, done.stderr))
        return Answer(done.returncode, output, errors)
