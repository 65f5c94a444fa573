"""How a camera's request for a user name and password is answered: Basic (RFC 7617) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Sequence

from edge_app.capture.credentials import Credentials

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}

_PIECE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
"""What stands between two commas that are not quoted."""

_SCHEME = re.compile(r"\s*[A-Za-z][\w-]*(?:\s+[^\s=]|\s*$)")
"""How a piece begins that begins a challenge; else it goes on with the one before."""


def authorization(challenges: Sequence[str], credentials: Credentials, method: str, uri: str) -> str:
    """Return the field `Authorization` of a request that is made again. Never print it.

    Args:
        challenges: The fields `WWW-Authenticate` of the answer to the first request; each may hold several.
            What is no UTF-8 stands in it as Python's `surrogateescape` has it, and is to be sent like that.
        credentials: Whose.
        method: Of the request: DESCRIBE, GET.
        uri: As the request's line has it.

    Raises:
        ValueError: None of the challenges is of a kind that is known; with a Digest among them, whichever it
            is, the password is not sent in the clear, as Basic does.
    """
    user, password = credentials.username or "", credentials.password or ""
    offered = [(scheme.lower(), rest) for scheme, rest in _split(challenges)]
    digests = [_parameters(rest) for scheme, rest in offered if scheme == "digest"]
    for given in digests:  # the best one comes first
        if _algorithm(given) in _HASHES:
            return _digest(given, user, password, method, uri)
    if digests:
        names = ", ".join(re.sub(r"[^!-~]", "?", _algorithm(given))[:20] for given in digests)
        raise ValueError(f"it asks for a Digest of {names}")
    if any(scheme == "basic" for scheme, _ in offered):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    raise ValueError("it asks for a kind of login that is not known")


def _split(fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield scheme and parameters of each challenge."""
    for field in fields:
        pieces: list[str] = []
        # Lists may have empty elements (RFC 9110, section 5.6.1).
        for piece in [*filter(str.strip, _PIECE.findall(field)), None]:
            if pieces and (piece is None or _SCHEME.match(piece)):
                scheme, rest, *_ = *",".join(pieces).split(maxsplit=1), ""
                yield scheme, rest
                pieces = []
            pieces += [] if piece is None else [piece]


def _parameters(text: str) -> dict[str, str]:
    # From the beginning of a word on only: else a word of 64 KiB takes minutes, the interpreter's lock held.
    given = dict(re.findall(r'\b(\w+)="?([^",]*)"?', text))
    return given | dict(re.findall(r'\b(\w+)="((?:[^"\\]|\\.)*)"', text))  # what is quoted may hold a comma


def _algorithm(given: dict[str, str]) -> str:
    return given.get("algorithm", "MD5").strip().upper()


def _digest(given: dict[str, str], user: str, password: str, method: str, uri: str) -> str:
    """Answer a challenge with `qop`, as web servers send it, or without, as cameras do."""
    algorithm = _algorithm(given)

    def hashed(text: str) -> str:
        octets = text.encode(errors="surrogateescape")
        return hashlib.new(_HASHES[algorithm], octets, usedforsecurity=False).hexdigest()

    realm, nonce = given.get("realm", ""), given.get("nonce", "")
    middle, quality = nonce, ""
    if "auth" in re.split(r"[\s,]+", given.get("qop", "")):
        client_nonce = os.urandom(8).hex()
        middle = f"{nonce}:00000001:{client_nonce}:auth"
        quality = f', qop=auth, nc=00000001, cnonce="{client_nonce}"'
    response = hashed(f"{hashed(f'{user}:{realm}:{password}')}:{middle}:{hashed(f'{method}:{uri}')}")
    named = "" if "algorithm" not in given else f", algorithm={algorithm}"
    opaque = "" if "opaque" not in given else f', opaque="{given["opaque"]}"'
    asked = f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}"'
    return f'{asked}, response="{response}"{named}{opaque}{quality}'
