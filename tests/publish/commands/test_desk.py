"""The desk: what it takes, what it leaves, and where its answers go."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.messages import FrameInfo
from edge_app.publish.commands import desk as module
from edge_app.publish.commands.command import (
    MAX_PAYLOAD_BYTES,
    CommandRefusedError,
    DisableCamera,
    Refusal,
    Reload,
    TakeSnapshot,
)
from edge_app.publish.commands.desk import CommandDesk
from edge_app.publish.commands.rate import RateLimit
from edge_app.publish.commands.registry import CommandRegistry, Outcome, Snapshot
from edge_app.publish.stamper import Stamper
from edge_app.publish.topics import Topics
from edge_app.publish.traffic import Answer, Received
from tests.brokers import until
from tests.publish.parts import BASE, check

REPLY = f"{BASE}/reply"


class Bench:
    """A desk with handlers that say what they were asked for."""

    def __init__(self, per_minute: int = 1000) -> None:
        self.commands: list[object] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.woken = 0
        registry = CommandRegistry()
        registry.add(DisableCamera, self._disable)
        registry.add(TakeSnapshot, self._snapshot)
        self.desk = CommandDesk(
            registry, Topics("edge", "node-1"), Stamper("node-1", "0" * 32), self._wake, per_minute
        )
        self.desk.start()

    def _wake(self) -> None:
        self.woken += 1

    def _disable(self, command: DisableCamera) -> Outcome:
        self.goes_on.wait(20)
        self.commands.append(command)
        if command.camera == "broken":
            raise ZeroDivisionError("a bug, with a canary-5 in it")
        if command.camera == "absent":
            raise CommandRefusedError(Refusal.UNKNOWN_CAMERA, "there is none")
        return Outcome("let go")

    def _snapshot(self, command: TakeSnapshot) -> Outcome:
        info = FrameInfo(command.camera, 41, 1, 1_700_000_000_000_000_000, 1920, 1080)
        return Outcome("taken", Snapshot(info, b"jpeg", 640, 360))

    def send(
        self,
        name: str,
        payload: bytes = b"",
        *,
        retained: bool = False,
        to: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        assert self.desk.received(Received(f"{BASE}/cmd/{name}", payload, retained, 0, to, correlation))

    def answer(self) -> tuple[Answer, dict[str, Any]]:
        """Wait for the next answer; check it against its schema."""
        taken: list[Answer] = []

        def take() -> bool:
            answer = self.desk.take()
            if answer is not None:
                taken.append(answer)
            return bool(taken)

        until(take, "an answer")
        payload = json.loads(taken[0].payload)
        check(payload)
        return taken[0], payload

    def error(self) -> tuple[str, str]:
        _, payload = self.answer()
        assert not payload["ok"]
        return payload["error"]["code"], payload["error"]["message"]


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(**options: int) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield begin
    for bench in made:
        bench.goes_on.set()
        bench.desk.stop()
        bench.desk.join(5)
        assert not bench.desk._thread.is_alive()


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make()


def test_answers_that_nobody_waits_for_any_more_are_not_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.send("camera/yard/disable")
    bench.send("camera/yard/disable")
    until(lambda: bench.woken == 2, "two answers")
    now_s = time.monotonic() + module.ANSWER_EXPIRY_S + 1  # there was no connection meanwhile
    with monkeypatch.context() as later:
        later.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s), raising=False)
        assert bench.desk.take() is None
    bench.send("camera/yard/disable", b'{"request_id": "new"}')
    _, payload = bench.answer()
    assert payload["request_id"] == "new"


def test_a_command_is_carried_out_and_answered(bench: Bench) -> None:
    bench.send("camera/yard/disable", b'{"request_id": "7"}')
    answer, payload = bench.answer()
    assert bench.commands == [DisableCamera(camera="yard", request_id="7")]
    assert (answer.topic, answer.qos, answer.retain, answer.correlation) == (REPLY, 1, False, None)
    assert (payload["command"], payload["request_id"], payload["ok"]) == ("camera/yard/disable", "7", True)
    assert (payload["result"], payload["error"], payload["seq"]) == ("let go", None, 0)
    assert bench.woken == 1


def test_other_topics_are_others_business(bench: Bench) -> None:
    assert not bench.desk.received(Received("homeassistant/status", b"online", False, 0))
    assert not bench.desk.received(Received(f"{BASE}/status", b"{}", False, 0))


def test_the_answer_goes_where_the_sender_waits(bench: Bench) -> None:
    bench.send("camera/yard/disable", to="panel/3/answers", correlation=b"\0\x01")
    answer, payload = bench.answer()
    assert (answer.topic, answer.correlation, payload["seq"]) == ("panel/3/answers", b"\0\x01", None)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "a/+/b",
        "#",
        "$SYS/x",
        "x" * 600,
        "edge/v1/node-2/cmd/camera/a/disable",
        f"{BASE}/status",
        REPLY + "x",
    ],
)
def test_it_does_not_speak_on_topics_that_mean_something(bench: Bench, topic: str) -> None:
    bench.send("camera/yard/disable", to=topic, correlation=b"1")
    answer, _ = bench.answer()
    assert (answer.topic, answer.correlation) == (REPLY, b"1")


def test_a_snapshot_comes_before_its_reply(bench: Bench) -> None:
    bench.send("snapshot/yard", b'{"request_id": "s"}')
    picture, payload = bench.answer()
    assert picture.topic == f"{BASE}/camera/yard/snapshot"
    assert (payload["frame_id"], payload["jpeg_base64"], payload["request_id"]) == (41, "anBlZw==", "s")
    assert (payload["frame"], payload["image"]) == (
        {"width": 1920, "height": 1080},
        {"width": 640, "height": 360},
    )
    assert bench.desk.take() is None
    bench.desk.confirmed(picture)
    _, reply = bench.answer()
    assert (reply["ok"], reply["result"], reply["request_id"]) == (True, "taken", "s")
    assert reply["snapshot_id"] == payload["id"]
    bench.desk.confirmed(picture)
    assert bench.desk.take() is None, "it is answered once"


@pytest.mark.parametrize(
    ("fate", "code", "words"),
    [
        (
            lambda desk, picture: desk.too_large(picture, "it has 9000 bytes, the broker takes 2500"),
            "too_large",
            "it has 9000 bytes, the broker takes 2500; ask for a smaller one (max_edge_px, quality)",
        ),
        (
            lambda desk, picture: desk.refused(picture, "not authorized"),
            "failed",
            f"the broker refuses the picture's topic {BASE}/camera/yard/snapshot: not authorized",
        ),
        (lambda desk, _: desk.disconnected(), "failed", "the connection to the broker broke before"),
    ],
)
def test_a_snapshot_that_does_not_arrive_is_no_success(
    bench: Bench, fate: Callable[[CommandDesk, Answer], None], code: str, words: str
) -> None:
    bench.send("snapshot/yard", b'{"request_id": "s"}', to="panel/answers", correlation=b"7")
    picture, _ = bench.answer()
    fate(bench.desk, picture)
    answer, reply = bench.answer()
    assert (answer.topic, answer.correlation) == ("panel/answers", b"7")
    assert (reply["ok"], reply["request_id"], reply["snapshot_id"]) == (False, "s", None)
    assert reply["error"]["code"] == code
    assert words in reply["error"]["message"]
    bench.desk.disconnected()
    assert bench.desk.take() is None, "it is answered once"


def test_refusals_say_what_was_wrong(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.send("camera/absent/disable", b'{"request_id": "9"}')
    _, payload = bench.answer()
    assert (payload["request_id"], payload["error"]["code"]) == ("9", "unknown_camera")
    bench.send("reboot")
    assert bench.error()[0] == "unknown_command"
    bench.send("snapshot/yard", b"{")
    assert bench.error()[0] == "bad_request"
    bench.send("reload")
    assert bench.error() == ("not_supported", "this version does not support 'reload' yet")
    bench.send("reload", b"x" * (MAX_PAYLOAD_BYTES + 1))
    assert bench.error()[0] == "too_large"
    assert "command 'reboot' refused" in caplog.text


def test_a_handler_with_a_fault_costs_its_command_only(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.send("camera/broken/disable")
    code, message = bench.error()
    assert (code, "ZeroDivisionError" in message, "canary" in message) == ("failed", True, False)
    assert "ZeroDivisionError: a bug" in caplog.text
    bench.send("camera/yard/disable")
    assert bench.answer()[1]["ok"]


def test_a_retained_command_is_ignored_and_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.send("camera/yard/disable", retained=True)
    bench.send("camera/gate/disable")
    assert bench.answer()[1]["command"] == "camera/gate/disable"
    assert bench.commands == [DisableCamera(camera="gate")]
    assert f"a retained command was ignored: {BASE}/cmd/camera/yard/disable" in caplog.text


def test_too_many_are_refused_and_few_of_them_answered(
    make: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    bench = make(per_minute=3)
    bench.goes_on.clear()
    for _ in range(500):
        bench.send("camera/yard/disable")
    codes = [bench.error()[0] for _ in range(module.MOST_ANSWERS)]
    assert set(codes) == {"rate_limited"}
    assert bench.desk.take() is None
    bench.goes_on.set()
    assert [bench.answer()[1]["ok"] for _ in range(3)] == [True] * 3
    assert len(bench.commands) == 3
    assert caplog.text.count("commands are refused: more than 3 commands in a minute") == 1


def test_it_does_not_pile_up_commands(bench: Bench) -> None:
    bench.goes_on.clear()
    for _ in range(module.MOST_WAITING + 4):
        bench.send("camera/yard/disable")
    assert bench.error()[0] == "busy"
    bench.goes_on.set()


def test_a_rate_is_not_saved_up() -> None:
    now_s = 0.0
    rate = RateLimit(6, lambda: now_s)
    assert [rate.allows() for _ in range(7)] == [True] * 6 + [False]
    now_s = 10.0
    assert [rate.allows() for _ in range(2)] == [True, False]
    now_s = 100_000.0
    assert sum(rate.allows() for _ in range(20)) == 6


def test_a_registry_calls_the_handler_of_the_kind() -> None:
    registry = CommandRegistry()
    registry.add(Reload, lambda command: Outcome(f"reloaded for {command.request_id}"))
    assert registry.carry_out(Reload(request_id="me")).words == "reloaded for me"


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)
@given(text, st.binary(max_size=100), st.none() | text, st.none() | st.binary(max_size=40))
def test_anything_gets_one_answer_that_its_schema_allows(
    name: str, payload: bytes, to: str | None, correlation: bytes | None
) -> None:
    logging.disable(logging.CRITICAL)
    shared = _fuzzed()
    try:
        shared.send(name, payload, to=to, correlation=correlation)
        answer, reply = shared.answer()
    finally:
        logging.disable(logging.NOTSET)
    assert reply["schema"] == "edge.command_reply/1.0"
    assert answer.correlation == correlation
    assert answer.topic in {REPLY, to}
    assert shared.desk.take() is None


_BENCHES: list[Bench] = []


def _fuzzed() -> Bench:
    if not _BENCHES:
        _BENCHES.append(Bench(per_minute=1_000_000))
    return _BENCHES[0]
