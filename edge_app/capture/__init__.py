"""A camera's URI becomes frames."""
