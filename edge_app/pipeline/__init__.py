"""The street: lanes, stage threads and their supervision. Knows protocols only."""
