"""One file for each published method: it puts the parts together, and repeats nothing."""
