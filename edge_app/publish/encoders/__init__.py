"""How what the daemon knows is said: our own contract, or that of others whose consumers exist already."""
