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


def sent(states: RetainedStates) -> list[Message]:
    """Take and confirm everything that waits."""
    taken = list(iter(states.take, None))
    for message in taken:
        states.confirmed(message)
    return taken


def test_a_retired_topic_is_forgotten_once_the_broker_has_its_last_word() -> None:
    states = RetainedStates()
    states.put(OLD)
    states.put(OTHER)
    states.retire(["status", "never told"])
    states.take()
    states.resend_all()  # the connection broke before it was confirmed
    assert sent(states) == [OLD, OTHER]
    states.resend_all()
    assert sent(states) == [OTHER]
    assert states.settled()
    states.retire(["info"])  # confirmed long ago
    states.resend_all()
    states.resend(["info"])
    assert sent(states) == []


def test_a_retired_topic_that_is_used_again_is_kept() -> None:
    states = RetainedStates()
    states.put(OLD)
    states.retire(["status"])
    states.put(NEW)
    assert sent(states) == [NEW]
    states.resend_all()
    assert sent(states) == [NEW]


def test_a_late_confirmation_does_not_forget_a_newer_last_word() -> None:
    states = RetainedStates()
    states.put(OLD)
    states.take()
    states.put(NEW)
    states.retire(["status"])
    states.confirmed(OLD)
    assert sent(states) == [NEW]
