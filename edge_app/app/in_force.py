"""What of a configuration runs, kept true while another one is taken over step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from edge_app.app.changes import Changes, Secrets, broker_in_force, in_force
from edge_app.config.models import AppConfig

T = TypeVar("T")


class InForce:
    """The configuration that runs. One thread at a time.

    Attributes:
        config: What runs.
        secrets: Its passwords.
        unsure: Keys of which it is not known what runs, as taking them over has failed.
    """

    def __init__(self, config: AppConfig, secrets: Secrets) -> None:
        self.config, self.secrets = config, secrets
        self.unsure: frozenset[str] = frozenset()

    def doubt(self, key: str) -> None:
        """Note that what runs of a key is not what `config` says, until the step that takes it over."""
        self.unsure |= {key}

    @contextmanager
    def step(self, key: str, config: AppConfig, secrets: Secrets) -> Iterator[None]:
        """Take a key over (`log`, `mqtt`, `sinks.NAME`, `cameras.NAME`); done unless the body raises."""
        self.doubt(key)
        yield
        section, _, name = key.partition(".")
        now, kept = self.config, self.secrets
        new: object
        match section:
            case "mqtt":
                new, kept = broker_in_force(now, config), replace(kept, mqtt=secrets.mqtt)
            case "sinks":
                new = _exchanged(now.sinks, config.sinks, name)
                kept = replace(kept, sinks=_exchanged(kept.sinks, secrets.sinks, name))
            case "cameras":
                new = _exchanged(now.cameras, config.cameras, name)
                kept = replace(kept, cameras=_exchanged(kept.cameras, secrets.cameras, name))
            case _:
                new = getattr(config, section)
        self.config, self.secrets = now.model_copy(update={section: new}), kept
        self.unsure -= {key}

    def settle(self, config: AppConfig, secrets: Secrets, changes: Changes) -> None:
        """Note that all of it was taken over that does not need a restart."""
        kept = {**secrets.cameras}
        for key in changes.restart:
            section, _, name = key.partition(".")
            if section == "cameras":  # what reads it, or will, has the password that it had
                kept = _exchanged(kept, self.secrets.cameras, name)
        self.config, self.secrets = in_force(self.config, config, changes), replace(secrets, cameras=kept)


def _exchanged(before: Mapping[str, T], after: Mapping[str, T], name: str) -> dict[str, T]:
    """Return what was there before, but what has this name as it is after."""
    others = {key: value for key, value in before.items() if key != name}
    return {**others, name: after[name]} if name in after else others
