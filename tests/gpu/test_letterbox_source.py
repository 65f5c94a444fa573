"""The letterbox kernel compiled for the CPU: every option, pitches, matrices and what it may write."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.geometry import Align, Color, Fit, InputSpec, Layout
from edge_app.gpu.letterbox import (
    IMAGE_DTYPE,
    TARGET_DTYPE,
    ImageInMemory,
    LetterboxKernel,
    image_of,
    target_of,
)
from edge_app.messages import BT601_LIMITED_RANGE, Frame, FrameInfo, PixelFormat
from edge_app.preprocess.letterbox import CpuPreprocessor
from tests.gpu.host_kernels import HERE, KERNELS

Bytes = NDArray[np.uint8]

FLOAT32, FLOAT16, UINT8 = (np.dtype(kind) for kind in (np.float32, np.float16, np.uint8))
BGR, NV12 = PixelFormat.BGR, PixelFormat.NV12
PLACES = [(Fit.LETTERBOX, Align.CENTER), (Fit.LETTERBOX, Align.TOP_LEFT), (Fit.STRETCH, Align.CENTER)]
SIZES = [
    *[(1, 1), (2, 3), (64, 48), (65, 49), (640, 640)],
    *[(1279, 721), (1920, 1080), (3839, 2159), (3840, 2160)],
]
GUARD = 4096
"""Bytes before and behind an output, which the kernel must not touch."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernels with a half type, which the library of the other tests is without."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler (g++)")
    path = tmp_path_factory.mktemp("kernels") / "kernels.so"
    options = ["-std=c++20", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-w"]
    half = ["-include", str(HERE / "host_half.h")]
    source = str(HERE / "host_kernels.cpp")
    subprocess.run(
        ["g++", *options, *half, f"-I{KERNELS}", "-o", str(path), source], check=True, capture_output=True
    )
    return ctypes.CDLL(str(path))


def address_of(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def run(library: Any, images: NDArray[Any], spec: InputSpec, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Run the kernel into a poisoned output, and see that it writes nothing else."""
    shape = spec.shape(len(images))
    size_bytes = int(np.prod(shape)) * dtype.itemsize
    memory = np.full(size_bytes + 2 * GUARD, 0xFF, np.uint8)  # NaN in both float types
    target = np.ascontiguousarray(target_of(spec, dtype))
    pointers = (address_of(images), address_of(memory) + GUARD, address_of(target))
    library.host_letterbox(*(ctypes.c_void_p(pointer) for pointer in pointers), len(images))
    assert (memory[:GUARD] == 0xFF).all()
    assert (memory[-GUARD:] == 0xFF).all()
    return memory[GUARD:-GUARD].view(dtype).reshape(shape)


def frame(width: int, height: int, pixel_format: PixelFormat = BGR, kind: str = "noise") -> Frame:
    """Return noise, only black and white, or a smooth picture: each finds other mistakes."""
    random = np.random.default_rng([width, height])
    shape = (height, width, 3) if pixel_format is BGR else (height * 3 // 2, width)
    pixels = random.integers(0, 256, shape, np.uint8)
    if kind == "extremes":
        pixels = np.where(pixels < 128, 0, 255).astype(np.uint8)
    elif kind == "smooth":
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 3), np.uint8).reshape(shape)
    return Frame(FrameInfo("camera", 0, 0, 0, width, height), np.ascontiguousarray(pixels), pixel_format)


def in_memory(item: Frame, address: int) -> ImageInMemory:
    info = item.info
    return ImageInMemory.without_gaps(info.width, info.height, item.pixel_format, item.colors, address)


def describe(frames: Sequence[Frame | None], spec: InputSpec) -> NDArray[Any]:
    """Describe a batch as `LetterboxKernel` does; None is a place without an image."""
    kernel = LetterboxKernel(Recorder(), spec, FLOAT32)
    images: NDArray[Any] = np.zeros(len(frames), IMAGE_DTYPE)
    for place, item in enumerate(frames):
        if item is not None:
            kernel.describe(images, place, in_memory(item, address_of(item.array)))
    return images


def assert_close(found: NDArray[Any], frames: Sequence[Frame], spec: InputSpec) -> None:
    """Within 1/255 everywhere, which is more than is promised, and what it is."""
    expected = np.zeros(spec.shape(len(frames)), np.float32)
    preprocessor = CpuPreprocessor(spec)
    for item, image in zip(frames, expected, strict=True):
        preprocessor.write(item, image)
    if found.dtype == np.uint8:
        expected = np.clip(np.rint(expected), 0, 255)
    unit = spec.scale / np.array(spec.std, np.float32)
    unit = unit.reshape(3, 1, 1) if spec.layout is Layout.NCHW else unit
    # A half's last place, or that of a float beside a mean, comes on top of the pixel's unit.
    rounding = np.abs(expected) * (2.0**-11 if found.dtype == np.float16 else 2.0**-20) + 1e-4 * unit
    error = np.abs(found.astype(np.float32) - expected)
    assert (error <= unit + rounding).all()  # false for NaN: a value that was never written


@dataclass
class Recorder:
    """A stand-in for PyCUDA's function."""

    formats: list[str] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def prepare(self, arguments: str) -> None:
        self.formats.append(arguments)

    def prepared_async_call(self, *arguments: Any) -> None:
        self.calls.append(arguments)


class AnyStream:
    native = "the stream"


@pytest.mark.parametrize("pixel_format", [BGR, NV12], ids=["bgr", "nv12"])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, UINT8], ids=str)
@pytest.mark.parametrize("color", Color, ids=lambda color: color.value)
@pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.value)
def test_every_option_with_every_other(
    library: Any, layout: Layout, color: Color, dtype: np.dtype[Any], pixel_format: PixelFormat
) -> None:
    # Bytes carry no fractions, so a model that takes them wants whole values; half of these are clamped.
    byte_values = {"scale": 1.0, "mean": (0.0, 64.0, -128.0)}
    values = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    for (fit, align), normalised in itertools.product(PLACES, [False, True]):
        chosen: dict[str, Any] = byte_values if dtype == np.uint8 else values if normalised else {}
        spec = InputSpec(101, 67, layout=layout, color=color, fit=fit, align=align, **chosen)
        frames = [frame(64, 48, pixel_format), frame(198, 300, pixel_format, "extremes")]
        assert_close(run(library, describe(frames, spec), spec, dtype), frames, spec)


