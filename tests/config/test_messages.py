"""What a person reads when a configuration is wrong: each message in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.config import InvalidConfigError, parse_config
from edge_app.errors import EXIT_CONFIG

CAMERA_FORM = "Hint: write each camera as its name, a colon, and indented below it uri: and its other keys"
NAME_RULE = (
    "must be a name of at most 64 letters, digits, `_`, `-` and `.` that begins with a letter or digit"
)
NO_PASSWORD = (
    "Hint: the configuration never holds a password: write it into a file and name that in password_file "
    "(or use password_env or password_credential)"
)
USERINFO = "Hint: remove it from the URI; set username and password_file instead"


def _camera(line: str) -> str:
    return f"cameras:\n  door:\n    uri: rtsp://host/1\n    {line}\n"


def _uri(uri: str) -> str:
    return f"cameras:\n  door:\n    uri: {uri}\n"


KEYS = [
    ("mqt: {}", "f:1: mqt: unknown key. Hint: did you mean mqtt?"),
    ("log:\n  lvel: info", "f:2: log.lvel: unknown key. Hint: did you mean level?"),
    ("log: {color: x}", "f:1: log.color: unknown key. Hint: the keys here are level"),
    (
        "iou_threshold: 0.5",
        "f:1: iou_threshold: unknown key. Hint: iou_threshold belongs to the section postprocess",
    ),
    ("mqtt:\n  password: hunter2", f"f:2: mqtt.password: unknown key. {NO_PASSWORD}"),
    (_camera("passwd: hunter2"), f"f:4: cameras.door.passwd: unknown key. {NO_PASSWORD}"),
    (_camera("max-fps: 5"), "f:4: cameras.door.max-fps: unknown key. Hint: did you mean max_fps?"),
]

TYPES = [
    *[
        (
            f"mqtt: {{publish_empty: {word}}}",
            f"f:1: mqtt.publish_empty: must be true or false, found the text '{word}'. Hint: write {meant}",
        )
        for word, meant in [
            ("on", "true"),
            ("yes", "true"),
            ("True", "true"),
            ("no", "false"),
            ("off", "false"),
        ]
    ],
    (
        "mqtt: {publish_empty: 1}",
        "f:1: mqtt.publish_empty: must be true or false, found the number 1. Hint: write true",
    ),
    (
        "mqtt: {publish_empty: 'true'}",
        (
            "f:1: mqtt.publish_empty: must be true or false, found the text 'true' in quotes. "
            "Hint: remove the quotes: true"
        ),
    ),
    (
        "mqtt: {publish_empty: maybe}",
        "f:1: mqtt.publish_empty: must be true or false, found the text 'maybe'. Hint: write true or false",
    ),
    (
        "mqtt: {publish_empty: null}",
        (
            "f:1: mqtt.publish_empty: must be true or false, found nothing. "
            "Hint: remove the line to get the default, true"
        ),
    ),
    *[
        (
            f"mqtt: {{queue_size: {text}}}",
            f"f:1: mqtt.queue_size: must be a whole number from 1 to 100000, found {found}",
        )
        for text, found in [
            ("1_000", "the text '1_000'. Hint: write 1000"),
            ("0777", "the text '0777'. Hint: write 777"),
            ("0x1F", "the text '0x1F'. Hint: write 31"),
            ("'25'", "the text '25' in quotes. Hint: remove the quotes: 25"),
            ("25.0", "the number 25.0. Hint: write 25"),
            ("2.5", "the number 2.5. Hint: the default is 256"),
            ("true", "true. Hint: the default is 256"),
            ("0", "the number 0. Hint: the default is 256"),
            ("200000", "the number 200000. Hint: the default is 256"),
            ("[1]", "a list of 1. Hint: the default is 256"),
            ("many", "the text 'many'. Hint: the default is 256"),
            ("''", "an empty text. Hint: the default is 256"),
        ]
    ],
    *[
        (
            f"mqtt: {{keepalive_s: {text}}}",
            (
                "f:1: mqtt.keepalive_s: must be a whole number of seconds from 5 to 3600, "
                f"found the text '{text}'. Hint: write {meant}"
            ),
        )
        for text, meant in [
            ("12:30:00", "45000"),
            ("1:30", "90"),
            ("30s", "30"),
            ("2 min", "120"),
            ("5000ms", "5"),
        ]
    ],
    (
        "inference: {max_age_ms: 1s}",
        (
            "f:1: inference.max_age_ms: must be a number of milliseconds above 0 and at most 60000, "
            "found the text '1s'. Hint: write 1000"
        ),
    ),
    (
        "postprocess: {confidence_threshold: 50%}",
        (
            "f:1: postprocess.confidence_threshold: must be a number from 0 to 1, found the text '50%'. "
            "Hint: write 0.5"
        ),
    ),
    (
        "postprocess: {confidence_threshold: '0,5'}",
        (
            "f:1: postprocess.confidence_threshold: must be a number from 0 to 1, "
            "found the text '0,5' in quotes. Hint: write 0.5"
        ),
    ),
    (
        "postprocess: {confidence_threshold: true}",
        (
            "f:1: postprocess.confidence_threshold: must be a number from 0 to 1, found true. "
            "Hint: the default is 0.25"
        ),
    ),
    (
        "postprocess: {confidence_threshold: .nan}",
        (
            "f:1: postprocess.confidence_threshold: must be a number from 0 to 1, found the text '.nan'. "
            "Hint: the default is 0.25"
        ),
    ),
    (
        "model: {input: {scale: 1e999}}",
        "f:1: model.input.scale: must be a number above 0 or null, found the number 1e999",
    ),
    (
        "postprocess:\n  class_confidence:\n    dog: 2",
        "f:3: postprocess.class_confidence.dog: must be a number from 0 to 1, found the number 2",
    ),
    (
        "postprocess:\n  class_confidence: [dog]",
        (
            "f:2: postprocess.class_confidence: must be a section (indented lines of `key: value`), "
            "found a list of 1"
        ),
    ),
    (
        "postprocess: {classes: dog}",
        "f:1: postprocess.classes: must be a list of texts, found the text 'dog'. Hint: write [dog]",
    ),
    (
        "postprocess:\n  classes:\n    - dog\n    - 7",
        'f:4: postprocess.classes[1]: must be text, found the number 7. Hint: put it in quotes: "7"',
    ),
    (
        "log: {level: warn}",
        (
            "f:1: log.level: must be debug, info, warning or error, found the text 'warn'. "
            "Hint: did you mean warning?"
        ),
    ),
    (
        "log: {level: 1}",
        (
            "f:1: log.level: must be debug, info, warning or error, found the number 1. "
            "Hint: the default is info"
        ),
    ),
    (
        "mqtt: {protocol: 5}",
        'f:1: mqtt.protocol: must be auto, "5" or 3.1.1, found the number 5. Hint: put it in quotes: "5"',
    ),
    (
        "model: {head: yolo8}",
        (
            "f:1: model.head: must be auto, yolov8 or end_to_end, found the text 'yolo8'. "
            "Hint: did you mean yolov8?"
        ),
    ),
    (
        "model: {input: {layout: NCHW}}",
        (
            "f:1: model.input.layout: must be nchw, nhwc or null, found the text 'NCHW'. Hint: did you "
            "mean nchw?"
        ),
    ),
    (
        "model: {input: {mean: [1, 2]}}",
        "f:1: model.input.mean: must be a list of three numbers or null, found a list of 2",
    ),
    (
        "model: {input: {mean: [1, 2, x]}}",
        "f:1: model.input.mean[2]: must be a number, found the text 'x'",
    ),
    (
        "model: {input: {mean: 1}}",
        "f:1: model.input.mean: must be a list of three numbers or null, found the number 1",
    ),
    (
        "model: {labels: 5}",
        (
            "f:1: model.labels: must be text, a list of texts or null, found the number 5. Hint: put "
            'it in quotes: "5"'
        ),
    ),
    (
        "model:\n  labels:\n  - dog\n  - 5",
        'f:4: model.labels[1]: must be text, found the number 5. Hint: put it in quotes: "5"',
    ),
    (
        "model: {labels: {a: b}}",
        "f:1: model.labels: must be text, a list of texts or null, found a section",
    ),
    (
        "node: {name: 7}",
        f'f:1: node.name: {NAME_RULE} or null, found the number 7. Hint: put it in quotes: "7"',
    ),
    (
        "mqtt: {username: 12}",
        'f:1: mqtt.username: must be text or null, found the number 12. Hint: put it in quotes: "12"',
    ),
    (
        "mqtt: {password_file: 12345}",
        (
            "f:1: mqtt.password_file: must be text or null, found something else (not shown). "
            "Hint: write text in quotes: where the password is to be found, not the password itself"
        ),
    ),
    (
        "mqtt:",
        (
            "f:1: mqtt: must be a section (indented lines of `key: value`), found nothing. "
            "Hint: remove the line to get the defaults, or indent the keys below it"
        ),
    ),
    (
        "mqtt:\n  uri:mqtt://host",
        (
            "f:1: mqtt: must be a section (indented lines of `key: value`), found the text "
            "'uri:mqtt://host'. "
            "Hint: a space is needed after the colon"
        ),
    ),
    (
        "mqtt: [1]",
        "f:1: mqtt: must be a section (indented lines of `key: value`), found a list of 1",
    ),
    (
        "mqtt: {client_id: ''}",
        "f:1: mqtt.client_id: must be text of 1 to 128 characters or null, found an empty text",
    ),
]

NAMES = [
    *[
        (
            f"node: {{name: '{name}'}}",
            (
                f"f:1: node.name: {NAME_RULE}, found the text '{name}'. "
                f"Hint: +, # and / have a meaning in MQTT topics; write {tidy}"
            ),
        )
        for name, tidy in [("a/b", "a-b"), ("a+", "a"), ("#x", "x")]
    ],
    ("mqtt: {root: my edge}", f"f:1: mqtt.root: {NAME_RULE}, found the text 'my edge'. Hint: write my-edge"),
    (
        "cameras:\n  front door:\n    uri: x.mp4",
        f"f:2: cameras.'front door': {NAME_RULE}, found the text 'front door'. Hint: write front-door",
    ),
    (
        f"node: {{name: {'x' * 65}}}",
        f"f:1: node.name: {NAME_RULE}, found the text '{'x' * 56}.... Hint: write {'x' * 64}",
    ),
    (
        "cameras:\n  1:\n    uri: x.mp4",
        'f:2: cameras.1: the key 1 is not text. Hint: put it in quotes: "1":',
    ),
    (
        "cameras:\n  Door: {uri: a.mp4}\n  door: {uri: b.mp4}",
        (
            "f:3: cameras.door: differs from the camera Door only in upper and lower case. "
            "Hint: choose another name"
        ),
    ),
    (
        "models:\n  faces: {path: demo}\n  Faces: {path: demo}",
        (
            "f:3: models.Faces: differs from the model faces only in upper and lower case. "
            "Hint: choose another name"
        ),
    ),
]

CAMERAS = [
    (
        "cameras:\n- uri: x.mp4",
        "f:1: cameras: must be a section (indented lines of `key: value`), found a list of 1. " + CAMERA_FORM,
    ),
    (
        "cameras: null",
        "f:1: cameras: must be a section (indented lines of `key: value`), found nothing. "
        + CAMERA_FORM
        + "; `cameras: {}` means none",
    ),
    (
        "cameras:\n  door: rtsp://host/1",
        "f:2: cameras.door: must be a section (indented lines of `key: value`), "
        "found the text 'rtsp://host/1'. " + CAMERA_FORM,
    ),
    (
        "cameras:\n  door:\n  yard: {uri: x.mp4}",
        "f:2: cameras.door: must be a section (indented lines of `key: value`), found nothing. "
        + CAMERA_FORM,
    ),
    (
        "cameras:\n  door:\n    max_fps: 5",
        (
            "f:2: cameras.door.uri: uri is missing. "
            "Hint: say where the video comes from, as in uri: rtsp://host/path"
        ),
    ),
    (
        _uri("0"),
        (
            "f:3: cameras.door.uri: must be text that is not empty, found the number 0. "
            "Hint: a USB camera is v4l2:///dev/video0, a CSI camera csi://0"
        ),
    ),
    (_uri("''"), "f:3: cameras.door.uri: must be text that is not empty, found an empty text"),
    (
        _uri("'0'"),
        (
            "f:3: cameras.door.uri: is a number, found 0. "
            "Hint: a USB camera is v4l2:///dev/video0, a CSI camera csi://0"
        ),
    ),
    (
        _uri("/dev/video2"),
        "f:3: cameras.door.uri: is a device, not a file, found /dev/video2. Hint: write v4l2:///dev/video2",
    ),
    (
        _uri("rstp://host/1"),
        (
            "f:3: cameras.door.uri: has the unknown scheme rstp://, found rstp://host/1. "
            "Hint: did you mean rtsp://? A camera is a file, a folder or glob of images, rtsp://, rtsps://, "
            "http://, https://, v4l2://, csi://, gst:// or scene://"
        ),
    ),
    (
        _uri("rtsp:/host/1"),
        (
            "f:3: cameras.door.uri: is not complete, found rtsp:/host/1. "
            "Hint: after rtsp: there must be two slashes: rtsp://..."
        ),
    ),
    (
        _uri("file:///a/b.mp4"),
        (
            "f:3: cameras.door.uri: is not a kind of camera, found file:///a/b.mp4. "
            "Hint: write the path without file://, as in /a/b.mp4"
        ),
    ),
    (
        _uri("rtsp:///1"),
        "f:3: cameras.door.uri: names no host, found rtsp:///1. Hint: write rtsp://host/path",
    ),
    (
        _uri("rtsp://cam..local/1"),
        (
            "f:3: cameras.door.uri: names a host that cannot be one, found rtsp://cam..local/1. "
            "Hint: write rtsp://host/path"
        ),
    ),
    (
        _uri("rtsp://host:99999/1"),
        (
            "f:3: cameras.door.uri: has no usable host and port, found rtsp://host:99999/1. "
            "Hint: write rtsp://host/path, with a port from 1 to 65535 if there is one"
        ),
    ),
    (
        _uri("rtsp://host:0/1"),
        "f:3: cameras.door.uri: has the port 0, found rtsp://host:0/1. Hint: ports go from 1 to 65535",
    ),
    *[
        (_uri(f"'{uri}'"), f"f:3: cameras.door.uri: holds a user name or password, found {shown}. {USERINFO}")
        for uri, shown in [
            ("rtsp://admin:hunter2@host/1", "rtsp://***@host/1"),
            ("rtsp://admin@host/1", "rtsp://***@host/1"),
            ("rtsp://admin:hun/ter2@host/1", "rtsp://***@host/1"),
            ("rtsp://admin:hun#ter 2@host/1", "rtsp://***@host/1"),
            ("admin:hunter2@host/1", "***@host/1"),
            ("admin:hunter2@rtsp://host/1", "***@rtsp://host/1"),
            (
                "gst://rtspsrc location=rtsp://a:hunter2@host ! x",
                "gst://rtspsrc location=rtsp://***@host ! x",
            ),
        ]
    ],
    (
        _uri("gst://rtspsrc user-pw=hunter2 ! fakesink"),
        (
            "f:3: cameras.door.uri: holds a password, found gst://rtspsrc user-pw=*** ! fakesink. "
            "Hint: use an rtsp:// URI with username and password_file"
        ),
    ),
    (
        _uri("gst://"),
        (
            "f:3: cameras.door.uri: holds no pipeline, found gst://. "
            "Hint: write it after gst://, as in gst://videotestsrc ! videoconvert ! appsink"
        ),
    ),
    (
        _uri("scene://street?sede=1"),
        (
            "f:3: cameras.door.uri: has the unknown option sede, found scene://street?sede=1. "
            "Hint: did you mean seed? scene:// knows seed, size, fps, live or frames"
        ),
    ),
    (
        _uri("scene://beach"),
        (
            "f:3: cameras.door.uri: names no scene that there is, found scene://beach. "
            "Hint: write scene://street"
        ),
    ),
    (
        _uri("scene://street?seed=x"),
        (
            "f:3: cameras.door.uri: has the seed 'x', found scene://street?seed=x. "
            "Hint: write a whole number of at most nine digits, as in seed=1"
        ),
    ),
    (
        _uri("csi://0?size=1280*720"),
        (
            "f:3: cameras.door.uri: has the size '1280*720', found csi://0?size=1280*720. "
            "Hint: write width x height, each from 16 to 8192 pixels, as in size=1280x720"
        ),
    ),
    (
        _uri("scene://street?size=16x16"),
        (
            "f:3: cameras.door.uri: has the size '16x16', found scene://street?size=16x16. "
            "Hint: write width x height, each from 32 to 8192 pixels, as in size=1280x720"
        ),
    ),
    (
        _uri("csi://0?fps=0"),
        (
            "f:3: cameras.door.uri: has the fps '0', found csi://0?fps=0. "
            "Hint: write a number above 0, up to 1000, as in fps=30"
        ),
    ),
    (
        _uri("csi://0?fps=30&fps=30"),
        (
            "f:3: cameras.door.uri: has the option fps twice, found csi://0?fps=30&fps=30. "
            "Hint: keep one of them"
        ),
    ),
    (
        _uri("csi:///dev/video0"),
        (
            "f:3: cameras.door.uri: names no sensor, found csi:///dev/video0. "
            "Hint: write csi://0 for the first one"
        ),
    ),
    (
        _uri("v4l2://video0"),
        (
            "f:3: cameras.door.uri: names no device, found v4l2://video0. "
            "Hint: write v4l2:///dev/video0, with three slashes"
        ),
    ),
    (
        _uri("v4l2:///dev/video0?format=h264"),
        (
            "f:3: cameras.door.uri: has the format 'h264', found v4l2:///dev/video0?format=h264. "
            "Hint: write mjpeg or yuyv"
        ),
    ),
]

RULES = [
    (
        _camera("reconnect_min_s: 60"),
        (
            "f:4: cameras.door.reconnect_min_s: must be at most reconnect_max_s, found 60 and 15 seconds. "
            "Hint: reconnect_max_s of 60 or more fits"
        ),
    ),
    (
        "mqtt:\n  reconnect_max_s: 0.2",
        (
            "f:1: mqtt.reconnect_min_s: must be at most reconnect_max_s, found 0.5 and 0.2 seconds. "
            "Hint: reconnect_max_s of 0.5 or more fits"
        ),
    ),
    (
        _camera("username: u\n    password_file: a\n    password_env: B"),
        (
            "f:6: cameras.door.password_env: a password is found in one place, but password_file is set too. "
            "Hint: keep one of them"
        ),
    ),
    (
        _camera("password_env: A_B"),
        "f:4: cameras.door.password_env: is set, but username is not. Hint: set username too",
    ),
    (
        "mqtt: {password_file: x}",
        "f:1: mqtt.password_file: is set, but username is not. Hint: set username too",
    ),
    (
        "cameras:\n  door:\n    uri: csi://0\n    username: me",
        (
            "f:4: cameras.door.username: is of no use to a camera of the kind csi. "
            "Hint: only rtsp://, rtsps://, http:// and https:// cameras ask for one"
        ),
    ),
    (
        "model: {path: no.onnx}",
        (
            "f:1: model.path: the file does not exist: /base/no.onnx. Hint: `demo` is the model "
            "shipped with edge-app"
        ),
    ),
    (
        "model: {path: /}",
        "f:1: model.path: the file is a directory: /. Hint: `demo` is the model shipped with edge-app",
    ),
    (
        "model: {labels: no.txt}",
        (
            "f:1: model.labels: the file does not exist: /base/no.txt. "
            "Hint: write a text file with one class name on each line, or a list of names"
        ),
    ),
    ("model: {labels: []}", "f:1: model.labels: is an empty list. Hint: list the class names, or write null"),
    (
        "model: {input: {width: 640}}",
        "f:1: model.input.width: is set, but height is not. Hint: set height too",
    ),
    (
        "model: {input: {std: [1, 0, 1]}}",
        "f:1: model.input.std: holds a 0, and values are divided by it. Hint: 1 changes nothing",
    ),
    (
        "model: {labels: [dog, cat]}\npostprocess:\n  classes: [dgo]",
        "f:3: postprocess.classes[0]: is no label of the model, found dgo. Hint: did you mean dog?",
    ),
    (
        "mqtt: {uri: 'host:1883'}",
        "f:1: mqtt.uri: has no scheme, found host:1883. Hint: write mqtt://host:1883",
    ),
    (
        "mqtt: {uri: 'tcp://host'}",
        "f:1: mqtt.uri: has the unknown scheme tcp://, found tcp://host. Hint: write mqtt:// in its place",
    ),
    (
        "mqtt: {uri: 'mqtt://'}",
        (
            "f:1: mqtt.uri: names no host, found mqtt://. Hint: write mqtt://host[:1883], "
            "mqtts://host[:8883], ws://host[:80]/mqtt or wss://host[:443]/mqtt"
        ),
    ),
    (
        "mqtt: {uri: 'mqtt://h:70000'}",
        (
            "f:1: mqtt.uri: has no usable host and port, found mqtt://h:70000. Hint: write "
            "mqtt://host[:1883], mqtts://host[:8883], ws://host[:80]/mqtt or "
            "wss://host[:443]/mqtt, with a port from 1 to 65535 if there is one"
        ),
    ),
    (
        "mqtt: {uri: 'mqtt://h/topic'}",
        (
            "f:1: mqtt.uri: holds more than host and port, found mqtt://h/topic. "
            "Hint: remove what follows the port; topics are mqtt.root"
        ),
    ),
    (
        "mqtt: {uri: 'mqtt://me:hunter2@h'}",
        (
            "f:1: mqtt.uri: holds a user name or password, found mqtt://***@h. "
            "Hint: remove it from the URI; set username and password_file instead"
        ),
    ),
    (
        "mqtt:\n  tls:\n    insecure: true",
        (
            "f:3: mqtt.tls.insecure: is of no use with mqtt://, which is not encrypted. "
            "Hint: write mqtts:// in mqtt.uri"
        ),
    ),
    (
        "mqtt:\n  uri: ws://h:9001\n  tls:\n    ca_file: x",
        (
            "f:4: mqtt.tls.ca_file: is of no use with ws://, which is not encrypted. "
            "Hint: write wss:// in mqtt.uri"
        ),
    ),
    (
        "mqtt: {uri: 'mqtts://h', tls: {cert_file: a}}",
        "f:1: mqtt.tls.cert_file: is set, but key_file is not. Hint: set key_file too",
    ),
    (
        "sinks: {a: {uri: 'mqtt://h'}}",
        "f:1: sinks.a.type: type is missing. Hint: write type: mqtt or type: jsonl",
    ),
    (
        "sinks: {a: {type: json}}",
        "f:1: sinks.a.type: must be mqtt or jsonl, found the text 'json'. Hint: did you mean jsonl?",
    ),
    (
        "sinks: {a: {type: mqtt}}",
        "f:1: sinks.a.uri: uri is missing. Hint: say where the broker is, as in uri: mqtt://host",
    ),
    (
        "sinks: {a: {type: jsonl, max_mb: 5}}",
        "f:1: sinks.a.max_mb: unknown key. Hint: did you mean max_mib?",
    ),
    (
        "sinks: {a: {type: jsonl, encoder: frigate}}",
        (
            "f:1: sinks.a.encoder: must be edge or deepstream, found the text 'frigate'. "
            "Hint: the default is edge"
        ),
    ),
    (
        "sinks: {a: null}",
        (
            "f:1: sinks.a: must be a section (indented lines of `key: value`), found nothing. "
            "Hint: a sink is a section of its own below its name, with at least type: mqtt or type: jsonl"
        ),
    ),
    (
        "sinks: {a: {type: mqtt, uri: 'mqtt://h', encoder: frigate, topic: 'a/+'}}",
        (
            "f:1: sinks.a.topic: must be one or more levels of a topic, joined by /, without + and # "
            "or null, found the text 'a/+' in quotes"
        ),
    ),
    (
        "sinks: {a: {type: mqtt, uri: 'mqtt://h', encoder: frigate, delivery: {detections: durable}}}",
        "f:1: sinks.a.delivery: is of no use to the encoder frigate. Hint: remove it",
    ),
    (
        "sinks: {a: {type: mqtt, uri: 'mqtt://h', topic: b}}",
        "f:1: sinks.a.topic: is of no use to the encoder edge. Hint: write root in its place",
    ),
    (
        "sinks: {a: {type: mqtt, uri: 'ws://localhost:1883'}}",
        (
            "f:1: sinks.a: publishes to the same topics at the same broker as mqtt. "
            "Hint: remove the sink, or let its topics begin with another word (root, topic)"
        ),
    ),
    (
        "sinks: {a: {type: mqtt, uri: 'mqtt://h', commands: {enabled: true}}}",
        (
            "f:1: sinks.a.commands: is of no use to a sink: commands are taken from the broker of mqtt "
            "alone. Hint: write it below mqtt:"
        ),
    ),
    (
        "mqtt: {client_id: x}\nsinks: {a: {type: mqtt, uri: 'mqtt://localhost', root: b, client_id: x}}",
        (
            "f:2: sinks.a.client_id: is that of mqtt too, at the same broker. "
            "Hint: each connection needs its own; without the line it gets one"
        ),
    ),
    (
        "sinks: {a: {type: jsonl}, A: {type: jsonl}}",
        "f:1: sinks.A: differs from the sink a only in upper and lower case. Hint: choose another name",
    ),
    (
        "sinks: {a: {type: mqtt, uri: 'mqtt://h', password: hunter2}}",
        (
            "f:1: sinks.a.password: unknown key. Hint: the configuration never holds a password: "
            "write it into a file and name that in password_file (or use password_env or password_credential)"
        ),
    ),
]

WHOLE = [
    ("", "f: the file is empty. Hint: `edge-app init` writes a configuration to start from"),
    ("# only this\n", "f: the file is empty. Hint: `edge-app init` writes a configuration to start from"),
    (
        "- a",
        (
            "f:1: the file must hold keys such as `cameras:` and `mqtt:`. "
            "Hint: `edge-app init` writes a configuration to start from"
        ),
    ),
    (
        "rtsp://host/1",
        (
            "f:1: the file must hold keys such as `cameras:` and `mqtt:`. "
            "Hint: `edge-app init` writes a configuration to start from"
        ),
    ),
]


@pytest.mark.parametrize(("text", "expected"), [*KEYS, *TYPES, *NAMES, *CAMERAS, *RULES, *WHOLE])
def test_one_problem_is_explained(text: str, expected: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse_config(text.encode(), file="f", base=Path("/base"))
    assert [str(problem) for problem in caught.value.problems] == [expected]
    assert str(caught.value) == expected
    assert caught.value.exit_status == EXIT_CONFIG
