"""The outbox's file: order, bounds, ages, and files that cannot be used."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge_app.publish.outbox import store as module
from edge_app.publish.outbox.store import OVERHEAD_BYTES, NewRow, OutboxStore, UnusableStoreError


class Clocks:
    def __init__(self) -> None:
        self.boot_s, self.unix_s, self.synced = 1000.0, 1.7e9, True


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def open_store(path: Path, clocks: Clocks | None = None, *, synced: bool = False) -> OutboxStore:
    if clocks is None:
        return OutboxStore(path, synced=synced)
    return OutboxStore(
        path,
        synced=synced,
        clock_s=lambda: clocks.boot_s,
        unix_s=lambda: clocks.unix_s,
        clock_synced=lambda: clocks.synced,
    )


def rows(*numbers: int, camera: str = "gate", size: int = 4) -> list[NewRow]:
    return [NewRow("t", camera, b"%0*d" % (size, number)) for number in numbers]


def payloads(store: OutboxStore) -> list[int]:
    return [int(row.payload) for row in store.after(0, 1000)]


def total(dropped: Iterable[Counter[str]]) -> Counter[str]:
    return sum(dropped, Counter())


@pytest.mark.parametrize("synced", [False, True])
def test_what_was_appended_is_there_after_opening_again(tmp_path: Path, synced: bool) -> None:
    store = open_store(tmp_path / "o.db", synced=synced)
    store.append(rows(1, 2))
    store.append(rows(3))
    store.delete([row.position for row in store.after(0, 1)])
    store.close()
    store.close()
    store = open_store(tmp_path / "o.db", synced=synced)
    assert payloads(store) == [2, 3]
    assert (store.count, store.size_bytes) == (2, 2 * (5 + OVERHEAD_BYTES))
    assert [row.position for row in store.after(2, 10)] == [3]
    store.close()


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "o.db")
    store.append(rows(1))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()


def test_positions_are_never_used_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "o.db")
    store.append(rows(1, 2))
    store.delete([1, 2, 77])
    assert (store.count, store.size_bytes) == (0, 0)
    store.close()
    store = open_store(tmp_path / "o.db")
    store.append(rows(3))
    assert [row.position for row in store.after(0, 10)] == [3]
    store.close()


def test_the_oldest_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    store = open_store(tmp_path / "o.db")
    store.append(rows(*range(600), camera="a") + rows(*range(600, 1000), camera="b"))
    one = 5 + OVERHEAD_BYTES
    assert total(store.drop_beyond(1000 * one)) == {}
    assert total(store.drop_beyond(300 * one + one // 2)) == {"a": 600, "b": 100}
    assert payloads(store) == list(range(700, 1000))
    assert store.size_bytes == 300 * one
    store.close()


@pytest.mark.parametrize("bound", ["drop_beyond", "drop_older"])
def test_a_whole_backlog_goes_a_few_rows_at_a_time(tmp_path: Path, clocks: Clocks, bound: str) -> None:
    store = open_store(tmp_path / "o.db", clocks)
    store.append(rows(*range(600)))
    clocks.boot_s += 1
    assert [gone.total() for gone in getattr(store, bound)(0)] == [256, 256, 88]
    assert (store.count, store.size_bytes, store.oldest_s()) == (0, 0, None)
    store.close()


def test_what_is_too_old_goes_whatever_the_clock_on_the_wall_does(tmp_path: Path, clocks: Clocks) -> None:
    store = open_store(tmp_path / "o.db", clocks)
    for number in range(5):
        store.append(rows(number))
        clocks.boot_s += 10
        clocks.unix_s += 10 + (86400 if number % 2 else -86400)
    assert store.oldest_s() == 50
    assert total(store.drop_older(50)) == {}
    assert total(store.drop_older(25)) == {"gate": 3}
    assert payloads(store) == [3, 4]
    assert total(store.drop_older(0)) == {"gate": 2}
    assert store.oldest_s() is None
    store.close()


def test_after_a_restart_of_the_machine_ages_go_on(
    tmp_path: Path, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "boot_id", lambda: "first")
    store = open_store(tmp_path / "o.db", clocks)
    store.append(rows(1))
    clocks.unix_s += 500
    store.append(rows(2))
    store.close()
    clocks.unix_s, clocks.boot_s = clocks.unix_s + 100, 3.0
    monkeypatch.setattr(module, "boot_id", lambda: "second")
    store = open_store(tmp_path / "o.db", clocks)
    assert store.oldest_s() == 600
    assert total(store.drop_older(300)) == {"gate": 1}
    clocks.unix_s -= 86400  # stepped back since: never younger than new
    store.close()
    monkeypatch.setattr(module, "boot_id", lambda: "third")
    store = open_store(tmp_path / "o.db", clocks)
    assert store.oldest_s() == 0
    store.close()


def test_counting_on_ages_needs_little_room_on_the_disk_and_goes_on_where_it_ended(
    tmp_path: Path, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outbox may have filled the disk; what is not through when the power fails is begun again."""
    monkeypatch.setattr(module, "boot_id", lambda: "first")
    store = open_store(tmp_path / "o.db", clocks)
    for start in range(0, 6000, 200):
        store.append(rows(*range(start, start + 200), size=3600))
    store.close()
    with sqlite3.connect(tmp_path / "o.db") as database:
        database.execute("UPDATE messages SET boot = 'second', stored_s = 7 WHERE position <= 1000")
    database.close()
    clocks.unix_s, clocks.boot_s = clocks.unix_s + 100, 3.0
    monkeypatch.setattr(module, "boot_id", lambda: "second")
    store = open_store(tmp_path / "o.db", clocks)
    assert (tmp_path / "o.db").stat().st_size > 20 << 20
    assert (tmp_path / "o.db-wal").stat().st_size < 8 << 20
    found = store._reader.execute("SELECT boot, stored_s, count(*) FROM messages GROUP BY 1, 2 ORDER BY 2")
    assert found.fetchall() == [("second", -97.0, 5000), ("second", 7.0, 1000)]
    store.close()


