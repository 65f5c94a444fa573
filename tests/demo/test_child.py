"""What the demo starts ends with it, even when it is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edge_app.demo.child import end_child, start_child
from tests.brokers import until
from tests.processes import environment, is_running

SLEEPER = [sys.executable, "-c", "import os, time; print(os.getcwd(), flush=True); time.sleep(60)"]

PARENT = f"""
import sys, time
from pathlib import Path
from edge_app.demo.child import start_child
print(start_child({SLEEPER!r}, Path(sys.argv[1])).pid, flush=True)
time.sleep(60)
"""


def test_it_ends_when_asked(tmp_path: Path) -> None:
    child = start_child(SLEEPER, tmp_path / "log")
    end_child(child)
    assert child.returncode is not None
    end_child(child)


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log)], stdout=subprocess.PIPE, text=True, env=environment()
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        until(lambda: log.exists() and log.read_text() != "", "the child runs")
        assert is_running(child)
        parent.kill()
    until(lambda: not is_running(child), "the child ended with its parent")


def test_modules_in_the_users_folder_are_not_taken_for_others(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.mkdir()
    (users / "yaml.py").write_text("raise SystemExit('the wrong yaml')")
    logs = tmp_path / "logs"
    logs.mkdir()
    script = f"""
import sys
from pathlib import Path
from edge_app.demo.child import start_child
sys.exit(start_child([sys.executable, '-c', 'import edge_app, yaml'], Path({str(logs / "log")!r})).wait())
"""
    # As the installed `edge-app` does, it does not look for modules where the user is.
    (tmp_path / "edge-app").write_text(script)
    done = subprocess.run([sys.executable, str(tmp_path / "edge-app")], cwd=users, env=environment())
    assert (done.returncode, (logs / "log").read_text()) == (0, "")
