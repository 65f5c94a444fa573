"""One precision policy: which operators may lose bits, and how a builder is told."""
