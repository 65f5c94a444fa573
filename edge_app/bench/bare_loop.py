"""`python -m edge_app.bench.bare_loop FILE MODEL THREADS SPINNING DECODER_THREADS`.

The least that a program can do with a video and a model: decode, letterbox by the fastest route known, run
the session, one after the other. It uses nothing of edge_app, and prints the number of frames.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import onnxruntime

PAD_VALUE = 114


def main(path: str, model: str, threads: int, spinning: str, decoder_threads: int) -> int:
    """Walk the file once and return how many frames it has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, (_, _, size_h, size_w) = session.get_inputs()[0].name, session.get_inputs()[0].shape
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, decoder_threads])
    width, height = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    ratio = min(size_w / width, size_h / height)
    inner_w, inner_h = round(width * ratio), round(height * ratio)
    left, top = (size_w - inner_w) // 2, (size_h - inner_h) // 2
    table = (np.arange(256) / 255).astype(np.float32)
    tensor = np.full((1, 3, size_h, size_w), table[PAD_VALUE], np.float32)
    planes = [plane[top : top + inner_h, left : left + inner_w] for plane in tensor[0]]
    picture = np.empty((height, width, 3), np.uint8)
    resized = np.empty((inner_h, inner_w, 3), np.uint8)
    channels = [np.empty((inner_h, inner_w), np.uint8) for _ in range(3)]
    frames = 0
    while video.read(picture)[0]:
        cv2.resize(picture, (inner_w, inner_h), dst=resized)
        blue, green, red = cv2.split(resized, channels)
        for channel, plane in zip((red, green, blue), planes, strict=True):
            cv2.LUT(channel, table, dst=plane)
        session.run(None, {name: tensor})
        frames += 1
    return frames


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])))  # noqa: T201
