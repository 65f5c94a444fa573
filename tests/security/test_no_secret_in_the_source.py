"""No password, token or private key is written into the repository (EN 303 645, provision 5.4-3).

Everywhere: private keys and the tokens of well-known services, which are told by their form. In what is
shipped or run outside the tests: text under a name that says password or token, and addresses that hold one.
Tests are full of made-up passwords, so there only the form counts. A secret under a harmless name and without
a form is not found.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tracked_files import text_of, tracked_files

THIS = Path("tests/security") / Path(__file__).name

FORMS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "a key of AWS": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(r"\b(?:gh[oprsu]_[0-9A-Za-z]{36}|github_pat_\w{60})"),
    "a token of GitLab": re.compile(r"\bglpat-[\w-]{20}"),
    "a key of Google": re.compile(r"\bAIza[\w-]{35}"),
    "a token of Hugging Face": re.compile(r"\bhf_[0-9A-Za-z]{34}\b"),
    "a token of NGC": re.compile(r"\bnvapi-[\w-]{60}"),
    "a token of npm": re.compile(r"\bnpm_[0-9A-Za-z]{36}\b"),
    "a token of PyPI": re.compile(r"\bpypi-AgE[\w-]{50}"),
    "a token of Slack": re.compile(r"\bxox[abeoprs]-[0-9A-Za-z-]{10}"),
    "a JSON web token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10}"),
}
_NAME = r"(?:pass(?:word|wd|phrase)|pwd|secret|token|(?:api|private|access)_?key)"
SECRET_NAME = re.compile(rf"(?:^|_){_NAME}$", re.IGNORECASE)
SETTING = re.compile(
    rf"(?im)^[\s#-]*(?:export\s+)?['\"]?(?:[\w.]+[_.-])?{_NAME}['\"]?\s*[:=]\s*(?P<value>\S.*)$"
)
"""A line of YAML, TOML, an environment file or a shell script."""
NO_VALUE = re.compile(r"^(?:\"?\$|null\b|none\b|''|\"\"|<|\{|\[|#)", re.IGNORECASE)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@:'\"`<>{}$]+:(?P<value>[^\s/@'\"`<>{}$]+)@", re.IGNORECASE)
SETTINGS = {".yaml", ".yml", ".toml", ".conf", ".service", ".env", ".cfg", ".ini", ".sh", ""}


def tokens(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and kind of all that has a secret's form."""
    for what, form in FORMS.items():
        for found in form.finditer(text):
            yield line_of(text, found.start()), what


def addresses(text: str) -> Iterator[tuple[int, str]]:
    for found in ADDRESS.finditer(text):
        if set(found["value"]) != {"*"}:
            yield line_of(text, found.start()), "a password in an address"


def settings(text: str) -> Iterator[tuple[int, str]]:
    for found in SETTING.finditer(text):
        if not NO_VALUE.match(found["value"]):
            yield line_of(text, found.start("value")), "a value of a secret's name"


def literals(text: str) -> Iterator[tuple[int, str]]:
    """Yield where Python gives text to a name, key, argument or default that says password or token."""
    for node in ast.walk(ast.parse(text)):
        for name, value in _bindings(node):
            if value is not None and SECRET_NAME.search(name) and _is_text(value):
                yield value.lineno, f"text for {name}"


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(node, ast.Assign):
        yield from ((_name(target), node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        yield _name(node.target), node.value
    elif isinstance(node, ast.keyword):
        yield node.arg or "", node.value
    elif isinstance(node, ast.Dict):
        yield from ((_name(key), value) for key, value in zip(node.keys, node.values, strict=True) if key)
    elif isinstance(node, ast.Compare):
        yield from ((_name(node.left), other) for other in node.comparators)
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        defaults = zip(reversed(positional), reversed(node.defaults), strict=False)
        yield from ((argument.arg, value) for argument, value in defaults)
        yield from (
            (argument.arg, value) for argument, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)
        )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and bool(node.value)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.slice)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def findings(path: Path, text: str) -> list[str]:
    """Return what is found in a file, with file and line, without the secret itself."""
    found = [*tokens(text)]
    if path.parts[0] != "tests":
        found += addresses(text)
        if path.suffix == ".py" or text.startswith("#!/usr/bin/env python"):
            found += literals(text)
        elif path.suffix in SETTINGS:
            found += settings(text)
    return [f"{path}:{line}: {what}" for line, what in found]


