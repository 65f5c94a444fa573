"""Configurations written for people: the reference with every key, and one to start from."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge_app.config.camera_uri import parse_camera_uri
from edge_app.config.describe import bounds, choices, join_or, quoted
from edge_app.config.models import AppConfig, CameraSection, JsonlSinkSection
from edge_app.config.scalars import resolve_scalar
from edge_app.config.secrets import holds_userinfo
from edge_app.errors import ConfigError

_WIDTH = 110
_COMMENT_COLUMN = 30
_DEMO_CAMERA = "scene://street?seed=1&size=1280x720&fps=30"
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./:?=&%+-]*[A-Za-z0-9_/]|[A-Za-z]")
_PLAIN_IN_BRACKETS = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
"""PyYAML takes a question mark or a colon inside of brackets for an indicator."""

_HEADER = """\
# The configuration of edge-app: every key there is, with its default.
#
# A configuration holds only what differs from these. `edge-app init` writes a short one to start from, and
# `edge-app check-config FILE` says all that is wrong with one.
#
# Values are written as in YAML 1.2: true, false, 10, 0.5, null, text. Text in 'single quotes' is always text.
# Paths are relative to the directory of the file that they stand in.
"""

_CAMERAS_EXAMPLE = """\
# Write them below `cameras:` in place of the {}, like these two:
#  door:                      # the camera's name, in topics: letters, digits, _ - .
#    uri: rtsp://192.168.1.20:554/stream1
#    username: viewer
#    password_file: door.password
#    max_fps: 10              # any key of camera_defaults
#  yard:
#    uri: v4l2:///dev/video0?size=1280x720&fps=30
"""

_MODELS_EXAMPLE = """\
# Write them below `models:` in place of the {}, with the keys of `model`, and what else differs:
#  faces:                     # a camera gets it by `model: faces`
#    path: demo
#    device: 0                # which GPU
#    inference: {max_batch: 8}
#    postprocess: {confidence_threshold: 0.5}
"""

_SINKS_EXAMPLE = """\
# Write them below `sinks:` in place of the {}, like these:
#  cloud:                     # a further broker, with the keys and defaults of `mqtt`
#    type: mqtt
#    enabled: true            # false: not used
#    encoder: edge            # edge: this contract, deepstream: its minimal schema, frigate: its topics
#    uri: mqtts://broker.example.com:8883
#    username: edge
#    password_file: cloud.password
#    root: edge               # edge: first level of every topic
#  house:                     # the same broker as `mqtt`, for what reads Frigate
#    type: mqtt
#    encoder: frigate
#    uri: mqtt://localhost:1883
#    topic: frigate           # deepstream: the topic, frigate: what topics begin with (its name)
#  archive:                   # files of JSON Lines, here with all keys and their defaults
#    type: jsonl
"""

_STARTER = """\
# Configuration of edge-app. All keys, with their defaults: `edge-app init --full`.
# Check it:  edge-app check-config FILE      Run it:  edge-app run --config FILE

node:
  name: null                  # this node's name in topics; null: the host's name

model:
  path: demo                  # an .onnx file; `demo` knows rendered street scenes only

cameras:
  {name}:
    # A video file, rtsp://host/path, v4l2:///dev/video0, csi://0, scene://street, and more
    uri: {uri}
{login}    max_fps: null             # most frames a second; null: as they come

postprocess:
  confidence_threshold: 0.25  # least confidence of a detection

mqtt:
  uri: mqtt://localhost:1883  # mqtts://host:8883 with encryption
  # username: edge
  # password_file: mqtt.password
