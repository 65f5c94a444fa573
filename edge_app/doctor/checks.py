"""All checks, put together for one machine and one configuration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from edge_app.app.engines import engine_directory
from edge_app.config.models import AppConfig, JsonlSinkSection, MqttSection, MqttSinkSection
from edge_app.config.paths import jsonl_directory
from edge_app.doctor import gpu, metrics, network, nvdec, platform, resources, settings, video
from edge_app.doctor.directories import check_directories, fix_for, why_useless
from edge_app.doctor.machine import STATE_DIRECTORY, Machine
from edge_app.doctor.result import Check, Result, failed, skipped
from edge_app.doctor.service_view import ServiceView, ask_service
from edge_app.doctor.subject import BROKER, Subject
from edge_app.ops.clock import kernel_clock_synced
from edge_app.ops.node import host_node_name

JETSON_DEVICES = ("/dev/nvmap", "/dev/nvhost-*gpu", "/dev/nvgpu/igpu0/*", "/dev/video*", "/dev/dri/renderD*")
OTHER_DEVICES = ("/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/video*")

_T = TypeVar("_T")


class Once(Generic[_T]):
    """A value that several checks need: worked out by the first that asks, waited for by the others."""

    def __init__(self, work_out: Callable[[], _T]) -> None:
        self._work_out = work_out
        self._lock = threading.Lock()
        self._value: list[_T] = []

    def __call__(self) -> _T:
        """Return the value."""
        with self._lock:
            if not self._value:
                self._value.append(self._work_out())
            return self._value[0]


def all_checks(subject: Subject) -> list[Check]:
    """Return the checks in the order in which people read them: the machine first, the cameras last."""
    machine = subject.machine
    driver = Once(partial(gpu.ask_driver, machine))
    view = Once(partial(_view, subject))
    return [
        *_of_the_machine(machine),
        *_of_the_gpu(subject, driver),
        Check("onnxruntime", partial(settings.check_onnxruntime, machine)),
        Check("opencv", partial(video.check_opencv, machine, subject.kinds)),
        Check("decoders", partial(video.check_decoders, machine, subject.kinds)),
        Check("nvdec", lambda: nvdec.check_nvdec(machine, driver(), nvdec.nvdec_cameras(subject))),
        Check("csi", partial(video.check_csi, machine, subject.kinds)),
        *_of_resources(subject, driver),
        Check("service", partial(settings.check_service, machine, subject.path)),
        Check("configuration", partial(settings.check_configuration, subject, view)),
        Check("secrets", partial(settings.check_secrets, subject, view)),
        Check("directories", partial(_directories, subject, driver, view)),
        *_of_the_configuration(subject, driver, view),
    ]


def _of_the_machine(machine: Machine) -> Iterator[Check]:
    yield Check("platform", partial(platform.check_platform, machine))
    yield Check("python", partial(platform.check_python, machine))
    yield Check("power mode", partial(platform.check_power_mode, machine))
    yield Check("clocks", partial(platform.check_clocks, machine))


def _of_the_gpu(subject: Subject, driver: Once[gpu.Driver]) -> Iterator[Check]:
    machine, backends = subject.machine, frozenset(subject.backends.values())

    def where_wanted(check: Callable[[], Result]) -> Result:
        if backends and backends <= {"onnxruntime"}:
            return skipped("every model runs on ONNX Runtime, as the configuration says")
        if driver().gpus or machine.is_jetson or "tensorrt" in backends:
            return check()
        return skipped("no NVIDIA GPU")

    yield Check("gpu", lambda: gpu.check_gpu(machine, driver(), backends))
    checks: dict[str, Callable[[], Result]] = {
        "tensorrt": partial(gpu.check_tensorrt, machine),
        "compute capability": lambda: gpu.check_capability(machine, driver()),
        "pycuda": partial(gpu.check_pycuda, machine),
        "nvcc": partial(gpu.check_nvcc, machine),
        "cuda-bindings": partial(gpu.check_cuda_bindings, machine),
    }
    for name, check in checks.items():
        yield Check(name, partial(where_wanted, check))


def _of_resources(subject: Subject, driver: Once[gpu.Driver]) -> Iterator[Check]:
    machine = subject.machine
    config = AppConfig() if subject.loaded is None else subject.loaded.config
    folder = _state(machine, config.engine.directory) or engine_directory(config.engine)
    devices = JETSON_DEVICES if machine.is_jetson else OTHER_DEVICES
    yield Check("devices", partial(resources.check_devices, machine, devices))
    yield Check("memory", lambda: resources.check_memory(machine, builds=bool(driver().gpus)))
    yield Check("disk", partial(resources.check_disk, folder, _outbox_bytes(config)))
    yield Check("clock", lambda: resources.check_clock(kernel_clock_synced()))


def _state(machine: Machine, named: str | None) -> Path | None:
    """Return the installed service's folder, which is not that of whoever asks; None where there is none."""
    installed = machine.path(STATE_DIRECTORY)
    return installed if named is None and installed.exists() else None


