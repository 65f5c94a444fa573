"""How the GPUs do, from NVIDIA's management library: libnvidia-ml, which comes with the driver.

Through ctypes, as starting nvidia-smi for each reading would take longer than all the rest. Names, structures
and numbers are those of nvml.h. A Jetson's library, where there is one, knows little of it; what it does not
answer is not told.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

LIBRARY = "libnvidia-ml.so.1"
SUCCESS = 0
TEMPERATURE_GPU = 0
NAME_BYTES = 96


@dataclass(frozen=True, slots=True)
class GpuReading:
    """How a GPU does; None: it does not tell.

    Attributes:
        index: Its number, in the order of the PCI bus.
        utilization: Share of time in which it calculated, from 0 to 1.
        decoder_utilization: The same of its video decoder.
        memory_bytes: All of its memory.
        memory_used_bytes: What of it is used, by whomever.
    """

    index: int
    name: str | None = None
    celsius: float | None = None
    watts: float | None = None
    utilization: float | None = None
    decoder_utilization: float | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`: bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    """`nvmlUtilization_t`: percent of the last sample period."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Nvml:
    """The GPUs of this machine; none where there is no driver.

    Used by one thread at a time.

    Args:
        load: Loads the library; raises OSError where there is none.
    """

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._library: Any = None
        self._handles: list[ctypes.c_void_p] = []
        try:
            library = load(LIBRARY)
        except OSError:
            return
        status = library.nvmlInit_v2()
        if status != SUCCESS:
            logger.warning("the GPU's temperature, power and memory cannot be told: NVML error %d", status)
            return
        self._library = library
        count = ctypes.c_uint(0)
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == SUCCESS:
                self._handles.append(handle)

    def read(self) -> list[GpuReading]:
        """Return how each GPU does now."""
        return [self._read(index, handle) for index, handle in enumerate(self._handles)]

    def close(self) -> None:
        """Let the library go. Idempotent."""
        library, self._library, self._handles = self._library, None, []
        if library is not None:
            library.nvmlShutdown()

    def _read(self, index: int, handle: ctypes.c_void_p) -> GpuReading:
        name = ctypes.create_string_buffer(NAME_BYTES)
        named = self._ask("nvmlDeviceGetName", handle, name, ctypes.c_uint(NAME_BYTES))
        celsius, milliwatts = ctypes.c_uint(0), ctypes.c_uint(0)
        warm = self._ask(
            "nvmlDeviceGetTemperature", handle, ctypes.c_int(TEMPERATURE_GPU), ctypes.byref(celsius)
        )
        drawn = self._ask("nvmlDeviceGetPowerUsage", handle, ctypes.byref(milliwatts))
        busy, memory = _Utilization(), _Memory()
        used = self._ask("nvmlDeviceGetUtilizationRates", handle, ctypes.byref(busy))
        decoding, period = ctypes.c_uint(0), ctypes.c_uint(0)
        decodes = self._ask(
            "nvmlDeviceGetDecoderUtilization", handle, ctypes.byref(decoding), ctypes.byref(period)
        )
        held = self._ask("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
        return GpuReading(
            index,
            name.value.decode(errors="replace") if named else None,
            float(celsius.value) if warm else None,
            milliwatts.value / 1e3 if drawn else None,
            busy.gpu / 100 if used else None,
            decoding.value / 100 if decodes else None,
            memory.total if held else None,
            memory.used if held else None,
        )

    def _ask(self, function: str, *arguments: Any) -> bool:
        """Call a function; return whether it is there and knew the answer."""
        call = getattr(self._library, function, None)
        return call is not None and call(*arguments) == SUCCESS
