"""What keeps the daemon observable: logging, clock, process facts."""
