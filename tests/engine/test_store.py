"""Engines on disk: found, damaged, unsafe, succeeded."""

import hashlib
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.engine.durable import temporary_name
from edge_app.engine.errors import DamagedEngineError, UnsafeStoreError
from edge_app.engine.housekeeping import find_removable
from edge_app.engine.identity import DeviceFacts, EngineIdentity
from edge_app.engine.manifest import EngineState, Manifest, read_manifest
from edge_app.engine.options import BuildOptions, Precision, Profile
from edge_app.engine.store import EngineStore, StoredEngine


@pytest.fixture
def identity(device: DeviceFacts) -> EngineIdentity:
    return EngineIdentity("a" * 64, device, Precision.FP16, Profile(64, 64, 1, 2, 4))


def describe(
    identity: EngineIdentity, plan: bytes, *, name: str = "demo", at: str = "2026-01-01"
) -> Manifest:
    return Manifest(
        name=name,
        identity=identity,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        build_s=1.5,
        created_at=f"{at}T00:00:00+00:00",
        serving={"labels": ["person"]},
    )


def add(store: EngineStore, manifest: Manifest, plan: bytes) -> StoredEngine:
    path = temporary_name(store.directory / "plan")
    path.write_bytes(plan)
    return store.put(path, manifest)


def add_good(
    store: EngineStore, identity: EngineIdentity, plan: bytes, at: str = "2026-01-01"
) -> StoredEngine:
    return store.accept(add(store, describe(identity, plan, at=at), plan), {"verified": True})


def test_an_engine_is_found_once_it_is_accepted(store: EngineStore, identity: EngineIdentity) -> None:
    candidate = add(store, describe(identity, b"plan"), b"plan")
    lookup = store.find("demo", identity)
    assert lookup.engine is None
    assert lookup.reasons == (f"{candidate.plan_path.name}: it is candidate, not verified as good",)
    accepted = store.accept(candidate, {"verified": True, "match_rate": 1.0})
    found = store.find("demo", identity).engine
    assert found == accepted
    assert store.read(accepted) == b"plan"
    assert candidate.plan_path.name.startswith(f"demo-fp16-{identity.digest[:12]}-")


def test_the_plan_lies_raw_beside_its_manifest(store: EngineStore, identity: EngineIdentity) -> None:
    engine = add_good(store, identity, b"\x00plan as TensorRT wrote it")
    assert engine.plan_path.read_bytes() == b"\x00plan as TensorRT wrote it"
    manifest = json.loads(engine.manifest_path.read_text())
    assert manifest["identity"]["device"]["tensorrt"] == "8.6.0"
    assert manifest["serving"] == {"labels": ["person"]}
    assert manifest["state"] == "good"


def test_a_mismatch_names_what_differs(store: EngineStore, identity: EngineIdentity) -> None:
    engine = add_good(store, identity, b"plan")
    wanted = replace(identity, device=replace(identity.device, tensorrt="10.3.0"))
    assert store.find("demo", wanted).reasons == (
        f"{engine.plan_path.name}: built for TensorRT 8.6.0, this is 10.3.0",
    )
    assert store.find("other", wanted).reasons == ()


def test_a_refused_engine_is_never_found(store: EngineStore, identity: EngineIdentity) -> None:
    store.refuse(add(store, describe(identity, b"plan"), b"plan"), {"faults": ["too far"]})
    assert store.find("demo", identity).engine is None
    assert store.last_good("demo", identity) is None
    assert store.matching(identity)[EngineState.REFUSED].manifest.verification == {"faults": ["too far"]}


def test_the_last_good_engine_stays_until_its_successor_is_good(
    store: EngineStore, identity: EngineIdentity
) -> None:
    old = add_good(store, identity, b"old")
    changed = replace(identity, model_sha256="b" * 64)
    candidate = add(store, describe(changed, b"new", at="2026-02-01"), b"new")
    assert store.last_good("demo", changed) == old
    refused = store.refuse(candidate, {})
    assert store.last_good("demo", changed) == old
    new = store.accept(refused, {})
    assert [engine.plan_path for engine in store.engines()] == [new.plan_path]
    assert not old.plan_path.exists()


def test_only_what_runs_here_is_a_last_good_engine(store: EngineStore, identity: EngineIdentity) -> None:
    add_good(store, identity, b"old")
    elsewhere = replace(identity, model_sha256="b" * 64, device=replace(identity.device, tensorrt="10.3.0"))
    assert store.last_good("demo", elsewhere) is None


def test_other_precisions_profiles_and_options_live_side_by_side(
    store: EngineStore, identity: EngineIdentity
) -> None:
    add_good(store, identity, b"1")
    add_good(store, replace(identity, precision=Precision.FP32), b"2")
    add_good(store, replace(identity, profile=Profile(64, 64, 1, 1, 1)), b"3")
    add_good(store, replace(identity, options=BuildOptions(optimization_level=5)), b"4")
    assert len(store.engines()) == 4


