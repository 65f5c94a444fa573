"""Messages of every version that was ever released, against the newest schema: the contract only grows.

`golden/<schema>-<version>.json` holds messages as that version published them. They are never changed; a new
version gets a file of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_app.publish.schemas import NAMES, schema
from tests.publish.parts import strict

GOLDEN = sorted((Path(__file__).parent / "golden").glob("edge.*-*.json"))
NEWEST = {name.partition("/")[0]: name for name in NAMES}


def name_of(file: Path) -> str:
    name, _, version = file.stem.rpartition("-")
    return f"{name}/{version}"


def version_of(name: str) -> tuple[int, int]:
    major, _, minor = name.partition("/")[2].partition(".")
    return int(major), int(minor)


@pytest.mark.parametrize("file", GOLDEN, ids=[file.stem for file in GOLDEN])
def test_messages_of_this_version_are_still_understood(file: Path) -> None:
    messages: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    assert messages
    newest = schema(NEWEST[file.stem.rpartition("-")[0]])
    for message in messages:
        assert message["schema"] == name_of(file)
        jsonschema.Draft202012Validator(newest).validate(message)


@pytest.mark.parametrize("name", NAMES)
def test_no_version_was_forgotten(name: str) -> None:
    """The schema names the versions it takes, one after the other, and of each there are messages."""
    kind, newest = name.partition("/")[0], version_of(name)
    taken = schema(name)["properties"]["schema"]["enum"]
    assert taken == [f"{kind}/{newest[0]}.{minor}" for minor in range(newest[1] + 1)]
    assert set(taken) == {name_of(file) for file in GOLDEN if file.stem.startswith(f"{kind}-")}


@pytest.mark.parametrize("name", NAMES)
def test_the_messages_of_the_newest_version_have_every_field(name: str) -> None:
    """So a field that is added without a new version is noticed here: the golden messages lack it."""
    file = Path(__file__).parent / "golden" / f"{name.replace('/', '-')}.json"
    for message in json.loads(file.read_text(encoding="utf-8")):
        jsonschema.Draft202012Validator(strict(schema(name))).validate(message)
