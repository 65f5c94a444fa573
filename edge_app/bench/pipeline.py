"""What the daemon costs: one 1080p file through `edge-app run` beside a bare loop over the same frames.

Both are processes of their own, with the same threads for decoder and model, and their whole life is timed,
start and end included. The daemon publishes to a broker; the loop throws its results away.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

from edge_app.bench.measure import BenchResult, measure
from edge_app.config.resources import demo_model
from edge_app.demo.broker import DemoBroker, start_broker
from edge_app.errors import EdgeAppError
from edge_app.scene import StreetScene

OURS = "edge-app run"
BARE = "bare loop: decode, letterbox, session.run"
WIDTH, HEIGHT, FPS = 1920, 1080, 30

CONFIG = """\
mqtt: {{uri: "{broker}"}}
inference: {{backend: onnxruntime, threads: {threads}, spinning: {spinning}}}
cameras:
  film: {{uri: "{film}", decoder_threads: {decoder_threads}}}
"""


def run(
    rounds: int = 5,
    *,
    frames: int = 900,
    threads: int | None = None,
    spinning: bool = False,
    decoder_threads: int = 1,
) -> BenchResult:
    """Time both on a rendered film of `frames` frames.

    Args:
        rounds: How often each is timed.
        frames: Length of the film.
        threads: Of the model; None: one for each core.
        spinning: Whether they wait actively.
        decoder_threads: Of the decoder.

    Raises:
        EdgeAppError: One of the two failed, or they saw different numbers of frames.
    """
    threads = threads or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="edge-app-bench-") as name:
        folder = Path(name)
        film = _render_film(folder / "film.mp4", frames)
        broker = start_broker(folder)
        try:
            config = _write_config(folder, broker, film, threads, spinning, decoder_threads)
            bare = [
                *(sys.executable, "-m", "edge_app.bench.bare_loop", str(film), str(demo_model())),
                *(str(threads), "1" if spinning else "0", str(decoder_threads)),
            ]
            ours = [
                sys.executable,
                "-m",
                "edge_app",
                "run",
                "--config",
                str(config),
                "--log-level",
                "warning",
            ]
            return measure(
                f"{frames} frames of {WIDTH}x{HEIGHT}, {threads} model threads "
                f"({'spinning' if spinning else 'waiting'}), {decoder_threads} decoder threads",
                {OURS: lambda: _call(ours), BARE: lambda: _counted(bare, frames)},
                rounds=rounds,
                references=[BARE],
                warm_up_rounds=1,
            )
        finally:
            broker.stop()


def _render_film(path: Path, frames: int) -> Path:
    scene = StreetScene(seed=3, width=WIDTH, height=HEIGHT, fps=FPS)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for index in range(frames):
        writer.write(scene.render(index))
    writer.release()
    return path


def _write_config(
    folder: Path, broker: DemoBroker, film: Path, threads: int, spinning: bool, decoder_threads: int
) -> Path:
    config = folder / "edge.yaml"
    config.write_text(
        CONFIG.format(
            broker=broker.uri,
            film=film,
            threads=threads,
            spinning="true" if spinning else "false",
            decoder_threads=decoder_threads,
        )
    )
    return config


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeAppError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _counted(command: list[str], frames: int) -> None:
    counted = int(_call(command))
    if counted != frames:
        raise EdgeAppError(f"the film has {frames} frames, the bare loop saw {counted}")
