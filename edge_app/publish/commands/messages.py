"""What is published in answer to commands, as plain dictionaries; `schemas/` describes each."""

from __future__ import annotations

import base64

from edge_app.publish.commands.command import MAX_COMMAND_CHARS, CommandRefusedError
from edge_app.publish.commands.registry import Snapshot
from edge_app.publish.payloads import Payload, Stamp, envelope, rfc3339


def reply_payload(
    stamp: Stamp,
    command: str,
    request_id: str | None,
    result: str | None,
    refused: CommandRefusedError | None = None,
    snapshot_id: str | None = None,
) -> Payload:
    """Build an `edge.command_reply/1.0` message; either `result` or `refused` is given."""
    return envelope("edge.command_reply/1.0", stamp) | {
        "command": command[:MAX_COMMAND_CHARS],
        "request_id": request_id,
        "ok": refused is None,
        "result": result,
        "error": None if refused is None else {"code": refused.refusal.value, "message": refused.words},
        "snapshot_id": snapshot_id,
    }


def snapshot_payload(stamp: Stamp, snapshot: Snapshot, request_id: str | None) -> Payload:
    """Build an `edge.snapshot/1.0` message."""
    info = snapshot.info
    return envelope("edge.snapshot/1.0", stamp) | {
        "camera": info.camera_id,
        "request_id": request_id,
        "frame_id": info.frame_id,
        "captured_at": rfc3339(info.captured_at_ns),
        "media_time_s": None if info.media_time_s is None else round(info.media_time_s, 6),
        "frame": {"width": info.width, "height": info.height},
        "image": {"width": snapshot.width, "height": snapshot.height},
        "content_type": "image/jpeg",
        "jpeg_base64": base64.b64encode(snapshot.jpeg).decode("ascii"),
    }
