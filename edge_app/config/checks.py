"""What no single key can tell: rules between keys, addresses, and files that must exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.config.broker_uri import parse_broker_uri
from edge_app.config.camera_uri import parse_camera_uri
from edge_app.config.listen_address import parse_listen_address
from edge_app.config.models import AppConfig, CameraDefaults, CameraSection, ModelSection, MqttSection
from edge_app.config.paths import resolve_path
from edge_app.config.per_model import config_of_model
from edge_app.config.problems import KeyPath, format_path, shorten
from edge_app.errors import ConfigError

PASSWORD_KEYS = ("password_file", "password_env", "password_credential")


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem without its line.

    Attributes:
        path: The key that it is about.
        message: What is wrong and what was found.
        hint: What to do about it.
        others: Further keys that the rule looked at; the finding counts only if all of them were valid.
        even_inherited: Whether it counts for a camera whose key stands in `camera_defaults`.
    """

    path: KeyPath
    message: str
    hint: str | None = None
    others: tuple[KeyPath, ...] = ()
    even_inherited: bool = False


def cross_check(config: AppConfig, base: Path) -> Iterator[Finding]:
    """Yield what is wrong in a configuration whose single keys are right.

    Args:
        config: The configuration, its relative paths not yet resolved.
        base: What its relative paths are relative to.
    """
    for name in (None, *config.models):
        where: KeyPath = () if name is None else ("models", name)
        of_model = config_of_model(config, name)
        model_path = ("model",) if name is None else where
        yield from _check_model(of_model.model, base, model_path)
        yield from _check_engine(of_model, where)
        yield from _check_classes(of_model, where, (*model_path, "labels"))
    yield from _check_passwords(config.camera_defaults, ("camera_defaults",))
    yield from _check_backoff(config.camera_defaults, ("camera_defaults",))
    yield from _check_choice(config.camera_defaults, config, ("camera_defaults", "model"))
    yield from check_names("models", "model", config.models)
    yield from check_names("cameras", "camera", config.cameras)
    for name, camera in config.cameras.items():
        yield from _check_camera(camera, ("cameras", name))
        yield from _check_choice(camera, config, ("cameras", name, "model"))
    yield from check_broker(config.mqtt, ("mqtt",))
    try:
        parse_listen_address(config.metrics.address)
    except ConfigError as error:
        yield Finding(("metrics", "address"), error.message, error.hint)


def _check_choice(section: CameraDefaults, config: AppConfig, path: KeyPath) -> Iterator[Finding]:
    if section.model is None or section.model in config.models:
        return
    close = difflib.get_close_matches(section.model, config.models, 1)
    hint = "write it below models:, or remove the line: the camera then gets the model of model:"
    if config.models:
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(config.models)}"
    yield Finding(path, f"is none of `models`, found {shorten(section.model)}", hint)


def _check_model(model: ModelSection, base: Path, where: KeyPath) -> Iterator[Finding]:
    if model.path != "demo":
        path: KeyPath = (*where, "path")
        findings = list(_check_file(model.path, path, base, "`demo` is the model shipped with edge-app"))
        yield from findings
        if not findings and not model.path.lower().endswith((".onnx", ".yaml", ".yml")):
            hint = "name an .onnx file, or a .yaml file that describes one"
            yield Finding(path, f"is not a kind of model file, found {shorten(model.path)}", hint)
    if isinstance(model.labels, str):
        hint = "write a text file with one class name on each line, or a list of names"
        yield from _check_file(model.labels, (*where, "labels"), base, hint)
    elif model.labels is not None and not model.labels:
        yield Finding((*where, "labels"), "is an empty list", "list the class names, or write null")
    width, height = (*where, "input", "width"), (*where, "input", "height")
    if (model.input.width is None) != (model.input.height is None):
        given, absent = (width, height) if model.input.width is not None else (height, width)
        yield Finding(given, f"is set, but {absent[-1]} is not", f"set {absent[-1]} too", (absent,))
    if model.input.std is not None and 0 in model.input.std:
        yield Finding(
            (*where, "input", "std"), "holds a 0, and values are divided by it", "1 changes nothing"
        )


def _check_engine(config: AppConfig, where: KeyPath) -> Iterator[Finding]:
    engine, max_batch = config.engine, config.inference.max_batch
    if engine.opt_batch > max_batch:
        yield Finding(
            (*where, "engine", "opt_batch"),
            f"is more than inference.max_batch, {engine.opt_batch} > {max_batch}",
            f"write at most {max_batch}, or raise inference.max_batch",
            ((*where, "inference", "max_batch"),),
        )
    for key, source in (
        ("calibration", engine.calibration.source),
        ("verification", engine.verification.source),
    ):
        if source is not None:
            try:
                parse_camera_uri(source)
            except ConfigError as error:
                yield Finding((*where, "engine", key, "source"), error.message, error.hint)


