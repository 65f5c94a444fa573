"""The address of a camera: which kind of camera it is, where it is, and what its query asks for."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl, unquote, urlsplit

from edge_app.config.describe import join_or
from edge_app.config.problems import shorten
from edge_app.config.secrets import hide_userinfo, holds_userinfo, redact_uri
from edge_app.errors import ConfigError

KINDS = "a file, a folder or glob of images, rtsp://, rtsps://, http://, https://, v4l2://, csi://, gst:// or scene://"
SCENES = ("street",)
_OPTIONS = {
    "scene": ("seed", "size", "fps", "live", "frames"),
    "csi": ("size", "fps"),
    "v4l2": ("size", "fps", "format"),
}
_FORMATS = ("mjpeg", "yuyv")
_MOST_PX = 8192
_LEAST_PX, _LEAST_SCENE_PX = 16, 32
_MOST_FPS = 1000
_MOST_HOST_CHARS = 253
"""RFC 1035, section 2.3.4, without the octets of length."""
_HOST = re.compile(r"[^\s/?#@:\[\]%\\]+")


class CameraKind(str, Enum):
    """What a camera's URI leads to; `rtsps://` is RTSP, `https://` is HTTP."""

    FILE = "file"
    RTSP = "rtsp"
    HTTP = "http"
    V4L2 = "v4l2"
    CSI = "csi"
    GSTREAMER = "gst"
    SCENE = "scene"


@dataclass(frozen=True, slots=True)
class CameraUri:
    """A camera's URI, taken apart.

    Attributes:
        kind: What it leads to.
        location: The path of a file, folder or glob; the whole URI of RTSP and HTTP; the device file of V4L2;
            the sensor's number of CSI; the pipeline of GStreamer; the name of a scene.
        size: Wanted width and height in pixels, where the URI says.
        fps: Wanted frames a second, where the URI says.
        seed: Seed of a scene.
        pixel_format: `mjpeg` or `yuyv` of V4L2, where the URI says.
        live: Whether a scene goes on without us, as a camera does; otherwise every frame is rendered.
        frames: How many frames a scene has, where the URI says.
    """

    kind: CameraKind
    location: str
    size: tuple[int, int] | None = None
    fps: float | None = None
    seed: int = 0
    pixel_format: str | None = None
    live: bool = True
    frames: int | None = None

    @property
    def on_network(self) -> bool:
        """Whether a user name and a password can be used."""
        return self.kind in (CameraKind.RTSP, CameraKind.HTTP)


def parse_camera_uri(uri: str) -> CameraUri:
    """Take a camera's URI apart. What has no `scheme://` is a path.

    Raises:
        ConfigError: If it is none. The message holds neither a user name nor a password.
    """
    if holds_userinfo(uri):
        raise _fault(
            hide_userinfo(uri),
            "holds a user name or password",
            "remove it from the URI; set username and password_file instead",
        )
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _path(uri)
    scheme = scheme.lower()
    if scheme in ("rtsp", "rtsps", "http", "https"):
        require_host(uri, f"{scheme}://host/path")
        return CameraUri(CameraKind.RTSP if scheme.startswith("rtsp") else CameraKind.HTTP, uri)
    if scheme == "gst":
        return _pipeline(uri, rest)
    if scheme in _OPTIONS:
        return _local(uri, CameraKind(scheme), rest)
    if scheme == "file":
        hint = f"write the path without file://, as in {shorten(unquote(rest))}"
        raise _fault(uri, "is not a kind of camera", hint)
    close = difflib.get_close_matches(scheme, [*_OPTIONS, "rtsp", "rtsps", "http", "https", "gst"], 1)
    suggestion = f"did you mean {close[0]}://? " if close else ""
    raise _fault(uri, f"has the unknown scheme {shorten(scheme, 20)}://", f"{suggestion}A camera is {KINDS}")


