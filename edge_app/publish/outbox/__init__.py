"""Messages that must arrive: on disk until the broker has them."""
