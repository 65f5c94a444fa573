"""OpenCV, GStreamer, and what CSI cameras need."""

from __future__ import annotations

import json
import re
from collections.abc import Set as AbstractSet

from edge_app.capture.pipelines import CSI_ELEMENTS, RTSP_ELEMENTS
from edge_app.config.camera_uri import CameraKind
from edge_app.doctor.machine import Machine
from edge_app.doctor.result import Result, failed, ok, skipped, warning

_ASK_OPENCV = """
import json, re, sys
import cv2
built = cv2.getBuildInformation()
gstreamer = re.search(r"GStreamer:\\s+YES", built) is not None
print(json.dumps({"version": cv2.__version__, "gstreamer": gstreamer, "file": cv2.__file__}))
"""

HARDWARE_DECODER = frozenset({"nvv4l2decoder", "nvvidconv"})
NEEDS_GSTREAMER = frozenset({CameraKind.CSI, CameraKind.GSTREAMER})
ARGUS_SOCKET = "/tmp/argus_socket"  # noqa: S108 - where NVIDIA's daemon has it


def check_opencv(machine: Machine, kinds: AbstractSet[CameraKind]) -> Result:
    """Look whether OpenCV can be imported, and has GStreamer where that is needed.

    Args:
        machine: A Jetson needs GStreamer for its decoder.
        kinds: The kinds of cameras in the configuration.
    """
    answer = machine.python(_ASK_OPENCV)
    if answer is None or answer.status != 0:
        last = (answer.errors.splitlines() if answer else [])[-1:] or ["it hangs or crashes"]
        fix = "pip install 'edge-app[opencv]', or the system's: sudo apt install python3-opencv."
        if "numpy" in (answer.errors.lower() if answer else ""):
            fix = "It was compiled for another NumPy: pip install 'numpy<2' beside the system's OpenCV."
        return failed(f"OpenCV cannot be imported: {last[0]}", fix)
    told = json.loads(answer.output.splitlines()[-1])
    found = f"OpenCV {told['version']} {'with' if told['gstreamer'] else 'without'} GStreamer, {told['file']}"
    if told["gstreamer"]:
        return ok(found)
    fix = (
        "PyPI's OpenCV shadows the system's: pip uninstall opencv-python opencv-python-headless, "
        "sudo apt install python3-opencv (on a Jetson JetPack's), in an environment that sees it."
    )
    needing = sorted(kind.value for kind in NEEDS_GSTREAMER & kinds)
    if needing:
        return failed(f"{found}; {', '.join(f'{kind}://' for kind in needing)} cameras need it", fix)
    if machine.is_jetson:
        return failed(f"{found}: the Jetson's hardware decoder cannot be used", fix)
    return ok(found)


def check_decoders(machine: Machine, kinds: AbstractSet[CameraKind]) -> Result:
    """Look for GStreamer's elements: the hardware's on a Jetson, the software's elsewhere."""
    answer = machine.command("gst-inspect-1.0", timeout_s=25.0)
    if answer is None or answer.status != 0:
        if machine.is_jetson or NEEDS_GSTREAMER & kinds:
            fix = "sudo apt install gstreamer1.0-tools; if it hangs, rm -r ~/.cache/gstreamer-1.0 helps."
            return failed("GStreamer's elements cannot be listed (gst-inspect-1.0)", fix)
        return skipped("no gst-inspect-1.0; OpenCV decodes by itself")
    elements = set(re.findall(r"^[\w-]+:  ([\w-]+): ", answer.output, re.MULTILINE))
    if machine.is_jetson:
        return _hardware(elements, kinds)
    missing = sorted(RTSP_ELEMENTS - elements)
    if missing and CameraKind.RTSP in kinds:
        return warning(
            f"GStreamer lacks {', '.join(missing)}: RTSP cameras are read through FFmpeg",
            "sudo apt install gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav.",
        )
    return ok(
        f"GStreamer has {len(elements)} elements" + (f", without {', '.join(missing)}" if missing else "")
    )


def _hardware(elements: AbstractSet[str], kinds: AbstractSet[CameraKind]) -> Result:
    wanted = HARDWARE_DECODER | RTSP_ELEMENTS | (CSI_ELEMENTS if CameraKind.CSI in kinds else frozenset())
    missing = sorted(wanted - elements)
    if not missing:
        return ok("the hardware decoder's elements are there")
    nvidia = [name for name in missing if name.startswith("nv")]
    packages = ["nvidia-l4t-gstreamer"] if nvidia else []
    packages += (
        ["gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad"] if len(nvidia) < len(missing) else []
    )
    return failed(
        f"GStreamer lacks {', '.join(missing)}",
        f"sudo apt install {' '.join(packages)}; then rm -r ~/.cache/gstreamer-1.0, which keeps old lists. "
        "gst-inspect-1.0 --print-blacklist names plugins that do not load.",
    )


def check_csi(machine: Machine, kinds: AbstractSet[CameraKind]) -> Result:
    """Look for the daemon of the image signal processor, and whether the service can reach it."""
    if CameraKind.CSI not in kinds:
        return skipped("no csi:// camera in the configuration")
    if not machine.path(ARGUS_SOCKET).exists():
        return failed(
            f"nvargus-daemon does not run: there is no {ARGUS_SOCKET}",
            "sudo systemctl restart nvargus-daemon; in a container: mount the socket into it.",
        )
    drop_ins = [
        path
        for place in ("/etc", "/usr/local/lib", "/usr/lib", "/run")
        for path in machine.glob(f"{place}/systemd/system/edge-app.service.d/*.conf")
    ]
    hidden = not any("PrivateTmp=no" in path.read_text(errors="replace") for path in drop_ins)
    if machine.glob("/usr/local/lib/systemd/system/edge-app.service") and hidden:
        return failed(
            f"the service has a /tmp of its own, in which there is no {ARGUS_SOCKET}",
            "sudo make install CSI=1 adds systemd/drop-ins/csi.conf; then sudo systemctl restart edge-app.",
        )
    return ok("nvargus-daemon listens")
