"""What a street remembers stays within bounds, however long it goes on."""

from __future__ import annotations

from edge_app.scene import StreetScene
from edge_app.scene.recent import Recent
from edge_app.scene.traffic import CACHED_SLOTS


def test_what_was_not_asked_for_longest_goes() -> None:
    made: list[str] = []
    recent: Recent[str, str] = Recent(2)

    def ask(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key.upper()

        return recent.get(key, make)

    assert [ask(key) for key in "abacab"] == list("ABACAB")
    assert made == ["a", "b", "c", "b"]
    assert len(recent) == 2


def test_a_street_of_hours_remembers_no_more_than_one_of_minutes() -> None:
    traffic = StreetScene(seed=1, width=64, height=48, fps=5)._traffic
    first = [(posed.x, posed.y, posed.class_id) for posed in traffic.at(0.0)]
    for second in range(0, 3600, 60):
        traffic.at(float(second))
    assert len(traffic._slots) == CACHED_SLOTS
    # What was forgotten is the same again.
    assert [(posed.x, posed.y, posed.class_id) for posed in traffic.at(0.0)] == first
