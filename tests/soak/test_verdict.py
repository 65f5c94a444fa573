"""The verdict of a soak: what grows is found, what is steady passes, and noise is neither."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.soak.observe import FrameCounter
from tests.soak.report import plot, table
from tests.soak.series import Series, Soak, read_soak, soak_of
from tests.soak.verdict import slope_of, t_quantile, verdict

WARM_UP_S, SECONDS = 600.0, 4200.0
T_S = np.arange(0.0, SECONDS, 5.0)

LOST = "durable messages that did not arrive"

Change = Callable[[Series], Series]


def steps(seed: int, size: float) -> Series:
    """Memory as it is: noise, and steps up and down that stay for minutes."""
    random = np.random.default_rng(seed)
    levels = random.normal(0, size, int(SECONDS // 240) + 1)
    return np.repeat(levels, 48)[: len(T_S)] + random.normal(0, size / 5, len(T_S))


def walk(seed: int, size: float) -> Series:
    """Memory that goes up and down by chance and does not come back by itself."""
    return np.cumsum(np.random.default_rng(seed).normal(0, size / 10, len(T_S)))


def soak(
    *,
    rss_mb: Series | None = None,
    threads: Series | None = None,
    descriptors: Series | None = None,
    fps: Change = lambda t_s: np.full(len(t_s), 5.0),
    ended_by: str | None = "time",
    missing: int = 0,
    gate: Change = lambda t_s: np.full(len(t_s), 4.0),
    faults: tuple[str, ...] = ("broker frozen",),
) -> Soak:
    flat = np.full(len(T_S), 20.0)
    rss = 400 + (steps(1, 0.3) if rss_mb is None else rss_mb)
    columns = {"threads": flat if threads is None else threads}
    columns["descriptors"] = flat if descriptors is None else descriptors
    start = {
        "cameras": ["scene-0"],
        "fps": 5,
        "size": "320x240",
        "machine": "m",
        "python": "3",
        "lacking": {},
        "faults": ["broker frozen"],
    }
    records: list[dict[str, Any]] = [{"kind": "start", "version": "0", **start}]
    for place, t_s in enumerate(T_S):
        costs = {name: float(values[place]) for name, values in columns.items()}
        records.append(
            {"kind": "sample", "t_s": t_s, "rss_bytes": rss[place] * 1e6, "cpu_s": t_s / 4, **costs}
        )
    middles = np.arange(30.0, SECONDS, 60.0)
    for t_s, rate, behind in zip(middles, fps(middles), gate(middles), strict=True):
        frames = {"scene-0": round(60 * rate), "gate": round(60 * behind)}
        records.append({"kind": "rate", "t_s": t_s, "seconds": 60.0, "frames": frames})
    records += [{"kind": "fault", "t_s": 30.0, "fault": name, "held_s": 8.0} for name in faults]
    if ended_by is not None:
        records.append({"kind": "end", "t_s": SECONDS, "ended_by": ended_by, "missing": missing})
    return soak_of(records)


def failed(run: Soak) -> list[str]:
    return [finding.name for finding in verdict(run, WARM_UP_S) if not finding.passed]


@pytest.mark.parametrize("seed", range(8))
def test_a_steady_run_passes_however_its_memory_steps(seed: int) -> None:
    assert failed(soak(rss_mb=steps(seed, 0.5))) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_growing_one_does_not(seed: int) -> None:
    assert failed(soak(rss_mb=steps(seed, 0.5) + 10 * T_S / 3600)) == ["RSS slope"]


def test_growth_of_any_course_is_found() -> None:
    """The first soak's leak grew ever faster, which a line with noise around it takes for noise."""
    hours = T_S / 3600
    for course in (60 * hours**2, 40 * np.sqrt(hours), 30 * np.floor(6 * hours) / 6, 15 * hours**3):
        assert failed(soak(rss_mb=steps(1, 0.3) + course)) == ["RSS slope"]


def test_memory_that_goes_up_and_down_without_end_does_not_pass_for_steady() -> None:
    saw = 50 * ((T_S / 2400) % 1.0)
    (name,) = failed(soak(rss_mb=saw))
    assert name == "RSS slope"


def test_growth_while_it_warms_up_does_not_count() -> None:
    assert failed(soak(rss_mb=np.minimum(T_S, WARM_UP_S) / 10)) == []


@pytest.mark.parametrize("growth", [0.0, 8.0, 12.0])
def test_what_nobody_can_tell_from_noise_does_not_pass(growth: float) -> None:
    for seed in range(8):
        run = soak(rss_mb=steps(seed, 3.0) + growth * T_S / 3600)
        (finding,) = (finding for finding in verdict(run, WARM_UP_S) if finding.name == "RSS slope")
        assert not finding.passed
        assert growth or "too unsteady" in finding.found