def _outbox_bytes(config: AppConfig) -> int:
    """Return how large all outboxes may get."""
    further = [sink for sink in config.sinks.values() if isinstance(sink, MqttSinkSection) and sink.enabled]
    durable = [broker for broker in (config.mqtt, *further) if broker.delivery.detections == "durable"]
    return sum(broker.outbox.max_mib for broker in durable) << 20


def _of_the_configuration(
    subject: Subject, driver: Once[gpu.Driver], view: Once[ServiceView]
) -> Iterator[Check]:
    loaded = subject.loaded
    if loaded is None:
        for name in ("engine", "metrics", "broker", "sinks", "cameras"):
            yield Check(name, lambda: skipped("no configuration that can be used"))
        return
    path: Path = loaded.path.absolute()

    def engine_where_wanted(model: str | None, backend: str) -> Result:
        if backend == "onnxruntime" or not (driver().gpus or backend == "tensorrt"):
            return skipped("the model runs on ONNX Runtime, without an engine")
        return settings.check_engine(subject.machine, path, model)

    for model, backend in subject.backends.items():
        name = "engine" if model is None else f"engine {model}"
        yield Check(name, partial(engine_where_wanted, model, backend))
    node = loaded.config.node.name or host_node_name()
    yield Check("metrics", partial(metrics.check_metrics, subject.machine, loaded.config.metrics, node))
    yield Check("broker", partial(_broker, subject, BROKER, loaded.config.mqtt))
    for name, sink in subject.sinks.items():
        where = f"sinks.{name}"
        if isinstance(sink, MqttSinkSection):
            yield Check(f"sink {name}", partial(_broker, subject, where, sink))
        else:
            yield Check(f"sink {name}", partial(_files, subject, view, name, sink))
    for name in subject.cameras:
        yield Check(f"camera {name}", partial(_camera, subject, name))


def _broker(subject: Subject, where: str, section: MqttSection) -> Result:
    if where in subject.missing:
        return skipped("its password is missing, see secrets")
    return network.check_broker(section, subject.passwords.get(where), where)


def _view(subject: Subject) -> ServiceView:
    if subject.loaded is None:
        return ServiceView()
    return ask_service(subject.machine, subject.loaded.path.absolute())


def _directories(subject: Subject, driver: Once[gpu.Driver], view: Once[ServiceView]) -> Result:
    """Look at all but those of sinks; at those of engines where they are named, or there may be engines."""
    if subject.loaded is None:
        return skipped("no configuration that can be used")
    sinks = {f"sinks.{name}.directory" for name in subject.sinks}
    places = {key: place for key, place in view().places.items() if key not in sinks}
    if not driver().gpus and "tensorrt" not in subject.backends.values():
        named = subject.loaded.config.engine.directory is not None
        places = {key: at for key, at in places.items() if named or not key.endswith("engine.directory")}
    return check_directories(subject, places)


def _files(subject: Subject, view: Once[ServiceView], name: str, section: JsonlSinkSection) -> Result:
    key = f"sinks.{name}.directory"
    place = view().places.get(key)
    why = None if place is None else why_useless(subject, place)
    if place is not None and why is not None:
        return failed(why, fix_for(subject, key, place))
    folder = _state(subject.machine, section.directory) or jsonl_directory(section, f"sinks.{name}.directory")
    return resources.check_files(folder, name, (section.max_mib * section.max_files) << 20)


def _camera(subject: Subject, name: str) -> Result:
    where = f"cameras.{name}"
    if where in subject.missing:
        return skipped("its password is missing, see secrets")
    in_use = partial(settings.service_is_active, subject.machine)
    return network.check_camera(name, subject.cameras[name], subject.passwords.get(where), in_use)