"""


def render_default_config() -> str:
    """Return the text of `configs/edge.yaml`: every key with its default and its meaning."""
    lines = [_HEADER.rstrip()]
    for name, field in AppConfig.model_fields.items():
        lines += ["", f"# {_description(field)}."]
        if name == "cameras":
            uri = _description(CameraSection.model_fields["uri"])
            lines += textwrap.wrap(f"uri: {uri}", _WIDTH, initial_indent="# ", subsequent_indent="#      ")
            lines += ["cameras: {}", *_CAMERAS_EXAMPLE.rstrip().split("\n")]
        elif name == "sinks":
            lines += ["sinks: {}", *_SINKS_EXAMPLE.rstrip().split("\n"), *_file_sink()]
        elif name == "models":
            lines += ["models: {}", *_MODELS_EXAMPLE.rstrip().split("\n")]
        else:
            lines += [f"{name}:", *_section(field.default, "  ")]
    return "\n".join(lines) + "\n"


def render_starter_config(camera_uri: str | None = None) -> str:
    """Return a short commented configuration with one camera, the shipped model and a local broker.

    Args:
        camera_uri: The camera's URI; a rendered scene if None. A user name in it becomes `username`, and its
            password is left out: the text names a file to write it into.

    Raises:
        ConfigError: If it is no camera's URI.
    """
    uri, login = _without_login(camera_uri or _DEMO_CAMERA)
    _require_camera(uri)
    name = "street" if camera_uri is None else "camera1"
    return _STARTER.format(name=name, uri=yaml_text(uri), login=login)


def yaml_text(value: Any) -> str:
    """Return a value of the configuration as it is written on one line of YAML."""
    return _text(value, _PLAIN)


def _text(value: Any, plain: re.Pattern[str]) -> str:
    if isinstance(value, Enum):
        return _text(value.value, plain)
    if isinstance(value, str):
        is_plain = plain.fullmatch(value) and isinstance(resolve_scalar(value), str)
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        items = [
            f"{_text(key, _PLAIN_IN_BRACKETS)}: {_text(item, _PLAIN_IN_BRACKETS)}"
            for key, item in value.items()
        ]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_text(item, _PLAIN_IN_BRACKETS) for item in value)}]"
    return json.dumps(value)


def _section(section: BaseModel, indent: str) -> Iterator[str]:
    for name, field in _fields(type(section)):
        value = field.default
        if isinstance(value, BaseModel):
            yield from _commented(f"{indent}{name}:", _description(field))
            yield from _section(value, f"{indent}  ")
        else:
            yield from _commented(
                f"{indent}{name}: {yaml_text(value)}", _description(field) + _accepted(field)
            )


def _file_sink() -> Iterator[str]:
    """Yield the keys of a sink that is a file, as comments."""
    for name, field in JsonlSinkSection.model_fields.items():
        if not field.is_required():
            text, comment = f"{name}: {yaml_text(field.default)}", _description(field) + _accepted(field)
            yield from (f"#{line[1:]}" for line in _commented(f"#    {text}", comment))


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Return the fields, those that say where the password is behind the user name."""
    inherited = [name for name in model.model_fields if name not in model.__annotations__]
    own = [name for name in model.model_fields if name not in inherited]
    cut = own.index("username") + 1 if "username" in own else len(own)
    return [(name, model.model_fields[name]) for name in own[:cut] + inherited + own[cut:]]


def _description(field: FieldInfo) -> str:
    return field.description or ""


def _accepted(field: FieldInfo) -> str:
    """Return what a key accepts, as the end of its comment."""
    words = [quoted(word) for word in choices(field.annotation)]
    limits = bounds(field.metadata).strip()
    return f" ({join_or(words)})" if words else f" ({limits})" if limits else ""


def _commented(text: str, comment: str) -> Iterator[str]:
    """Yield `text` with its comment beside it, wrapped in a column of its own."""
    column = max(_COMMENT_COLUMN, len(text) + 2)
    first, *others = textwrap.wrap(comment, _WIDTH - column - 2, break_long_words=False)
    yield f"{text.ljust(column)}# {first}"
    for line in others:
        yield f"{' ' * column}# {line}"


def _without_login(uri: str) -> tuple[str, str]:
    """Return a URI without user name and password, and the lines that take their place."""
    if not holds_userinfo(uri):
        return uri, ""
    parts = urlsplit(uri)
    if not parts.username or holds_userinfo(
        bare := parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    ):
        raise ConfigError(
            "The camera's URI holds a user name or password that cannot be told from its host.",
            hint="Leave both out of the URI, and set username and password_file in the configuration.",
        )
    login = f"    username: {yaml_text(unquote(parts.username))}\n"
    if parts.password is not None:
        login += (
            "    password_file: camera1.password  # write the password into the first line of this file\n"
        )
    return bare, login


def _require_camera(uri: str) -> None:
    try:
        parse_camera_uri(uri)
    except ConfigError as error:
        raise ConfigError(f"The camera's URI {error.message}.", hint=error.hint) from None
