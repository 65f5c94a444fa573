"""Trains the demo detector on rendered streets within a budget of seconds, then exports it.

    python models/training/train.py --out DIR --seconds 360 --images 90000 --workers 16

Drawing goes on while training runs, so the later epochs see more scenes than the first.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from dataset import MOST_OBJECTS, PAD_VALUE, Pool, start_pool
from export import export
from losses import detection_loss
from network import Detector, cells
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 6
BOX_WEIGHT = 5.0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint.pt and demo.onnx")
    parser.add_argument("--size", type=int, default=416, help="side of the square input")
    parser.add_argument(
        "--seconds", type=float, default=360.0, help="length of training, drawing ahead not counted"
    )
    parser.add_argument("--images", type=int, default=90_000)
    parser.add_argument("--first", type=int, default=12_000, help="images to wait for before training starts")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="checkpoint.pt to go on from")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    return parser.parse_args()


class Store:
    """The images on the training device, taken over from the pool as they are drawn."""

    def __init__(self, pool: Pool, device: torch.device) -> None:
        self._pool = pool
        self._taken = [0] * len(pool.filled)
        self.images = torch.zeros(pool.images.shape, dtype=torch.uint8, device=device)
        self.boxes = torch.zeros(pool.boxes.shape, device=device)
        self.rows = torch.zeros(0, dtype=torch.long, device=device)

    def take(self) -> int:
        """Copies what is new; the number of images there."""
        fresh = [self.rows]
        for worker, filled in enumerate(self._pool.filled.tolist()):
            start, end = (worker * self._pool.share + n for n in (self._taken[worker], filled))
            if end > start:
                self.images[start:end] = torch.from_numpy(self._pool.images[start:end]).to(self.images.device)
                self.boxes[start:end] = torch.from_numpy(self._pool.boxes[start:end]).to(self.boxes.device)
                fresh.append(torch.arange(start, end, device=self.rows.device))
                self._taken[worker] = filled
        self.rows = torch.cat(fresh)
        return len(self.rows)


def augment(images: Tensor, boxes: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Flips, zooms, shifts and recolours images (B, S, S, 3) uint8; gives (B, 3, S, S) in 0..1 and boxes."""
    device, count, size = images.device, images.shape[0], images.shape[1]
    pixels = images.permute(0, 3, 1, 2).float()

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(count, device=device) * (high - low) + low

    moved = (torch.rand(count, device=device) < strength).float()
    zoom = torch.exp(draw(-0.45, 0.55) * moved)
    shift = torch.stack([draw(-0.22, 0.22), draw(-0.22, 0.22)], 1) * size * moved[:, None]
    flip = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    # out = (in - middle) * (zoom * flip, zoom) + middle + shift; the grid asks for the way back, in -1..1.
    grow = torch.stack([zoom * flip, zoom], 1)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = 1 / grow[:, 0], 1 / grow[:, 1]
    theta[:, :, 2] = -shift * 2 / size / grow
    grid = functional.affine_grid(theta, [count, 3, size, size], align_corners=False)
    pixels = functional.grid_sample(pixels - PAD_VALUE, grid, align_corners=False) + PAD_VALUE
    middle = size / 2
    corners = (
        (boxes[..., :4].view(count, -1, 2, 2) - middle) * grow[:, None, None] + middle + shift[:, None, None]
    )
    low, high = corners.amin(2), corners.amax(2)
    whole = (high - low).clamp(min=1e-3).prod(-1)
    low, high = low.clamp(0, size), high.clamp(0, size)
    left = (high - low).clamp(min=0).prod(-1)
    kind, ignore = boxes[..., 4], boxes[..., 5]
    gone = (left < 0.1 * whole) | (left < 9.0)
    cut = (left < 0.45 * whole) | (left.sqrt() < 0.017 * size)
    kind = torch.where(gone, -torch.ones_like(kind), kind)
    boxes = torch.cat([low, high, kind[..., None], torch.maximum(ignore, cut.float())[..., None]], -1)

    gain = draw(0.75, 1.25)[:, None] * (1 + 0.06 * torch.randn(count, 3, device=device))
    mean = pixels.mean((2, 3), keepdim=True)
    contrast, colour = draw(0.8, 1.2)[:, None, None, None], draw(0.7, 1.3)[:, None, None, None]
    pixels = (pixels - mean) * contrast + mean
    grey = pixels.mean(1, keepdim=True)
    pixels = ((pixels - grey) * colour + grey) * gain[:, :, None, None]
    return pixels.clamp(0, 255) / 255.0, boxes


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, step: int) -> None:
    """Moves the running average of the weights."""
    keep = 0.9996 * (1 - math.exp(-step / 800))
    means, values = average.state_dict().values(), network.state_dict().values()
    pairs = [(mean, value) for mean, value in zip(means, values, strict=True) if mean.dtype.is_floating_point]
    torch._foreach_lerp_([mean for mean, _ in pairs], [value for _, value in pairs], 1 - keep)


