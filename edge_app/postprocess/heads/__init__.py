"""Raw model outputs become candidates: one file for each output format."""
