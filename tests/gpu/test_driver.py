"""What is said where CUDA is missing, and what is read of the machine."""

import sys
from pathlib import Path

import pytest

from edge_app.errors import BackendError
from edge_app.gpu.describe import DeviceDescription, cuda_version, l4t_version
from edge_app.gpu.driver import PYCUDA_HINTS, count_gpus, cuda_driver, platform_name


def test_without_a_driver_there_is_no_gpu() -> None:
    assert count_gpus("libcuda-that-does-not-exist.so.1") == 0


def test_a_missing_pycuda_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_driver.cache_clear()
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(BackendError, match=r"PyCUDA cannot be imported: .* pip install pycuda"):
        cuda_driver()


def test_the_advice_is_that_of_the_platform(tmp_path: Path) -> None:
    release = tmp_path / "nv_tegra_release"
    assert platform_name(release) == "x86"
    release.touch()
    assert platform_name(release) == "jetson"
    assert "JetPack" in PYCUDA_HINTS["jetson"]
    assert "JetPack" not in PYCUDA_HINTS["x86"]


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3"),
        ("# R36 (release), REVISION: 3.0, GCID: 36191598, BOARD: generic", "36.3.0"),
        ("# R39 (release), REVISION: 2, GCID: 1", "39.2"),
        ("something else", None),
        (None, None),
    ],
)
def test_l4t_is_read_from_its_release_file(release: str | None, version: str | None) -> None:
    assert l4t_version(release) == version


@pytest.mark.parametrize(("number", "text"), [(12060, "12.6"), (13000, "13.0"), (11040, "11.4")])
def test_cudas_version_number_is_read(number: int, text: str) -> None:
    assert cuda_version(number) == text


def test_a_device_is_described_in_a_line() -> None:
    orin = DeviceDescription(0, "Orin", (8, 7), 64 * 2**30, True, None, "12.6", "36.4.3")
    assert str(orin) == "Orin (compute capability 8.7, 64.0 GiB, CUDA 12.6, L4T 36.4.3)"
