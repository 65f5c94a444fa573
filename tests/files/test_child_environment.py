"""Children get no secret that they have no use for."""

from __future__ import annotations

import json
import sys

import pytest

from edge_app.config.models import CameraSection
from edge_app.config.secrets import resolve_password
from edge_app.engine.child import BuildChild
from edge_app.files.child_environment import child_environment


def test_a_variable_that_held_a_password_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_PASSWORD_OF_TESTS", "canary-77")
    monkeypatch.setenv("ANOTHER_OF_TESTS", "kept")
    section = CameraSection(uri="rtsp://h/x", username="u", password_env="A_PASSWORD_OF_TESTS")
    assert resolve_password(section, "cameras.gate") == "canary-77"
    assert resolve_password(section, "cameras.gate") == "canary-77", "a reload finds it again"
    given = child_environment(MORE="1")
    assert (given["ANOTHER_OF_TESTS"], given["MORE"]) == ("kept", "1")
    assert "A_PASSWORD_OF_TESTS" not in given
    program = "import json, os, sys; print(json.dumps(dict(os.environ)), file=sys.stderr)"
    child = BuildChild(memory_bytes=1 << 32, timeout_s=20, cancelled=lambda: False)
    end = child.run([sys.executable, "-c", program], lambda _event: None)
    text = "".join(end.stderr)
    assert "canary-77" not in text
    assert "ANOTHER_OF_TESTS" in text or len(text) == 500
    assert json.dumps("PYTHONUNBUFFERED") in text or len(text) == 500
