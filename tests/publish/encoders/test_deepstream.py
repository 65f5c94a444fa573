"""DeepStream's objects, read as consumers read them, beside what DeepStream is documented to send."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_app.errors import PublishError
from edge_app.publish.encoders.deepstream import DeepStreamEncoder, minimal_payload
from tests.publish.encoders.test_golden import FOUND, frame

NUMBER = r"-?(?:\d+(?:\.\d+)?(?:e[-+]\d+)?)"
OBJECT = re.compile(
    rf"(?P<id>-?\d+)\|(?P<left>{NUMBER})\|(?P<top>{NUMBER})\|(?P<right>{NUMBER})\|(?P<bottom>{NUMBER})"
    r"\|(?P<label>[^|]+)(?:\|#\|(?P<attributes>.*)\|(?P<confidence>-?[\d.]+))?"
)

DOCUMENTED = [
    # nvmsgconv's own example, and the output of deepstream-test4 in Microsoft's Azure Video Analyzer pages
    "957|1834|150|1918|215|Vehicle|#|sedan|Bugatti|M|blue|CA 444|California|0.8",
    "-1|570|478.37|609|507.717|Vehicle|#|sedan|Bugatti|M|blue|XX1234|CA|-0.1",
    "345|441.6|510|470.4|562.5|Bicycle",
]


@pytest.mark.parametrize("text", DOCUMENTED)
def test_the_grammar_is_that_of_the_documented_messages(text: str) -> None:
    assert OBJECT.fullmatch(text)


def test_objects_are_of_the_same_grammar_and_mean_the_boxes() -> None:
    found = frame(41, FOUND, [7, 8, 9, 2**40])
    payload = minimal_payload(found, ("person", "car"))
    read = [OBJECT.fullmatch(text) for text in payload["objects"]]
    assert all(read)
    matches = [match for match in read if match is not None]
    assert [int(match["id"]) for match in matches] == [7, 8, 9, 2**40]
    edges = np.array(
        [[float(match[name]) for name in ("left", "top", "right", "bottom")] for match in matches]
    )
    np.testing.assert_allclose(edges, found.xyxy, rtol=5e-6)  # six digits
    assert {match["confidence"] for match in matches} == {None}


def test_a_frame_without_objects_is_told_too() -> None:
    assert minimal_payload(frame(0, []), ())["objects"] == []


def test_frames_before_the_labels_are_a_fault() -> None:
    with pytest.raises(PublishError, match="before `info`"):
        DeepStreamEncoder("deepstream", detections_expiry_s=5).detections(frame(0, []), 0)
