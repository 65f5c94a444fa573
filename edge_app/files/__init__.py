"""What files are used for besides their content: locks between processes, and whether one can be written."""
