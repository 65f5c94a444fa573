"""From topics and payloads to commands: what is right, what is refused and how, and anything at all."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.publish.commands.command import (
    COMMANDS,
    MAX_PAYLOAD_BYTES,
    Command,
    CommandRefusedError,
    DisableCamera,
    EnableCamera,
    Refusal,
    Reload,
    TakeSnapshot,
    parse_command,
    request_id_of,
)
from edge_app.publish.schemas import schema


def parse(name: str, payload: Any = None) -> Command:
    return parse_command(name.split("/"), b"" if payload is None else json.dumps(payload).encode())


def refusal(name: str, payload: bytes) -> CommandRefusedError:
    with pytest.raises(CommandRefusedError) as caught:
        parse_command(name.split("/"), payload)
    return caught.value


@pytest.mark.parametrize(
    ("name", "payload", "command"),
    [
        ("camera/yard/enable", None, EnableCamera(camera="yard")),
        ("camera/yard/disable", {}, DisableCamera(camera="yard")),
        ("snapshot/yard", {"request_id": "7"}, TakeSnapshot(camera="yard", request_id="7")),
        (
            "snapshot/enable",
            {"max_edge_px": 640, "quality": 50},
            TakeSnapshot(camera="enable", max_edge_px=640, quality=50),
        ),
        ("reload", None, Reload()),
    ],
)
def test_commands(name: str, payload: Any, command: Command) -> None:
    assert parse(name, payload) == command


@pytest.mark.parametrize(
    "name", ["", "camera", "camera/yard", "camera/yard/reboot", "reload/x", "exec", "//"]
)
def test_what_is_no_command_is_told_what_there_is(name: str) -> None:
    refused = refusal(name, b"")
    assert refused.refusal is Refusal.UNKNOWN_COMMAND
    assert "snapshot/{camera}" in refused.words


@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("reload", b"{", "not JSON"),
        ("reload", b"\xff\xfe", "not JSON"),
        ("reload", b"[]", "must be a JSON object or empty, found list"),
        ("reload", b"null", "found NoneType"),
        ("reload", b'{"now": true}', "now: Extra inputs are not permitted"),
        ("reload", b'{"request_id": 7}', "request_id: Input should be a valid string"),
        ("reload", b'{"request_id": ""}', "request_id: String should have at least 1 character"),
        ("snapshot/yard", b'{"camera": "gate"}', "camera: is told by the topic"),
        ("snapshot/yard", b'{"quality": 96}', "quality: Input should be less than or equal to 95"),
        ("snapshot/yard", b'{"quality": "80"}', "quality: Input should be a valid integer"),
        ("snapshot/yard", b'{"quality": 80.0}', "quality: Input should be a valid integer"),
        ("snapshot/yard", b'{"max_edge_px": 1e400}', "max_edge_px"),
        ("snapshot/", b"", "camera: String should have at least 1 character"),
        (f"snapshot/{'y' * 65}", b"", "camera: String should have at most 64 characters"),
    ],
)
def test_what_is_wrong_is_said(name: str, payload: bytes, words: str) -> None:
    refused = refusal(name, payload)
    assert refused.refusal is Refusal.BAD_REQUEST
    assert words in refused.words or "not JSON" in refused.words


def test_what_is_too_long_is_not_read() -> None:
    assert refusal("reload", b" " * (MAX_PAYLOAD_BYTES + 1)).refusal is Refusal.TOO_LARGE


def test_the_schemas_say_the_same() -> None:
    for kind in COMMANDS:
        name = "edge.snapshot_command/1.0" if kind is TakeSnapshot else "edge.command/1.0"
        ours = {field for field in kind.model_fields if f"{{{field}}}" not in kind.pattern}
        assert set(schema(name)["properties"]) == ours


request_ids = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)


@settings(deadline=None)
@given(request_ids, st.integers(0, 5000), st.integers(-5, 120))
def test_the_snapshot_schema_takes_what_is_taken(request_id: str | None, edge_px: int, quality: int) -> None:
    payload = {"max_edge_px": edge_px, "quality": quality} | (
        {} if request_id is None else {"request_id": request_id}
    )
    allowed = jsonschema.Draft202012Validator(schema("edge.snapshot_command/1.0")).is_valid(payload)
    try:
        command = parse("snapshot/yard", payload)
    except CommandRefusedError:
        assert not allowed
    else:
        assert allowed
        assert command.request_id == request_id == request_id_of(json.dumps(payload).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["request_id", "max_edge_px", "quality", "camera", "pattern", "__class__"]) | st.text()
anything = st.binary(max_size=200) | st.dictionaries(keys, json_values, max_size=4).map(
    lambda value: json.dumps(value).encode("utf-8", "surrogatepass")
)
level = st.sampled_from(["camera", "yard", "enable", "disable", "snapshot", "reload"]) | st.text()


@settings(deadline=None)
@given(st.lists(level, max_size=5), anything)
def test_anything_is_a_command_or_is_refused_in_words(levels: list[str], payload: bytes) -> None:
    request_id_of(payload)
    command, words = None, ""
    try:
        command = parse_command(levels, payload)
    except CommandRefusedError as refused:
        words = refused.words
    if command is None:
        assert 0 < len(words) < 2000
    else:
        assert isinstance(command, COMMANDS)
        assert "/".join(levels) == command.pattern.replace("{camera}", getattr(command, "camera", ""))
