"""The command line as a person meets it; what the commands do is tested where they live and in e2e."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.processes import command, edge_app_says, environment

COMMANDS = (
    *("demo", "run", "reload", "check-config", "init", "watch", "eval", "bench"),
    *("export", "build", "engines", "verify", "doctor", "inspect"),
)


def test_help_lists_every_command_in_whole_words() -> None:
    done = edge_app_says("--help", env={"COLUMNS": "80"})
    assert done.returncode == 0
    listed = done.stdout.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.strip().splitlines()] == list(COMMANDS)
    assert "..." not in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    done = edge_app_says(name, "--help")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Usage: ")
    assert lines[2].strip().endswith(".")
    options = [" ".join(text.split()) for text in done.stdout.split("\n  -")[1:]]
    assert options[-1].endswith("Show this message and exit.")
    assert all(text.endswith((".", "]")) and len(text.split()) > 3 for text in options), options


def test_a_name_that_is_no_command_is_said() -> None:
    done = edge_app_says("rum")
    assert done.returncode == 2
    assert "No such command 'rum'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("run", "--config", "x", "--log-level", "loud"), 2, "'loud' is not one of 'debug', 'info'"),
        (("demo", "--seconds", "0"), 2, "--seconds"),
        (("demo", "--cameras", "99"), 2, "--cameras"),
        (("demo", "--broker-port", "0"), 2, "--broker-port"),
        (("watch", "--seconds", "-1"), 2, "--seconds"),
        (("watch", "--broker", "localhost"), 78, "The broker URI has no scheme, found localhost."),
        (("watch", "--password-file", "nope"), 78, "watch.password_file: there is no file "),
        (("bench", "speed"), 78, "there is no benchmark 'speed'. Hint: There are letterbox,"),
    ],
)
def test_wrong_options_are_explained(
    arguments: tuple[str, ...], status: int, words: str, tmp_path: Path
) -> None:
    done = edge_app_says(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr


@pytest.mark.parametrize("name", ["init", "bench", "--help", "--version"])
@pytest.mark.parametrize(("output", "complaint"), [(">&-", ""), (">/dev/full", "No space left on device")])
def test_an_output_that_takes_nothing_is_no_crash(name: str, output: str, complaint: str) -> None:
    shell = ["sh", "-c", f'"$@" {output}', "sh", *command(name)]
    done = subprocess.run(shell, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == (f"edge-app: {complaint}\n" if complaint else "")
    assert done.returncode == (1 if complaint else 0)


@pytest.mark.parametrize("arguments", [("init", "--full"), ("bench",), ("--help",)])
def test_a_reader_that_has_seen_enough_is_no_crash(arguments: tuple[str, ...]) -> None:
    with subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_letters_that_the_terminal_lacks_are_written_another_way() -> None:
    done = edge_app_says("init", "--camera", "Straße.mp4", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert r'uri: "Stra\xdfe.mp4"' in done.stdout


def test_a_narrow_terminal_is_no_crash() -> None:
    assert edge_app_says("run", "--help", env={"COLUMNS": "20", "TERM": "dumb"}).returncode == 0


def test_a_package_that_an_extra_brings_is_named_when_it_is_missing(tmp_path: Path) -> None:
    absent = 'raise ModuleNotFoundError("No module named \'cv2\'", name="cv2")\n'
    (tmp_path / "cv2.py").write_text(absent, encoding="utf-8")
    (tmp_path / "edge.yaml").write_text("cameras: {a: {uri: film.mp4}}\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = edge_app_says("run", "--config", tmp_path / "edge.yaml", env={"PYTHONPATH": path})
    assert done.stderr == (
        "edge-app: The Python package cv2 is not installed. "
        "Hint: pip install 'edge-app[opencv]', or on a Jetson the system's own: apt install python3-opencv.\n"
    )
    assert done.returncode == 78


@pytest.mark.parametrize("command", ["doctor", "reload"])
@pytest.mark.parametrize("seconds", ["inf", "nan", "1e9"])
def test_seconds_to_wait_are_a_number_that_clocks_can_count(command: str, seconds: str) -> None:
    done = edge_app_says(command, "--timeout", seconds)
    assert done.returncode == 2
    assert "Invalid value for '--timeout'" in done.stderr
