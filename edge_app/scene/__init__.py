"""Rendered street scenes with ground truth: a camera for demos, tests and training.

Needs numpy and OpenCV only.
"""

from edge_app.scene.street import LABELS, StreetScene
from edge_app.scene.truth import Truth

__all__ = ["LABELS", "StreetScene", "Truth"]
