"""What a running daemon tells whoever watches it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.brokers import free_port

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Watcher:
    """Asks a daemon at a port of its own; `section` goes into its configuration."""

    def __init__(self) -> None:
        self.port = free_port()
        self.section = {"address": f"127.0.0.1:{self.port}"}

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and what was answered; status 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def probe(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the document of /healthz or /readyz."""
        status, text = self.get(path)
        return status, json.loads(text or "{}")

    def samples(self) -> Samples:
        """Scrape it."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample's value now; None if there is no such sample."""
        return self.samples().get((name, frozenset(labels.items())))
