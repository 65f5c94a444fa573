"""The real daemon as a process of its own, with the files it writes and reads."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.brokers import until
from tests.processes import command, environment

NODE = "node-1"
BASE = f"edge/v1/{NODE}"

ENDS_WITHIN_S = 5.0
"""What a service manager and an impatient person are promised."""


def write_config(path: Path, broker: str | None, cameras: dict[str, Any], **sections: Any) -> Path:
    """Write a configuration of quick reconnects as JSON, which is YAML; a camera may be its URI alone.

    `broker` None: one that is never there.
    """
    mqtt = {"uri": broker or "mqtt://127.0.0.1:1", "reconnect_min_s": 0.1, "reconnect_max_s": 0.4}
    content = {
        "node": {"name": NODE},
        "inference": {"backend": "onnxruntime"},  # the same on every machine
        "metrics": {"enabled": False},  # the port is one for all that run at a time
        "mqtt": {**mqtt, "health_interval_s": 1, **sections.pop("mqtt", {})},
        "cameras": {
            name: {"uri": camera} if isinstance(camera, str) else camera for name, camera in cameras.items()
        },
        **sections,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


class Daemon:
    """`edge-app run --config FILE`, its log in a file beside the configuration.

    Args:
        config: The configuration.
        options: Further options of `run`.
    """

    def __init__(self, config: Path, *options: str, **env: str) -> None:
        self.config = config
        self._log = config.with_suffix(".log")
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                command("run", "--config", config, *options),
                cwd=config.parent,
                env=environment(**{"RUNTIME_DIRECTORY": str(config.parent / "run"), **env}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(encoding="utf-8")

    def until_log_says(self, words: str, times: int = 1) -> None:
        """Wait until its log holds `words`, so many times; fail if it ends before."""

        def said() -> bool:
            running = self.process.poll() is None
            if self.log.count(words) >= times:
                return True
            assert running, f"it ended with {self.process.returncode}:\n{self.log}"
            return False

        until(said, f"the log says {words!r}")

    def until_ended(self, timeout_s: float = 60.0) -> int:
        """Wait for its end and return its exit status; no end of it shows a traceback."""
        status = self.process.wait(timeout_s)
        assert "Traceback" not in self.log, self.log
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit status; fail if it takes longer than promised."""
        self.process.send_signal(number)
        return self.until_ended(ENDS_WITHIN_S)

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self.process.kill()
        self.process.wait()
