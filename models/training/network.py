"""The demo detector: a small anchor-free network with one prediction for each cell of three grids.

Backbone of cross-stage blocks, a feature pyramid up and down again, and a light decoupled head. Only
convolutions, ReLU, nearest resize, max-pooling, concatenation and, for the boxes, exp: what every runtime has
and runs fast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
PRIOR = 0.01  # confidence of a fresh network, so that the first steps are not swamped by background


class Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(width, width, 3), Conv(width, width, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out."""
        return features + self.body(features)


class Stage(nn.Module):
    """Half of the channels go through residual blocks, the other half past them."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        hidden = outputs // 2
        self.near = Conv(inputs, hidden)
        self.past = Conv(inputs, hidden)
        self.blocks = nn.Sequential(*(Residual(hidden) for _ in range(depth)))
        self.join = Conv(2 * hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return self.join(torch.cat([self.blocks(self.near(features)), self.past(features)], 1))


class Pooling(nn.Module):
    """Widens the view of the coarsest grid by three max-poolings in a row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = Conv(width, width // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = Conv(width * 2, width)

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out."""
        steps = [self.squeeze(features)]
        for _ in range(3):
            steps.append(self.pool(steps[-1]))
        return self.join(torch.cat(steps, 1))


class Branch(nn.Module):
    """The head of one grid: class logits and the logarithm of the distances to the box's sides."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.stem = Conv(inputs, width)
        self.class_tower = Conv(width, width, 3)
        self.box_tower = Conv(width, width, 3)
        self.classes = nn.Conv2d(width, classes, 1)
        self.sides = nn.Conv2d(width, 4, 1)
        nn.init.constant_(self.classes.bias, float(torch.logit(torch.tensor(PRIOR))))
        nn.init.constant_(self.sides.bias, 0.7)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 4 + classes, H * W)."""
        stem = self.stem(features)
        both = torch.cat([self.sides(self.box_tower(stem)), self.classes(self.class_tower(stem))], 1)
        # Whole numbers, so that the exported reshape is a constant.
        channels, height, width = (int(length) for length in both.shape[1:])
        return both.reshape(-1, channels, height * width)


class Detector(nn.Module):
    """Images (B, 3, S, S), RGB in 0..1, to raw predictions (B, 4 + classes, A).

    Cells come in row order, the finest grid first.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = Conv(3, 16, 3, 2)
        self.p2 = nn.Sequential(Conv(16, 32, 3, 2), Stage(32, 32, 1))
        self.p3 = nn.Sequential(Conv(32, 96, 3, 2), Stage(96, 96, 2))
        self.p4 = nn.Sequential(Conv(96, 128, 3, 2), Stage(128, 128, 2))
        self.p5 = nn.Sequential(Conv(128, 192, 3, 2), Stage(192, 192, 1), Pooling(192))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral5, self.merge4 = Conv(192, 96), Stage(96 + 128, 128, 1)
        self.lateral4, self.merge3 = Conv(128, 96), Stage(96 + 96, 96, 1)
        self.down3, self.out4 = Conv(96, 64, 3, 2), Stage(64 + 96, 96, 1)
        self.down4, self.out5 = Conv(96, 96, 3, 2), Stage(96 + 96, 128, 1)
        self.heads = nn.ModuleList(
            [Branch(96, 80, classes), Branch(96, 64, classes), Branch(128, 64, classes)]
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        fine = self.p3(self.p2(self.stem(images)))
        middle = self.p4(fine)
        coarse = self.lateral5(self.p5(middle))
        middle = self.lateral4(self.merge4(torch.cat([self.up(coarse), middle], 1)))
        fine = self.merge3(torch.cat([self.up(middle), fine], 1))
        middle = self.out4(torch.cat([self.down3(fine), middle], 1))
        coarse = self.out5(torch.cat([self.down4(middle), coarse], 1))
        grids = [head(features) for head, features in zip(self.heads, (fine, middle, coarse), strict=True)]
        return torch.cat(grids, 2)


def cells(size: int) -> tuple[Tensor, Tensor]:
    """For a square input the middles of all cells (2, A) in pixels, and their strides (A,)."""
    middles, strides = [], []
    for stride in STRIDES:
        axis = (torch.arange(size // stride, dtype=torch.float32) + 0.5) * stride
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        middles.append(torch.stack([x.flatten(), y.flatten()]))
        strides.append(torch.full((x.numel(),), float(stride)))
    return torch.cat(middles, 1), torch.cat(strides)


def decode_sides(raw: Tensor, middles: Tensor, strides: Tensor) -> Tensor:
    """Raw sides (B, 4, A) to boxes xyxy (B, 4, A) in input pixels."""
    reach = torch.exp(raw.float().clamp(max=7.0)) * strides
    return torch.cat([middles - reach[:, :2], middles + reach[:, 2:]], 1)


class Deployed(nn.Module):
    """The network with its decoding: (B, 3, S, S) to (B, 4 + classes, A).

    Boxes are cxcywh in input pixels, confidences lie in 0..1.
    """

    def __init__(self, network: Detector, size: int) -> None:
        super().__init__()
        self.network = network
        middles, strides = cells(size)
        self.register_buffer("middles", middles[None])
        self.register_buffer("strides", strides[None, None])

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        raw = self.network(images)
        reach = torch.exp(raw[:, :4]) * self.strides
        near, far = reach[:, :2], reach[:, 2:]
        middle = self.middles + (far - near) * 0.5
        return torch.cat([middle, near + far, torch.sigmoid(raw[:, 4:])], 1)
