"""An RTSP camera for the tests: gst-rtsp-server in a process of its own.

Run by the system's Python, which has the GObject bindings: prints the port it listens on, then serves
`rtsp://127.0.0.1:PORT/camera` until it is killed. On Debian and Ubuntu it needs gir1.2-gst-rtsp-server-1.0,
python3-gi and gstreamer1.0-plugins-ugly.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=1000 key-int-max={gop} ! rtph264pay",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=1000 key-int-max={gop} ! rtph265pay",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--codec", choices=sorted(ENCODERS), default="h264")
    parser.add_argument("--audio", action="store_true", help="send an audio track too")
    parser.add_argument("--user", help="ask for this user name and the password read from standard input")
    parser.add_argument("--auth", choices=("basic", "digest"), default="digest")
    parser.add_argument("--count", help="file that grows by a byte with each connection")
    parser.add_argument("--still", action="store_true", help="show one picture for ever")
    parser.add_argument("--noise", action="store_true", help="with --still: as a sensor sees it, in the dark")
    parser.add_argument("--late-keyframe", action="store_true", help="hold back the first keyframe")
    return parser.parse_args()


def launch_line(options: argparse.Namespace) -> str:
    encoder = ENCODERS[options.codec].format(gop=options.fps)
    size = f"video/x-raw,width={options.width},height={options.height},framerate={options.fps}/1"
    picture = f"videotestsrc is-live=true pattern=ball ! {size} ! timeoverlay"
    if options.still:
        picture = f"videotestsrc is-live=true pattern=smpte75 ! {size}"
    if options.noise:
        sensor = f"videotestsrc is-live=true pattern=snow ! {size} ! mix.sink_1"
        mixed = f"{picture} ! mix.sink_0 {sensor} compositor name=mix sink_1::alpha=0.02 latency=100000000"
        picture = f"{mixed} ! {size} ! videoconvert"
    video = f"{picture} ! {encoder} name=pay0 pt=96 config-interval=1"
    audio = "audiotestsrc is-live=true ! audio/x-raw,rate=8000 ! alawenc ! rtppcmapay name=pay1 pt=97"
    return f"( {video} {audio if options.audio else ''} )"


def hold_back_first_keyframe(_factory: Any, media: Any) -> None:
    """Drop everything that is decodable alone until the second keyframe, as a camera joined midway."""
    seen = 0

    def probe(_pad: Any, info: Any) -> Any:
        nonlocal seen
        if not info.get_buffer().has_flags(Gst.BufferFlags.DELTA_UNIT):
            seen += 1
        is_first = seen == 1 and not info.get_buffer().has_flags(Gst.BufferFlags.DELTA_UNIT)
        return Gst.PadProbeReturn.DROP if is_first else Gst.PadProbeReturn.OK

    payloader = media.get_element().get_by_name("pay0")
    payloader.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, probe)


def protect(server: Any, factory: Any, options: argparse.Namespace) -> None:
    """Ask for the user name and the password."""
    password = sys.stdin.readline().rstrip("\n")
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if options.auth == "basic":
        auth.set_supported_methods(1)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, password), token)
    else:
        auth.set_supported_methods(2)
        auth.add_digest(options.user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role("viewer")
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def count(path: str) -> None:
    """Note one more connection."""
    with open(path, "ab") as file:  # noqa: PTH123 - short, and run by the system's Python
        file.write(b".")


def main() -> None:
    options = arguments()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch_line(options))
    factory.set_shared(True)
    if options.user:
        protect(server, factory, options)
    if options.late_keyframe:
        factory.connect("media-configure", hold_back_first_keyframe)
    if options.count:
        server.connect("client-connected", lambda *_: count(options.count))
    server.get_mount_points().add_factory("/camera", factory)
    if not server.attach(None):
        sys.exit("the port cannot be bound")
    print(server.get_bound_port(), flush=True)  # noqa: T201 - the parent waits for it
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
