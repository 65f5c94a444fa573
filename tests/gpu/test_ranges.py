"""NVTX ranges: only where a profiler listens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from edge_app.gpu import ranges
from edge_app.gpu.ranges import LISTENER, nvtx_range


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    names: list[str] = []

    @contextmanager
    def annotate(name: str, domain: str) -> Iterator[None]:
        names.append(f"{domain}: {name}")
        yield

    monkeypatch.setitem(sys.modules, "nvtx", SimpleNamespace(annotate=annotate))
    ranges._annotate.cache_clear()
    yield names
    ranges._annotate.cache_clear()


def test_a_profiler_sees_the_name(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LISTENER, "/opt/nsys/libToolsInjection64.so")
    with nvtx_range("enqueue"):
        assert seen == ["edge_app: enqueue"]


def test_without_a_profiler_nothing_is_made(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LISTENER, raising=False)
    with nvtx_range("enqueue"), nvtx_range("wait"):
        assert seen == []


def test_a_profiler_without_the_package_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LISTENER, "/opt/nsys/libToolsInjection64.so")
    monkeypatch.setitem(sys.modules, "nvtx", None)
    ranges._annotate.cache_clear()
    with nvtx_range("enqueue"):
        pass
    ranges._annotate.cache_clear()
