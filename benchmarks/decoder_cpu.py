"""What PyNvVideoCodec alone costs the CPU, for cameras that come at their own pace.

    python -m benchmarks.decoder_cpu film.mp4 --cameras 25 --fps 30

Each camera has a thread and a decoder, and gets the film's packets from memory. Nothing else runs.
"""

from __future__ import annotations

import argparse
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge_app.bench.decoder_limit import DecoderLimit

WARM_UP_S = 1.0


def paced(step: Callable[[], int], fps: float, seconds: float, counts: list[int], number: int) -> None:
    """Call `step` at a pace, and count what it brings once the warm-up is over."""
    begin_s = time.perf_counter()
    next_s = begin_s
    while next_s < begin_s + WARM_UP_S + seconds:
        time.sleep(max(0.0, next_s - time.perf_counter()))
        found = step()
        counts[number] += found if next_s >= begin_s + WARM_UP_S else 0
        next_s += 1 / fps


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", type=Path)
    parser.add_argument("--cameras", type=int, default=25)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(arguments)
    limit, counts = DecoderLimit(str(options.film)), [0] * options.cameras
    begin = threading.Barrier(options.cameras + 1)

    def work(number: int) -> None:
        with limit.decoder() as step:
            step()
            begin.wait()
            time.sleep(number / options.fps / options.cameras)
            paced(step, options.fps, options.seconds, counts, number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(options.cameras)]
    for worker in workers:
        worker.start()
    begin.wait()
    time.sleep(WARM_UP_S)
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(options.seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    for worker in workers:
        worker.join()
    frames = sum(counts)
    used = np.array([after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime]) / frames * 1e6
    switches = (after.ru_nvcsw - before.ru_nvcsw) / frames
    sys.stdout.write(
        f"{frames} frames of {options.cameras} cameras: {used.sum():.0f} us of CPU a frame, {used[0]:.0f} "
        f"in the library, {used[1]:.0f} in the kernel; {switches:.1f} switches of threads\n"
    )


if __name__ == "__main__":
    main()
