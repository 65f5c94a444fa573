"""The bounded queue between two stages."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.errors import ChannelClosed
from edge_app.pipeline.channel import Channel


@given(st.lists(st.integers(), max_size=50), st.integers(1, 5))
def test_every_item_arrives_in_order(items: list[int], capacity: int) -> None:
    channel: Channel[int] = Channel(capacity)
    received: list[int] = []

    def receive() -> None:
        try:
            while True:
                received.append(channel.get())
        except ChannelClosed:
            pass

    receiver = threading.Thread(target=receive)
    receiver.start()
    for item in items:
        channel.put(item)
        assert len(channel) <= capacity
    channel.close()
    receiver.join(10)
    assert received == items


def test_a_closed_channel_drains_then_says_so() -> None:
    channel: Channel[str] = Channel(2)
    channel.put("a")
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.put("b")
    assert channel.get() == "a"
    with pytest.raises(ChannelClosed):
        channel.get()


def test_closing_wakes_a_sender_that_waits_for_room() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    outcome: list[str] = []

    def send() -> None:
        try:
            channel.put(2)
        except ChannelClosed:
            outcome.append("closed")

    sender = threading.Thread(target=send)
    sender.start()
    channel.close()
    sender.join(10)
    assert outcome == ["closed"]
    assert channel.get() == 1


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1, found 0"):
        Channel(0)
