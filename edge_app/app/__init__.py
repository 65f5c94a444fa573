"""The composition root: from a configuration to what runs; the only place that names concrete classes."""
