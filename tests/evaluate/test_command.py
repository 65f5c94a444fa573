from __future__ import annotations

import json

import pytest

from edge_app.errors import ConfigError
from edge_app.evaluate.command import run_evaluation
from tests.processes import edge_app_says

pytest.importorskip("onnxruntime")


def run(seeds: str = "0-0", size: str = "320x192", *, json_output: bool = False) -> None:
    run_evaluation(
        None,
        model=None,
        seeds=seeds,
        frames=1,
        size=size,
        coco=None,
        images=None,
        json_output=json_output,
    )


@pytest.mark.parametrize("seeds", ["5-1", "five", "1", "-1-3", "1-9999999999"])
def test_seeds_are_first_and_last(seeds: str) -> None:
    with pytest.raises(ConfigError, match=rf"--seeds .* found '{seeds}'\. Hint: Write it like 0-49\."):
        run(seeds=seeds)


@pytest.mark.parametrize("size", ["0x0", "1280", "31x720", "99999x720", "1280x720x3"])
def test_a_size_is_width_and_height(size: str) -> None:
    with pytest.raises(ConfigError, match=rf"--size .* from 32 to 8192 pixels, found '{size}'"):
        run(size=size)


@pytest.mark.parametrize("size", ["1280x720", "320x192"])
def test_the_shipped_model_is_evaluated(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(size=size, json_output=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["images"] == 1


def test_images_without_annotations_are_refused() -> None:
    done = edge_app_says("eval", "--images", "pictures")
    assert done.returncode == 78
    assert "--images is of no use without --coco" in done.stderr
