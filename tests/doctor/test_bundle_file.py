"""The bundle's file, and what it must not destroy."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app.doctor.command import run_doctor
from edge_app.doctor.result import Check, ok
from edge_app.errors import EdgeAppError
from tests.doctor.conftest import Root
from tests.e2e.daemon import write_config

SCENE = "scene://street?seed=1&size=320x192&fps=10"


def doctor(root: Root, config: Path, bundle: Path) -> int:
    return run_doctor(config, json_output=True, bundle=bundle, limit_s=20, machine=root.machine)


@pytest.fixture(autouse=True)
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found does not matter here."""
    check = Check("one", lambda: ok("fine"))
    monkeypatch.setattr("edge_app.doctor.command.all_checks", lambda subject: [check])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "mine.yaml", "mqtt://127.0.0.1:1", {"yard": SCENE})


@pytest.mark.parametrize("what", ["configuration", "link", "folder", "other archive", "nowhere"])
def test_what_is_no_bundle_stays_and_the_findings_are_printed_all_the_same(
    root: Root, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    places: dict[str, Callable[[], Path]] = {
        "configuration": lambda: config,
        "link": lambda: _made(tmp_path / "b.tgz", lambda path: path.symlink_to(victim)),
        "folder": lambda: _made(tmp_path / "folder", Path.mkdir),
        "other archive": lambda: _made(tmp_path / "o.tgz", lambda path: _archive(path, victim)),
        "nowhere": lambda: tmp_path / "absent" / "b.tgz",
    }
    place = places[what]()
    before, was = config.read_text(), place.read_bytes() if place.is_file() else None
    with pytest.raises(EdgeAppError, match="The bundle was not written"):
        doctor(root, config, place)
    assert json.loads(capsys.readouterr().out)["checks"], "the findings come first"
    assert (config.read_text(), victim.read_text()) == (before, "precious")
    assert (place.read_bytes() if place.is_file() else None) == was
    assert what != "link" or place.is_symlink()
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def test_an_earlier_bundle_gives_way(root: Root, config: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b.tgz"
    doctor(root, config, bundle)
    first = bundle.stat()
    bundle.chmod(0o644)
    os.link(bundle, tmp_path / "kept")
    doctor(root, config, bundle)
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert bundle.stat().st_ino != first.st_ino, "it is replaced, not written into"
    assert (tmp_path / "kept").stat().st_ino == first.st_ino
    with tarfile.open(bundle) as archive:
        assert "edge-app-doctor/doctor.json" in archive.getnames()


def _made(path: Path, make: Callable[[Path], object]) -> Path:
    make(path)
    return path


def _archive(path: Path, member: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(member, "victim")
