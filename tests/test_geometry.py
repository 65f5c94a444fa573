from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.geometry import Align, Fit, InputSpec, Layout, Letterbox, has_area, iou_matrix

sizes = st.integers(1, 4096)
image_sizes = st.tuples(sizes, sizes)
specs = st.builds(
    InputSpec,
    width=st.integers(1, 1280),
    height=st.integers(1, 1280),
    fit=st.sampled_from(Fit),
    align=st.sampled_from(Align),
)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("image_wh", "resized_wh", "offset_xy"),
    [
        ((1920, 1080), (640, 360), (0, 140)),
        ((1080, 1920), (360, 640), (140, 0)),
        ((640, 640), (640, 640), (0, 0)),
        ((1280, 719), (640, 360), (0, 140)),  # 359.5 rounds to even
        ((1280, 721), (640, 360), (0, 140)),  # so does 360.5
        ((640, 639), (640, 639), (0, 0)),  # one pixel of padding goes to the bottom
        ((640, 637), (640, 637), (0, 1)),  # three: one above, two below
        ((1, 1), (640, 640), (0, 0)),
        ((4096, 1), (640, 1), (0, 319)),  # never less than one pixel
    ],
)
def test_letterbox_lies_where_the_reference_puts_it(
    image_wh: tuple[int, int], resized_wh: tuple[int, int], offset_xy: tuple[int, int]
) -> None:
    box = Letterbox.fit(image_wh, InputSpec(640, 640))
    assert (box.resized_wh, box.offset_xy) == (resized_wh, offset_xy)


def test_top_left_alignment_and_stretching_have_no_offset() -> None:
    top_left = Letterbox.fit((1920, 1080), InputSpec(640, 640, align=Align.TOP_LEFT))
    assert (top_left.resized_wh, top_left.offset_xy) == ((640, 360), (0, 0))
    stretched = Letterbox.fit((1920, 1080), InputSpec(640, 320, fit=Fit.STRETCH))
    assert (stretched.resized_wh, stretched.offset_xy) == ((640, 320), (0, 0))
    np.testing.assert_array_equal(
        stretched.to_image(boxes((0, 0, 640, 320), (320, 160, 640, 320))),
        boxes((0, 0, 1920, 1080), (960, 540, 1920, 1080)),
    )


def test_boxes_come_back_to_known_pixels() -> None:
    box = Letterbox.fit((1920, 1080), InputSpec(640, 640))
    np.testing.assert_array_equal(
        box.to_image(boxes((0, 140, 640, 500), (100, 240, 200, 340), (-50, 0, 700, 640))),
        boxes((0, 0, 1920, 1080), (300, 300, 600, 600), (0, 0, 1920, 1080)),
    )


@given(image_sizes, specs)
@example((4096, 3), InputSpec(32, 1280))
def test_resized_image_lies_inside_the_input_and_padding_is_even(
    image_wh: tuple[int, int], spec: InputSpec
) -> None:
    box = Letterbox.fit(image_wh, spec)
    for resized, offset, size in zip(box.resized_wh, box.offset_xy, (spec.width, spec.height), strict=True):
        before, after = offset, size - resized - offset
        assert resized >= 1
        assert before >= 0
        assert after >= 0
        if spec.align is Align.CENTER:
            assert after - before in (0, 1)
        else:
            assert before == 0
    if spec.fit is Fit.LETTERBOX:
        assert box.resized_wh[0] == spec.width or box.resized_wh[1] == spec.height


@given(image_sizes, specs, st.data())
def test_to_image_undoes_to_model(image_wh: tuple[int, int], spec: InputSpec, data: st.DataObject) -> None:
    box = Letterbox.fit(image_wh, spec)
    width, height = image_wh
    xs = sorted(data.draw(st.tuples(st.floats(0, width, width=32), st.floats(0, width, width=32))))
    ys = sorted(data.draw(st.tuples(st.floats(0, height, width=32), st.floats(0, height, width=32))))
    original = boxes((xs[0], ys[0], xs[1], ys[1]))
    in_model = box.to_model(original)
    back = box.to_image(in_model)
    # Half a float32 step of the largest model coordinate, seen in image pixels.
    slack = (
        1280 * 2**-22 * max(width / box.resized_wh[0], height / box.resized_wh[1])
        + max(width, height) * 2**-22
    )
    np.testing.assert_allclose(back, original, atol=slack, rtol=0)
    assert (in_model >= 0).all()
    assert (in_model <= np.array([spec.width, spec.height] * 2) * (1 + 1e-6)).all()