@pytest.mark.parametrize("kind", ["noise", "extremes", "smooth"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_sizes(library: Any, size: tuple[int, int], kind: str) -> None:
    formats = [BGR] if size[0] % 2 or size[1] % 2 else [BGR, NV12]
    for fit, align in PLACES:
        spec = InputSpec(320, 288, fit=fit, align=align)
        frames = [frame(*size, pixel_format, kind) for pixel_format in formats]
        assert_close(run(library, describe(frames, spec), spec, FLOAT32), frames, spec)


def test_sizes_that_nobody_chose(library: Any) -> None:
    random = np.random.default_rng(7)
    for _ in range(60):
        width, height, input_width, input_height = (int(value) for value in random.integers(1, 200, 4))
        fit, align = PLACES[int(random.integers(3))]
        spec = InputSpec(input_width, input_height, fit=fit, align=align)
        frames = [frame(width, height), frame(2 * height, 2 * width, NV12)]
        assert_close(run(library, describe(frames, spec), spec, FLOAT32), frames, spec)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, UINT8], ids=str)
def test_an_image_of_the_inputs_size_is_not_changed(library: Any, dtype: np.dtype[Any]) -> None:
    spec = InputSpec(66, 50, scale=1.0, color=Color.BGR, layout=Layout.NHWC)
    bgr, nv12 = frame(66, 50), frame(66, 50, NV12)
    found = run(library, describe([bgr, nv12], spec), spec, dtype)
    assert np.array_equal(found[0], bgr.array)
    assert np.array_equal(found[1], cv2.cvtColor(np.asarray(nv12.pixels), cv2.COLOR_YUV2BGR_NV12))


