"""Answers to a camera that asks for a password, against the examples of the documents that define them."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from edge_app.capture.authorization import authorization
from edge_app.capture.credentials import Credentials
from edge_app.capture.diagnosis import explain_server
from edge_app.capture.rtsp_tracks import describe_tracks
from edge_app.config.camera_uri import CameraUri, parse_camera_uri
from edge_app.errors import AccessRefusedError, CaptureError

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


LION = Credentials("Löwe", "Kreis")
DIGEST = f'Digest realm="yard, east", nonce="{NONCE}"'


def expected(realm: bytes, uri: str) -> str:
    """The response without `qop`, of octets as they are."""

    def hashed(octets: bytes) -> str:
        return hashlib.new("md5", octets, usedforsecurity=False).hexdigest()

    ours, theirs = hashed("Löwe:".encode() + realm + b":Kreis"), hashed(f"DESCRIBE:{uri}".encode())
    return hashed(f"{ours}:{NONCE}:{theirs}".encode())


@pytest.mark.parametrize(
    "challenges",
    [
        [DIGEST],
        [f"{DIGEST}, algorithm=MD5"],
        [f"{DIGEST}, algorithm=SHA-512-256", f'{DIGEST}, algorithm="MD5"'],
        [f"{DIGEST}, algorithm=SHA-512-256, {DIGEST}, algorithm=MD5"],
        [f'Basic realm="yard, Digest", {DIGEST}'],
        [f'Negotiate, NTLM abc==, {DIGEST}, Basic realm = "yard"'],
        [f"Basic,{DIGEST}"],
        [DIGEST.replace(", nonce", " nonce")],
        ['Basic realm="unclosed', DIGEST],
    ],
)
def test_of_several_kinds_of_login_the_first_digest_that_is_known_is_taken(challenges: list[str]) -> None:
    answer = authorization(challenges, LION, "DESCRIBE", "rtsp://x/")
    assert answer.startswith('Digest username="Löwe", realm="yard, east"')
    assert f'response="{expected(b"yard, east", "rtsp://x/")}"' in answer


def test_a_password_is_not_sent_in_the_clear_where_a_digest_is_asked_for() -> None:
    digests = f"{DIGEST}, algorithm=SHA-512-256, {DIGEST}, algorithm=M\udcffD5, Basic realm=a"
    with pytest.raises(ValueError, match=r"it asks for a Digest of SHA-512-256, M\?D5$"):
        authorization([digests], LION, "DESCRIBE", "rtsp://x/")


LONG = 1 << 16


@pytest.mark.parametrize("text", ["a" * LONG, 'nonce="' + "a" * LONG, 'realm="' + "\\" * LONG, '"' * LONG])
def test_a_long_challenge_takes_no_long_time(text: str) -> None:
    began_s = time.monotonic()
    assert "response=" in authorization([f"Digest {text}"], LION, "DESCRIBE", "rtsp://x/")
    assert time.monotonic() - began_s < 5


BODY = b"RTSP/1.0 200 this belongs to a body\r\n\r\n"


class OddCamera:
    """An RTSP server that answers 401 with a body, some of it late, until it hears the right response."""

    def __init__(self, challenge: bytes, right: str) -> None:
        self._challenge, self._right = challenge, right
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"rtsp://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.heard: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection, suppress(OSError):  # who has heard enough hangs up
            while (request := connection.recv(4096)).endswith(b"\r\n\r\n"):
                self.heard.append(request)
                if self._right.encode() in request:
                    connection.sendall(b"RTSP/1.0 404 Not Found\r\n\r\n")
                    continue
                head = b"RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: %s\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % (self._challenge, 2 * len(BODY)) + BODY)
                time.sleep(0.1)
                connection.sendall(BODY)


@pytest.mark.parametrize("realm", [b"yard", "Hof Süd".encode(), "Hof Süd".encode("latin-1")])
def test_a_wrong_password_is_told_from_a_right_one_whatever_the_realm_and_with_a_body(realm: bytes) -> None:
    challenge = b'Digest realm="%s", nonce="%s"' % (realm, NONCE.encode())
    for ask in (explain_server, describe):
        camera = OddCamera(challenge, "")
        uri = parse_camera_uri(camera.uri)
        camera._right = expected(realm, camera.uri)
        try:
            assert "404" in ask(uri, LION, timeout_s=5.0)
            assert b'realm="%s"' % realm in camera.heard[-1]
        finally:
            camera.close()
    camera = OddCamera(challenge, "never")
    try:
        with pytest.raises(AccessRefusedError, match="refuses this user name and password"):
            explain_server(parse_camera_uri(camera.uri), LION, timeout_s=5.0)
    finally:
        camera.close()


def test_a_wrong_password_is_known_although_the_answer_is_cut_off() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):  # the second time with the login
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                head = f"HTTP/1.1 401 No\r\nWWW-Authenticate: {DIGEST}\r\nContent-Length: 500\r\n\r\n"
                connection.sendall(f"{head}cut".encode())
                time.sleep(0.1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    threading.Thread(target=serve, daemon=True).start()
    uri = parse_camera_uri(f"http://127.0.0.1:{server.getsockname()[1]}/")
    with server, pytest.raises(AccessRefusedError, match="refuses this user name and password"):
        explain_server(uri, LION, timeout_s=5.0)


def describe(uri: CameraUri, credentials: Credentials, *, timeout_s: float) -> str:
    with pytest.raises(CaptureError) as caught:
        describe_tracks(uri.location, credentials, timeout_s)
    return str(caught.value)