def _check_file(text: str, path: KeyPath, base: Path, hint: str) -> Iterator[Finding]:
    file = resolve_path(text, base)
    try:
        if not file.is_file():
            what = "is a directory" if file.is_dir() else "does not exist"
            yield Finding(path, f"the file {what}: {file}", hint)
    except OSError as error:
        yield Finding(path, f"the file {shorten(text)} cannot be looked at: {error.strerror}", hint)


def _check_classes(config: AppConfig, where: KeyPath, labels_path: KeyPath) -> Iterator[Finding]:
    labels = config.model.labels
    if not isinstance(labels, tuple):
        return
    post = config.postprocess
    wanted: list[tuple[KeyPath, str]] = [
        ((*where, "postprocess", "class_confidence", label), label) for label in post.class_confidence
    ]
    wanted += [((*where, "postprocess", "classes", index), label) for index, label in enumerate(post.classes)]
    for path, label in wanted:
        if label not in labels:
            close = difflib.get_close_matches(label, labels, 1)
            listed = f"the labels are listed under {format_path(labels_path)}"
            hint = f"did you mean {close[0]}?" if close else listed
            yield Finding(path, f"is no label of the model, found {shorten(label)}", hint, (labels_path,))


def check_names(section: str, what: str, names: Iterable[str]) -> Iterator[Finding]:
    """Yield names that are the same but for upper and lower case."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            message = f"differs from the {what} {other} only in upper and lower case"
            yield Finding((section, name), message, "choose another name")


def _check_camera(camera: CameraSection, path: KeyPath) -> Iterator[Finding]:
    yield from _check_passwords(camera, path)
    yield from _check_backoff(camera, path)
    try:
        uri = parse_camera_uri(camera.uri)
    except ConfigError as error:
        yield Finding((*path, "uri"), error.message, error.hint)
        return
    for key in ("username", *PASSWORD_KEYS):
        if getattr(camera, key) is not None and not uri.on_network:
            message = f"is of no use to a camera of the kind {uri.kind.value}"
            hint = "only rtsp://, rtsps://, http:// and https:// cameras ask for one"
            yield Finding((*path, key), message, hint, ((*path, "uri"),))
        elif key != "username" and getattr(camera, key) is not None and camera.username is None:
            message, hint = "is set, but username is not", "set username too"
            yield Finding((*path, key), message, hint, ((*path, "username"),), even_inherited=True)


def _check_passwords(section: Any, path: KeyPath) -> Iterator[Finding]:
    given = [key for key in PASSWORD_KEYS if getattr(section, key) is not None]
    for key in given[1:]:
        message = f"a password is found in one place, but {given[0]} is set too"
        yield Finding((*path, key), message, "keep one of them", ((*path, given[0]),))


def _check_backoff(section: CameraDefaults | MqttSection, path: KeyPath) -> Iterator[Finding]:
    least, most = section.reconnect_min_s, section.reconnect_max_s
    if least > most:
        yield Finding(
            (*path, "reconnect_min_s"),
            f"must be at most reconnect_max_s, found {least:g} and {most:g} seconds",
            f"reconnect_max_s of {least:g} or more fits",
            ((*path, "reconnect_max_s"),),
        )


def check_broker(mqtt: MqttSection, path: KeyPath) -> Iterator[Finding]:
    """Yield what is wrong with how a broker is to be reached."""
    yield from _check_passwords(mqtt, path)
    yield from _check_backoff(mqtt, path)
    for key in PASSWORD_KEYS:
        if getattr(mqtt, key) is not None and mqtt.username is None:
            yield Finding(
                (*path, key), "is set, but username is not", "set username too", ((*path, "username"),)
            )
    if (mqtt.tls.cert_file is None) != (mqtt.tls.key_file is None):
        given, absent = ("cert_file", "key_file") if mqtt.tls.key_file is None else ("key_file", "cert_file")
        others = ((*path, "tls", absent),)
        yield Finding((*path, "tls", given), f"is set, but {absent} is not", f"set {absent} too", others)
    try:
        uri = parse_broker_uri(mqtt.uri)
    except ConfigError as error:
        yield Finding((*path, "uri"), error.message, error.hint)
        return
    for key, value in mqtt.tls:
        if value not in (None, False) and not uri.encrypted:
            plain, encrypted = ("mqtt", "mqtts") if uri.path is None else ("ws", "wss")
            message = f"is of no use with {plain}://, which is not encrypted"
            hint = f"write {encrypted}:// in {format_path((*path, 'uri'))}"
            yield Finding((*path, "tls", key), message, hint, ((*path, "uri"),))
