"""From the configuration to an outbox."""

from __future__ import annotations

from collections.abc import Callable

from edge_app.config.models import OutboxSection
from edge_app.config.paths import outbox_directory
from edge_app.interfaces import DropObserver
from edge_app.publish.outbox.outbox import Outbox, OutboxBounds


def make_outbox(
    section: OutboxSection,
    node: str,
    drops: DropObserver,
    wake: Callable[[], None],
    changed: Callable[[str | None], None],
) -> Outbox:
    """Return the outbox of a node, not yet started; see `Outbox`. Raises ConfigError if it has no place."""
    bounds = OutboxBounds(section.max_mib << 20, section.max_age_s, section.window)
    return Outbox(
        outbox_directory(section) / f"{node}.db",
        bounds,
        synced=section.durability == "power",
        drops=drops,
        wake=wake,
        changed=changed,
    )
