"""Compiled kernels are kept, and only what nobody else can have written is used again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.errors import BackendError
from edge_app.gpu import kernels


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "kernel.cubin"
    assert kernels._read(path) is None
    kernels._keep(path, b"code")
    assert kernels._read(path) == b"code"
    assert [item.name for item in path.parent.iterdir()] == ["kernel.cubin"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_others_may_write_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "kernel.cubin"
    kernels._keep(path, b"code")
    path.chmod(0o622)
    assert kernels._read(path) is None
    assert "can be written by others and is not used" in caplog.text


def test_a_place_that_cannot_be_written_is_only_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    kernels._keep(tmp_path / "file" / "kernel.cubin", b"code")
    assert "compiled kernels cannot be kept" in caplog.text


def test_without_a_compiler_it_is_said_where_one_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "TOOLKITS", (tmp_path,))
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="the CUDA compiler nvcc is not found") as caught:
        kernels.find_nvcc()
    assert caught.value.hint is not None
    compiler = tmp_path / "nvcc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    assert kernels.find_nvcc() == str(compiler)


def test_without_a_home_directory_nothing_is_kept_and_it_is_said_what_to_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("EDGE_APP_KERNELS", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_number: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert kernels._cache_folder() is None
    assert "this user has no home directory" in caplog.text
    assert "EDGE_APP_KERNELS" in caplog.text
