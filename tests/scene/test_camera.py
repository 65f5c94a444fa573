import numpy as np
import pytest

from edge_app.scene.camera import NEAR_M, Camera, clip


@pytest.fixture
def camera() -> Camera:
    return Camera.looking(
        np.array([0.0, 0.0, 5.0]), yaw=0.0, pitch=0.0, focal_px=500.0, width=640, height=360
    )


def test_what_lies_ahead_is_in_the_middle(camera: Camera) -> None:
    np.testing.assert_allclose(camera.project(np.array([20.0, 0.0, 5.0])), [320.0, 180.0])


def test_left_is_left_and_down_is_down(camera: Camera) -> None:
    np.testing.assert_allclose(camera.project(np.array([20.0, 2.0, 4.0])), [320.0 - 50.0, 180.0 + 25.0])


def test_the_horizon_is_where_far_ground_goes() -> None:
    tipped = Camera.looking(
        np.array([0.0, 0.0, 5.0]), yaw=0.6, pitch=0.2, focal_px=500.0, width=640, height=360
    )
    far = np.array([np.cos(0.6), np.sin(0.6), 0.0]) * 1e7
    assert tipped.project(far)[1] == pytest.approx(tipped.horizon_px, abs=0.01)


def test_it_sees_what_can_touch_the_image(camera: Camera) -> None:
    points = np.array(
        [(20.0, 0.0, 5.0), (-20.0, 0.0, 5.0), (20.0, 40.0, 5.0), (20.0, 14.0, 5.0), (0.0, 0.0, 5.0)]
    )
    assert camera.sees(points, np.full(5, 1.5)).tolist() == [True, False, False, True, True]


def test_clipping_keeps_what_is_in_view(camera: Camera) -> None:
    inside = np.array([(0.0, 0.0, 10.0), (1.0, 0.0, 10.0), (1.0, 1.0, 10.0)])
    np.testing.assert_allclose(clip(camera, inside), inside)


def test_clipping_cuts_at_the_near_plane_and_far_outside_the_image(camera: Camera) -> None:
    ground = np.array([(-900.0, 5.0, -50.0), (900.0, 5.0, -50.0), (900.0, 5.0, 300.0), (-900.0, 5.0, 300.0)])
    kept = clip(camera, ground)
    assert len(kept) >= 4
    assert (kept[:, 2] >= NEAR_M - 1e-9).all()
    assert np.abs(camera.to_image(kept)).max() < 30_000
    behind = ground.copy()
    behind[:, 2] = -1.0
    assert clip(camera, behind).shape == (0, 3)
