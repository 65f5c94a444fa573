"""The written configurations: the reference equals the defaults, and everything shipped loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.config import (
    AppConfig,
    check_config,
    load_config,
    parse_config,
    render_default_config,
    render_starter_config,
    write_starter_config,
)
from edge_app.config.models import JsonlSinkSection
from edge_app.config.resources import shipped_config, shipped_configs
from edge_app.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_reference_is_the_rendered_text() -> None:
    assert (CONFIGS / "edge.yaml").read_text() == render_default_config()


def test_the_reference_equals_the_defaults() -> None:
    assert load_config(CONFIGS / "edge.yaml").config == AppConfig()


def test_the_reference_names_every_key() -> None:
    text = render_default_config()
    sections = [
        field.default
        for field in AppConfig.model_fields.values()
        if hasattr(field.default, "model_fields_set")
    ]
    for section in [*sections, AppConfig().model.input, AppConfig().mqtt.tls]:
        for key in type(section).model_fields:
            assert f"\n  {key}:" in text or f"\n    {key}:" in text


def test_the_reference_fits_a_screen() -> None:
    assert max(map(len, render_default_config().splitlines())) <= 110


def test_the_cameras_of_the_reference_can_be_uncommented() -> None:
    head, example = render_default_config().split("cameras: {}\n")
    example = example.partition("\n\n")[0]
    example = "\n".join(line[1:] for line in example.splitlines() if line.startswith("#  "))
    config = parse_config(f"{head}cameras:\n{example}".encode(), file="f", base=CONFIGS)
    assert list(config.cameras) == ["door", "yard"]


def test_the_sinks_of_the_reference_can_be_uncommented_and_equal_the_defaults() -> None:
    head, example = render_default_config().split("sinks: {}\n")
    example = "\n".join(line[1:] for line in example.splitlines() if line.startswith("#  "))
    config = parse_config(f"{head}sinks:\n{example}".encode(), file="f", base=CONFIGS)
    assert list(config.sinks) == ["cloud", "house", "archive"]
    archive = config.sinks["archive"]
    assert archive == JsonlSinkSection(type="jsonl")
    assert archive.model_fields_set == set(JsonlSinkSection.model_fields), "every key is there"


@pytest.mark.parametrize(
    "path", [path for path in sorted(CONFIGS.glob("*.yaml")) if path.name != "edge.yaml"]
)
def test_every_shipped_example_is_good(path: Path) -> None:
    assert check_config(path)[0] == f"{path} is good."


def test_the_examples_are_those_that_are_promised() -> None:
    names = {"edge.yaml", "rtsp.yaml", "csi.yaml", "usb.yaml", "multi-camera.yaml", "tls.yaml", "demo.yaml"}
    assert {path.name for path in CONFIGS.glob("*.yaml")} == names
    assert {path.name for path in shipped_configs()} == names
    assert shipped_config("edge.yaml").read_text() == render_default_config()


def test_a_shipped_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"shipped with is not there: neither .*configs/no\.yaml nor"):
        shipped_config("no.yaml")


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "rtsp://host:554/stream?a=1&b=2",
        "/videos/with 'quotes' and: colon #1.mp4",
        "video/*.jpg",
        "gst://videotestsrc ! video/x-raw, width=640 ! videoconvert ! appsink",
        "~",
        "null",
    ],
)
def test_a_starter_is_good_and_means_its_camera(uri: str | None, tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    write_starter_config(path, camera_uri=uri)
    loaded = load_config(path)
    assert check_config(path)[0] == f"{path} is good."
    (camera,) = loaded.config.cameras.values()
    assert uri is None or camera.uri in (uri, f"{tmp_path}/{uri}", str(Path("~").expanduser()))


def test_a_starter_takes_the_user_name_and_never_the_password(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    write_starter_config(path, camera_uri="rtsp://ad%20min:hunter2@host:554/1")
    (camera,) = load_config(path).config.cameras.values()
    assert (camera.uri, camera.username) == ("rtsp://host:554/1", "ad min")
    assert camera.password_file == f"{tmp_path}/camera1.password"
    assert "hunter2" not in path.read_text()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "rtsp://me:hun/ter2@host/1",
            (
                "The camera's URI holds a user name or password that cannot be told from its host. "
                "Hint: Leave both out of the URI, and set username and password_file in the configuration."
            ),
        ),
        (
            "rstp://host/1",
            (
                "The camera's URI has the unknown scheme rstp://, found rstp://host/1. "
                "Hint: did you mean rtsp://? A camera is a file, a folder or glob of images, rtsp://, "
                "rtsps://, "
                "http://, https://, v4l2://, csi://, gst:// or scene://"
            ),
        ),
    ],
)
def test_a_starter_wants_a_camera(uri: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render_starter_config(uri)
    assert str(caught.value) == message


def test_a_starter_goes_to_standard_output_or_a_new_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_starter_config(None, full=True)
    assert capsys.readouterr().out == render_default_config()
    path = tmp_path / "edge.yaml"
    write_starter_config(path)
    with pytest.raises(ConfigError, match=r"edge\.yaml exists already\. Hint: Choose another name"):
        write_starter_config(path)
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        write_starter_config(tmp_path / "absent" / "edge.yaml")


def test_the_summary_says_where_it_goes_too(tmp_path: Path) -> None:
    path, blocked = tmp_path / "edge.yaml", tmp_path / "blocked"
    blocked.touch()
    path.write_text("""\
