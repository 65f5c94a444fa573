"""The GPU's video decoder, where a camera wants it or could have it; modules and library are real files."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.doctor.gpu import Driver, Gpu
from edge_app.doctor.network import check_camera
from edge_app.doctor.nvdec import NvdecCameras, check_nvdec, nvdec_cameras
from edge_app.doctor.result import Status
from edge_app.doctor.subject import open_subject
from tests.capture.parts import section, write_video
from tests.doctor.conftest import Root
from tests.e2e.daemon import write_config

L4 = Driver((Gpu("L4", (8, 9)),), None, 0)
NONE = Driver((), "not there", 0)
NAMED, POSSIBLE = NvdecCameras(["gate"], [], []), NvdecCameras([], [], ["gate"])


def with_library(root: Root) -> None:
    """Let some library stand for the driver's."""
    found = re.search(r"/\S*/libm\.so\S*", Path("/proc/self/maps").read_text())
    if found is None:
        pytest.skip("no library to copy")
    folder = root.folder / "libraries"
    folder.mkdir()
    shutil.copy(found[0], folder / "libnvcuvid.so.1")
    environment = {**root.machine.environment, "LD_LIBRARY_PATH": str(folder)}
    root.machine = replace(root.machine, environment=environment)


def with_packages(root: Root) -> None:
    root.module("PyNvVideoCodec", "__version__ = '2.2.3'\n")
    root.module("av", "__version__ = '15.1.0'\n")


def test_everything_is_there(root: Root) -> None:
    with_library(root)
    with_packages(root)
    for cameras in (NAMED, POSSIBLE):
        result = check_nvdec(root.machine, L4, cameras)
        assert result.status is Status.OK, result
        assert result.found == "PyNvVideoCodec 2.2.3, PyAV 15.1.0, libnvcuvid.so.1"


def test_what_a_camera_names_must_be_there_and_what_it_could_have_should(root: Root) -> None:
    with_library(root)
    root.module("av", "__version__ = '15.1.0'\n")
    root.module("PyNvVideoCodec", "raise ModuleNotFoundError(\"No module named 'PyNvVideoCodec'\")\n")
    named, possible = check_nvdec(root.machine, L4, NAMED), check_nvdec(root.machine, L4, POSSIBLE)
    assert (named.status, possible.status) == (Status.FAILED, Status.WARNING)
    assert named.found.startswith("camera gate: decoder: nvdec cannot be used: PyNvVideoCodec cannot be")
    assert "video is decoded on the CPU" in possible.found
    assert "pip install 'edge-app[nvdec]'" in (named.fix or "")
    assert "NVIDIA_DRIVER_CAPABILITIES" not in (named.fix or "")


def test_a_driver_without_its_decoder_is_named_first(root: Root) -> None:
    with_packages(root)
    root.module("PyNvVideoCodec", "raise RuntimeError('no decoder')\n")
    library = root.folder / "libraries" / "libnvcuvid.so.1"
    with_library(root)
    library.write_text("no library")
    result = check_nvdec(root.machine, L4, POSSIBLE)
    assert result.status is Status.WARNING
    assert result.found.index("the driver's decoder cannot be loaded") < result.found.index("PyNvVideoCodec")
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in (result.fix or "")


def test_it_concerns_cameras_of_models_on_a_gpu(root: Root, jetson: Root) -> None:
    assert check_nvdec(root.machine, NONE, POSSIBLE).status is Status.SKIPPED
    result = check_nvdec(root.machine, NONE, NAMED)
    assert result.status is Status.FAILED
    assert "decoder: auto" in (result.fix or "")
    assert check_nvdec(root.machine, L4, NvdecCameras(["gate"], ["gate"], [])).status is Status.FAILED
    assert check_nvdec(jetson.machine, L4, POSSIBLE).found == "on a Jetson GStreamer decodes, see decoders"


def test_which_cameras_it_is_for(root: Root, tmp_path: Path) -> None:
    cameras = {
        "gate": {"uri": "rtsp://10.0.0.2/1", "decoder": "nvdec"},
        "yard": {"uri": "rtsp://10.0.0.3/1"},
        "usb": "v4l2:///dev/video0",
        "slow": {"uri": "rtsp://10.0.0.4/1", "decoder": "cpu"},
        "off": {"uri": "rtsp://10.0.0.5/1", "decoder": "nvdec", "enabled": False},
    }
    auto = write_config(tmp_path / "auto.yaml", None, cameras, inference={"backend": "auto"})
    assert nvdec_cameras(open_subject(auto, root.machine)) == NvdecCameras(["gate"], [], ["yard"])
    cpu = write_config(tmp_path / "cpu.yaml", None, cameras)
    assert nvdec_cameras(open_subject(cpu, root.machine)) == NvdecCameras(["gate"], ["gate"], [])


def test_a_camera_that_names_it_is_looked_at_all_the_same(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", "mp4v", 5)
    result = check_camera("gate", section(film, decoder="nvdec"), None, lambda: False)
    assert result.status is Status.OK, result
    assert result.found.startswith("320x240 through ")
