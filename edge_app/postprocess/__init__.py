"""Candidates become detections in image pixels."""
