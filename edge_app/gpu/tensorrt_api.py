"""The one place that imports TensorRT, and what it says on the way to our log."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from edge_app.errors import BackendError
from edge_app.gpu.api_table import OLDEST, RUNTIME_API, UNKNOWN, ApiRow, Version, missing_rows
from edge_app.gpu.driver import platform_name

logger = logging.getLogger(__name__)

LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    # TensorRT tells every allocation at its level INFO.
    "INFO": logging.DEBUG,
}

TENSORRT_HINTS = {
    "jetson": "sudo apt install tensorrt python3-libnvinfer, and use the system's Python: "
    "python3 -m venv --system-site-packages .venv.",
    "x86": "pip install tensorrt-cu12 (or tensorrt-cu13, as your driver's CUDA version).",
}


def parse_version(text: str) -> Version:
    """Return the numbers at the front of a version, such as (10, 3, 0) of `10.3.0.post1`."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


@lru_cache(maxsize=1)
def load_tensorrt() -> Any:
    """Return the module `tensorrt`, of a version whose interface is known.

    Without a GPU that works, constructing its `Builder` or `Runtime` may crash the process (8.6 does):
    call `open_gpu` or `describe_device` first.

    Raises:
        BackendError: It is not installed, or its version is not supported.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise BackendError(
            f"TensorRT cannot be imported: {error}", hint=TENSORRT_HINTS[platform_name()]
        ) from None
    check_version(tensorrt)
    return tensorrt


def check_version(tensorrt: Any, rows: tuple[ApiRow, ...] = RUNTIME_API) -> None:
    """Check that the module has everything among `rows` that its version must have.

    Raises:
        BackendError: The version is too old, or an attribute is missing.
    """
    version = parse_version(tensorrt.__version__)
    if version < OLDEST:
        raise BackendError(
            f"TensorRT {tensorrt.__version__} is too old: 8.6 to 11 are supported",
            hint="Update JetPack to 6.0 or newer." if platform_name() == "jetson" else TENSORRT_HINTS["x86"],
        )
    if version >= UNKNOWN:
        logger.warning("TensorRT %s is newer than what edge-app was tested with", tensorrt.__version__)
    missing = missing_rows(tensorrt, version, rows)
    if missing:
        listed = ", ".join(f"{row.path} (for {row.used_for})" for row in missing)
        raise BackendError(f"TensorRT {tensorrt.__version__} lacks {listed}")


def tensorrt_version() -> Version:
    """Return the version of TensorRT's Python bindings. Raises BackendError like `load_tensorrt`."""
    return parse_version(load_tensorrt().__version__)


class TensorRtLog:
    """Forwards TensorRT's messages to our log and keeps its errors for who wants to quote them."""

    def __init__(self) -> None:
        self._listeners: list[list[str]] = []

    def write(self, severity: str, message: str) -> None:
        """Take one message; `severity` is a name of `ILogger.Severity`. Called by any thread."""
        level = LEVELS.get(severity)
        if level is None:
            return
        logger.log(level, "TensorRT: %s", message)
        if level == logging.ERROR:
            for words in list(self._listeners):
                words.append(message)

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """Collect the errors that TensorRT reports while the block runs."""
        words: list[str] = []
        self._listeners.append(words)
        try:
            yield words
        finally:
            # By identity: two listeners may hold equal lists.
            self._listeners[:] = [other for other in self._listeners if other is not words]


tensorrt_log = TensorRtLog()


@lru_cache(maxsize=1)
def native_logger() -> Any:
    """Return the `ILogger` that TensorRT's objects are given: one, as it warns of a second."""
    tensorrt = load_tensorrt()

    class Logger(tensorrt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            tensorrt_log.write(severity.name, message)

    return Logger()


def quote(words: list[str]) -> str:
    """Return TensorRT's own words for an error message."""
    return "; ".join(word.strip() for word in words) if words else "it gave no reason"
