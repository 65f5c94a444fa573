from __future__ import annotations

import pytest

from edge_app.errors import EdgeAppError


@pytest.mark.parametrize(
    ("message", "hint", "text"),
    [
        ("It broke", None, "It broke"),
        ("It broke", "mend it", "It broke. Hint: mend it"),
        ("It broke.", "mend it", "It broke. Hint: mend it"),
        ("Did it break?", "look", "Did it break? Hint: look"),
    ],
)
def test_message_and_hint_are_two_sentences(message: str, hint: str | None, text: str) -> None:
    assert str(EdgeAppError(message, hint=hint)) == text
