"""Where several daemons run, each is examined with what its own unit gives it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edge_app.doctor.directories import check_directories
from edge_app.doctor.result import Status
from edge_app.doctor.service_view import Place, ServiceView
from edge_app.doctor.settings import check_secrets
from edge_app.doctor.subject import open_subject
from tests.doctor.conftest import Root

CONFIG = """
cameras:
  gate: {uri: 'rtsp://127.0.0.1:1/x', username: u, password_env: GATE_PASSWORD}
mqtt: {uri: 'mqtt://127.0.0.1:1', username: u, password_credential: mqtt-password}
"""
FOLDER = "/etc/edge-app/credentials"
OBJECT = "/org/freedesktop/systemd1/unit/edge_2dapp_40north_2eservice"


@pytest.fixture
def north(root: Root, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the daemon `north`, whose unit has a password, a variable and a place of its own."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    root.write(
        {
            "/etc/edge-app/edge.yaml": CONFIG,
            "/etc/edge-app/north.yaml": CONFIG,
            f"{FOLDER}/mqtt-password": "of-the-first\n",
            f"{FOLDER}/north-mqtt-password": "of-the-north\n",
        }
    )
    strict = "LoadState=loaded\nProtectSystem=strict"
    its_own = "ReadWritePaths=/srv/north\nEnvironment=GATE_PASSWORD=of-the-gate"
    root.command(
        "systemctl",
        f"echo '{strict}'\n[ $2 = edge-app@north.service ] && cat <<'END'\n{its_own}\nEND",
    )
    handed(root, LoadCredential={"mqtt-password": f"{FOLDER}/north-mqtt-password"})
    return root.machine.path("/etc/edge-app/north.yaml")


def handed(root: Root, **settings: dict[str, object] | list[str]) -> None:
    """Let systemd tell these settings of the unit of `north`, as busctl writes it, and nothing else."""
    told = {
        name: json.dumps({"data": value if isinstance(value, list) else list(value.items())})
        for name, value in settings.items()
    }
    cases = "\n".join(f"{OBJECT}.{name}) echo '{text}';;" for name, text in told.items())
    root.command("busctl", f'case "$4.$6" in\n{cases}\n*) exit 1;;\nesac')


def test_passwords_are_those_that_its_own_unit_hands_over(root: Root, north: Path) -> None:
    subject = open_subject(north, root.machine)
    assert (subject.passwords, subject.missing) == (
        {"mqtt": "of-the-north", "cameras.gate": "of-the-gate"},
        {},
    )
    assert subject.secrets.redact("of-the-north of-the-gate") == "*** ***"
    first = open_subject(north.with_name("edge.yaml"), root.machine)
    assert first.passwords == {"mqtt": "of-the-first"}, "systemd does not tell: by the file's name"


def test_a_credential_that_is_set_in_the_unit_is_found_unless_a_file_goes_before(
    root: Root, north: Path
) -> None:
    handed(root, LoadCredential={}, SetCredential={"mqtt-password": list(b"of-the-unit")})
    subject = open_subject(north, root.machine)
    assert subject.passwords["mqtt"] == "of-the-unit"
    assert subject.secrets.redact("of-the-unit") == "***"
    handed(
        root,
        LoadCredential={"mqtt-password": f"{FOLDER}/north-mqtt-password"},
        SetCredential={"mqtt-password": list(b"of-the-unit")},
    )
    assert open_subject(north, root.machine).passwords["mqtt"] == "of-the-north"


def test_an_encrypted_credential_is_decrypted(root: Root, north: Path) -> None:
    root.write({f"{FOLDER}/sealed": "sealed"})
    handed(root, LoadCredential={}, LoadCredentialEncrypted={"mqtt-password": f"{FOLDER}/sealed"})
    assert "which cannot be read here" in open_subject(north, root.machine).missing["mqtt"].message
    sealed = root.machine.path(f"{FOLDER}/sealed")
    root.command("systemd-creds", f"[ $2 = --name=mqtt-password ] && [ $3 = {sealed} ] && echo of-the-vault")
    assert open_subject(north, root.machine).passwords["mqtt"] == "of-the-vault"


def test_a_credential_without_a_folder_lies_in_the_stores_of_systemd(root: Root, north: Path) -> None:
    handed(root, LoadCredential={"mqtt-password": "of-all"})
    assert "gave this process no credential" in open_subject(north, root.machine).missing["mqtt"].message
    root.write({"/usr/lib/credstore/of-all": "of-the-vendor", "/run/credstore/of-all": "of-this-boot"})
    assert open_subject(north, root.machine).passwords["mqtt"] == "of-this-boot"


def test_what_is_set_is_the_default_of_what_lies_nowhere(root: Root, north: Path) -> None:
    for nowhere in ("of-all", f"{FOLDER}/absent"):
        given: dict[str, object] = {"mqtt-password": list(b"default")}
        handed(root, LoadCredential={"mqtt-password": nowhere}, SetCredential=given)
        assert open_subject(north, root.machine).passwords["mqtt"] == "default"


def test_a_store_where_this_user_may_not_look_is_no_end_of_the_doctor(
    root: Root, north: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed(root, LoadCredential={"mqtt-password": "of-all"})
    look = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if "/etc/credstore" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    subject = open_subject(north, root.machine)
    assert "which cannot be read here" in subject.missing["mqtt"].message
    assert check_secrets(subject, ServiceView).status is Status.WARNING


def test_credentials_that_are_imported_are_known_by_their_names(root: Root, north: Path) -> None:
    handed(root, LoadCredential={}, ImportCredential=["mqtt-*"])
    assert "gave this process no credential" in open_subject(north, root.machine).missing["mqtt"].message
    root.write({"/etc/credstore.encrypted/mqtt-password": "sealed"})
    assert "which cannot be read here" in open_subject(north, root.machine).missing["mqtt"].message
    root.command("systemd-creds", "echo of-the-vault")
    assert open_subject(north, root.machine).passwords["mqtt"] == "of-the-vault"
    root.write({"/run/credstore/mqtt-password": "of-this-boot", "/etc/credstore/mqtt-password": "of-all"})
    assert open_subject(north, root.machine).passwords["mqtt"] == "of-all"


def test_a_sealed_credential_in_the_unit_is_not_said_to_be_missing(root: Root, north: Path) -> None:
    handed(root, LoadCredential={}, SetCredentialEncrypted={"mqtt-password": list(b"sealed")})
    assert "which cannot be read here" in open_subject(north, root.machine).missing["mqtt"].message
    root.command("systemd-creds", '[ "$(cat $3)" = sealed ] && echo of-the-vault')
    assert open_subject(north, root.machine).passwords["mqtt"] == "of-the-vault"


def test_a_credential_that_the_unit_does_not_hand_over_is_missing_although_its_file_is_there(
    root: Root, north: Path
) -> None:
    handed(root, LoadCredential={"another": f"{FOLDER}/mqtt-password"})
    assert "no credential mqtt-password" in open_subject(north, root.machine).missing["mqtt"].message


def test_directories_are_held_against_its_own_unit(root: Root, north: Path) -> None:
    subject = open_subject(north, root.machine)
    assert check_directories(subject, {"mqtt.outbox.directory": Place("/srv/north/x")}).status is Status.OK
    result = check_directories(subject, {"mqtt.outbox.directory": Place("/srv/south")})
    assert result.status is Status.FAILED
    assert "sudo systemctl edit edge-app@north, " in (result.fix or "")
    assert "sudo systemctl restart edge-app@north." in (result.fix or "")
