"""The service's unit: what systemd tells of it, and its texts without what may be a secret."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_app.config.secrets import HIDDEN
from edge_app.doctor.machine import Machine
from edge_app.files.place import why_no_file

INSTALLED_CONFIG = "/etc/edge-app/edge.yaml"
SERVICE = "edge-app.service"
INSTANCES = "edge-app@*.service"
"""Further daemons, each under the name of its configuration."""
ASK_S = 5.0
"""Longer than systemd takes to answer unless it hangs; what is not told then is not known."""

_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9-]*)=(.*)", re.DOTALL)
_SECTION = re.compile(r"\[[A-Za-z]+\]")
_FILE = re.compile(r"# (/[\w./@:-]+)")
"""`systemctl cat` names each file so; other comments may be anything."""
_RUNNING = re.compile(r"\{ path=([^ ;]+) ; argv\[\]=(.*) ; ((?:ignore_errors|flags)=.*)", re.DOTALL)
"""A command in `systemctl show`."""
_KNOWN = re.compile(r"run|reload|--config|--log-level|debug|info|warning|error|/[\w./-]+")
"""What may follow our own program: nothing of it can be a password."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN_WORD = re.compile(r'"((?:\\.|[^"\\])*)"|\S+', re.DOTALL)
"""One of several values in `systemctl show`: in double quotes as a whole if the shell would want it."""
_ESCAPED = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_STORES = (
    "/run/credentials/@system",
    "/etc/credstore",
    "/run/credstore",
    "/usr/local/lib/credstore",
    "/usr/lib/credstore",
)
"""Where systemd looks for credentials; the first place counts. Encrypted ones lie beside, `.encrypted`."""
_ANYTHING = ("Environment", "UnsetEnvironment", "StandardInput", "LogExtraFields", "X-")
"""What settings begin with whose values may hold anything."""


def service_of(machine: Machine, config: Path | None) -> str:
    """Return the unit that runs a configuration: where several daemons do, each has its file's name."""
    installed = machine.path(INSTALLED_CONFIG)
    if config is None or config.name == installed.name or config.absolute().parent != installed.parent:
        return SERVICE
    return INSTANCES.replace("*", config.stem)


def settings_of(machine: Machine, service: str, *names: str) -> dict[str, list[str]]:
    """Return what `systemctl show` says of some settings of a service, each with all its values."""
    answer = machine.command("systemctl", "show", service, "-p", ",".join(names), timeout_s=ASK_S)
    found: dict[str, list[str]] = {}
    for line in answer.output.splitlines() if answer is not None else ():
        name, separator, value = line.partition("=")
        if separator and name in names:
            found.setdefault(name, []).append(value)
    return found


def service_credentials(machine: Machine, service: str) -> dict[str, Path | bytes | None] | None:
    """Return what systemd hands to a service, by name: a file, or the content itself; None: unknown here.

    None for all: it is not known. `systemctl show` cannot print these settings, so `busctl` asks systemd.
    """
    if settings_of(machine, service, "LoadState").get("LoadState") != ["loaded"]:
        return None
    unit = "/org/freedesktop/systemd1/unit/" + re.sub(
        r"[^A-Za-z0-9]", lambda letter: f"_{ord(letter[0]):02x}", service
    )
    loaded = _property(machine, unit, "LoadCredential")
    if loaded is None:
        return None
    # What is set is the default of what is loaded (systemd.exec(5)).
    found: dict[str, Path | bytes | None] = {}
    for name, content in _pairs(machine, unit, "SetCredentialEncrypted"):
        with tempfile.NamedTemporaryFile(prefix="edge-app-sealed-") as sealed:
            sealed.write(bytes(content))
            sealed.flush()
            found[name] = _decrypted(machine, name, Path(sealed.name))
    found |= {name: bytes(content) for name, content in _pairs(machine, unit, "SetCredential")}
    for pattern in _property(machine, unit, "ImportCredential") or []:
        for store in reversed(_STORES):
            for file in machine.glob(f"{store}.encrypted/{pattern}"):
                found[file.name] = _decrypted(machine, file.name, file)
            found |= {file.name: file for file in machine.glob(f"{store}/{pattern}")}
    for name, named in _pairs(machine, unit, "LoadCredentialEncrypted"):
        with suppress(FileNotFoundError):
            place = _find(machine, named, ".encrypted")
            found[name] = place and _decrypted(machine, name, place)
    for name, named in loaded:
        with suppress(FileNotFoundError):
            found[name] = _find(machine, named)
    return found


def _find(machine: Machine, named: str, suffix: str = "") -> Path | None:
    """Return where a credential lies; what is named without a folder is looked up in systemd's own.

    None: some place cannot be looked at by who we are.

    Raises:
        FileNotFoundError: It lies nowhere.
    """
    ends = dict.fromkeys((suffix, ""))
    stores = [""] if named.startswith("/") else [f"{store}{end}/" for store in _STORES for end in ends]
    places = [machine.path(f"{store}{named}") for store in stores]
    missing = {place: why_no_file(place) for place in places}
    there = next((place for place, why in missing.items() if why is None), None)
    if there is None and all(why == "does not exist" for why in missing.values()):
        raise FileNotFoundError(named)
    return there


def _decrypted(machine: Machine, name: str, sealed: Path) -> bytes | None:
    answer = machine.command("systemd-creds", "decrypt", f"--name={name}", str(sealed), "-")
    return answer.output.encode() if answer is not None and answer.status == 0 else None


def _pairs(machine: Machine, unit: str, name: str) -> list[Any]:
    return _property(machine, unit, name) or []


def _property(machine: Machine, unit: str, name: str) -> list[Any] | None:
    """Return a setting of a unit as systemd tells it on D-Bus; None where it does not, as an older one."""
    asked = ("org.freedesktop.systemd1", unit, "org.freedesktop.systemd1.Service", name)
    answer = machine.command("busctl", "--json=short", "get-property", *asked, timeout_s=ASK_S)
    if answer is None or answer.status != 0:
        return None
    try:
        told = json.loads(answer.output)
    except ValueError:
        return None
    data = told.get("data") if isinstance(told, dict) else None
    return data if isinstance(data, list) else None


def service_environment(machine: Machine, service: str) -> dict[str, str]:
    """Return the variables that a unit and its environment files set, as far as they can be read."""
    settings = settings_of(machine, service, "Environment", "EnvironmentFiles")
    found = {name: value for text in settings.get("Environment", ()) for name, value in _variables(text)}
    for text in settings.get("EnvironmentFiles", ()):
        content = machine.read(re.sub(r" \(ignore_errors=\w+\)$", "", text)) or ""
        for line in content.splitlines():
            if not line.lstrip().startswith(("#", ";")):
                name, _, value = line.partition("=")
                found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    """Return a value of an environment file as systemd.exec(5) reads it, of one line."""
    quote = value[0] if len(value) > 1 and value[0] == value[-1] else ""
    if quote == "'":
        return value[1:-1]
    if quote == '"':
        return re.sub(r'\\(["\\`$])', r"\1", value[1:-1])
    return re.sub(r"\\(.)", r"\1", value)


def _variables(text: str) -> Iterator[tuple[str, str]]:
    """Yield the variables of `systemctl show`."""
    for word in _SHOWN_WORD.finditer(text):
        shown = word[0] if word[1] is None else _ESCAPED.sub(_unescaped, word[1])
        name, separator, value = shown.partition("=")
        if separator:
            yield name, value


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    return chr(int(code, 8)) if len(code) == 3 else _CONTROLS.get(code, code)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote without its like
        return []


def unit_without_secrets(text: str) -> str:
    """Return the text of a unit, or what `systemctl show` says of one, without what may be a secret.

    Values of `Environment=`, credentials, what is fed to the standard input, and arguments of programs are
    hidden, but for names, paths, and what our own program knows. So are comments, and lines of no known form.
    """
    whole = re.sub(r"\\\r?\n(?:[ \t]*[#;].*\n)*", " ", text)
    return "\n".join(_shown(line.strip()) for line in whole.splitlines())


def _shown(line: str) -> str:
    if not line or _SECTION.fullmatch(line) or _FILE.fullmatch(line):
        return line
    if line[0] in "#;":
        return f"# {HIDDEN}"
    found = _SETTING.fullmatch(line)
    if found is None:
        return HIDDEN
    return f"{found[1]}={_value(found[1], found[2].strip())}"


def _value(name: str, value: str) -> str:
    file = name == "EnvironmentFile" and value.lstrip("-").startswith("/")
    if not value or file or name == "EnvironmentFiles":
        return value
    if name == "Environment":
        return _environment(value)
    if name.startswith(_ANYTHING):
        return HIDDEN
    if name.startswith("Exec") and not re.fullmatch(r"Exec(MainS|MainE|MainP|MainC|MainH)\w*", name):
        return _command(value)
    if "Credential" in name:
        kept, colon, rest = value.partition(":")
        plain = colon and re.fullmatch(r"[\w.@-]+", kept)
        from_file = name.startswith(("Load", "Import")) and re.fullmatch(r"/[\w./@-]+", rest)
        return f"{kept}:{rest if from_file else HIDDEN}" if plain else HIDDEN
    return value


def _environment(value: str) -> str:
    """Return the names of the variables; nothing where it is not certain what is a name."""
    words = [] if re.search(r"\\|\$'", value) else _words(value)
    names = [word.partition("=")[0] for word in words if "=" in word]
    if not words or len(names) < len(words) or not all(map(_VARIABLE.fullmatch, names)):
        return HIDDEN
    return " ".join(f"{name}={HIDDEN}" for name in names)


def _command(value: str) -> str:
    running = _RUNNING.fullmatch(value)
    if running is not None:
        return f"{{ path={running[1]} ; argv[]={_program(running[2])} ; {running[3]}"
    return HIDDEN if value.startswith("{") else _program(value)


def _program(text: str) -> str:
    """Return a program with those of its arguments that cannot be secrets."""
    program, *arguments = text.split()
    path = program.lstrip("-@:+!|")
    if not re.fullmatch(r"/?[\w./@%-]+", path):
        return HIDDEN
    ours = path.rpartition("/")[2] == "edge-app"
    shown = [word if ours and _KNOWN.fullmatch(word) else HIDDEN for word in arguments]
    return " ".join([program, *(word for word, _ in itertools.groupby(shown))])
