"""States that wait for the broker's confirmation."""

from __future__ import annotations

from edge_app.publish.retained import RetainedStates
from edge_app.publish.traffic import Message

OLD, NEW = Message("status", b"old", 1, retain=True), Message("status", b"new", 1, retain=True)
OTHER = Message("info", b"other", 1, retain=True)


def test_a_newer_state_replaces_the_one_that_waits() -> None:
    states = RetainedStates()
    for message in (OLD, OTHER, NEW):
        states.put(message)
    assert [states.take(), states.take(), states.take()] == [NEW, OTHER, None]


def test_settled_means_confirmed() -> None:
    states = RetainedStates()
    assert states.settled()
    states.put(OLD)
    assert not states.settled()
    states.take()
    assert not states.settled()
    states.confirmed(OLD)
    assert states.settled()


def test_a_late_confirmation_of_an_older_state_settles_nothing() -> None:
    states = RetainedStates()
    states.put(OLD)
    states.take()
    states.put(NEW)
    states.take()
    states.confirmed(OLD)
    assert not states.settled()
    states.confirmed(NEW)
    assert states.settled()


def test_a_new_connection_hears_everything_again() -> None:
    states = RetainedStates()
    states.put(OLD)
    states.put(OTHER)
    states.confirmed(states.take() or OLD)
    states.take()
    states.resend_all()
    assert [states.take(), states.take()] == [OLD, OTHER]
