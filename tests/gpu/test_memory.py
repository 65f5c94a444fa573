"""Context, streams, events and memory on a real GPU."""

import threading

import numpy as np
import pytest

from edge_app.errors import BackendError
from edge_app.gpu.context import Gpu, open_gpu
from edge_app.gpu.describe import describe_device
from edge_app.gpu.driver import count_gpus
from edge_app.gpu.memory import DeviceBuffer, Event, PinnedBuffer, Stream
from edge_app.gpu.resource import live_resources

pytestmark = pytest.mark.gpu


def test_the_device_is_described(gpu: Gpu) -> None:
    device = describe_device(gpu.ordinal)
    assert device.name == gpu.name
    assert device.compute_capability >= (5, 3)
    assert device.memory_bytes >= gpu.memory_bytes()[1] > gpu.memory_bytes()[0] > 0
    assert [int(part) for part in device.cuda.split(".")] >= [11, 0]


def test_a_gpu_that_does_not_exist_is_named(gpu: Gpu) -> None:
    count = count_gpus()
    assert gpu.ordinal < count
    for act in (open_gpu, describe_device):
        with pytest.raises(BackendError, match=f"there is no GPU {count}: this machine has {count}"):
            act(count)


def test_what_is_copied_in_comes_back(gpu: Gpu) -> None:
    before = live_resources()
    with gpu.attach():
        stream, started, done = Stream(), Event(), Event()
        device, first, second = DeviceBuffer(4000), PinnedBuffer(4000), PinnedBuffer(4000)
        sent = first.view((10, 100), np.dtype(np.float32))
        sent[:] = np.random.default_rng(1).random((10, 100))
        received = second.view((10, 100), np.dtype(np.float32))
        started.record(stream)
        device.copy_from(sent, stream)
        device.copy_to(received, stream)
        done.record(stream)
        stream.synchronize()
        assert done.passed()
        assert stream.idle()
        assert 0 < done.ms_since(started) < 1000
        np.testing.assert_array_equal(received, sent)
        opened = live_resources()
        assert opened["pinned buffer"] == before.get("pinned buffer", 0) + 2
        for resource in (stream, started, done, device, first, second):
            resource.close()
            resource.close()
    assert live_resources() == before


def test_memory_is_freed_at_once(gpu: Gpu) -> None:
    with gpu.attach():
        free_bytes = gpu.memory_bytes()[0]
        buffer = DeviceBuffer(256 * 2**20)
        assert gpu.memory_bytes()[0] <= free_bytes - 256 * 2**20
        buffer.close()
        assert gpu.memory_bytes()[0] >= free_bytes - 2**20


def test_too_much_memory_is_refused_by_its_size(gpu: Gpu) -> None:
    size_bytes = 2 * gpu.memory_bytes()[1]
    before = live_resources()
    with (
        gpu.attach(),
        pytest.raises(BackendError, match=f"{size_bytes} bytes of device memory cannot be had"),
    ):
        DeviceBuffer(size_bytes)
    assert live_resources() == before


def test_a_view_never_reaches_beyond_its_buffer(gpu: Gpu) -> None:
    with gpu.attach():
        buffer = PinnedBuffer(16)
        with pytest.raises(ValueError, match="20 bytes do not fit into a buffer of 16"):
            buffer.view((5,), np.dtype(np.float32))
        buffer.close()


def test_every_thread_attaches_for_itself(gpu: Gpu) -> None:
    failures: list[str] = []

    def work() -> None:
        try:
            with pytest.raises(BackendError, match=r"event cannot be made: .*context"):
                Event()
            with gpu.attach(), gpu.attach():
                event = Event()
                event.close()
        except BaseException as error:  # noqa: BLE001 - told by the thread that asserts
            failures.append(repr(error))

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)
    assert failures == []
