"""The errors that a person sees, and the process exit status that each of them means."""

from __future__ import annotations

EXIT_FAILURE = 1
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits(3): systemd must not restart a service that ends with it."""


class EdgeAppError(Exception):
    """An error explained to a person: what happened, what was found, and what to do about it.

    Args:
        message: What happened and what was found, without secrets.
        hint: What to do about it.
    """

    exit_status = EXIT_FAILURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if self.hint is None:
            return self.message
        stop = "" if self.message.endswith((".", "?", "!")) else "."
        return f"{self.message}{stop} Hint: {self.hint}"


class ConfigError(EdgeAppError):
    """The configuration cannot be used; restarting will not help."""

    exit_status = EXIT_CONFIG


class ModelError(EdgeAppError):
    """A model file is missing, damaged, or not one that this application can decode."""

    exit_status = EXIT_CONFIG


class CaptureError(EdgeAppError):
    """A camera could not be opened, or stopped delivering; the camera is tried again."""


class AccessRefusedError(CaptureError):
    """A camera wants another user name or password; those that try again and again are locked out."""


class DecoderError(CaptureError):
    """A decoder cannot be had, or does not go on; the camera may be read through another one.

    Args:
        retry: Whether a new decoder of the same kind may do better: the stream changed, or was damaged.
    """

    def __init__(self, message: str, *, hint: str | None = None, retry: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retry = retry


class BackendError(EdgeAppError):
    """The inference backend could not be opened or failed while running."""


class PublishError(EdgeAppError):
    """The message sink was misused or cannot be set up."""


class StageFailedError(EdgeAppError):
    """A stage of the pipeline failed; the process ends with the stage's name and cause."""

    def __init__(self, stage: str, cause: BaseException) -> None:
        super().__init__(f"stage {stage!r} failed: {type(cause).__name__}: {cause}")
        self.stage = stage


class StageHungError(StageFailedError):
    """A stage has work and does none of it; the process ends, for nothing else frees a thread that hangs."""

    def __init__(self, stage: str, idle_s: float) -> None:
        words = f"stage {stage!r} hangs: it has work and has done nothing for {idle_s:.0f} s"
        EdgeAppError.__init__(self, words)
        self.stage = stage


class EndOfStream(Exception):  # noqa: N818 - control flow, not an error
    """A finite source has delivered its last frame."""


class ChannelClosed(Exception):  # noqa: N818 - control flow, not an error
    """The channel was closed: there will be no more items, or nobody is left to take one."""


_WHERE_TO_GET = {
    "cv2": "pip install 'edge-app[opencv]', or on a Jetson the system's own: apt install python3-opencv",
    "onnx": "pip install 'edge-app[inspect]'",
    "onnxruntime": "pip install 'edge-app[onnxruntime]'",
    "amqtt": "pip install 'edge-app[demo]'",
}


def missing_package(name: str | None) -> ConfigError | None:
    """Return the explanation of a missing package that one of our extras brings, None for any other."""
    if name not in _WHERE_TO_GET:
        return None
    return ConfigError(f"The Python package {name} is not installed.", hint=f"{_WHERE_TO_GET[name]}.")
