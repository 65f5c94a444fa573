"""Frames become a model's input."""