def test_a_camera_that_does_not_come_back_is_found() -> None:
    assert failed(soak(gate=lambda t_s: np.where(t_s > 900, 0.0, 5.0))) == ["gate comes back"]
    assert failed(soak(gate=lambda t_s: np.where((t_s > 900) & (t_s < 1000), 1.0, 5.0))) == [
        "gate comes back"
    ]


def test_a_run_without_its_faults_shows_nothing() -> None:
    assert failed(soak(faults=())) == ["every fault was done"]
    assert failed(soak(faults=("reload",))) == ["every fault was done"]


def test_nobody_who_counts_is_no_message_missing() -> None:
    counter = FrameCounter("mqtt://127.0.0.1:1", 60.0, 0.0)
    counter._thread = threading.Thread(target=lambda: None)
    counter._thread.start()
    counter._thread.join()
    with pytest.raises(RuntimeError, match="counts"):
        _ = counter.missing
    counter.stop()
    assert counter.missing == 0


@pytest.mark.parametrize("name", ["threads", "descriptors"])
def test_a_thread_or_a_descriptor_that_stays_is_found(name: str) -> None:
    growing = 20 + np.floor(T_S / 1800)
    assert failed(soak(**{name: growing})) == [name]  # type: ignore[arg-type]
    faulty = np.where(T_S % 30 < 8, 25.0, 20.0)  # comes and goes with each fault
    assert failed(soak(**{name: faulty})) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fps", "passes"),
    [
        (lambda t_s: np.where((t_s > 2000) & (t_s < 2100), 0.0, 5.0), True),
        (lambda t_s: np.where(t_s % 600 < 120, 4.0, 5.0), False),
        (lambda t_s: np.where(t_s > 3600, 4.4, 5.0), False),
        (lambda t_s: np.full(len(t_s), 4.4), False),
        (lambda t_s: np.where(t_s < 500, 1.0, 5.0), True),
    ],
)
def test_frames_must_come_steadily(fps: Change, passes: bool) -> None:
    assert (failed(soak(fps=fps)) == []) is passes


def test_a_daemon_that_ends_does_not_pass() -> None:
    assert failed(soak(ended_by="the daemon ended with 1")) == ["runs to the end"]


def test_a_run_that_has_not_ended_does_not_pass() -> None:
    assert failed(soak(ended_by=None)) == ["runs to the end", LOST]


def test_messages_that_did_not_arrive_do_not_pass() -> None:
    assert failed(soak(missing=1)) == [LOST]


def test_stretches_that_were_not_counted_do_not_pass() -> None:
    run = soak()
    assert failed(replace(run, rates=[rate for rate in run.rates if not 2000 < rate["t_s"] < 3200])) == [
        "fps of scene-0",
        "gate comes back",
    ]


def test_stretches_without_a_frame_are_counted_too() -> None:
    counter = FrameCounter("mqtt://127.0.0.1:1", 60.0, 0.0)
    counter.start()
    try:
        counter._frames[1]["gate"] = 300
        counter._frames[4]["gate"] = 7
        taken = [(rate["t_s"], rate["frames"]) for rate in counter.take(200.0)]
        assert taken == [(30.0, {}), (90.0, {"gate": 300}), (150.0, {})]
        assert [rate["frames"] for rate in counter.take(300.0)] == [{}, {"gate": 7}]
        assert counter.take(300.0) == []
    finally:
        counter.stop()


def test_too_short_a_run_does_not_pass() -> None:
    run = soak()
    assert "RSS slope" in [finding.name for finding in verdict(run, SECONDS - 300) if not finding.passed]


def test_the_interval_holds_the_slope_as_often_as_it_says() -> None:
    for noise in (steps, walk):
        held = 0
        for seed in range(200):
            found = slope_of(T_S, noise(seed, 1.0) + 5 * T_S / 3600)
            assert found is not None
            held += found.low <= 5 <= found.high
        assert held >= 174, noise.__name__


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [(0.975, 3, 3.182), (0.975, 10, 2.228), (0.975, 60, 2.000), (0.95, 5, 2.015)],
)
def test_students_quantiles(share: float, freedom: float, value: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(value, rel=0.01)


def test_a_line_without_noise_has_its_slope() -> None:
    slope = slope_of(T_S, 7 * T_S / 3600)
    assert slope is not None
    assert slope.per_h == pytest.approx(7, abs=0.01)
    assert slope.low == pytest.approx(7, abs=0.05)


def test_the_table_and_the_chart_say_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = soak(rss_mb=20 * T_S / 3600)
    text = table(run, WARM_UP_S)
    assert "| RSS slope | +20.0" in text
    assert "**failed**" in text
    assert "broker frozen 1" in text
    plot(run, tmp_path / "soak.svg", WARM_UP_S)
    assert "warm-up" in (tmp_path / "soak.svg").read_text()


def test_a_file_that_is_being_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    start = {"kind": "start", "cameras": [], "fps": 5}
    path.write_text(json.dumps(start) + '\n{"kind": "sam')
    assert read_soak(path).end is None
