"""In which keys two configurations differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from edge_app.config.models import Section


def differing_keys(before: Section, after: Section, prefix: str = "") -> Iterator[str]:
    """Yield the keys whose values differ, such as `tls.ca_file`, in the order of the configuration.

    Args:
        before: A section.
        after: Another one of the same class.
        prefix: What is written before each key, with its dot.
    """
    for key in type(after).model_fields:
        old, new = getattr(before, key), getattr(after, key)
        if isinstance(old, Section) and isinstance(new, Section) and type(old) is type(new):
            yield from differing_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}"


def without(keys: Collection[str], besides: Collection[str]) -> list[str]:
    """Return the keys that are none of `besides`, nor lie below one of them."""
    return [key for key in keys if not any(key == other or key.startswith(f"{other}.") for other in besides)]
