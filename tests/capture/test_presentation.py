"""Which packet a decoded picture came from, where times jump, lack or never come out."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.capture.presentation import MOST_WAITING, PresentationTimes
from edge_app.interfaces import EncodedPacket


def packet(pts_s: float | None, data: bytes = b"") -> EncodedPacket:
    return EncodedPacket(data, keyframe=False, pts_s=pts_s)


def shown(times: PresentationTimes, fed: Sequence[float | None], delay: int) -> list[float | None]:
    """What comes out if each packet brings a picture, but the first `delay`, and these at the end."""
    found: list[EncodedPacket | None] = []
    for number, pts_s in enumerate(fed):
        times.feed(packet(pts_s))
        found += times.take(1) if number >= delay else []
    found += times.take(delay)
    return [None if each is None else each.pts_s for each in found]


def test_times_heal_after_lost_pictures() -> None:
    in_order = PresentationTimes(0)
    for number in range(10):
        in_order.feed(packet(number))
        if number != 4:  # this one was damaged
            assert in_order.take(1) == [packet(number)]
    reordered, found = PresentationTimes(1), list[float]()
    for number in (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9):
        reordered.feed(packet(number))
        if number not in (0, 5):  # the first waits for its order, the other was damaged
            found += [each.pts_s or 0.0 for each in reordered.take(1) if each is not None]
    assert found[:4] == [0, 1, 2, 3]
    assert found == sorted(found)
    assert found[-1] == 9  # not 8: the loss does not shift the times for ever
    assert reordered.take(3) == [packet(10), None, None]


def test_a_clock_that_wraps_keeps_the_order() -> None:
    day = 95443.0
    fed = [day, day + 2, day + 1, day + 4, day + 3, 0.0, 2.0, 1.0, 4.0, 3.0]
    expected = [day, day + 1, day + 2, day + 3, day + 4, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert shown(PresentationTimes(1), fed, delay=1) == expected


def test_a_packet_without_a_time_keeps_its_place() -> None:
    assert shown(PresentationTimes(1), [0.0, 0.2, 0.1, None, 0.4, 0.6, 0.5], delay=1) == [
        *(0.0, 0.1, 0.2),
        *(None, 0.4, 0.5, 0.6),
    ]
    assert shown(PresentationTimes(0), [None] * 5, delay=0) == [None] * 5


def test_what_brings_no_pictures_is_not_kept() -> None:
    times = PresentationTimes(0)
    for number in range(10 * MOST_WAITING):
        times.feed(packet(number, b"x"))
    assert len(times) == MOST_WAITING
    assert times.take(1) == [packet(10 * MOST_WAITING - 1, b"x")]
