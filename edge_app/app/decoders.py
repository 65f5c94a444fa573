"""The GPU's video decoder, where a model runs that can read its pictures."""

from __future__ import annotations

import logging

from edge_app.app.detector import choose_backend
from edge_app.capture.demux import demux_library
from edge_app.config.models import InferenceSection
from edge_app.errors import BackendError, DecoderError
from edge_app.gpu.nvdec import NvdecDecoders
from edge_app.interfaces import VideoDecoders

logger = logging.getLogger(__name__)


def runs_on_gpu(section: InferenceSection) -> bool:
    """Whether the model letterboxes on a GPU, and so takes NV12 as well."""
    try:
        return choose_backend(section)[0] == "tensorrt"
    except BackendError:
        return False  # said when the model is opened


def find_decoders(section: InferenceSection) -> VideoDecoders | None:
    """Return what decodes into the memory of the GPU that a model runs on; None where there is nothing.

    Why there is nothing is logged, unless no GPU is used at all.
    """
    if not runs_on_gpu(section):
        return None
    try:
        demux_library()
        return NvdecDecoders(section.device)
    except DecoderError as error:
        logger.info("video is not decoded on the GPU: %s", error)
        return None
