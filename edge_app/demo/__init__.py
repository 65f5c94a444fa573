"""The whole thing on one machine without camera, GPU or broker: what `edge-app demo` runs."""
