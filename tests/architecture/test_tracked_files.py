"""Nothing in the repository belongs to one developer's machine, and nothing is larger than it should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tracked_files import ROOT, text_of, tracked_files

THIS = Path(__file__).relative_to(ROOT)
MOST_BYTES = 8 * 1024 * 1024

# Written in pieces, so that this file is not its own finding.
PRIVATE = {
    "a developer's home": re.compile(
        r"/(?:home|Users)/(?!(?:user|jetson|nvidia|you|pi|ubuntu|runner)\b)[\w.-]+/"
    ),
    "the root user's home": re.compile(r"(?<![\w.])/root/"),
    "a registry of one network": re.compile(
        r"(?i)(?:--index-url|--extra-index-url|index-url\s*=)\s*https?://(?!pypi\.org|download\.pytorch\.org|pypi\.nvidia\.com)"
    ),
    "an unfinished merge": re.compile(r"(?m)^(?:<{7} |>{7} )"),
}


def findings(path: Path) -> list[str]:
    text = text_of(path) or ""
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match[0].strip()}"
        for what, pattern in PRIVATE.items()
        for match in pattern.finditer(text)
    ]


def test_no_file_tells_of_one_machine() -> None:
    files = tracked_files()
    assert Path("pyproject.toml") in files
    assert [line for path in files if path != THIS for line in findings(path)] == []


def test_no_file_is_large() -> None:
    sizes = {path: (ROOT / path).stat().st_size for path in tracked_files()}
    assert {path: size for path, size in sizes.items() if size > MOST_BYTES} == {}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/home/alice/src/x", "a developer's home"),
        ("see /root/x", "the root user's home"),
        ("pip install --index-url https://mirror.example/simple", "a registry of one network"),
    ],
)
def test_each_pattern_finds_what_it_names(text: str, what: str) -> None:
    assert [name for name, pattern in PRIVATE.items() if pattern.search(text)] == [what]


@pytest.mark.parametrize(
    "text",
    [
        "/home/jetson/edge-app",
        "pip install --extra-index-url https://pypi.nvidia.com",
        "https://x.example/root/a",
    ],
)
def test_each_pattern_lets_documentation_be(text: str) -> None:
    assert [name for name, pattern in PRIVATE.items() if pattern.search(text)] == []
