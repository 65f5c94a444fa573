"""Dashboard and alerts name what a real daemon tells, and a real Prometheus understands them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from edge_app.ops.metrics.families import FAMILIES
from tests.brokers import free_port, until
from tests.e2e.daemon import Daemon, write_config
from tests.e2e.scrape import Watcher

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "monitoring" / "grafana-dashboard.json"
ALERTS = ROOT / "monitoring" / "alerts.yaml"
OPERATIONS = ROOT / "docs" / "operations.md"

PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt: prometheus)")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (apt)")

_METRIC = re.compile(r"\b(?:edge_app|process)_[a-z_]+")
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}

UNITS = {"short", "cps", "s", "bytes", "percentunit", "celsius", "watt"}
"""Ids of Grafana's own (packages/grafana-data/src/valueFormats/categories.ts); those that are used."""
PANELS = {"row", "stat", "timeseries", "table"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
"""What Grafana asks whoever imports it for; a fixed one would be that of the machine it was made on."""
GRAFANAS_OWN = {"__rate_interval"}

WITHOUT_SENSORS = ("temperature", "power", "gpu", "edge_app_decoder", "> 0")
"""A test machine has no sensors and no GPU, and may have no drops: what asks for these may find nothing."""


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def dashboard_expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    found += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])
            assert query is not None
            found.append(query[1])
    return found


def alert_rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watcher]:
    """A daemon with a rendered street and an outbox, and no broker."""
    pytest.importorskip("cv2")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("watched")
    made = Watcher()
    config = write_config(
        folder / "edge.yaml",
        None,
        {"yard": "scene://street?seed=1&size=320x192&fps=10"},
        metrics=made.section,
        sinks={"files": {"type": "jsonl", "directory": str(folder / "lines")}},
        mqtt={"delivery": {"detections": "durable"}, "outbox": {"directory": str(folder / "outbox")}},
    )
    daemon = Daemon(config)
    until(lambda: made.get("/readyz")[0] == 200, "it works", timeout_s=30)
    yield made
    daemon.kill()


@pytest.fixture(scope="module")
def scrape(watcher: Watcher) -> str:
    return watcher.get("/metrics")[1]


def test_every_metric_that_is_asked_for_exists(scrape: str) -> None:
    families = list(text_string_to_metric_families(scrape))
    names = {family.name + suffix for family in families for suffix in _SUFFIXES[family.type]}
    for expression in [*dashboard_expressions(), *(rule["expr"] for rule in alert_rules())]:
        asked = set(_METRIC.findall(expression))
        assert asked <= names, f"{asked - names} of {expression}"


def test_every_metric_of_the_work_is_on_the_dashboard_or_explained(scrape: str) -> None:
    explained = OPERATIONS.read_text()
    for family in FAMILIES:
        assert f"`{family.name}`" in explained, family.name
        assert f"# TYPE {family.name} " in scrape


def test_panels_have_their_own_place_and_number() -> None:
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_panels_ask_the_chosen_source_in_words_that_grafana_knows() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text()))
    assert used - GRAFANAS_OWN - {"__all"} == set(variables), (
        "each that is used is there, and the other way round"
    )
    asking = [panel for panel in panels() if panel["type"] != "row"]
    targets = [target for panel in asking for target in panel["targets"]]
    queries = [variable for variable in variables.values() if variable["type"] == "query"]
    for one in [*asking, *targets, *queries, *dashboard["annotations"]["list"]]:
        assert one["datasource"] == SOURCE, one
    for panel in panels():
        assert panel["type"] in PANELS
        own = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(own)) == len(own), panel["title"]
    for panel in asking:
        assert panel["targets"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


@needs_promtool
def test_promtool_finds_nothing_wrong_with_names_and_rules(scrape: str) -> None:
    assert PROMTOOL is not None
    told = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=scrape, capture_output=True, text=True, timeout=60
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    subprocess.run([PROMTOOL, "check", "rules", ALERTS], check=True, capture_output=True, timeout=60)
    example = ALERTS.with_name("prometheus.yaml")
    subprocess.run([PROMTOOL, "check", "config", example], check=True, capture_output=True, timeout=60)


@needs_promtool
def test_every_alert_fires_when_it_should() -> None:
    assert PROMTOOL is not None
    cases = Path(__file__).with_name("alerts_test.yaml")
    told = subprocess.run([PROMTOOL, "test", "rules", cases], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    for rule in alert_rules():
        assert rule["alert"] in cases.read_text()


class Prometheus:
    """A real one that scrapes the daemon every half a second."""

    def __init__(self, folder: Path, target: int) -> None:
        assert PROMETHEUS is not None
        self._url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [
                {"job_name": "edge-app", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
            ],
        }
        (folder / "prometheus.json").write_text(json.dumps(config))
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={folder / 'prometheus.json'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )

    def get(self, path: str) -> dict[str, Any]:
        """Ask its API; an error of it fails."""
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}", timeout=10) as response:
            document: dict[str, Any] = json.load(response)
        assert document["status"] == "success", document
        return document["data"]  # type: ignore[no-any-return]

    def query(self, expression: str) -> list[Any]:
        """Return what an expression finds now."""
        return list(self.get(f"query?query={urllib.parse.quote(expression)}")["result"])

    def is_there(self) -> bool:
        try:
            return bool(self.query("count_over_time(edge_app_info[1m]) >= 8"))
        except OSError:
            return False

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@needs_prometheus
def test_a_real_prometheus_answers_every_panel_and_evaluates_every_rule(
    watcher: Watcher, tmp_path: Path
) -> None:
    prometheus = Prometheus(tmp_path, watcher.port)
    try:
        until(prometheus.is_there, "it has scraped a few times", timeout_s=30)
        (target,) = prometheus.get("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        for expression in dashboard_expressions():
            asked = expression.replace("$__rate_interval", "4s")
            asked = asked.replace("$instance", ".*").replace("$camera", ".*")
            found = prometheus.query(asked)
            assert found or any(word in expression for word in WITHOUT_SENSORS), expression
        for target in (target for panel in panels() for target in panel.get("targets", [])):
            asked = re.sub(r"\$(instance|camera)", ".*", target["expr"].replace("$__rate_interval", "4s"))
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            for found in prometheus.query(asked):
                assert shown <= set(found["metric"]), f"{target['legendFormat']} of {target['expr']}"
        (group,) = prometheus.get("rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
        assert not [rule["lastError"] for rule in group["rules"] if rule.get("lastError")]
        states = {rule["name"]: rule["state"] for rule in group["rules"]}
        assert states["EdgeAppBrokerAway"] == "pending"
        assert states["EdgeAppDown"] == states["EdgeAppFails"] == "inactive"
    finally:
        prometheus.end()