def require_host(uri: str, form: str) -> None:
    """Check the host and the port of a network address.

    Raises:
        ConfigError: If the host is missing or malformed, or the port is not from 1 to 65535.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        hint = f"write {form}, with a port from 1 to 65535 if there is one"
        raise _fault(uri, "has no usable host and port", hint) from None
    if port == 0:
        raise _fault(uri, "has the port 0", "ports go from 1 to 65535")
    if not host:
        raise _fault(uri, "names no host", f"write {form}")
    if "[" not in parts.netloc and not _may_be_host(host):
        raise _fault(uri, "names a host that cannot be one", f"write {form}")


def _may_be_host(host: str) -> bool:
    if len(host) > _MOST_HOST_CHARS or not _HOST.fullmatch(host):
        return False
    try:
        host.encode("idna")  # as resolving it does: labels have 1 to 63 characters
    except UnicodeError:
        return False
    return True


def _path(text: str) -> CameraUri:
    scheme = re.match(r"(rtsps?|https?|v4l2|csi|gst|scene|file):", text, re.IGNORECASE)
    if scheme:
        raise _fault(
            text,
            "is not complete",
            f"after {scheme.group()} there must be two slashes: {scheme.group()}//...",
        )
    if text.isdigit():
        raise _fault(
            text, "is a number", f"a USB camera is v4l2:///dev/video{text}, a CSI camera csi://{text}"
        )
    if text.startswith("/dev/video"):
        raise _fault(text, "is a device, not a file", f"write v4l2://{text}")
    return CameraUri(CameraKind.FILE, text)


def _pipeline(uri: str, pipeline: str) -> CameraUri:
    if not pipeline.strip():
        raise _fault(
            uri,
            "holds no pipeline",
            "write it after gst://, as in gst://videotestsrc ! videoconvert ! appsink",
        )
    if re.search(r"\b(user-pw|password|passphrase)\s*=", pipeline):
        raise _fault(uri, "holds a password", "use an rtsp:// URI with username and password_file")
    return CameraUri(CameraKind.GSTREAMER, pipeline.strip())


def _local(uri: str, kind: CameraKind, rest: str) -> CameraUri:
    location, _, query = rest.partition("?")
    options = _options(uri, kind, query)
    if kind is CameraKind.V4L2 and not re.fullmatch(r"/dev/[^\s?#]+", location):
        raise _fault(uri, "names no device", "write v4l2:///dev/video0, with three slashes")
    if kind is CameraKind.CSI and not re.fullmatch(r"[0-9]{1,2}", location):
        raise _fault(uri, "names no sensor", "write csi://0 for the first one")
    if kind is CameraKind.SCENE and location not in SCENES:
        raise _fault(uri, "names no scene that there is", f"write scene://{join_or(SCENES)}")
    return CameraUri(
        kind,
        location,
        size=_size(uri, kind, options["size"]) if "size" in options else None,
        fps=_fps(uri, options["fps"]) if "fps" in options else None,
        seed=_seed(uri, options["seed"]) if "seed" in options else 0,
        pixel_format=_format(uri, options["format"]) if "format" in options else None,
        live=_flag(uri, "live", options["live"]) if "live" in options else True,
        frames=_frames(uri, options["frames"]) if "frames" in options else None,
    )


def _options(uri: str, kind: CameraKind, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS[kind.value]:
            close = difflib.get_close_matches(name, _OPTIONS[kind.value], 1)
            suggestion = f"did you mean {close[0]}? " if close else ""
            known = f"{kind.value}:// knows {join_or(_OPTIONS[kind.value])}"
            shown = f"the unknown option {name}" if name.isidentifier() else "an unknown option"
            raise _fault(uri, f"has {shorten(shown)}", f"{suggestion}{known}")
        if name in options:
            raise _fault(uri, f"has the option {name} twice", "keep one of them")
        options[name] = value
    return options


def _size(uri: str, kind: CameraKind, text: str) -> tuple[int, int]:
    least = _LEAST_SCENE_PX if kind is CameraKind.SCENE else _LEAST_PX
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(least <= side <= _MOST_PX for side in size):
        hint = f"write width x height, each from {least} to {_MOST_PX} pixels, as in size=1280x720"
        raise _fault(uri, f"has the size {shorten(repr(text))}", hint)
    return size


def _fps(uri: str, text: str) -> float:
    fps = float(text) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) else 0.0
    if not 0 < fps <= _MOST_FPS:
        raise _fault(
            uri,
            f"has the fps {shorten(repr(text))}",
            f"write a number above 0, up to {_MOST_FPS}, as in fps=30",
        )
    return fps


def _seed(uri: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _fault(
            uri,
            f"has the seed {shorten(repr(text))}",
            "write a whole number of at most nine digits, as in seed=1",
        )
    return int(text)


def _flag(uri: str, name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise _fault(uri, f"has {name}={shorten(text)}", f"write {name}=true or {name}=false")
    return text == "true"


def _frames(uri: str, text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise _fault(
            uri, f"has frames={shorten(text)}", "write how many frames the scene has, as in frames=300"
        )
    return int(text)


def _format(uri: str, text: str) -> str:
    if text not in _FORMATS:
        raise _fault(uri, f"has the format {shorten(repr(text))}", f"write {join_or(_FORMATS)}")
    return text


def _fault(uri: str, what: str, hint: str) -> ConfigError:
    return ConfigError(redact_uri(f"{what}, found {shorten(redact_uri(uri), 100)}"), hint=hint)
