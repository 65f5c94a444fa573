"""Passwords are found where the configuration says, and never show."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.config.broker_uri import parse_broker_uri
from edge_app.config.camera_uri import parse_camera_uri
from edge_app.config.secrets import (
    HIDDEN,
    SecretRegistry,
    holds_userinfo,
    redact_uri,
    resolve_password,
)
from edge_app.errors import ConfigError


@dataclass(frozen=True)
class Reference:
    password_file: str | None = None
    password_env: str | None = None
    password_credential: str | None = None


def _message(reference: Reference, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_password(reference, "mqtt", environment or {})
    return str(caught.value)


def test_no_reference_means_no_password() -> None:
    assert resolve_password(Reference(), "mqtt", {}) is None


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\nsecond\n", "hunter2"),
        (b" with spaces \n", " with spaces "),
        ("\ufeffümlaut\n".encode(), "ümlaut"),
    ],
)
def test_the_first_line_of_a_file_is_the_password(tmp_path: Path, content: bytes, password: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    assert resolve_password(Reference(password_file=str(path)), "mqtt", {}) == password
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert resolve_password(Reference(password_credential="secret"), "mqtt", environment) == password


def test_the_environment_holds_the_password() -> None:
    assert resolve_password(Reference(password_env="A_B"), "mqtt", {"A_B": "hunter2"}) == "hunter2"


def test_a_file_that_everybody_can_read_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2")
    path.chmod(0o600)
    resolve_password(Reference(password_file=str(path)), "cameras.door", {})
    assert caplog.messages == []
    path.chmod(0o644)
    resolve_password(Reference(password_file=str(path)), "cameras.door", {})
    assert caplog.messages == [
        f"cameras.door.password_file: every user can read {path}; chmod 600 makes it private"
    ]
    path.chmod(0o666)
    said: list[str] = []
    resolve_password(Reference(password_file=str(path)), "cameras.door", {}, said.append)
    assert said == [
        f"cameras.door.password_file: every user can read and change {path}; chmod 600 makes it private"
    ]


FILE_HINT = (
    "Hint: write the password into the first line of that file, readable by the user that runs edge-app"
)
ENV_HINT = "Hint: set it for the service (Environment= or EnvironmentFile=), or use password_file"
CREDENTIAL_HINT = "Hint: add LoadCredential=<name>:<file> to the service, or use password_file"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    absent, empty, binary = (tmp_path / f"{name}.password" for name in ("absent", "empty", "binary"))
    empty.write_text("\nsecond line")
    binary.write_bytes(b"\xff\xfe\xfd")
    for path in (empty, binary):
        path.chmod(0o600)
    assert _message(Reference(password_file=str(absent))) == (
        f"mqtt.password_file: there is no file {absent}. {FILE_HINT}"
    )
    assert _message(Reference(password_file=str(empty))) == (
        f"mqtt.password_file: the first line of {empty} is empty. {FILE_HINT}"
    )
    assert _message(Reference(password_file=str(binary))) == (
        f"mqtt.password_file: the first line of {binary} is not UTF-8 text. {FILE_HINT}"
    )
    assert _message(Reference(password_env="MQTT_PASSWORD")) == (
        f"mqtt.password_env: the environment variable MQTT_PASSWORD is not set. {ENV_HINT}"
    )
    assert _message(Reference(password_env="MQTT_PASSWORD"), {"MQTT_PASSWORD": ""}) == (
        f"mqtt.password_env: the environment variable MQTT_PASSWORD is empty. {ENV_HINT}"
    )
    assert _message(Reference(password_credential="mqtt-password")) == (
        "mqtt.password_credential: systemd gave this process no credentials, so not mqtt-password either. "
        f"{CREDENTIAL_HINT}"
    )
    assert _message(
        Reference(password_credential="mqtt-password"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    ) == (
        f"mqtt.password_credential: systemd gave this process no credential mqtt-password. {CREDENTIAL_HINT}"
    )


@pytest.mark.parametrize("password", ["hunter2", "Hunter2", "x\0y", "a" * 5000])
def test_a_password_in_place_of_a_reference_is_not_shown(tmp_path: Path, password: str) -> None:
    for reference in (Reference(password), Reference(None, password), Reference(None, None, password)):
        for environment in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}):
            assert password not in _message(reference, environment)


def test_a_credential_lies_in_its_directory_only(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "other").write_text("hunter2")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert "no credential" in _message(Reference(password_credential="../other"), environment)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("rtsp://u:p@h/x", "rtsp://***@h/x"),
        ("rtsp://u@h", "rtsp://***@h"),
        ("RTSPS://u:p@[::1]:554/x?a=1", "RTSPS://***@[::1]:554/x?a=1"),
        ("rtsp://u:p%40ss@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p@ss@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p/ss@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p#s?s@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p ss@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p@ss ss@h/x", "rtsp://***@h/x"),
        ("from rtsp://u:p@h/1 to mqtt://v:q@i:1, end", "from rtsp://***@h/1 to mqtt://***@i:1, end"),
        ("rtsp://u:p@h/1,rtsp://v:q@i/2", "rtsp://***@h/1,rtsp://***@i/2"),
        ("x?url=rtsp%3A%2F%2Fu%3Ap%40h%2F1", "x?url=rtsp%3A%2F%2F***@h%2F1"),
        ("u:p@h/1", "***@h/1"),
        ("http://h/v.cgi?user=a&pwd=secret&x=1", "http://h/v.cgi?user=a&pwd=***&x=1"),
        ("rtspsrc user-pw=secret ! x", "rtspsrc user-pw=*** ! x"),
        ('rtspsrc user-pw="my secret" ! x', "rtspsrc user-pw=*** ! x"),
        ("first rtsp://u:p ss\nmail@h", "first rtsp://u:p ss\nmail@h"),
        ("found admin:LE/AK33@10.1.2.3", "found ***@10.1.2.3"),
        ("rtsp://admin: secret@h/x", "rtsp://***@h/x"),
        ("http://h/v.cgi?loginuse=a&loginpas=secret&x=1", "http://h/v.cgi?loginuse=a&loginpas=***&x=1"),
        ("http://h/?auth=secret&key=secret&sig=secret", "http://h/?auth=***&key=***&sig=***"),
        ("http://h/%3fkey%3dsecret%26x", "http://h/%3fkey%3d***"),
    ],
)
def test_credentials_are_hidden(text: str, redacted: str) -> None:
    assert redact_uri(text) == redacted
    assert redact_uri(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtsp://h:554/x",
        "rtsp://h/1 640x480@30fps",
        "rtsp://h/x failed, ask me@example.com",
        "mqtt://[::1]:1883",
        "at 12:30:00 there were 2 objects",
        "cameras.door.password_file: the file does not exist",
        "gst://videotestsrc ! video/x-raw(memory:NVMM),width=640 ! appsink",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_uri(text) == text
    assert not holds_userinfo(text)


@given(
    scheme=st.sampled_from(["rtsp", "rtsps", "http", "mqtt"]),
    password=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), min_size=4),
    around=st.sampled_from(["{}", "cannot open {}: refused", "'{}'", "<{}>", "({})"]),
)
def test_no_password_survives(scheme: str, password: str, around: str) -> None:
    canary = f"c4nary{password}c4nary"
    text = around.format(f"{scheme}://user:{canary}@host:554/path")
    redacted = redact_uri(text)
    assert "c4nary" not in redacted or "://" in password
    registry = SecretRegistry()
    registry.add(canary)
    assert canary not in registry.redact(f"the password {canary} was refused")


def test_known_secrets_are_replaced_raw_and_encoded() -> None:
    registry = SecretRegistry()
    registry.add("p@s/s wörd")
    registry.add("hunter2")
    text = "hunter2 p@s/s wörd p%40s%2Fs%20w%C3%B6rd p%40s%2fs%20w%c3%b6rd p%40s%2Fs+w%C3%B6rd other"
    assert registry.redact(text) == " ".join([HIDDEN] * 5 + ["other"])


def test_a_secret_that_is_too_short_to_hide_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_password(Reference(password_env="A_PASSWORD"), "mqtt", {"A_PASSWORD": "abc"}) == "abc"
    assert caplog.messages == ["mqtt: the password has fewer than 4 characters: it cannot be hidden in logs"]
    caplog.clear()
    registry = SecretRegistry()
    registry.add("abc")
    assert registry.redact("abcdef") == "abcdef"
    assert not caplog.messages


def test_a_long_word_takes_no_longer_than_its_length() -> None:
    word = "x" * (1 << 20)  # from each of its letters looked at again, it would take an hour
    assert redact_uri(f"{word} rtsp://u:p@host {word}") == f"{word} rtsp://***@host {word}"


@pytest.mark.parametrize(
    "text", ["x" * (1 << 18), "a:" * (1 << 17), f"{'a' * (1 << 17)}'", "a://" * (1 << 14), "p:" * 1000 + "@x"]
)
def test_a_long_text_takes_no_longer_than_its_length(text: str) -> None:
    # Looked at again from each of its letters, each of these would take minutes, the log's lock held.
    began_s = time.thread_time()
    SecretRegistry().redact(text)
    assert holds_userinfo(text) in (True, False)
    assert time.thread_time() - began_s < 5


@given(st.text(alphabet="a:@'\" b[", max_size=20))
def test_userinfo_without_a_scheme_is_hidden_as_the_plain_pattern_says(text: str) -> None:
    plain = re.sub(r"[^\s/:@'\"]+:[^\s/@]+@(?=[\w\[])", f"{HIDDEN}@", text)  # takes the square of the length
    assert redact_uri(text) == plain


def test_control_characters_steer_no_terminal() -> None:
    assert SecretRegistry().redact("a\x1b[2J\x9b\r\x00b\tc\nd") == "a\\x1b[2J\\x9b\\x0d\\x00b\tc\nd"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cam1.password", True),
        ("mqtt-password", True),
        ("password", True),
        ("hunter2", False),
        ("correct horse", False),
        ("Tr0ub4dor&3", False),
        ("hunter/2", False),
    ],
)
def test_a_password_in_place_of_a_file_is_not_shown_by_its_path(
    tmp_path: Path, name: str, shown: bool
) -> None:
    message = _message(Reference(password_file=str(tmp_path / name)))  # as a configuration makes it absolute
    assert (name in message) is shown
    assert ("name not shown" in message) is not shown


@pytest.mark.parametrize(
    "uri",
    [
        "admin:LE/AK33@10.1.2.3",
        "admin:LE AK33@10.1.2.3",
        "a:LE b:AK33@10.1.2.3",
        "rtsp://admin: AK33@10.1.2.3/x",
        "rtsp://admin:LE  AK33 @10.1.2.3/x",
        "mqtt://admin: AK33@10.1.2.3",
        "rtsp:admin:AK33@10.1.2.3/x",
    ],
)
def test_a_user_in_an_address_of_any_form_is_refused_and_not_told(uri: str) -> None:
    for parse in (parse_camera_uri, parse_broker_uri):
        with pytest.raises(ConfigError) as caught:
            parse(uri)
        assert "AK33" not in str(caught.value)
        assert "LE" not in str(caught.value)
        assert "10.1.2.3" in str(caught.value)


def test_a_secret_is_known_as_json_spells_it() -> None:
    secret = 'p\u00e4"ss\\w/\U0001f600'
    registry = SecretRegistry()
    registry.add(secret)
    for text in (
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        json.dumps(secret).replace("/", "\\/"),
    ):
        assert registry.redact(text) == f'"{HIDDEN}"'
