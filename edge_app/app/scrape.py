"""One scrape: what the parts of the daemon and the machine's sensors say, as samples."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

from edge_app import __version__
from edge_app.app.monitoring import DEFAULT_MODEL, Watched
from edge_app.gpu.nvml import GpuReading, Nvml
from edge_app.memory import MemoryBound, memory_bounds
from edge_app.messages import CameraState, CameraStatus, DropReason, NodeState
from edge_app.ops.logging import lines_left_out
from edge_app.ops.metrics.page import Page
from edge_app.ops.sensors import Readings, Sensors
from edge_app.pipeline.times import BOUNDS_S

_NODE_STATES = [state.value for state in NodeState if state is not NodeState.LOST]
_CAMERA_STATES = [state.value for state in CameraState]


class Scrape:
    """Writes everything onto a page. Called by one thread at a time.

    Args:
        watched: The parts of the daemon.
        standstill_s: See `Statistics.standstill_s`, by model.
    """

    def __init__(self, watched: Watched, standstill_s: Callable[[], Mapping[str, float]]) -> None:
        self._watched = watched
        self._standstill_s = standstill_s
        self._sensors = Sensors()
        self._nvml: Nvml | None = None
        self._highest: dict[tuple[str, str], int] = {}

    def __call__(self, page: Page) -> None:
        """Add what there is to tell now."""
        self._node(page)
        self._models(page)
        self._cameras(page)
        self._publishing(page)
        self._further_sinks(page)
        self._nvml = self._nvml or Nvml()  # which takes a while, and is needed by nobody who does not ask
        add_machine(page, self._sensors.read(), self._nvml.read())
        add_groups(page, memory_bounds())

    def _node(self, page: Page) -> None:
        watched = self._watched
        page.add("edge_app_info", 1, watched.node, __version__, platform.python_version())
        page.add("edge_app_start_time_seconds", watched.started_at_s)
        page.add("edge_app_log_left_out_total", lines_left_out())
        page.add_choice("edge_app_node_state", _NODE_STATES, watched.watch.node()[0].value)
        for failure, count in (watched.record.counts or {}).items():
            page.add("edge_app_failures_total", count, failure.value)
        last = watched.record.last
        if last is not None:
            page.add("edge_app_last_failure_time_seconds", last.at_s, last.failure.value, last.stage)

    def _models(self, page: Page) -> None:
        watched = self._watched
        for name, model in watched.models.items():
            page.add(
                "edge_app_model_info",
                1,
                name or DEFAULT_MODEL,
                model.name,
                model.sha256,
                model.backend,
                model.precision,
                model.engine_sha256 or "",
            )
        street = watched.street
        if street is None:
            return
        for name, batches in street.batches().items():
            page.add("edge_app_batches_total", batches.submitted, name or DEFAULT_MODEL)
            in_flight = batches.submitted - batches.finished
            page.add("edge_app_batches_in_flight", in_flight, name or DEFAULT_MODEL)
        for name, waited_s in self._standstill_s().items():
            page.add("edge_app_standstill_seconds", waited_s, name)

    def _cameras(self, page: Page) -> None:
        watched = self._watched
        statuses = watched.watch.statuses()
        models = {camera: model for model, cameras in watched.cameras().items() for camera in cameras}
        waiting = {name: count for lanes in watched.lanes.values() for name, count in lanes.waiting().items()}
        times = watched.statistics.times()
        publisher = watched.publisher
        for name, counts in watched.statistics.counts().items():
            if not (name in statuses and name in models and name in waiting):
                continue  # it comes or goes just now
            self._camera(page, statuses[name], models[name])
            page.add("edge_app_frames_captured_total", counts.captured, name)
            page.add("edge_app_frames_processed_total", counts.processed, name)
            for reason in DropReason:
                page.add("edge_app_drops_total", counts.dropped.get(reason, 0), name, reason.value)
            page.add("edge_app_candidates_dropped_total", counts.candidates_invalid, name, "invalid")
            page.add("edge_app_candidates_dropped_total", counts.candidates_overflow, name, "overflow")
            published = self._never_falling(("camera", name), publisher.published(name))
            page.add("edge_app_messages_published_total", published, name)
            page.add("edge_app_lane_frames", waiting[name], name)
            for stage, found in times[name].items():
                page.add_histogram("edge_app_stage_seconds", BOUNDS_S, found.counts, found.sum_s, name, stage)

    @staticmethod
    def _camera(page: Page, status: CameraStatus, model: str | None) -> None:
        name = status.camera_id
        size = "" if status.width is None else f"{status.width}x{status.height}"
        page.add("edge_app_camera_info", 1, name, model or DEFAULT_MODEL, status.decoder or "", size)
        page.add_choice("edge_app_camera_state", _CAMERA_STATES, status.state.value, name)
        page.add("edge_app_camera_reconnects_total", status.reconnects, name)
        page.add("edge_app_decoder_fallbacks_total", status.decoder_fallbacks, name)

    def _never_falling(self, key: tuple[str, str], count: int) -> int:
        """Return a count as Prometheus wants it, which takes one that falls for a restart.

        A publisher's falls by one when the broker turns out not to take a message.
        """
        self._highest[key] = count = max(self._highest.get(key, 0), count)
        return count

    def _publishing(self, page: Page) -> None:
        publisher = self._watched.publisher
        page.add("edge_app_publish_queue_messages", publisher.queue_depth)
        page.add("edge_app_broker_connected", float(publisher.is_connected))
        page.add("edge_app_broker_reconnects_total", publisher.reconnects)
        outbox = publisher.outbox
        if outbox is not None:
            page.add("edge_app_outbox_messages", outbox.messages)
            page.add("edge_app_outbox_unwritten_messages", outbox.waiting)
            page.add("edge_app_outbox_bytes", outbox.size_bytes)
            page.add("edge_app_outbox_oldest_seconds", outbox.oldest_s or 0.0)
            page.add("edge_app_outbox_failing", float(outbox.problem is not None))

    def _further_sinks(self, page: Page) -> None:
        for name, state in self._watched.sinks.states().items():
            page.add("edge_app_sink_failing", float(state.problem is not None), name)
            page.add("edge_app_sink_waiting_messages", state.waiting, name)
            written = self._never_falling(("sink", name), state.written)
            page.add("edge_app_sink_written_messages_total", written, name)
            for reason in DropReason:  # from 0 on: `increase` misses a count that comes with its first loss
                page.add("edge_app_sink_drops_total", state.dropped.get(reason, 0), name, reason.value)


def add_groups(page: Page, bounds: list[MemoryBound]) -> None:
    """Add what the control groups that bind us leave."""
    for bound in bounds:
        if bound.group is not None:
            page.add("edge_app_group_memory_limit_bytes", bound.limit_bytes, bound.group)
            page.add("edge_app_group_memory_available_bytes", bound.available_bytes, bound.group)


def add_machine(page: Page, readings: Readings, gpus: list[GpuReading]) -> None:
    """Add what the sensors and the GPUs say. A Jetson's GPU is number 0."""
    for sensor, celsius in readings.celsius.items():
        page.add("edge_app_temperature_celsius", celsius, sensor)
    for sensor, watts in readings.watts.items():
        page.add("edge_app_power_watts", watts, sensor)
    page.add("edge_app_memory_bytes", readings.memory_bytes)
    page.add("edge_app_memory_available_bytes", readings.memory_available_bytes)
    if readings.jetson_gpu_load is not None:
        page.add("edge_app_gpu_info", 1, "0", "Jetson")
        page.add("edge_app_gpu_utilization_ratio", readings.jetson_gpu_load, "0")
        page.add("edge_app_gpu_temperature_celsius", readings.jetson_gpu_celsius, "0")
        return
    for gpu in gpus:
        label = str(gpu.index)
        page.add("edge_app_gpu_info", 1, label, gpu.name or "")
        page.add("edge_app_gpu_temperature_celsius", gpu.celsius, label)
        page.add("edge_app_gpu_power_watts", gpu.watts, label)
        page.add("edge_app_gpu_utilization_ratio", gpu.utilization, label)
        page.add("edge_app_gpu_decoder_utilization_ratio", gpu.decoder_utilization, label)
        page.add("edge_app_gpu_memory_bytes", gpu.memory_bytes, label)
        page.add("edge_app_gpu_memory_used_bytes", gpu.memory_used_bytes, label)
