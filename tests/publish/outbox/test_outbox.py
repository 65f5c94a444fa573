"""The outbox between pipeline and connection: order, window, what is sent again, and what goes wrong."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_app.messages import DropReason
from edge_app.publish.outbox import outbox as module
from edge_app.publish.outbox import window
from edge_app.publish.outbox.outbox import Outbox, OutboxBounds
from edge_app.publish.outbox.store import OVERHEAD_BYTES, NewRow, OutboxStore
from edge_app.publish.outbox.window import StoredMessage
from tests.brokers import until


class Drops:
    def __init__(self) -> None:
        self.counts: Counter[DropReason] = Counter()

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        self.counts[reason] += count


class Bench:
    """Outboxes of one file, with what they tell."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox" / "node.db"
        self.drops = Drops()
        self.problems: list[str | None] = []
        self.now_s = 1000.0
        self.woken = threading.Event()
        self.opened: list[Outbox] = []

    def open(self, **bounds: float) -> Outbox:
        outbox = Outbox(
            self.path,
            OutboxBounds(**bounds),  # type: ignore[arg-type]
            synced=False,
            drops=self.drops,
            wake=self.woken.set,
            changed=self.problems.append,
            clock_s=lambda: self.now_s,
        )
        outbox.start()
        self.opened.append(outbox)
        return outbox


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(module, "TICK_S", 0.05)
    made = Bench(tmp_path)
    yield made
    for outbox in made.opened:
        outbox.stop()