def test_a_changed_plan_is_not_given_out(
    store: EngineStore, identity: EngineIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    engine = add_good(store, identity, b"plan")
    engine.plan_path.write_bytes(b"plam")
    with pytest.raises(DamagedEngineError, match=r"not the plan that was built.*build the engine again"):
        store.read(engine)
    assert store.find("demo", identity).engine is None
    assert engine.plan_path.with_name(engine.plan_path.name + ".damaged").read_bytes() == b"plam"
    assert "set aside" in caplog.text


def test_a_missing_plan_is_told(store: EngineStore, identity: EngineIdentity) -> None:
    engine = add_good(store, identity, b"plan")
    engine.plan_path.unlink()
    with pytest.raises(DamagedEngineError, match="found nothing"):
        store.read(engine)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a manifest of an engine"),
        (b"{", "not a manifest of an engine"),
        (b"[]", "its format is not edge-app.engine/1"),
        (b'{"format": "edge-app.engine/1"}', "'identity' is missing"),
        (b"\xff\xfe", "not a manifest of an engine"),
    ],
)
def test_a_damaged_manifest_is_explained_and_set_aside(
    store: EngineStore, identity: EngineIdentity, caplog: pytest.LogCaptureFixture, content: bytes, words: str
) -> None:
    engine = add_good(store, identity, b"plan")
    engine.manifest_path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert store.engines() == []
    assert words in caplog.text
    aside = engine.manifest_path.with_name(engine.manifest_path.name + ".damaged")
    assert aside.read_bytes() == content


def test_a_manifest_of_another_engine_is_noticed(
    store: EngineStore, identity: EngineIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    engine = add_good(store, identity, b"plan")
    values = json.loads(engine.manifest_path.read_text())
    values["identity"]["device"]["tensorrt"] = "10.3.0"
    engine.manifest_path.write_text(json.dumps(values))
    assert store.engines() == []
    assert "one of them was changed" in caplog.text


def test_the_same_plan_again_changes_nothing(store: EngineStore, identity: EngineIdentity) -> None:
    engine = add_good(store, identity, b"plan")
    assert add(store, describe(identity, b"plan", at="2026-03-01"), b"plan") == engine
    assert [path.suffix for path in store.directory.iterdir()].count(".engine") == 1


def test_leftovers_are_what_no_engine_needs(store: EngineStore, identity: EngineIdentity) -> None:
    engine = add_good(store, identity, b"plan")
    orphan = store.directory / f"demo-fp16-{identity.digest[:12]}-01234567.engine"
    orphan.write_bytes(b"killed before its manifest")
    unfinished = temporary_name(store.directory / "plan")
    unfinished.write_bytes(b"half")
    damaged = orphan.with_name(f"{orphan.stem}.json.damaged")
    damaged.write_bytes(b"")
    assert set(store.leftovers()) == {orphan, unfinished, damaged}
    assert set(store.leftovers(damaged=False)) == {orphan, unfinished}
    store.discard(store.leftovers())
    assert store.read(engine) == b"plan"
    assert store.leftovers() == []


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "engines"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(UnsafeStoreError, match=r"others may write to it.*engine is code.*chmod go-w"):
        EngineStore(directory)


def test_a_plan_that_others_may_write_to_is_refused(store: EngineStore, identity: EngineIdentity) -> None:
    engine = add_good(store, identity, b"plan")
    engine.plan_path.chmod(0o666)
    with pytest.raises(UnsafeStoreError, match="others may write to it"):
        store.read(engine)


def test_a_link_is_no_plan(store: EngineStore, identity: EngineIdentity, tmp_path: Path) -> None:
    engine = add_good(store, identity, b"plan")
    engine.plan_path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"plan")
    engine.plan_path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeStoreError, match="a link"):
        store.read(engine)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_plan_of_another_user_is_refused(store: EngineStore, identity: EngineIdentity) -> None:
    engine = add_good(store, identity, b"plan")
    os.chown(engine.plan_path, 12345, -1)
    with pytest.raises(UnsafeStoreError, match="belongs to user 12345"):
        store.read(engine)


@pytest.mark.parametrize(
    "url", ["https://user:secret@host/engines", "s3://bucket/x", Path("http://host/x"), "file:///x"]
)
def test_engines_from_urls_are_refused(url: str | Path) -> None:
    with pytest.raises(UnsafeStoreError, match="never fetched from a URL") as caught:
        EngineStore(url)
    assert "secret" not in str(caught.value)


def test_a_new_directory_is_this_users_only(store: EngineStore) -> None:
    assert store.directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="cannot be created"):
        EngineStore(tmp_path / "file" / "engines")


def test_files_that_are_not_the_stores_are_left_alone(store: EngineStore, identity: EngineIdentity) -> None:
    for name in ("package.json", "mine.engine", "film.damaged", "rtdetr-r50.onnx"):
        (store.directory / name).write_bytes(b"a person's own")
    assert store.engines() == []
    assert store.leftovers() == []
    assert find_removable(store, identity.device) == []
    assert len(list(store.directory.iterdir())) == 4


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"{" + b" " * (5 << 20) + b"}", b"\xff"]
)
def test_a_hostile_manifest_is_explained(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "demo-fp16-aaaaaaaaaaaa-bbbbbbbb.json"
    path.write_bytes(content)
    with pytest.raises(DamagedEngineError):
        read_manifest(path)


def test_a_manifest_that_is_being_written_is_not_taken_for_a_damaged_one(
    store: EngineStore, identity: EngineIdentity
) -> None:
    engine = add_good(store, identity, b"plan")
    unfinished = temporary_name(engine.manifest_path)
    unfinished.write_bytes(b"{")
    assert store.engines() == [engine]
    assert unfinished.read_bytes() == b"{"