@given(image_sizes, specs)
def test_whatever_comes_back_is_inside_the_image(image_wh: tuple[int, int], spec: InputSpec) -> None:
    wild = boxes((-1e6, -1e6, 1e6, 1e6), (1e6, 1e6, -1e6, -1e6), (0, 0, 1, 1))
    kept = wild.copy()
    back = Letterbox.fit(image_wh, spec).to_image(wild)
    assert back.dtype == np.float32
    assert (back >= 0).all()
    assert (back <= np.array([*image_wh, *image_wh])).all()
    np.testing.assert_array_equal(wild, kept)


def test_no_boxes_map_to_no_boxes() -> None:
    box = Letterbox.fit((1920, 1080), InputSpec(640, 640))
    assert box.to_image(boxes()).shape == (0, 4)
    assert box.to_model(boxes()).shape == (0, 4)
    assert iou_matrix(boxes(), boxes((0, 0, 1, 1))).shape == (0, 1)


def test_impossible_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="0x1080"):
        Letterbox.fit((0, 1080), InputSpec(640, 640))
    with pytest.raises(ValueError, match="-1x640"):
        InputSpec(-1, 640)
    with pytest.raises(ValueError, match="std"):
        InputSpec(640, 640, std=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="pad_value"):
        InputSpec(640, 640, pad_value=256)


def test_shape_follows_the_layout() -> None:
    assert InputSpec(640, 320).shape(2) == (2, 3, 320, 640)
    assert InputSpec(640, 320, layout=Layout.NHWC).shape(2) == (2, 320, 640, 3)


def test_iou_of_known_boxes() -> None:
    first = boxes((0, 0, 10, 10), (0, 0, 0, 0))
    second = boxes((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30), (10, 0, 20, 10), (0, 0, 0, 0))
    expected = np.array([[1, 1 / 3, 0, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_allclose(iou_matrix(first, second), expected, rtol=1e-6)


corners = st.floats(-1000, 1000, width=32)
any_box = st.tuples(corners, corners, st.floats(0.125, 500, width=32), st.floats(0.125, 500, width=32)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(st.lists(any_box, max_size=8), st.lists(any_box, max_size=8))
def test_iou_is_symmetric_bounded_and_that_of_plain_arithmetic(
    first: list[tuple[float, float, float, float]], second: list[tuple[float, float, float, float]]
) -> None:
    found = iou_matrix(boxes(*first), boxes(*second))
    np.testing.assert_array_equal(found, iou_matrix(boxes(*second), boxes(*first)).T)
    for row, a in enumerate(boxes(*first).astype(np.float64)):
        for column, b in enumerate(boxes(*second).astype(np.float64)):
            width = min(a[2], b[2]) - max(a[0], b[0])
            height = min(a[3], b[3]) - max(a[1], b[1])
            inside = width * height if width > 0 and height > 0 else 0.0
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
            assert found[row, column] == pytest.approx(inside / union, abs=1e-5)


def test_only_finite_ordered_boxes_have_an_area() -> None:
    inf, nan = np.inf, np.nan
    rows = boxes(
        (0, 0, 1, 1),
        (0, 0, 0, 1),
        (0, 1, 1, 0),
        (1, 1, 0, 0),  # both sides negative: their product is not
        (nan, 0, 1, 1),
        (0, 0, inf, 1),
        (-inf, -inf, inf, inf),
        (0, 0, 1e30, 1e30),  # the area is beyond float32
        (0, 0, 1e-30, 1e-30),
    )
    assert has_area(rows).tolist() == [True] + [False] * 8
