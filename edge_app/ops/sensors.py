"""Temperatures, power, memory and the Jetson's GPU, from the kernel's files. What is not there is not told.

Temperatures are in thermal zones (Linux, ABI/testing/sysfs-class-thermal: millidegrees) and, like power
monitors, in hwmon (ABI/testing/sysfs-class-hwmon: millidegrees, microwatts). A Jetson's INA3221 tells
millivolts and milliamperes of each of its named rails. Its GPU's load is in thousandths, beside its devfreq.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_app.memory import field_of

PATIENCE_S = 0.05
"""How long the hottest sensor is waited for; a reading takes some milliseconds."""

JETSON_GPU = re.compile(r"gpu|gpc|gv11b|gp10b|ga10b")
"""What a Jetson's GPU is called among the devices whose clock changes: 17000000.gpu, 17000000.ga10b."""
_NOT_CONNECTED = "NC"
"""How NVIDIA's device trees label a channel without a rail."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What the sensors say at a moment.

    Attributes:
        celsius: Temperatures by sensor.
        watts: Power by sensor.
        memory_bytes: The machine's memory.
        memory_available_bytes: What of it can be had without swapping.
        jetson_gpu_load: Share of time in which a Jetson's GPU calculates, from 0 to 1.
    """

    celsius: dict[str, float]
    watts: dict[str, float]
    memory_bytes: int | None
    memory_available_bytes: int | None
    jetson_gpu_load: float | None

    @property
    def jetson_gpu_celsius(self) -> float | None:
        """The temperature of a Jetson's GPU: its zone is gpu-thermal, or GPU-therm on older ones."""
        return next((value for name, value in self.celsius.items() if name.lower().startswith("gpu")), None)


@dataclass(frozen=True, slots=True)
class _Sensor:
    """A value made of numbers in files, multiplied."""

    name: str
    files: tuple[Path, ...]
    scale: float

    def read(self) -> float | None:
        """Return the value, or None while the sensor does not answer (a unit of a Jetson that sleeps)."""
        value = self.scale
        for file in self.files:
            number = _number(file)
            if number is None:
                return None
            value *= number
        return value


class Sensors:
    """Finds the machine's sensors once, and reads them when it is asked.

    Args:
        sys: Where sysfs is.
        proc: Where procfs is.
    """

    def __init__(self, sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> None:
        zones = list(_thermal_zones(sys))
        # The kernel shows a zone among hwmon again, its name with underscores.
        known = {sensor.name.replace("-", "_") for sensor in zones}
        chips = [chip for chip in _entries(sys / "class/hwmon") if _text(chip / "name") not in known]
        self._celsius = _named([*zones, *(sensor for chip in chips for sensor in _chip_temperatures(chip))])
        self._watts = _named([sensor for chip in chips for sensor in _chip_power(chip)])
        self._gpu_load = next(
            (
                device / "device/load"
                for device in _entries(sys / "class/devfreq")
                if JETSON_GPU.search(device.name) and _number(device / "device/load") is not None
            ),
            None,
        )
        self._meminfo = proc / "meminfo"

    def hottest_celsius(self) -> float | None:
        """Return the highest of the temperatures, and read nothing else; None where there is no sensor."""
        return max(_values(self._celsius).values(), default=None)

    def read(self) -> Readings:
        """Return what they say now. Takes a millisecond for each rail of a Jetson."""
        total, available = _memory(self._meminfo)
        load = None if self._gpu_load is None else _number(self._gpu_load)
        return Readings(
            _values(self._celsius),
            _values(self._watts),
            total,
            available,
            None if load is None else load / 1e3,
        )


class HottestSensor:
    """The hottest sensor's temperature, for callers that must not wait: a drive's sensor may hang with it.

    Thread-safe.

    Args:
        sensors: Which there are.
    """

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._celsius: float | None = None

    def celsius(self) -> float | None:
        """Return it; None where there is no sensor, and while one does not answer within `PATIENCE_S`."""
        with self._lock:
            reading = self._reading
            if reading is None or not reading.is_alive():
                reading = self._reading = threading.Thread(target=self._read, name="sensors", daemon=True)
                reading.start()
        reading.join(PATIENCE_S)
        return None if reading.is_alive() else self._celsius

    def _read(self) -> None:
        self._celsius = self._sensors.hottest_celsius()


def _thermal_zones(sys: Path) -> Iterator[_Sensor]:
    for zone in _entries(sys / "class/thermal"):
        name = _text(zone / "type")
        if name and zone.name.startswith("thermal_zone"):
            yield _Sensor(name, (zone / "temp",), 1e-3)


def _chip_temperatures(chip: Path) -> Iterator[_Sensor]:
    for file in _entries(chip):
        if found := re.fullmatch(r"(temp\d+)_input", file.name):
            yield _Sensor(_label(chip, found[1]), (file,), 1e-3)


def _chip_power(chip: Path) -> Iterator[_Sensor]:
    for file in _entries(chip):
        if found := re.fullmatch(r"(power\d+)_(input|average)", file.name):
            yield _Sensor(_label(chip, found[1]), (file,), 1e-6)
        elif found := re.fullmatch(r"curr(\d+)_input", file.name):
            rail, volts = _text(chip / f"in{found[1]}_label"), chip / f"in{found[1]}_input"
            if rail and rail != _NOT_CONNECTED and volts.exists():
                yield _Sensor(rail, (volts, file), 1e-6)


def _label(chip: Path, channel: str) -> str:
    return f"{_text(chip / 'name')}/{_text(chip / f'{channel}_label') or channel}"


def _named(sensors: list[_Sensor]) -> dict[str, _Sensor]:
    """Return the sensors by names that differ: two drives are nvme/Composite and nvme/Composite 2."""
    named: dict[str, _Sensor] = {}
    for sensor in sensors:
        name, number = sensor.name, 1
        while name in named:
            number += 1
            name = f"{sensor.name} {number}"
        named[name] = sensor
    return named


def _values(sensors: dict[str, _Sensor]) -> dict[str, float]:
    read = {name: sensor.read() for name, sensor in sensors.items()}
    return {name: value for name, value in read.items() if value is not None}


def _memory(meminfo: Path) -> tuple[int | None, int | None]:
    """Return MemTotal and MemAvailable of proc_meminfo(5), which are in KiB, in bytes."""
    total, available = field_of(meminfo, "MemTotal"), field_of(meminfo, "MemAvailable")
    return None if total is None else total * 1024, None if available is None else available * 1024


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _number(file: Path) -> float | None:
    text = _text(file)
    return float(text) if text and re.fullmatch(r"-?\d+", text) else None


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return None
