from __future__ import annotations

import threading
from typing import Any

import numpy as np

from edge_app.capture.pool import FramePool

SHAPE = (4, 6, 3)


def test_a_returned_array_is_lent_again() -> None:
    pool = FramePool()
    first = pool.lend(SHAPE)
    address = first.pixels.ctypes.data
    first.release()
    assert pool.lend(SHAPE).pixels.ctypes.data == address


def test_two_lent_arrays_share_no_memory() -> None:
    pool = FramePool()
    one, other = pool.lend(SHAPE), pool.lend(SHAPE)
    assert not np.shares_memory(one.pixels, other.pixels)


def test_releasing_twice_lends_to_nobody_twice() -> None:
    pool = FramePool()
    buffer = pool.lend(SHAPE)
    buffer.release()
    buffer.release()
    assert pool.free == 1


def test_a_late_second_release_does_not_take_the_array_from_its_new_borrower() -> None:
    pool = FramePool()
    buffer = pool.lend(SHAPE)
    buffer.release()
    borrowed = pool.lend(SHAPE)
    buffer.release()
    assert not np.shares_memory(pool.lend(SHAPE).pixels, borrowed.pixels)


def test_no_more_arrays_are_kept_than_asked() -> None:
    pool = FramePool(keep=2)
    lent = [pool.lend(SHAPE) for _ in range(5)]
    for buffer in lent:
        buffer.release()
    assert pool.free == 2


def test_arrays_of_the_old_size_are_not_kept_after_a_change() -> None:
    pool = FramePool()
    old, waiting = pool.lend(SHAPE), pool.lend(SHAPE)
    waiting.release()
    new = pool.lend((8, 8, 3))
    old.release()
    new.release()
    assert (pool.free, pool.lend((8, 8, 3)).pixels.shape) == (1, (8, 8, 3))


class CountingMemory:
    def __init__(self) -> None:
        self.made: list[tuple[int, ...]] = []

    def allocate(self, shape: tuple[int, ...]) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], bool]:
        self.made.append(shape)
        return np.zeros(shape, np.uint8), True


def test_the_given_memory_makes_the_arrays_and_says_whether_they_are_page_locked() -> None:
    memory = CountingMemory()
    pool = FramePool(memory=memory)
    first = pool.lend(SHAPE)
    first.release()
    assert (first.pinned, pool.lend(SHAPE).pinned, FramePool().lend(SHAPE).pinned) == (True, True, False)
    assert memory.made == [SHAPE]


def test_releases_from_many_threads_give_one_array_back_once() -> None:
    pool = FramePool()
    for _ in range(50):
        buffer = pool.lend(SHAPE)
        threads = [threading.Thread(target=buffer.release) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert pool.free == 1
