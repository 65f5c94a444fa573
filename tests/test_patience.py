"""How long nothing was done, counted in looks."""

from __future__ import annotations

from edge_app.patience import Patience


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_only_work_that_is_not_done_counts() -> None:
    clock = Clock()
    patience = Patience(2.0, clock)

    def after(seconds: float, *, work: bool = True, done: int = 1) -> float:
        clock.now_s += seconds
        return patience.look(work, done)

    assert after(1.0) == 0, "it has just begun"
    assert after(1.0) == 1
    assert after(1.5) == 2.5
    assert after(1.0, done=2) == 0, "something was done"
    assert after(1.0, done=2) == 1
    assert after(1.0, done=2, work=False) == 0, "there is nothing to do"
    assert after(1.0, done=2) == 1


def test_time_in_which_nobody_looks_does_not_count() -> None:
    clock = Clock()
    patience = Patience(2.0, clock)
    patience.look(True, 1)
    clock.now_s += 3600
    assert patience.look(True, 1) == 2
    clock.now_s += 1
    assert patience.look(True, 1) == 3
