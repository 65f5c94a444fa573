"""Whether a soak was passed: computed from its samples, never judged by eye."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tests.soak.series import GATE, Series, Soak

MOST_RSS_MB_PER_H = 4.0
LEAST_SHARE_OF_FPS = 0.9
MOST_SLOW_STRETCHES = 0.05
"""So great a share of the stretches may have fewer frames than that: the machine has other things to do."""
WIDEST_MB_PER_H = 12.0
"""An interval that is wider says nothing: that is no reason to pass."""
LEAST_SHARE_BEHIND_SERVER = 0.4
"""Of a camera whose server is killed or frozen up to twice a minute."""
BIN_S = 60.0
LEAST_BINS = 10
STEP_S = 300.0
LEAST_STEPS = 4
MOST_CORRELATION = 0.95


@dataclass(frozen=True)
class Slope:
    """Growth in units an hour, with its 95 % confidence interval."""

    per_h: float
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    passed: bool
    found: str


def verdict(soak: Soak, warm_up_s: float) -> list[Finding]:
    """Return what was found of a run; what came before `warm_up_s` does not count."""
    return [
        _alive(soak),
        _complete(soak),
        _memory(soak, warm_up_s),
        *_counts(soak, warm_up_s),
        *_rates(soak, warm_up_s),
        *_behind_server(soak, warm_up_s),
        _faults(soak),
    ]


def slope_of(t_s: Series, values: Series) -> Slope | None:
    """Return how fast a series grows; None if it is too short to say.

    Memory goes up in steps and stays there, so that neighbours resemble each other, and an interval that
    knows nothing of it is far too narrow. Of two models of that the one counts that says it more precisely:
    a line with noise around it that is remembered for a while, and a walk whose steps have one mean.
    """
    found = [slope for slope in (_of_line(t_s, values), _of_walk(t_s, values)) if slope is not None]
    return min(found, key=lambda slope: slope.high - slope.low) if found else None


def _of_line(t_s: Series, values: Series) -> Slope | None:
    """Least squares through the medians of minutes, which are worth fewer independent points.

    By the residuals' first autocorrelation r these are n (1 - r) / (1 + r), as for AR(1).
    """
    times, medians = _bins(t_s, values, BIN_S)
    if len(times) < LEAST_BINS:
        return None
    hours = (times - times.mean()) / 3600
    spread = float(hours @ hours)
    per_h = float(hours @ medians) / spread
    residuals = medians - medians.mean() - per_h * hours
    energy = float(residuals @ residuals)
    if energy <= 1e-12 * max(1.0, float(medians @ medians)):
        return Slope(per_h, per_h, per_h)
    correlation = float(residuals[1:] @ residuals[:-1]) / energy
    correlation = min(max(correlation, 0.0), MOST_CORRELATION)
    worth = max(len(times) * (1 - correlation) / (1 + correlation), 4.0)
    error = math.sqrt(energy / (worth - 2) / (spread * worth / len(times)))
    half = t_quantile(0.975, worth - 2) * error
    return Slope(per_h, per_h - half, per_h + half)


def _of_walk(t_s: Series, values: Series) -> Slope | None:
    """The mean of the steps from each five minutes' median to the next: right for growth of any course."""
    _, medians = _bins(t_s, values, STEP_S)
    steps = np.diff(medians) * (3600 / STEP_S)
    if len(steps) < LEAST_STEPS:
        return None
    per_h = float(steps.mean())
    half = t_quantile(0.975, len(steps) - 1) * float(steps.std(ddof=1)) / math.sqrt(len(steps))
    return Slope(per_h, per_h - half, per_h + half)


def t_quantile(share: float, freedom: float) -> float:
    """Return a quantile of Student's distribution, to 1 % from 3 degrees of freedom on.

    Cornish and Fisher's expansion; Abramowitz and Stegun, 26.7.5.
    """
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def _alive(soak: Soak) -> Finding:
    if soak.end is None:
        return Finding("runs to the end", passed=False, found="it has not ended")
    return Finding("runs to the end", soak.end["ended_by"] == "time", str(soak.end["ended_by"]))


def _complete(soak: Soak) -> Finding:
    missing = None if soak.end is None else soak.end["missing"]
    return Finding("durable messages that did not arrive", missing == 0, str(missing))


