"""Several daemons beside each other on one GPU, each with an engine and a share of the cameras.

They are measured at the same time, and seen as one. Their worst latencies count.
"""

from __future__ import annotations

import pickle
import sys
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from edge_app.app.detector import open_detector
from edge_app.bench.configured_street import ConfiguredStreet
from edge_app.bench.street import Load, StreetSpeed, as_json
from edge_app.bench.turns import Child, answer_requests
from edge_app.config.models import AppConfig

OPEN_TIMEOUT_S = 120.0
MEASURE_TIMEOUT_S = 120.0


class Daemons:
    """So many processes, each with a model of its own.

    Args:
        config: What each of them runs.
        count: How many.

    Raises:
        BackendError: One of them cannot open its model.
    """

    def __init__(self, config: AppConfig, count: int) -> None:
        content = b64encode(pickle.dumps(config)).decode()
        command = [sys.executable, "-m", "edge_app.bench.street_processes"]
        self._children = [Child(f"process {number + 1}", command) for number in range(count)]
        self._pool = ThreadPoolExecutor(count)
        try:
            self._ask_all([{"do": "open", "config": content}] * count, OPEN_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def measure(self, load: Load) -> StreetSpeed:
        """Share a load and measure it."""
        count = len(self._children)
        shares = [load.cameras // count + (number < load.cameras % count) for number in range(count)]
        requests = [
            {"do": "measure", "load": _plain(replace(load, cameras=share))} for share in shares if share
        ]
        return _together([StreetSpeed(**answer) for answer in self._ask_all(requests, MEASURE_TIMEOUT_S)])

    def close(self) -> None:
        """End all of them."""
        self._pool.shutdown()
        for child in self._children:
            child.close()

    def _ask_all(self, requests: Sequence[Mapping[str, Any]], timeout_s: float) -> list[dict[str, Any]]:
        asked = [
            self._pool.submit(child.ask, timeout_s, **request)
            for child, request in zip(self._children, requests, strict=False)
        ]
        return [each.result() for each in asked]


def _together(runs: Sequence[StreetSpeed]) -> StreetSpeed:
    frames_per_s = sum(run.frames_per_s for run in runs)
    cpu = sum(run.cpu for run in runs)
    dropped: Counter[str] = Counter()
    for run in runs:
        dropped.update(run.dropped)

    def mean(values: Sequence[float]) -> float:
        weights = [run.frames_per_s for run in runs]
        return sum(v * w for v, w in zip(values, weights, strict=True)) / max(frames_per_s, 1e-9)

    return StreetSpeed(
        frames_per_s=frames_per_s,
        latency_ms=_worst([run.latency_ms for run in runs]),
        from_lane_ms=_worst([run.from_lane_ms for run in runs]),
        stages_ms={name: _worst([run.stages_ms[name] for run in runs]) for name in runs[0].stages_ms},
        captured=sum(run.captured for run in runs),
        dropped=dict(+dropped),
        spread=max(run.spread for run in runs),
        cpu=cpu,
        python_us=cpu / max(frames_per_s, 1e-9) * 1e6,
        threads_us={
            name: round(mean([run.threads_us.get(name, 0.0) for run in runs]), 2)
            for name in sorted({name for run in runs for name in run.threads_us})
        },
        objects=mean([run.objects for run in runs]),
    )


def _worst(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(max(column) for column in zip(*rows, strict=True)) if all(rows) else ()


def _plain(load: Load) -> dict[str, Any]:
    return {name: getattr(load, name) for name in Load.__slots__}


def main() -> None:
    """Run one of the processes: open a model once, then measure as often as is asked."""
    opened: dict[str, Any] = {}

    def answer(request: Mapping[str, Any]) -> dict[str, Any]:
        if request["do"] == "open":
            # From our own parent, who made it a moment ago.
            config: AppConfig = pickle.loads(b64decode(request["config"]))  # noqa: S301
            opened["detector"] = detector = open_detector(config)
            opened["street"] = ConfiguredStreet(config, detector)
            return {}
        load = Load(**{**request["load"], "size": tuple(request["load"]["size"])})
        return as_json(opened["street"].measure(load))

    answer_requests(answer)
    if "detector" in opened:
        opened["detector"].backend.close()


if __name__ == "__main__":
    main()
