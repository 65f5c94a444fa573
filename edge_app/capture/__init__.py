"""A camera's URI becomes frames."""

from edge_app.capture.environment import prepare_opencv

prepare_opencv()
