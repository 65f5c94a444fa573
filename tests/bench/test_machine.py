"""Clocks and power: from programs that may be missing, or fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_app.bench.machine import gpu_state


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


def add(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_clocks_power_and_mode_are_told(programs: Path) -> None:
    add(programs, "nvidia-smi", "echo '1980, 1980, 2619, 594.24, 700.00, 67'")
    add(programs, "nvpmodel", "printf 'NV Power Mode: MAXN\\n0\\n'")
    found = gpu_state()
    assert found["sm clock, MHz"] == "1980"
    assert found["power, W"] == "594.24"
    assert found["power mode"] == "MAXN"


def test_what_a_jetson_does_not_tell_is_left_out(programs: Path) -> None:
    add(programs, "nvidia-smi", "echo '[N/A], [N/A], 2619, [N/A], [N/A], 67'")
    add(programs, "nvpmodel", "exit 1")
    assert gpu_state() == {"memory clock, MHz": "2619", "temperature, C": "67"}


@pytest.mark.parametrize("script", ["exit 9", "echo nothing useful", "echo"])
def test_programs_that_fail_say_nothing(programs: Path, script: str) -> None:
    add(programs, "nvidia-smi", script)
    add(programs, "nvpmodel", script)
    assert gpu_state() == {}
