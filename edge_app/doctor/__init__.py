"""`edge-app doctor`: what of this machine keeps edge-app from working, and what to do about it."""
