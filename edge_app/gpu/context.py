"""One GPU through its primary context, the one that TensorRT's own CUDA runtime uses too."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edge_app.errors import BackendError
from edge_app.gpu.driver import cuda_driver, cuda_errors

_opened: dict[int, Gpu] = {}
_lock = threading.Lock()


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
            self._context = device.retain_primary_context()
        # PyCUDA's destructor detaches a primary context as if it had made it, which fails, and speaks of
        # it on standard error. So it must never run.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._context))
        self._thread = threading.local()

    @contextmanager
    def attach(self) -> Iterator[None]:
        """Make the context current in this thread while the block runs.

        Blocks nest; only the outermost pushes and pops (about a microsecond), so a thread may attach
        once for its whole life. A thread must not end while it is attached: PyCUDA would abort the process.
        """
        depth = getattr(self._thread, "depth", 0)
        if depth == 0:
            with cuda_errors(f"the context of GPU {self.ordinal} cannot be made current"):
                self._context.push()
        self._thread.depth = depth + 1
        try:
            yield
        finally:
            self._thread.depth = depth
            if depth == 0:
                self._context.pop()

    def memory_bytes(self) -> tuple[int, int]:
        """Return the free and the total device memory, in bytes."""
        with self.attach(), cuda_errors("the device memory cannot be read"):
            free, total = cuda_driver().mem_get_info()
            return int(free), int(total)


def open_gpu(ordinal: int = 0) -> Gpu:
    """Return GPU number `ordinal`, the same object for the same number.

    Raises:
        BackendError: PyCUDA is missing, or there is no such GPU, or it does not work.
    """
    with _lock:
        if ordinal not in _opened:
            _opened[ordinal] = Gpu(ordinal)
        return _opened[ordinal]
