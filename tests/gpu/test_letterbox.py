"""The letterbox kernel beside OpenCV's: on the CPU everywhere, on the GPU where there is one."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.geometry import Align, Color, Fit, InputSpec, Layout
from edge_app.gpu.driver import cuda_driver
from edge_app.gpu.feed import FrameFeed
from edge_app.gpu.kernels import load_kernels
from edge_app.gpu.letterbox import IMAGE_DTYPE, ImageInMemory, LetterboxKernel, image_of, target_of
from edge_app.gpu.memory import DeviceBuffer, PinnedBuffer, Stream
from edge_app.gpu.surface import download
from edge_app.messages import Frame, FrameInfo, PixelFormat, Surface, YuvColors, YuvMatrix
from edge_app.preprocess.host_picture import host_picture
from edge_app.preprocess.letterbox import CpuPreprocessor
from tests.gpu.host_kernels import host_kernels
from tests.gpu.requirements import require_gpu

SIZES = [(64, 48), (640, 640), (641, 359), (1279, 721), (1280, 720), (1920, 1080), (333, 1001), (3840, 2160)]
SPECS = [
    InputSpec(640, 640),
    InputSpec(416, 416, color=Color.BGR, scale=1.0, align=Align.TOP_LEFT),
    InputSpec(320, 256, layout=Layout.NHWC, fit=Fit.STRETCH),
    InputSpec(300, 300, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
]

Run = Callable[[Sequence[Frame], InputSpec, "np.dtype[Any]"], NDArray[Any]]


def frame(width: int, height: int, pixel_format: PixelFormat = PixelFormat.BGR, seed: int = 0) -> Frame:
    """Half noise, half a smooth picture: the two ways in which a resize can be wrong."""
    random = np.random.default_rng([seed, width, height])
    shape = (height, width, 3) if pixel_format is PixelFormat.BGR else (height * 3 // 2, width)
    pixels = random.integers(0, 256, shape, np.uint8)
    rows = np.arange(shape[0] // 2)
    pixels[: len(rows)] = (rows % 256).reshape(-1, *[1] * (len(shape) - 1))
    return Frame(FrameInfo("noise", seed, 0, 0, width, height), pixels, pixel_format)


def in_memory(item: Frame) -> ImageInMemory:
    info, pixels = item.info, item.pixels
    kind = (info.width, info.height, item.pixel_format, item.colors)
    if isinstance(pixels, Surface):
        return ImageInMemory(*kind, pixels.address, pixels.chroma_address, pixels.pitch_bytes)
    return ImageInMemory.without_gaps(*kind, pixels.__array_interface__["data"][0])


def on_the_host(frames: Sequence[Frame], spec: InputSpec, dtype: np.dtype[Any]) -> NDArray[Any]:
    images: NDArray[Any] = np.zeros(len(frames), IMAGE_DTYPE)
    for place, item in enumerate(frames):
        images[place] = image_of(in_memory(item), spec)
    out: NDArray[Any] = np.full(spec.shape(len(frames)), 77, dtype)
    target = np.ascontiguousarray(target_of(spec, dtype))
    pointers = [ctypes.c_void_p(array.__array_interface__["data"][0]) for array in (images, out, target)]
    host_kernels().host_letterbox(*pointers, len(frames))
    return out


def on_the_gpu(frames: Sequence[Frame], spec: InputSpec, dtype: np.dtype[Any]) -> NDArray[Any]:
    gpu = require_gpu()
    shape = spec.shape(len(frames))
    size_bytes = int(np.prod(shape)) * dtype.itemsize
    with gpu.attach():
        stream, device, host = Stream(), DeviceBuffer(size_bytes), PinnedBuffer(size_bytes)
        view = host.view(shape, dtype)
        view[:] = 77
        device.copy_from(view, stream)
        function = load_kernels(gpu, "letterbox").get_function("letterbox")
        feed = FrameFeed(LetterboxKernel(function, spec, dtype), len(frames), integrated=gpu.integrated)
        feed.load(frames, stream)
        feed.enqueue(stream, device.address, len(frames))
        device.copy_to(view, stream)
        stream.synchronize()
        out: NDArray[Any] = view.copy()
        for part in (feed, host, device, stream):
            part.close()
    return out


def reference(frames: Sequence[Frame], spec: InputSpec) -> NDArray[np.float32]:
    out = np.zeros(spec.shape(len(frames)), np.float32)
    preprocessor = CpuPreprocessor(spec)
    for item, image in zip(frames, out, strict=True):
        preprocessor.write(item, image)
    return out


def assert_close(found: NDArray[Any], frames: Sequence[Frame], spec: InputSpec) -> None:
    """Within 1/255 on 99.9 % of the values, and within 3/255 on all, in units of the pixels' own scale."""
    unit = spec.scale / np.array(spec.std, np.float32)
    unit = unit.reshape(3, 1, 1) if spec.layout is Layout.NCHW else unit
    error = np.abs(found.astype(np.float32) - reference(frames, spec)) / unit
    slack = 0.15 if found.dtype == np.float16 else 1e-3
    assert (error <= 1 + slack).mean() >= 0.999
    assert error.max() <= 3 + slack


