"""`edge-app` with faults of its own that quote a password, as a library's error might.

python -m tests.security.crashing camera|publisher|main ARGUMENTS...
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from edge_app import cli
from edge_app.app.daemon import Application
from edge_app.capture.credentials import Credentials
from edge_app.publish.mqtt.session import MqttSession


def of_a_camera(credentials: Any, location: str) -> NoReturn:
    raise RuntimeError(f"cannot open {location} for {credentials.username} with {credentials.password!r}")


def of_the_publisher(session: Any, _on_connected: Any) -> NoReturn:
    raise RuntimeError(f"{session._options.username}:{session._options.password} is not liked")


def of_the_main_thread(application: Any, _detectors: Any) -> NoReturn:
    try:
        raise ValueError(" ".join(application._secrets._forms))
    except ValueError as error:
        raise RuntimeError("another one while this one was handled") from error


def main() -> None:
    where = sys.argv.pop(1)
    if where == "camera":
        Credentials.url = of_a_camera  # type: ignore[assignment]
    elif where == "publisher":
        MqttSession.run = of_the_publisher  # type: ignore[method-assign, assignment]
    else:
        Application._info = of_the_main_thread  # type: ignore[method-assign, assignment]
    cli.main()


if __name__ == "__main__":
    main()
