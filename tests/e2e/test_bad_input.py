"""What a person reads when something is wrong, and what a script sees: every message in full."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app.config.resources import demo_model
from tests.brokers import free_port
from tests.e2e.conftest import StartDaemon
from tests.processes import edge_app_says

START = "`edge-app init` writes a configuration to start from"
FILM = "cameras: {film: {uri: film.mp4}}\n"
ON_THE_CPU = "\ninference: {backend: onnxruntime}\n"


def a_model_that_no_head_fits(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["images"], ["pooled"])],
        "pool",
        [helper.make_tensor_value_info("images", floats, ["batch", 3, 64, 96])],
        [helper.make_tensor_value_info("pooled", floats, ["batch", 3, 1, 1])],
    )
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))


def half_a_model(path: Path) -> None:
    content = demo_model().read_bytes()
    path.write_bytes(content[: len(content) // 2])


def not_a_model(path: Path) -> None:
    path.write_text("<html>404 Not Found</html>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "cameras:\n  film:\n    uri: film.mp4\n    max-fps: 5",
            "edge.yaml:4: cameras.film.max-fps: unknown key. Hint: did you mean max_fps?",
        ),
        (
            "cameras:\n  film:\n    uri: film.mp4\n    max_fps: fast",
            (
                "edge.yaml:4: cameras.film.max_fps: must be a number of frames a second above 0 "
                "and at most 1000 or null, found the text 'fast'"
            ),
        ),
        (
            "cameras:\n  film:\n    uri: film.mp4\n    max-fps: 5\nmqtt:\n  keepalive_s: soon",
            (
                "edge.yaml has 2 problems:\n"
                "edge.yaml:4: cameras.film.max-fps: unknown key. Hint: did you mean max_fps?\n"
                "edge.yaml:6: mqtt.keepalive_s: must be a whole number of seconds from 5 to 3600, "
                "found the text 'soon'. Hint: the default is 5"
            ),
        ),
        ("", f"edge.yaml: the file is empty. Hint: {START}"),
        (
            "cameras: {}",
            f"edge.yaml: cameras: there is no camera. Hint: add one; {START}, and `edge-app demo` needs none",
        ),
        (
            "cameras: {film: {uri: film.mp4, enabled: false}}",
            "edge.yaml: cameras: no camera is enabled. Hint: set enabled: true",
        ),
        (
            FILM + "model: {path: street.onnx}",
            (
                "edge.yaml:2: model.path: the file does not exist: {folder}/street.onnx. "
                "Hint: `demo` is the model shipped with edge-app"
            ),
        ),
        (
            FILM + "postprocess: {classes: [unicorn]}" + ON_THE_CPU,
            (
                "postprocess.classes: the model has no label 'unicorn'. "
                "Hint: Its labels are person, bicycle, car, truck, bus, dog."
            ),
        ),
        (
            "cameras: {door: {uri: rtsp://host/1, username: me, password_file: ./door.password}}",
            (
                "cameras.door.password_file: there is no file {folder}/door.password. Hint: "
                "write the password into the first line of that file, readable by the user that runs edge-app"
            ),
        ),
        (
            "cameras: {door: {uri: rtsp://host/1, username: me, password_env: DOOR_PASSWORD}}",
            (
                "cameras.door.password_env: the environment variable DOOR_PASSWORD is not set. "
                "Hint: set it for the service (Environment= or EnvironmentFile=), or use password_file"
            ),
        ),
        (
            FILM + "mqtt: {uri: 'mqtts://host', tls: {ca_file: ca.pem}}",
            (
                "The certificate or key files for the broker cannot be used: No such file or directory. "
                "Hint: ca_file, cert_file and key_file of mqtt.tls must be PEM files, the last two a pair."
            ),
        ),
    ],
)
def test_a_configuration_that_cannot_be_used(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(content)
    done = edge_app_says("run", "--config", "edge.yaml", "--log-level", "error", cwd=tmp_path)
    assert done.stderr == f"edge-app: {message.format(folder=tmp_path)}\n"
    assert (done.returncode, done.stdout) == (78, "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            a_model_that_no_head_fits,
            (
                r"no head fits the model's outputs\. Found: pooled \[\?, 3, 1, 1\] float32\. "
                r"With 2 labels and an input of 96x64 pixels, yolov8 wants .*; end_to_end wants .*\. "
                r"Hint: Is the number of labels \(model\.labels\) the model's, and model\.input its size\? "
                r"Otherwise export the model with one output of these\."
            ),
        ),
        (
            half_a_model,
            (
                r"ONNX Runtime \S+ cannot load this model: .* Hint: Is it a complete ONNX file\? "
                r"A model with external data needs that file beside it\."
            ),
        ),
        (
            not_a_model,
            (
                r"ONNX Runtime \S+ cannot load this model: .* Hint: Is it a complete ONNX file\? "
                r"A model with external data needs that file beside it\."
            ),
        ),
    ],
)
def test_a_model_that_cannot_be_used(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    make(tmp_path / "street.onnx")
    (tmp_path / "edge.yaml").write_text(FILM + "model: {path: street.onnx, labels: [car, dog]}" + ON_THE_CPU)
    done = edge_app_says("run", "--config", "edge.yaml", "--log-level", "error", cwd=tmp_path)
    assert re.fullmatch(rf"edge-app: {re.escape(str(tmp_path))}/street\.onnx: {message}\n", done.stderr)
    assert (done.returncode, done.stdout) == (78, "")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "--config", "none.yaml"), 78, f"There is no configuration file none.yaml. Hint: {START}"),
        (
            ("check-config", "."),
            78,
            f". is a directory, not a configuration file. Hint: name a file; {START}",
        ),
        (
            ("init", "--output", "/proc/edge.yaml"),
            78,
            "/proc/edge.yaml cannot be written: No such file or directory. Hint: Choose another place.",
        ),
        (
            ("bench", "nms", "--json", "/proc/nms.json"),
            78,
            (
                "/proc/nms.json cannot be written: No such file or directory. "
                "Hint: Choose another place for --json."
            ),
        ),
        (
            ("eval", "--model", "none.onnx"),
            78,
            "none.onnx: there is no such model file. Hint: Check model.path.",
        ),
    ],
)
def test_a_file_that_cannot_be_used(
    arguments: tuple[str, ...], status: int, message: str, tmp_path: Path
) -> None:
    done = edge_app_says(*arguments, cwd=tmp_path)
    assert done.stderr == f"edge-app: {message}\n"
    assert (done.returncode, done.stdout) == (status, "")


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    assert edge_app_says("init", "-o", "edge.yaml", cwd=tmp_path).returncode == 0
    written = (tmp_path / "edge.yaml").read_text()
    done = edge_app_says("init", "-o", "edge.yaml", "--full", cwd=tmp_path)
    assert (
        done.stderr == "edge-app: edge.yaml exists already. Hint: Choose another name, or remove it first.\n"
    )
    assert done.returncode == 78
    assert (tmp_path / "edge.yaml").read_text() == written
    assert edge_app_says("check-config", "edge.yaml", cwd=tmp_path).stdout.startswith("edge.yaml is good.\n")


def test_what_is_out_of_reach_is_named_and_waited_for(start: StartDaemon, tmp_path: Path) -> None:
    rtsp, broker = free_port(), free_port()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.mp4").write_text("not a film")
    daemon = start(
        f"mqtt://127.0.0.1:{broker}",
        {
            "door": f"rtsp://127.0.0.1:{rtsp}/stream1",
            "far": "http://no-such-host.invalid/video",
            "usb": "v4l2:///dev/video99",
            "film": "film.mp4",
            "empty": "empty.mp4",
            "notes": "notes.mp4",
        },
    )
    for line in (
        f"camera door: lost: 127.0.0.1:{rtsp} refuses connections",
        "camera far: lost: the host no-such-host.invalid is not known",
        "camera usb: lost: there is no device /dev/video99; is the camera plugged in?",
        f"camera film: lost: there is no file {tmp_path}/film.mp4",
        f"camera empty: lost: {tmp_path}/empty.mp4 is empty",
        (
            f"camera notes: lost: {tmp_path}/notes.mp4 holds no video that can be decoded: "
            "it is damaged, incomplete, or something else"
        ),
        (
            f"no broker, trying again for ever: nothing listens at 127.0.0.1:{broker} (connection refused); "
            "is the broker running? [nothing_listens]"
        ),
    ):
        daemon.until_log_says(f": {line}\n")
    assert daemon.stop() == 0
