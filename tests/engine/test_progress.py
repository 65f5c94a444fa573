"""How far a build is, from what TensorRT reports."""

from edge_app.engine.events import BuildEvent, EventKind
from edge_app.engine.progress import Reporter


def percents(events: list[BuildEvent]) -> list[float]:
    return [event.percent for event in events if event.percent is not None]


def test_nested_phases_add_up(events: list[BuildEvent]) -> None:
    reporter = Reporter(events.append)
    reporter.step("whole", None, 0, 2)
    reporter.step("inner", "whole", 0, 4)
    for done in range(1, 5):
        reporter.step("inner", "whole", done, 4)
    reporter.step("whole", None, 1, 2)
    reporter.step("whole", None, 2, 2)
    found = percents(events)
    assert found == sorted(found)
    assert max(found) == 10 + 0.5 * 89
    assert events[0].kind is EventKind.PHASE


def test_before_version_10_the_log_tells(events: list[BuildEvent]) -> None:
    reporter = Reporter(events.append)
    reporter.log("VERBOSE", "After concat removal: 4 layers")
    for layer in range(4):
        reporter.log("VERBOSE", f"=============== Computing costs for layer{layer}")
        reporter.log("VERBOSE", "=============== Computing reformatting costs")
    found = percents(events)
    assert len(found) == 4
    assert found == sorted(found)
    assert found[-1] < 99


def test_errors_are_kept_and_want_of_memory_is_seen(events: list[BuildEvent]) -> None:
    left_out, reporter = Reporter(events.append), Reporter(events.append)
    left_out.log("WARNING", "Skipping tactic 3 due to: out of memory")
    assert not left_out.out_of_memory
    reporter.log("ERROR", "[resizingAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)")
    assert reporter.out_of_memory
    assert reporter.errors == ["[resizingAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)"]
    assert [event.kind for event in events] == [EventKind.LOG] * 2


def test_an_event_is_itself_after_a_round_trip() -> None:
    event = BuildEvent(EventKind.RESULT, "done", 1.5, 100.0, {"plan_bytes": 7})
    assert BuildEvent.from_line(event.to_line()) == event
    for line in ("", "{", "[]", "3", '{"kind": "phase"}', '{"kind": "x", "text": ""}', '{"text": "a"}'):
        assert BuildEvent.from_line(line) is None
