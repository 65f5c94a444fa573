import cv2
import numpy as np
import pytest

from edge_app.scene import StreetScene
from edge_app.scene.drawing import SHIFT, Drawing
from edge_app.scene.truth import SMALL_SHARE, VISIBLE_SHARE, box_inside, collect, visible_shares

WIDTH, HEIGHT = 640, 360


def square(order: float, x: int, y: int, side: int, *, class_id: int | None = 2, group: int = -1) -> Drawing:
    corners = np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)])
    box = np.array([x, y, x + side, y + side], dtype=np.float64)
    return Drawing(
        (order, 0.0, 0.0), class_id, [(corners << SHIFT).astype(np.int32)], [(9.0, 9.0, 9.0)], box, group
    )


@pytest.mark.parametrize("seed", range(6))
def test_boxes_lie_inside_the_image_and_are_not_empty(seed: int) -> None:
    scene = StreetScene(seed=seed, width=WIDTH, height=HEIGHT, fps=30.0)
    for index in (0, 200, 4000):
        truth = scene.truth(index)
        assert truth.xyxy.dtype == np.float32
        assert truth.class_id.dtype == np.int32
        assert truth.ignore.dtype == np.bool_
        assert len(truth.xyxy) == len(truth.class_id) == len(truth.ignore)
        assert (truth.xyxy >= 0).all()
        assert (truth.xyxy <= (WIDTH, HEIGHT, WIDTH, HEIGHT)).all()
        assert (truth.xyxy[:, 2:] - truth.xyxy[:, :2] > 0).all()
        size = np.sqrt((truth.xyxy[:, 2:] - truth.xyxy[:, :2]).prod(axis=1))
        assert (size[~truth.ignore] >= SMALL_SHARE * WIDTH).all()


@pytest.mark.parametrize("seed", range(12))
def test_boxes_are_where_the_pixels_are(seed: int) -> None:
    scene = StreetScene(seed=seed, width=WIDTH, height=HEIGHT, fps=30.0)
    drawings = scene._drawings(60)
    assert drawings
    for drawing in drawings:
        canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        drawing.colours = [(255.0, 255.0, 255.0)] * len(drawing.colours)
        drawing.strokes = [(points, (255.0, 255.0, 255.0), thick) for points, _, thick in drawing.strokes]
        drawing.paint(canvas)
        x, y, width, height = cv2.boundingRect((canvas[..., 0] > 100).astype(np.uint8))
        box = np.clip(box_inside(drawing, WIDTH, HEIGHT), 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
        if (box[2:] - box[:2] > 3).all():
            np.testing.assert_allclose((x, y, x + width, y + height), box, atol=2.0)


def test_what_moves_changes_the_empty_street_inside_its_box() -> None:
    scene = StreetScene(seed=2, width=WIDTH, height=HEIGHT, fps=30.0)
    frame = scene.render(60).astype(np.int16)
    changed = (np.abs(frame - scene._background) > 40).any(axis=2)
    moving = [d for d in scene._drawings(60) if (d.xyxy[2:] - d.xyxy[:2]).prod() > 900]
    inside = np.zeros((HEIGHT, WIDTH), np.bool_)
    for drawing in scene._drawings(60):
        x0, y0, x1, y1 = np.clip(drawing.xyxy, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)).astype(int)
        inside[y0 : y1 + 1, x0 : x1 + 1] = True
        if drawing in moving:
            assert changed[y0:y1, x0:x1].mean() > 0.05
    assert changed[inside].mean() > 10 * changed[~inside].mean()


def test_something_in_front_hides_what_is_behind() -> None:
    behind, before = square(-2.0, 100, 100, 60), square(-1.0, 100, 100, 60)
    np.testing.assert_allclose(visible_shares([behind, before], WIDTH, HEIGHT), [0.0, 1.0], atol=0.05)
    beside = square(-1.0, 130, 100, 60)
    np.testing.assert_allclose(visible_shares([behind, beside], WIDTH, HEIGHT), [0.5, 1.0], atol=0.05)


def test_a_rider_does_not_hide_the_bicycle() -> None:
    bicycle, rider = square(-2.0, 100, 100, 60, group=4), square(-1.0, 100, 90, 60, group=4)
    shares = visible_shares([bicycle, rider], WIDTH, HEIGHT)
    assert (shares > 0.9).all()


def test_furniture_hides_but_is_no_object() -> None:
    truth = collect([square(-2.0, 50, 50, 80), square(-1.0, 50, 50, 70, class_id=None)], WIDTH, HEIGHT)
    assert truth.class_id.tolist() == [2]
    assert truth.ignore.tolist() == [True]


@pytest.mark.parametrize(
    ("side", "x", "ignore"),
    [(80, 200, False), (10, 200, True), (80, WIDTH - 60, False), (80, WIDTH - 16, True)],
    ids=["plain", "small", "partly outside", "mostly outside"],
)
def test_small_and_cut_off_objects_are_ignored(side: int, x: int, ignore: bool) -> None:
    truth = collect([square(-1.0, x, 50, side)], WIDTH, HEIGHT)
    assert truth.ignore.tolist() == [ignore]
    assert truth.xyxy[0, 2] == min(x + side, WIDTH)


def test_an_invisible_object_is_not_listed() -> None:
    truth = collect([square(-2.0, 60, 60, 40), square(-1.0, 50, 50, 80)], WIDTH, HEIGHT)
    assert truth.xyxy.tolist() == [[50.0, 50.0, 130.0, 130.0]]


def test_an_empty_street_has_an_empty_truth() -> None:
    truth = collect([], WIDTH, HEIGHT)
    assert truth.xyxy.shape == (0, 4)
    assert truth.class_id.shape == truth.ignore.shape == (0,)
    assert 0 < VISIBLE_SHARE < 1
