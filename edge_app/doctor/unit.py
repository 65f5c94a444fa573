"""The service's unit: what systemd tells of it, and its texts without what may be a secret."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator

from edge_app.config.secrets import HIDDEN
from edge_app.doctor.machine import Machine

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
_ANYTHING = ("Environment", "UnsetEnvironment", "StandardInput", "LogExtraFields", "X-")
"""What settings begin with whose values may hold anything."""


def settings_of(machine: Machine, *names: str) -> dict[str, list[str]]:
    """Return what `systemctl show` says of some settings of the service, each with all its values."""
    answer = machine.command("systemctl", "show", SERVICE, "-p", ",".join(names), timeout_s=ASK_S)
    found: dict[str, list[str]] = {}
    for line in answer.output.splitlines() if answer is not None else ():
        name, separator, value = line.partition("=")
        if separator and name in names:
            found.setdefault(name, []).append(value)
    return found


def service_environment(machine: Machine) -> dict[str, str]:
    """Return the variables that the unit and its environment files set, as far as they can be read."""
    settings = settings_of(machine, "Environment", "EnvironmentFiles")
    found = {name: value for text in settings.get("Environment", ()) for name, value in _variables(text)}
    for text in settings.get("EnvironmentFiles", ()):
        content = machine.read(re.sub(r" \(ignore_errors=\w+\)$", "", text)) or ""
        for line in content.splitlines():
            if not line.lstrip().startswith(("#", ";")):
                name, _, value = line.partition("=")
                found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _variables(text: str) -> Iterator[tuple[str, str]]:
    for word in _words(text):
        name, separator, value = word.partition("=")
        if separator:
            yield name, value


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
