"""The configuration: strict, frozen, explained; the only reader of files, environment and credentials."""
