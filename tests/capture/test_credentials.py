from __future__ import annotations

import logging
from urllib.parse import quote, unquote, urlsplit

import pytest

from edge_app.capture.credentials import Credentials

CANARY = 'c4n4ry p@ss"\\/w:rd%!'


def test_credentials_are_percent_encoded_into_the_url() -> None:
    url = Credentials("ad min", CANARY).url("rtsp://10.0.0.7:554/stream?channel=1")
    parts = urlsplit(url)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == ("ad min", CANARY)
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("10.0.0.7", 554, "/stream", "channel=1")


def test_a_url_without_credentials_stays_as_it_is() -> None:
    assert Credentials().url("rtsp://door/1") == "rtsp://door/1"


def test_the_password_is_in_no_representation(caplog: pytest.LogCaptureFixture) -> None:
    credentials = Credentials("admin", CANARY)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("%s %r", credentials, credentials)
    assert "c4n4ry" not in caplog.text


@pytest.mark.parametrize("written", [CANARY, quote(CANARY, safe=""), repr(CANARY)[1:-1]])
def test_the_password_is_concealed_however_it_is_written(written: str) -> None:
    text = Credentials("admin", CANARY).conceal(f"cannot open rtsp://admin:{written}@door/1 with {written}")
    assert "c4n4ry" not in text
    assert "admin" not in text


def test_credentials_of_other_urls_are_concealed_too() -> None:
    assert Credentials().conceal("http://eve:s3cret@host/x") == "http://***@host/x"
