"""What reads bytes or text that somebody else may have written, and what each may raise.

A target takes any bytes. Whatever it raises but the errors that its reader promises is a defect. A corpus of
right examples lets mutations come further than noise does.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from edge_app.capture.rtsp_tracks import parse_sdp
from edge_app.capture.sequence import sequence_of
from edge_app.client import Subscriber as Client
from edge_app.config.broker_uri import parse_broker_uri
from edge_app.config.camera_uri import parse_camera_uri
from edge_app.config.labels import known_labels, labels_of_lines
from edge_app.config.loader import parse_config
from edge_app.config.models import ModelSection
from edge_app.config.resources import shipped_configs
from edge_app.config.secrets import SecretRegistry
from edge_app.engine.errors import DamagedEngineError, EngineError
from edge_app.engine.identity import hash_model
from edge_app.engine.manifest import read_manifest
from edge_app.errors import ConfigError, ModelError
from edge_app.infer.label_metadata import labels_of_metadata
from edge_app.infer.model import describe_model
from edge_app.infer.onnx_file import read_onnx
from edge_app.inspection.engine import read_header
from edge_app.inspection.onnx_facts import load_graph, read_facts
from edge_app.publish.broker import BrokerAddress, BrokerOptions
from edge_app.publish.commands.command import CommandRefusedError, parse_command, request_id_of
from edge_app.publish.topics import parse as parse_topic
from edge_app.publish.traffic import Received
from edge_app.watch.subscriber import Subscriber as Watcher
from edge_app.watch.table import plain_lines
from tests.fuzz import examples
from tests.fuzz.pipes import websocket_reads

CANARY = "canary-5d1e"
"""The password in the corpus."""


@dataclass(frozen=True)
class Target:
    """A reader, the errors that it promises, and right examples of what it reads."""

    name: str
    read: Callable[[bytes], object]
    promised: tuple[type[Exception], ...] = ()
    corpus: Sequence[bytes] = ()

    def __call__(self, data: bytes) -> None:
        """Read `data`; raise what was not promised, or AssertionError, if that shows a defect."""
        with contextlib.suppress(*self.promised):
            self.read(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edge-app-fuzz-"))
    (folder / "model.onnx").write_bytes(examples.onnx_model())
    return folder


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def _config(data: bytes) -> None:
    parse_config(data, file="edge.yaml", base=_folder())


def _redaction(data: bytes) -> None:
    registry = SecretRegistry()
    registry.add(CANARY)
    assert CANARY not in registry.redact(_text(data) + CANARY)


def _watch(data: bytes) -> None:
    watcher = Watcher(BrokerOptions(BrokerAddress.parse("mqtt://127.0.0.1:1"), "fuzz"))
    watcher.stop()  # it has begun nothing, and holds a socket
    for topic, payload in examples.messages_of(data):
        watcher.received(Received(topic, payload, False, 1_700_000_000_000_000_000))
    json.dumps(watcher.summary())
    lines = "\n".join(plain_lines(watcher)).split("\n")
    assert all(line.isprintable() for line in lines), "a message may steer the terminal"


def _client(data: bytes) -> None:
    client = Client("mqtt://127.0.0.1:1")
    client.close()
    for topic, payload in examples.messages_of(data):
        client.received(Received(topic, payload, False, 0))
    while client.get(0.0001) is not None:
        pass


def _command(data: bytes) -> None:
    topic, _, payload = data.partition(b"\n")
    request_id_of(payload)
    parse_command(_text(topic).split("/"), payload)


def _manifest(data: bytes) -> None:
    manifest = read_manifest(_file(examples.MANIFEST_NAME, data))
    manifest.to_bytes()


def _description(data: bytes) -> None:
    path = _file("model.yaml", data)
    known_labels(ModelSection(path=str(path)))
    describe_model(ModelSection(path=str(path)), path)


def _labels(data: bytes) -> None:
    assert all(label.isprintable() for label in labels_of_lines(_text(data)))
    assert all(label.isprintable() for label in labels_of_metadata(_text(data)))


def _onnx(data: bytes) -> None:
    path = _file("fuzzed.onnx", data)
    hash_model(path)
    read_onnx(describe_model(ModelSection(path=str(path)), path))


def _onnx_facts(data: bytes) -> None:
    path = _file("inspected.onnx", data)
    str(read_facts(path, load_graph(path)))


def _packets(data: bytes) -> None:
    for codec in ("h264", "hevc", "mjpeg"):
        sequence_of(codec, data)


TARGETS = (
    Target(
        "config",
        _config,
        (ConfigError,),
        [path.read_bytes() for path in shipped_configs()]
        + [yaml.safe_dump(examples.config_with_secrets(CANARY)).encode()],
    ),
    Target(
        "camera-uri",
        lambda data: parse_camera_uri(_text(data)),
        (ConfigError,),
        [uri.format(secret=CANARY).encode() for uri in examples.CAMERA_URIS],
    ),
    Target(
        "broker-uri",
        lambda data: parse_broker_uri(_text(data)),
        (ConfigError,),
        [uri.format(secret=CANARY).encode() for uri in examples.BROKER_URIS],
    ),
    Target("redaction", _redaction, (), [uri.format(secret=CANARY).encode() for uri in examples.CAMERA_URIS]),
    Target("watch", _watch, (), examples.messages()),
    Target("client", _client, (), examples.messages()),
    Target("topic", lambda data: parse_topic(_text(data), "edge"), (), [b"edge/v1/n/camera/c/detections"]),
    Target("command", _command, (CommandRefusedError,), examples.COMMANDS),
    Target("manifest", _manifest, (DamagedEngineError,), [examples.manifest()]),
    Target("description", _description, (ModelError,), [examples.DESCRIPTION]),
    Target("labels", _labels, (ValueError,), [b"{0: 'person', 1: 'car'}", b"['a', 'b']", b"person\ncar\n"]),
    Target("onnx", _onnx, (ModelError, EngineError), [examples.onnx_model()]),
    Target("onnx-facts", _onnx_facts, (ModelError,), [examples.onnx_model()]),
    Target("plan-header", read_header, (), [b"\x02\0\0\0{}plan"]),
    Target("packets", _packets, (), examples.PACKETS),
    Target("sdp", lambda data: parse_sdp(_text(data)), (), [examples.SDP]),
    Target("websocket", websocket_reads, (ConnectionError,), examples.WEBSOCKET_FRAMES),
)
