"""A build never outlives the daemon that wanted it, however that ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import until
from tests.processes import is_running

DAEMON = """
import sys, threading
from pathlib import Path
from edge_app.engine.build_spec import BuildSpec
from edge_app.engine.builder import build
from edge_app.engine.options import BuildLimits, BuildOptions, Precision, Profile
from edge_app.ops.process import leave
from edge_app.ops.signals import stop_on_signals
from edge_app.pipeline.stage import unless_stopped

folder, *worker = sys.argv[1:]
stop = threading.Event()
stop_on_signals(stop)
spec = BuildSpec("model.onnx", folder + "/plan", Precision.FP16, Profile(64, 64), BuildOptions())
tell = lambda event: print(event.text, flush=True)
cancelled = stop.is_set if {cancels} else lambda: False
unless_stopped(stop, "model", lambda: build(spec, BuildLimits(), tell, command=worker, cancelled=cancelled))
leave(0)
"""


@pytest.mark.parametrize("cancels", [True, False], ids=["asked for", "left behind"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_builder_dies_with_the_daemon(
    odd_worker: Callable[[str], list[str]], tmp_path: Path, number: signal.Signals, cancels: bool
) -> None:
    command = [sys.executable, "-c", DAEMON.replace("{cancels}", str(cancels)), str(tmp_path)]
    with subprocess.Popen([*command, *odd_worker("hangs")], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "hanging\n"
        builder = int((tmp_path / "builds.log").read_text())
        assert is_running(builder)
        os.kill(daemon.pid, number)
        assert daemon.wait(10) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    until(lambda: not is_running(builder), "the builder has ended")
