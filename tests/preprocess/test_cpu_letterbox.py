"""The letterbox against a plain float64 reference that shares no code with it."""

from __future__ import annotations

import gc
import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_app.geometry import Align, Color, Fit, InputSpec, Layout
from edge_app.interfaces import Preprocessor
from edge_app.messages import Frame, FrameInfo, PixelFormat

cv2 = pytest.importorskip("cv2")

from edge_app.preprocess.letterbox import CpuPreprocessor  # noqa: E402

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def frame(pixels: NDArray[np.uint8], pixel_format: PixelFormat = PixelFormat.BGR) -> Frame:
    height, width = pixels.shape[:2]
    if pixel_format is PixelFormat.NV12:
        height = height * 2 // 3
    return Frame(FrameInfo("camera", 0, 0, 0, width, height), pixels, pixel_format)


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def poisoned(spec: InputSpec) -> NDArray[np.float32]:
    return np.full(spec.shape(1)[1:], np.nan, np.float32)


def half_even(value: float) -> int:
    below = math.floor(value)
    if value - below == 0.5:
        return below + below % 2
    return below + (value - below > 0.5)


def placement(width: int, height: int, spec: InputSpec) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the image in the input, after the reference's rounding."""
    if spec.fit is Fit.STRETCH:
        return 0, 0, spec.width, spec.height
    ratio = min(spec.width / width, spec.height / height)
    new_width = min(spec.width, max(1, half_even(width * ratio)))
    new_height = min(spec.height, max(1, half_even(height * ratio)))
    if spec.align is Align.TOP_LEFT:
        return 0, 0, new_width, new_height
    return (spec.width - new_width) // 2, (spec.height - new_height) // 2, new_width, new_height


def bilinear(image: NDArray[np.uint8], new_width: int, new_height: int) -> NDArray[np.float64]:
    """Return the image resized with half-pixel centres and clamped edges, in float64."""

    def weights(size: int, new_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        at = (np.arange(new_size) + 0.5) * size / new_size - 0.5
        low = np.floor(at).astype(np.int64)
        return np.clip(low, 0, size - 1), np.clip(low + 1, 0, size - 1), at - low

    height, width = image.shape[:2]
    x0, x1, fx = weights(width, new_width)
    y0, y1, fy = weights(height, new_height)
    exact = image.astype(np.float64)
    across = exact[:, x0] * (1 - fx)[:, None] + exact[:, x1] * fx[:, None]
    down: NDArray[np.float64] = across[y0] * (1 - fy)[:, None, None] + across[y1] * fy[:, None, None]
    return down


def reference(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float64]:
    left, top, new_width, new_height = placement(image.shape[1], image.shape[0], spec)
    canvas = np.full((spec.height, spec.width, 3), float(spec.pad_value))
    canvas[top : top + new_height, left : left + new_width] = bilinear(image, new_width, new_height)
    if spec.color is Color.RGB:
        canvas = canvas[..., ::-1]
    values: NDArray[np.float64] = (canvas * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    return np.moveaxis(values, 2, 0) if spec.layout is Layout.NCHW else values


def one_level(spec: InputSpec) -> float:
    """Return what rounding a resized pixel to a whole byte, in fixed-point arithmetic, can change."""
    return 1.01 * spec.scale / min(abs(value) for value in spec.std) + 1e-6


def written(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    out = poisoned(spec)
    CpuPreprocessor(spec).write(frame(pixels), out)
    return out


def test_it_is_a_preprocessor() -> None:
    spec = InputSpec(64, 64)
    preprocessor: Preprocessor = CpuPreprocessor(spec)
    assert preprocessor.spec is spec


@pytest.mark.parametrize(
    ("layout", "color", "fit", "align", "norm"),
    list(itertools.product(Layout, Color, Fit, Align, [{}, IMAGENET | {"pad_value": 0}])),
)
def test_every_kind_of_input_equals_the_reference(
    layout: Layout, color: Color, fit: Fit, align: Align, norm: dict[str, tuple[float, float, float]]
) -> None:
    spec = InputSpec(96, 64, layout=layout, color=color, fit=fit, align=align, **norm)  # type: ignore[arg-type]
    for width, height in ((160, 90), (90, 160), (33, 77)):
        image = noise(width, height)
        np.testing.assert_allclose(written(image, spec), reference(image, spec), atol=one_level(spec), rtol=0)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("color", Color)
def test_an_image_of_the_input_s_size_is_not_touched_by_any_filter(layout: Layout, color: Color) -> None:
    spec = InputSpec(64, 48, layout=layout, color=color, scale=0.5, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    image = noise(64, 48)
    before = image.copy()
    np.testing.assert_array_equal(written(image, spec), reference(image, spec).astype(np.float32))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 2), (2, 1), (3, 1000), (1000, 3), (7, 5), (319, 241), (640, 640), (641, 639), (3840, 2160)],
)
@pytest.mark.parametrize("layout", Layout)
def test_odd_sizes(size: tuple[int, int], layout: Layout) -> None:
    spec = InputSpec(160, 128, layout=layout)
    image = noise(*size)
    np.testing.assert_allclose(written(image, spec), reference(image, spec), atol=one_level(spec), rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 96),
    st.integers(1, 96),
    st.sampled_from(Layout),
    st.sampled_from(Align),
)
def test_any_size_into_any_size(
    width: int, height: int, model_width: int, model_height: int, layout: Layout, align: Align
) -> None:
    spec = InputSpec(model_width, model_height, layout=layout, align=align)
    image = noise(width, height)
    np.testing.assert_allclose(written(image, spec), reference(image, spec), atol=one_level(spec), rtol=0)


