"""The model runs: input tensors become candidates."""
