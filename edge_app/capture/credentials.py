"""A camera's user name and password: put into its URL, and kept out of everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

from edge_app.config.secrets import SecretRegistry


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks a camera for its video; both None where it lets anybody in."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.username is not None or self.password is not None

    def url(self, location: str) -> str:
        """Return the URL `location` with the credentials in it, percent-encoded. Never print it."""
        if not self:
            return location
        scheme, rest = location.split("://", 1)
        user, password = quote(self.username or "", safe=""), quote(self.password or "", safe="")
        return f"{scheme}://{user}:{password}@{rest}"

    def conceal(self, text: str) -> str:
        """Return `text` without the password, however it is written, and without the userinfo of any URL."""
        secrets = SecretRegistry()
        if self.password is not None:
            secrets.add(self.password)
        return secrets.redact(text)
