"""Samples, collected into the families that the Prometheus library writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edge_app.ops.metrics.families import BY_NAME, FAMILIES, Family

_KINDS: dict[str, Callable[..., Metric]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}

_PLAIN = frozenset({"node", "camera", "model", "sink", "state", "stage", "reason"})
"""Labels that hold names of the configuration or our own words."""


class Page:
    """One scrape. Every family is in it, if only by name, so that a query for it is never a mistake.

    Args:
        redact: Takes the labels' values and returns them without secrets. Names that the configuration gives
            stay: topics show them anyway, and two that were hidden would be one.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._metrics = {family.name: _empty(family) for family in FAMILIES}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """Add a sample; None is none."""
        if value is not None:
            metric = self._metrics[name]
            metric.add_metric(self._shown(name, labels), value)  # type: ignore[attr-defined]

    def add_histogram(
        self, name: str, bounds: Sequence[float], counts: Sequence[int], total: float, *labels: str
    ) -> None:
        """Add a histogram: `counts` of what lies up to each bound and above the one before, and above all."""
        cumulative, buckets = 0, []
        for bound, count in zip((*map(repr, bounds), "+Inf"), counts, strict=True):
            cumulative += count
            buckets.append((bound, cumulative))
        metric = self._metrics[name]
        metric.add_metric(self._shown(name, labels), buckets, total)  # type: ignore[attr-defined]

    def add_choice(self, name: str, choices: Iterable[str], chosen: str, *labels: str) -> None:
        """Add a sample for each of some states, 1 for the one that is."""
        for choice in choices:
            self.add(name, float(choice == chosen), *labels, choice)

    def metrics(self) -> Iterator[Metric]:
        """Return all families."""
        yield from self._metrics.values()

    def _shown(self, name: str, labels: Sequence[str]) -> list[str]:
        keys = BY_NAME[name].labels
        if len(labels) != len(keys):
            raise ValueError(f"{name} has the labels {keys}, found {len(labels)} values")
        return [
            label if key in _PLAIN else self._redact(label) for key, label in zip(keys, labels, strict=True)
        ]


def _empty(family: Family) -> Metric:
    return _KINDS[family.kind](family.name, family.meaning, labels=family.labels)


class Fill(Protocol):
    """Who writes samples onto a page. Called from the threads of the server."""

    def __call__(self, page: Page) -> None:
        """Add what there is to tell now."""


class _PageCollector(Collector):
    def __init__(self, fill: Fill, redact: Callable[[str], str]) -> None:
        self._fill, self._redact = fill, redact

    def collect(self) -> Iterator[Metric]:
        page = Page(self._redact)
        self._fill(page)
        return page.metrics()

    def describe(self) -> Iterator[Metric]:
        return Page().metrics()


def registry_of(fill: Fill, redact: Callable[[str], str] = str) -> CollectorRegistry:
    """Return a registry of our metrics and of the process's own (`process_*`)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_PageCollector(fill, redact))
    return registry
