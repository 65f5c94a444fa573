"""Whether an engine still is its model: two backends side by side on the same frames.

Nothing here needs a GPU: each side is a callable that returns what it made of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_app.engine.options import Precision
from edge_app.geometry import iou_matrix
from edge_app.interfaces import TensorMap

FrameT = TypeVar("FrameT")


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """What non-maximum suppression left: xyxy (N, 4) float32, confidence (N,), class_id (N,)."""

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What a backend made of one frame: its raw outputs by name, and the boxes after suppression."""

    outputs: TensorMap
    boxes: Boxes


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When an engine passes.

    Attributes:
        matched: Least share of boxes, 0..1, that have a partner on the other side.
        cosine: Least cosine similarity of each raw output; it decides only where no box was found.
        iou: From which overlap two boxes of one class match.
        margin: Boxes count if their confidence is this far above `confidence`, and may match any: a box at
            the threshold comes and goes with the last bit.
        confidence: The confidence threshold that the application uses; both sides must deliver boxes from
            `confidence - margin` on.
    """

    matched: float
    cosine: float = 0.99
    iou: float = 0.5
    confidence: float = 0.25
    margin: float = 0.05


DEFAULT_THRESHOLDS: Mapping[Precision, Thresholds] = {
    Precision.FP32: Thresholds(0.999, cosine=0.9999),
    Precision.FP16: Thresholds(0.99, cosine=0.999),
    Precision.INT8: Thresholds(0.95, cosine=0.98),
}


@dataclass(frozen=True, slots=True)
class OutputFigures:
    """How far one raw output is from the reference, over all frames.

    Attributes:
        max_error: Largest absolute difference.
        mean_error: Mean absolute difference.
        cosine: Cosine similarity; 1 for two zero vectors.
        not_finite: How many values are NaN or infinite where the reference's are finite.
    """

    max_error: float
    mean_error: float
    cosine: float
    not_finite: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The figures of a verification, and its verdict.

    Attributes:
        precision: Of the engine.
        frames: How many frames were compared.
        outputs: Figures of each raw output.
        counted: How many boxes, of both sides together, were looked for on the other.
        matched: How many of them have a partner.
        confidence_drift: Largest and mean absolute difference of confidence of matched boxes.
        thresholds: What was asked for.
        map50: Mean average precision at IoU 0.5, 0..1, of the engine and of the reference; None where no
            labelled frames were given.
        batch: How many frames the engine ran together.
    """

    precision: Precision
    frames: int
    outputs: Mapping[str, OutputFigures]
    counted: int
    matched: int
    confidence_drift: tuple[float, float]
    thresholds: Thresholds
    map50: tuple[float, float] | None = None
    batch: int = 1
    faults: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(_faults(self)))

    @property
    def match_rate(self) -> float | None:
        """The share of boxes that have a partner, 0..1; None where there was no box."""
        return self.matched / self.counted if self.counted else None

    @property
    def passed(self) -> bool:
        """Whether the engine may be taken into use."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        values = asdict(self)
        values["faults"] = list(self.faults)
        values["confidence_drift"] = list(self.confidence_drift)
        return {"passed": self.passed, "match_rate": self.match_rate, **values}

    def __str__(self) -> str:
        drift_max, drift_mean = self.confidence_drift
        rate = self.match_rate
        together = "alone" if self.batch == 1 else f"in batches of {self.batch}"
        lines = [f"{self.precision.value} against the model on {self.frames} frames, {together}:"]
        lines += [
            f"  output {name}: error max {f.max_error:.3g}, mean {f.mean_error:.3g}, cosine {f.cosine:.6f}"
            for name, f in self.outputs.items()
        ]
        if rate is None:
            lines.append("  no box on either side, so the raw outputs decide")
        else:
            lines.append(
                f"  boxes: {self.matched} of {self.counted} matched at IoU {self.thresholds.iou:g} "
                f"({rate:.2%}, wanted {self.thresholds.matched:.2%}); "
                f"confidence drifts by {drift_max:.3f} at most, {drift_mean:.4f} on average"
            )
        if self.map50 is not None:
            found, expected = self.map50
            lines.append(
                f"  mAP50: engine {found:.4f}, model {expected:.4f}, differs by {found - expected:+.4f}"
            )
        lines += [f"  FAILED: {fault}" for fault in self.faults] or ["  passed"]
        return "\n".join(lines)


def verify(
    frames: Iterable[FrameT],
    reference: Callable[[FrameT], Observation],
    candidate: Callable[[FrameT], Observation],
    precision: Precision,
    thresholds: Thresholds | None = None,
) -> VerifyReport:
    """Compare an engine with its model.

    Args:
        frames: Whatever the two callables take, at least one.
        reference: The model in FP32.
        candidate: The engine.
        precision: Of the engine.
        thresholds: When it passes; those of its precision if not given.

    Raises:
        ValueError: There is no frame, or the two have other outputs or shapes.
    """
    comparison = EngineComparison(precision, thresholds)
    for frame in frames:
        comparison.add(reference(frame), candidate(frame))
    return comparison.report()


class EngineComparison:
    """Sums over frames of how far an engine, which runs `batch` of them together, is from its model."""

    def __init__(self, precision: Precision, thresholds: Thresholds | None = None, batch: int = 1) -> None:
        self._precision = precision
        self._limits = thresholds or DEFAULT_THRESHOLDS[precision]
        self._batch = batch
        self._sums: dict[str, _OutputSums] = {}
        self._matches: list[BoxMatch] = []

    def add(self, expected: Observation, found: Observation) -> None:
        """Compare what the two made of one frame. Raises ValueError if they have other outputs or shapes."""
        if set(expected.outputs) != set(found.outputs):
            raise ValueError(f"outputs differ: {sorted(expected.outputs)} and {sorted(found.outputs)}")
        for name, value in expected.outputs.items():
            self._sums.setdefault(name, _OutputSums()).add(name, value, found.outputs[name])
        self._matches.append(match_boxes(expected.boxes, found.boxes, self._limits))

    def report(self) -> VerifyReport:
        """Return the figures of all frames. Raises ValueError if there was none."""
        if not self._matches:
            raise ValueError("there is no frame to verify with")
        drift = np.concatenate([match.drift for match in self._matches])
        return VerifyReport(
            precision=self._precision,
            frames=len(self._matches),
            outputs={name: item.figures() for name, item in self._sums.items()},
            counted=sum(match.counted for match in self._matches),
            matched=sum(match.matched for match in self._matches),
            confidence_drift=(float(drift.max()), float(drift.mean())) if drift.size else (0.0, 0.0),
            thresholds=self._limits,
            batch=self._batch,
        )


@dataclass(frozen=True, slots=True, eq=False)
class BoxMatch:
    """The boxes of one frame: how many count, how many of them match, and the matches' drift (M,)."""

    counted: int
    matched: int
    drift: NDArray[np.float32]


