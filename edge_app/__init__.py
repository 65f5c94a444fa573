"""Edge video analytics: cameras in, detections on MQTT out.

A frame walks one street: capture, preprocess, infer, postprocess, publish; one package for each.
"""

__version__ = "0.1.0"
