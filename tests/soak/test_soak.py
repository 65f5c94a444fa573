"""The harness itself, in about a minute: real parts, every fault once, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.brokers import needs_mosquitto
from tests.soak.observe import cost_of, handles
from tests.soak.run import Plan, soak
from tests.soak.series import read_soak


@pytest.mark.slow
@pytest.mark.broker
@needs_mosquitto
@pytest.mark.timeout(180)
@pytest.mark.skipif(os.environ.get("EDGE_APP_FAULTS") != "long", reason="a minute: make soak tries it")
def test_every_fault_is_survived_and_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    plan = Plan(
        seconds=54, cameras=2, sample_s=1.0, fault_every_s=2.0, stretch_s=5.0, settle_s=12.0, size="160x120"
    )
    monkeypatch.chdir(tmp_path)
    run = read_soak(soak(plan, Path("soak"), threading.Event()))
    log = (tmp_path / "soak" / "world" / "edge.log").read_text()
    assert run.end is not None
    assert (run.end["ended_by"], run.end["missing"]) == ("time", 0), log
    assert set(run.start["faults"]) <= {fault["fault"] for fault in run.faults}
    assert len(run.t_s) >= 40
    assert 50e6 < run.rss_bytes.min() <= run.rss_bytes.max() < 2e9
    assert run.threads.min() > 3
    assert run.cpu_s[-1] > run.cpu_s[0]
    for camera in ("scene-0", "scene-1"):
        times, fps = run.fps(camera)
        # A busy machine has had one or two stretches less by the end.
        assert len(times) >= 7
        assert list(times) == [2.5 + 5 * place for place in range(len(times))]
        assert fps[:7].min() > 0, "a fault of another part has stopped the camera"
    assert "Traceback" not in log


def test_a_process_is_measured_from_outside() -> None:
    program = (
        "import signal, threading, time; signal.signal(signal.SIGHUP, print); x = bytearray(50_000_000);"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); print(flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            cost = cost_of(process.pid)
            assert cost["rss_bytes"] > 50e6
            assert (cost["threads"], cost["descriptors"]) == (2, 3)
            assert handles(process.pid, signal.SIGHUP)
            assert not handles(process.pid, signal.SIGUSR1)
        finally:
            process.kill()
    with pytest.raises(OSError, match="No such"):
        cost_of(process.pid)


@pytest.mark.slow
@pytest.mark.broker
@needs_mosquitto
def test_a_daemon_that_dies_ends_the_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    plan = Plan(seconds=60, cameras=1, sample_s=0.2, fault_every_s=600, settle_s=0.1, size="160x120")
    stop = threading.Event()

    def kill() -> None:
        path = tmp_path / "soak" / "soak.jsonl"
        while not (path.exists() and path.stat().st_size):
            time.sleep(0.05)
        config = str(tmp_path / "soak" / "world" / "edge.yaml")
        found = subprocess.run(["pgrep", "-f", config], capture_output=True, text=True, check=True)
        for pid in found.stdout.split():
            subprocess.run(["kill", "-KILL", pid], check=False)

    threading.Thread(target=kill, daemon=True).start()
    run = read_soak(soak(plan, tmp_path / "soak", stop))
    assert run.end is not None
    assert run.end["ended_by"] == "the daemon ended with -9"