def test_no_secret_in_the_source() -> None:
    files = [path for path in tracked_files() if path != THIS]
    assert Path("edge_app/cli/__init__.py") in files
    assert [line for path in files for line in findings(path, text_of(path) or "")] == []


@pytest.mark.parametrize(
    ("pieces", "what"),
    [  # in pieces, so that no other scanner takes them for leaked ones
        (("-----BEGIN ", "PRIVATE KEY-----"), "a private key"),
        (("-----BEGIN OPENSSH ", "PRIVATE KEY-----"), "a private key"),
        (("-----BEGIN PGP ", "PRIVATE KEY BLOCK-----"), "a private key"),
        (("key = AKIA", "A1B2C3D4" * 2), "a key of AWS"),
        (("ghp_", "a1B2" * 9), "a token of GitHub"),
        (("github_pat_", "a1B2_" * 12), "a token of GitHub"),
        (("glpat-", "a1B2-" * 4), "a token of GitLab"),
        (("AIza", "a1B2-" * 7), "a key of Google"),
        (("hf_", "a1" * 17), "a token of Hugging Face"),
        (("nvapi-", "a1B2-" * 12), "a token of NGC"),
        (("npm_", "a1B2" * 9), "a token of npm"),
        (("pypi-AgE", "a1B2-" * 10), "a token of PyPI"),
        (("xoxb-", "1234567890-ab"), "a token of Slack"),
        (("eyJ", "hbGciOiJIUz.eyJ", "zdWIiOiIxMj.c2lnbmF0dXJl"), "a JSON web token"),
    ],
)
def test_each_form_is_found_even_in_a_test(pieces: tuple[str, ...], what: str) -> None:
    assert findings(Path("tests/x.txt"), f"\n{''.join(pieces)}\n") == [f"tests/x.txt:2: {what}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("edge_app/x.py", "password = 'hunter2'"),
        ("edge_app/x.py", "MQTT_PASSWORD: str = 'hunter2'"),
        ("edge_app/x.py", "self._api_key = b'hunter2'"),
        ("edge_app/x.py", "connect(user='a', password='hunter2')"),
        ("edge_app/x.py", "settings = {'broker': 1, 'access_token': 'hunter2'}"),
        ("edge_app/x.py", "environment['MQTT_PASSWORD'] = 'hunter2'"),
        ("edge_app/x.py", "def connect(user, password='hunter2'): pass"),
        ("edge_app/x.py", "def connect(*, secret='hunter2'): pass"),
        ("edge_app/x.py", "if given.password == 'hunter2': pass"),
        ("scripts/x", "#!/usr/bin/env python3\ntoken = 'hunter2'"),
        ("scripts/x", "#!/bin/sh\nexport MQTT_PASSWORD=hunter2"),
        ("configs/x.yaml", "mqtt:\n  password: hunter2"),
        ("configs/x.yaml", "  # password: 'hunter2'"),
        ("docs/x.md", "uri: rtsp://viewer:hunter2@192.0.2.10/stream"),
        ("pyproject.toml", 'url = "https://user:hunter2@pypi.example/simple"'),
    ],
)
def test_what_is_named_a_secret_is_found(name: str, text: str) -> None:
    (found,) = findings(Path(name), text)
    assert found.startswith(f"{name}:")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("edge_app/x.py", "password = resolve_password(section, where)"),
        ("edge_app/x.py", "def connect(user, password=None, *, token=''): pass"),
        ("edge_app/x.py", "credentials = {'password_file': 'gate.password', 'token_count': 3}"),
        ("edge_app/x.py", "url = f'{scheme}://{user}:{password}@{rest}'"),
        ("scripts/x", '#!/bin/sh\nMQTT_PASSWORD="$(cat file)"; token=$1'),
        ("configs/x.yaml", "password_file: gate.password\npassword: null\n# password_env: GATE_PASSWORD"),
        ("docs/x.md", "found rtsp://***@192.0.2.10/s and rtsp://viewer:***@192.0.2.10/s"),
        ("tests/x.py", "password = 'made up for this test'"),
    ],
)
def test_references_placeholders_and_made_up_passwords_of_tests_are_let_be(name: str, text: str) -> None:
    assert findings(Path(name), text) == []