WAYS = [
    pytest.param(on_the_host, id="host"),
    pytest.param(on_the_gpu, id="gpu", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("run", WAYS)
@pytest.mark.parametrize("spec", SPECS, ids=["yolo", "yolox", "stretched", "normalised"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_bgr_frames_become_what_opencv_makes_of_them(
    run: Run, spec: InputSpec, size: tuple[int, int]
) -> None:
    frames = [frame(*size)]
    assert_close(run(frames, spec, np.dtype(np.float32)), frames, spec)


@pytest.mark.parametrize("run", WAYS)
@pytest.mark.parametrize("size", [(64, 48), (1280, 720), (1920, 1080), (3840, 2160), (642, 358)])
def test_nv12_frames_become_what_opencv_makes_of_them(run: Run, size: tuple[int, int]) -> None:
    frames = [frame(*size, PixelFormat.NV12)]
    assert_close(run(frames, SPECS[0], np.dtype(np.float32)), frames, SPECS[0])


COLORS = [YuvColors(matrix, full) for matrix in YuvMatrix for full in (False, True)]


@pytest.mark.parametrize("run", WAYS)
@pytest.mark.parametrize("colors", COLORS, ids=lambda colors: f"{colors.matrix.value}-{colors.full_range}")
def test_every_matrix_and_range(run: Run, colors: YuvColors) -> None:
    item = replace(frame(640, 360, PixelFormat.NV12), colors=colors)
    as_bgr = Frame(item.info, host_picture(item.pixels, (640, 360), PixelFormat.NV12, colors))
    assert_close(run([item], SPECS[0], np.dtype(np.float32)), [as_bgr], SPECS[0])


@pytest.mark.parametrize("colors", COLORS, ids=lambda colors: f"{colors.matrix.value}-{colors.full_range}")
def test_colours_survive_the_way_there_and_back(colors: YuvColors) -> None:
    """Against the definition of Y'CbCr, in double precision: colours to YUV, and back by what is tested."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[
        colors.matrix.value
    ]
    bgr = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).repeat(2, axis=0).repeat(2, axis=1)
    b, g, r = np.moveaxis(bgr.astype(np.float64), -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    if not colors.full_range:
        luma, u, v = 16 + luma * 219 / 255, u * 224 / 255, v * 224 / 255
    chroma = np.stack((u, v), axis=-1)[::2, ::2].reshape(32, 64) + 128
    nv12 = np.clip(np.rint(np.concatenate((luma, chroma))), 0, 255).astype(np.uint8)
    found = host_picture(nv12, (64, 64), PixelFormat.NV12, colors)
    assert np.abs(found.astype(int) - bgr).max() <= 3  # what rounding luma and chroma to bytes costs


def padded(item: Frame, pitch: int, sample_bytes: int) -> NDArray[np.uint8]:
    """The rows of an NV12 frame, `pitch` bytes apart, each sample's byte the upper one of so many."""
    rows = np.random.default_rng(2).integers(0, 256, (len(item.array), pitch), np.uint8)
    rows[:, sample_bytes - 1 : item.info.width * sample_bytes : sample_bytes] = item.array
    return rows


@pytest.mark.parametrize("sample_bytes", [1, 2], ids=["NV12", "P016"])
def test_surfaces_on_the_host(sample_bytes: int) -> None:
    item = frame(642, 358, PixelFormat.NV12)
    rows = padded(item, 2048, sample_bytes)
    address = rows.__array_interface__["data"][0]
    kind = PixelFormat.P016 if sample_bytes == 2 else PixelFormat.NV12
    surface = replace(item, pixels=Surface(0, address, address + 358 * 2048, 2048), pixel_format=kind)
    found, expected = (on_the_host([each], SPECS[0], np.dtype(np.float32)) for each in (surface, item))
    assert np.array_equal(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("sample_bytes", [1, 2], ids=["NV12", "P016"])
def test_surfaces_on_the_gpu_are_read_where_they_are(sample_bytes: int) -> None:
    gpu, item = require_gpu(), frame(642, 358, PixelFormat.NV12)
    rows = padded(item, 2048, sample_bytes)
    kind = PixelFormat.P016 if sample_bytes == 2 else PixelFormat.NV12
    with gpu.attach():
        buffer = DeviceBuffer(rows.nbytes)
        cuda_driver().memcpy_htod(buffer.address, rows)
    surface = Surface(gpu.ordinal, buffer.address, buffer.address + 358 * 2048, 2048)
    lent = replace(item, pixels=surface, pixel_format=kind)
    found, expected = (on_the_gpu([each], SPECS[0], np.dtype(np.float32)) for each in (lent, item))
    assert np.array_equal(found, expected)
    assert np.array_equal(download(surface, (642, 358), kind), item.array)
    bgr = host_picture(surface, (642, 358), kind)
    assert np.array_equal(bgr, host_picture(item.array, (642, 358), PixelFormat.NV12))
    with gpu.attach():
        buffer.close()


def test_surfaces_that_cannot_be_read_are_refused() -> None:
    from edge_app.gpu.feed import _check_surface

    def refuse(words: str, surface: Surface, width: int, kind: PixelFormat) -> None:
        lent = Frame(FrameInfo("a", 0, 0, 0, width, 8), surface, kind)
        with pytest.raises(ValueError, match=words):
            _check_surface(lent, surface, 0)

    refuse("not BGR", Surface(0, 1, 2, 64), 8, PixelFormat.BGR)
    refuse("even width and height, found 7x8", Surface(0, 1, 2, 64), 7, PixelFormat.NV12)
    refuse("rows of 16 bytes do not fit into a pitch of 8", Surface(0, 1, 2, 8), 8, PixelFormat.P016)
    refuse("on GPU 1, the model on GPU 0", Surface(1, 1, 2, 8), 8, PixelFormat.NV12)
    with pytest.raises(ValueError, match="in a GPU's memory"):
        _ = Frame(FrameInfo("a", 0, 0, 0, 8, 8), Surface(0, 1, 2, 8), PixelFormat.NV12).array


@pytest.mark.parametrize("run", WAYS)
def test_a_batch_of_different_cameras(run: Run) -> None:
    frames = [frame(1920, 1080), frame(64, 48), frame(640, 480, PixelFormat.NV12), frame(416, 416)]
    assert_close(run(frames, SPECS[1], np.dtype(np.float32)), frames, SPECS[1])


@pytest.mark.parametrize("run", WAYS)
def test_an_image_of_the_inputs_size_is_not_changed(run: Run) -> None:
    spec = InputSpec(96, 64, scale=1.0, color=Color.BGR, layout=Layout.NHWC)
    item = frame(96, 64)
    assert np.array_equal(run([item], spec, np.dtype(np.float32))[0], item.array)


@pytest.mark.parametrize("run", WAYS)
def test_bytes_come_out_as_bytes(run: Run) -> None:
    spec = InputSpec(320, 320, scale=1.0)
    frames = [frame(1280, 720)]
    assert_close(run(frames, spec, np.dtype(np.uint8)), frames, spec)


@pytest.mark.gpu
def test_half_precision() -> None:
    frames = [frame(1280, 720)]
    assert_close(on_the_gpu(frames, SPECS[0], np.dtype(np.float16)), frames, SPECS[0])


@pytest.mark.gpu
def test_places_without_a_frame_are_padding() -> None:
    gpu = require_gpu()
    spec = InputSpec(64, 64)
    with gpu.attach():
        stream, device, host = Stream(), DeviceBuffer(2 * 3 * 64 * 64 * 4), PinnedBuffer(2 * 3 * 64 * 64 * 4)
        function = load_kernels(gpu, "letterbox").get_function("letterbox")
        feed = FrameFeed(LetterboxKernel(function, spec, np.dtype(np.float32)), 2, integrated=gpu.integrated)
        for frames in ([frame(64, 64), frame(64, 64, seed=1)], [frame(64, 64)]):
            feed.load(frames, stream)
            feed.enqueue(stream, device.address, 2)
        view = host.view((2, 3, 64, 64), np.dtype(np.float32))
        device.copy_to(view, stream)
        stream.synchronize()
        np.testing.assert_allclose(view[1], 114 / 255, rtol=1e-6)
        for part in (feed, host, device, stream):
            part.close()


def test_frames_that_are_not_what_they_say_are_refused() -> None:
    from edge_app.gpu.feed import _check_array

    wrong = Frame(FrameInfo("a", 0, 0, 0, 8, 8), np.zeros((8, 7, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"a 8x8 bgr frame must be uint8 \(8, 8, 3\), found uint8 \(8, 7, 3\)"
    ):
        _check_array(wrong, wrong.array)
    odd = Frame(FrameInfo("a", 0, 0, 0, 7, 8), np.zeros((12, 7), np.uint8), PixelFormat.NV12)
    with pytest.raises(ValueError, match="NV12 needs an even width and height, found 7x8"):
        _check_array(odd, odd.array)
    strided = Frame(FrameInfo("a", 0, 0, 0, 8, 8), np.zeros((8, 16, 3), np.uint8)[:, ::2])
    with pytest.raises(ValueError, match="contiguous"):
        _check_array(strided, strided.array)
