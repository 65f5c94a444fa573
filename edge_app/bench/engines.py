"""TensorRT engines beside PyTorch on the same GPU: two interpreters, warm, taking turns.

    python -m edge_app.bench.engines --engines FOLDER --weights FOLDER --torch-python COMMAND

The PyTorch side is `benchmarks/torch_peer.py`, run by an interpreter that has PyTorch; it holds the networks
with the weights that `benchmarks/torch_models.py` exported to the ONNX files that the engines are built from.
The outputs of every way are compared with those of FP32 before anything is timed. Input and outputs stay in
device memory on both sides.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edge_app.bench.engine_report import EXACT, REFERENCE, Comparison, WayRow, judge, report
from edge_app.bench.measure import environment
from edge_app.bench.turns import Child
from edge_app.errors import BackendError, EdgeAppError
from edge_app.files.writable import require_writable

PEER = Path(__file__).parents[2] / "benchmarks" / "torch_peer.py"
OPEN_TIMEOUT_S = 240.0
TURN_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Turns:
    """How long and how often each way is measured.

    Attributes:
        rounds: Each way has one turn in each round.
        warm_s: Seconds of every turn that do not count.
        calls: Calls of every turn that count, once by the host's clock and once between events.
    """

    rounds: int = 10
    warm_s: float = 0.05
    calls: int = 25


class Match:
    """Both sides, and what they have in common."""

    def __init__(self, sides: Sequence[Child], models: Sequence[str], batches: Sequence[int]) -> None:
        self.sides = sides
        self.ways: dict[tuple[str, int], dict[str, Child]] = {}
        self.left_out: list[str] = []
        for model in models:
            for batch in batches:
                found = self._open(model, batch)
                if REFERENCE in found and len(set(found.values())) == len(sides):
                    self.ways[model, batch] = found

    def errors(self) -> dict[tuple[str, int, str], float]:
        """Return how far the outputs of every way are from those of FP32 (without TF32, if that is run)."""
        distances = {}
        with tempfile.TemporaryDirectory(prefix="edge-app-bench-") as folder:
            for (model, batch), ways in self.ways.items():
                outputs = {}
                for way, side in ways.items():
                    path = Path(folder) / "outputs.npz"
                    side.ask(TURN_TIMEOUT_S, do="outputs", model=model, batch=batch, way=way, path=str(path))
                    with np.load(path) as found:
                        outputs[way] = np.concatenate([found[name].ravel() for name in found.files])
                exact = outputs.get(EXACT, outputs[REFERENCE])
                for way, values in outputs.items():
                    distances[model, batch, way] = relative_error(values, exact)
        return distances

    def play(self, turns: Turns) -> dict[tuple[str, int, str], list[dict[str, Any]]]:
        """Let every way have its turn in every round, sides alternating in an order that changes."""
        order = Random(0)  # noqa: S311 - no secret: nobody shall always come after the same one
        times: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
        for number in range(turns.rounds):
            print(f"round {number + 1} of {turns.rounds}", file=sys.stderr, flush=True)  # noqa: T201
            for (model, batch), ways in self.ways.items():
                for way in alternate(ways, order):
                    answer = ways[way].ask(
                        TURN_TIMEOUT_S,
                        do="time",
                        model=model,
                        batch=batch,
                        way=way,
                        warm_s=turns.warm_s,
                        calls=turns.calls,
                    )
                    times.setdefault((model, batch, way), []).append(answer)
        return times

    def _open(self, model: str, batch: int) -> dict[str, Child]:
        found: dict[str, Child] = {}
        for side in self.sides:
            answer = side.ask(OPEN_TIMEOUT_S, do="open", model=model, batch=batch)
            found.update(dict.fromkeys(answer["ways"], side))
            self.left_out += [
                f"{model}, batch {batch}, {way}: {why}" for way, why in answer["left_out"].items()
            ]
        return found


def alternate(ways: Mapping[str, Child], order: Random) -> list[str]:
    """Return the ways so that the sides alternate for as long as both have some left."""
    by_side: dict[int, list[str]] = {}
    for way in order.sample(list(ways), len(ways)):
        by_side.setdefault(id(ways[way]), []).append(way)
    queues = list(by_side.values())
    longest = max(len(queue) for queue in queues)
    return [queue[i] for i in range(longest) for queue in queues if i < len(queue)]


def relative_error(found: Any, expected: Any) -> float:
    """Return the norm of the difference over the norm of what is expected; inf if the sizes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def compare(match: Match, turns: Turns) -> list[Comparison]:
    """Measure everything that both sides can run; return it by model and batch size."""
    errors = match.errors()
    times = match.play(turns)
    comparisons = []
    for (model, batch), ways in match.ways.items():
        calls = {way: np.array([turn["call_ms"] for turn in times[model, batch, way]]) for way in ways}
        rows = []
        for way, column in calls.items():
            device = [turn["device_ms"] for turn in times[model, batch, way]]
            rows.append(
                WayRow(
                    way,
                    call_ms=float(np.median(column)),
                    spread_ms=(float(column.min()), float(column.max())),
                    device_ms=None if None in device else float(np.median(device)),
                    speedup=float(np.median(calls[REFERENCE] / column)),
                    error=errors[model, batch, way],
                )
            )
        comparisons.append(Comparison(model, batch, tuple(rows)))
    return comparisons


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; return 1 if a claim fails.

    Raises:
        BackendError: A side cannot run, or they have nothing in common.
        ConfigError: The result cannot be written.
    """
    if not PEER.exists():
        raise BackendError(f"{PEER} is missing", hint="This benchmark runs in a checkout of the repository.")
    if arguments.json is not None:
        require_writable(arguments.json, "--json")
    turns = Turns(arguments.rounds, arguments.warm_s, arguments.calls)
    peer = [*arguments.torch_python.split(), str(PEER), str(arguments.weights.absolute())]
    engine_side = arguments.engine_side.split()
    sides = [Child("the PyTorch side", peer)]
    try:
        sides.append(Child("the TensorRT side", [*engine_side, str(arguments.engines.absolute())]))
        settings = {
            f"{side.name}: {key}": str(value)
            for side in sides
            for key, value in side.ask(OPEN_TIMEOUT_S, do="describe").items()
        }
        match = Match(sides, arguments.models, arguments.batches)
        if not match.ways:
            raise BackendError(
                f"{arguments.engines}: there is no MODEL.LABEL.engine that both sides can run",
                hint="; ".join(match.left_out) or None,
            )
        comparisons = compare(match, turns)
    finally:
        for side in sides:
            side.close()
    settings |= {"turns": str(turns), "TF32": TF32_NOTE, **environment()}
    settings["left out"] = "; ".join(match.left_out) or "nothing"
    claims = [claim for comparison in comparisons for claim in judge(comparison)]
    print(report(comparisons, claims, settings))  # noqa: T201
    if arguments.json is not None:
        content = {
            "comparisons": [asdict(comparison) for comparison in comparisons],
            "claims": [asdict(claim) for claim in claims],
            "settings": settings,
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0 if all(claim.holds for claim in claims) else 1


TF32_NOTE = (
    "PyTorch's defaults unless a row says otherwise (on in convolutions, off in matrix products); "
    "engines as they were built (edge-app's default is on)"
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_app.bench.engines", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--engines", type=Path, required=True, help="folder of MODEL.LABEL.engine")
    parser.add_argument("--weights", type=Path, required=True, help="folder that torch_models.py wrote to")
    parser.add_argument("--torch-python", default="python3", help="interpreter that has PyTorch")
    parser.add_argument(
        "--models", nargs="+", default=["yolo11n", "yolo11s", "yolov8n", "resnet50", "ssd300", "demo"]
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=Turns().rounds)
    parser.add_argument("--warm-s", type=float, default=Turns().warm_s)
    parser.add_argument("--calls", type=int, default=Turns().calls)
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.add_argument(
        "--engine-side", default=f"{sys.executable} -m edge_app.bench.engine_side", help=argparse.SUPPRESS
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(run(parse(sys.argv[1:])))
    except EdgeAppError as error:
        sys.exit(str(error))