def test_a_clock_that_was_not_set_loses_nothing(
    tmp_path: Path, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "boot_id", lambda: "first")
    clocks.unix_s, clocks.synced = 100.0, False  # no battery, no network: 1970
    store = open_store(tmp_path / "o.db", clocks)
    store.append(rows(1))
    store.close()
    clocks.unix_s, clocks.synced = 1.8e9, True
    monkeypatch.setattr(module, "boot_id", lambda: "second")
    store = open_store(tmp_path / "o.db", clocks)
    assert total(store.drop_older(86400)) == {}
    assert payloads(store) == [1]
    store.close()


def test_what_is_on_its_way_is_not_dropped(tmp_path: Path, clocks: Clocks) -> None:
    store = open_store(tmp_path / "o.db", clocks)
    store.append(rows(1, 2, 3, 4))
    clocks.boot_s += 100
    assert total(store.drop_beyond(OVERHEAD_BYTES, above=2)) == {"gate": 2}
    assert total(store.drop_older(50, above=1)) == {"gate": 1}
    assert payloads(store) == [1]
    assert total(store.drop_beyond(0, above=1)) == {}
    store.close()


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "no database":
        path.write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "bits flipped":
        middle = len(content) // 2
        content[middle : middle + 512] = bytes(byte ^ 0xFF for byte in content[middle : middle + 512])
        path.write_bytes(content)
    else:
        changes = {
            "newer": "PRAGMA user_version = 99",
            "a column less": "ALTER TABLE messages DROP COLUMN clock_synced",
            "a column more": "ALTER TABLE messages ADD COLUMN colour TEXT",
            "no table": "DROP TABLE messages",
        }
        with sqlite3.connect(path) as database:
            database.execute(changes[how])
        database.close()


@pytest.mark.parametrize(
    "how", ["no database", "truncated", "bits flipped", "newer", "a column less", "a column more", "no table"]
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "o.db"
    store = open_store(path)
    for number in range(200):
        store.append(rows(number, size=400))
    store.close()
    damage(path, how)
    with pytest.raises(UnusableStoreError):
        open_store(path)


def test_what_never_goes_out_is_set_aside_with_the_reason(tmp_path: Path) -> None:
    store = open_store(tmp_path / "o.db")
    store.append(rows(1, 2, camera="a") + rows(3, camera="b"))
    assert store.set_aside({1: "too large", 3: "too large", 77: "it is not there"}) == {"a": 1, "b": 1}
    assert payloads(store) == [2]
    assert (store.count, store.size_bytes) == (1, 5 + OVERHEAD_BYTES)
    store.close()
    with sqlite3.connect(tmp_path / "o.db") as database:
        found = database.execute("SELECT position, camera, payload, reason FROM set_aside").fetchall()
    database.close()
    assert found == [(1, "a", b"0001", "too large"), (3, "b", b"0003", "too large")]


def test_what_is_set_aside_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ASIDE_BYTES", 3 * (5 + OVERHEAD_BYTES))
    store = open_store(tmp_path / "o.db")
    store.append(rows(*range(10)))
    store.set_aside({1: "x", 2: "x"})
    store.close()
    store = open_store(tmp_path / "o.db")
    assert store.set_aside({3: "x", 4: "x", 5: "x"}) == {"gate": 3}
    store.close()
    with sqlite3.connect(tmp_path / "o.db") as database:
        assert [row[0] for row in database.execute("SELECT position FROM set_aside")] == [3, 4, 5]
    database.close()


def test_a_file_of_before_gets_the_second_table(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    store = open_store(path)
    store.append(rows(1))
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE set_aside")
    database.close()
    store = open_store(path)
    assert store.set_aside({1: "too large"}) == {"gate": 1}
    store.close()