def match_boxes(expected: Boxes, found: Boxes, limits: Thresholds) -> BoxMatch:
    """Pair boxes of one class, the largest overlap first, each at most once."""
    iou = iou_matrix(expected.xyxy, found.xyxy)
    iou = np.where(expected.class_id[:, None] == found.class_id[None, :], iou, 0.0)
    pairs: list[tuple[int, int]] = []
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    for index in np.argsort(-iou, axis=None, kind="stable"):
        row, column = divmod(int(index), iou.shape[1])
        if iou[row, column] < limits.iou:
            break
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            pairs.append((row, column))
    sure = limits.confidence + limits.margin
    sure_rows, sure_columns = expected.confidence >= sure, found.confidence >= sure
    matched = sum(int(sure_rows[r]) + int(sure_columns[c]) for r, c in pairs)
    drift = [
        abs(float(expected.confidence[r]) - float(found.confidence[c]))
        for r, c in pairs
        if sure_rows[r] or sure_columns[c]
    ]
    return BoxMatch(int(sure_rows.sum() + sure_columns.sum()), matched, np.array(drift, np.float32))


class _OutputSums:
    """Sums over frames of one raw output, in float64."""

    def __init__(self) -> None:
        self._products = np.zeros(3)
        self._error = self._max_error = 0.0
        self._count = self._not_finite = 0

    def add(self, name: str, expected: NDArray[Any], found: NDArray[Any]) -> None:
        if expected.shape != found.shape:
            raise ValueError(f"output {name!r} is {found.shape}, the model's is {expected.shape}")
        a, b = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        usable = np.isfinite(a)
        self._not_finite += int((usable & ~np.isfinite(b)).sum())
        usable &= np.isfinite(b)
        a, b = a[usable], b[usable]
        difference = np.abs(a - b)
        self._products += (a @ b, a @ a, b @ b)
        self._error += float(difference.sum())
        self._max_error = max(self._max_error, float(difference.max(initial=0.0)))
        self._count += difference.size

    def figures(self) -> OutputFigures:
        product, first, second = self._products
        norm = float(np.sqrt(first) * np.sqrt(second))
        cosine = float(product) / norm if norm else float(first == second)
        mean = self._error / self._count if self._count else 0.0
        return OutputFigures(self._max_error, mean, min(cosine, 1.0), self._not_finite)


def _faults(report: VerifyReport) -> Sequence[str]:
    limits = report.thresholds
    faults = [
        f"output {name}: {figures.not_finite} values are NaN or infinite"
        for name, figures in report.outputs.items()
        if figures.not_finite
    ]
    rate = report.match_rate
    if rate is not None and rate < limits.matched:
        together = "" if report.batch == 1 else f" in batches of {report.batch}"
        faults.append(f"{rate:.2%} of the boxes match{together}, wanted are {limits.matched:.2%}")
    if rate is None:
        faults += [
            f"output {name}: cosine {figures.cosine:.5f}, wanted is {limits.cosine:g}"
            for name, figures in report.outputs.items()
            if figures.cosine < limits.cosine
        ]
    return faults
