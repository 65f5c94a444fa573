"""The GPU's video decoder: its library, what reads the streams for it, and the driver's part."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from edge_app.config.camera_uri import CameraKind, parse_camera_uri
from edge_app.doctor.gpu import Driver, module_version
from edge_app.doctor.machine import Machine
from edge_app.doctor.result import Result, failed, ok, skipped, warning
from edge_app.doctor.subject import Subject

DRIVERS_PART = "libnvcuvid.so.1"
DECODED = frozenset({CameraKind.FILE, CameraKind.RTSP, CameraKind.HTTP})

_LOAD = f"import ctypes; ctypes.CDLL({DRIVERS_PART!r})"
_PACKAGES_FIX = "pip install 'edge-app[nvdec]'; for the service: sudo make install EXTRAS=gpu,nvdec."
_DRIVERS_FIX = (
    "sudo apt install libnvcuvid1, on Ubuntu libnvidia-decode-NUMBER of the driver's number; in a container: "
    "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video."
)


@dataclass(frozen=True, slots=True)
class NvdecCameras:
    """Which cameras the decoder is for.

    Attributes:
        named: Those that must have it (`decoder: nvdec`).
        without_gpu: Of them those whose model does not run on a GPU, as the configuration says.
        possible: Those that would have it if it were there (`decoder: auto`).
    """

    named: Collection[str]
    without_gpu: Collection[str]
    possible: Collection[str]


def nvdec_cameras(subject: Subject) -> NvdecCameras:
    """Return which of the enabled cameras the decoder is for."""
    named = [name for name, camera in subject.cameras.items() if camera.decoder == "nvdec"]
    on_cpu = {name for name, backend in subject.backends.items() if backend == "onnxruntime"}
    possible = [
        name
        for name, camera in subject.cameras.items()
        if camera.decoder == "auto"
        and camera.model not in on_cpu
        and parse_camera_uri(camera.uri).kind in DECODED
    ]
    return NvdecCameras(named, [name for name in named if subject.cameras[name].model in on_cpu], possible)


def check_nvdec(machine: Machine, driver: Driver, cameras: NvdecCameras) -> Result:
    """Look whether video can be decoded on the GPU, where a camera wants that or could have it.

    Args:
        machine: On a Jetson GStreamer has the hardware's decoder, and this one is for who names it.
        driver: What the CUDA driver said.
        cameras: Which cameras it is for.
    """
    without = cameras.without_gpu if driver.gpus else cameras.named
    if without:
        return failed(
            f"{_listed(without)}: decoder: nvdec needs a model that runs on a GPU with TensorRT",
            "Write decoder: auto, which takes what there is.",
        )
    if not driver.gpus:
        return skipped("no NVIDIA GPU")
    if not cameras.named and (machine.is_jetson or not cameras.possible):
        why = "on a Jetson GStreamer decodes, see decoders" if machine.is_jetson else "no camera would use it"
        return skipped(why)
    versions, lacks = [], dict[str, str]()
    for name, module in (("PyNvVideoCodec", "PyNvVideoCodec"), ("PyAV", "av")):
        version = module_version(machine, module, named=name)
        if isinstance(version, Result):
            lacks[version.found] = _PACKAGES_FIX
        else:
            versions.append(f"{name} {version}")
    # First: without the driver's part the library cannot be imported either, and says so less clearly.
    lacks = dict(_of_the_driver(machine)) | lacks
    if not lacks:
        return ok(", ".join([*versions, DRIVERS_PART]))
    found, fix = "; ".join(lacks), " ".join(dict.fromkeys(lacks.values()))
    if cameras.named:
        return failed(f"{_listed(cameras.named)}: decoder: nvdec cannot be used: {found}", fix)
    return warning(f"video is decoded on the CPU, for nvdec lacks something: {found}", fix)


def _of_the_driver(machine: Machine) -> Iterator[tuple[str, str]]:
    answer = machine.python(_LOAD)
    if answer is None or answer.status != 0:
        last = (answer.errors.splitlines() if answer else [])[-1:] or ["it hangs or crashes"]
        yield f"the driver's decoder cannot be loaded: {last[0]}", _DRIVERS_FIX


def _listed(cameras: Collection[str]) -> str:
    return f"camera{'s' if len(cameras) > 1 else ''} {', '.join(cameras)}"
