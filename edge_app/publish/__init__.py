"""Detections and states become MQTT messages."""