def _memory(soak: Soak, warm_up_s: float) -> Finding:
    late = soak.t_s >= warm_up_s
    slope = slope_of(soak.t_s[late], soak.rss_bytes[late] / 1e6)
    name = "RSS slope"
    if slope is None:
        return Finding(name, passed=False, found=f"less than {LEAST_BINS} minutes to tell it from")
    found = f"{slope.per_h:+.2f} MB/h (95 %: {slope.low:+.2f} to {slope.high:+.2f})"
    if slope.low <= MOST_RSS_MB_PER_H < slope.high and slope.high - slope.low > WIDEST_MB_PER_H:
        return Finding(name, passed=False, found=f"{found}: too unsteady to tell; run it for longer")
    return Finding(name, slope.low <= MOST_RSS_MB_PER_H, found)


def _counts(soak: Soak, warm_up_s: float) -> Iterator[Finding]:
    """Faults open and close things all the time: medians of the first and the last quarter are compared."""
    late = soak.t_s >= warm_up_s
    for name, values in (("threads", soak.threads[late]), ("descriptors", soak.descriptors[late])):
        quarter = len(values) // 4
        if not quarter:
            yield Finding(name, passed=False, found="too few samples")
            continue
        first, last = float(np.median(values[:quarter])), float(np.median(values[-quarter:]))
        found = f"{first:g} in the first quarter, {last:g} in the last (most: {values.max():g})"
        yield Finding(name, last < first + 1, found)


def _rates(soak: Soak, warm_up_s: float) -> Iterator[Finding]:
    nominal = float(soak.start["fps"])
    for camera in soak.start["cameras"]:
        times, fps = soak.fps(camera)
        fps = fps[times >= warm_up_s]
        quarter = len(fps) // 4
        if not quarter or len(times) < _stretches(soak):
            yield Finding(f"fps of {camera}", passed=False, found="too few stretches")
            continue
        slow = float(np.mean(fps < LEAST_SHARE_OF_FPS * nominal))
        first, last = float(np.mean(fps[:quarter])), float(np.mean(fps[-quarter:]))
        found = (
            f"{first:.2f} at first, {last:.2f} at last; {slow:.0%} of the time below {LEAST_SHARE_OF_FPS:.0%}"
        )
        steady = last >= LEAST_SHARE_OF_FPS * max(first, nominal)
        yield Finding(f"fps of {camera}", steady and slow <= MOST_SLOW_STRETCHES, found)


def _behind_server(soak: Soak, warm_up_s: float) -> Iterator[Finding]:
    """The camera that faults are done to comes back after each."""
    if "camera server" in soak.start["lacking"]:
        return
    times, fps = soak.fps(GATE)
    fps = fps[times >= warm_up_s]
    if not len(fps) or len(times) < _stretches(soak):
        yield Finding(f"{GATE} comes back", passed=False, found="too few stretches")
        return
    share = float(fps.min()) / float(soak.start["fps"])
    found = f"at least {share:.0%} of its frames in each stretch"
    yield Finding(f"{GATE} comes back", share >= LEAST_SHARE_BEHIND_SERVER, found)


def _faults(soak: Soak) -> Finding:
    """A run in which nothing was done to the daemon shows nothing."""
    done = {fault["fault"] for fault in soak.faults}
    lacking = [name for name in soak.start["faults"] if name not in done]
    found = f"never: {', '.join(lacking)}" if lacking else f"{len(done)} kinds, {len(soak.faults)} in all"
    return Finding("every fault was done", bool(done) and not lacking, found)


def _stretches(soak: Soak) -> int:
    """Return how many stretches of time a run that has ended must have counted frames in."""
    if soak.end is None or not soak.rates:
        return 0
    return int(soak.t_s[-1] // float(soak.rates[0]["seconds"])) - 1


def _bins(t_s: Series, values: Series, width_s: float) -> tuple[Series, Series]:
    """Return the middle and the median of each stretch of time that has samples."""
    places = (t_s // width_s).astype(np.int64)
    kept = np.unique(places)
    medians = [float(np.median(values[places == place])) for place in kept]
    return (kept.astype(np.float64) + 0.5) * width_s, np.array(medians, np.float64)
