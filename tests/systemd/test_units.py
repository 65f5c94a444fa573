"""What systemd itself says of the files in systemd/."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_app.errors import EXIT_CONFIG
from edge_app.ops.run_file import SERVICE_DIRECTORY

FOLDER = Path(__file__).parents[2] / "systemd"
COMMAND = "/opt/edge-app/current/bin/edge-app"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (apt install systemd)"
)
needs_sysusers = pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed (apt install systemd)"
)

MOST_EXPOSED = {None: 1.8, "x86": 1.8, "csi": 2.0}
"""By drop-in, on systemd's scale from 0 (nothing but computing) to 10. Mosquitto's own unit has 9.2."""

UNIT, TEMPLATE = "edge-app.service", "edge-app@.service"
both_units = pytest.mark.parametrize("name", [UNIT, TEMPLATE])


def text_of(name: str) -> str:
    """Return a unit as `scripts/install` places it."""
    if name == UNIT:
        return (FOLDER / UNIT).read_text(encoding="utf-8")
    return said("sed", "-f", FOLDER / "template.sed", FOLDER / UNIT)


def unit_with(drop_in: str | None, folder: Path, name: str = UNIT) -> Path:
    """Return the unit with a drop-in, as it is but for its command, which must exist to be verified."""
    text = text_of(name)
    assert COMMAND in text
    (folder / name).write_text(text.replace(COMMAND, "/bin/true"), encoding="utf-8")
    if drop_in is not None:
        (folder / f"{name}.d").mkdir()
        shutil.copy(FOLDER / "drop-ins" / f"{drop_in}.conf", folder / f"{name}.d")
    return folder / name


def said(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_analyze
@both_units
@pytest.mark.parametrize("drop_in", MOST_EXPOSED)
def test_systemd_has_nothing_to_say_against_it(name: str, drop_in: str | None, tmp_path: Path) -> None:
    unit = unit_with(drop_in, tmp_path, name)
    words = said("systemd-analyze", "verify", unit)
    assert [line for line in words.splitlines() if "edge-app" in line] == []


@needs_analyze
@both_units
@pytest.mark.parametrize("drop_in", MOST_EXPOSED)
def test_it_is_no_more_exposed_than_it_must_be(name: str, drop_in: str | None, tmp_path: Path) -> None:
    unit = unit_with(drop_in, tmp_path, name)
    words = said("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", words)
    assert found is not None, words
    assert float(found[1]) <= MOST_EXPOSED[drop_in], words
    assert re.search("[✓✗] PrivateTmp=", words)[0][0] == ("✗" if drop_in == "csi" else "✓")  # type: ignore[index]


@needs_analyze
def test_a_wrong_key_would_be_found(tmp_path: Path) -> None:
    unit = unit_with(None, tmp_path)
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHomes="))
    words = said("systemd-analyze", "verify", unit)
    assert "'ProtectHomes'" in words


@both_units
def test_the_unit_and_the_code_mean_the_same(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text_of(name))
    assert unit["Service"]["RestartPreventExitStatus"] == str(EXIT_CONFIG)
    assert unit["Service"]["Type"] == "notify"
    which = f"--config /etc/edge-app/{'edge' if name == UNIT else '%i'}.yaml"
    assert unit["Service"]["ExecStart"] == f"{COMMAND} run {which}"
    assert unit["Service"]["ExecReload"] == f"{COMMAND} reload {which}", "of several daemons this one"
    assert unit["Service"]["RuntimeDirectory"] == SERVICE_DIRECTORY.name, "where the daemon is found"
    assert unit["Service"]["RuntimeDirectoryPreserve"] == "yes", "others are found there too"
    assert unit["Service"]["OOMPolicy"] == "continue"
    assert "ProcSubset" not in unit["Service"]
    assert "PrivateDevices" not in unit["Service"]


@needs_sysusers
def test_the_user_gets_its_groups_and_credentials_are_roots_own(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    said("systemd-sysusers", f"--root={tmp_path}", FOLDER / "sysusers.conf")
    groups = {
        name: members.split(",")
        for name, _, _, members in (
            line.split(":") for line in (tmp_path / "etc/group").read_text().splitlines()
        )
    }
    assert "edge-app" in groups["video"]
    assert "edge-app" in groups["render"]
    assert re.search(r"^edge-app:.*:/var/lib/edge-app:", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)

    said("systemd-tmpfiles", "--create", f"--root={tmp_path}", FOLDER / "tmpfiles.conf")
    folder = tmp_path / "etc/edge-app/credentials"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "mqtt-password").stat().st_mode & 0o777 == 0o600
    (folder / "mqtt-password").write_text("mine\n")
    said("systemd-tmpfiles", "--create", f"--root={tmp_path}", FOLDER / "tmpfiles.conf")
    assert (folder / "mqtt-password").read_text() == "mine\n", "what the user wrote stays"
