"""Edge video analytics: cameras in, detections on MQTT out.

A frame walks one street: capture, preprocess, infer, postprocess, publish; one package for each.
"""

import os

# From 1.29 on, ONNX Runtime tells its maker about models and machine unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
