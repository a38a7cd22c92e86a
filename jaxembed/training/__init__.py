"""The engine: state, step, loop."""