cameras: {a: {uri: "scene://street"}}
sinks:
  cloud: {type: mqtt, uri: "wss://broker/mqtt", username: edge, password_file: absent, tls: {insecure: true}}
  house: {type: mqtt, uri: "mqtt://localhost", encoder: frigate, enabled: false}
  files: {type: jsonl, directory: blocked, max_files: 3}
""")
    assert check_config(path)[4:] == [
        "broker    mqtt://localhost:1883, topics below edge/",
        "sink      cloud: mqtt, encoder edge, wss://broker/mqtt",
        "sink      house: mqtt, encoder frigate, mqtt://localhost, not enabled",
        f"sink      files: jsonl, encoder edge, 3 files of 64 MiB, in {blocked}",
        "metrics   http://127.0.0.1:9109/metrics",
        "warning   sinks.cloud.password_file: the file does not exist yet",
        (
            "warning   sinks.cloud.tls.insecure: anybody on the way to the broker can read and change "
            "what is published"
        ),
        f"warning   sinks.files.directory: {blocked} is not a directory",
    ]


def test_the_summary_says_what_runs_and_what_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text("""\
node: {name: garage}
mqtt: {uri: "mqtts://broker", username: edge, password_file: absent, tls: {ca_file: ca.crt, insecure: true}}
cameras:
  a: {uri: absent.mp4, max_fps: 2.5}
  b: {uri: "*.jpg", enabled: false}
  c: {uri: "rtsp://host/x", username: me}
  d: {uri: "http://host/x?pwd=hunter2"}
""")
    (tmp_path / "1.jpg").touch()
    assert check_config(path) == [
        f"{path} is good.",
        "node      garage",
        "model     demo",
        f"camera    a: {tmp_path}/absent.mp4, at most 2.5 frames a second",
        f"camera    b: {tmp_path}/*.jpg, not enabled",
        "camera    c: rtsp://host/x",
        "camera    d: http://host/x?pwd=***",
        "broker    mqtts://broker, topics below edge/",
        "metrics   http://127.0.0.1:9109/metrics",
        (
            "open      cameras c, d: pictures and passwords travel unencrypted; use rtsps:// or https:// "
            "where a camera can, or keep cameras in a network of their own"
        ),
        f"warning   cameras.a.uri: there is nothing at {tmp_path}/absent.mp4 now",
        "warning   cameras.c.username: is set without a password",
        "warning   mqtt.password_file: the file does not exist yet",
        f"warning   mqtt.tls.ca_file: the file does not exist: {tmp_path}/ca.crt",
        "warning   mqtt.tls.insecure: anybody on the way to the broker can read and change what is published",
    ]


def warnings_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [line.removeprefix("warning   ") for line in check_config(path) if line.startswith("warning")]


HOUSE = "mqtt: {home_assistant: {enabled: true, classes: [car, persn, zebra]}}\n"
CAMERA = "cameras: {gate: {uri: scene://street}}\n"


@pytest.mark.parametrize(
    ("model", "warned"),
    [
        ("", ["persn; did you mean person?", "zebra"]),
        ("model: {labels: [car, zebra]}\n", ["persn"]),
        ("model: {labels: labels.txt}\n", ["persn", "zebra"]),
        ("model: {path: own.yaml}\n", ["car; did you mean cart?", "zebra"]),
        ("model: {path: own.onnx}\n", []),  # only the model itself can tell
        ("model: {path: odd.yaml}\n", []),  # what is wrong with it is told at the start
    ],
)
def test_labels_for_home_assistant_that_no_model_has_are_told(
    tmp_path: Path, model: str, warned: list[str]
) -> None:
    (tmp_path / "labels.txt").write_text("car\n\n bus \n")
    (tmp_path / "own.yaml").write_text("labels: [persn, cart]\n")
    (tmp_path / "odd.yaml").write_text("labels: {not a list")
    (tmp_path / "own.onnx").touch()
    told = [f"mqtt.home_assistant.classes: no model has the label {words}" for words in warned]
    assert warnings_of(tmp_path / "edge.yaml", HOUSE + CAMERA + model) == told


def test_labels_of_a_model_without_cameras_do_not_count(tmp_path: Path) -> None:
    models = "models: {cats: {path: demo, labels: [zebra]}, dogs: {path: demo, labels: [car, persn]}}\n"
    camera = "cameras: {gate: {uri: scene://street, model: dogs}}\n"
    assert warnings_of(tmp_path / "edge.yaml", HOUSE + camera + models) == [
        "models.cats: no camera names it, so it is not loaded",
        "mqtt.home_assistant.classes: no model has the label zebra",
    ]


DURABLE = "mqtt: {{delivery: {{detections: {}}}, outbox: {{directory: {}}}}}\n"


def test_a_place_of_the_outbox_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "edge.yaml"
    assert warnings_of(path, CAMERA + DURABLE.format("durable", "new/outbox")) == []
    assert warnings_of(path, CAMERA + DURABLE.format("live", "file")) == []
    for directory in ("file", "file/outbox"):
        assert warnings_of(path, CAMERA + DURABLE.format("durable", directory)) == [
            f"mqtt.outbox.directory: {tmp_path}/file is not a directory"
        ]
