"""Edge video analytics: cameras in, detections on MQTT out.

A frame walks one street: capture, preprocess, infer, postprocess, publish; one package for each.
"""

import os

# From 1.29 on, ONNX Runtime reports models and machine to its maker unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
