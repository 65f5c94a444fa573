"""How TensorRT is found, checked and heard."""

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from edge_app.errors import BackendError
from edge_app.gpu.api_table import RUNTIME_API, TENSORRT_API, ApiRow, missing_rows
from edge_app.gpu.tensorrt_api import (
    TENSORRT_HINTS,
    TensorRtLog,
    check_version,
    load_tensorrt,
    parse_version,
    quote,
)


def stand_in(version: str, *left_out: str) -> Any:
    """A module with every attribute that this version must have, but for those left out."""
    module: dict[str, Any] = {"__version__": version}
    for row in TENSORRT_API:
        if row.exists_in(parse_version(version)) and row.path not in left_out:
            owner, _, name = row.path.rpartition(".")
            place = module.setdefault(owner, SimpleNamespace()).__dict__ if owner else module
            place.setdefault(name, SimpleNamespace())
    return SimpleNamespace(**module)


@pytest.mark.parametrize(
    ("text", "version"),
    [("8.6.0", (8, 6, 0)), ("10.3.0.post1", (10, 3, 0)), ("11.4.0.106", (11, 4, 0, 106)), ("odd", ())],
)
def test_a_version_is_read(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_a_missing_tensorrt_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    load_tensorrt.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match=r"TensorRT cannot be imported: .* Hint: "):
        load_tensorrt()
    assert "apt install tensorrt" in TENSORRT_HINTS["jetson"]
    assert "pip install tensorrt" in TENSORRT_HINTS["x86"]


@pytest.mark.parametrize("version", ["8.6.0", "8.6.2", "10.3.0", "10.16.2.10", "11.4.0.106"])
def test_every_supported_version_is_accepted(version: str) -> None:
    check_version(stand_in(version))


def test_an_old_version_is_refused() -> None:
    with pytest.raises(BackendError, match=r"TensorRT 8\.5\.2 is too old: 8\.6 to 11 are supported"):
        check_version(stand_in("8.5.2"))


def test_a_newer_version_is_tried_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_version(stand_in("12.0.1"))
    assert "TensorRT 12.0.1 is newer than what edge-app was tested with" in caplog.text


def test_what_a_version_lacks_is_named() -> None:
    lacking = stand_in("10.3.0", "IExecutionContext.execute_async_v3")
    with pytest.raises(BackendError, match=r"10\.3\.0 lacks IExecutionContext\.execute_async_v3 \(for r"):
        check_version(lacking)


def test_a_row_holds_from_its_first_version_until_it_is_gone() -> None:
    row = ApiRow("BuilderFlag.FP16", (8, 6), (11,), "half precision")
    assert [row.exists_in(version) for version in [(8, 5), (8, 6), (10, 16, 2), (11, 0), (11, 4)]] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert missing_rows(SimpleNamespace(), (10,), (row,)) == [row]
    assert missing_rows(SimpleNamespace(), (11,), (row,)) == []


def test_no_attribute_is_listed_twice() -> None:
    paths = [row.path for row in TENSORRT_API]
    assert sorted(set(paths)) == sorted(paths)
    assert all(row.used_for for row in RUNTIME_API)


def test_messages_reach_our_log_with_their_severity(caplog: pytest.LogCaptureFixture) -> None:
    log = TensorRtLog()
    with caplog.at_level(logging.DEBUG), log.listening() as words:
        for severity in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"):
            log.write(severity, f"said as {severity}")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "TensorRT: said as INTERNAL_ERROR"),
        ("ERROR", "TensorRT: said as ERROR"),
        ("WARNING", "TensorRT: said as WARNING"),
        ("DEBUG", "TensorRT: said as INFO"),
    ]
    assert quote(words) == "said as INTERNAL_ERROR; said as ERROR"


def test_errors_are_kept_only_while_somebody_listens() -> None:
    log = TensorRtLog()
    log.write("ERROR", "before")
    with log.listening() as outer:
        with log.listening() as inner:
            log.write("ERROR", "both")
        log.write("ERROR", "outer alone")
    log.write("ERROR", "after")
    assert (outer, inner) == (["both", "outer alone"], ["both"])
    assert quote([]) == "it gave no reason"
