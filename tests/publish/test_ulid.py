"""Message ids sort as they were made."""

from __future__ import annotations

import re
import threading

from hypothesis import given
from hypothesis import strategies as st

from edge_app.publish.ulid import ALPHABET, UlidFactory, encode


def decode(text: str) -> int:
    value = 0
    for character in text:
        value = value * 32 + ALPHABET.index(character)
    return value


@given(st.integers(0, 2**128 - 1))
def test_encoding_loses_nothing(value: int) -> None:
    assert decode(encode(value)) == value
    assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", encode(value))


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
def test_ids_increase_whatever_the_clock_does(times_ns: list[int]) -> None:
    remaining = iter(times_ns)
    factory = UlidFactory(lambda: next(remaining))
    ids = [factory() for _ in times_ns]
    assert ids == sorted(set(ids))


def test_the_time_is_the_first_48_bits() -> None:
    factory = UlidFactory(lambda: 1_700_000_000_123_456_789)
    assert decode(factory()) >> 80 == 1_700_000_000_123


def test_threads_get_different_ids() -> None:
    factory, ids = UlidFactory(), list[str]()
    threads = [
        threading.Thread(target=lambda: ids.extend([factory() for _ in range(1000)])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 4000
