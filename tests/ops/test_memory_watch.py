"""When memory counts as short, and when there is enough again."""

from __future__ import annotations

import threading

import pytest

from edge_app.memory import MemoryBound
from edge_app.ops.memory_watch import MemoryWatch
from tests.brokers import until

MIB = 1 << 20


class Bounds:
    def __init__(self) -> None:
        self.now = [MemoryBound(None, 1000 * MIB, 500 * MIB), MemoryBound("/box", 100 * MIB, 50 * MIB)]

    def __call__(self) -> list[MemoryBound]:
        return self.now

    def leave(self, machine_mib: int, box_mib: int) -> None:
        self.now = [
            MemoryBound(None, 1000 * MIB, machine_mib * MIB),
            MemoryBound("/box", 100 * MIB, box_mib * MIB),
        ]


@pytest.fixture
def told() -> list[str | None]:
    return []


@pytest.fixture
def bounds() -> Bounds:
    return Bounds()


@pytest.fixture
def watch(told: list[str | None], bounds: Bounds) -> MemoryWatch:
    return MemoryWatch(told.append, bounds)


def test_it_is_told_once_and_taken_back_once(
    watch: MemoryWatch, told: list[str | None], bounds: Bounds
) -> None:
    watch.step()
    assert not told
    for machine, box in ((500, 4), (500, 3), (500, 6), (500, 4)):
        bounds.leave(machine, box)
        watch.step()
    assert told == ["memory is short: 4 of 100 MiB are left to control group /box"], "6 % is no news"
    bounds.leave(40, 50)
    watch.step()
    assert told[1:] == ["memory is short: 40 of 1000 MiB are left"]
    bounds.leave(500, 50)
    watch.step()
    watch.step()
    assert told[2:] == [None]


def test_two_bounds_that_are_short_do_not_take_turns(
    watch: MemoryWatch, told: list[str | None], bounds: Bounds
) -> None:
    for machine, box in ((45, 4), (35, 4), (45, 3), (30, 4), (40, 6)):
        bounds.leave(machine, box)
        watch.step()
    assert len(told) == 1, "which of them is the tightest changes, and is no news"
    bounds.leave(40, 50)
    watch.step()
    assert told[1:] == ["memory is short: 40 of 1000 MiB are left"], "the machine is short still"


def test_one_that_recovers_is_no_longer_blamed_for_another_that_was_never_short(
    watch: MemoryWatch, told: list[str | None], bounds: Bounds
) -> None:
    for machine, box in ((500, 4), (60, 50), (60, 50)):
        bounds.leave(machine, box)
        watch.step()
    assert told[1:] == [None]


def test_a_bound_that_is_gone_is_short_no_longer(
    watch: MemoryWatch, told: list[str | None], bounds: Bounds
) -> None:
    bounds.leave(500, 4)
    watch.step()
    bounds.now = bounds.now[:1]
    watch.step()
    assert told[1:] == [None]


def test_where_the_kernel_tells_nothing(watch: MemoryWatch, told: list[str | None], bounds: Bounds) -> None:
    bounds.now = []
    watch.step()
    assert not told


def test_it_looks_by_itself_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch, bounds: Bounds) -> None:
    monkeypatch.setattr("edge_app.ops.memory_watch.POLL_S", 0.01)
    told = threading.Event()
    watch = MemoryWatch(lambda _: told.set(), bounds)
    watch.start()
    bounds.leave(500, 1)
    until(told.is_set, "it is told")
    watch.stop()
    assert not any(thread.name == "memory-watch" for thread in threading.enumerate())
