"""What `edge-app build`, `engines` and `verify` do."""
