"""The live table on a terminal, or a plain line for each camera now and then where there is none."""

from __future__ import annotations

import contextlib
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge_app.watch.followed import CameraView, NodeView
from edge_app.watch.subscriber import Subscriber

REFRESH_S = 0.5
FIRST_LINES_AFTER_S, LINES_EVERY_S = 1.0, 5.0
TABLE_COLUMNS = 72
"""A terminal that is narrower gets lines: in so small a table nothing could be read."""

_STATE_STYLES = {
    "online": "green",
    "streaming": "green",
    "starting": "yellow",
    "connecting": "yellow",
    "degraded": "yellow",
    "stalled": "yellow",
    "frozen": "yellow",
    "stopping": "dim",
    "ended": "dim",
    "disabled": "dim",
    "lost": "red",
    "node lost": "red",
}


def show(subscriber: Subscriber, console: Console, seconds: float | None) -> None:
    """Show what `subscriber` follows until `seconds` have passed, or for ever; Ctrl+C ends it at any time.

    A terminal gets a table that renews itself (colours unless NO_COLOR is set); a narrow one, one that cannot
    move its cursor, and anything else plain lines.
    """
    deadline_s = float("inf") if seconds is None else time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        if console.is_terminal and not console.is_dumb_terminal and console.width >= TABLE_COLUMNS:
            _show_table(subscriber, console, deadline_s)
        else:
            _show_lines(subscriber, console, deadline_s)


def render(subscriber: Subscriber) -> RenderableType:
    """Return what there is to see now."""
    nodes, cameras = subscriber.nodes(), subscriber.cameras()
    parts: list[RenderableType] = []
    headline = _headline(subscriber, bool(nodes))
    if headline is not None:
        parts.append(Text(headline, style="yellow"))
    parts += [_node_line(name, node) for name, node in nodes.items()]
    if cameras:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("camera", no_wrap=True)
        table.add_column("state", min_width=max(map(len, _STATE_STYLES)))
        for heading in ("fps", "ms p50/p95", "dropped", "missing"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("in view", min_width=7)
        for (node_name, camera_name), camera in cameras.items():
            state = _state_text(_camera_state(nodes.get(node_name), camera))
            *figures, in_view = _cells(camera)
            # One line, cut where the terminal ends, so that the table does not jump with what comes and goes.
            scene = Text(in_view, no_wrap=True, overflow="ellipsis")
            table.add_row(f"{node_name}/{camera_name}", state, *figures, scene)
        parts.append(table)
    return Group(*parts)


def plain_lines(subscriber: Subscriber) -> list[str]:
    """Return one line for each camera, for logs and pipes."""
    nodes = subscriber.nodes()
    headline = _headline(subscriber, bool(nodes))
    lines = [] if headline is None else [headline]
    for (node_name, camera_name), camera in subscriber.cameras().items():
        fps, latency, dropped, missing, in_view = _cells(camera)
        lines.append(
            f"{node_name}/{camera_name} {_camera_state(nodes.get(node_name), camera)} {fps} fps, "
            f"latency p50/p95 {latency} ms, dropped {dropped}, lost on the way {missing}, in view: {in_view}"
        )
    return lines


def _show_table(subscriber: Subscriber, console: Console, deadline_s: float) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            now_s = time.monotonic()
            live.update(render(subscriber), refresh=True)
            if now_s >= deadline_s or subscriber.failure is not None:
                return
            time.sleep(min(REFRESH_S, deadline_s - now_s))


def _show_lines(subscriber: Subscriber, console: Console, deadline_s: float) -> None:
    wait_s = FIRST_LINES_AFTER_S
    while (now_s := time.monotonic()) < deadline_s and subscriber.failure is None:
        time.sleep(min(wait_s, deadline_s - now_s))
        wait_s = LINES_EVERY_S
        stamp = time.strftime("%H:%M:%S")
        for line in plain_lines(subscriber):
            console.print(f"{stamp} {line}", soft_wrap=True, highlight=False, markup=False)


def _headline(subscriber: Subscriber, anything: bool) -> str | None:
    if subscriber.problem is not None:
        return f"No broker, trying again until Ctrl+C: {subscriber.problem}"
    if not subscriber.is_connected:
        return f"Connecting to the broker at {subscriber.address} ..."
    if not anything:
        topics = ", ".join(subscriber.subscriptions)
        return f"Connected to {subscriber.address}; nothing is published under {topics} yet."
    return None


def _node_line(name: str, node: NodeView) -> Text:
    line = Text.assemble((name, "bold"), "  ", _state_text(node.state))
    facts = [node.reason, node.version and f"edge-app {node.version}", node.model]
    if node.rss_bytes is not None:
        facts.append(f"{node.rss_bytes / 2**20:.0f} MiB")
    if node.cpu_percent is not None:
        facts.append(f"CPU {node.cpu_percent:.0f} %")
    for fact in facts:
        if fact:
            line.append(f"  {fact}")
    return line


def _camera_state(node: NodeView | None, camera: CameraView) -> str:
    """Return the camera's state, which is worth nothing once its node is gone."""
    gone = node is not None and node.state == "lost"
    state = "node lost" if gone else camera.state
    streaming = state in {"streaming", "unknown"} or camera.reason is None or gone
    return state if streaming else f"{state}: {camera.reason}"


def _cells(camera: CameraView) -> tuple[str, str, str, str, str]:
    latency = "-"
    if camera.latency_ms is not None:
        at_least = "" if camera.clocks_agree else "≥"
        latency = f"{at_least}{camera.latency_ms.p50:.0f}/{camera.latency_ms.p95:.0f}"
    in_view = ", ".join(f"{count} {label}" for label, count in camera.in_view) or "-"
    return f"{camera.fps:.1f}", latency, str(camera.dropped_frames), str(camera.missing), in_view


def _state_text(state: str) -> Text:
    word = state.partition(":")[0]
    return Text(state, style=_STATE_STYLES.get(word, ""))
