"""What a scrape looks like, read by the parser of the Prometheus library."""

from __future__ import annotations

import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge_app.config.secrets import SecretRegistry
from edge_app.ops.metrics.families import FAMILIES
from edge_app.ops.metrics.page import Page, registry_of


def scraped(page: Page | None = None) -> str:
    def fill(page: Page) -> None:
        page.add("edge_app_frames_captured_total", 7, 'a "quoted" \\ name\n')
        page.add("edge_app_gpu_power_watts", None, "0")
        page.add_choice("edge_app_node_state", ["online", "degraded"], "degraded")
        page.add_histogram("edge_app_stage_seconds", (0.0005, 1.0), (1, 0, 4), 2.5, "a", "total")

    return generate_latest(registry_of(fill)).decode()


def test_samples_are_what_was_added() -> None:
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scraped())
        for sample in family.samples
        if sample.name.startswith("edge_app")
    }
    stage = (("camera", "a"), ("stage", "total"))
    assert samples == {
        ("edge_app_frames_captured_total", (("camera", 'a "quoted" \\ name\n'),)): 7,
        ("edge_app_node_state", (("state", "degraded"),)): 1,
        ("edge_app_node_state", (("state", "online"),)): 0,
        ("edge_app_stage_seconds_bucket", (stage[0], ("le", "0.0005"), stage[1])): 1,
        ("edge_app_stage_seconds_bucket", (stage[0], ("le", "1.0"), stage[1])): 1,
        ("edge_app_stage_seconds_bucket", (stage[0], ("le", "+Inf"), stage[1])): 5,
        ("edge_app_stage_seconds_count", stage): 5,
        ("edge_app_stage_seconds_sum", stage): 2.5,
    }


def test_every_family_is_named_even_without_samples() -> None:
    text = scraped()
    for family in FAMILIES:
        assert f"# TYPE {family.name} {family.kind}\n" in text


def test_names_follow_the_convention() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"edge_app(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name


def test_labels_are_shown_without_secrets() -> None:
    secrets = SecretRegistry()
    secrets.add("canary-9f31")

    def fill(page: Page) -> None:
        page.add("edge_app_camera_info", 1, "a", "m", "rtsp://u:pw@host/canary-9f31", "")

    text = generate_latest(registry_of(fill, secrets.redact)).decode()
    assert "canary" not in text
    assert "u:pw" not in text
    assert "***" in text


def test_names_of_the_configuration_stay_apart_whatever_the_passwords_are() -> None:
    secrets = SecretRegistry()
    for password in ("gate", "yard", "live", "cloud", "mqtt"):
        secrets.add(password)

    def fill(page: Page) -> None:
        for camera in ("gate", "yard"):
            page.add("edge_app_frames_captured_total", 1, camera)
            page.add_choice("edge_app_camera_state", ("live", "lost"), "live", camera)
        page.add("edge_app_sink_failing", 0, "cloud")

    text = generate_latest(registry_of(fill, secrets.redact)).decode()
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if "camera=" in line or "sink=" in line]
    assert len(set(lines)) == len(lines) == 7
    assert "***" not in text


def test_labels_that_are_too_few_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="edge_app_lane_frames has the labels"):
        Page().add("edge_app_lane_frames", 1)
