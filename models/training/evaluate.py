"""Average precision (pycocotools) and speed of an exported model on held-out scenes.

python models/training/evaluate.py models/demo.onnx --scenes 250
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np
import onnxruntime
from dataset import letterbox
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edge_app.scene import LABELS, StreetScene

FIRST_SEED = 100  # held out: training seeds start at 1,000,000


def suppress(boxes: NDArray[np.float32], confidence: NDArray[np.float32], iou_threshold: float) -> list[int]:
    """Indices that survive non-maximum suppression of xyxy boxes, best first."""
    order = np.argsort(-confidence, kind="stable")
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        both = (high - low).clip(0).prod(axis=1)
        order = order[both <= iou_threshold * (area[best] + area[order] - both)]
    return kept


def detect(session: onnxruntime.InferenceSession, image: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Detections (N, 6) of an image: xyxy in image pixels, confidence, class."""
    square, scale, left, top = letterbox(image, size)
    blob = np.ascontiguousarray(square[..., ::-1].transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    (output,) = session.run(None, {"images": blob})
    found = []
    for class_id in range(len(LABELS)):
        columns = output[0][:, output[0][4 + class_id] > 0.001]
        middle, half, confidence = columns[:2].T, columns[2:4].T / 2, columns[4 + class_id]
        boxes = np.concatenate([middle - half, middle + half], axis=1)
        kept = suppress(boxes, confidence, 0.65)
        boxes = (boxes[kept] - (left, top, left, top)) / scale
        boxes = boxes.clip(0, (*image.shape[1::-1], *image.shape[1::-1]))
        found.append(np.column_stack([boxes, confidence[kept], np.full(len(kept), class_id)]))
    every = np.concatenate(found)
    return every[np.argsort(-every[:, 4], kind="stable")[:100]].astype(np.float32)


def main() -> None:
    """Prints average precision for each class and frames a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--scenes", type=int, default=250)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--frames", type=int, default=2, help="frames of each scene, 20 s apart")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(1280, 720), help="width and height of the scenes"
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(options.model, settings, providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[2]
    width, height = options.size
    images, annotations, results = [], [], []
    for seed in range(options.first_seed, options.first_seed + options.scenes):
        scene = StreetScene(seed=seed, width=width, height=height, fps=30.0)
        for frame in range(options.frames):
            number = len(images) + 1
            images.append({"id": number, "width": width, "height": height})
            truth = scene.truth(15 + 600 * frame)
            for box, class_id, ignore in zip(
                truth.xyxy.tolist(), truth.class_id.tolist(), truth.ignore.tolist(), strict=True
            ):
                w, h = box[2] - box[0], box[3] - box[1]
                annotation = {"bbox": [box[0], box[1], w, h], "area": w * h, "iscrowd": int(ignore)}
                annotation |= {"id": len(annotations) + 1, "image_id": number, "category_id": class_id}
                annotations.append(annotation)
            for x0, y0, x1, y1, confidence, kind in detect(
                session, scene.render(15 + 600 * frame), size
            ).tolist():
                results.append(
                    {
                        "image_id": number,
                        "category_id": int(kind),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "score": confidence,
                    }
                )
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": n, "name": label} for n, label in enumerate(LABELS)],
    }
    coco.createIndex()
    scores = COCOeval(coco, coco.loadRes(results), "bbox")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    precision = scores.eval["precision"][:, :, :, 0, 2]  # IoU, recall, class, all areas, 100 detections
    for class_id, label in enumerate(LABELS):
        found = precision[:, :, class_id]
        count = sum(a["category_id"] == class_id and not a["iscrowd"] for a in annotations)
        print(f"{label:8} AP50 {found[0].mean():.3f}  AP50-95 {found.mean():.3f}  objects {count}")
    blob = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        session.run(None, {"images": blob})
        times.append(time.perf_counter() - start)
    print(
        f"inference {np.median(times) * 1e3:.2f} ms, {1 / np.median(times):.0f} frames/s, "
        f"{options.threads} threads"
    )


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
