"""The whole thing on one machine without camera, GPU or broker: what `edge-app demo` runs."""

from edge_app.demo.run import run_demo

__all__ = ["run_demo"]
