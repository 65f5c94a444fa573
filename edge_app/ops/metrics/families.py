"""Every metric there is: its name, kind, labels and meaning. `docs/operations.md` lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Family:
    """A metric.

    Attributes:
        name: As it is scraped; a histogram's without `_bucket`, `_sum` and `_count`.
        kind: Prometheus' word.
        labels: Names of its labels.
        meaning: One line.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


_CAMERA = ("camera",)

FAMILIES = (
    Family("edge_app_info", "gauge", ("node", "version", "python"), "1; what runs"),
    Family("edge_app_start_time_seconds", "gauge", (), "When the daemon started, in Unix time"),
    Family(
        "edge_app_failures_total",
        "counter",
        ("reason",),
        "Runs that ended otherwise than asked, this one included",
    ),
    Family(
        "edge_app_last_failure_time_seconds",
        "gauge",
        ("reason", "stage"),
        "When the last of them ended, in Unix time, and of which stage",
    ),
    Family("edge_app_node_state", "gauge", ("state",), "1 for the state that the node is in"),
    Family(
        "edge_app_model_info",
        "gauge",
        ("model", "name", "sha256", "backend", "precision", "engine_sha256"),
        "1; a model that runs, and its engine's identity",
    ),
    Family("edge_app_batches_total", "counter", ("model",), "Batches that a model was given"),
    Family("edge_app_batches_in_flight", "gauge", ("model",), "Of them those that are not finished"),
    Family(
        "edge_app_standstill_seconds",
        "gauge",
        ("model",),
        "For how long frames have waited while none was processed",
    ),
    Family("edge_app_camera_info", "gauge", ("camera", "model", "decoder", "size"), "1; how it is read"),
    Family("edge_app_camera_state", "gauge", ("camera", "state"), "1 for the state that the camera is in"),
    Family("edge_app_camera_reconnects_total", "counter", _CAMERA, "Connections after the first"),
    Family("edge_app_decoder_fallbacks_total", "counter", _CAMERA, "Decoders that failed and were replaced"),
    Family("edge_app_frames_captured_total", "counter", _CAMERA, "Frames that came in"),
    Family("edge_app_frames_processed_total", "counter", _CAMERA, "Frames that became detections"),
    Family(
        "edge_app_drops_total",
        "counter",
        ("camera", "reason"),
        "Frames and messages that went no further",
    ),
    Family(
        "edge_app_candidates_dropped_total",
        "counter",
        ("camera", "reason"),
        "Boxes of the model that were left out: invalid, or more than postprocess.max_candidates",
    ),
    Family("edge_app_messages_published_total", "counter", _CAMERA, "Detections handed to the broker"),
    Family("edge_app_lane_frames", "gauge", _CAMERA, "Frames that wait for the model"),
    Family(
        "edge_app_stage_seconds",
        "histogram",
        ("camera", "stage"),
        "Time of a frame in each stage; total: from the end of its decoding until its message was made",
    ),
    Family("edge_app_publish_queue_messages", "gauge", (), "Live detections that wait for the broker"),
    Family("edge_app_broker_connected", "gauge", (), "Whether there is a working connection to the broker"),
    Family("edge_app_broker_reconnects_total", "counter", (), "Connections to the broker after the first"),
    Family("edge_app_outbox_messages", "gauge", (), "Messages that wait until the broker confirms them"),
    Family("edge_app_outbox_unwritten_messages", "gauge", (), "Of them those that are not on disk yet"),
    Family("edge_app_outbox_bytes", "gauge", (), "Size of all of them"),
    Family("edge_app_outbox_oldest_seconds", "gauge", (), "Age of the oldest of them on disk"),
    Family("edge_app_outbox_failing", "gauge", (), "Whether messages cannot be kept, or are not taken"),
    Family("edge_app_sink_failing", "gauge", ("sink",), "Whether a further sink does not get what it should"),
    Family("edge_app_sink_waiting_messages", "gauge", ("sink",), "Messages that wait for it"),
    Family("edge_app_sink_written_messages_total", "counter", ("sink",), "Detections handed to it"),
    Family(
        "edge_app_sink_drops_total", "counter", ("sink", "reason"), "Detections it did not get, of any camera"
    ),
    Family("edge_app_temperature_celsius", "gauge", ("sensor",), "What the machine's sensors say"),
    Family("edge_app_power_watts", "gauge", ("sensor",), "What the machine's power monitors say"),
    Family("edge_app_memory_bytes", "gauge", (), "The machine's memory, on a Jetson the GPU's too"),
    Family("edge_app_memory_available_bytes", "gauge", (), "What of it can be had"),
    Family(
        "edge_app_group_memory_limit_bytes", "gauge", ("group",), "What a control group may use (MemoryMax=)"
    ),
    Family("edge_app_group_memory_available_bytes", "gauge", ("group",), "What of it can be had"),
    Family("edge_app_gpu_info", "gauge", ("gpu", "name"), "1; a GPU, by its number on the PCI bus"),
    Family("edge_app_gpu_temperature_celsius", "gauge", ("gpu",), "Temperature of a GPU"),
    Family("edge_app_gpu_power_watts", "gauge", ("gpu",), "Power that a GPU draws"),
    Family("edge_app_gpu_utilization_ratio", "gauge", ("gpu",), "Share of time in which it calculated"),
    Family("edge_app_gpu_decoder_utilization_ratio", "gauge", ("gpu",), "The same of its video decoder"),
    Family("edge_app_gpu_memory_bytes", "gauge", ("gpu",), "Memory of a GPU that has its own"),
    Family("edge_app_gpu_memory_used_bytes", "gauge", ("gpu",), "What of it is used, by whomever"),
    Family("edge_app_log_left_out_total", "counter", (), "Log lines left out because they repeated others"),
)
BY_NAME = {family.name: family for family in FAMILIES}
