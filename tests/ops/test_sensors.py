"""Sensors as the kernel shows them: a Jetson's, a PC's, and none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edge_app.ops.sensors import HottestSensor, Sensors
from tests.brokers import until

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    4000 kB\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """An Orin's files: a zone that sleeps, rails of which one is not connected, the sum of the shunts."""
    hwmon = "sys/class/hwmon/hwmon3"
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": "48500",
            "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
            "sys/class/thermal/thermal_zone1/temp": "45250",
            "sys/class/thermal/thermal_zone2/type": "cv0-thermal",
            "sys/class/thermal/cooling_device0/type": "pwm-fan",
            "sys/class/hwmon/hwmon0/name": "cpu_thermal",
            "sys/class/hwmon/hwmon0/temp1_input": "48500",
            f"{hwmon}/name": "ina3221",
            f"{hwmon}/in1_label": "VDD_IN",
            f"{hwmon}/in1_input": "5000",
            f"{hwmon}/curr1_input": "1200",
            f"{hwmon}/in2_label": "NC",
            f"{hwmon}/in2_input": "5000",
            f"{hwmon}/curr2_input": "8",
            f"{hwmon}/in7_label": "sum of shunt voltages",
            f"{hwmon}/in7_input": "1",
            f"{hwmon}/curr4_input": "300",
            "sys/class/devfreq/15340000.vic/device/load": "7",
            "sys/class/devfreq/17000000.gpu/device/load": "423",
        },
    )
    # A zone that sleeps answers EAGAIN; a folder in its place cannot be read either.
    (tmp_path / "sys/class/thermal/thermal_zone2/temp").mkdir()
    return tmp_path


def test_a_jetson(jetson: Path) -> None:
    found = Sensors(jetson / "sys", jetson / "proc").read()
    assert found.celsius == pytest.approx({"cpu-thermal": 48.5, "gpu-thermal": 45.25})
    assert found.watts == pytest.approx({"VDD_IN": 6.0})
    assert (found.memory_bytes, found.memory_available_bytes) == (16000 * 1024, 4000 * 1024)
    assert found.jetson_gpu_load == pytest.approx(0.423)
    assert found.jetson_gpu_celsius == pytest.approx(45.25)


def test_values_are_read_again_each_time(jetson: Path) -> None:
    sensors = Sensors(jetson / "sys", jetson / "proc")
    sensors.read()
    write(jetson, {"sys/class/thermal/thermal_zone1/temp": "-1500"})
    assert sensors.read().celsius["gpu-thermal"] == pytest.approx(-1.5)


def test_a_pc_with_two_drives_of_one_kind(tmp_path: Path) -> None:
    for number in (1, 2):
        write(
            tmp_path,
            {
                f"sys/class/hwmon/hwmon{number}/name": "nvme",
                f"sys/class/hwmon/hwmon{number}/temp1_label": "Composite",
                f"sys/class/hwmon/hwmon{number}/temp1_input": f"{number}0000",
                f"sys/class/hwmon/hwmon{number}/power1_average": f"{number}500000",
            },
        )
    found = Sensors(tmp_path / "sys", tmp_path / "proc").read()
    assert found.celsius == pytest.approx({"nvme/Composite": 10, "nvme/Composite 2": 20})
    assert found.watts == pytest.approx({"nvme/power1": 1.5, "nvme/power1 2": 2.5})
    assert found.jetson_gpu_load is None


def test_a_machine_without_any(tmp_path: Path) -> None:
    found = Sensors(tmp_path, tmp_path).read()
    assert (found.celsius, found.watts, found.memory_bytes, found.jetson_gpu_load) == ({}, {}, None, None)


def test_this_machine_tells_its_memory() -> None:
    found = Sensors().read()
    assert found.memory_bytes is not None
    assert found.memory_available_bytes is not None
    assert 0 < found.memory_available_bytes <= found.memory_bytes


def test_the_hottest_sensor(jetson: Path, tmp_path: Path) -> None:
    assert HottestSensor(Sensors(jetson / "sys", jetson / "proc")).celsius() == pytest.approx(48.5)
    assert HottestSensor(Sensors(tmp_path / "none", tmp_path / "none")).celsius() is None


def test_a_sensor_that_hangs_is_not_waited_for(jetson: Path) -> None:
    hanging = jetson / "sys/class/thermal/thermal_zone1/temp"
    hottest = HottestSensor(Sensors(jetson / "sys", jetson / "proc"))
    hanging.unlink()
    os.mkfifo(hanging)  # to open it waits for whoever writes
    began_s = time.monotonic()
    assert [hottest.celsius() for _ in range(3)] == [None] * 3
    assert time.monotonic() - began_s < 2
    with hanging.open("w") as file:
        file.write("91000\n")
    hanging.unlink()
    hanging.write_text("91000\n")
    until(lambda: hottest.celsius() == pytest.approx(91.0), "it answers again")
