"""Directories that the service writes to: its user's rights there, and what the unit lets it reach."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_app.doctor.machine import SERVICE_USER, Machine
from edge_app.doctor.result import Result, failed, ok, skipped
from edge_app.doctor.service_view import Place
from edge_app.doctor.subject import Subject
from edge_app.doctor.unit import settings_of

_OWN = {
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
    "RuntimeDirectory": "/run",
}
"""Settings of directories that systemd makes, and what these are relative to (systemd.exec(5))."""
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - nothing is made there
_SYSTEM = {
    "strict": ("/",),
    "full": ("/usr", "/boot", "/efi", "/etc"),
    "yes": ("/usr", "/boot", "/efi"),
    "true": ("/usr", "/boot", "/efi"),
}


def check_directories(subject: Subject, places: Mapping[str, Place]) -> Result:
    """Look whether each directory can be made and written.

    Args:
        subject: What is examined.
        places: Directories by their keys, as the service's user finds them.
    """
    if not places:
        return skipped("nothing is written, but by sinks that have a check of their own")
    found = [(key, why_useless(subject, place)) for key, place in places.items()]
    bad = {key: why for key, why in found if why is not None}
    if not bad:
        return ok(f"{', '.join(f'{key} ({place.path})' for key, place in places.items())} can be written")
    first = next(iter(bad))
    listed = "; ".join(f"{key}: {why}" for key, why in bad.items())
    return failed(listed, fix_for(subject, first, places[first]))


def why_useless(subject: Subject, place: Place) -> str | None:
    """Return why the service cannot write to a directory; None: it can."""
    if place.why is not None:
        return place.why
    return why_fenced(subject.machine, subject.service, place.path) if subject.of_service else None


def fix_for(subject: Subject, key: str, place: Place) -> str:
    """Return what lets the service write to a directory.

    Args:
        subject: What is examined.
        key: Of the directory.
        place: It.
    """
    another = f"name another place in {key}"
    if not subject.of_service:
        return f"Let the user that runs edge-app write there, or {another}."
    user, service = SERVICE_USER, subject.service.removesuffix(".service")
    return (
        f"sudo install -d -o {user} -g {user} -m 700 {place.path}; outside of /var/lib/{user} also "
        f"sudo systemctl edit {service}, there [Service] and ReadWritePaths={place.path}, then sudo "
        f"systemctl restart {service}. Or {another}."
    )


def why_fenced(machine: Machine, service: str, directory: str) -> str | None:
    """Return what of an installed unit keeps its service from writing to a directory; None: nothing."""
    names = ("LoadState", "ProtectSystem", "ProtectHome", "PrivateTmp", "ReadWritePaths", "BindPaths", *_OWN)
    settings = {name: " ".join(values) for name, values in settings_of(machine, service, *names).items()}
    if settings.get("LoadState") != "loaded":
        return None
    directory = os.path.normpath(directory)
    if _below(directory, _opened(settings)):
        return None
    if settings.get("ProtectHome", "no") != "no" and _below(directory, _HOMES):
        return f"the service does not see {directory} (ProtectHome=)"
    if _below(directory, _TEMPORARY):
        if settings.get("PrivateTmp", "no") == "no":
            return None
        return f"the service has a {directory} of its own, which goes with it (PrivateTmp=)"
    protection = settings.get("ProtectSystem", "no")
    if _below(directory, _SYSTEM.get(protection, ())):
        return f"{directory} is read-only for the service (ProtectSystem={protection})"
    return None


def _opened(settings: Mapping[str, str]) -> Iterator[str]:
    for name, parent in _OWN.items():
        yield from (f"{parent}/{folder.partition(':')[0]}" for folder in settings.get(name, "").split())
    yield from (path.lstrip("-+") for path in settings.get("ReadWritePaths", "").split())
    for bound in settings.get("BindPaths", "").split():
        parts = bound.lstrip("-").split(":")
        yield parts[1] if len(parts) > 1 and parts[1] else parts[0]


def _below(directory: str, folders: Iterator[str] | tuple[str, ...]) -> bool:
    return any(Path(directory).is_relative_to(folder) for folder in folders)
