"""How a camera's request for a user name and password is answered: Basic (RFC 7617) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence

from edge_app.capture.credentials import Credentials

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


def authorization(challenges: Sequence[str], credentials: Credentials, method: str, uri: str) -> str:
    """Return the field `Authorization` of a request that is made again. Never print it.

    Args:
        challenges: The fields `WWW-Authenticate` of the answer to the first request.
        credentials: Whose.
        method: Of the request: DESCRIBE, GET.
        uri: As the request's line has it.

    Raises:
        ValueError: None of the challenges is of a kind that is known.
    """
    user, password = credentials.username or "", credentials.password or ""
    for challenge in challenges:
        if challenge.lower().startswith("digest "):
            return _digest(challenge, user, password, method, uri)
    if any(challenge.lower().startswith("basic") for challenge in challenges):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    raise ValueError("it asks for a kind of login that is not known")


def _digest(challenge: str, user: str, password: str, method: str, uri: str) -> str:
    """Answer a challenge with `qop`, as web servers send it, or without, as cameras do."""
    given = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge.partition(" ")[2]))
    given |= dict(re.findall(r'(\w+)="([^"]*)"', challenge))  # what is quoted may hold a comma
    algorithm = given.get("algorithm", "MD5").upper()
    if algorithm not in _HASHES:
        raise ValueError(f"it asks for a Digest of {algorithm}")

    def hashed(text: str) -> str:
        return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()

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
