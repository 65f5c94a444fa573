"""One GPU through its primary context, the one that TensorRT's own CUDA runtime uses too."""

from __future__ import annotations

import ctypes
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from edge_app.errors import BackendError
from edge_app.gpu.driver import LIBRARY, cuda_driver, cuda_errors, keep_for_ever

SCHEDULE_BLOCKING_SYNC = 4
"""CU_CTX_SCHED_BLOCKING_SYNC of the CUDA driver's interface."""

_opened: dict[int, Gpu] = {}
_lock = threading.Lock()


class _Attachment:
    """Makes a context current in the threads that are inside of it; one for all of them."""

    def __init__(self, ordinal: int, context: Any) -> None:
        self._ordinal = ordinal
        self._context = context
        self._thread = threading.local()

    def __enter__(self) -> None:
        depth = getattr(self._thread, "depth", 0)
        if depth == 0:
            with cuda_errors(f"the context of GPU {self._ordinal} cannot be made current"):
                self._context.push()
        self._thread.depth = depth + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.depth -= 1
        if self._thread.depth == 0:
            self._context.pop()


class Gpu:
    """A GPU whose primary context is retained; `open_gpu` gives it.

    The context stays retained until the process ends, when the driver frees it.

    Attributes:
        ordinal: Its number.
        name: What NVIDIA calls it.
        architecture: Its compute capability as compilers name it, such as `sm_87`.
        integrated: Whether it shares the system's memory, as on a Jetson.
    """

    def __init__(self, ordinal: int) -> None:
        driver = cuda_driver()
        self.ordinal = ordinal
        with cuda_errors(f"GPU {ordinal} cannot be used"):
            count = driver.Device.count()
            if ordinal >= count:
                raise BackendError(f"there is no GPU {ordinal}: this machine has {count}")
            device = driver.Device(ordinal)
            self.name = str(device.name())
            self.architecture = "sm_{}{}".format(*device.compute_capability())
            self.integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
            _let_waits_sleep(ordinal)
            self._context = device.retain_primary_context()
        # PyCUDA's destructor detaches a primary context as if it had made it, which fails.
        keep_for_ever(self._context)
        self._attachment = _Attachment(ordinal, self._context)

    @property
    def handle(self) -> int:
        """The context, as the driver's own interface knows it (CUcontext)."""
        return int(self._context.handle)

    def attach(self) -> AbstractContextManager[None]:
        """Make the context current in this thread while the block runs.

        Blocks nest; only the outermost pushes and pops (about a microsecond), so a thread may attach
        once for its whole life. A thread must not end while it is attached: PyCUDA would abort the process.
        """
        return self._attachment

    def memory_bytes(self) -> tuple[int, int]:
        """Return the free and the total device memory, in bytes."""
        with self.attach(), cuda_errors("the device memory cannot be read"):
            free, total = cuda_driver().mem_get_info()
            return int(free), int(total)


def _let_waits_sleep(ordinal: int) -> None:
    """Have threads sleep while they wait for the GPU, as the decoder's do for each picture.

    CUDA's own choice is to spin. A context that is in use already keeps what it has.
    """
    cuda = ctypes.CDLL(LIBRARY)
    flags = ctypes.c_uint(SCHEDULE_BLOCKING_SYNC)
    cuda.cuDevicePrimaryCtxSetFlags_v2(ctypes.c_int(ordinal), flags)


def open_gpu(ordinal: int = 0) -> Gpu:
    """Return GPU number `ordinal`, the same object for the same number.

    Raises:
        BackendError: PyCUDA is missing, or there is no such GPU, or it does not work.
    """
    with _lock:
        if ordinal not in _opened:
            _opened[ordinal] = Gpu(ordinal)
        return _opened[ordinal]
