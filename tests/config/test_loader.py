"""From a file to the configuration: merging, paths, all problems at once, and no secret in any message."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.config import AppConfig, InvalidConfigError, Problem, load_config, parse_config, require_cameras
from edge_app.config.document import yaml_text
from edge_app.errors import ConfigError
from edge_app.geometry import Align, Color, Fit, Layout

BASE = Path("/base")


def _parse(text: str) -> AppConfig:
    return parse_config(text.encode("utf-8", "surrogatepass"), file="f", base=BASE)


def _refused(text: str) -> InvalidConfigError:
    with pytest.raises(InvalidConfigError) as caught:
        _parse(text)
    return caught.value


def _parse_or_refuse(text: str) -> AppConfig | tuple[Problem, ...]:
    try:
        return _parse(text)
    except InvalidConfigError as error:
        return error.problems


def test_all_problems_come_at_once_in_the_order_of_their_lines() -> None:
    error = _refused("""\
mqtt:
  keepalive_s: soon
  reconnect_min_s: 50
camera_defaults:
  loop: yes
cameras:
  door:
    uri: *gate
    stall_s: 0
  yard:
    uri: rtsp://host:0/
    reconnect_min_s: 40
  yard:
    uri: x
""")
    assert [(problem.line, problem.key) for problem in error.problems] == [
        (2, "mqtt.keepalive_s"),
        (3, "mqtt.reconnect_min_s"),
        (5, "camera_defaults.loop"),
        (8, "cameras.door.uri"),
        (9, "cameras.door.stall_s"),
        (11, "cameras.yard.uri"),
        (12, "cameras.yard.reconnect_min_s"),
        (13, "cameras.yard"),
    ]
    assert str(error) == "\n".join(["f has 8 problems:", *map(str, error.problems)])


@pytest.mark.parametrize("text", ["&a {mqt: 1}", "mqtt: &a {mqt: 1}", "mqtt: {mqt: &a 1}"])
def test_an_anchor_hides_no_other_problem(text: str) -> None:
    assert len(_refused(text).problems) == 2


def test_a_flood_of_problems_is_cut() -> None:
    error = _refused("\n".join(f"k{number}: 1" for number in range(250)))
    assert len(error.problems) == 250
    assert str(error).endswith("\nand 150 more")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (
            "camera_defaults: {max_fps: 0}\ncameras: {a: {uri: x.mp4}, b: {uri: y.mp4}}",
            ["camera_defaults.max_fps"],
        ),
        (
            "camera_defaults: {reconnect_min_s: 9, reconnect_max_s: 8}\ncameras: {a: {uri: x.mp4}}",
            ["camera_defaults.reconnect_min_s"],
        ),
        ("camera_defaults: {uri: x}\ncameras: {a: {max_fps: 1}}", ["camera_defaults.uri", "cameras.a.uri"]),
        (
            "camera_defaults: {password_env: A_B}\ncameras: {a: {uri: 'rtsp://h/1'}, b: {uri: 'csi://0'}}",
            ["cameras.a.password_env"],
        ),
    ],
)
def test_what_cameras_inherit_is_reported_where_it_stands(text: str, places: list[str]) -> None:
    assert [problem.key for problem in _refused(text).problems] == places


def test_cameras_take_the_defaults_and_their_own_keys_win() -> None:
    config = _parse("""\
camera_defaults: {max_fps: 5, username: u, password_file: shared, loop: true}
cameras:
  a: {uri: "rtsp://h/1"}
  b: {uri: "rtsp://h/2", max_fps: null, password_env: B_PASSWORD}
  c: {uri: "csi://0"}
""")
    a, b, c = config.cameras.values()
    assert (a.max_fps, a.username, a.password_file, a.loop) == (5, "u", "/base/shared", True)
    assert (b.max_fps, b.password_file, b.password_env) == (None, None, "B_PASSWORD")
    assert c.max_fps == 5


def test_lists_words_and_whole_numbers_become_what_they_mean() -> None:
    config = _parse("""\
model:
  labels: [dog, cat]
  input: {layout: nhwc, color: bgr, fit: stretch, align: top_left, mean: [0, 0.5, 1], std: [1, 1, 1]}
postprocess:
  confidence_threshold: 1
  class_confidence: {dog: 0}
  classes: [dog]
""")
    wanted = config.model.input
    assert (wanted.layout, wanted.color) == (Layout.NHWC, Color.BGR)
    assert (wanted.fit, wanted.align) == (Fit.STRETCH, Align.TOP_LEFT)
    assert wanted.mean == (0.0, 0.5, 1.0)
    assert config.model.labels == ("dog", "cat")
    assert config.postprocess.class_confidence == {"dog": 0.0}
    assert isinstance(config.postprocess.confidence_threshold, float)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "net.onnx").touch()
    (folder / "names.txt").touch()
    (folder / "edge.yaml").write_text("""\
model: {path: net.onnx, labels: names.txt}
mqtt:
  uri: mqtts://h
  username: u
  password_file: secrets/mqtt
  tls: {ca_file: ca.crt}
cameras:
  a: {uri: "video/*.jpg"}
  b: {uri: /abs.mp4}
  c: {uri: ~/c.mp4}
  d: {uri: "rtsp://h/x"}
