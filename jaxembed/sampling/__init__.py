"""Arrays to batches, inside jit, on the device."""
