"""Modules that are awkward to export, each in its own way. Importing this file needs PyTorch."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Awkward(nn.Module):  # type: ignore[misc]
    """Shapes read from tensors, anchors made in forward, sizes of other tensors, a mapping as output."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 8, 3, 2, 1)
        self.coarse = nn.Conv2d(8, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.norm.running_mean.uniform_(-1, 1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(16, 10, 1)

    def forward(self, images: Any) -> dict[str, Any]:
        fine = self.fine(images).relu()
        coarse = self.drop(self.norm(self.coarse(fine))).relu()
        wide = functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
        both = torch.cat([fine, wide], 1)
        raw = self.head(both)
        batch, _, height, width = raw.shape
        rows = raw.view(batch, 2, 5, height, width).permute(0, 1, 3, 4, 2).reshape(batch, -1, 5)
        ys, xs = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
        grid = torch.stack([xs, ys], -1).view(1, -1, 2).repeat(1, 2, 1)
        boxes = torch.cat([(rows[..., :2].sigmoid() + grid) * 2, rows[..., 2:]], -1)
        empty = images.new_zeros(batch, 1, 5)
        return {
            "boxes": torch.cat([boxes, empty], 1),
            "masks": functional.interpolate(both, size=(20, 20), mode="bilinear"),
        }


class Detector(nn.Module):  # type: ignore[misc]
    """A detector's output: [batch, 4 + classes, anchors], strides 8, 16 and 32."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.grids = nn.ModuleList(nn.Conv2d(3, 4 + classes, stride, stride) for stride in (8, 16, 32))

    def forward(self, images: Any) -> Any:
        return torch.cat([grid(images).flatten(2) for grid in self.grids], 2)


class Nested(nn.Module):  # type: ignore[misc]
    """A list in a tuple, and nothing beside it."""

    def forward(self, images: Any) -> Any:
        return (images.mean((2, 3)), [images.amax((2, 3)), images.amin((2, 3))], None)


class AlwaysDropping(nn.Module):  # type: ignore[misc]
    def forward(self, images: Any) -> Any:
        return functional.dropout(images, 0.5, training=True)


class StaysInTraining(Detector):
    def train(self, mode: bool = True) -> "StaysInTraining":
        super().train(True)
        return self


class FixedBatch(nn.Module):  # type: ignore[misc]
    """The shape of the first batch it sees becomes a constant of the graph."""

    def forward(self, images: Any) -> Any:
        return images.reshape(int(images.shape[0]), -1).mean(1)


class FirstImageDecides(nn.Module):  # type: ignore[misc]
    """A value of the traced images becomes a constant of the graph."""

    def forward(self, images: Any) -> Any:
        return images.mean((2, 3)) + float(images.max())


class DataDependent(nn.Module):  # type: ignore[misc]
    def forward(self, images: Any) -> Any:
        return images.flatten(1)[images.flatten(1) >= 0]


class Scripted(nn.Module):  # type: ignore[misc]
    """A decision that TorchScript keeps as control flow."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if bool(images.sum() > 100.0):
            return images * 2
        return images + 1


class Infinite(nn.Module):  # type: ignore[misc]
    def forward(self, images: Any) -> Any:
        return (images - 2).log()


def detector() -> nn.Module:
    return Detector()


def needs_an_argument(classes: int) -> nn.Module:
    return Detector(classes)


def number() -> int:
    return 5


READY = Detector()
