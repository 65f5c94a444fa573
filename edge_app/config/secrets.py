"""Passwords: found by reference, and kept out of every text that people or machines will read."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, quote_plus

from edge_app.control_characters import escape_controls
from edge_app.errors import ConfigError
from edge_app.files.bounded import read_start
from edge_app.files.child_environment import withhold

_LOG = logging.getLogger(__name__)

HIDDEN = "***"
_MAX_PASSWORD_BYTES = 4096
MIN_REPLACED_CHARS = 4
"""A shorter secret would be found inside ordinary words, and its replacement would give it away."""

# Bounded: a word of 64 KiB would otherwise be looked at once more from each of its letters, for seconds.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,63}(?:://|%3a%2f%2f)", re.IGNORECASE)
_NETWORK_USERINFO = re.compile(r"(?:rtsps?|https?|mqtts?|wss?)://[^/?#]*@", re.IGNORECASE)
"""Spaces included: a URI that was written over two lines has one, and `urlsplit` takes it."""
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")
_BARE_AT = re.compile(r"(?<!\*\*\*)(?:@|%40)")
_FOLDED = re.compile(r"[^\s/?#]+:\s+[^\s@]+@")
_WORD_AND_AT = re.compile(r"([^\s@]+)(@(?=[\w\[]))?")
_COLON_OR_QUOTE = re.compile(r"(:(?!//)|['\"])")
"""The colon of a scheme separates no user from a password."""
_SECRET_OPTION = re.compile(
    r"(?<![a-z])((?:password|passwd|passphrase|pass|pwd|user-pw|secret|token|api[_-]?key)\s*(?:=|%3d)\s*)"
    r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s&;,\"']+)",
    re.IGNORECASE,
)
_SECRET_OF_QUERY = re.compile(
    r"((?:[?&]|%3f|%26)(?:login_?pass?|authorization|auth|key|signature|sig)(?:=|%3d))[^\s&;,\"']+",
    re.IGNORECASE,
)
"""What cameras and their recorders call passwords in addresses; elsewhere these are ordinary words."""

_FILE_NAME = re.compile(
    r"[a-z]+([._-][a-z]+)+|[\w.-]+\.(password|passwd|pass|pw|secret|txt)|(password|secret)s?", re.ASCII
)
"""What files of passwords are called, and passwords are not."""


class UnreadableCredentialError(ConfigError):
    """A credential is named that only the service itself can have."""


class PasswordReference(Protocol):
    """What a configuration section says about its password; at most one is set."""

    @property
    def password_file(self) -> str | None:
        """File whose first line is the password."""

    @property
    def password_env(self) -> str | None:
        """Environment variable that holds it."""

    @property
    def password_credential(self) -> str | None:
        """Name of a systemd credential."""


def redact_uri(text: str) -> str:
    """Return `text` with user names and passwords of all URIs in it, and `password=` options, hidden.

    Errs on the side of hiding: passwords are often written into URIs without percent-encoding, so an `@`
    anywhere in a URI hides all that stands before it. A text without credentials comes back unchanged.
    """
    redacted = []
    position = 0
    for begin, end in _addresses(text):
        hidden = (
            _last_at(text[begin:end])
            if "@" in _decoded(_word(text[begin:end]))
            else _userinfo(text[begin:end])
        )
        redacted.append(text[position:begin] + f"{HIDDEN}@" * bool(hidden))
        position = begin + hidden
    text = _WORD_AND_AT.sub(_without_bare_userinfo, "".join([*redacted, text[position:]]))
    return _SECRET_OF_QUERY.sub(rf"\g<1>{HIDDEN}", _SECRET_OPTION.sub(rf"\g<1>{HIDDEN}", text))


def _without_bare_userinfo(found: re.Match[str]) -> str:
    """Hide `user:password` in front of an `@`, where no scheme stands before them."""
    word, at = found.groups()
    if at is None:
        return word
    begin, pieces = 0, _COLON_OR_QUOTE.split(word)
    for piece, separator in zip(pieces[::2], pieces[1::2], strict=False):
        end = begin + len(piece)
        if piece and separator == ":" and end + 1 < len(word):
            return f"{word[:begin]}{HIDDEN}@"
        begin = end + 1
    return f"{word}@"


def holds_userinfo(uri: str) -> bool:
    """Whether `uri`, or a URI inside it, holds a user name or password before its host."""
    scheme, separator, _ = uri.partition("://")
    if "@" in scheme and (separator or re.match(r"[^\s/@]*:", uri)):
        return True
    if _NETWORK_USERINFO.match(uri):
        return True
    return any(_userinfo(uri[begin:end]) for begin, end in _addresses(uri))


def hide_userinfo(uri: str) -> str:
    """Return a URI that `holds_userinfo` without it; if in doubt, without all before its last `@`."""
    scheme, separator, rest = uri.partition("://")
    if not separator or "@" in scheme:
        return redact_uri(f"{HIDDEN}@{uri[_last_at(uri) :]}")
    shown = redact_uri(uri)
    if not _BARE_AT.search(shown):
        return shown
    return redact_uri(f"{scheme}://{HIDDEN}@{rest[_last_at(rest) :]}")


def _addresses(text: str) -> list[tuple[int, int]]:
    """Return where what follows each scheme begins and ends: at the line's end, or the next scheme."""
    schemes = [match.span() for match in _SCHEME.finditer(text)]
    starts = [end for _, end in schemes]
    ends = [start for start, _ in schemes[1:]] + [len(text)]
    return [(start, start + len(text[start:end].split("\n", 1)[0])) for start, end in zip(starts, ends)]  # noqa: B905


