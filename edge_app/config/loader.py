"""From a file to the frozen configuration, or to a list of all that is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge_app.config.checks import Finding
from edge_app.config.models import AppConfig
from edge_app.config.paths import with_absolute_paths
from edge_app.config.problems import InvalidConfigError, Problem, format_path
from edge_app.config.validation import validate
from edge_app.config.yaml_reader import MAX_BYTES, Document, read_yaml
from edge_app.errors import ConfigError
from edge_app.files.bounded import NotRegularError, read_start

_START_HINT = "`edge-app init` writes a configuration to start from"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A valid configuration and where it came from.

    Attributes:
        config: The configuration; its relative paths, camera files included, were made absolute.
        path: The file, as the user named it.
        base: The absolute directory that relative paths in it are relative to.
    """

    config: AppConfig
    path: Path
    base: Path


def load_config(path: Path) -> LoadedConfig:
    """Read and check a configuration file.

    Raises:
        InvalidConfigError: With all problems, if the file can be read but not used.
        ConfigError: If the file cannot be read.
    """
    base = path.absolute().parent
    if re.search("[\ud800-\udfff]", str(base)):  # what Python makes of such bytes; video libraries die of it
        raise ConfigError(
            f"{path} lies in a directory whose name is not UTF-8 text.", hint="rename or move the directory"
        )
    return LoadedConfig(parse_config(_read(path), file=str(path), base=base), path, base)


def parse_config(content: bytes, *, file: str, base: Path) -> AppConfig:
    """Check the bytes of a configuration file; `file` is its name in messages, `base` its directory.

    Raises:
        InvalidConfigError: With all problems.
    """
    document = read_yaml(content, file)
    problems = list(document.problems)
    if document.complete and document.data is None and not problems:
        problems.append(Problem(file, None, "", "the file is empty", _START_HINT))
    elif document.complete and not isinstance(document.data, dict) and not problems:
        message = "the file must hold keys such as `cameras:` and `mqtt:`"
        problems.append(Problem(file, 1, "", message, _START_HINT))
    if not isinstance(document.data, dict):
        raise InvalidConfigError(file, problems)
    config, findings = validate(document, base)
    problems += [_place(finding, document, file) for finding in findings]
    if problems:
        raise InvalidConfigError(file, problems)
    return with_absolute_paths(config, base)


def require_cameras(loaded: LoadedConfig) -> None:
    """Check that there is something to watch.

    Raises:
        InvalidConfigError: If there is no camera, or none is enabled.
    """
    cameras = loaded.config.cameras
    if any(camera.enabled for camera in cameras.values()):
        return
    found = "no camera is enabled" if cameras else "there is no camera"
    hint = "set enabled: true" if cameras else f"add one; {_START_HINT}, and `edge-app demo` needs none"
    raise InvalidConfigError(str(loaded.path), [Problem(str(loaded.path), None, "cameras", found, hint)])


def _read(path: Path) -> bytes:
    try:
        return read_start(path, MAX_BYTES + 1)
    except NotRegularError as error:
        raise ConfigError(
            f"{path} is {error.kind}, not a configuration file.", hint=f"name a file; {_START_HINT}"
        ) from None
    except FileNotFoundError:
        raise ConfigError(f"There is no configuration file {path}.", hint=_START_HINT) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that cannot be a file name"
        raise ConfigError(
            f"{path} cannot be read: {reason}.", hint="check its owner and permissions"
        ) from None


def _place(finding: Finding, document: Document, file: str) -> Problem:
    """Give a finding the line of its key, or of the nearest section around it."""
    path = finding.path
    while path and path not in document.spots:
        path = path[:-1]
    spot = document.spots.get(path)
    line = (spot.key or spot.value).line if spot else None
    return Problem(file, line, format_path(finding.path), finding.message, finding.hint)