@pytest.mark.parametrize("pixel_format", [BGR, NV12], ids=["bgr", "nv12"])
def test_pixels_are_whole_before_they_are_normalised(library: Any, pixel_format: PixelFormat) -> None:
    spec = InputSpec(101, 67, scale=1.0)
    found = run(library, describe([frame(198, 300, pixel_format)], spec), spec, FLOAT32)
    assert np.array_equal(found, np.rint(found))


def test_bytes_are_rounded_and_not_cut(library: Any) -> None:
    spec = InputSpec(66, 50, scale=0.3, color=Color.BGR, layout=Layout.NHWC)
    item = frame(66, 50)
    found = run(library, describe([item], spec), spec, UINT8)[0]
    assert np.array_equal(found, np.rint(np.asarray(item.pixels) * np.float32(0.3)))


def test_nv12_colours_are_opencvs_to_the_bit(library: Any) -> None:
    spec = InputSpec(512, 512, scale=1.0, color=Color.BGR, layout=Layout.NHWC)
    pixels = np.empty((768, 512), np.uint8)
    pixels[:512] = np.repeat(np.arange(256), 2)[:, None]  # luma down, v across
    chroma = pixels[512:].reshape(256, 256, 2)
    chroma[..., 1] = np.arange(256)
    for u in range(0, 256, 5):
        chroma[..., 0] = u
        image = Frame(FrameInfo("camera", 0, 0, 0, 512, 512), pixels, NV12)
        found = run(library, describe([image], spec), spec, FLOAT32)[0]
        assert np.array_equal(found, cv2.cvtColor(pixels, cv2.COLOR_YUV2BGR_NV12))


@pytest.mark.parametrize("limited", [False, True], ids=["full", "limited"])
@pytest.mark.parametrize(("red", "blue"), [(0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)])
def test_other_matrices_and_ranges_come_with_the_image(
    library: Any, red: float, blue: float, limited: bool
) -> None:
    luma_gain, chroma_gain = (255 / 219, 255 / 112) if limited else (1.0, 2.0)
    green = 1 - red - blue
    to_blue, to_red = chroma_gain * (1 - blue), chroma_gain * (1 - red)
    gains = (luma_gain, to_blue, -to_blue * blue / green, -to_red * red / green, to_red)
    offset = 16 if limited else 0
    spec, item = InputSpec(64, 64, scale=1.0), frame(64, 64, NV12)
    images = describe([item], spec)
    names = ("y_gain", "u_to_blue", "u_to_green", "v_to_green", "v_to_red")
    images["y_offset"] = offset
    for name, gain in zip(names, gains, strict=True):
        images[name] = round(gain * 2**20)

    pixels = np.asarray(item.pixels).astype(np.float64)
    luma = np.maximum(pixels[:64] - offset, 0) * luma_gain
    u, v = np.moveaxis(pixels[64:].reshape(32, 32, 2).repeat(2, 0).repeat(2, 1) - 128, 2, 0)
    rgb = [luma + gains[4] * v, luma + gains[2] * u + gains[3] * v, luma + gains[1] * u]
    error = run(library, images, spec, FLOAT32)[0] - np.clip(np.stack(rgb), 0, 255)
    assert np.abs(error).max() <= 0.51


def spread(rows: Bytes, pitch_bytes: int) -> Bytes:
    """Lay rows (height, bytes) so far apart, with poison between them."""
    memory = np.full((len(rows), pitch_bytes), 0xA5, np.uint8)
    memory[:, : rows.shape[1]] = rows
    return memory


@pytest.mark.parametrize("gap", [1, 64, 509])
def test_rows_may_lie_apart(library: Any, gap: int) -> None:
    spec, bgr, nv12 = InputSpec(96, 96), frame(131, 77), frame(130, 78, NV12)
    images = describe([bgr, nv12], spec)
    expected = run(library, images, spec, FLOAT32)
    packed, planes = np.asarray(bgr.pixels), np.asarray(nv12.pixels)
    # The planes of a decoder's surface lie anywhere, and need not have the same pitch.
    parts = [
        spread(packed.reshape(77, 131 * 3), 131 * 3 + gap),
        spread(planes[:78], 130 + gap),
        spread(planes[78:], 131 + 2 * gap),
    ]
    images["source"] = [address_of(parts[0]), address_of(parts[1])]
    images["pitch"] = [parts[0].shape[1], parts[1].shape[1]]
    images["chroma"][1], images["chroma_pitch"][1] = address_of(parts[2]), parts[2].shape[1]
    assert np.array_equal(run(library, images, spec, FLOAT32), expected)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, UINT8], ids=str)
@pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.value)
def test_places_without_an_image_are_padding(library: Any, layout: Layout, dtype: np.dtype[Any]) -> None:
    spec = InputSpec(40, 24, layout=layout, scale=1.0, mean=(0.0, 14.0, -14.0), std=(1.0, 2.0, 4.0))
    for batch in ([None, None], [None, frame(80, 48), None]):
        found = run(library, describe(batch, spec), spec, dtype)
        pixels = np.moveaxis(found, 1, -1) if layout is Layout.NCHW else found
        for place, item in enumerate(batch):
            if item is None:
                assert (pixels[place] == [114, 50, 32]).all()
    # What an image left behind in a place is not read again once its source is gone.
    images = describe([frame(80, 48)], spec)
    images["source"] = 0
    empty = run(library, describe([None], spec), spec, dtype)
    assert np.array_equal(run(library, images, spec, dtype), empty)


def test_the_structures_are_as_large_here_as_there(library: Any) -> None:
    spec = InputSpec(8, 8, layout=Layout.NHWC, scale=1.0, color=Color.BGR, pad_value=3)
    frames = [frame(8, 8), frame(8, 8, NV12), frame(4, 4)]  # a wrong size shifts every image but the first
    assert_close(run(library, describe(frames, spec), spec, FLOAT32), frames, spec)
    assert (IMAGE_DTYPE.itemsize, IMAGE_DTYPE.alignment, TARGET_DTYPE.itemsize) == (80, 8, 56)


def test_the_launch_covers_the_input_and_brings_its_arguments() -> None:
    function, spec = Recorder(), InputSpec(417, 250, pad_value=7)
    kernel = LetterboxKernel(function, spec, FLOAT16)
    kernel.enqueue(AnyStream(), 1 << 40, 2 << 40, 5)  # type: ignore[arg-type]
    grid, block, stream, *arguments = function.calls[0]
    assert (grid, block, stream) == ((14, 32, 5), (32, 8, 1), "the stream")
    # The kernel's parameters in memory: two addresses, and the target at once behind them.
    packed = struct.pack(function.formats[0], *arguments)
    assert packed == struct.pack("PP", 1 << 40, 2 << 40) + target_of(spec, FLOAT16).tobytes()


def test_only_the_addresses_change_from_frame_to_frame() -> None:
    spec = InputSpec(640, 640)
    kernel = LetterboxKernel(Recorder(), spec, FLOAT32)
    images: NDArray[Any] = np.zeros(3, IMAGE_DTYPE)
    for place, address in ((2, 1 << 46), (0, 5)):
        image = ImageInMemory.without_gaps(1920, 1080, NV12, BT601_LIMITED_RANGE, address)
        kernel.describe(images, place, image)
        expected = image_of(image, spec)
        assert (expected["source"].item(), expected["chroma"].item()) == (address, address + 1920 * 1080)
        assert images[place].tobytes() == expected.tobytes()
    assert not any(images[1].tobytes())


def test_an_input_of_another_type_is_refused() -> None:
    with pytest.raises(KeyError, match="int8"):
        LetterboxKernel(Recorder(), InputSpec(8, 8), np.dtype(np.int8))


@pytest.mark.parametrize("architecture", ["sm_87", "sm_90"])
def test_the_cuda_compiler_has_nothing_to_say(architecture: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no CUDA compiler (nvcc)")
    command = [nvcc, f"-arch={architecture}", "-cubin", "-Werror", "all-warnings", "--std=c++17", "-O3"]
    output = ["-o", str(tmp_path / "letterbox.cubin"), str(KERNELS / "letterbox.cu")]
    finished = subprocess.run([*command, *output], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout + finished.stderr) == (0, "")