def _word(text: str) -> str:
    return re.split(r"\s", text, maxsplit=1)[0]


def _decoded(text: str) -> str:
    return text.replace("%40", "@")


def _last_at(text: str) -> int:
    """Return the index behind the last `@` (or %40), 0 if there is none."""
    return max((found.end() for found in re.finditer(r"@|%40", text)), default=0)


def _userinfo(address: str) -> int:
    """Return the length of the userinfo (with its `@`) at the start of `address`, 0 if there is none.

    A password may hold spaces, slashes or hashes that should have been encoded: what stands before the
    first of them is then no host with a port.
    """
    authority = re.split(r"[/?#\s]", address, maxsplit=1)[0]
    if _FOLDED.match(address):
        return _last_at(address)
    if "@" in _decoded(authority) or not _HOST_AND_PORT.fullmatch(authority):
        return _last_at(address)
    return 0


class SecretRegistry:
    """The secret values that are known, to be replaced wherever a text leaves the process."""

    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        """Remember a secret, raw, percent-encoded and as JSON has it.

        One of fewer than 4 characters cannot be hidden.
        """
        if len(value) < MIN_REPLACED_CHARS:
            return
        encoded = {value, quote(value, safe=""), quote(value), quote_plus(value), repr(value)[1:-1]}
        for ascii_only in (False, True):
            as_json = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
            encoded |= {as_json, as_json.replace("/", "\\/")}
        encoded |= {re.sub("%..", lambda octet: octet.group().lower(), form) for form in encoded - {value}}
        self._forms = tuple(sorted({*self._forms, *encoded}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """Return `text` with every known secret, and the credentials of every URI, hidden.

        Control characters are escaped, but for the end of a line and the tabulator: what a camera or a broker
        has written shall not steer the terminal on which a log is read.
        """
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return escape_controls(redact_uri(text))


def resolve_password(
    reference: PasswordReference,
    where: str,
    environment: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = _LOG.warning,
    credentials: Mapping[str, Path | bytes | None] | None = None,
) -> str | None:
    """Return the password that a section refers to, or None if it refers to none.

    Args:
        reference: The section, such as that of a camera or of the broker.
        where: The section's key, for messages: `mqtt`, `cameras.door`.
        environment: Environment variables; the process's own if None.
        warn: Told of a password that is too short to be hidden in logs, and of a file that others can use.
        credentials: What systemd hands over by name, a file or its content, or None for what cannot be
            had here; what it has handed to this process if None.

    Raises:
        ConfigError: If it is not there, empty or unreadable. The message names the reference only where it
            cannot be the password itself, written into the wrong key.
    """
    variables = os.environ if environment is None else environment
    password = _find_password(reference, where, variables, warn, credentials)
    if password is not None and len(password) < MIN_REPLACED_CHARS:
        least = f"fewer than {MIN_REPLACED_CHARS} characters"
        warn(f"{where}: the password has {least}: it cannot be hidden in logs")
    return password


def _find_password(
    reference: PasswordReference,
    where: str,
    environment: Mapping[str, str],
    warn: Callable[[str], None],
    credentials: Mapping[str, Path | bytes | None] | None,
) -> str | None:
    if reference.password_file is not None:
        return _from_file(Path(reference.password_file), f"{where}.password_file", warn)
    if reference.password_env is not None:
        return _from_environment(reference.password_env, f"{where}.password_env", environment)
    if reference.password_credential is not None:
        name, key = reference.password_credential, f"{where}.password_credential"
        return _from_credential(name, key, environment, credentials)
    return None


def _from_file(path: Path, key: str, warn: Callable[[str], None]) -> str:
    shown = _shown(path)
    hint = "write the password into the first line of that file, readable by the user that runs edge-app"
    try:
        if not path.is_file():
            raise ConfigError(f"{key}: there is no file {shown}.", hint=hint)
        rights = rights_of_all(path)
        if rights:
            warn(f"{key}: every user can {rights} {shown}; chmod 600 makes it private")
        with path.open("rb") as file:
            return _first_line(file.read(_MAX_PASSWORD_BYTES), f"{key}: the first line of {shown}", hint)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable file name"
        raise ConfigError(f"{key}: {shown} cannot be read: {reason}.", hint=hint) from None


def rights_of_all(path: Path) -> str:
    """Return what every user of the machine may do to a file, as `read and change`; empty: nothing.

    Raises:
        OSError: If the file cannot be looked at.
    """
    mode = path.stat().st_mode
    rights = (("read", stat.S_IROTH), ("change", stat.S_IWOTH))
    return " and ".join(word for word, bit in rights if mode & bit)


def _shown(path: Path) -> str:
    """Return a path as far as it cannot be a password that was written in place of one."""
    if len(path.parts) > 1 and _FILE_NAME.fullmatch(path.name):
        return str(path)
    hidden = "(name not shown)"
    try:
        named = path.is_absolute() and path.parent.is_dir()
    except (OSError, ValueError):  # this user may not look there
        named = False
    return f"{path.parent}/{hidden}" if named else hidden


def _from_environment(name: str, key: str, environment: Mapping[str, str]) -> str:
    shown = name if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name) else "that it names (not shown)"
    value = environment.get(name)
    withhold(name)
    if not value:
        raise ConfigError(
            f"{key}: the environment variable {shown} is {'empty' if value == '' else 'not set'}.",
            hint="set it for the service (Environment= or EnvironmentFile=), or use password_file",
        )
    return value


def _from_credential(
    name: str, key: str, environment: Mapping[str, str], credentials: Mapping[str, Path | bytes | None] | None
) -> str:
    shown = name if re.fullmatch(r"[a-z]+([._-][a-z]+)+", name) else "(name not shown)"
    hint = "add LoadCredential=<name>:<file> to the service, or use password_file"
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if credentials is None and not directory:
        raise ConfigError(
            f"{key}: systemd gave this process no credentials, so not {shown} either.", hint=hint
        )
    if credentials is not None and name in credentials and credentials[name] is None:
        hint = "the service may have it all the same: root reads more, and systemd-creds decrypts more"
        words = f"{key}: the unit names the credential {shown}, which cannot be read here."
        raise UnreadableCredentialError(words, hint=hint)
    source = Path(directory or "", name) if credentials is None else credentials.get(name)
    try:
        if "/" in name or source is None or (isinstance(source, Path) and not source.is_file()):
            raise ConfigError(f"{key}: systemd gave this process no credential {shown}.", hint=hint)
        content = source if isinstance(source, bytes) else read_start(source, _MAX_PASSWORD_BYTES)
        return _first_line(content, f"{key}: the first line of the credential", hint)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable name"
        raise ConfigError(f"{key}: the credential cannot be read: {reason}.", hint=hint) from None


def _first_line(content: bytes, what: str, hint: str) -> str:
    try:
        line = content.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{what} is not UTF-8 text.", hint=hint) from None
    if not line:
        raise ConfigError(f"{what} is empty.", hint=hint)
    return line
