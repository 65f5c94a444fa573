"""What a subscriber concludes from messages."""

from __future__ import annotations

from typing import Any

import pytest

from edge_app.watch.followed import (
    FollowedCamera,
    NodeView,
    Percentiles,
    SequenceCheck,
    end_to_end_ms,
    percentiles,
)

PUBLISHED_NS = 1_700_000_000_100_000_000


def message(seq: int = 0, labels: tuple[str, ...] = ("car",), **more: Any) -> dict[str, Any]:
    """Captured at 20.000000 s, published 100 ms later."""
    return {
        "boot": "a",
        "seq": seq,
        "captured_at": "2023-11-14T22:13:20.000000Z",
        "published_at": "2023-11-14T22:13:20.100000Z",
        "latency_ms": {"total": 99.0},
        "dropped_frames": 0,
        "model": {"backend": "onnxruntime"},
        "objects": [{"label": label} for label in labels],
        **more,
    }


@pytest.mark.parametrize(
    ("transit_ms", "latency_ms", "agree"),
    [(5, 105.0, True), (0, 100.0, True), (-1, 99.0, False), (59_000, 59_100.0, True), (61_000, 99.0, False)],
)
def test_latency_counts_the_way_unless_the_clocks_disagree(
    transit_ms: int, latency_ms: float, agree: bool
) -> None:
    found, clocks_agree = end_to_end_ms(message(), PUBLISHED_NS + transit_ms * 1_000_000)
    assert found == pytest.approx(latency_ms, abs=0.01)
    assert clocks_agree is agree


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([7.0], Percentiles(7.0, 7.0)),
        ([float(n) for n in range(100, 0, -1)], Percentiles(50.0, 95.0)),
        ([1.0, 2.0, 3.0], Percentiles(2.0, 3.0)),
    ],
)
def test_percentiles_by_nearest_rank(values: list[float], expected: Percentiles | None) -> None:
    assert percentiles(values) == expected


class TestSequence:
    def test_gaps_are_counted_from_the_first_number_on(self) -> None:
        check = SequenceCheck()
        for seq in (7, 8, 10, 14):
            check.see("a", seq)
        assert (check.missing, check.out_of_order) == (4, 0)

    def test_a_new_boot_starts_again(self) -> None:
        check = SequenceCheck()
        for boot, seq in (("a", 5), ("b", 0), ("b", 1)):
            check.see(boot, seq)
        assert (check.missing, check.out_of_order) == (0, 0)

    def test_repeated_and_late_numbers(self) -> None:
        check = SequenceCheck()
        for seq in (0, 1, 1, 0, 2):
            check.see("a", seq)
        assert (check.missing, check.out_of_order) == (0, 2)


class TestCamera:
    def test_rate_and_objects(self) -> None:
        camera = FollowedCamera(window_s=10.0)
        for seq in range(40):
            camera.take_detections(message(seq, ("car", "dog", "car")), PUBLISHED_NS, 100.0 + seq / 10)
        view = camera.view(now_s=104.0)
        assert view.fps == pytest.approx(10.0)
        assert view.in_view == (("car", 2), ("dog", 1))
        assert camera.seen == {"car": 80, "dog": 40}
        assert camera.mean_fps() == pytest.approx(10.0)
        assert view.latency_ms == Percentiles(100.0, 100.0)

    def test_what_is_old_no_longer_shows(self) -> None:
        camera = FollowedCamera(window_s=10.0)
        camera.take_detections(message(), PUBLISHED_NS, 100.0)
        view = camera.view(now_s=111.0)
        assert (view.fps, view.latency_ms) == (0.0, None)
        assert camera.messages == 1

    def test_a_broken_message_changes_nothing(self) -> None:
        camera = FollowedCamera(window_s=10.0)
        with pytest.raises(ValueError, match="isoformat"):
            camera.take_detections(message(published_at="yesterday"), PUBLISHED_NS, 100.0)
        with pytest.raises(KeyError):
            camera.take_detections({"objects": []}, PUBLISHED_NS, 100.0)
        assert (camera.messages, camera.seen, camera.sequence.missing) == (0, {}, 0)


def test_a_node_is_put_together_from_its_messages() -> None:
    node = (
        NodeView()
        .after_status({"state": "degraded", "reason": "gate is lost"})
        .after_info({"version": "0.1", "model": {"name": "demo", "backend": "cpu", "precision": "fp32"}})
        .after_health({"rss_bytes": 1000, "cpu_percent": None})
    )
    assert node == NodeView("degraded", "gate is lost", "0.1", "demo (cpu, fp32)", 1000, None)


def test_every_model_is_named_as_the_configuration_calls_it() -> None:
    told = {"backend": "tensorrt", "precision": "fp16"}
    first, second = {"name": "street", **told}, {"name": "yolo", **told}
    models = [{**first, "configured_name": None}, {**second, "configured_name": "faces"}]
    node = NodeView().after_info({"version": "0.1", "model": first, "models": models})
    assert node.model == "street (tensorrt, fp16), faces: yolo (tensorrt, fp16)"
    older = NodeView().after_info({"version": "0.1", "model": first, "models": [first, second]})
    assert older.model == "street (tensorrt, fp16), yolo (tensorrt, fp16)"