def hanging(outbox: Outbox, name: str, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let a method of the open store hang until the event is set."""
    goes_on, original = threading.Event(), getattr(outbox._store, name)

    def hangs(*arguments: object) -> object:
        goes_on.wait(20)
        return original(*arguments)

    monkeypatch.setattr(outbox._store, name, hangs)
    return goes_on


def put(outbox: Outbox, *numbers: int) -> None:
    for number in numbers:
        outbox.put("gate", f"topic/{number % 3}", b'{"replayed":false,"n":%d}' % number)


def on_disk(outbox: Outbox, count: int) -> None:
    until(lambda: outbox._store is not None and outbox._store.count == count, f"{count} messages on disk")


def take(outbox: Outbox, count: int) -> list[StoredMessage]:
    taken: list[StoredMessage] = []

    def enough() -> bool:
        message = outbox.take()
        if message is not None:
            taken.append(message)
        return len(taken) == count

    until(enough, f"{count} messages to send")
    return taken


def number_of(message: StoredMessage) -> int:
    return int(message.payload.rpartition(b":")[2].rstrip(b"}"))


def is_replayed(message: StoredMessage) -> bool:
    return b'"replayed":true' in message.payload


def test_messages_go_in_order_a_window_at_a_time_and_are_gone_when_confirmed(bench: Bench) -> None:
    outbox = bench.open(window=4)
    put(outbox, *range(10))
    assert outbox.take() is None  # there is no connection
    outbox.connected()
    sent = take(outbox, 4)
    assert [number_of(message) for message in sent] == [0, 1, 2, 3]
    assert not any(is_replayed(message) for message in sent)
    assert {message.qos for message in sent} == {1}
    assert outbox.take() is None
    outbox.confirmed(sent[1])
    outbox.confirmed(sent[0])
    assert [number_of(message) for message in take(outbox, 2)] == [4, 5]
    on_disk(outbox, 8)
    assert bench.woken.is_set()


def test_a_new_connection_gets_what_was_not_confirmed_again_and_marked(bench: Bench) -> None:
    outbox = bench.open(window=4)
    put(outbox, *range(6))
    outbox.connected()
    first = take(outbox, 4)
    outbox.confirmed(first[2])
    outbox.disconnected()
    assert outbox.take() is None
    outbox.connected()
    again = take(outbox, 4)
    assert [(number_of(message), is_replayed(message)) for message in again] == [
        (0, True),
        (1, True),
        (3, True),
        (4, False),
    ]
    outbox.confirmed(first[0])  # of the connection before, by the same position: it has it
    assert [number_of(message) for message in take(outbox, 1)] == [5]


def test_another_process_goes_on_where_one_ended(bench: Bench) -> None:
    outbox = bench.open()
    put(outbox, *range(5))
    outbox.connected()
    for message in take(outbox, 5)[:2]:
        outbox.confirmed(message)
    on_disk(outbox, 3)
    outbox.stop()
    outbox = bench.open()
    put(outbox, 5)
    outbox.connected()
    found = take(outbox, 4)
    assert [(number_of(message), is_replayed(message)) for message in found] == [
        (2, True),
        (3, True),
        (4, True),
        (5, False),
    ]
    for message in found:
        outbox.confirmed(message)
    until(outbox.settled, "everything is confirmed")


def test_what_waits_in_memory_is_written_at_the_end(bench: Bench) -> None:
    outbox = bench.open()
    put(outbox, *range(3000))
    outbox.stop()
    assert OutboxStore(bench.path, synced=False).count == 3000
    assert not bench.drops.counts


def test_what_waited_long_is_marked_as_replayed(bench: Bench) -> None:
    outbox = bench.open()
    put(outbox, 1)
    on_disk(outbox, 1)
    bench.now_s += 60
    put(outbox, 2)
    outbox.connected()
    assert [is_replayed(message) for message in take(outbox, 2)] == [True, False]


def test_only_the_mark_is_changed(bench: Bench) -> None:
    outbox = bench.open()
    outbox.put("gate", "t", rb'{"camera":"\"replayed\":false","replayed":false,"n":1}')
    outbox.connected()
    take(outbox, 1)
    outbox.disconnected()
    outbox.connected()
    assert take(outbox, 1)[0].payload == rb'{"camera":"\"replayed\":false","replayed":true,"n":1}'


def test_the_oldest_goes_when_it_is_full_and_is_counted(bench: Bench) -> None:
    outbox = bench.open(max_bytes=50 * (25 + 7 + OVERHEAD_BYTES))
    put(outbox, *range(10, 90))
    until(lambda: bench.drops.counts[DropReason.OUTBOX_FULL] >= 30, "the oldest are dropped")
    outbox.connected()
    first = take(outbox, 1)[0]
    assert number_of(first) == 10 + bench.drops.counts[DropReason.OUTBOX_FULL]


def test_what_is_too_old_goes_and_is_counted(bench: Bench) -> None:
    outbox = bench.open(max_age_s=100)
    put(outbox, 1, 2)
    on_disk(outbox, 2)
    bench.now_s += 99
    put(outbox, 3)
    on_disk(outbox, 3)
    bench.now_s += 2
    until(lambda: bench.drops.counts[DropReason.OUTBOX_EXPIRED] == 2, "two are dropped")
    outbox.connected()
    assert number_of(take(outbox, 1)[0]) == 3


def test_a_topic_that_is_refused_is_left_alone_for_a_while_and_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = bench.open()
    put(outbox, 1, 2)
    outbox.connected()
    first, second = take(outbox, 2)
    monkeypatch.setattr(window, "REFUSED_PAUSE_S", 0.3)
    outbox.refused(first, "not authorized")
    assert outbox.problem == "the broker refuses topic topic/1: not authorized"
    assert outbox.take() is None
    outbox.confirmed(second)  # of another topic: it is not sent again
    (again,) = take(outbox, 1)
    assert (number_of(again), is_replayed(again)) == (1, True)
    assert outbox.problem == "the broker refuses topic topic/1: not authorized"
    outbox.confirmed(again)
    until(lambda: outbox.settled() and outbox.problem is None, "all is well again")
    assert bench.problems == ["the broker refuses topic topic/1: not authorized", None]


def test_what_one_broker_refused_is_sent_to_another_one_at_once(bench: Bench) -> None:
    outbox = bench.open()
    put(outbox, 1, 2)
    outbox.connected()
    first, _ = take(outbox, 2)
    outbox.refused(first, "not authorized")
    outbox.disconnected()
    outbox.connected()
    assert outbox.take() is None, "to the same one it is not, however often it is connected to"
    assert outbox.settled()
    outbox.disconnected()
    outbox.redirected()
    assert bench.problems[1:] == [None]
    assert not outbox.settled()
    outbox.connected()
    assert [number_of(message) for message in take(outbox, 2)] == [1, 2]


@pytest.mark.parametrize("broken", [b"no database at all" * 500, b""])
def test_a_file_that_is_no_outbox_is_set_aside_and_nothing_is_deleted(bench: Bench, broken: bytes) -> None:
    bench.path.parent.mkdir()
    bench.path.write_bytes(broken)
    outbox = bench.open()
    put(outbox, 1)
    on_disk(outbox, 1)
    kept = list(bench.path.parent.glob("node.db.damaged-*"))
    assert [path.read_bytes() for path in kept] == ([broken] if broken else [])


def test_a_file_that_breaks_while_it_is_used_is_set_aside(bench: Bench) -> None:
    outbox = bench.open()
    put(outbox, *range(500))
    on_disk(outbox, 500)
    assert outbox._store is not None
    outbox._store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bench.path.read_bytes()
    bench.path.write_bytes(b"\0" * len(content))

    def set_aside() -> bool:
        put(outbox, 7)
        return bool(list(bench.path.parent.glob("node.db.damaged-*")))

    until(set_aside, "it is set aside")
    outbox.connected()
    until(lambda: outbox.problem is None, "it works again")
    assert number_of(take(outbox, 1)[0]) == 7


def failing(store: OutboxStore, name: str, error: Exception) -> Callable[[], None]:
    """Let a call of the store fail until what is returned is called."""
    broken = True
    original = getattr(store, name)

    def call(*arguments: object) -> object:
        if broken:
            raise error
        return original(*arguments)

    def mend() -> None:
        nonlocal broken
        broken = False

    setattr(store, name, call)
    return mend


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.OperationalError("attempt to write a readonly database"),
    ],
)
def test_a_full_disk_is_told_and_counted_and_things_go_on_when_there_is_room(
    bench: Bench, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 20)
    outbox = bench.open()
    on_disk(outbox, 0)
    assert outbox._store is not None
    mend = failing(outbox._store, "append", error)
    put(outbox, *range(50))
    until(lambda: outbox.problem is not None, "the problem is told")
    assert str(error) in str(outbox.problem)
    put(outbox, *range(50, 100))
    assert 70 <= bench.drops.counts[DropReason.OUTBOX_UNWRITABLE] <= 80
    mend()
    until(lambda: outbox.problem is None, "it works again")
    dropped = bench.drops.counts[DropReason.OUTBOX_UNWRITABLE]
    on_disk(outbox, 100 - dropped)
    outbox.connected()
    assert number_of(take(outbox, 16)[-1]) <= 99


@pytest.mark.parametrize(
    "error", [sqlite3.DatabaseError("database disk image is malformed"), ZeroDivisionError("a bug")]
)
def test_a_file_that_cannot_be_read_is_opened_anew_by_the_thread_that_writes(
    bench: Bench, error: Exception
) -> None:
    outbox = bench.open()
    put(outbox, 1, 2)
    on_disk(outbox, 2)
    store = outbox._store
    assert store is not None
    failing(store, "after", error)
    outbox.connected()

    taken: list[StoredMessage] = []

    def opened_anew() -> bool:
        # Asked again and again, as by a connection: while the bounds are kept nothing is taken.
        if (message := outbox.take()) is not None:
            taken.append(message)
        return outbox._store is not None and outbox._store is not store

    until(opened_anew, "it is opened anew")
    assert [number_of(message) for message in (*taken, *take(outbox, 2 - len(taken)))] == [1, 2]
    until(lambda: bench.problems[1:] == [None], "it works again")
    assert str(error) in str(bench.problems[0])


def test_room_on_the_disk_is_left_for_what_deletes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = bench.open()
    put(outbox, 1, 2)
    on_disk(outbox, 2)
    free = [0]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    put(outbox, 3)
    until(lambda: outbox.problem is not None, "the problem is told")
    assert "the disk is full: 0 MiB are free" in str(outbox.problem)
    assert not outbox.writable
    outbox.connected()
    for message in take(outbox, 2):
        outbox.confirmed(message)
    on_disk(outbox, 0)  # it drains all the same
    free[0] = 1 << 30
    until(lambda: outbox.writable and outbox.problem is None, "it works again")
    assert [number_of(message) for message in take(outbox, 1)] == [3]


def test_a_disk_that_hangs_holds_up_a_producer_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 5)
    monkeypatch.setattr(module, "STALL_S", 0.2)
    outbox = bench.open()
    on_disk(outbox, 0)
    goes_on = hanging(outbox, "append", monkeypatch)
    began_s = time.monotonic()
    for number in range(60):
        outbox.put("gate", "t", b"%d" % number, wait=True)
    assert time.monotonic() - began_s < 5  # and not 0.2 s for each
    goes_on.set()
    dropped = bench.drops.counts[DropReason.OUTBOX_UNWRITABLE]
    on_disk(outbox, 60 - dropped)


@pytest.mark.parametrize("looks", ["put", "take"])
def test_a_disk_that_hangs_is_told_of_until_it_answers(
    bench: Bench, looks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANGS_S", 0.4)
    outbox = bench.open()
    on_disk(outbox, 0)
    goes_on = hanging(outbox, "append", monkeypatch)
    put(outbox, 0)

    def told() -> bool:
        if looks == "put":
            put(outbox, 1)
        else:
            outbox.take()
        return outbox.problem is not None

    assert not told(), "not at once"
    until(told, "the trouble is told")
    assert "the disk has not answered for" in (outbox.problem or "")
    assert not outbox.writable, "what comes goes out live"
    assert bench.problems == [outbox.problem]
    goes_on.set()
    until(lambda: outbox.writable and outbox.problem is None, "it works again")
    assert bench.problems[1:] == [None]


def test_a_disk_that_hangs_in_reading_alone_is_told_of_until_it_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANGS_S", 0.4)
    outbox = bench.open()
    put(outbox, 0, 1)
    on_disk(outbox, 2)
    goes_on = hanging(outbox, "after", monkeypatch)
    outbox.connected()

    def told() -> bool:
        outbox.take()
        return outbox.problem is not None

    until(told, "the trouble is told")
    assert "the disk has not answered who reads for" in (outbox.problem or "")
    assert outbox.writable, "what comes is kept"
    goes_on.set()
    until(lambda: outbox.problem is None, "it works again")
    assert len(bench.problems) == 2
    assert [number_of(message) for message in take(outbox, 2)] == [0, 1]


def test_a_disk_that_is_slow_and_answers_is_not_told_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look through a large file takes long, and after a power cut an SD card has to."""
    monkeypatch.setattr(module, "HANGS_S", 1.0)
    outbox = bench.open()
    on_disk(outbox, 0)
    assert outbox._store is not None
    original = outbox._store.append

    def reads_for_long(rows: Sequence[NewRow]) -> None:
        until_s = time.monotonic() + 2.5
        while time.monotonic() < until_s:
            bench.path.read_bytes()
            time.sleep(0.05)
        original(rows)

    monkeypatch.setattr(outbox._store, "append", reads_for_long)
    put(outbox, 0)

    def written() -> bool:
        outbox.take()
        return outbox.state().messages == 1 and outbox.state().waiting == 0

    until(written, "it is written")
    assert not bench.problems


def test_what_has_expired_is_not_sent_however_much_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor while the broker takes all that it gets, and what waits in memory is written in between."""
    monkeypatch.setattr(module, "CHUNKS", 1)
    outbox = bench.open()
    put(outbox, *range(3000))
    on_disk(outbox, 3000)
    outbox.stop()
    bench.now_s += 1000
    outbox = bench.open(max_age_s=60, window=16)
    outbox.connected()
    put(outbox, 1, 2, 3)
    sent: list[StoredMessage] = []

    def goes_on() -> bool:
        while (message := outbox.take()) is not None:
            sent.append(message)
            outbox.confirmed(message)
        expired = bench.drops.counts[DropReason.OUTBOX_EXPIRED]
        return expired + len(sent) == 3003

    until(goes_on, "all has gone")
    assert len(sent) <= 3


def test_an_outbox_that_has_ended_keeps_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = bench.open()
    on_disk(outbox, 0)

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(outbox, "_work", fail)
    put(outbox, 1)
    until(lambda: "it has ended" in (outbox.problem or ""), "it has ended")
    put(outbox, 2, 3)
    assert outbox.state().messages == 0
    assert bench.drops.counts == {DropReason.OUTBOX_UNWRITABLE: 3}


@pytest.mark.parametrize("failed", [False, True])
def test_a_disk_that_answers_again_is_told_of_before_its_work_is_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failed: bool
) -> None:
    """What went wrong before is then told again: nothing has shown yet that it is over."""
    monkeypatch.setattr(module, "HANGS_S", 0.4)
    outbox = bench.open()
    on_disk(outbox, 0)
    assert outbox._store is not None
    original, answers, done = outbox._store.append, threading.Event(), threading.Event()
    to_fail = [failed]

    def append(rows: list[NewRow]) -> None:
        if to_fail.pop():
            to_fail.append(False)
            raise sqlite3.OperationalError("the disk is full")
        to_fail.append(False)
        answers.wait(20)
        while not done.wait(0.02):  # it is long work, but each of its calls comes back
            Path("/proc/self/stat").read_bytes()
        original(rows)

    monkeypatch.setattr(outbox._store, "append", append)

    def looks(words: str) -> Callable[[], bool]:
        def look() -> bool:
            put(outbox, 1)
            return words in (outbox.problem or "none") and outbox.writable == (words == "none")

        return look

    put(outbox, 0)
    until(looks("has not answered"), "the disk does not answer")
    answers.set()
    until(looks("the disk is full" if failed else "none"), "it does again")
    done.set()
    until(looks("none"), "all is written")


def test_what_is_put_after_the_end_is_counted(bench: Bench) -> None:
    outbox = bench.open()
    outbox.stop()
    put(outbox, 1)
    assert bench.drops.counts == {DropReason.OUTBOX_UNWRITABLE: 1}


def test_what_is_on_its_way_is_not_counted_as_dropped(bench: Bench) -> None:
    outbox = bench.open(max_bytes=20 * (24 + 7 + OVERHEAD_BYTES), window=4)
    put(outbox, *range(1, 6))
    on_disk(outbox, 5)
    outbox.connected()
    sent = take(outbox, 4)
    put(outbox, *range(6, 10), *range(6, 10), *range(6, 10), *range(6, 10), *range(6, 10))
    until(lambda: bench.drops.counts[DropReason.OUTBOX_FULL] == 5, "the oldest that wait are dropped")
    for message in sent:
        outbox.confirmed(message)
    on_disk(outbox, 16)


@pytest.mark.parametrize("bound", ["drop_older", "drop_beyond"])
def test_what_is_taken_while_the_bounds_are_looked_at_is_not_dropped(
    bench: Bench, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = bench.open(max_bytes=10 * (24 + 7 + OVERHEAD_BYTES), max_age_s=60, window=4)
    put(outbox, *range(8))
    on_disk(outbox, 8)
    outbox.connected()
    store = outbox._store
    assert store is not None
    original = getattr(store, bound)
    dropped, lost = Counter[str](), set[int]()

    def beside_a_connection_that_is_quick(*arguments: float, above: int) -> Iterator[Counter[str]]:
        taken = set()
        while (message := outbox.take()) is not None:
            taken.add(message.position)
        for gone in original(*arguments, above=above):
            lost.update(taken - {row.position for row in store.after(0, 100)})
            dropped.update(gone)
            yield gone

    monkeypatch.setattr(store, bound, beside_a_connection_that_is_quick)
    if bound == "drop_older":
        bench.now_s += 61
    else:
        put(outbox, *range(8, 16))
    until(lambda: dropped.total() > 0, "the oldest go")
    assert not lost, "what is on its way is kept until it is confirmed, and not counted as dropped"


@pytest.mark.parametrize("bound", ["drop_beyond", "drop_older"])
def test_what_went_before_the_disk_failed_is_counted_and_not_sent(
    bench: Bench, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = bench.open(max_bytes=700 * (24 + 7 + OVERHEAD_BYTES), max_age_s=60)
    put(outbox, *range(100, 700))
    on_disk(outbox, 600)
    outbox.connected()
    take(outbox, 1)  # which reads others ahead
    store = outbox._store
    assert store is not None
    drop, calls = store._drop, Counter[str]()

    def fails_after_the_first(above: int, through: int) -> Counter[str]:
        calls["drop"] += 1
        if calls["drop"] == 2:
            raise sqlite3.OperationalError("database or disk is full")
        return drop(above, through)

    monkeypatch.setattr(store, "_drop", fails_after_the_first)
    if bound == "drop_beyond":
        outbox._bounds = OutboxBounds(max_bytes=0)
        reason = DropReason.OUTBOX_FULL
    else:
        bench.now_s += 61
        reason = DropReason.OUTBOX_EXPIRED
    until(lambda: calls["drop"] > 1, "the disk fails")
    until(lambda: bench.drops.counts[reason] == 599, "all are counted")
    assert outbox.take() is None


def test_rows_are_not_written_twice_when_what_follows_fails(bench: Bench) -> None:
    outbox = bench.open()
    on_disk(outbox, 0)
    assert outbox._store is not None
    mend = failing(outbox._store, "drop_beyond", sqlite3.OperationalError("database or disk is full"))
    put(outbox, 1, 2)
    until(lambda: outbox.problem is not None, "the problem is told")
    mend()
    until(lambda: outbox.problem is None, "it works again")
    on_disk(outbox, 2)


def test_a_fault_of_our_own_does_not_end_it(bench: Bench) -> None:
    outbox = bench.open()
    on_disk(outbox, 0)
    assert outbox._store is not None
    failing(outbox._store, "append", ZeroDivisionError("a bug"))
    put(outbox, 1)
    until(lambda: bool(bench.problems), "the problem is told")
    until(lambda: outbox.problem is None, "a new store works")
    on_disk(outbox, 1)


def test_two_processes_cannot_share_a_file(bench: Bench) -> None:
    first = bench.open()
    on_disk(first, 0)
    second = bench.open()
    put(second, 1)
    until(lambda: second.problem is not None, "the problem is told")
    assert f"{bench.path.with_suffix('.lock')} is held by process {os.getpid()} " in str(second.problem)
    first.stop()
    on_disk(second, 1)


def test_a_directory_that_cannot_be_made_is_told(bench: Bench) -> None:
    bench.path.parent.write_text("a file")
    outbox = bench.open()
    put(outbox, 1)
    until(lambda: outbox.problem is not None, "the problem is told")
    why = f"its directory cannot be made: {bench.path.parent} is not a directory"
    assert outbox.problem == f"outbox {bench.path}: {why}"
    outbox.stop()
    assert bench.drops.counts == {DropReason.OUTBOX_UNWRITABLE: 1}


def test_a_directory_in_its_place_is_told(bench: Bench) -> None:
    bench.path.mkdir(parents=True)
    outbox = bench.open()
    put(outbox, 1)
    until(lambda: outbox.problem is not None, "the problem is told")
    assert outbox.problem == f"outbox {bench.path}: is a directory"


def test_other_columns_are_set_aside(bench: Bench) -> None:
    bench.path.parent.mkdir()
    with sqlite3.connect(bench.path) as database:
        database.executescript("CREATE TABLE messages (position, topic, text); PRAGMA user_version = 1")
        database.execute("INSERT INTO messages VALUES (1, 't', 'kept')")
    database.close()
    outbox = bench.open()
    put(outbox, 1)
    on_disk(outbox, 1)
    (kept,) = bench.path.parent.glob("node.db.damaged-*")
    with sqlite3.connect(kept) as database:
        assert database.execute("SELECT text FROM messages").fetchall() == [("kept",)]
    database.close()


DISK_CALLS = ("append", "delete", "set_aside", "drop_beyond", "drop_older", "after", "close")


@pytest.mark.parametrize("names", [DISK_CALLS, ("after",), ("append",), ("close",)])
def test_a_disk_that_hangs_holds_up_none_of_those_who_ask(
    bench: Bench, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = bench.open(window=4)
    put(outbox, *range(200))
    on_disk(outbox, 200)
    hanging, goes_on = Counter[str](), threading.Event()

    def hangs(name: str) -> Callable[..., object]:
        original = getattr(OutboxStore, name)

        def call(*arguments: object, **options: object) -> object:
            hanging[name] += 1
            goes_on.wait(20)
            return original(*arguments, **options)

        return call

    for name in names:
        monkeypatch.setattr(OutboxStore, name, hangs(name))
    try:
        began_s = time.monotonic()
        outbox.connected()
        sent = [message for _ in range(50) if (message := outbox.take()) is not None]
        put(outbox, 200)
        for message in sent:
            outbox.confirmed(message)
        if names == ("close",):
            outbox._read_failed(sqlite3.DatabaseError("it is damaged"))
        took_s = time.monotonic() - began_s
        until(lambda: hanging[names[0]], "the disk hangs")
        began_s = time.monotonic()
        for _ in range(20):
            outbox.take()
            outbox.state()
            outbox.settled()
            put(outbox, 201)
        outbox.disconnected()
        outbox.connected()
        assert outbox.state().messages >= 20
        took_s += time.monotonic() - began_s
        assert took_s < 1
        began_s = time.monotonic()
        outbox.stop(0.3)
        assert time.monotonic() - began_s < 1.5, "it ends in time, or is left behind"
    finally:
        goes_on.set()


def test_its_state_is_told(bench: Bench) -> None:
    outbox = bench.open()
    put(outbox, 1, 2)
    on_disk(outbox, 2)
    bench.now_s += 7
    state = outbox.state()
    assert (state.messages, state.oldest_s, state.problem) == (2, 7, None)
    assert state.size_bytes == 2 * (24 + 7 + OVERHEAD_BYTES)
