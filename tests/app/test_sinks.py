"""Sinks made from a configuration, and what is heard of their troubles."""

from __future__ import annotations

from pathlib import Path

from edge_app.app.sinks import SinkBuilder
from edge_app.config.models import JsonlSinkSection
from edge_app.messages import NodeState
from edge_app.pipeline.statistics import Statistics
from tests.brokers import until
from tests.publish.parts import Neighbours


def test_what_a_sink_says_after_it_was_forgotten_nobody_hears(tmp_path: Path) -> None:
    """Its thread may hang in a disk, and find out much later that this cannot be written."""
    heard: list[tuple[str, str | None]] = []
    builder = SinkBuilder(
        node="node-1",
        boot="b",
        statistics=Statistics([]),
        observed=Neighbours(),
        trouble=lambda name, words: heard.append((name, words)),
    )
    (tmp_path / "file").touch()
    section = JsonlSinkSection(type="jsonl", directory=str(tmp_path / "file" / "a"))
    late, other = builder.make("archive", section, None), builder.make("archive", section, None)
    builder.forget("archive", late)
    assert heard == [("archive", None), ("archive (broker)", None)]
    late.start()
    late.set_node_state(NodeState.ONLINE)
    until(lambda: late.state().problem is not None, "it has found out")
    late.stop(1.0)
    assert len(heard) == 2
    other.start()
    other.set_node_state(NodeState.ONLINE)
    until(lambda: len(heard) == 3, "the one in its place is heard")
    assert "cannot be written" in (heard[2][1] or "")
    other.stop(1.0)
