"""A process that publishes numbered detections durably, to be killed at any moment.

    python -m tests.faults.durable_node BROKER_URI FOLDER COUNT RATE [WINDOW]

`FOLDER/accepted` says how many numbers are on disk: from there the next process goes on.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_app.config.models import MqttSection
from edge_app.messages import Detections, DropReason, FrameInfo, ModelInfo, NodeInfo
from edge_app.publish.outbox.store import NewRow, OutboxStore
from edge_app.publish.payloads import HealthSnapshot
from edge_app.publish.publisher import MqttPublisher

CAMERAS = ("a", "b", "c")
MODEL = ModelInfo("demo", "0f" * 32, ("person", "car"), "onnxruntime", "fp32")
INFO = NodeInfo("0.1.0", "3", "Linux", 1_700_000_000_000_000_000, dict.fromkeys(CAMERAS, MODEL))


class Alone:
    """A publisher's neighbours, of which there are none."""

    def dropped(self, camera_id: str, reason: DropReason, count: int = 1) -> None:
        logging.warning("%d messages dropped: %s", count, reason.value)  # noqa: LOG015 - the process's log

    def dropped_frames(self, camera_id: str) -> int:
        return 0

    def health(self) -> HealthSnapshot:
        return HealthSnapshot(0.0, 0, 0)


def detections(number: int) -> Detections:
    info = FrameInfo(CAMERAS[number % 3], number, time.monotonic_ns(), time.time_ns(), 1280, 720)
    return Detections(
        info,
        np.array([[1, 2, 30, 40]], np.float32),
        np.array([0.5], np.float32),
        np.array([number % 2], np.int32),
    )


def note_accepted(folder: Path) -> None:
    """Write down how many are on disk, after each commit."""
    append = OutboxStore.append

    def appended(store: OutboxStore, rows: Sequence[NewRow]) -> None:
        count = accepted(folder) + len(rows)
        append(store, rows)
        part = folder / "accepted.part"
        part.write_text(str(count))
        part.replace(folder / "accepted")

    OutboxStore.append = appended  # type: ignore[method-assign, assignment]


def accepted(folder: Path) -> int:
    try:
        return int((folder / "accepted").read_text())
    except FileNotFoundError:
        return 0


def main() -> None:
    uri, folder, count, rate = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    window = int(sys.argv[5]) if len(sys.argv) > 5 else 16
    logging.basicConfig(level=logging.WARNING)
    note_accepted(folder)
    section = MqttSection.model_validate(
        {
            "uri": uri,
            "reconnect_min_s": 0.1,
            "reconnect_max_s": 0.3,
            "keepalive_s": 5,
            "delivery": {"detections": "durable"},
            "outbox": {"directory": str(folder), "window": window},
        }
    )
    alone = Alone()
    publisher = MqttPublisher(
        section, node="node-1", drops=alone, observed=alone, on_failure=lambda _: os._exit(3)
    )
    publisher.set_info(INFO)
    publisher.start()
    first = accepted(folder)
    started = time.monotonic()
    for number in range(first, count):
        time.sleep(max(0.0, started + (number - first) / rate - time.monotonic()))
        publisher.put(detections(number), wait=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
