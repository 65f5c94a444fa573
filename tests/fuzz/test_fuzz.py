"""Every reader of foreign bytes, for seconds; `make fuzz SECONDS=…` does it for as long as one likes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_app.config.broker_uri import parse_broker_uri
from edge_app.config.camera_uri import parse_camera_uri
from edge_app.config.loader import parse_config
from edge_app.errors import ConfigError
from tests.fuzz.mutations import inputs
from tests.fuzz.targets import CANARY, TARGETS, Target

EXAMPLES = 150


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    package = logging.getLogger("edge_app")
    level = package.level
    package.setLevel(logging.CRITICAL)
    yield
    package.setLevel(level)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_only_promised_errors_are_raised(target: Target) -> None:
    for example in target.corpus:
        target(example)

    @settings(
        max_examples=EXAMPLES,
        deadline=5000,  # a bound on time, wide enough for a busy machine
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(inputs(target))
    def fuzz(data: bytes) -> None:
        target(data)

    fuzz()


def test_right_examples_are_right() -> None:
    """A corpus that its reader refuses would lead mutations nowhere."""
    refused = set()
    for target in TARGETS:
        for example in target.corpus:
            try:
                target.read(example)
            except target.promised:  # noqa: PERF203 - a few examples
                refused.add(target.name)
    assert refused <= {"config", "camera-uri", "broker-uri", "websocket", "labels"}


def test_a_defect_is_found() -> None:
    def stumbles(data: bytes) -> None:
        if b"<<" in data:
            raise KeyError(data)

    target = Target("stumbles", stumbles, (ValueError,), [b"a right example"])

    @settings(max_examples=2000, deadline=None, database=None)
    @given(inputs(target))
    def fuzz(data: bytes) -> None:
        target(data)

    with pytest.raises(KeyError):
        fuzz()


_LINE = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=20)


@given(
    st.sampled_from(["rtsp://", "mqtt://", "wss://", "HTTP://", "gst://", "scene://", "file://", "odd+x://"]),
    st.text("abz09._~-", min_size=1, max_size=8),
    st.sampled_from(["", "x ", "x/", "x#", "x?", "x@", "%40", "é"]),
    _LINE,
    _LINE,
)
@settings(max_examples=EXAMPLES, deadline=5000, database=None)
def test_a_password_in_a_uri_is_in_no_error(
    scheme: str, user: str, before: str, after: str, host: str
) -> None:
    uri = f"{scheme}{user}:{before}{CANARY}{after}@h{host}"
    for parse in (parse_camera_uri, parse_broker_uri):
        with pytest.raises(ConfigError) as caught:
            parse(uri)
        assert CANARY not in str(caught.value)
    config = {"cameras": {"gate": uri, "yard": {"uri": uri}, uri: {}}, "mqtt": {"uri": uri}, uri: uri}
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps(config).encode(), file="edge.yaml", base=Path("/"))
    assert CANARY not in str(caught.value)
