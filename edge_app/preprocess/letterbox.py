"""The letterbox on the CPU, with OpenCV.

Resize, split and a look-up table for each channel, which turns bytes into normalised floats while it writes
them into the model's input. Nothing is allocated for a frame: a fresh output costs more in page faults than
all the arithmetic.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.geometry import Color, InputSpec, Layout, Letterbox
from edge_app.messages import Frame, PixelFormat

Bytes = NDArray[np.uint8]

REMEMBERED = 256
"""Most image sizes and outputs remembered: far more than there are, unless each frame brings new ones."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Where the parts of an image of one size go."""

    resized_wh: tuple[int, int]
    rows: slice
    columns: slice
    resized: Bytes
    """(height, width, 3): buffer for the resized image."""
    channels: list[Bytes]
    """Three (height, width) buffers for its channels."""


class CpuPreprocessor:
    """Writes frames into a model's input; a `Preprocessor`.

    Bilinear, without area averaging, as the models were trained. One instance serves one thread: it owns
    buffers. It remembers which outputs have their padding, so what `write` has filled must not be written
    by others, except as a whole.

    Args:
        spec: What the model's input wants.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._shape = spec.shape(1)[1:]
        self._planar = spec.layout is Layout.NCHW
        self._rgb = spec.color is Color.RGB
        mean, std = np.array(spec.mean), np.array(spec.std)
        table = ((np.arange(256)[:, None] * spec.scale - mean) / std).astype(np.float32)  # (256, 3)
        self._table = table[None]
        self._tables = [np.ascontiguousarray(column) for column in table.T]
        # One row, in memory as the output's rows are: that copies fastest.
        order: Literal["F", "C"] = "F" if self._planar else "C"
        self._padding = np.empty((spec.width, 3), np.float32, order=order)
        self._padding[:] = table[spec.pad_value]
        self._pad_values = self._padding[-1].tolist()
        self._resized = np.empty(spec.height * spec.width * 3, np.uint8)
        self._split = np.empty(spec.height * spec.width * 3, np.uint8)
        self._converted = np.empty((0, 0, 3), np.uint8)
        self._plans: dict[tuple[int, int], _Plan] = {}
        self._padded: dict[int, tuple[weakref.ref[NDArray[Any]], _Plan]] = {}

    @property
    def spec(self) -> InputSpec:
        """What the model's input wants."""
        return self._spec

    def write(self, frame: Frame, out: NDArray[np.float32]) -> None:
        """Fill all of `out`, one image's part of the input tensor.

        Args:
            frame: BGR, or NV12 (BT.601, limited range), of any size.
            out: C-contiguous float32, (3, H, W) or (H, W, 3).

        Raises:
            ValueError: If the pixels are not what the frame says, or `out` is not what the model wants.
        """
        if out.shape != self._shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ValueError(
                f"the output must be C-contiguous float32 {self._shape}, found {out.dtype} {out.shape}"
                f"{'' if out.flags.c_contiguous else ', not contiguous'}"
            )
        image = self._bgr(frame)
        height, width = image.shape[:2]
        plan = self._plans.get((width, height)) or self._new_plan(width, height)
        self._pad(out, plan)
        if plan.resized_wh != (width, height):
            image = cast("Bytes", cv2.resize(image, plan.resized_wh, dst=plan.resized))
        if self._planar:
            self._write_planes(image, out, plan)
        else:
            self._write_interleaved(image, out, plan)

    def _new_plan(self, width: int, height: int) -> _Plan:
        box = Letterbox.fit((width, height), self._spec)
        (width_px, height_px), (left, top) = box.resized_wh, box.offset_xy
        count = width_px * height_px * 3
        plan = _Plan(
            box.resized_wh,
            rows=slice(top, top + height_px),
            columns=slice(left, left + width_px),
            resized=self._resized[:count].reshape(height_px, width_px, 3),
            channels=list(self._split[:count].reshape(3, height_px, width_px)),
        )
        if len(self._plans) >= REMEMBERED:
            self._plans.clear()
        self._plans[width, height] = plan
        return plan

    def _write_planes(self, image: Bytes, out: NDArray[np.float32], plan: _Plan) -> None:
        first, second, third = cv2.split(image, plan.channels)
        if self._rgb:
            first, third = third, first
        inside = out[:, plan.rows, plan.columns]
        cv2.LUT(first, self._tables[0], dst=inside[0])
        cv2.LUT(second, self._tables[1], dst=inside[1])
        cv2.LUT(third, self._tables[2], dst=inside[2])

    def _write_interleaved(self, image: Bytes, out: NDArray[np.float32], plan: _Plan) -> None:
        if self._rgb:
            image = cast("Bytes", cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=plan.resized))
        cv2.LUT(image, self._table, dst=out[plan.rows, plan.columns])

    def _pad(self, out: NDArray[np.float32], plan: _Plan) -> None:
        """Fill what the image leaves of `out`, unless it is still there from an image of the same size."""
        owner = out.base if isinstance(out.base, np.ndarray) else out
        address = out.__array_interface__["data"][0]
        remembered = self._padded.get(address)
        # Where there is padding, the last pixel belongs to it.
        last = out[:, -1, -1] if self._planar else out[-1, -1]
        intact = last.tolist() == self._pad_values
        if remembered is not None and remembered[1] is plan and remembered[0]() is owner and intact:
            return
        pixels = out.transpose(1, 2, 0) if self._planar else out
        rows, columns, padding = plan.rows, plan.columns, self._padding
        pixels[: rows.start] = padding
        pixels[rows.stop :] = padding
        pixels[rows, : columns.start] = padding[: columns.start]
        pixels[rows, columns.stop :] = padding[columns.stop :]
        if len(self._padded) >= REMEMBERED:
            self._padded.clear()
        self._padded[address] = (weakref.ref(owner), plan)

    def _bgr(self, frame: Frame) -> Bytes:
        """Return the frame's pixels as (height, width, 3) BGR."""
        width, height = frame.info.width, frame.info.height
        pixels, nv12 = frame.array, frame.pixel_format is PixelFormat.NV12
        if not nv12 and frame.pixel_format is not PixelFormat.BGR:
            raise ValueError(f"cannot read pixel format {frame.pixel_format!r}, only BGR and NV12")
        if nv12 and (width % 2 or height % 2):
            raise ValueError(f"NV12 needs an even width and height, found {width}x{height}")
        shape = (height * 3 // 2, width) if nv12 else (height, width, 3)
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise ValueError(
                f"a {width}x{height} {frame.pixel_format.value} frame must be uint8 {shape}, "
                f"found {pixels.dtype} {pixels.shape}"
            )
        if not nv12:
            return pixels
        if self._converted.shape[:2] != (height, width):
            self._converted = np.empty((height, width, 3), np.uint8)
        return cast("Bytes", cv2.cvtColor(pixels, cv2.COLOR_YUV2BGR_NV12, dst=self._converted))
