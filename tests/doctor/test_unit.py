"""The texts of the service's unit, without secrets."""

from __future__ import annotations

import pytest

from edge_app.doctor.unit import SERVICE, service_environment, unit_without_secrets
from tests.doctor.conftest import Root


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Environment=CAM_PW=canary", "Environment=CAM_PW=***"),
        ('Environment="A=first CANARY=x" B=canary,c', "Environment=A=*** B=***"),
        ("Environment=A=a&canary 'B=c d'", "Environment=A=*** B=***"),
        ('Environment="A=canary', "Environment=***"),
        (r"Environment=A=x\ CANARY=y", "Environment=***"),
        (r"Environment=A=$'x\' CANARY=y'", "Environment=***"),
        ("Environment=canary", "Environment=***"),
        ("UnsetEnvironment=A=canary", "UnsetEnvironment=***"),
        ("EnvironmentFile=-/etc/edge-app/env", "EnvironmentFile=-/etc/edge-app/env"),
        (
            "EnvironmentFiles=/etc/edge-app/env (ignore_errors=no)",
            "EnvironmentFiles=/etc/edge-app/env (ignore_errors=no)",
        ),
        ("SetCredential=gate:canary: x", "SetCredential=gate:***"),
        ("SetCredential=gate: \\\n  canary \\\n# canary\n  canary\nUser=a", "SetCredential=gate:***\nUser=a"),
        ("SetCredentialEncrypted=gate: \\\n canary", "SetCredentialEncrypted=gate:***"),
        ("LoadCredential=gate:/etc/edge-app/gate", "LoadCredential=gate:/etc/edge-app/gate"),
        (
            "ExecStartPre=-/usr/bin/mosquitto_pub -u x -P canary",
            "ExecStartPre=-/usr/bin/mosquitto_pub ***",
        ),
        ("ExecStart=", "ExecStart="),
        (
            "ExecStart=/opt/edge-app/current/bin/edge-app run --config /etc/edge-app/edge.yaml canary",
            "ExecStart=/opt/edge-app/current/bin/edge-app run --config /etc/edge-app/edge.yaml ***",
        ),
        (
            "ExecStart={ path=/bin/sh ; argv[]=/bin/sh -c canary ; flags=canary ; ignore_errors=no ; pid=7 }",
            "ExecStart={ path=/bin/sh ; argv[]=/bin/sh *** ; ignore_errors=no ; pid=7 }",
        ),
        ("ExecMainStatus=78", "ExecMainStatus=78"),
        ("# /etc/systemd/system/edge-app.service.d/override.conf", None),
        ("# my password is canary", "# ***"),
        ("[Service]\nMemoryMax=80%", None),
        ("the rest of a line: canary", "***"),
        ("X-Password=canary", "X-Password=***"),
    ],
)
def test_what_may_be_a_secret_is_hidden(text: str, shown: str | None) -> None:
    assert unit_without_secrets(text) == (text if shown is None else shown)


def test_variables_of_the_unit_and_its_files_are_known(root: Root) -> None:
    root.write({"/etc/edge-app/env": "# A=1\nYARD_PW='yard word'\nDOOR_PW=door\n"})
    root.command(
        "systemctl",
        "cat <<'END'\nEnvironment=GATE_PW=gate \"X=a b\"\n"
        "EnvironmentFiles=/etc/edge-app/env (ignore_errors=yes)\nEND",
    )
    assert service_environment(root.machine, SERVICE) == {
        "GATE_PW": "gate",
        "X": "a b",
        "YARD_PW": "yard word",
        "DOOR_PW": "door",
    }


@pytest.mark.parametrize(
    ("shown", "value"),
    [
        (r'"PW=a\$b"', "a$b"),
        (r'"PW=a\`b\\n\"c\" d"', r'a`b\n"c" d'),
        (r'"PW=a\tb\001c"', "a\tb\1c"),
        ("PW=it's", "it's"),
        ('PW=plain "X=two words"', "plain"),
        ('"X=a b" PW=plain', "plain"),
    ],
)
def test_what_systemctl_escapes_is_told_as_it_is(root: Root, shown: str, value: str) -> None:
    root.command("systemctl", f"cat <<'END'\nEnvironment={shown}\nEND")
    assert service_environment(root.machine, SERVICE)["PW"] == value


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (r'PW="a\$b \\ \" \n"', r'a$b \ " \n'),
        (r"PW='a\$b'", r"a\$b"),
        (r"PW=a\$b\\", "a$b\\"),
        ("PW=a$b", "a$b"),
        ('PW="', '"'),
    ],
)
def test_escapes_of_an_environment_file_are_undone(root: Root, line: str, value: str) -> None:
    root.write({"/etc/edge-app/env": f"{line}\n"})
    root.command("systemctl", "echo 'EnvironmentFiles=/etc/edge-app/env (ignore_errors=no)'")
    assert service_environment(root.machine, SERVICE)["PW"] == value
