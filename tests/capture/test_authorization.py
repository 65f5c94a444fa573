"""Answers to a camera that asks for a password, against the examples of the documents that define them."""

from __future__ import annotations

import os

import pytest

from edge_app.capture.authorization import authorization
from edge_app.capture.credentials import Credentials

MUFASA = Credentials("Mufasa", "Circle Of Life")
NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
OPAQUE = "5ccc069c403ebaf9f0171e9517f40e41"


def test_digest_with_a_quality_of_protection_as_web_servers_ask_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The example of RFC 2617, section 3.5."""
    monkeypatch.setattr(os, "urandom", lambda _count: bytes.fromhex("0a4f113b"))
    challenge = f'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="{NONCE}", opaque="{OPAQUE}"'
    answer = authorization(["Basic realm=x", challenge], MUFASA, "GET", "/dir/index.html")
    assert answer == (
        f'Digest username="Mufasa", realm="testrealm@host.com", nonce="{NONCE}", uri="/dir/index.html", '
        f'response="6629fae49393a05397450978507c4ef1", opaque="{OPAQUE}", '
        'qop=auth, nc=00000001, cnonce="0a4f113b"'
    )


def test_digest_without_as_cameras_ask_for_it() -> None:
    """The example of RFC 2069, section 2.4, with the response of its errata (number 749)."""
    challenge = f'Digest realm="testrealm@host.com", nonce="{NONCE}", opaque="{OPAQUE}"'
    answer = authorization([challenge], Credentials("Mufasa", "CircleOfLife"), "GET", "/dir/index.html")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in answer
    assert "qop" not in answer


def test_basic() -> None:
    """The example of RFC 7617, section 2."""
    credentials = Credentials("Aladdin", "open sesame")
    answer = authorization(['Basic realm="a"'], credentials, "GET", "/")
    assert answer == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize("challenge", ["Bearer realm=a", 'Digest realm="a", nonce="b", algorithm=SHA-512'])
def test_what_is_not_known_is_said(challenge: str) -> None:
    with pytest.raises(ValueError, match="it asks for a "):
        authorization([challenge], MUFASA, "GET", "/")
