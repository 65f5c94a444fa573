"""What the files of a Jetson tell, and what is advised."""

from __future__ import annotations

import pytest

from edge_app.doctor.platform import check_clocks, check_platform, check_power_mode, check_python
from edge_app.doctor.result import Status
from tests.doctor.conftest import CPU, GPU, ORIN_NANO, Root


def release(major: str, revision: str) -> str:
    return f"# R{major} (release), REVISION: {revision}, GCID: 1, BOARD: generic, EABI: aarch64\n"


@pytest.mark.parametrize(
    ("major", "revision", "status", "words"),
    [
        ("36", "3.0", Status.OK, "JetPack 6.0"),
        ("36", "4.0", Status.OK, "JetPack 6.1"),
        ("36", "4.3", Status.OK, "L4T 36.4.3 (JetPack 6.2)"),
        ("38", "2.0", Status.OK, "JetPack 7.0"),
        ("39", "2.0", Status.OK, "JetPack 7.2"),
        ("41", "1.0", Status.WARNING, "L4T 41.1"),
        ("35", "4.1", Status.FAILED, "older than what edge-app runs on"),
        ("32", "7.4", Status.FAILED, "older than what edge-app runs on"),
    ],
)
def test_the_release_names_the_jetpack(
    jetson: Root, major: str, revision: str, status: Status, words: str
) -> None:
    jetson.write({"/etc/nv_tegra_release": release(major, revision)})
    result = check_platform(jetson.machine)
    assert (result.status, words in result.found) == (status, True), result
    assert ORIN_NANO in result.found
    assert (result.fix is None) is (status is Status.OK)


def test_a_jetson_in_a_container_is_known_by_its_device_tree(jetson: Root) -> None:
    jetson.machine.path("/etc/nv_tegra_release").unlink()
    result = check_platform(jetson.machine)
    assert result.status is Status.WARNING
    assert "container" in (result.fix or "")


def test_another_machine_is_no_jetson(root: Root) -> None:
    root.write({"/etc/os-release": 'NAME=x\nPRETTY_NAME="Debian 12"\n'})
    assert check_platform(root.machine).found.startswith("no Jetson: Debian 12, ")
    for check in (check_power_mode, check_clocks):
        assert check(root.machine).status is Status.SKIPPED


def test_an_environment_apart_from_the_system_misses_tensorrt(
    jetson: Root, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.base_prefix", "/opt/conda")
    result = check_python(jetson.machine)
    assert (result.status, "is not the system's" in result.found) == (Status.FAILED, True)
    monkeypatch.setattr("sys.base_prefix", "/usr")
    monkeypatch.setattr("sys.prefix", "/opt/venv")
    for setting, status in (("false", Status.FAILED), ("true", Status.OK)):
        jetson.write({"/opt/venv/pyvenv.cfg": f"home = /usr/bin\ninclude-system-site-packages = {setting}\n"})
        assert check_python(jetson.machine).status is status


def test_the_best_power_mode_is_named(jetson: Root) -> None:
    assert check_power_mode(jetson.machine).found == "power mode MAXN_SUPER"
    jetson.write({"/var/lib/nvpmodel/status": "pmode:0000"})
    result = check_power_mode(jetson.machine)
    assert (result.status, result.found) == (
        Status.WARNING,
        "power mode 15W: fewer cores or lower clocks than in MAXN_SUPER",
    )
    assert (result.fix or "").startswith("sudo nvpmodel -m 2,")


def test_without_nvpmodels_files_its_command_is_named(jetson: Root) -> None:
    jetson.machine.path("/etc/nvpmodel.conf").unlink()
    assert "nvpmodel -q" in (check_power_mode(jetson.machine).fix or "")


def test_clocks_that_follow_the_load_are_named(jetson: Root) -> None:
    assert check_clocks(jetson.machine).found == "the clocks of CPU and GPU are held"
    jetson.write({f"{GPU}/min_freq": "306000000\n"})
    assert "the clocks of GPU follow the load" in check_clocks(jetson.machine).found
    jetson.write({f"{CPU}/scaling_min_freq": "115200\n"})
    assert "the clocks of CPU and GPU follow the load" in check_clocks(jetson.machine).found
