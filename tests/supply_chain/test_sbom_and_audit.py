"""The bill of materials is one by CycloneDX's schema; the audit fails for a vulnerability only."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom is not installed (pip)")

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sbom") / "new" / "sbom.json"
    done = script("sbom", path)
    assert done.returncode == 0, done.stderr
    return path.read_text()


@pytest.fixture(scope="module")
def sbom(text: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    return content


def test_it_is_a_bill_of_materials(text: str) -> None:
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert fault is None, fault


def test_it_names_what_edge_app_needs_and_nothing_else(sbom: dict[str, Any]) -> None:
    assert sbom["metadata"]["component"]["name"] == "edge-app"
    purls = {component["purl"] for component in sbom["components"]}
    for name in ("numpy", "paho-mqtt", "pydantic", "onnxruntime"):
        assert f"pkg:pypi/{name}@{version(name)}" in purls
    assert not {"pytest", "mypy", "pip", "edge-app"} & {component["name"] for component in sbom["components"]}
    needed = {item["ref"]: set(item.get("dependsOn", ())) for item in sbom["dependencies"]}
    root = needed[sbom["metadata"]["component"]["bom-ref"]]
    assert f"orjson=={version('orjson')}" in root
    assert f"pydantic-core=={version('pydantic-core')}".replace("-", "_") not in root
    assert all(reference in needed for others in needed.values() for reference in others)


def test_it_tells_nothing_of_the_machine(text: str) -> None:
    assert not re.search(r'"(file:|/)', text)
    assert not re.findall(r"https?://[^\"/]*(?:localhost|127\.|:\d+)", text)
    for private in (Path.home(), Path(sys.prefix), SCRIPTS.parent):
        assert len(str(private)) < 4 or str(private) not in text
    assert "timestamp" not in text


def fake_audit(folder: Path, *lines: str) -> str:
    """Stands for pip-audit with a database, which a machine of tests may not have."""
    path = folder / "pip_audit.py"
    path.write_text("\n".join(("import sys", *lines)))
    return f"{sys.executable} {path}"


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        (
            (
                'bad = {"name": "numpy", "version": "1", "vulns": [{"id": "P-1", "fix_versions": ["2"]}]}',
                'odd = {"name": "odd", "skip_reason": "not found"}',
                'print(__import__("json").dumps({"dependencies": [bad, odd]}))',
                "sys.exit(1)",
            ),
            1,
            "numpy 1: P-1, mended in 2\n1 packages audited, 1 not known to the database, 1 vulnerable\n",
        ),
        (
            ('print(\'{"dependencies": [{"name": "numpy", "version": "1.0", "vulns": []}]}\')',),
            0,
            "1 packages audited, 0 not known to the database, 0 vulnerable\n",
        ),
        (("sys.exit('no route to host')",), 0, "not audited: no route to host\n"),
        (
            ('print(\'{"dependencies": [{"name": "numpy", "skip_reason": "not found"}]}\')',),
            0,
            "not audited: the database knows none of the packages, so it is not PyPI's, or not reachable\n",
        ),
    ],
)
def test_only_a_vulnerability_fails_the_audit(
    tmp_path: Path, lines: tuple[str, ...], status: int, words: str
) -> None:
    done = script("audit", PIP_AUDIT=fake_audit(tmp_path, *lines))
    assert (done.returncode, done.stdout) == (status, words), done.stderr


def test_the_audit_asks_for_the_packages_of_the_bill(tmp_path: Path, sbom: dict[str, Any]) -> None:
    pins = tmp_path / "pins"
    assert script("sbom", "--pins", pins).returncode == 0
    assert len(pins.read_text().splitlines()) == len(sbom["components"])