""")
    monkeypatch.chdir(tmp_path)
    loaded = load_config(Path("etc/edge.yaml"))
    config = loaded.config
    assert (loaded.path, loaded.base) == (Path("etc/edge.yaml"), folder)
    assert (config.model.path, config.model.labels) == (f"{folder}/net.onnx", f"{folder}/names.txt")
    assert config.mqtt.password_file == f"{folder}/secrets/mqtt"
    assert config.mqtt.tls.ca_file == f"{folder}/ca.crt"
    assert [camera.uri for camera in config.cameras.values()] == [
        f"{folder}/video/*.jpg",
        "/abs.mp4",
        "/home/user/c.mp4",
        "rtsp://h/x",
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        return str(caught.value)

    start = "`edge-app init` writes a configuration to start from"
    absent, inside = tmp_path / "absent.yaml", tmp_path / "file" / "edge.yaml"
    (tmp_path / "file").touch()
    assert message(absent) == f"There is no configuration file {absent}. Hint: {start}"
    assert message(tmp_path) == (
        f"{tmp_path} is a directory, not a configuration file. Hint: name a file; {start}"
    )
    assert (
        message(inside) == f"{inside} cannot be read: Not a directory. Hint: check its owner and permissions"
    )
    assert "cannot be read: that cannot be a file name." in message(Path("a\0b"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("kind", "words"), [("pipe", "a pipe"), ("socket", "a socket"), ("zero", "a device")]
)
def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(
    tmp_path: Path, kind: str, words: str
) -> None:
    path = tmp_path / kind
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            listener.bind(str(path))
        else:
            path = Path("/dev/zero")
        with pytest.raises(ConfigError, match=f"is {words}, not a configuration file.*name a file"):
            load_config(path)


def test_something_to_watch_is_required(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text("cameras: {}")
    with pytest.raises(InvalidConfigError, match="cameras: there is no camera"):
        require_cameras(load_config(path))
    path.write_text("cameras: {a: {uri: x.mp4, enabled: false}}")
    with pytest.raises(InvalidConfigError, match="cameras: no camera is enabled"):
        require_cameras(load_config(path))
    path.write_text("cameras: {a: {uri: x.mp4}}")
    require_cameras(load_config(path))


CANARY = "c4nary-Pa$$"


@pytest.mark.parametrize(
    "text",
    [
        "mqtt: {password: '@@'}",
        "mqtt: {password_file: ['@@']}",
        "mqtt: {password_file: '@@', password_env: '@@'}",
        "mqtt: {uri: 'mqtt://me:@@@host'}",
        "mqtt: {uri: 'mqtt//me:@@@host'}",
        "mqtt: {uri: 'me:@@@host:1883'}",
        "mqtt: 'mqtt://me:@@@host'",
        "mqtt: 'password=@@'",
        "mqtt: 'password: @@'",
        "log: {level: 'rtsp://me:@@@host'}",
        "cameras: {a: {uri: 'rtsp://me:@@@host/1'}}",
        "cameras: {a: {uri: 'rtsp://me:@@/x@host/1'}}",
        "cameras: {a: {uri: 'rtps://me:@@@host/1'}}",
        "cameras: {a: {uri: 'me:@@@rtsp://host/1'}}",
        "cameras: {a: {uri: 'me:@@@host/1'}}",
        "cameras: {a: {uri: 'rtsp:/me:@@@host/1'}}",
        "cameras: {a: {uri: 'http://host:x/?pwd=@@'}}",
        "cameras: {a: {uri: 'csi://0?rtsp://me:@@@host'}}",
        "cameras: {a: {uri: 'gst://rtspsrc user-pw=@@'}}",
        "cameras: {a: {uri: 'file:///me:@@@host'}}",
        "cameras: {a: 'rtsp://me:@@@host/1'}",
        "cameras: {'rtsp://me:@@@host/1': {}}",
        "cameras: {'rtsp://me:@@@host/1': {uri: 'x'}}",
        "cameras: {'rtsp://me-with-a-name-that-is-long-enough-to-be-cut-off:@@@host/1': 1}",
        "camera_defaults: {password: '@@'}",
        "password: '@@'",
        "postprocess: {classes: 'rtsp://me:@@@host/1'}",
        "model: {labels: [a], path: 'http://me:@@@host/net.onnx'}",
        "model: {labels: 'http://me:@@@host/names.txt'}",
        "model: {labels: [a]}\npostprocess: {classes: ['rtsp://me:@@@host/1']}",
        "mqtt: {password: '@@\n",
        "mqtt: {password: *@@ }",
        "mqtt: {password: &@@ }",
        "mqtt: {password: !@@ x}",
        "mqtt: {? [@@] : x}",
    ],
)
def test_secrets_never_reach_a_message(text: str) -> None:
    error = _refused(text.replace("@@", CANARY))
    told = [
        str(error),
        repr(error),
        *map(repr, error.problems),
        repr(error.__context__),
        repr(error.__cause__),
    ]
    assert "c4nary" not in "".join(told)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="abc:/ \n-{}[]'\"@?&*!#|>1._", max_size=60))
def test_any_text_is_a_configuration_or_explained(text: str) -> None:
    assert _parse_or_refuse(text)


_SECTIONS = {name: field.annotation for name, field in AppConfig.model_fields.items()}
_KEYS = sorted(
    {*_SECTIONS, *(key for section in _SECTIONS.values() for key in getattr(section, "model_fields", ()))}
    | {"uri", "ca_file", "insecure", "width", "mean", "unknown"}
)
_WORDS = ["on", "1_000", "rtsp://h/1", "scene://street", "mqtts://h", "a:b@c", "x.mp4", "demo", "~"]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2000)
    | st.floats(allow_nan=False)
    | st.sampled_from(_WORDS)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*_SECTIONS, "unknown"]), _VALUES, max_size=5))
def test_any_tree_is_a_configuration_or_explained(tree: dict[str, Any]) -> None:
    assert _parse_or_refuse(yaml_text(tree))


def test_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "edge.yaml").write_text("cameras: {door: {uri: film.mp4}}")
    with pytest.raises(ConfigError, match="lies in a directory whose name is not UTF-8 text"):
        load_config(folder / "edge.yaml")