def warm_up(
    network: Detector,
    forward: Callable[[Tensor], Tensor],
    loss_of: Callable[..., tuple[Tensor, Tensor]],
    options: argparse.Namespace,
    middles: Tensor,
    strides: Tensor,
) -> None:
    """Compiles while the first scenes are drawn; leaves the network as it was."""
    before = copy.deepcopy(network.state_dict())
    blank = torch.rand(options.batch, 3, options.size, options.size, device=middles.device)
    truth = torch.zeros(options.batch, MOST_OBJECTS, 6, device=middles.device)
    for _ in range(3):
        with torch.autocast(middles.device.type, torch.bfloat16):
            raw = forward(blank.contiguous(memory_format=torch.channels_last))
        sum(loss_of(raw.float(), truth, middles, strides)).backward()
    network.zero_grad(set_to_none=True)
    network.load_state_dict(before)


def main() -> None:
    """Draws, trains, saves, exports."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    pool, _ = start_pool(options.images, options.size, options.workers, options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    network = Detector(CLASSES).to(device, memory_format=torch.channels_last)
    if options.resume:
        network.load_state_dict(torch.load(options.resume, map_location=device))
    average = copy.deepcopy(network).eval()
    weights = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": 0.03}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.rate, fused=device.type == "cuda")
    forward = torch.compile(network) if options.compile else network
    loss_of = torch.compile(detection_loss) if options.compile else detection_loss
    middles, strides = (tensor.to(device) for tensor in cells(options.size))
    store, began = Store(pool, device), time.monotonic()
    if options.compile:
        warm_up(network, forward, loss_of, options, middles, strides)
    while store.take() < options.first:
        time.sleep(0.5)
    print(f"{len(store.rows)} images after {time.monotonic() - began:.0f} s", flush=True)
    began = told = time.monotonic()
    step = 0
    while (progress := (time.monotonic() - began) / options.seconds) < 1.0:
        rate = (
            options.rate
            * min((step + 1) / 300, 1.0)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = store.rows[torch.randint(len(store.rows), (options.batch,), device=device)]
        images, boxes = augment(store.images[rows], store.boxes[rows], 0.6 if progress < 0.75 else 0.15)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            raw = forward(images)
        class_loss, box_loss = loss_of(raw.float(), boxes, middles, strides)
        (class_loss + BOX_WEIGHT * box_loss).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        follow(average, network, step)
        if step % 50 == 0 and len(store.rows) < len(store.images):
            store.take()
        if time.monotonic() - told > 10.0:
            told = time.monotonic()
            print(
                f"{told - began:5.0f} s step {step} images {len(store.rows)} class {class_loss.item():.4f} "
                f"box {box_loss.item():.4f} rate {rate:.2e}",
                flush=True,
            )
    print(
        f"{step} steps of {options.batch}: {step * options.batch / (time.monotonic() - began):.0f} images/s",
        flush=True,
    )
    average = average.float().cpu().to(memory_format=torch.contiguous_format)
    torch.save(average.state_dict(), options.out / "checkpoint.pt")
    export(average, options.size, options.out / "demo.onnx")


if __name__ == "__main__":
    main()