@pytest.mark.parametrize("layout", Layout)
def test_buffers_serve_images_of_different_aspects_in_any_order(layout: Layout) -> None:
    spec = InputSpec(64, 64, layout=layout)
    preprocessor = CpuPreprocessor(spec)
    slots = [np.full(spec.shape(2), np.nan, np.float32) for _ in range(2)]
    images = [noise(*size) for size in ((64, 36), (36, 64), (64, 64), (100, 20), (64, 36), (64, 36))]
    for turn, (slot, index) in enumerate(itertools.product(slots, (0, 1))):
        for image in images[turn:] + images:
            preprocessor.write(frame(image), slot[index])
            np.testing.assert_allclose(slot[index], reference(image, spec), atol=one_level(spec), rtol=0)


def test_an_output_overwritten_as_a_whole_is_padded_again() -> None:
    spec = InputSpec(64, 64)
    preprocessor, image, out = CpuPreprocessor(spec), noise(64, 36), poisoned(spec)
    for value in (np.nan, 0.0, 1.0):
        preprocessor.write(frame(image), out)
        out[:] = value
        preprocessor.write(frame(image), out)
        np.testing.assert_allclose(out, reference(image, spec), atol=one_level(spec), rtol=0)


def test_new_memory_at_an_old_address_is_padded_again() -> None:
    spec = InputSpec(32, 32)
    preprocessor, image = CpuPreprocessor(spec), noise(32, 8)
    memory = bytearray(3 * 32 * 32 * 4)
    out = np.frombuffer(memory, np.float32).reshape(3, 32, 32)
    preprocessor.write(frame(image), out)
    last = float(out[0, -1, -1])
    del out
    gc.collect()
    again = np.frombuffer(memory, np.float32).reshape(3, 32, 32)
    again[:] = np.nan
    again[:, -1, -1] = last  # as if by chance: what tells that the padding is there
    preprocessor.write(frame(image), again)
    np.testing.assert_allclose(again, reference(image, spec), atol=one_level(spec), rtol=0)


