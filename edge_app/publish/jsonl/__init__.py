"""Messages in files: JSON Lines, one message on each line."""
