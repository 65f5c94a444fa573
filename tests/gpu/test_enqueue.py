"""Calls of the driver that only enqueue: what they say when it is missing or refuses."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_app.errors import BackendError
from edge_app.gpu import enqueue
from edge_app.gpu.context import Gpu
from edge_app.gpu.enqueue import CopyIn, LaunchGraph, StreamQuery
from edge_app.gpu.memory import DeviceBuffer, PinnedBuffer, Stream

NAMES = {1: b"CUDA_ERROR_INVALID_VALUE", 400: b"CUDA_ERROR_INVALID_HANDLE"}


@pytest.fixture
def forgotten_driver() -> Iterator[None]:
    """The library is loaded again, by this test and by those that follow."""
    enqueue._driver.cache_clear()
    yield
    enqueue._driver.cache_clear()


class FakeDriver:
    """A driver that notes what is enqueued, and answers each call with `status`."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.calls: list[tuple[int, ...]] = []
        self.cuMemcpyHtoDAsync_v2 = self.cuGraphLaunch = self.cuStreamQuery = self.call

    def call(self, *arguments: int) -> int:
        self.calls.append(arguments)
        return self.status

    def cuGetErrorName(self, status: int, name: Any) -> int:  # noqa: N802 - the driver's own name
        name._obj.value = NAMES.get(status)
        return 0


@pytest.mark.usefixtures("forgotten_driver")
@pytest.mark.parametrize("make", [CopyIn, LaunchGraph, StreamQuery])
def test_a_missing_driver_is_named(make: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enqueue, "LIBRARY", "libcuda-that-does-not-exist.so.1")
    with pytest.raises(
        BackendError, match=r"the NVIDIA driver cannot be loaded: libcuda-that-does-not-exist"
    ):
        make()


@pytest.mark.usefixtures("forgotten_driver")
def test_a_driver_that_comes_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enqueue, "LIBRARY", "libcuda-that-does-not-exist.so.1")
    with pytest.raises(BackendError):
        CopyIn()
    names = ("cuMemcpyHtoDAsync_v2", "cuGraphLaunch", "cuStreamQuery", "cuGetErrorName")
    library = SimpleNamespace(**{name: SimpleNamespace() for name in names})
    monkeypatch.setattr(ctypes, "PyDLL", lambda _: library)
    CopyIn()


def test_what_is_enqueued_reaches_the_driver_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    monkeypatch.setattr(enqueue, "_driver", lambda: driver)
    CopyIn()(2**40, 2**41, 12, 7)
    LaunchGraph()(2**42, 7)
    assert driver.calls == [(2**40, 2**41, 12, 7), (2**42, 7)]


@pytest.mark.parametrize(("status", "idle"), [(0, True), (600, False), (700, False)])
def test_a_stream_that_is_busy_or_broken_is_not_idle(
    status: int, idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver(status)
    monkeypatch.setattr(enqueue, "_driver", lambda: driver)
    assert StreamQuery()(7) is idle
    assert driver.calls == [(7,)]


@pytest.mark.parametrize(
    ("status", "name"),
    [(1, "CUDA_ERROR_INVALID_VALUE"), (400, "CUDA_ERROR_INVALID_HANDLE"), (12345, "CUDA error 12345")],
)
def test_a_refusal_says_what_was_refused_and_why(
    status: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver(status)
    monkeypatch.setattr(enqueue, "_driver", lambda: driver)
    with pytest.raises(BackendError, match=f"^a copy of 12 bytes to the GPU cannot be enqueued: {name}$"):
        CopyIn()(1, 2, 12, 3)
    with pytest.raises(BackendError, match=f"^a CUDA graph cannot be launched: {name}$"):
        LaunchGraph()(1, 3)


@pytest.mark.gpu
def test_a_copy_arrives_and_one_that_is_refused_harms_nothing(gpu: Gpu) -> None:
    with gpu.attach():
        stream, device = Stream(), DeviceBuffer(4096)
        sent, received = PinnedBuffer(4096), PinnedBuffer(4096)
        values = sent.view((4096,), np.dtype(np.uint8))
        values[:] = np.random.default_rng(1).integers(0, 256, 4096)
        address = int(values.__array_interface__["data"][0])
        copy_in = CopyIn()
        with pytest.raises(BackendError, match=r"a copy of 4096 bytes .* cannot be enqueued: CUDA_ERROR_"):
            copy_in(0, address, 4096, stream.handle)
        copy_in(device.address, address, 4096, stream.handle)
        back = received.view((4096,), np.dtype(np.uint8))
        device.copy_to(back, stream)
        stream.synchronize()
        np.testing.assert_array_equal(back, values)
        for part in (device, sent, received, stream):
            part.close()