def test_more_buffers_and_sizes_than_are_remembered() -> None:
    spec = InputSpec(16, 16)
    preprocessor = CpuPreprocessor(spec)
    slots = np.full(spec.shape(300), np.nan, np.float32)
    for number, out in enumerate(slots):
        image = noise(1 + number, 3)
        preprocessor.write(frame(image), out)
        np.testing.assert_allclose(out, reference(image, spec), atol=one_level(spec), rtol=0)


def test_pixels_that_are_a_part_of_a_larger_picture() -> None:
    spec = InputSpec(64, 64)
    image = noise(200, 100)[10:60, 20:120]
    assert not image.flags.c_contiguous
    np.testing.assert_allclose(written(image, spec), reference(image, spec), atol=one_level(spec), rtol=0)
    same = noise(200, 100)[10:74, 20:84]
    np.testing.assert_allclose(written(same, spec), reference(same, spec), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (64, 36), (36, 64)])
def test_nv12_equals_the_same_picture_in_bgr(size: tuple[int, int]) -> None:
    width, height = size
    nv12 = np.random.default_rng(1).integers(0, 256, (height * 3 // 2, width), np.uint8)
    bgr = cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12)
    spec = InputSpec(64, 64)
    preprocessor, out = CpuPreprocessor(spec), poisoned(spec)
    preprocessor.write(frame(nv12, PixelFormat.NV12), out)
    np.testing.assert_array_equal(out, written(bgr, spec))


def test_nv12_grey_has_the_value_of_limited_range() -> None:
    spec = InputSpec(4, 4)
    nv12 = np.full((6, 4), 128, np.uint8)
    nv12[:4] = 126
    out = poisoned(spec)
    CpuPreprocessor(spec).write(frame(nv12, PixelFormat.NV12), out)
    np.testing.assert_allclose(out, (126 - 16) * 255 / 219 / 255, atol=1 / 255)


def test_frames_and_outputs_that_do_not_fit_are_refused() -> None:
    spec = InputSpec(64, 32)
    preprocessor, out = CpuPreprocessor(spec), poisoned(spec)
    info = FrameInfo("camera", 0, 0, 0, 20, 10)
    with pytest.raises(ValueError, match=r"20x10 bgr.*\(10, 20, 3\).*found uint8 \(10, 30, 3\)"):
        preprocessor.write(Frame(info, noise(30, 10)), out)
    with pytest.raises(ValueError, match="float32"):
        preprocessor.write(Frame(info, noise(20, 10).astype(np.float32)), out)
    odd = FrameInfo("camera", 0, 0, 0, 21, 10)
    with pytest.raises(ValueError, match="even"):
        preprocessor.write(Frame(odd, np.zeros((15, 21), np.uint8), PixelFormat.NV12), out)
    with pytest.raises(ValueError, match="only BGR and NV12"):
        preprocessor.write(Frame(info, noise(20, 10), "gray"), out)  # type: ignore[arg-type]
    good = frame(noise(20, 10))
    with pytest.raises(ValueError, match=r"\(3, 32, 64\), found float32 \(32, 64, 3\)"):
        preprocessor.write(good, poisoned(InputSpec(64, 32, layout=Layout.NHWC)))
    with pytest.raises(ValueError, match="float64"):
        preprocessor.write(good, out.astype(np.float64))
    with pytest.raises(ValueError, match="not contiguous"):
        preprocessor.write(good, np.zeros((3, 32, 128), np.float32)[..., ::2])
    assert np.isnan(out).all()


def test_instances_of_several_threads_do_not_disturb_each_other() -> None:
    spec = InputSpec(64, 64)
    wrong: list[int] = []

    def work(seed: int) -> None:
        preprocessor, out, image = CpuPreprocessor(spec), poisoned(spec), noise(100, 50, seed)
        expected = reference(image, spec)
        for _ in range(50):
            preprocessor.write(frame(image), out)
            if not np.allclose(out, expected, atol=one_level(spec), rtol=0):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
