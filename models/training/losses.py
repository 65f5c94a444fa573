"""Which cells answer for which object, and how wrong they are.

Assignment is task-aligned (Feng et al. 2021, TOOD): cells inside an object are ranked by
confidence^a * IoU^b, the best few become positive, and the rank, scaled to the object's best IoU, is the
confidence they should reach.
"""

from __future__ import annotations

import math

import torch
from network import decode_sides
from torch import Tensor
from torch.nn import functional

TOP_CELLS = 10
CONFIDENCE_POWER, IOU_POWER = 0.5, 5.0
NEAR_CELLS = 1.0  # a cell within this many strides of an object's middle may answer even when outside its box


def pair_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of boxes (..., 4) xyxy, broadcast."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    either = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - both
    return both / either.clamp(min=1e-6)


def complete_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU less the distance of the middles and the difference in aspect (Zheng et al. 2020, CIoU)."""
    iou = pair_iou(boxes, others)
    low = torch.minimum(boxes[..., :2], others[..., :2])
    high = torch.maximum(boxes[..., 2:], others[..., 2:])
    diagonal = (high - low).square().sum(-1).clamp(min=1e-6)
    apart = ((boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]) / 2).square().sum(-1)
    size, other_size = boxes[..., 2:] - boxes[..., :2], (others[..., 2:] - others[..., :2]).clamp(min=1e-3)
    angle = torch.atan(other_size[..., 0] / other_size[..., 1]) - torch.atan(
        size[..., 0] / size[..., 1].clamp(min=1e-3)
    )
    aspect = angle.square() * (4 / math.pi**2)
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect + 1e-6)
    return iou - apart / diagonal - weight * aspect


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, truth: Tensor, middles: Tensor, strides: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Targets for each cell.

    scores (B, A, C) and boxes (B, A, 4) are predictions, truth (B, M, 6). Returns the wanted confidences
    (B, A, C), the wanted boxes (B, A, 4), and which cells lie in an ignored object (B, A).
    """
    kind, wanted = truth[..., 4], truth[..., :4]
    real = (kind >= 0) & (truth[..., 5] < 0.5)
    x, y = middles[0], middles[1]
    inside = (x > wanted[..., 0:1]) & (x < wanted[..., 2:3]) & (y > wanted[..., 1:2]) & (y < wanted[..., 3:4])
    middle = (wanted[..., :2] + wanted[..., 2:]) / 2
    close = ((x - middle[..., 0:1]).abs() < NEAR_CELLS * strides) & (
        (y - middle[..., 1:2]).abs() < NEAR_CELLS * strides
    )
    ignored = (inside & ((kind >= 0) & ~real)[..., None]).any(1)
    iou = pair_iou(boxes[:, None], wanted[:, :, None])  # (B, M, A)
    index = kind.clamp(min=0).long()[..., None].expand(-1, -1, scores.shape[1])
    confidence = torch.gather(scores.transpose(1, 2), 1, index)
    rank = confidence.pow(CONFIDENCE_POWER) * iou.pow(IOU_POWER) + 1e-9
    rank = rank * ((inside | close) & real[..., None])
    best = torch.topk(rank, TOP_CELLS, dim=2)
    chosen = torch.zeros_like(rank).scatter_(2, best.indices, (best.values > 0).to(rank.dtype)) > 0
    # A cell that several objects chose answers for the one it overlaps most.
    owner = torch.where(chosen, iou + 1e-3, torch.zeros_like(iou)).max(1)
    positive, object_of = owner.values > 0, owner.indices
    held = chosen & (torch.arange(kind.shape[1], device=kind.device)[None, :, None] == object_of[:, None])
    rank = rank * held
    top_rank, top_iou = rank.amax(2, keepdim=True), (iou * held).amax(2, keepdim=True)
    quality = (rank / top_rank.clamp(min=1e-9) * top_iou).amax(1) * positive
    kinds = torch.gather(kind, 1, object_of).clamp(min=0).long()
    target = functional.one_hot(kinds, scores.shape[2]).to(scores.dtype) * quality[..., None]
    target_boxes = torch.gather(wanted, 1, object_of[..., None].expand(-1, -1, 4))
    return target, target_boxes, ignored & ~positive


def detection_loss(raw: Tensor, truth: Tensor, middles: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Class and box loss of raw predictions (B, 4 + C, A) against truth (B, M, 6)."""
    boxes = decode_sides(raw[:, :4], middles, strides).transpose(1, 2)
    logits = raw[:, 4:].transpose(1, 2)
    target, target_boxes, ignored = assign(logits.sigmoid(), boxes, truth, middles, strides)
    total = target.sum().clamp(min=1.0)
    class_loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)
    class_loss = (class_loss * ~ignored).sum() / total
    weight = target.sum(-1)
    box_loss = ((1 - complete_iou(boxes, target_boxes)) * weight).sum() / total
    return class_loss, box_loss
